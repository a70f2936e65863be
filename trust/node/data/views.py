"""A node's data side: which customers are linked, the bounded views, and exact vectors over them.

One DuckDB database in memory holds the **links**: customer number (as text), the slot 0, 1, 2 … that stands for the
customer everywhere else, and the customer's salt. They come from the node's books at each start.

A holder's files come in by ``load`` alone, between questions: each becomes a **snapshot** on the disk
(``trust.node.data.load``). A **bounded view** (``trust.node.data.bounding``) is a temporary table of the engine, kept
per (policy hash, view name), made of the snapshot in use and all links; what later links add is only added. So no
question waits for a file, or depends on whether one can be read. A view whose source was never loaded with its columns
is *not ready*: the node says so before it is asked.

Views and links end with the process, and a crash leaves nothing half made. (What does not fit into memory DuckDB puts
into temporary files, which are removed at its end and at the next start.) Consent is never in a view: each question
brings its own ``counted``.

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
import pyarrow.compute as pc
import structlog
from msgspec import Struct

from ledger.errors import ConsentMismatch, MusubiError, NotReady, Unavailable
from policies.policy_document import View
from queries.question.plan import Plan
from trust.node.data.bounding import CUSTOMER, MODULUS, SALT, SLOT, bounded, drawn
from trust.node.data.compute import exact_vector
from trust.node.data.draws import MOST_ROWS, counts_of, draws_of
from trust.node.data.elsewhere import ElsewhereBounding
from trust.node.data.link_table import link_digest, link_table
from trust.node.data.load import FileLoader
from trust.node.data.load_steps import Links
from trust.node.data.snapshots import Part, PartKey, SnapshotFolder, scan, typed
from trust.node.sources.duckdb_engine import engine_settings, shut_in
from trust.node.sources.mapping import SourceMapping
from trust.node.sources.source_file import SourceFile

_LINKS = "links"
_SNAPSHOT = "snapshot"
_COUNTED = "counted"
_GIVEN = "given"
_DRAWS = "draws"
_AT_ONCE = 2**20
"""Rows that are counted at once."""
_MAX_SLOTS = 2**31 - 1
_DEADLY = (duckdb.FatalException, duckdb.InternalException)
"""After these the engine answers nothing any more."""
DATA_FAILED = "The node's data could not be read or kept; look at its disk and sources."
logger = structlog.get_logger()


class _Made(Struct):
    """A bounded view as it is in the engine: of which parts of a snapshot, by what they call themselves."""

    table: str
    view: View
    makes: list[str]
    mapping: str
    rows: Any
    """The table as Ibis knows it: what its columns are does not have to be asked again."""


class ViewStore:
    """Links, bounded views and vectors of one node. Safe to use from several threads, one at a time inside.

    ``folder`` keeps the snapshots, and what does not fit into memory; ``sources`` are where the sources are,
    ``mappings`` how they are read where that is said, ``secret`` 32 bytes that only this node has: with the policy's
    hash they choose rows; ``elsewhere`` makes the bounded views, where that is not done here. Raises Unavailable when
    the folder cannot be used, Malformed for a mapping that is none.
    """

    def __init__(
        self,
        folder: Path,
        sources: Mapping[str, Path],
        secret: bytes,
        mappings: Mapping[str, SourceMapping] | None = None,
        elsewhere: ElsewhereBounding | None = None,
    ) -> None:
        said = mappings or {}
        self._files = {name: SourceFile(path, said.get(name)) for name, path in sources.items()}
        self._secret = secret
        self._elsewhere = elsewhere
        self._lock = threading.RLock()
        self._made: dict[tuple[str, str], _Made] = {}
        self._loaders: dict[PartKey, FileLoader] = {}
        self._tables = 0
        self._digests: dict[int, str] = {}
        """Of the links below some slots, until a link changes: every turn of the node asks for them."""
        self._spill = folder / "views.tmp"
        self._is_dead = False
        with self._working():
            self._kept = SnapshotFolder(folder / "snapshots")
            self._begin()

    def _begin(self) -> None:
        """Have an engine with nothing in it, no links either: they come again from the node's books."""
        if self._spill.exists():
            shutil.rmtree(self._spill)
        self._engine: Any = ibis.duckdb.connect(**engine_settings(self._spill))
        shut_in(self._engine.con, self._kept.folder)
        self._made.clear()
        self._linked, self._has_links = 0, False
        self._counted: np.ndarray[Any, np.dtype[np.bool_]] | None = None
        """Who counted in the last question, as the engine has them in a table."""
        self._who_counts: Any = None
        self._change_links(f"CREATE TABLE {_LINKS} ({CUSTOMER} VARCHAR, {SLOT} INTEGER, {SALT} BIGINT)")
        self._is_dead = False

    def close(self) -> None:
        """End the engine; links and bounded views end with it."""
        with self._working():
            self._made.clear()
            self._engine.disconnect()

    def _need_links(self) -> None:
        """Raise Unavailable until the links were set: without them every answer is about nobody."""
        if not self._has_links:
            raise Unavailable("The node's links are not there yet; they are read again from its books.")

    @property
    def linked(self) -> int:
        """One more than the highest slot ever linked: where new links go on."""
        return self._linked

    def set_links(self, pairs: Iterable[tuple[str, int]]) -> None:
        """Add (customer, slot) pairs, all or none. Until this was done there are no answers, and no loads.

        Each customer has one slot and each slot one customer, for ever: a pair that is there already changes nothing.
        Raises ConsentMismatch for a second slot of a customer, or a slot that was used (also one since erased).
        """
        given = list(pairs)
        fresh = dict(given)
        slots = set(fresh.values())
        if len(slots) < len(fresh) or (len(fresh) < len(given) and len(fresh) < len(set(given))):
            raise ConsentMismatch("A customer or a slot is linked twice; each has exactly one of the other.")
        if slots and not 0 <= min(slots) <= max(slots) < _MAX_SLOTS:
            raise ConsentMismatch("A slot is a whole number from 0.")
        with self._working():
            for customer, slot in self._touching(fresh) if fresh and self._linked else ():
                if customer is None or fresh.pop(customer, None) != slot:
                    raise ConsentMismatch("A customer or a slot is linked already, to another one.")
            if fresh:
                with self._given(link_table(fresh, self._secret)) as rows:
                    self._change_links(f"INSERT INTO {_LINKS} FROM {rows}")
                self._linked = max(self._linked, 1 + max(fresh.values()))
            self._has_links = True

    def _touching(self, pairs: Mapping[str, int]) -> list[tuple[str | None, int]]:
        """Return the links that already have one of these customers or slots."""
        columns = {CUSTOMER: pa.array(pairs, pa.string()), SLOT: pa.array(pairs.values(), pa.int32())}
        with self._given(pa.table(columns)) as rows:
            found = self._engine.con.execute(
                f"SELECT {CUSTOMER}, {SLOT} FROM {_LINKS} WHERE {CUSTOMER} IN (SELECT {CUSTOMER} FROM {rows}) "
                f"OR {SLOT} IN (SELECT {SLOT} FROM {rows})"
            )
            return [(customer, int(slot)) for customer, slot in found.fetchall()]

    def load(self, views: Iterable[View]) -> None:
        """Take in the files of these views' sources where they, the links or the views are not as they were loaded.

        Does nothing when all is. What is in a file decides nothing but whether it is taken in: one that is refused, or
        not there, leaves what was in use. Raises Unavailable where this node's disk or memory does not do its part; the
        other sources are taken in all the same.
        """
        grouped: dict[PartKey, list[View]] = {}
        for view in views:
            if view.source in self._files:
                grouped.setdefault(PartKey(view.source, view.resident), []).append(view)
        failed: MusubiError | None = None
        for key, group in grouped.items():
            try:
                with self._working():
                    self._need_links()
                    if key not in self._loaders:
                        self._loaders[key] = FileLoader(key, self._files[key.source], self._kept)
                    self._loaders[key].refresh(group, self._links())
            except MusubiError as error:
                failed = error
        if failed is not None:
            raise failed

    def _links(self) -> Links:
        def digest(below: int) -> str:
            if below not in self._digests:
                links = self._links_from(0)
                self._digests[below] = link_digest(links.filter(pc.less(links[SLOT], below)), self._secret)
            return self._digests[below]

        return Links(from_slot=self._links_from, digest=digest, below=self._linked)

    def _links_from(self, slot: int) -> pa.Table:
        query = f"SELECT {CUSTOMER}, {SLOT}, {SALT} FROM {_LINKS} WHERE {CUSTOMER} IS NOT NULL AND {SLOT} >= ?"
        return self._engine.con.sql(query, params=[slot]).to_arrow_table()

    def is_ready(self, view: View) -> bool:
        """Tell whether there was ever a good load of the view's source, with all its columns."""
        return bool(self._parts(view))

    def _parts(self, view: View) -> list[Part]:
        parts = self._kept.parts(PartKey(view.source, view.resident)) if view.source in self._files else []
        needed = {typed(column).stored for column in view.columns}
        return parts if parts and needed <= set(parts[0].contents.columns) else []

    def mapping_of(self, view: View) -> str:
        """Return the hash of how the file behind a view was read; "" where there is none, or it was not kept yet."""
        parts = self._parts(view)
        return parts[0].contents.mapping if parts else ""

    def materialise(self, policy_sha256: str, view: View) -> None:
        """Have the bounded view ready, of the snapshot in use. Does nothing when it is.

        No file is looked at. Raises NotReady where there was no good load of the source with the view's columns, and
        Unavailable where another engine fails that is to make it, and no view of this kind was made before.
        """
        with self._working():
            parts = self._parts(view)
            if not parts:
                raise NotReady("This node has no data yet for that view.")
            self._need_links()
            made = self._made.get((policy_sha256, view.name))
            makes = [part.contents.make for part in parts]
            try:
                fresh = parts[len(made.makes) :] if made is not None else parts
                # Rows of new files are of residents who have rows already: which of all of them stay is chosen anew.
                is_more = made is not None and not any(part.contents.from_file for part in fresh)
                if made is None or not is_more or made.view != view or made.makes != makes[: len(made.makes)]:
                    self._make(policy_sha256, view, parts)
                elif made.makes != makes:
                    self._add(policy_sha256, made, fresh)
                    made.makes = makes
            except duckdb.Error:
                self._kept.check(PartKey(view.source, view.resident))  # what is damaged is missing, and loaded again
                raise
            except Unavailable:
                # Another engine failed. The view that there is goes on, unless it was read otherwise than we sign.
                if made is None or made.view != view or made.mapping != parts[0].contents.mapping:
                    raise

    def _make(self, policy_sha256: str, view: View, parts: list[Part]) -> None:
        """Make a bounded view anew; what was there before is dropped once that has succeeded."""
        table = self._new_table(policy_sha256, view, parts)
        self._drop(policy_sha256, view.name)
        makes = [part.contents.make for part in parts]
        mapping = parts[0].contents.mapping
        self._made[policy_sha256, view.name] = _Made(
            table=table, view=view, makes=makes, mapping=mapping, rows=self._engine.table(table)
        )

    def _add(self, policy_sha256: str, made: _Made, parts: list[Part]) -> None:
        """Add the rows of some parts to a bounded view, all or none."""
        table = self._new_table(policy_sha256, made.view, parts)
        self._execute(f"INSERT INTO {made.table} FROM {table}")
        self._execute(f"DROP TABLE {table}")

    def _new_table(self, policy_sha256: str, view: View, parts: list[Part]) -> str:
        """Return the name of a new table with the bounded view of some parts."""
        self._tables += 1
        table = f"bounded_{self._tables}"
        self._execute(f"CREATE OR REPLACE TEMP VIEW {_SNAPSHOT} AS FROM {scan(parts)}")
        key = self._row_key(policy_sha256, view.name)
        if self._elsewhere is None:
            self._make_here(table, view, key)
        else:
            links = f"(SELECT {SLOT}, {SALT} FROM {_LINKS} WHERE {CUSTOMER} IS NOT NULL)"
            self._elsewhere.make(self._engine.con, table, _SNAPSHOT, links, view, key)
        return table

    def _make_here(self, table: str, view: View, key: tuple[int, int]) -> None:
        """Make the bounded view of the snapshot's rows as a table, or none."""
        links = self._engine.con.sql(f"SELECT {SLOT}, {SALT} FROM {_LINKS} WHERE {CUSTOMER} IS NOT NULL")
        links = links.to_arrow_table()
        salts = np.full(self._linked, -1, np.int64)
        salts[links[SLOT].to_numpy()] = links[SALT].to_numpy()
        rows = self._engine.con.sql(f"SELECT {SLOT}, {SALT} FROM {_SNAPSHOT}").to_arrow_reader(_AT_ONCE)
        counts = counts_of(rows, salts)
        snapshot = self._engine.table(_SNAPSHOT)
        try:
            with self._given(draws_of(counts, salts, view.rows_per_resident, key)) as given:
                self._execute(f"CREATE OR REPLACE TEMP TABLE {_DRAWS} AS FROM {given}")
            made = drawn(snapshot, self._engine.table(_DRAWS), view)
            # In the order of slots, each question looks up who counts where it looked the row before.
            self._engine.create_table(table, made.order_by(SLOT), temp=True)
            if (counts > MOST_ROWS).any():
                many = np.flatnonzero(counts > MOST_ROWS)
                with self._given(pa.table({SLOT: pa.array(many, pa.int32()), SALT: salts[many]})) as given:
                    self._execute(f"CREATE OR REPLACE TEMP TABLE {_DRAWS} AS FROM {given}")
                self._engine.insert(table, bounded(snapshot, self._engine.table(_DRAWS), view, key))
        except BaseException:
            self._execute(f"DROP TABLE IF EXISTS {table}")
            raise
        finally:
            self._execute(f"DROP TABLE IF EXISTS {_DRAWS}")

    def vector(self, policy_sha256: str, plan: Plan, counted: np.ndarray[Any, np.dtype[np.bool_]]) -> list[int]:
        """Return the exact integers of ``plan``, in its order, over the residents whose ``counted[slot]`` is True.

        Slots past its end do not count. Raises Unavailable when the plan's very view is not materialised.
        """
        with self._working():
            self._need_links()
            made = self._made.get((policy_sha256, plan.view.name))
            if made is None or made.view != plan.view:
                raise Unavailable("The view is not materialised; materialise it first.")
            self._count(counted)
            return exact_vector(made.rows, self._who_counts, plan)

    def _count(self, counted: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Have the slots that count as a table, made anew where they are others than those of the last question."""
        if self._counted is not None and np.array_equal(self._counted, counted):
            return
        self._counted = None  # an error below leaves no table that is taken for another one
        # As a table of the engine's own, its statistics are known: DuckDB then looks slots up in a plain array
        # rather than a hash table (five times as fast).
        with self._given(pa.table({SLOT: np.flatnonzero(counted).astype(np.int32)})) as rows:
            self._execute(f"CREATE OR REPLACE TEMP TABLE {_COUNTED} AS FROM {rows}")
        self._who_counts = self._engine.table(_COUNTED)
        self._counted = counted.copy()

    def erase_rows(self, slots: Iterable[int]) -> None:
        """Erase the customers of these slots: their rows in every view and snapshot, their numbers and salts.

        The slot itself stays used, empty. Done again, it changes nothing. Returns when that is durable.
        """
        wanted = sorted(set(slots))
        if not wanted:
            return
        with self._working():
            marks = ", ".join("?" * len(wanted))
            self._change_links(f"UPDATE {_LINKS} SET {CUSTOMER} = NULL, {SALT} = 0 WHERE {SLOT} IN ({marks})", wanted)
            for made in self._made.values():
                self._execute(f"DELETE FROM {made.table} WHERE {SLOT} IN ({marks})", wanted)
            self._kept.drop(wanted)

    def keep_only(self, pairs: Iterable[tuple[str, int]]) -> None:
        """Take out of memory and every snapshot whatever is of no (customer, slot) of these: durably."""
        links = link_table(dict(pairs), self._secret)
        with self._working():
            with self._given(links) as rows:
                known = (
                    f"EXISTS (FROM {rows} WHERE {rows}.{SLOT} = {_LINKS}.{SLOT} AND {rows}.{SALT} = {_LINKS}.{SALT})"
                )
                self._change_links(f"UPDATE {_LINKS} SET {CUSTOMER} = NULL, {SALT} = 0 WHERE NOT {known}")
                for made in self._made.values():
                    self._execute(f"DELETE FROM {made.table} WHERE {SLOT} NOT IN (SELECT {SLOT} FROM {rows})")
            self._kept.keep_only(links)

    def _row_key(self, policy_sha256: str, view_name: str) -> tuple[int, int]:
        """Return (a, b), with a in 1 … 2^31-2 and b in 0 … 2^31-2, from the secret, the policy and the view."""
        digest = hmac.digest(self._secret, f"musubi/v1/rows\n{policy_sha256}\n{view_name}".encode(), "sha256")
        return 1 + int.from_bytes(digest[:16]) % (MODULUS - 1), int.from_bytes(digest[16:]) % MODULUS

    def _drop(self, policy_sha256: str, view_name: str) -> None:
        made = self._made.pop((policy_sha256, view_name), None)
        if made is not None:
            self._execute(f"DROP TABLE {made.table}")

    def _change_links(self, sql: str, values: list[int] | None = None) -> None:
        self._digests.clear()
        self._execute(sql, values)

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

        After some errors the engine answers nothing any more: then there is a new one, which answers nothing either
        until the links are set again.
        """
        with self._lock:
            try:
                if self._is_dead:
                    self._begin()
                yield
            except MusubiError:
                raise
            except Exception as error:  # noqa: BLE001 - no library promises what it raises for a file that it was given
                logger.error("data-failed", kind=type(error).__name__, why=DATA_FAILED)  # noqa: TRY400 - a trace could hold rows
                if isinstance(error, _DEADLY):
                    self._is_dead, self._has_links, self._linked = True, False, 0
                raise Unavailable(DATA_FAILED) from None
