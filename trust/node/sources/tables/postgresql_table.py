"""A table of a holder's PostgreSQL, read in one moment's state, by a transaction that only reads.

**What each type is read as** stands in ``TYPES``, by its name in ``pg_type``; a domain is read as the type below it, an
enum as text. A column of any other type is null. Nothing is asked of the server that can fail for a value.

**Order.** A table has none, and a row that is written again moves. So rows are put in the order of the columns that
``order`` names, then of the primary key, and where there is none, of all that is in them (byte by byte). Rows that are
alike in all of it are alike for every view.

**When it is read.** Every ``every`` seconds the server's own counters of rows written, changed and removed are looked
at (``pg_stat_all_tables``); they, the table's columns and the server's start are its version. A new one has it read
anew.

The address may hold a password: it is in a file of mode 0600, or in the environment, and never in a message from here.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow as pa
from msgspec import Struct

from ledger.errors import Unavailable
from trust.node.sources.kinds import LONGEST, carry, text_of
from trust.node.sources.mapping import SourceMapping
from trust.node.sources.postgresql_session import PostgresqlSession, address_of
from trust.node.sources.tables.one_table import AT_ONCE, POSITION, FileRefused, RowsInOrder, identifier
from trust.node.sources.tables.values import unread_value
from trust.runtime.clock import system_ticks

LOOK_AGAIN_SECONDS = 60
"""After which a server that could not be asked is asked again, at the latest."""
NO_SERVER = "A source's database cannot be asked; look at its address, its user and whether it runs."
BEGIN = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""A transaction that reads one moment's state, of all rows or none."""
SETTINGS = {
    "datestyle": "ISO",
    "timezone": "UTC",
    "row_security": "off",  # a policy that hides rows is an error, and not fewer rows
}


class ReadType(Struct, frozen=True):
    """How one type is asked for, the Arrow type that comes of it, and what a text is turned into, or None."""

    sql: str
    type_: Any
    made: Callable[[str], Any] | None = None


_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


def _text(value: str) -> str | None:
    return value if 0 < len(value) <= LONGEST else None


def _decimal(value: str) -> str | None:
    if not _DECIMAL.fullmatch(value):
        return None
    return value.rstrip("0").rstrip(".") if "." in value else value


def _calendar(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a reader of what is in the calendar; years before 1 and after 9999, infinity and 24:00 are not."""

    def made(value: str) -> Any:
        try:
            return read(value)
        except ValueError:
            return None

    return made


TYPES: dict[str, ReadType] = {
    **dict.fromkeys(("int2", "int4", "int8"), ReadType("{}::int8", pa.int64())),
    "bool": ReadType("{}", pa.bool_()),
    "float4": ReadType("{}", pa.float32()),
    "float8": ReadType("{}", pa.float64()),
    "numeric": ReadType("{}::text", pa.string(), _decimal),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "uuid"), ReadType("{}::text", pa.string(), _text)),
    "date": ReadType("{}::text", pa.date32(), _calendar(date.fromisoformat)),
    "timestamp": ReadType("{}::text", pa.timestamp("us"), _calendar(datetime.fromisoformat)),
    "timestamptz": ReadType(
        "({} AT TIME ZONE 'UTC')::text", pa.timestamp("us", tz="UTC"), _calendar(datetime.fromisoformat)
    ),
    "time": ReadType("{}::text", pa.time64("us"), _calendar(time.fromisoformat)),
}
"""What is read of each type."""
NOTHING = ReadType("NULL::text", pa.null())

_TABLE = """
SELECT c.oid, c.relkind::text, current_setting('server_encoding'), current_setting('track_counts'),
  (SELECT string_agg(concat_ws(' ', s.relid, s.n_tup_ins, s.n_tup_upd, s.n_tup_del, pg_relation_filenode(s.relid)), ';'
     ORDER BY s.relid) FROM pg_stat_all_tables s
     WHERE s.relid = c.oid OR s.relid IN (SELECT relid FROM pg_partition_tree(c.oid))),
  pg_postmaster_start_time()::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'm')
"""
_COLUMNS = """
WITH RECURSIVE below AS (
  SELECT a.attname, a.attnum, a.atttypid AS typid FROM pg_attribute a
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attname, b.attnum, t.typbasetype FROM below b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype = 'd'
)
SELECT b.attname::text, CASE WHEN t.typtype = 'e' THEN 'text' ELSE t.typname::text END
FROM below b JOIN pg_type t ON t.oid = b.typid JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype <> 'd' AND (n.nspname = 'pg_catalog' OR t.typtype = 'e') OR t.typtype NOT IN ('d', 'b', 'e')
ORDER BY b.attnum
"""
_KEY = """
SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = $1 AND i.indisprimary ORDER BY array_position(i.indkey::int2[], a.attnum)
"""


class _There(Struct, frozen=True):
    """A table as the server describes it."""

    kind: str
    columns: dict[str, str]
    key: list[str]
    version: str


class PostgresqlTable(RowsInOrder):
    """One table of a server. ``path`` is the file with its address, where it is in one."""

    def __init__(self, path: Path, mapping: SourceMapping) -> None:
        self._path = path
        self._mapping = mapping
        self._schema = mapping.schema or "public"
        self._looked: tuple[float, str | Unavailable] | None = None

    def version(self) -> str:
        """Return what tells this state of the table from others (hex); raise Unavailable where it cannot be asked.

        The server is asked once in so many seconds. What it refuses is its version too: it is said when it is read.
        """
        now = system_ticks()
        if self._looked is None or now >= self._looked[0]:
            try:
                with self._session() as session:
                    found: str | Unavailable = session.run(self._describe(session)).version
                again = self._mapping.every
            except FileRefused as error:
                found, again = (
                    hashlib.sha256(error.reason.encode()).hexdigest(),
                    min(self._mapping.every, LOOK_AGAIN_SECONDS),
                )
            except Unavailable as error:
                found, again = error, min(self._mapping.every, LOOK_AGAIN_SECONDS)
            self._looked = (now + again, found)
        if isinstance(self._looked[1], Unavailable):
            raise self._looked[1]
        return self._looked[1]

    def names(self) -> list[str]:
        """Return the names of its columns; raise FileRefused where there is no such table, or it may not be read."""
        with self._session() as session:
            return list(session.run(self._describe(session)).columns)

    def types(self, columns: Sequence[str]) -> list[Any]:
        """Return the Arrow types that come of some columns."""
        with self._session() as session:
            there = session.run(self._describe(session))
        return [_read_as(there.columns[name]).type_ for name in columns]

    def read(self, columns: Sequence[str], as_text: Sequence[bool], *, with_unread: bool = False) -> Iterator[pa.Table]:
        """Yield some columns of one moment's rows, in their order, each as it is carried, or as text."""
        with self._session() as session:
            there = session.run(self._describe(session))
            wanted = [_read_as(there.columns[name]) for name in columns]
            cursor = session.run(session.connection.cursor(self._query(there, columns)))
            first = 0
            while rows := session.run(cursor.fetch(AT_ONCE)):
                yield _part(rows, wanted, as_text, first, with_unread=with_unread)
                first += len(rows)
            if not first:
                yield _part([], wanted, as_text, 0, with_unread=with_unread)

    def _query(self, there: _There, columns: Sequence[str]) -> str:
        lacking = [name for name in self._mapping.order if name not in there.columns]
        if lacking:
            raise FileRefused("It lacks a column that its order in node.toml names.", detail=", ".join(lacking))
        order = [*self._mapping.order, *there.key]
        by = [identifier(name) for name in order if _read_as(there.columns[name]) is not NOTHING]
        if not there.key:
            by += [
                f'{identifier(name)}::text COLLATE "C"'
                for name, type_ in there.columns.items()
                if name not in order and _read_as(type_) is not NOTHING
            ]
        asked = [_read_as(there.columns[name]).sql.format(identifier(name)) for name in columns]
        only = "ONLY " if there.kind == "r" else ""
        return (
            f"SELECT {', '.join(asked)} FROM {only}{identifier(self._schema)}.{identifier(self._mapping.table)}"
            f"{' ORDER BY ' + ', '.join(by) if by else ''}"
        )

    async def _describe(self, session: PostgresqlSession) -> _There:
        found = await session.connection.fetchrow(_TABLE, self._schema, self._mapping.table)
        if found is None:
            raise FileRefused(
                "The database has no table of that name (a view is none); look at schema and table in node.toml."
            )
        oid, kind, encoding, counts, written, started = found
        if encoding != "UTF8":
            raise FileRefused(
                "The database is not in UTF-8; the node reads one that is, or a CSV file with its encoding."
            )
        if counts != "on":
            raise FileRefused(
                "The database counts no changes (track_counts is off); the node would not see what is new."
            )
        columns = dict(map(tuple, await session.connection.fetch(_COLUMNS, oid)))
        key = [name for (name,) in await session.connection.fetch(_KEY, oid)]
        told = repr((oid, written, started, columns, key)).encode()
        return _There(kind=kind, columns=columns, key=key, version=hashlib.sha256(told).hexdigest())

    @contextmanager
    def _session(self) -> Iterator[PostgresqlSession]:
        session = PostgresqlSession()
        try:
            try:
                address = address_of(
                    "A source", self._mapping.dsn, self._mapping.dsn_env, self._path if self._mapping.dsn_file else None
                )
                session.run(session.open(address, SETTINGS))
                session.run(session.connection.execute(BEGIN))
            except Unavailable:
                raise
            except Exception:  # noqa: BLE001 - what a driver raises for an address may repeat its password
                raise Unavailable(NO_SERVER) from None
            try:
                yield session
            except asyncpg.InsufficientPrivilegeError:
                raise FileRefused(
                    "The node's user may not read all rows of the table: GRANT SELECT ON it to that user."
                ) from None
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                raise Unavailable(NO_SERVER) from None
        finally:
            session.close()


def _read_as(type_: str) -> ReadType:
    return TYPES.get(type_, NOTHING)


def _part(
    rows: Sequence[Any], wanted: Sequence[ReadType], as_text: Sequence[bool], first: int, *, with_unread: bool
) -> pa.Table:
    columns, unread = [], []
    for number, (read, is_text) in enumerate(zip(wanted, as_text, strict=True)):
        made = read.made
        there = values = [row[number] for row in rows]
        if made is not None:
            values = [None if value is None else made(value) for value in values]
        column = pa.array(values, read.type_)
        columns.append(text_of(column) if is_text else carry(column))
        if with_unread:
            are_lost = columns[-1].is_null().to_pylist()
            shown = [unread_value(each) if is_lost else None for each, is_lost in zip(there, are_lost, strict=True)]
            unread.append(pa.array(shown, pa.string()))
    names = [*(f"{sign}{number}" for sign in ("cu" if with_unread else "c") for number in range(len(wanted))), POSITION]
    return pa.table([*columns, *unread, pa.array(range(first, first + len(rows)), pa.int64())], names=names)
