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
    ticket = { from = "券種名", values = { "ICカード" = "card", "こども" = "child" } }
    kind = "券種"

What is not named is taken as it is called in the file. ``rides = "data/rides.parquet"`` says the file alone.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ledger import canonical
from ledger.entries import Hex32
from ledger.errors import Malformed
from policies.time_zones import time_zone_of
from trust.node.sources.csv_file import CsvForm, Encoding
from trust.node.sources.readers import ColumnReader, reader_by_values, reader_of

Kind = Literal["csv", "parquet"]
CSV_ENDINGS = (".csv", ".tsv", ".txt")


class ColumnMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one column is in the file, and by which ``trust.node.sources.readers`` it is read, in their order.

    What comes of that and is among ``values`` is taken for what stands there; everything else stays as it is.
    """

    from_: str = field(default="", name="from")
    read: list[str] = []
    values: Annotated[dict[str, str], Meta(max_length=4_096)] = {}


class SourceMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source. ``kind`` follows from the file's ending where it is not said; the rest up to ``names`` is of CSV."""

    file: str
    kind: Kind | None = None
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
    def is_csv(self) -> bool:
        """Whether the file is CSV."""
        return (self.kind or ("csv" if self.file.lower().endswith(CSV_ENDINGS) else "parquet")) == "csv"

    def name_in_file(self, column: str) -> str:
        """Return what a column of a policy is called in the file."""
        said = self.columns.get(column, column)
        return said if isinstance(said, str) else said.from_ or column

    def readers(self, column: str) -> list[ColumnReader]:
        """Return the readers of a column, in their order; raise Malformed where one is none."""
        said = self.columns.get(column)
        zone = time_zone_of(self.zone) if self.zone else None
        if not isinstance(said, ColumnMapping):
            return []
        read = [reader_of(words, zone) for words in said.read]
        return [*read, *([reader_by_values(said.values)] if said.values else [])]

    def sha256(self) -> Hex32:
        """Return the hash of what it says, but for the file's name: it tells nothing of what is in the file."""
        said = canonical.decode(canonical.encode(self), dict[str, object], "mapping")
        return hashlib.sha256(
            canonical.encode({name: value for name, value in said.items() if name != "file"})
        ).hexdigest()


def mapping_of(said: str | SourceMapping) -> SourceMapping:
    """Return a source's mapping, checked: every reader and zone is one, counts are. Raises Malformed."""
    mapping = SourceMapping(file=said) if isinstance(said, str) else said
    if mapping.skip < 0 or len(set(mapping.names)) < len(mapping.names) or "" in mapping.names:
        raise Malformed("A source skips a number of lines, and names each of its columns once.")
    _check_columns(mapping, list(mapping.columns))
    return mapping


def _check_columns(mapping: SourceMapping, columns: Sequence[str]) -> None:
    for column in columns:
        mapping.readers(column)
