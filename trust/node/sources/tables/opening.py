"""Opening a file as the table that its mapping says it is; what is plainly something else is refused by its name.

Programs call their files what they like, and a file of another kind than was said would else be called damaged. What it
is, its first bytes tell.
"""

import re
from pathlib import Path

from trust.files.regular import open_regular
from trust.node.sources.mapping import Kind, SourceMapping
from trust.node.sources.tables.csv_table import CsvTable
from trust.node.sources.tables.duckdb_table import DuckdbTable
from trust.node.sources.tables.one_table import DAMAGED, FileRefused, OneTable
from trust.node.sources.tables.parquet_table import ParquetTable
from trust.node.sources.tables.sqlite_table import SqliteTable
from trust.node.sources.tables.xlsx_table import XlsxTable

LOOKED_AT = 4_096
"""Bytes from the beginning of a file that tell what it is."""
KIND_SIGNS: dict[Kind, re.Pattern[bytes]] = {
    "parquet": re.compile(rb"PAR[1E]"),
    "xlsx": re.compile(rb"PK\x03\x04"),
    "sqlite": re.compile(rb"SQLite format 3\x00"),
    "duckdb": re.compile(rb".{8}DUCK", re.DOTALL),
}
"""How a file of each kind begins; CSV begins with anything."""
OTHERS = [
    (re.compile(rb"\x1f\x8b"), "This is gzip: unpack it first."),
    (re.compile(rb"BZh[1-9]1AY&SY"), "This is bzip2: unpack it first."),
    (re.compile(rb"\xfd7zXZ\x00"), "This is xz: unpack it first."),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "This is Zstandard: unpack it first."),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "This is 7-Zip: unpack it first."),
    (
        re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        "This is an old Excel file (.xls), or one with a password: save it as .xlsx, without one.",
    ),
    (re.compile(rb"ARROW1|FEA1"), "This is Feather: write it as Parquet."),
    (re.compile(rb"ORC"), "This is ORC: write it as Parquet."),
    (re.compile(rb"Obj\x01"), "This is Avro: write it as Parquet."),
    (re.compile(rb"(\xef\xbb\xbf)?\s*(\[\s*)?\{\s*\""), "This is JSON: write it as CSV or Parquet."),
    (re.compile(rb"\s*<(!DOCTYPE|html|table|\?xml)", re.IGNORECASE), "This is HTML or XML: save it as CSV or XLSX."),
]
"""How files begin that are read as nothing, and what to do about each."""


_BINARY = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
"""Bytes that no text has."""


def open_table(path: Path, mapping: SourceMapping) -> OneTable:
    """Return a file's table; raise FileRefused where it is plainly something else, OSError where it is not there."""
    kind = mapping.kind_of_file
    with open_regular(path) as file:
        begins = file.read(LOOKED_AT)
    refuse_others(begins, kind, is_headerless=bool(mapping.names))
    match kind:
        case "csv":
            return CsvTable(path, mapping.csv)
        case "xlsx":
            return XlsxTable(path, mapping.sheet, mapping.skip, mapping.names)
        case "sqlite":
            return SqliteTable(path, mapping.table)
        case "duckdb":
            return DuckdbTable(path, mapping.table, mapping.schema)
        case _:
            return ParquetTable(path)


def refuse_others(begins: bytes, kind: str, *, is_headerless: bool = False) -> None:
    """Raise FileRefused where a file that begins so is of another kind than is said of it."""
    if kind in KIND_SIGNS and KIND_SIGNS[kind].match(begins):
        return
    if kind == "csv" and not _BINARY.search(begins):
        # It is text. In a file without a header its first bytes are somebody's: what they spell decides nothing.
        others = [] if is_headerless else [OTHERS[1], *OTHERS[-2:]]
        for sign, reason in others:
            if sign.match(begins):
                raise FileRefused(reason)
        return
    for sign, reason in OTHERS:
        if sign.match(begins):
            raise FileRefused(reason)
    for other, sign in KIND_SIGNS.items():
        if sign.match(begins):
            raise FileRefused(_SEEMS[other])
    if kind in KIND_SIGNS:
        if not begins:
            raise FileRefused("The file is empty.")
        raise FileRefused(DAMAGED if b"\x00" in begins else _SEEMS["csv"])


_SEEMS = {
    "csv": 'This seems to be text, and not what its name or node.toml says. If it is CSV, write: kind = "csv".',
    "parquet": 'This is Parquet, and not what its name or node.toml says. Write: kind = "parquet".',
    "xlsx": 'This is XLSX or ZIP. If it is XLSX, write in node.toml: kind = "xlsx". Else unpack it first.',
    "sqlite": 'This is SQLite, and not what its name or node.toml says. Write: kind = "sqlite", and table = "…".',
    "duckdb": 'This is DuckDB, and not what its name or node.toml says. Write: kind = "duckdb", and table = "…".',
}
