"""The conditions of the SQL subset (``queries.question.sql``), and the columns and literals that its parts are made of.

Each function takes a node of sqlglot's tree and refuses, with QueryInvalid, every type of node and every part of a node
that it does not name. No error repeats a literal.
"""

import re

from sqlglot import exp

from ledger.errors import Malformed, QueryInvalid
from policies.calendar.calendar_units import text_in_calendar
from policies.policy_document import Category, Column, Time, View
from queries.question.columns import column_of, place_in_time
from queries.question.faithful import check_comparison
from queries.question.tree import Filter

_INTEGER = re.compile(r"[0-9]{1,10}", re.ASCII)

_CLAUSES = {
    "with_": "WITH",
    "order": "ORDER BY",
    "distinct": "SELECT DISTINCT",
    "joins": "a join or a second table",
    "laterals": "LATERAL",
    "into": "INTO",
    "locks": "FOR UPDATE",
    "sample": "sampling",
    "hint": "a hint",
    "alias": "an alias",
    "db": "a qualified name",
    "catalog": "a database name",
    "table": "a table's name before the column",
    "symmetric": "SYMMETRIC",
    "query": "a subquery",
    "unnest": "UNNEST",
    "all": "GROUP BY ALL",
    "totals": "WITH TOTALS",
}


def only_parts(node: exp.Expr, *allowed: str) -> None:
    """Refuse a node that has any part but the allowed ones."""
    for part, value in node.args.items():
        if part not in allowed and value is not None and value is not False and value not in ([], ""):
            raise QueryInvalid(f"The SQL may not have {_CLAUSES.get(part, part.strip('_').upper())} here.")


def read_name(identifier: object) -> str:
    """Return a name: as it stands in double quotes, else in lower case."""
    if not isinstance(identifier, exp.Identifier):
        raise QueryInvalid("The SQL has something else where a name belongs.")
    only_parts(identifier, "this", "quoted")
    name = str(identifier.this)
    return name if identifier.args.get("quoted") else name.lower()


def column_name(node: object, view: View, otherwise: str) -> str:
    """Return a column's name, which may have the view's name before it."""
    if not isinstance(node, exp.Column):
        raise QueryInvalid(f"{otherwise}.")
    only_parts(node, "this", "table")
    if node.args.get("table") is not None and read_name(node.args["table"]) != view.name:
        raise QueryInvalid(f"A column has another table's name before it than '{view.name}'.")
    return read_name(node.this)


def read_column(node: object, view: View, otherwise: str) -> Column:
    """Return the view's column that the node names; ``otherwise`` says what belongs there."""
    return column_of(column_name(node, view, otherwise), view)


def read_conditions(condition: object, view: View) -> list[Filter]:
    """Read conditions joined by AND, from left to right."""
    found: list[Filter] = []
    waiting = [condition]
    while waiting:
        node = waiting.pop()
        if type(node) is exp.And:
            only_parts(node, "this", "expression")
            waiting += [node.args["expression"], node.this]
        elif type(node) is exp.Paren:
            only_parts(node, "this")
            waiting.append(node.this)
        else:
            found.append(_filter(node, view))
    return found


_OTHERWISE = "A condition compares one column with whole numbers or text in single quotes"


def _filter(node: object, view: View) -> Filter:
    if type(node) is exp.Between:
        only_parts(node, "this", "low", "high")
        column = read_column(node.this, view, _OTHERWISE)
        if isinstance(column, Time):
            return Filter(
                column=column.name, between=(_text(node.args["low"], column), _text(node.args["high"], column))
            )
        ends = f"BETWEEN on '{column.name}' takes two whole numbers"
        low, high = read_integer(node.args["low"], ends), read_integer(node.args["high"], ends)
        check_comparison(column, low, high)
        return Filter(column=column.name, between=(low, high))
    if type(node) is exp.In:
        only_parts(node, "this", "expressions")
        column = read_column(node.this, view, _OTHERWISE)
        return Filter(column=column.name, in_=[_literal(value) for value in node.expressions])
    if type(node) in _COMPARISONS and isinstance(node, exp.Binary):
        only_parts(node, "this", "expression")
        return _comparison(node, view)
    if isinstance(node, exp.Or):
        raise QueryInvalid("Conditions are joined by AND only; use IN for several values of one column.")
    if isinstance(node, (exp.Not, exp.NEQ)):
        raise QueryInvalid("A condition cannot be negated; list the wanted values with IN.")
    raise QueryInvalid(f"{_OTHERWISE}: =, <, <=, >, >=, BETWEEN, IN.")


_COMPARISONS: dict[type[exp.Expr], str] = {exp.EQ: "=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
_FLIPPED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _comparison(node: exp.Binary, view: View) -> Filter:
    sign = _COMPARISONS[type(node)]
    left, right = node.this, node.args["expression"]
    if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
        left, right, sign = right, left, _FLIPPED[sign]
    column = read_column(left, view, _OTHERWISE)
    if sign == "=":
        return Filter(column=column.name, equals=_literal(right))
    if isinstance(column, Category):
        raise QueryInvalid(f"The column '{column.name}' is a category: it has no order; use = or IN.")
    if isinstance(column, Time):
        return _time_comparison(column, sign, place_in_time(column, _text(right, column)))
    end = read_integer(right, f"The comparison of '{column.name}' takes a whole number")
    if sign in ("<", "<="):
        end -= sign == "<"
        check_comparison(column, None, end)
        return Filter(column=column.name, between=(min(column.lo, end), end))
    end += sign == ">"
    check_comparison(column, end, None)
    return Filter(column=column.name, between=(end, max(column.hi, end)))


def _time_comparison(column: Time, sign: str, end: int) -> Filter:
    """Return a comparison as a ``between`` of texts; places count from the column's first."""
    if sign in ("<", "<="):
        end -= sign == "<"
        ends = (min(0, end), end)
    else:
        end += sign == ">"
        ends = (end, max(column.hi - column.lo, end))
    try:
        first, last = (text_in_calendar(column.unit, column.lo + place) for place in ends)
    except Malformed as error:
        raise QueryInvalid(error.message) from None
    return Filter(column=column.name, between=(first, last))


def _text(node: object, column: Time) -> str:
    """Return a text in single quotes that is one of the column's units."""
    text = str(node.this) if isinstance(node, exp.Literal) and node.args.get("is_string") else None
    place_in_time(column, text)
    return str(text)


def _literal(node: object) -> str | int:
    if isinstance(node, exp.Literal) and node.args.get("is_string"):
        return str(node.this)
    return read_integer(node, _OTHERWISE)


def read_integer(node: object, otherwise: str) -> int:
    """Return a whole number with an optional minus sign; ``otherwise`` says what belongs there."""
    sign = 1
    if type(node) is exp.Neg:
        only_parts(node, "this")
        node, sign = node.this, -1
    if not isinstance(node, exp.Literal) or node.args.get("is_string") or _INTEGER.fullmatch(str(node.this)) is None:
        raise QueryInvalid(f"{otherwise}.")
    return sign * int(str(node.this))
