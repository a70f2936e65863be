"""The bounded view as Ibis expressions: a snapshot's rows, columns coded and clipped, at most R rows of each resident.

**Which rows.** Let a resident's rows be numbered r = 0 … c-1 in the source's order, let p = 2^31 - 1, and let k be
their key number

    k = (a · salt + b) mod p

where (a, b), a ≠ 0, come from the node's secret, the policy's hash and the view's name, and ``salt`` from the secret
and the customer number. Each row gets a priority

    x0 = (a · r + k) mod p      x1 = (x0^5 + k) mod p      x2 = x1^5 mod p

and the R rows with the least x2 are kept.

- *At most R, and as many as there are up to R.* r ↦ x2 is a permutation of 0 … p-1: each step is one (5 divides not
  p - 1, so that the fifth power is). So no two of a resident's rows have the same priority, and c < p.
- *Fair as a draw is.* Over the keys, which rows are kept is as if R of c had been drawn: no rhythm of a resident's rows
  (there and back, once a week) is kept more than its share, and rows that are alike do not stand or fall together. An
  even spread, each c/R-th row, is fair to every row and unfair to rhythms.
- *The resident's own.* k and r depend on that resident alone. So the kept rows of everybody else are the same with or
  without them, which ``queries.question.sensitivity`` builds on. A hash of a row's place in the whole file would not
  do: each row taken out would renumber, and so choose anew, everybody's.
- *The same every time*, on every engine: whole numbers below 2^62, ``+ * %``, and one window.

Every expression is total: nothing that can raise or that depends on the order of a sum.
"""

from typing import Any

import ibis
import pyarrow as pa
from msgspec import UNSET

from policies.policy_document import Category, Measure, Range, Time, View
from trust.node.data.snapshots import typed

MODULUS = 2**31 - 1
"""A prime, so that products of two remainders stay below 2^62 on every engine."""
NO_CODE = -1
"""The code of a category's value that is not in its list: no group, no filter."""
SLOT = "slot"
CUSTOMER = "customer"
SALT = "salt"
NUMBER = "number"
"""The place of a row among its resident's own, from 0."""

BITS = "bits"
"""Which of a resident's rows stay, as ``trust.node.data.draws`` gives it: bit r for the row of number r."""


def stored(name: str) -> str:
    """Return the name that a view's column has in the bounded table."""
    return f"column_{name}"


OVER_LIMIT = "over_limit"
"""Whether the row's resident had more rows than the view keeps; there only where the policy lets questions ask it."""


def clipped(name: str) -> str:
    """Return the name of the bit that says whether a row's value of that column was outside its bounds; as above."""
    return f"clipped_{name}"


def bounded(rows: Any, links: Any, view: View, key: tuple[Any, Any]) -> Any:
    """Return the bounded view as an Ibis table: ``slot`` (int32), then each column.

    ``rows`` is a snapshot: ``slot``, ``salt``, ``number`` and the typed columns. ``links`` has ``slot`` (unique) and
    ``salt``: a row whose slot has another salt is nobody's. ``key`` is (a, b), as numbers or as
    expressions. A category is a code, its place in the list of values or -1; a range or measure is a whole number, a
    time how many units after the first, or null. Behind them stand the bits of what was left out, where the view has
    ``bounding_measures``.
    """
    people = links.select(SLOT, link_salt=links[SALT].cast("int32"))
    rows = rows.inner_join(people, [rows[SLOT] == people[SLOT], rows[SALT] == people["link_salt"]])
    rows = _coded(_with_priority(rows, key), view)
    if view.bounding_measures is not UNSET:
        theirs = rows.count().over(ibis.window(group_by=SLOT))
        rows = _with_left_out(rows, view, theirs > view.rows_per_resident)
    ranked = rows.select(SLOT, "priority", *_columns(view))
    window = ibis.window(group_by=SLOT, order_by="priority")
    ranked = ranked.mutate(rank=ibis.row_number().over(window))
    return ranked.filter(ranked["rank"] < view.rows_per_resident).select(SLOT, *_columns(view))


def drawn(rows: Any, draws: Any, view: View) -> Any:
    """Return the bounded view of the residents in ``draws`` (``trust.node.data.draws``), with the columns of ``bounded``.

    For the node's own engine: which rows stay was drawn with the same arithmetic, once for each resident.
    """
    draws = draws.select(SLOT, link_salt=draws[SALT], bits=draws[BITS], over=draws[OVER_LIMIT])
    # One number is looked up in a table of them all, two are hashed: so the salt is compared behind the join, and as a
    # difference, which no optimiser takes for a part of it.
    rows = rows.inner_join(draws, [rows[SLOT] == draws[SLOT]])
    rows = rows.filter(rows[SALT] - rows["link_salt"] == 0, (rows["bits"] >> rows[NUMBER]) & 1 == 1)
    rows = _coded(rows, view)
    if view.bounding_measures is not UNSET:
        rows = _with_left_out(rows, view, rows["over"])
    return rows.select(SLOT, *_columns(view))


def _columns(view: View) -> list[str]:
    """Return the names of a bounded view's columns behind the slot."""
    said = [] if view.bounding_measures is UNSET else [OVER_LIMIT, *(clipped(name) for name in _measures(view))]
    return [*(stored(column.name) for column in view.columns), *said]


def _with_left_out(rows: Any, view: View, is_over: Any) -> Any:
    """Return the rows with what bounding is about to leave out, a bit for each: of the resident, and of each measure.

    Whether a resident has more than R rows follows from theirs alone, like the draw.
    """
    bits = {OVER_LIMIT: is_over}
    for name, column in _measures(view).items():
        value = rows[typed(column).stored]
        bits[clipped(name)] = ibis.cases((value < column.lo, 1), (value > column.hi, 1), else_=0)
    return rows.mutate(**bits)


def _measures(view: View) -> dict[str, Measure]:
    return {column.name: column for column in view.columns if isinstance(column, Measure)}


def _with_priority(rows: Any, key: tuple[Any, Any]) -> Any:
    """Return the rows with the ``priority`` of each: the arithmetic at the top of this module."""
    multiplier, offset = (ibis.literal(number, "int64") if isinstance(number, int) else number for number in key)
    # The steps are columns, so that each is said once.
    rows = rows.mutate(key=(rows[SALT].cast("int64") * multiplier + offset) % MODULUS)
    rows = rows.mutate(priority=(rows[NUMBER].cast("int64") * multiplier + rows["key"]) % MODULUS)
    rows = rows.mutate(priority=(_fifth_power(rows["priority"]) + rows["key"]) % MODULUS)
    return rows.mutate(priority=_fifth_power(rows["priority"]).cast("int32"))


def _fifth_power(number: Any) -> Any:
    square = number * number % MODULUS
    return square * square % MODULUS * number % MODULUS


def _coded(rows: Any, view: View) -> Any:
    """Return the rows with each column of the view coded, narrow, and under its stored name."""
    for column in view.columns:
        source = rows[typed(column).stored]
        if isinstance(column, Category):
            rows = _category(rows, source, column)
        elif isinstance(column, Time):
            rows = rows.mutate(**{stored(column.name): _place(source, column)})
        else:
            rows = rows.mutate(**{stored(column.name): _number(source, column)})
    return rows


def _category(rows: Any, source: Any, column: Category) -> Any:
    # A join with the list of values: a CASE of 512 branches would compare each row with each of them.
    places = range(len(column.values))
    kind = _narrowest(NO_CODE, places[-1])
    listed = ibis.memtable(
        pa.table({"value": pa.array(column.values, pa.string()), "code": pa.array(places, pa.type_for_alias(kind))})
    )
    otherwise = column.values.index(column.other) if column.other else NO_CODE
    joined = rows.left_join(listed, source == listed["value"])
    code = joined["code"].fill_null(ibis.literal(otherwise, kind))
    return joined.mutate(**{stored(column.name): code}).drop("value", "code")


def _number(number: Any, column: Range | Measure) -> Any:
    if isinstance(column, Measure):
        # Not least(greatest(…)), which on some engines turns a null into a bound.
        clipped = ibis.cases((number < column.lo, column.lo), (number > column.hi, column.hi), else_=number)
    else:
        clipped = ibis.cases((number.between(column.lo, column.hi), number), else_=ibis.null("int64"))
    return clipped.try_cast(_narrowest(column.lo, column.hi))


def _place(number: Any, column: Time) -> Any:
    inside = ibis.cases((number.between(column.lo, column.hi), number - column.lo), else_=ibis.null("int64"))
    return inside.try_cast(_narrowest(0, column.hi - column.lo))


def _narrowest(lo: int, hi: int) -> str:
    for bits in (8, 16, 32):
        if -(2 ** (bits - 1)) <= lo and hi < 2 ** (bits - 1):
            return f"int{bits}"
    return "int64"
