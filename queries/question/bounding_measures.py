"""The measures of what bounding left out, for views whose policy allows them (``View.bounding_measures``)."""

from dataclasses import dataclass
from typing import Self

from msgspec import UNSET

from ledger.errors import QueryInvalid
from policies.policy_document import Measure, View
from queries.question.columns import column_of
from queries.question.measure_forms import (
    Call,
    Direction,
    Gettext,
    MeasureAsked,
    ReleasedMeasure,
    Seen,
)
from queries.question.primitives import Primitive
from queries.question.sensitivity import squared_by_cells, squared_by_rows


@dataclass(frozen=True)
class OverLimitMeasure(ReleasedMeasure):
    """How many distinct residents of the cell had more rows than the view keeps of one, at that holder.

    Whether a resident had more is one bit, known before bounding, of all their rows there: neither filters nor groups
    change it. Filters and groups decide where it is counted, by the rows that were kept.

    Sensitivity: as ``residents``, of which it counts those whose bit is set: a 1 in each cell that holds a kept row of
    the resident, so at most min(R, cells) of them, and 1 without groups. The bit of everybody else follows from their
    own rows alone, so it is the same in both data sets.
    """

    form = frozenset({"over_limit"})
    listed = "over_limit"
    function = "RESIDENTS_OVER_LIMIT"
    name: str
    column: str = ""

    @classmethod
    def of(cls, asked: MeasureAsked) -> Self | None:
        """Read ``over_limit``."""
        return cls(asked.as_) if asked.over_limit is not UNSET else None

    @classmethod
    def from_sql(cls, call: Call, label: str) -> MeasureAsked:
        """Read ``RESIDENTS_OVER_LIMIT()``."""
        if call.arguments:
            raise QueryInvalid("RESIDENTS_OVER_LIMIT takes nothing in its brackets.")
        return MeasureAsked(as_=label or "residents_over_limit", over_limit="residents")

    def primitives(self, view: View, cells: int) -> list[Primitive]:
        """Return ``over_limit``."""
        _check_allowed(self.function, view)
        return [Primitive(kind="over_limit", squared_sensitivity=squared_by_cells(view.rows_per_resident, cells))]

    def words(self, gettext: Gettext, title: str, unit: str) -> tuple[str, str]:
        """Say what is counted."""
        return gettext("number of people with more records than are used"), ""

    def direction(self, view: View, seen: Seen) -> Direction:
        """Rows are only left out; each resident with a row keeps one, in some cell."""
        return Direction("exact" if seen.all else "at-least")


@dataclass(frozen=True)
class ClippedMeasure(ReleasedMeasure):
    """How many kept rows stand at a bound of the column because their value was outside, and so was moved to it.

    Sensitivity: each row adds 1, or 0 where its value was inside or there was none.
    """

    form = frozenset({"clipped"})
    listed = "clipped"
    function = "CLIPPED"
    name: str
    column: str

    @classmethod
    def of(cls, asked: MeasureAsked) -> Self | None:
        """Read ``clipped``."""
        return cls(asked.as_, asked.clipped) if asked.clipped is not UNSET else None

    @classmethod
    def from_sql(cls, call: Call, label: str) -> MeasureAsked:
        """Read ``CLIPPED(column)``."""
        name = call.column("CLIPPED takes one column")
        return MeasureAsked(as_=label or f"clipped_{name}", clipped=name)

    def primitives(self, view: View, cells: int) -> list[Primitive]:
        """Return ``clipped``."""
        _check_allowed(self.function, view)
        if not isinstance(column_of(self.column, view), Measure):
            raise QueryInvalid(f"The column '{self.column}' is not a measure, so no value of it is clipped.")
        squared = squared_by_rows(view.rows_per_resident)
        return [Primitive(kind="clipped", column=self.column, squared_sensitivity=squared)]

    def words(self, gettext: Gettext, title: str, unit: str) -> tuple[str, str]:
        """Say what is counted."""
        return gettext("number of records with %(column)s moved to a bound") % {"column": title}, ""

    def direction(self, view: View, seen: Seen) -> Direction:
        """Rows are only left out."""
        return Direction("at-least")


def _check_allowed(function: str, view: View) -> None:
    if view.bounding_measures is UNSET:
        raise QueryInvalid(
            f"The view '{view.name}' does not allow {function}: only a policy whose view says bounding_measures = true "
            "lets questions ask what bounding left out."
        )
