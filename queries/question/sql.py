"""Questions in SQL: one allow-listed ``SELECT``, read into the same tree as the JSON form (``queries.question.tree``).

::

    SELECT ward, COUNT(*) AS rides, COUNT(DISTINCT resident) AS riders, SUM(fare) AS fare,
           AVG(fare) AS mean_fare, HISTOGRAM(fare, 0, 200, 400) AS fares
    FROM mobility_demand.rides
    WHERE hour BETWEEN 7 AND 9 AND ward IN ('east', 'west') AND day = 'mon' AND age >= 65
    GROUP BY ward

What may be said:

- ``FROM`` one view of the policy, by its name or as ``policy.view``;
- ``WHERE`` conditions joined by ``AND``: a column and ``=``, ``<``, ``<=``, ``>``, ``>=``, ``BETWEEN`` or ``IN`` with
  whole numbers or text in single quotes. A comparison becomes ``between``, its other end being the column's bound;
- ``GROUP BY`` columns; the plain columns that are selected must be among them;
- the functions of the measures (``queries.question.measures``), each with ``AS name`` or under a name such as ``rows``
  or ``sum_fare``.

Names without double quotes are read in lower case. SQL text is never executed and never given to a database: sqlglot
parses it, this module and ``queries.question.sql_conditions`` walk the tree, and every node and every part of a node
that is not listed here is refused. No error repeats a literal of the text.
"""

import re

import sqlglot
from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from ledger.errors import Malformed, QueryInvalid
from policies.policy_document import Policy, View
from queries.question.columns import shown
from queries.question.measure_forms import MeasureAsked
from queries.question.measures import measure_in_sql, sql_functions
from queries.question.sql_conditions import (
    column_name,
    only_parts,
    read_column,
    read_conditions,
    read_integer,
    read_name,
)
from queries.question.tree import Query, Spend, decode_query, encode_query

MAX_TEXT = 10_000
MAX_DEPTH = 32


def parse_sql(text: str, policy: Policy, spend: Spend) -> Query:
    """Read one SELECT as a question under ``policy`` that spends ``spend``.

    Raises QueryInvalid, naming what is not allowed. The result still goes through ``queries.question.check.make_plan``.
    """
    query = _query(_parse(text), policy, spend)
    try:
        return decode_query(encode_query(query))
    except Malformed as error:
        place = error.message.partition("`$")[2].rstrip("`.")
        raise QueryInvalid(
            "The question has too many parts, a number that is too large or a badly formed name or amount"
            + (f" (at {place.lstrip('.')})." if place else ".")
        ) from None


def _parse(text: str) -> exp.Select:
    if len(text) > MAX_TEXT:
        raise QueryInvalid(f"The SQL is text of at most {MAX_TEXT} characters.")
    try:
        tokens = sqlglot.tokenize(text, read="duckdb")
        _check_tokens([token.token_type for token in tokens])
        statements = sqlglot.parse(text, read="duckdb")
    except QueryInvalid:
        raise
    except RecursionError:
        raise QueryInvalid("The SQL is nested too deeply.") from None
    except Exception:  # noqa: BLE001 - whatever a parser does on a stranger's text, it is the text that is refused
        raise QueryInvalid("The SQL cannot be read; it is one SELECT statement.") from None
    if len(statements) != 1 or type(statements[0]) is not exp.Select:
        raise QueryInvalid("The SQL is exactly one SELECT statement, without WITH, UNION or subqueries.")
    return statements[0]


def _check_tokens(tokens: list[TokenType]) -> None:
    if not tokens or tokens[0] is not TokenType.SELECT:
        raise QueryInvalid("The SQL is one statement that begins with SELECT.")
    if TokenType.SEMICOLON in tokens[:-1]:
        raise QueryInvalid("The SQL is a single statement; leave out everything after the semicolon.")
    depth = 0
    for token in tokens:
        depth += (token in (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)) - (
            token in (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)
        )
        if depth > MAX_DEPTH:
            raise QueryInvalid("The SQL is nested too deeply.")


def _query(select: exp.Select, policy: Policy, spend: Spend) -> Query:
    only_parts(select, "expressions", "from_", "where", "group")
    view = _view(select.args.get("from_"), policy)
    group = select.args.get("group")
    keys: list[str] = []
    if group is not None:
        only_parts(group, "expressions")
        keys = [column_name(key, view, "GROUP BY takes columns") for key in group.expressions]
    measures = []
    for selected in select.expressions:
        if selected.find(exp.Star) and not isinstance(_unaliased(selected), exp.Count):
            raise QueryInvalid(f"SELECT * is not possible: rows never leave a holder; select {sql_functions('or')}.")
        if isinstance(_unaliased(selected), exp.Column):
            _check_key(selected, keys, view)
        else:
            measures.append(_measure(selected, view))
    if not measures:
        raise QueryInvalid(f"Select at least one of {sql_functions('and')}; rows themselves never leave a holder.")
    where = select.args.get("where")
    return Query(
        policy=policy.id,
        version=policy.version,
        from_=[view.name],
        where=read_conditions(where.this, view) if where is not None else [],
        group_by=keys,
        measures=measures,
        spend=spend,
    )


def _view(clause: object, policy: Policy) -> View:
    if not isinstance(clause, exp.From):
        raise QueryInvalid("The SQL says FROM which view of the policy.")
    only_parts(clause, "this")
    table = clause.this
    known = ", ".join(view.name for view in policy.views)
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
        raise QueryInvalid(f"FROM takes a view of the policy, not a function, a file or a subquery: {known}.")
    only_parts(table, "this", "db")
    view = policy.view(read_name(table.this))
    if view is None:
        raise QueryInvalid(f"FROM takes a view of the policy, not another table or a file: {known}.")
    if table.args.get("db") is not None and read_name(table.args["db"]) != policy.id:
        raise QueryInvalid(f"FROM names another policy than '{policy.id}'.")
    return view


def _unaliased(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Alias):
        only_parts(node, "this", "alias")
        inner = node.this
        if isinstance(inner, exp.Expr):
            return inner
    return node


def _check_key(selected: exp.Expr, keys: list[str], view: View) -> None:
    name = column_name(_unaliased(selected), view, "A group key is a column")
    if name not in keys:
        raise QueryInvalid(f"The column {shown(name)} is selected but is not in GROUP BY; rows never leave a holder.")
    if isinstance(selected, exp.Alias) and read_name(selected.args["alias"]) != name:
        raise QueryInvalid(f"The group key {shown(name)} keeps its own name; leave out AS.")


def _measure(selected: exp.Expr, view: View) -> MeasureAsked:
    call = _unaliased(selected)
    label = read_name(selected.args["alias"]) if isinstance(selected, exp.Alias) else ""
    function = _function(call)
    kind = measure_in_sql(function)
    if kind is not None:
        return kind.from_sql(_Call(call, view), label)
    what = f"the function {function}" if function else "that expression"
    raise QueryInvalid(f"SELECT takes group keys, {sql_functions('and')}, but not {what}.")


def _function(call: exp.Expr) -> str:
    """Return the name of the function that is called, in capital letters, or "" for another expression."""
    if type(call) is not exp.Anonymous:
        return call.sql_name() if isinstance(call, exp.Func) else ""
    # One of ours, or a stranger's word: it is repeated only where it has the form of a name.
    only_parts(call, "this", "expressions")
    name = str(call.this)
    if not isinstance(call.this, str) or measure_in_sql(name.upper()) is None:
        what = f"the function {name.upper()}" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,40}", name) else "that function"
        raise QueryInvalid(f"The SQL may use {sql_functions('and')}, but not {what}.")
    return name.upper()


class _Call:
    """A call as the measures read it; every part of it that is not named here is refused."""

    def __init__(self, call: exp.Expr, view: View) -> None:
        self._view = view
        if type(call) is exp.Anonymous:
            self._arguments = list(call.expressions)
        else:
            only_parts(call, "this", "big_int")  # which is how sqlglot marks a count, and nothing in the text
            self._arguments = [call.this] if call.this is not None else []
        self.arguments = len(self._arguments)
        self.is_star = self.arguments == 1 and type(self._arguments[0]) is exp.Star
        if self.is_star:
            only_parts(self._arguments[0])

    def column(self, otherwise: str) -> str:
        return read_column(self._arguments[0] if self._arguments else None, self._view, otherwise).name

    def distinct(self, otherwise: str) -> str | None:
        first = self._arguments[0] if self._arguments else None
        if type(first) is not exp.Distinct:
            return None
        only_parts(first, "expressions")
        if len(first.expressions) != 1 or not isinstance(first.expressions[0], exp.Column):
            return None
        name = column_name(first.expressions[0], self._view, otherwise)
        return "resident" if name == self._view.resident else name

    def integers(self, otherwise: str) -> list[int]:
        return [read_integer(argument, otherwise) for argument in self._arguments[1:]]
