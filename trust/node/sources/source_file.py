"""A holder's raw data: one Parquet or CSV file per source, read in place and never written.

Which column of the file is which of the policies', and by which readers it is read, its mapping says
(``trust.node.sources.mapping``); names here are the policies'.

A file is read in one way only, whatever is in it: in parts, the wanted columns alone, each value by
``trust.node.sources.kinds``. A row's ``position`` is its place in the file; it only ever orders the rows of *one*
resident among themselves, so that other people's rows, coming or going, change nothing about which of a resident's rows
are kept.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ledger.errors import Unavailable
from trust.files.regular import open_regular
from trust.node.sources.csv_file import header_of, read_columns
from trust.node.sources.kinds import ReadRule, carry, rule_of_type, text_of
from trust.node.sources.mapping import SourceMapping, mapping_of
from trust.node.sources.readers import ColumnReader, read_in_order

POSITION = "position"
ROWS_AT_ONCE = 131_072
"""Rows in one part of a Parquet file."""


DAMAGED = "It cannot be read to its end; it is damaged, or no file of its kind."


class FileRefused(Exception):
    """A file is not taken in. ``line`` is where its quotes did not fit; it follows from rows: for the holder alone."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


class SourceFile:
    """One file with its mapping, and which version of it is there. Raises Malformed for a mapping that is none."""

    def __init__(self, path: Path, mapping: SourceMapping | None = None) -> None:
        self.path = path
        self.mapping = mapping_of(path.name if mapping is None else mapping)
        self._known: tuple[tuple[int, ...], str] | None = None

    def sha256(self) -> str:
        """Return a SHA-256 (hex) of the file's bytes and its mapping. It is read again only when it was changed.

        Raises Unavailable when the file cannot be read, or changes meanwhile.
        """
        state = self._state()
        if self._known is None or self._known[0] != state:
            try:
                with open_regular(self.path) as file:
                    digest = hashlib.file_digest(file, "sha256")
                digest.update(bytes.fromhex(self.mapping.sha256()))
            except OSError:
                raise Unavailable("A source's file cannot be read; look at its path and permissions.") from None
            if self._state() != state:
                raise Unavailable("A source's file is being written; replace it in one step, by renaming.")
            self._known = (state, digest.hexdigest())
        return self._known[1]

    def _state(self) -> tuple[int, ...]:
        try:
            stat = self.path.stat()
        except OSError:
            raise Unavailable("A source's file is not there; look at its path and permissions.") from None
        return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def columns(self) -> list[str]:
        """Return which columns there are, each by its name in a policy; raise FileRefused where none can be read."""
        there = self._names()
        mapped = [name for name in self.mapping.columns if self.mapping.name_in_file(name) in there]
        return [*mapped, *(name for name in there if name not in self.mapping.columns)]

    def _names(self) -> list[str]:
        try:
            if self.mapping.is_csv:
                return header_of(self.path, self.mapping.csv)
            with pq.ParquetFile(self.path) as file:
                return list(file.schema_arrow.names)
        except Unavailable as error:
            raise FileRefused(error.message) from None
        except Exception:  # noqa: BLE001 - no library promises what it raises for a file that it was given
            raise FileRefused(DAMAGED) from None

    def kinds(self, wanted: Sequence[str]) -> dict[str, str]:
        """Return what each wanted column is carried as (see ``kinds``): what is read by readers as text."""
        if self.mapping.is_csv:
            return dict.fromkeys(wanted, "text")
        with pq.ParquetFile(self.path) as file:
            return {name: "text" if self.mapping.readers(name) else self._rule(file, name).carried for name in wanted}

    def _rule(self, file: pq.ParquetFile, name: str) -> ReadRule:
        return rule_of_type(_field(file.schema_arrow, self.mapping.name_in_file(name)).type)

    def read(self, wanted: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the wanted columns in parts under the names ``c0``, ``c1`` …, and the row's ``position``, from 0.

        There is at least one part. A name that repeats in the file counts where it stands first. Raises QuotesDoNotFit
        for a CSV file that is not to be trusted, and what pyarrow does for a damaged Parquet file.
        """
        in_file = [self.mapping.name_in_file(name) for name in wanted]
        readers = [self.mapping.readers(name) for name in wanted]
        if self.mapping.is_csv:
            header = header_of(self.path, self.mapping.csv)
            for part in read_columns(self.path, [header.index(name) for name in in_file], self.mapping.csv):
                yield _as_read(part, readers)
        else:
            for part in _read_parquet(self.path, in_file, [bool(each) for each in readers]):
                yield _as_read(part, readers)

    def read_as_it_stands(self, wanted: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the same parts as ``read``, each value as text, as it stands in the file: for the holder's own eyes."""
        in_file = [self.mapping.name_in_file(name) for name in wanted]
        if self.mapping.is_csv:
            header = header_of(self.path, self.mapping.csv)
            yield from read_columns(self.path, [header.index(name) for name in in_file], self.mapping.csv)
        else:
            yield from _read_parquet(self.path, in_file, [True] * len(in_file))


def _as_read(part: pa.Table, readers: Sequence[Sequence[ColumnReader]]) -> pa.Table:
    for number, each in enumerate(readers):
        if each:
            text = part.column(number).combine_chunks().cast(pa.large_string())
            part = part.set_column(number, part.column_names[number], read_in_order(text, each))
    return part


def _field(schema: Any, name: str) -> Any:
    return schema.field(schema.names.index(name))


def _read_parquet(path: Path, wanted: Sequence[str], as_text: Sequence[bool]) -> Iterator[pa.Table]:
    names = [*(f"c{number}" for number in range(len(wanted))), POSITION]
    with pq.ParquetFile(path) as file:
        first = 0
        for batch in file.iter_batches(columns=list(dict.fromkeys(wanted)), batch_size=ROWS_AT_ONCE):
            yield _part(batch, wanted, as_text, names, first)
            first += batch.num_rows
        if not first:
            yield _part(file.schema_arrow.empty_table().combine_chunks(), wanted, as_text, names, 0)


def _part(rows: Any, wanted: Sequence[str], as_text: Sequence[bool], names: list[str], first: int) -> pa.Table:
    columns = []
    for name, is_text in zip(wanted, as_text, strict=True):
        column = rows.column(rows.schema.names.index(name))
        columns.append(text_of(column) if is_text else carry(column))
    return pa.table([*columns, pa.array(np.arange(first, first + rows.num_rows))], names=names)
