"""A file's rows on their way into a snapshot: whose each is, and the how-manieth of that resident's, in the file's order.

Customers are the same if their text is. A whole number has one text only ("7", never "07"), so for a column of whole
numbers the few customers are turned into numbers rather than the many rows into text.

All of it is one pass: customers are looked up in a hash table of the links, whose size hangs on the links and not on
the file; and a resident's next number is a counter. So nothing is sorted, and no row waits for another one. A row's
number is that of its resident's rows before it and of nobody else's, which ``trust.node.data.bounding`` rests on.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from trust.node.data.bounding import CUSTOMER, NUMBER, SALT, SLOT
from trust.node.sources.kinds import CARRIED
from trust.node.sources.tables.one_table import POSITION

AT_ONCE = 122_880
_GIVEN, _KNOWN, _ASKED = "given_links", "known_links", "asked_rows"
_PLACE_BITS = 32


class LinkedRows:
    """The rows of linked customers among those of a file: ``slot``, ``salt``, ``number``, and the columns wanted.

    ``engine`` is for this alone: it has one thread, so that rows come back in the order in which they were asked about.
    ``rows`` has the customer, carried as ``kind``, in ``c0``, and its rows in the order of their ``position``. ``links``
    is (customer, slot, salt), each once; ``numbers`` is for each slot the number that its next row gets, and is counted
    on. ``has_failed`` is set where looking up failed: which is this node's own doing, as no value can bring it about.
    """

    def __init__(
        self, engine: Any, rows: Any, wanted: Sequence[str], kind: str, links: pa.Table, numbers: np.ndarray
    ) -> None:
        self._rows = rows
        self._wanted = list(wanted)
        self._engine = engine
        self._numbers = numbers
        self._waiting: deque[pa.RecordBatch] = deque()
        """What was asked about, and has no answer yet."""
        self.has_failed = False
        engine.register(_GIVEN, links)
        engine.execute("SET threads = 1")
        # A file's rows have no known number, and would be taken for the smaller side of a join, which is built in memory.
        engine.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        number = f"TRY_CAST({CUSTOMER} AS BIGINT)"
        engine.execute(
            f"CREATE TEMP TABLE {_KNOWN} AS SELECT {CUSTOMER}, {SLOT}, CAST({SALT} AS INTEGER) AS {SALT},"
            f" CASE WHEN CAST({number} AS VARCHAR) = {CUSTOMER} THEN {number} END AS number FROM {_GIVEN}"
        )
        if kind == "whole number":
            self._same = f"{_ASKED}.c0 = {_KNOWN}.number"
        else:
            self._same = f"{CARRIED[kind].as_text.format(f'{_ASKED}.c0')} = {_KNOWN}.{CUSTOMER}"

    def reader(self) -> Any:
        """Return them as a reader of batches."""
        return pa.RecordBatchReader.from_batches(self._schema(), self._batches())

    def _schema(self) -> pa.Schema:
        fields = [(SLOT, pa.int32()), (SALT, pa.int32()), (NUMBER, pa.int32())]
        return pa.schema([*fields, *(self._rows.schema.field(name) for name in self._wanted)])

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for found in self._found():
                while found.num_rows:
                    asked = self._waiting.popleft()
                    both = min(asked.num_rows, found.num_rows)
                    if both < asked.num_rows:
                        self._waiting.appendleft(asked.slice(both))
                    yield from self._numbered(asked.slice(0, both), found.slice(0, both))
                    found = found.slice(both)
            if self._waiting:
                raise RuntimeError("Rows of a source were asked about and have no answer.")
        except Exception:
            self.has_failed = True
            raise

    def _found(self) -> Any:
        """Look every row up, in its order: its position, and slot and salt, or nulls."""
        schema = pa.schema([self._rows.schema.field("c0"), self._rows.schema.field(POSITION)])
        self._engine.register(_ASKED, pa.RecordBatchReader.from_batches(schema, self._asked(schema)))
        return self._engine.sql(
            f"SELECT {_ASKED}.{POSITION}, {_KNOWN}.{SLOT}, {_KNOWN}.{SALT} FROM {_ASKED} LEFT JOIN {_KNOWN} ON {self._same}"
        ).to_arrow_reader(AT_ONCE)

    def _asked(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in self._rows:
            self._waiting.append(batch)
            yield pa.record_batch([batch.column("c0"), batch.column(POSITION)], schema=schema)

    def _numbered(self, asked: pa.RecordBatch, found: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yield the linked ones of some rows."""
        if not asked.column(POSITION).equals(found.column(POSITION)):  # else a row would be somebody else's
            raise RuntimeError("A source's rows were not found in their order.")
        slots = found.column(SLOT)
        if slots.null_count:
            is_linked = slots.is_valid()
            asked, found = asked.filter(is_linked), found.filter(is_linked)
            slots = found.column(SLOT)
        if len(slots):
            numbers = pa.array(_counted_on(slots.to_numpy(), self._numbers)).cast(pa.int32())
            columns = [asked.column(name) for name in self._wanted]
            yield pa.record_batch([slots, found.column(SALT), numbers, *columns], schema=self._schema())


def _counted_on(slots: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return each row's number, and count ``numbers`` on, for rows of these slots in this order."""
    keys = (slots.astype(np.int64) << _PLACE_BITS) | np.arange(len(slots))
    keys.sort()
    places, sorted_slots = keys & (2**_PLACE_BITS - 1), keys >> _PLACE_BITS
    begins = np.flatnonzero(np.diff(sorted_slots, prepend=-1))
    sizes = np.diff(begins, append=len(keys))
    found = np.empty(len(keys), np.int64)
    found[places] = numbers[sorted_slots] + np.arange(len(keys)) - np.repeat(begins, sizes)
    numbers[sorted_slots[begins]] += sizes
    return found
