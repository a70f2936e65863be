"""How a file seems to be written: by its first bytes, what kind of file it is; for CSV, its encoding, signs and header.

All of it is a guess. It is shown to the holder, with what to write in ``node.toml``; nothing is read by it unsaid.
"""

import csv
import re
from collections import Counter
from io import StringIO
from itertools import islice
from os import SEEK_END
from pathlib import Path

from trust.files.regular import open_regular
from trust.node.sources.csv_file import CsvForm, Encoding
from trust.node.sources.mapping import Kind
from trust.node.sources.tables.one_table import FileRefused
from trust.node.sources.tables.opening import KIND_SIGNS, refuse_others

LOOKED_AT = 1_000_000
"""Bytes from the beginning of a file that its form is guessed from."""
MOST_TITLE_LINES = 8
"""Lines above the header that a draft looks through."""
LINES = 200
_DELIMITERS = (",", "\t", ";", "|")
_NAMES = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
_ENCODINGS: tuple[Encoding, ...] = ("utf-8", "cp932", "utf-16")
SHOWN_ENCODINGS: dict[Encoding, str] = {"utf-8": "UTF-8", "cp932": "CP932 (Shift_JIS)", "utf-16": "UTF-16"}
_LIKE_A_VALUE = re.compile(r"[-+¥▲△]?[0-9０-９][0-9０-９,.:/年月日時分円\- ]*")


def beginning_of(path: Path) -> bytes:
    """Return a file's first bytes; none where it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(LOOKED_AT)
    except OSError:
        return b""


def end_of(path: Path) -> bytes:
    """Return a file's last bytes; none where it cannot be read."""
    try:
        with open_regular(path) as file:
            file.seek(0, SEEK_END)
            file.seek(max(0, file.tell() - LOOKED_AT))
            return file.read()
    except OSError:
        return b""


def guess_kind(data: bytes) -> Kind:
    """Return what kind of file begins so; raise FileRefused for one that is read as nothing, with what to do."""
    kind: Kind = next((kind for kind, sign in KIND_SIGNS.items() if sign.match(data)), "csv")
    refuse_others(data, kind)
    if not data:
        raise FileRefused("The file is empty.")
    return kind


def seems_text(data: bytes) -> bool:
    """Tell whether a file that begins so may be CSV."""
    try:
        return guess_kind(data) == "csv"
    except FileRefused:
        return False


def guess_encoding(data: bytes) -> Encoding | None:
    """Return the encoding that the data is of, in UTF-8 but for a few bytes maybe; None where it is of none of ours."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if data.count(b"\x00") > len(data) // 8:
        return None
    whole_lines = data[: data.rfind(b"\n") + 1 or len(data)] if len(data) >= LOOKED_AT else data
    read = whole_lines.decode("utf-8", "replace")
    damaged, signs = read.count("\ufffd"), sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", read)))
    if 0 < damaged * 10 < signs:  # text of another encoding is hardly ever of this one
        return "utf-8"
    for name in ("utf-8", "cp932"):
        try:
            whole_lines.decode(name)
        except UnicodeDecodeError:
            continue
        return "utf-8" if name == "utf-8" else "cp932"
    return None


def guess_form(data: bytes) -> CsvForm | None:
    """Return how a CSV file seems to be written; None where it is no text of ours.

    The sign between fields is the one that most lines have equally many of; lines at the beginning that have fewer, or
    little in them, are titles. A header is a line without anything that looks like a number or a date, where lines
    below have such.
    """
    encoding = guess_encoding(data)
    if encoding is None:
        return None
    lines = data.decode("utf-8-sig" if encoding == "utf-8" else encoding, "replace").splitlines()[:LINES]
    delimiter, fields = max(
        ((sign, _fields(lines, sign)) for sign in _DELIMITERS), key=lambda each: (each[1][0], each[1][1])
    )
    width, _ = fields
    form = CsvForm(encoding=encoding, delimiter=delimiter, quote=_quote(lines, delimiter))  # type: ignore[arg-type] # one of _DELIMITERS
    records = [_split(line, form) for line in lines]
    skip = next((at for at, record in enumerate(records[:MOST_TITLE_LINES]) if _is_full(record, width)), 0)
    header, below = records[skip] if records else [], [each for each in records[skip + 1 :] if any(each)]
    is_data = bool(below) and (
        _again_below(header, below) or (any(map(_is_like_a_value, header)) and not _is_named(header))
    )
    names = [f"column_{number}" for number in range(1, len(header) + 1)] if is_data else []
    return CsvForm(encoding=encoding, delimiter=form.delimiter, quote=form.quote, skip=skip, names=names)


def advise_on_form(data: bytes, end: bytes, said: CsvForm) -> list[str]:
    """Return a sentence for each thing in which a CSV file seems to be written otherwise than is said of it.

    ``data`` are its first bytes, ``end`` its last ones.
    """
    form = guess_form(data)
    if form is None:
        return [f"It is text in none of the encodings {', '.join(SHOWN_ENCODINGS[name] for name in _ENCODINGS)}."]
    found = []
    if _is_parted_by_blanks(data, form):
        found.append("Its fields seem to be parted by blanks, which cannot be read: write it as CSV.")
    if form.encoding != said.encoding and not (form.encoding == "utf-8" and data.isascii()):
        found.append(
            f'It looks like {SHOWN_ENCODINGS[form.encoding]}, and is read as {SHOWN_ENCODINGS[said.encoding]}: encoding = "{form.encoding}".'
        )
    if form.delimiter != said.delimiter:
        written = "\\t" if form.delimiter == "\t" else form.delimiter
        found.append(
            f"Its fields seem to be parted by {_NAMES[form.delimiter]}, not {_NAMES[said.delimiter]}: "
            f'delimiter = "{written}".'
        )
    if form.skip != said.skip:
        found.append(f"Its header seems to be in line {form.skip + 1}: skip = {form.skip}.")
    if form.names and not said.names:
        found.append("Its first line looks like data, and not like a header: name the columns with names = [ … ].")
    if end.count(b"\n") + end.count(b"\r") > 1 and not end.endswith((b"\n", b"\r", b"\n\x00", b"\r\x00")):
        found.append("Its last line has no end, as the others have: the file may be half written.")
    late = guess_encoding(end.partition(b"\n")[2] or end)
    if data.isascii() and late is not None and late != said.encoding and not end.isascii():
        found.append(f'Further down it looks like {SHOWN_ENCODINGS[late]}: encoding = "{late}".')
    if form.quote != said.quote:
        found.append(f"Its fields seem to stand within {form.quote}: quote = {_toml(form.quote)}.")
    return found


def _again_below(header: list[str], below: list[list[str]]) -> bool:
    """Whether a name stands in its own column again, as a value: then it is one."""
    return any(
        cell and cell in {each[place] for each in below if place < len(each)} for place, cell in enumerate(header)
    )


def _is_full(record: list[str], width: int) -> bool:
    """Whether a record has all fields, and something in most of them: a spreadsheet fills titles up with empty ones."""
    return len(record) >= width and sum(map(bool, record)) * 5 >= width * 3


def _is_parted_by_blanks(data: bytes, form: CsvForm) -> bool:
    lines = [line.split() for line in data.decode(form.encoding, "replace").splitlines()[:LINES] if line.strip()]
    widths = Counter(map(len, lines)).most_common(1)
    return (
        bool(widths)
        and widths[0][0] > 1
        and widths[0][1] * 10 > len(lines) * 9
        and not any(form.delimiter in field for line in lines for field in line)
    )


def _toml(sign: str) -> str:
    return "'\"'" if sign == '"' else f'"{sign}"'


def _fields(lines: list[str], sign: str) -> tuple[int, int]:
    """Return how many fields most lines have by this sign (1 where it parts nothing), and how many lines that are."""
    counts = Counter(len(_split(line, CsvForm(delimiter=sign))) for line in lines if line.strip())  # type: ignore[arg-type] # as above
    wide = {fields: many for fields, many in counts.items() if fields > 1}
    if not wide or sum(wide.values()) * 2 < sum(counts.values()):
        return 1, 0
    many, fields = max((many, fields) for fields, many in wide.items())
    return fields, many


def _split(line: str, form: CsvForm) -> list[str]:
    try:
        return next(csv.reader(islice(StringIO(line), 1), delimiter=form.delimiter, quotechar=form.quote), [])
    except csv.Error:
        return line.split(form.delimiter)


def _quote(lines: list[str], delimiter: str) -> str:
    single = sum(f"{delimiter}'" in line or line.startswith("'") for line in lines)
    double = sum(f'{delimiter}"' in line or line.startswith('"') for line in lines)
    return "'" if single > double and single * 2 > len(lines) else '"'


def _is_like_a_value(cell: str) -> bool:
    return _LIKE_A_VALUE.fullmatch(cell.strip(" \u3000=\"'")) is not None


def _is_named(header: list[str]) -> bool:
    """Whether most of it is names: a header may have a year among them."""
    return sum(map(_is_like_a_value, header)) * 3 < len(header)
