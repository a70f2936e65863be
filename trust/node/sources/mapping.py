"""How a holder's own file becomes the columns that the town's policies name: a table of ``node.toml`` for each source.

::

    [sources.rides]
    file = "data/乗車実績.csv"
    encoding = "cp932"
    skip = 2                                             # title lines before the header
    zone = "Asia/Tokyo"                                  # for times that say their distance from UTC

    [sources.rides.columns]
    customer = { from = "会員番号", read = ["excel", "strip", "zero-pad 7"] }
    ward = { from = " 地区", read = ["nfkc", "strip"] }
    fare = { from = "運賃", read = ["number"] }
    hour = { from = "乗車時刻", read = ["hour"] }
    weekday = { from = "乗車日", read = ["weekday"] }
    kind = "券種"

What is not named is taken as it is called in the file. ``rides = "data/rides.parquet"`` says the file alone.

Where the rows are is said by one of four: ``file``; ``folder``, all files of its kind in it; ``glob``, all files whose
names fit a pattern; or, for ``kind = "postgresql"``, where the database's address is::

    [sources.rides]
    folder = "data/rides"                                # one file a day, in the order of their names
    kind = "csv"
    append_only = true                                   # only new files come, and only behind the others

    [sources.outings]
    kind = "postgresql"
    dsn_file = "keys/outings.dsn"                        # mode 0600; or dsn_env, or dsn where it has no password
    schema = "public"
    table = "outings"
    order = ["id"]
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct, field

from ledger import canonical
from ledger.entries import Hex32
from ledger.errors import Malformed
from policies.time_zones import time_zone_of
from trust.node.sources.csv_file import CsvForm, Encoding
from trust.node.sources.readers import ColumnReader, reader_of

Kind = Literal["csv", "parquet", "xlsx", "sqlite", "duckdb", "postgresql"]
ENDINGS: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
    ".duckdb": "duckdb",
    ".ddb": "duckdb",
}
"""What a file is, by its name's ending, where nothing is said; another is taken for Parquet, and looked at."""
WITH_TABLES = {"sqlite", "duckdb", "postgresql"}
_WHERE = {"file", "folder", "glob", "dsn", "dsn_file", "dsn_env", "every"}
"""What says where rows are and when they are looked at, and nothing of how they are read."""


class ColumnMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one column is in the file, and by which ``trust.node.sources.readers`` it is read, in their order."""

    from_: str = field(default="", name="from")
    read: list[str] = []


class SourceMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source. ``kind`` follows from the file's ending where it is not said.

    ``encoding``, ``delimiter`` and ``quote`` are of CSV, ``sheet`` of XLSX, ``skip`` and ``names`` of both; ``table``
    is of databases. ``order`` are the columns by which a PostgreSQL table's rows are put in order, ``every`` the
    seconds after which it is looked at again.
    """

    file: str = ""
    folder: str = ""
    glob: str = ""
    append_only: bool = False
    kind: Kind | None = None
    sheet: str = ""
    schema: str = ""
    table: str = ""
    dsn: str = ""
    dsn_file: str = ""
    dsn_env: str = ""
    order: list[str] = []
    every: int = 600
    encoding: Encoding = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    quote: Literal['"', "'"] = '"'
    skip: int = 0
    names: list[str] = []
    zone: str = ""
    columns: dict[str, str | ColumnMapping] = {}

    @property
    def csv(self) -> CsvForm:
        """How the file is written, where it is CSV."""
        return CsvForm(
            encoding=self.encoding, delimiter=self.delimiter, quote=self.quote, skip=self.skip, names=self.names
        )

    @property
    def place(self) -> str:
        """Where it is, below the node's folder: a file, a folder, a pattern, or the file with a database's address."""
        return self.file or self.folder or self.glob or self.dsn_file

    @property
    def kind_of_file(self) -> Kind:
        """What the file is, said or by its ending."""
        return self.kind or ENDINGS.get(Path(self.file or self.glob).suffix.lower(), "parquet")

    @property
    def is_csv(self) -> bool:
        """Whether the file is CSV."""
        return self.kind_of_file == "csv"

    @property
    def is_database(self) -> bool:
        """Whether its rows are in a database's server, and in no file."""
        return self.kind == "postgresql"

    @property
    def is_many(self) -> bool:
        """Whether it may be more than one file."""
        return bool(self.folder or self.glob)

    def name_in_file(self, column: str) -> str:
        """Return what a column of a policy is called in the file."""
        said = self.columns.get(column, column)
        return said if isinstance(said, str) else said.from_ or column

    def readers(self, column: str) -> list[ColumnReader]:
        """Return the readers of a column, in their order; raise Malformed where one is none."""
        said = self.columns.get(column)
        zone = time_zone_of(self.zone) if self.zone else None
        return [reader_of(words, zone) for words in said.read] if isinstance(said, ColumnMapping) else []

    def sha256(self) -> Hex32:
        """Return the hash of what it says, but for where that is: it tells nothing of what is in the file."""
        said = canonical.decode(canonical.encode(self), dict[str, object], "mapping")
        return hashlib.sha256(
            canonical.encode({name: value for name, value in said.items() if name not in _WHERE})
        ).hexdigest()


def mapping_of(said: str | SourceMapping) -> SourceMapping:
    """Return a source's mapping, checked: every reader and zone is one, counts are. Raises Malformed."""
    mapping = SourceMapping(file=said) if isinstance(said, str) else said
    _check_place(mapping)
    if mapping.skip < 0 or len(set(mapping.names)) < len(mapping.names) or "" in mapping.names:
        raise Malformed("A source skips a number of lines, and names each of its columns once.")
    _check_columns(mapping, list(mapping.columns))
    return mapping


def _check_place(mapping: SourceMapping) -> None:
    """Raise Malformed where it does not say where its rows are, or says it in a way that is none."""
    if mapping.is_database:
        if mapping.file or mapping.is_many or sum(map(bool, (mapping.dsn, mapping.dsn_file, mapping.dsn_env))) != 1:
            raise Malformed("A PostgreSQL source has one of: dsn_file, dsn_env, dsn; and no file, folder or glob.")
        if has_password(mapping.dsn):
            raise Malformed(
                "A source's dsn has a password in it, and node.toml is no place for one: put the dsn into a file of mode "
                '0600, and name that: dsn_file = "keys/rides.dsn".'
            )
        if mapping.every < 0:
            raise Malformed("A source's every is a number of seconds, from 0.")
    elif sum(map(bool, (mapping.file, mapping.folder, mapping.glob))) != 1:
        raise Malformed("A source has one of: file, folder, glob.")
    if mapping.folder and mapping.kind is None:
        raise Malformed('A source\'s folder needs the kind of the files in it, such as kind = "csv".')
    if mapping.append_only and not mapping.is_many:
        raise Malformed("append_only is of a source's folder or glob; one file is read as a whole.")
    if mapping.kind_of_file in WITH_TABLES and not mapping.table:
        raise Malformed('A source in a database needs the name of its table: table = "rides".')
    pattern = Path(mapping.glob)
    if mapping.glob and (pattern.name in {"", "..", "."} or any(sign in str(pattern.parent) for sign in "*?[")):
        raise Malformed('A source\'s glob has its pattern in the name of the file alone: "data/rides-*.csv".')


def has_password(dsn: str) -> bool:
    """Tell whether a database's address has a password in it."""
    parts = urlsplit(dsn)
    return bool(parts.password) or any(name in _SECRET for name, _ in parse_qsl(parts.query, keep_blank_values=True))


_SECRET = {"password", "sslpassword"}


def _check_columns(mapping: SourceMapping, columns: Sequence[str]) -> None:
    for column in columns:
        mapping.readers(column)
