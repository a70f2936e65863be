"""The bounded view as Ibis expressions: linked customers only, columns coded and clipped, at most R rows of each.

**Which rows.** Let a resident have c rows, numbered r = 0 … c-1 in the source's order, and let k be their key number

    k = (a · salt + b) mod (2^31 - 1)

where (a, b) come from the node's secret, the policy's hash and the view's name, and ``salt`` from the secret and the
customer number. Row r is kept exactly if

    (r · R + k) mod c < R

- *At most R, and as many as there are up to R.* For c ≤ R it always holds. For c > R let g = gcd(R, c): r · R + k
  takes each remainder mod c that is ≡ k mod g exactly g times, and R/g of those are below R. So exactly R rows.
- *Fair.* Over k, each row is kept with probability R/c; kept rows are spread evenly over the resident's own time
  (systematic sampling). Rows that are alike do not stand or fall together.
- *The resident's own.* k and c depend on that resident alone, and r is a number among their own rows. So the kept rows
  of everybody else are the same with or without them, which ``queries.question.sensitivity`` builds on. A hash of a
  row's place in the whole file would not do: each row taken out would renumber, and so choose anew, everybody's.
- *The same every time*, on every engine: whole numbers below 2^63, ``+ * %``. (A second window, ordered by a keyed hash
  of r, would keep any R rows with equal chance, and takes half as long again.)

**c from one window.** ``cume_dist`` of row r is the double nearest to (r+1)/c; it comes free with ``row_number``,
where ``count`` costs as much again. Then (r+1) / cume_dist, rounded, is c exactly: the quotient of the two roundings is
within c · 2^-52 of c, so far less than one half for any c below 2^50.

Every expression is total: TRY_CAST, and nothing that can raise or that depends on the order of a sum.
"""

from typing import Any

import ibis
import pyarrow as pa

from policies.policy_document import Category, Measure, Range, View
from trust.node.data.sources import POSITION, RESIDENT, as_text, as_whole, is_whole

MODULUS = 2**31 - 1
"""A prime, so that products of two remainders stay below 2^62 on every engine."""
NO_CODE = -1
"""The code of a category's value that is not in its list: no group, no filter."""
SLOT = "slot"
CUSTOMER = "customer"
SALT = "salt"
FEW = 50
"""Where a source has more than this many rows for each new link, the links are joined before the rows are ranked."""


def stored(name: str) -> str:
    """Return the name that a view's column has in the bounded table."""
    return f"column_{name}"


def bounded(rows: Any, links: Any, view: View, key: tuple[int, int], *, few_links: bool) -> Any:
    """Return the bounded view as an Ibis table: ``slot`` (int32), then each column.

    ``rows`` is a source's table (``SourceFile.read``); ``links`` has ``customer`` (text, unique), ``slot`` and
    ``salt``; ``key`` is (a, b). A category is a code, its place in the list of values or -1; a range or measure is a
    whole number, or null. ``few_links`` changes the speed only: one resident's rows never depend on another's, so
    it is all the same whether unlinked customers leave before or after ranking.
    """
    people = _people(links, rows, key)
    columns = [stored(column.name) for column in view.columns]
    # Ranking by a text column is slow; then, too, the links come first and give numbers to rank by.
    if few_links or not is_whole(rows[RESIDENT]):
        ranked = _ranked(_coded(_linked(rows, people), view), SLOT, columns)
    else:
        ranked = _linked(_ranked(_coded(rows, view), RESIDENT, columns), people)
    count = ((ranked["rank"] + 1) / ranked["share"]).round().cast("int64")
    keeps = (ranked["rank"] * view.rows_per_resident + ranked["key"]) % count < view.rows_per_resident
    return ranked.filter(keeps).select(SLOT, *columns)


def _people(links: Any, rows: Any, key: tuple[int, int]) -> Any:
    """Return who may count: the resident column's value, ``slot`` and the key number k.

    Customers are the same if their text is. A whole number has one text only ("7", never "07"), so for a column of
    whole numbers the few customers are turned into numbers rather than the many rows into text.
    """
    person = links[CUSTOMER]
    if is_whole(rows[RESIDENT]):
        number = person.try_cast("int64")
        links = links.filter(number.cast("string") == person)
        person = number
    multiplier, offset = (ibis.literal(number, "int64") for number in key)
    hashed = (links[SALT] * multiplier + offset) % MODULUS
    return links.select(**{"person": person, SLOT: links[SLOT], "key": hashed.cast("int32")})


def _linked(rows: Any, people: Any) -> Any:
    resident = rows[RESIDENT]
    return rows.inner_join(people, (resident if is_whole(resident) else as_text(resident)) == people["person"])


def _ranked(rows: Any, owner: str, columns: list[str]) -> Any:
    """Number each owner's rows from 0 in the source's order (``rank``), with the share of them up to there."""
    window = ibis.window(group_by=owner, order_by=POSITION)
    kept = [name for name in (RESIDENT, SLOT, "key", *columns) if name in rows.columns]
    return rows.select(*kept, rank=ibis.row_number().over(window), share=ibis.cume_dist().over(window))


def _coded(rows: Any, view: View) -> Any:
    """Return the rows with each column of the view coded, narrow, and under its stored name."""
    for column in view.columns:
        source = rows[f"source_{column.name}"]
        if isinstance(column, Category):
            rows = _category(rows, source, column)
        else:
            rows = rows.mutate(**{stored(column.name): _number(source, column)})
        rows = rows.drop(f"source_{column.name}")
    return rows


def _category(rows: Any, source: Any, column: Category) -> Any:
    # A join with the list of values: a CASE of 512 branches would compare each row with each of them.
    places = range(len(column.values))
    kind = _narrowest(NO_CODE, places[-1])
    listed = ibis.memtable(
        pa.table({"value": pa.array(column.values, pa.string()), "code": pa.array(places, pa.type_for_alias(kind))})
    )
    otherwise = column.values.index(column.other) if column.other else NO_CODE
    joined = rows.left_join(listed, as_text(source) == listed["value"])
    code = joined["code"].fill_null(ibis.literal(otherwise, kind))
    return joined.mutate(**{stored(column.name): code}).drop("value", "code")


def _number(source: Any, column: Range | Measure) -> Any:
    number = as_whole(source)
    if isinstance(column, Measure):
        # Not least(greatest(…)), which on some engines turns a null into a bound.
        clipped = ibis.cases((number < column.lo, column.lo), (number > column.hi, column.hi), else_=number)
    else:
        clipped = ibis.cases((number.between(column.lo, column.hi), number), else_=ibis.null("int64"))
    return clipped.try_cast(_narrowest(column.lo, column.hi))


def _narrowest(lo: int, hi: int) -> str:
    for bits in (8, 16, 32):
        if -(2 ** (bits - 1)) <= lo and hi < 2 ** (bits - 1):
            return f"int{bits}"
    return "int64"
