"""A node's data side: which customers are linked, the bounded views, and exact vectors over them.

One DuckDB database in memory holds the **links**: customer number (as text), the slot 0, 1, 2 … that stands for the
customer everywhere else, and the customer's salt. They come from the node's books at each start.

A **bounded view** (``trust.node.data.bounding``) is a temporary table of the same engine, kept per (policy hash, view
name) for the source's present snapshot and all links; it is made when first asked for, and links that come later are
only added. Nothing of this is ever in a file of its own: it ends with the process, so that nothing of an erased person
stays behind, and a crash leaves nothing half made. (What does not fit into memory DuckDB puts into temporary files,
which are removed at its end and at the next start.) Consent is never in it either: each question brings its own
``counted``.

Links that are not there never count: only linked customers have rows in a view.

Trusted: whoever reads this node's memory or files sees its holder's own customers. No error from here holds a value.
"""

import hmac
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import structlog
from msgspec import Struct

from ledger.errors import ConsentMismatch, MusubiError, NotFound, Unavailable
from policies.policy_document import View
from queries.question.plan import Plan
from trust.node.data.bounding import CUSTOMER, FEW, MODULUS, SALT, SLOT, bounded
from trust.node.data.compute import exact_vector
from trust.node.data.csv_file import QuotesDoNotFit
from trust.node.data.sources import SourceFile

_LINKS = "links"
_BATCH = "batch"
_COUNTED = "counted"
_GIVEN = "given"
_MAX_SLOTS = 2**31 - 1
_DEADLY = (duckdb.FatalException, duckdb.InternalException)
"""After these the engine answers nothing any more."""
logger = structlog.get_logger()


class _Made(Struct):
    """A bounded view as it is in the engine: of which data, and with the links up to which batch."""

    table: str
    view: View
    snapshot: str
    batch: int
    refused: str = ""
    """A later snapshot that was refused: it is not read again."""


class ViewStore:
    """Links, bounded views and vectors of one node. Safe to use from several threads, one at a time inside.

    ``spill`` is a folder for what does not fit into memory, ``sources`` the Parquet or CSV file of each source,
    ``secret`` 32 bytes that only this node has: with the policy's hash they choose rows. Raises Unavailable when the
    folder cannot be emptied.
    """

    def __init__(self, spill: Path, sources: Mapping[str, Path], secret: bytes) -> None:
        self._sources = {name: SourceFile(path) for name, path in sources.items()}
        self._secret = secret
        self._lock = threading.RLock()
        self._made: dict[tuple[str, str], _Made] = {}
        self._tables = 0
        self._spill = spill
        with self._working():
            self._begin()

    def _begin(self) -> None:
        """Have an engine with nothing in it, no links either: they come again from the node's books."""
        # Nothing is fetched from anywhere while the node runs.
        if self._spill.exists():
            shutil.rmtree(self._spill)
        self._engine: Any = ibis.duckdb.connect(
            temp_directory=str(self._spill),
            autoinstall_known_extensions=False,
            autoload_known_extensions=False,
            # It trusts a file's time in seconds; a source replaced within one would be read half old, half new.
            enable_external_file_cache=False,
        )
        self._made.clear()
        self._execute(f"CREATE TABLE {_LINKS} ({CUSTOMER} VARCHAR, {SLOT} INTEGER, {SALT} BIGINT, {_BATCH} BIGINT)")
        self._linked = 0
        self._batch = 0

    def close(self) -> None:
        """End the engine; links and bounded views end with it."""
        with self._working():
            self._made.clear()
            self._engine.disconnect()

    @property
    def linked(self) -> int:
        """One more than the highest slot ever linked: where new links go on."""
        return self._linked

    def snapshot(self, source: str) -> str:
        """Return the SHA-256 (hex) of the source's data as it is now; raise NotFound or Unavailable."""
        with self._lock:
            return self._source(source).snapshot()

    def set_links(self, pairs: Iterable[tuple[str, int]]) -> None:
        """Add (customer, slot) pairs, all or none.

        Each customer has one slot and each slot one customer, for ever: a pair that is there already changes nothing.
        Raises ConsentMismatch for a second slot of a customer, or a slot that was used (also one since erased).
        """
        given = set(pairs)
        if not given:
            return
        fresh = dict(given)
        slots = set(fresh.values())
        if not len(given) == len(fresh) == len(slots):
            raise ConsentMismatch("A customer or a slot is linked twice; each has exactly one of the other.")
        if min(slots) < 0 or max(slots) >= _MAX_SLOTS:
            raise ConsentMismatch("A slot is a whole number from 0.")
        with self._working():
            for customer, slot in self._touching(fresh):
                if customer is None or fresh.pop(customer, None) != slot:
                    raise ConsentMismatch("A customer or a slot is linked already, to another one.")
            if fresh:
                with self._given(_as_table(fresh, self._secret, self._batch + 1)) as rows:
                    self._execute(f"INSERT INTO {_LINKS} FROM {rows}")
                self._batch += 1
                self._linked = max(self._linked, 1 + max(fresh.values()))

    def _touching(self, pairs: Mapping[str, int]) -> list[tuple[str | None, int]]:
        """Return the links that already have one of these customers or slots."""
        columns = {CUSTOMER: pa.array(pairs, pa.string()), SLOT: pa.array(pairs.values(), pa.int32())}
        with self._given(pa.table(columns)) as rows:
            found = self._engine.con.execute(
                f"SELECT {CUSTOMER}, {SLOT} FROM {_LINKS} WHERE {CUSTOMER} IN (SELECT {CUSTOMER} FROM {rows}) "
                f"OR {SLOT} IN (SELECT {SLOT} FROM {rows})"
            )
            return [(customer, int(slot)) for customer, slot in found.fetchall()]

    def materialise(self, policy_sha256: str, view: View) -> None:
        """Have the bounded view ready: of the source's present snapshot, for all links there are.

        Does nothing when it is. Adds the rows of new links when only those are missing. Where the file as it is now was
        refused, the view goes on as it was made of the last one that was not. Raises NotFound for a source that this
        node does not have, Unavailable when its file cannot be read, lacks a column, or was refused and none was good
        before.
        """
        with self._working():
            source = self._source(view.source)
            snapshot = source.snapshot()
            made = self._made.get((policy_sha256, view.name))
            is_same = made is not None and made.view == view
            if made is not None and is_same and made.refused == snapshot:
                return
            try:
                if made is not None and is_same and made.snapshot == snapshot:
                    if made.batch < self._batch:
                        self._engine.insert(made.table, self._bounded(policy_sha256, view, source, made.batch))
                        made.batch = self._batch
                else:
                    self._make(policy_sha256, view, source, snapshot)
            except QuotesDoNotFit:
                logger.warning("source-refused", source=view.source)  # the line follows from rows: it is not for a log
                if made is None or not is_same:
                    raise
                made.refused = snapshot
                return
            finally:
                source.release(self._engine)
            if source.snapshot() != snapshot:
                self._drop(policy_sha256, view.name)
                raise Unavailable("A source's file changed while it was read; try again.")

    def _make(self, policy_sha256: str, view: View, source: SourceFile, snapshot: str) -> None:
        """Make a bounded view anew; what was there before is dropped once that has succeeded."""
        self._tables += 1
        table = f"bounded_{self._tables}"
        try:
            self._engine.create_table(table, self._bounded(policy_sha256, view, source, 0), temp=True)
        except duckdb.Error as error:
            # The engine that one value has killed is made anew (``_working``); the next task reads the other way.
            if not source.read_by_values() or isinstance(error, _DEADLY):
                raise
            logger.info("source-read-by-values", source=view.source)
            self._engine.create_table(table, self._bounded(policy_sha256, view, source, 0), temp=True)
        self._drop(policy_sha256, view.name)
        self._made[policy_sha256, view.name] = _Made(table=table, view=view, snapshot=snapshot, batch=self._batch)

    def vector(self, policy_sha256: str, plan: Plan, counted: np.ndarray[Any, np.dtype[np.bool_]]) -> list[int]:
        """Return the exact integers of ``plan``, in its order, over the residents whose ``counted[slot]`` is True.

        Slots past its end do not count. Raises Unavailable when the plan's very view is not materialised.
        """
        with self._working():
            made = self._made.get((policy_sha256, plan.view.name))
            if made is None or made.view != plan.view:
                raise Unavailable("The view is not materialised; materialise it first.")
            slots = np.flatnonzero(counted).astype(np.int32)
            # As a table of the engine's own, its statistics are known: DuckDB then looks slots up in a plain array
            # rather than a hash table (five times as fast).
            with self._given(pa.table({SLOT: slots})) as rows:
                self._execute(f"CREATE OR REPLACE TEMP TABLE {_COUNTED} AS FROM {rows}")
            return exact_vector(self._engine.table(made.table), self._engine.table(_COUNTED), plan)

    def erase_rows(self, slots: Iterable[int]) -> None:
        """Erase the customers of these slots: their rows in every view, their customer numbers and salts.

        The slot itself stays used, empty. Done again, it changes nothing.
        """
        wanted = sorted(set(slots))
        if not wanted:
            return
        with self._working():
            marks = ", ".join("?" * len(wanted))
            self._execute(f"UPDATE {_LINKS} SET {CUSTOMER} = NULL, {SALT} = 0 WHERE {SLOT} IN ({marks})", wanted)
            for made in self._made.values():
                self._execute(f"DELETE FROM {made.table} WHERE {SLOT} IN ({marks})", wanted)

    def _bounded(self, policy_sha256: str, view: View, source: SourceFile, after_batch: int) -> Any:
        rows = source.read(self._engine, view)
        links = self._engine.table(_LINKS)
        fresh = links.filter(links[CUSTOMER].notnull(), links[_BATCH] > after_batch)
        few = fresh.count().to_pyarrow().as_py() * FEW < rows.count().to_pyarrow().as_py()
        return bounded(rows, fresh, view, self._row_key(policy_sha256, view.name), few_links=few)

    def _row_key(self, policy_sha256: str, view_name: str) -> tuple[int, int]:
        """Return (a, b), with a in 1 … 2^31-2 and b in 0 … 2^31-2, from the secret, the policy and the view."""
        digest = hmac.digest(self._secret, f"musubi/v1/rows\n{policy_sha256}\n{view_name}".encode(), "sha256")
        return 1 + int.from_bytes(digest[:16]) % (MODULUS - 1), int.from_bytes(digest[16:]) % MODULUS

    def _source(self, name: str) -> SourceFile:
        source = self._sources.get(name)
        if source is None:
            raise NotFound(f"This node has no source '{name}'; name its file in node.toml.")
        return source

    def _drop(self, policy_sha256: str, view_name: str) -> None:
        made = self._made.pop((policy_sha256, view_name), None)
        if made is not None:
            self._execute(f"DROP TABLE {made.table}")

    def _execute(self, sql: str, values: list[int] | None = None) -> None:
        # Raw SQL is for what Ibis 12.0 cannot say (UPDATE, DELETE), or says wrongly with
        # these versions of sqlglot and DuckDB (it drops no table: its DROP TABLE has no name; nor can it list them).
        self._engine.con.execute(sql, values or [])

    @contextmanager
    def _given(self, rows: pa.Table) -> Iterator[str]:
        """Give the engine a table for as long as this lasts; yield its name. Nothing of it stays behind."""
        self._engine.con.register(_GIVEN, rows)
        try:
            yield _GIVEN
        finally:
            self._engine.con.unregister(_GIVEN)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Hold the lock, and turn whatever a file or the engine raises into one error that holds no value.

        After some errors the engine answers nothing any more: then there is a new one, which the next task fills.
        """
        with self._lock:
            try:
                yield
            except MusubiError:
                raise
            except Exception as error:  # noqa: BLE001 - no library promises what it raises for a file that it was given
                logger.error("data-failed", kind=type(error).__name__)  # noqa: TRY400 - a trace could hold rows
                if isinstance(error, _DEADLY):
                    self._begin()
                raise Unavailable("The node's data could not be read or kept; look at its disk and sources.") from None


def _as_table(pairs: Mapping[str, int], secret: bytes, batch: int) -> pa.Table:
    """Return links as a table: the salt is HMAC-SHA256(secret, customer) mod 2^31-1."""
    salts = [
        int.from_bytes(hmac.digest(secret, b"musubi/v1/salt\n" + customer.encode(), "sha256")[:16]) % MODULUS
        for customer in pairs
    ]
    return pa.table(
        {
            CUSTOMER: pa.array(pairs, pa.string()),
            SLOT: pa.array(pairs.values(), pa.int32()),
            SALT: pa.array(salts, pa.int64()),
            _BATCH: pa.array([batch] * len(pairs), pa.int64()),
        }
    )
