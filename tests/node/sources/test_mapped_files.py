"""The same rides as firms have them: each file, with what ``node.toml`` says of it, is read as what it means."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ledger.errors import Malformed
from trust.node.sources.mapping import SourceMapping, mapping_of
from trust.node.sources.source_file import SourceFile

Row = tuple[str, str, int, datetime]
RIDES: list[Row] = [
    (f"{number * 37:07}", ["中央区", "北区", "もみじ台"][number % 3], 210 + 1_000 * (number % 2), moment)
    for number in range(1, 40)
    for moment in [datetime(2024, 4, 1, 7, 5, tzinfo=UTC) + timedelta(hours=7 * number)]
]
"""Customer, ward, fare, and the time in UTC."""
TOKYO = timedelta(hours=9)
MEANT = [
    (customer, ward, str(fare), str((at + TOKYO).hour), str((at + TOKYO).isoweekday()))
    for customer, ward, fare, at in RIDES
]
ASKED = ["customer", "ward", "fare", "hour", "weekday"]


def read(path: Path, mapping: str) -> list[tuple[Any, ...]]:
    said = msgspec.toml.decode(f'file = "{path.name}"\n{mapping}', type=SourceMapping)
    file = SourceFile(path, said)
    assert set(ASKED) <= set(file.columns())
    kinds = file.kinds(ASKED)
    parts = list(file.read(ASKED))
    rows = pa.concat_tables([part.select(range(len(ASKED))) for part in parts]).to_pylist()
    assert all(kind in {"text", "whole number", "double"} for kind in kinds.values())
    return [tuple(None if value is None else str(value) for value in row.values()) for row in rows]


def lines(*columns: Callable[[Row], str], sign: str = ",", end: str = "\n") -> str:
    return "".join(sign.join(column(row) for column in columns) + end for row in RIDES)


def customer(row: Row) -> str:
    return row[0]


def ward(row: Row) -> str:
    return row[1]


def fare(row: Row) -> str:
    return str(row[2])


def local(row: Row) -> str:
    return (row[3] + TOKYO).strftime("%Y/%-m/%-d %-H:%M")


COLUMNS = """
[columns]
customer = "会員番号"
ward = "地区"
fare = { from = "運賃", read = ["number"] }
hour = { from = "乗車日時", read = ["hour"] }
weekday = { from = "乗車日時", read = ["weekday"] }
"""
HEADER = "会員番号,地区,運賃,乗車日時\n"
FILES: dict[str, tuple[str, bytes]] = {
    "as a clean program writes it": (COLUMNS, (HEADER + lines(customer, ward, fare, local)).encode()),
    "in CP932": ('encoding = "cp932"' + COLUMNS, (HEADER + lines(customer, ward, fare, local)).encode("cp932")),
    "in UTF-16": ('encoding = "utf-16"' + COLUMNS, (HEADER + lines(customer, ward, fare, local)).encode("utf-16")),
    "with a mark of UTF-8": (COLUMNS, (HEADER + lines(customer, ward, fare, local)).encode("utf-8-sig")),
    "with tabs": (
        'delimiter = "\\t"' + COLUMNS,
        (HEADER.replace(",", "\t") + lines(customer, ward, fare, local, sign="\t")).encode(),
    ),
    "with semicolons": (
        'delimiter = ";"' + COLUMNS,
        (HEADER.replace(",", ";") + lines(customer, ward, fare, local, sign=";")).encode(),
    ),
    "with CR alone": (
        COLUMNS,
        (HEADER.replace("\n", "\r") + lines(customer, ward, fare, local, end="\r")).encode(),
    ),
    "with lines above the header": (
        "skip = 2" + COLUMNS,
        ("乗車実績表\n2024年度,もみじ交通\n" + HEADER + lines(customer, ward, fare, local)).encode(),
    ),
    "without a header": (
        'names = ["会員番号", "地区", "運賃", "乗車日時"]' + COLUMNS,
        lines(customer, ward, fare, local).encode(),
    ),
    "with amounts as people write them": (
        COLUMNS,
        (HEADER + lines(customer, ward, lambda row: f'"{row[2]:,}円"', local)).encode(),
    ),
    "in full-width signs": (
        COLUMNS.replace('"会員番号"', '{ from = "会員番号", read = ["nfkc", "strip"] }'),
        (
            HEADER
            + lines(
                lambda row: f"　{row[0].translate({48 + n: 0xFF10 + n for n in range(10)})}　",
                ward,
                lambda row: f"￥{row[2]}".translate({48 + n: 0xFF10 + n for n in range(10)}),
                local,
            )
        ).encode(),
    ),
    "by a spreadsheet that keeps zeros": (
        COLUMNS.replace('"会員番号"', '{ from = "会員番号", read = ["excel"] }'),
        (HEADER + lines(lambda row: f'"=""{row[0]}"""', ward, fare, local)).encode(),
    ),
    "by a spreadsheet that lost zeros": (
        COLUMNS.replace('"会員番号"', '{ from = "会員番号", read = ["whole", "zero-pad 7"] }'),
        (HEADER + lines(lambda row: f"{int(row[0])}.0", ward, fare, local)).encode(),
    ),
    "with blanks around": (
        COLUMNS.replace('"地区"', '{ from = " 地区", read = ["strip"] }'),
        (HEADER.replace("地区", " 地区") + lines(customer, lambda row: f"{row[1]}　", fare, local)).encode(),
    ),
    "in the years of an era": (
        COLUMNS,
        (
            HEADER + lines(customer, ward, fare, lambda row: (row[3] + TOKYO).strftime("令和6年%-m月%-d日 %-H時%-M分"))
        ).encode(),
    ),
    "with a zone": (
        'zone = "Asia/Tokyo"' + COLUMNS,
        (HEADER + lines(customer, ward, fare, lambda row: row[3].isoformat())).encode(),
    ),
    "with single quotes": (
        'quote = "\'"' + COLUMNS,
        (HEADER + lines(customer, lambda row: f"'{row[1]}'", lambda row: f"'{row[2]:,}'", local)).encode(),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_csv_file_is_read_as_what_it_means(tmp_path: Path, name: str) -> None:
    mapping, data = FILES[name]
    (tmp_path / "rides.csv").write_bytes(data)
    assert read(tmp_path / "rides.csv", mapping) == MEANT


def parquet(tmp_path: Path, customers: Any, moments: Any, fares: Any, wards: Any = None) -> Path:
    table = pa.table(
        {
            "会員番号": customers,
            "地区": pa.array([row[1] for row in RIDES]) if wards is None else wards,
            "運賃": fares,
            "乗車日時": moments,
        }
    )
    pq.write_table(table, tmp_path / "rides.parquet")
    return tmp_path / "rides.parquet"


def test_a_parquet_file_is_read_as_what_it_means_whatever_its_columns_types(tmp_path: Path) -> None:
    customers = pa.array([float(int(row[0])) for row in RIDES])
    fares = pa.array([row[2] for row in RIDES], pa.int32())
    wards = pa.array([row[1].encode() for row in RIDES]).dictionary_encode()
    padded = COLUMNS.replace('"会員番号"', '{ from = "会員番号", read = ["zero-pad 7"] }')
    for moments, zone in (
        (pa.array([row[3] for row in RIDES], pa.timestamp("us", "UTC")), 'zone = "Asia/Tokyo"'),
        (pa.array([row[3] for row in RIDES], pa.timestamp("ns", "Europe/Berlin")), 'zone = "Asia/Tokyo"'),
        (pa.array([(row[3] + TOKYO).replace(tzinfo=None) for row in RIDES], pa.timestamp("ms")), ""),
        (pa.array([local(row) for row in RIDES]), ""),
    ):
        assert read(parquet(tmp_path, customers, moments, fares, wards), zone + padded) == MEANT


@pytest.mark.parametrize(
    "said",
    [
        "skip = -1",
        'names = ["a", "a"]',
        'zone = "Tokyo"\ncolumns = { hour = { read = ["hour"] } }',
        'columns = { fare = { read = ["yen"] } }',
    ],
)
def test_a_mapping_that_is_none_is_refused(said: str) -> None:
    mapping = msgspec.toml.decode(f'file = "rides.csv"\n{said}', type=SourceMapping)
    with pytest.raises(Malformed):
        mapping_of(mapping)


@pytest.mark.parametrize("said", ['encoding = "sjis"', 'delimiter = ",,"', 'column = "a"', "skip = 1.5"])
def test_a_setting_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode(f'file = "rides.csv"\n{said}', type=SourceMapping)


def test_a_mappings_hash_follows_what_it_says_and_not_where_the_file_is() -> None:
    def of(said: str) -> str:
        return msgspec.toml.decode(said, type=SourceMapping).sha256()

    assert of('file = "a.csv"') == of('file = "b.csv"')
    assert len({of('file = "a.csv"'), of('file = "a.csv"\nskip = 1'), of('file = "a.csv"\nzone = "Asia/Tokyo"')}) == 3


def test_a_file_is_another_one_under_another_mapping(tmp_path: Path) -> None:
    (tmp_path / "rides.csv").write_bytes(FILES["in CP932"][1])
    names: Sequence[str] = ["in CP932", "as a clean program writes it"]
    found = {
        SourceFile(
            tmp_path / "rides.csv", msgspec.toml.decode(f'file = "rides.csv"\n{FILES[name][0]}', type=SourceMapping)
        ).sha256()
        for name in names
    }
    assert len(found) == 2
