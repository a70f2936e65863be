"""The same rides, in files as firms have them: every form that we were told of, or could think of.

The same 1,007 rides of 300 customers stand in all of them, so that one knows what each should be read as.
"""

import gzip
import io
import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import openpyxl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

WARDS = ("中央区", "北区", "もみじ台")
TOKYO = timedelta(hours=9)
MANY = 1_007
CUSTOMERS = 300


class Ride(NamedTuple):
    """One ride: ``at`` is in UTC."""

    customer: str
    ward: str
    zone: str
    fare: int
    at: datetime

    @property
    def local(self) -> datetime:
        """When it was, on a clock in Tokyo."""
        return self.at + TOKYO


def _rides() -> list[Ride]:
    chance = random.Random(9)
    numbers = [f"{chance.randrange(100_000):07}" for _ in range(CUSTOMERS)]
    begin = datetime(2024, 4, 1, tzinfo=UTC)
    return [
        Ride(
            chance.choice(numbers),
            chance.choice(WARDS),
            chance.choice(("01", "02", "11")),
            chance.choice((210, 280, 1_200, 1_450, -100)),
            begin + timedelta(minutes=chance.randrange(60 * 24 * 60)),
        )
        for _ in range(MANY)
    ]


RIDES = _rides()
LINKED = sorted({ride.customer for ride in RIDES})[:200]
HEADER = ("customer", "ward", "zone", "fare", "hour")
JAPANESE = ("会員番号", "地区", "ゾーン", "運賃", "乗車時刻")

Cell = Callable[[Ride], str]


def _customer(ride: Ride) -> str:
    return ride.customer


def _ward(ride: Ride) -> str:
    return ride.ward


def _zone(ride: Ride) -> str:
    return ride.zone


def _fare(ride: Ride) -> str:
    return str(ride.fare)


def _hour(ride: Ride) -> str:
    return str(ride.local.hour)


PLAIN: tuple[Cell, ...] = (_customer, _ward, _zone, _fare, _hour)


def csv(
    *changed: Cell | None,
    names: Sequence[str] | None = HEADER,
    sign: str = ",",
    end: str = "\n",
    before: str = "",
    after: str = "",
) -> str:
    """Write the rides; each of ``changed`` takes the place of a plain column, None leaves it."""
    cells = [new or old for new, old in zip((*changed, *[None] * 5)[:5], PLAIN, strict=True)]
    lines = [sign.join(names)] if names is not None else []
    lines += [sign.join(cell(ride) for cell in cells) for ride in RIDES]
    return before + "".join(line + end for line in lines) + after


def wide(text: str) -> str:
    """Return a text with full-width digits and signs."""
    return "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text)


def parquet(names: Sequence[str] = HEADER, **changed: Any) -> bytes:
    """Write the rides; each of ``changed`` takes the place of a plain column."""
    plain = {
        "customer": pa.array([ride.customer for ride in RIDES]),
        "ward": pa.array([ride.ward for ride in RIDES]),
        "zone": pa.array([ride.zone for ride in RIDES]),
        "fare": pa.array([ride.fare for ride in RIDES], pa.int64()),
        "hour": pa.array([ride.local.hour for ride in RIDES], pa.int32()),
    }
    columns = list({**plain, **changed}.values())
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, names=list(names)), sink)
    return sink.getvalue()


def feather() -> bytes:
    sink = io.BytesIO()
    pyarrow.feather.write_feather(pq.read_table(io.BytesIO(parquet())), sink, compression="uncompressed")
    return sink.getvalue()


def _era(ride: Ride) -> str:
    return ride.local.strftime("令和6年%-m月%-d日 %-H時%-M分")


def _texts(of: Cell) -> pa.Array:
    return pa.array([of(ride) for ride in RIDES], pa.string())


def workbook(*above: Sequence[object], names: Sequence[str] = HEADER, **changed: Callable[[Ride], object]) -> bytes:
    """Write the rides as a spreadsheet; each of ``changed`` takes the place of a plain column."""
    plain: dict[str, Callable[[Ride], object]] = dict(zip(HEADER, PLAIN, strict=True))
    cells = {**plain, "fare": lambda ride: ride.fare, "hour": lambda ride: ride.local.hour, **changed}
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("乗車実績")
    for line in above:
        sheet.append(list(line))
    sheet.append(list(names))
    for ride in RIDES:
        sheet.append([cell(ride) for cell in cells.values()])
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def _no_rows() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(parquet())).slice(0, 0), sink)
    return sink.getvalue()


RIGHT = "right"
"""Read right with what is drafted for it (and with what the file says by itself, where that is nothing)."""

FILES: dict[str, tuple[str, bytes | str, str]] = {
    # As CSV: the file's name, its content, and what becomes of it: RIGHT, or a part of what its holder is told.
    "clean": ("rides.csv", csv(), RIGHT),
    "CP932 under an ASCII header": ("rides.csv", csv().encode("cp932"), RIGHT),
    "CP932, Japanese header": ("rides.csv", csv(names=JAPANESE).encode("cp932"), RIGHT),
    "UTF-8, Japanese header": ("rides.csv", csv(names=JAPANESE), RIGHT),
    "UTF-8 with a mark": ("rides.csv", csv().encode("utf-8-sig"), RIGHT),
    "UTF-16 with a mark": ("rides.csv", csv().encode("utf-16"), RIGHT),
    "UTF-16 without a mark": ("rides.csv", csv().encode("utf-16-le"), "in none of the encodings"),
    "EUC-JP": ("rides.csv", csv().encode("euc_jp"), "in none of the encodings"),
    "tabs": ("rides.csv", csv(sign="\t"), RIGHT),
    "tabs, named .tsv": ("rides.tsv", csv(sign="\t"), RIGHT),
    "semicolons": ("rides.csv", csv(sign=";"), RIGHT),
    "bars": ("rides.csv", csv(sign="|"), RIGHT),
    "CR alone": ("rides.csv", csv(end="\r"), RIGHT),
    "CRLF": ("rides.csv", csv(end="\r\n"), RIGHT),
    "customers as floats": ("rides.csv", csv(lambda r: f"{int(r.customer)}.0"), RIGHT),
    "customers without their zeros": ("rides.csv", csv(lambda r: str(int(r.customer))), RIGHT),
    'customers as ="0012345"': ("rides.csv", csv(lambda r: f'"=""{r.customer}"""'), RIGHT),
    "customers in full-width digits": ("rides.csv", csv(lambda r: wide(r.customer)), RIGHT),
    "customers with blanks": ("rides.csv", csv(lambda r: f"  {r.customer} "), RIGHT),
    "customers with another prefix": ("rides.csv", csv(lambda r: f"MJ-{r.customer}"), "0 of 200 linked customers"),
    "amounts with commas": ("rides.csv", csv(None, None, None, lambda r: f'"{r.fare:,}"'), RIGHT),
    "amounts with 円": ("rides.csv", csv(None, None, None, lambda r: f"{r.fare}円"), RIGHT),
    "amounts with ¥": ("rides.csv", csv(None, None, None, lambda r: f"¥{r.fare}"), RIGHT),
    "amounts with ¥ and commas": ("rides.csv", csv(None, None, None, lambda r: f'"¥{r.fare:,}"'), RIGHT),
    "amounts with ▲": ("rides.csv", csv(None, None, None, lambda r: f"{r.fare:,}".replace("-", "▲").join('""')), RIGHT),
    "amounts in full-width digits": ("rides.csv", csv(None, None, None, lambda r: wide(str(r.fare))), RIGHT),
    "amounts with decimals of zero": ("rides.csv", csv(None, None, None, lambda r: f"{r.fare}.00"), RIGHT),
    "amounts with a power of ten": ("rides.csv", csv(None, None, None, lambda r: f"{r.fare / 10}e1"), RIGHT),
    "amounts in hundreds": ("rides.csv", csv(None, None, None, lambda r: f"{r.fare / 100}"), "have decimals"),
    "amounts with a decimal comma": (
        "rides.csv",
        csv(None, None, None, lambda r: f"{r.fare},00", sign=";"),
        "0.0% of the rows looked at fit",
    ),
    "some amounts with a comma and no quotes": (
        "rides.csv",
        csv(None, None, None, lambda r: f"{r.fare:,}"),
        "more fields than the header",
    ),
    "some wards cut within a character": (
        "rides.csv",
        csv().encode().replace("区,".encode(), "区,".encode()[1:], 90),
        "not UTF-8",
    ),
    "some rows without their last field": (
        "rides.csv",
        csv(end="\n").replace(",7\n", "\n"),
        "fewer fields than the header",
    ),
    "cut within the last value": ("rides.csv", csv()[:-2], "may be half written"),
    "a headerless file of text alone": (
        "rides.csv",
        csv(*[lambda r, of=of: f"{of(r)}x" for of in PLAIN], names=None),
        "first line looks like data",
    ),
    "codes without their zeros": ("rides.csv", csv(None, None, lambda r: str(int(r.zone))), RIGHT),
    "codes as floats": ("rides.csv", csv(None, None, lambda r: f"{int(r.zone)}.0"), RIGHT),
    "wards with blanks": ("rides.csv", csv(None, lambda r: f"{r.ward}  "), RIGHT),
    "wards with U+3000": ("rides.csv", csv(None, lambda r: f"{r.ward}　"), RIGHT),
    "wards by their labels": ("rides.csv", csv(None, lambda r: f"{r.ward}（札幌）"), RIGHT),
    "wards under other names": ("rides.csv", csv(None, lambda r: f"札幌市{r.ward}"), "outside"),
    "hours with minutes": ("rides.csv", csv(None, None, None, None, lambda r: r.local.strftime("%-H:%M")), RIGHT),
    "hours with a zero": ("rides.csv", csv(None, None, None, None, lambda r: f"{r.local.hour:02}"), RIGHT),
    "hours with 時": ("rides.csv", csv(None, None, None, None, lambda r: r.local.strftime("%-H時%-M分")), RIGHT),
    "times with slashes": (
        "rides.csv",
        csv(None, None, None, None, lambda r: r.local.strftime("%Y/%-m/%-d %-H:%M")),
        RIGHT,
    ),
    "times of an era": ("rides.csv", csv(None, None, None, None, _era), RIGHT),
    "times with a zone": (
        "rides.csv",
        csv(None, None, None, None, lambda r: r.local.strftime("%Y-%m-%dT%H:%M:%S+09:00")),
        RIGHT,
    ),
    "times in UTC": ("rides.csv", csv(None, None, None, None, lambda r: r.at.strftime("%Y-%m-%dT%H:%M:%SZ")), RIGHT),
    "title lines": ("rides.csv", csv(before="乗車実績\n2024年度,もみじ交通\n"), RIGHT),
    "title lines of a spreadsheet": ("rides.csv", csv(before="乗車実績,,,,\n,,,,2024年度\n"), RIGHT),
    "no header": ("rides.csv", csv(names=None), RIGHT),
    "a row of totals": ("rides.csv", csv(after=f"合計,,,{sum(ride.fare for ride in RIDES)},\n"), RIGHT),
    "header only": ("rides.csv", ",".join(HEADER) + "\n", "no rows"),
    "empty": ("rides.csv", "", "empty"),
    "half written, within a line": ("rides.csv", csv()[: len(csv()) // 2 - 3], "half written"),
    "half written, within quotes": ("rides.csv", csv() + '0000001,"北', "opened and not closed"),
    "a quote that is not closed": ("rides.csv", csv(after='0000001,"北区,01,210,7\n'), "opened and not closed"),
    "gzip": ("rides.csv.gz", gzip.compress(csv().encode()), "gzip"),
    "gzip, named .csv": ("rides.csv", gzip.compress(csv().encode()), "gzip"),
    "JSON lines": ("rides.jsonl", "".join(json.dumps({"customer": r.customer}) + "\n" for r in RIDES), "JSON"),
    "Feather": ("rides.feather", feather(), "Feather"),
    "HTML": ("rides.csv", "<html><table><tr><td>customer</td></tr></table></html>", "HTML"),
    "an old workbook": ("rides.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "old Excel"),
    "single quotes": ("rides.csv", csv(*[lambda r, of=of: f"'{of(r)}'" for of in PLAIN]), RIGHT),
    "quotes around all": ("rides.csv", csv(*[lambda r, of=of: f'"{of(r)}"' for of in PLAIN]), RIGHT),
    "a header with blanks": ("rides.csv", csv(names=(" customer", " ward", " zone", " fare", " hour")), RIGHT),
    "a header in capitals": ("rides.csv", csv(names=[name.upper() for name in HEADER]), RIGHT),
    "a header with dots": ("rides.csv", csv(names=[f"hos.{name}" for name in HEADER]), RIGHT),
    "a header with a name twice": ("rides.csv", csv(names=("customer", "ward", "zone", "fare", "fare")), "2 times"),
    "blank lines between": ("rides.csv", csv(end="\n\n"), RIGHT),
    "commas at the end": ("rides.csv", csv(end=",,\n"), RIGHT),
    "Parquet, named .csv": ("rides.csv", parquet(), RIGHT),
    # As Parquet.
    "Parquet": ("rides.parquet", parquet(), RIGHT),
    "Parquet, Japanese names": ("rides.parquet", parquet(JAPANESE), RIGHT),
    "Parquet, customers as doubles": (
        "rides.parquet",
        parquet(customer=pa.array([float(r.customer) for r in RIDES])),
        RIGHT,
    ),
    "Parquet, customers as integers": (
        "rides.parquet",
        parquet(customer=pa.array([int(r.customer) for r in RIDES])),
        RIGHT,
    ),
    "Parquet, text without the mark": (
        "rides.parquet",
        parquet(ward=pa.array([r.ward.encode() for r in RIDES], pa.binary())),
        RIGHT,
    ),
    "Parquet, categories in a dictionary": ("rides.parquet", parquet(ward=_texts(_ward).dictionary_encode()), RIGHT),
    "Parquet, codes as integers": ("rides.parquet", parquet(zone=pa.array([int(r.zone) for r in RIDES])), RIGHT),
    "Parquet, codes as doubles": ("rides.parquet", parquet(zone=pa.array([float(r.zone) for r in RIDES])), RIGHT),
    "Parquet, moments with a zone": (
        "rides.parquet",
        parquet(hour=pa.array([r.at for r in RIDES], pa.timestamp("us", "UTC"))),
        RIGHT,
    ),
    "Parquet, moments without a zone": (
        "rides.parquet",
        parquet(hour=pa.array([r.local.replace(tzinfo=None) for r in RIDES], pa.timestamp("ms"))),
        RIGHT,
    ),
    "Parquet, times of day": (
        "rides.parquet",
        parquet(hour=pa.array([r.local.time() for r in RIDES], pa.time64("us"))),
        RIGHT,
    ),
    "Parquet, hours as text": (
        "rides.parquet",
        parquet(hour=_texts(lambda r: r.local.strftime("%-H:%M"))),
        RIGHT,
    ),
    "Parquet, amounts as decimals": (
        "rides.parquet",
        parquet(fare=pa.array([Decimal(r.fare) for r in RIDES], pa.decimal128(9, 2))),
        RIGHT,
    ),
    "Parquet, amounts as doubles": ("rides.parquet", parquet(fare=pa.array([float(r.fare) for r in RIDES])), RIGHT),
    "Parquet, amounts as text": ("rides.parquet", parquet(fare=_texts(lambda r: f"¥{r.fare:,}")), RIGHT),
    "Parquet, amounts in hundreds": (
        "rides.parquet",
        parquet(fare=pa.array([r.fare / 100 for r in RIDES])),
        "have decimals",
    ),
    "Parquet, full-width wards": ("rides.parquet", parquet(ward=_texts(lambda r: f"　{r.ward}")), RIGHT),
    # As a spreadsheet.
    "XLSX": ("rides.xlsx", workbook(), RIGHT),
    "XLSX, named .csv": ("rides.csv", workbook(), RIGHT),
    "XLSX, Japanese names under titles": ("rides.xlsx", workbook(["乗車実績"], [None], names=JAPANESE), RIGHT),
    "XLSX, customers as numbers": ("rides.xlsx", workbook(customer=lambda r: int(r.customer)), RIGHT),
    "XLSX, codes as numbers": ("rides.xlsx", workbook(zone=lambda r: int(r.zone)), RIGHT),
    "XLSX, moments": ("rides.xlsx", workbook(hour=lambda r: r.local.replace(tzinfo=None)), RIGHT),
    "XLSX, times of day": ("rides.xlsx", workbook(hour=lambda r: r.local.time().replace(second=0)), RIGHT),
    "XLSX, amounts as text": ("rides.xlsx", workbook(fare=lambda r: f"¥{r.fare:,}"), RIGHT),
    "XLSX, cut short": ("rides.xlsx", workbook()[:-100], "damaged"),
    "Parquet, cut short": ("rides.parquet", parquet()[:-100], "damaged"),
    "Parquet, without rows": ("rides.parquet", _no_rows(), "no rows"),
    "CSV, named .parquet": ("rides.parquet", csv(), RIGHT),
}
