"""What an engine outside the node promises: to bound one view, give its rows back, and keep nothing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import ibis.expr.operations as ops
import pyarrow as pa
from msgspec import Struct


class BoundingJob(Struct, frozen=True, kw_only=True):
    """A view to be bounded: an Ibis expression, and for each table that it names what gives that table's rows.

    Each is called once, and read to its end before the next is called.
    """

    expression: Any
    given: Mapping[str, Callable[[], pa.RecordBatchReader]]

    @property
    def tables(self) -> Mapping[str, Callable[[], pa.RecordBatchReader]]:
        """All tables that are read by name: those given, and the lists of values that the expression brings."""
        brought = self.expression.op().find(ops.InMemoryTable)
        return {**self.given, **{each.name: each.data.to_pyarrow(each.schema).to_reader for each in brought}}

    @property
    def schema(self) -> pa.Schema:
        """What the result's columns are."""
        return self.expression.schema().to_pyarrow()


class BoundingEngine(Protocol):
    """An engine of a holder's own. Safe to use from one thread at a time."""

    def bounding(self, job: BoundingJob) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        """Give the rows of one bounded view for as long as the block lasts.

        However it ends, what was given to the engine is gone from it then, or as soon as it sees that nobody is there.
        Raises Unavailable, with no value and no address in its words, where the engine does not do its part: when
        the block is entered or while rows are read.
        """
