"""Names, whole numbers and columns, as every part of a question looks them up and shows them in a refusal."""

import re
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from ledger.errors import QueryInvalid
from policies.calendar.calendar_units import EXAMPLES
from policies.policy_document import Column, Time, View

INT_BOUND = 2**31
Int = Annotated[int, Meta(ge=-INT_BOUND, le=INT_BOUND)]
"""A whole number in a filter or among edges."""
Label = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\Z")]
"""A name that the question gives."""

_LABEL = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


def is_label(name: str) -> bool:
    """Return whether the text has the form of ``Label``."""
    return _LABEL.fullmatch(name) is not None


def is_int(value: object) -> bool:
    """Return whether the value is an ``Int``, however the question was built."""
    return isinstance(value, int) and not isinstance(value, bool) and -INT_BOUND <= value <= INT_BOUND


def column_of(name: str, view: View) -> Column:
    """Return the view's column of that name; raise QueryInvalid where it has none."""
    column = view.column(name)
    if column is None:
        raise no_such_column(name, view)
    return column


def no_such_column(name: str, view: View) -> QueryInvalid:
    """Return the error for a column that the view does not have; it names those that it has."""
    return QueryInvalid(
        f"The view '{view.name}' has no column {shown(name)}; it has: {first_names([c.name for c in view.columns])}."
    )


def first_names(names: Sequence[str], most: int = 20) -> str:
    """Return the first ``most`` names as a list for an error message, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def shown(name: str) -> str:
    """Return a name for an error message: quoted when it has the form of a name, else only described."""
    return f"'{name}'" if is_label(name) else "of that name"


def place_in_time(column: Time, value: object) -> int:
    """Return how many units after the column's first a text is; raise QueryInvalid where it is not of its unit."""
    place = column.place(value) if isinstance(value, str) else None
    if place is None:
        raise QueryInvalid(
            f"The column '{column.name}' is time by the {column.unit}: its values are text such as "
            f"'{EXAMPLES[column.unit]}'."
        )
    return place
