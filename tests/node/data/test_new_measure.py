"""A new measure is one class: it goes the whole way of a question, and no other module knows which there are."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec import UNSET

import queries
import trust
from ledger.errors import QueryInvalid
from policies.policy_document import Budget, Measure, View
from queries.answers.finish import finish
from queries.price.cost import nano_rho
from queries.price.pricing import check_charge, check_spend, price
from queries.question import measures
from queries.question.check import make_plan
from queries.question.measure_forms import AnyMeasure, Block, Call, Finished, Gettext, MeasureAsked
from queries.question.primitives import Primitive
from queries.question.sensitivity import squared_by_rows
from queries.question.sql import parse_sql
from queries.question.tree import Spend, Within, decode_query, encode_query
from tests.kit.node_tables import SECRET, TITLE, policy_of, take_in
from trust.node.data import compute
from trust.node.data.views import ViewStore
from trust.pages.translations import load_language
from trust.pages.wording import question

POLICY = "ab" * 32
VIEW = View(
    name="scores", title=TITLE, holders=["bus_co"], source="scores", resident="customer", rows_per_resident=3,
    holders_per_resident=1, columns=[Measure(name="score", title=TITLE, lo=0, hi=10, unit="points")],
)  # fmt: skip


@dataclass(frozen=True)
class _EvenMeasure(AnyMeasure):
    """A toy: how many rows have an even value, shown as released. Each row adds 1, or 0 where its value is odd."""

    form = frozenset({"count", "sum"})
    listed = "count (with sum)"
    function = "EVENS"
    name: str
    column: str

    @classmethod
    def of(cls, asked: MeasureAsked) -> Self | None:
        return cls(asked.as_, asked.sum) if asked.count is not UNSET and asked.sum is not UNSET else None

    @classmethod
    def from_sql(cls, call: Call, label: str) -> MeasureAsked:
        column = call.column("EVENS takes one column")
        return MeasureAsked(as_=label or f"even_{column}", count="rows", sum=column)

    def primitives(self, view: View, cells: int) -> list[Primitive]:
        squared = squared_by_rows(view.rows_per_resident)
        return [Primitive(kind="evens", column=self.column, squared_sensitivity=squared)]

    def finish(self, view: View, blocks: Sequence[Block], cell: int) -> list[Finished]:
        return [Finished(self.name, str(blocks[0].numbers[cell]), str(blocks[0].half_width))]

    def words(self, gettext: Gettext, title: str, unit: str) -> tuple[str, str]:
        return f"even {title}", unit


@pytest.fixture
def _evens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "MEASURES", (*measures.MEASURES, _EvenMeasure))
    evens = {"evens": lambda rows, primitive, view: (compute._values(rows, primitive, view) % 2 == 0).sum()}
    monkeypatch.setattr(compute, "_TOTALS", compute._TOTALS | evens)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ViewStore]:
    table = {"customer": pa.array([1, 1, 1, 2, 2, 3]), "score": pa.array([2, 4, 5, 6, None, 8])}
    pq.write_table(pa.table(table), tmp_path / "scores.parquet")
    opened = ViewStore(tmp_path, {"scores": tmp_path / "scores.parquet"}, SECRET)
    opened.set_links([("1", 0), ("2", 1), ("3", 2)])
    yield opened
    opened.close()


@pytest.mark.usefixtures("_evens")
@pytest.mark.parametrize(
    "spend",
    [Spend(epsilon="1"), Spend(within=Within(measure="even_score", plus_minus=20, confidence="0.95"))],
    ids=["epsilon", "within"],
)
def test_a_new_class_goes_from_sql_to_an_answer_and_its_words(store: ViewStore, spend: Spend) -> None:
    policy = policy_of(VIEW)
    query = parse_sql("SELECT EVENS(score), COUNT(*), AVG(score) FROM scores", policy, spend)
    assert decode_query(encode_query(query)) == query
    assert b'{"as":"even_score","count":"rows","sum":"score"}' in encode_query(query)

    plan = make_plan(query, policy)
    assert [primitive.name for primitive in plan.primitives] == ["evens:score", "rows", "sum:score", "values:score"]
    budget = Budget(delta="0.000001", window="year", per_window=10**9, life=10**9, per_partner=10**9)
    cost = price(plan, spend, budget)
    assert cost.noise[0].primitive == "evens:score"
    assert nano_rho(9, cost.noise[0].scale) > 0
    check_charge(plan, cost.noise, cost.charge)
    check_spend(plan, spend, budget.delta, cost.noise, cost.charge)

    take_in(store, POLICY, VIEW)
    exact = store.vector(POLICY, plan, np.array([True, True, False]))
    assert exact == [3, 5, 17, 4]
    even, rows, mean = finish(plan, cost.noise, exact)
    assert (even.measure, even.value, rows.value, mean.value) == ("even_score", "3", "5", "4.25")
    assert Fraction(even.half_width) > 0

    words = question(load_language("en"), query, [VIEW])
    assert (words.measures[0].label, words.measures[0].unit) == (f"even {TITLE['en']}", "points")


@pytest.mark.usefixtures("_evens")
def test_refusals_list_a_new_class_with_the_others() -> None:
    policy = policy_of(VIEW)
    with pytest.raises(QueryInvalid, match=f"one of {measures.sql_functions('and')}"):
        parse_sql("SELECT score FROM scores GROUP BY score", policy, Spend(epsilon="1"))
    with pytest.raises(QueryInvalid, match=r"one of count, sum, mean, histogram .with edges..* count .with sum."):
        measures.measure_of(MeasureAsked(as_="x", sum="score", mean="score"))


HOMES = {
    "queries/question/measures.py",
    "queries/question/bounding_measures.py",
    "queries/question/measure_forms.py",
    "trust/node/data/compute.py",
}
FIELDS = {"count", "sum", "mean", "histogram", "edges"}
CLASSES = {kind.__name__ for kind in measures.MEASURES}


def dispatches(path: Path) -> list[str]:
    """Return what in a module tells one measure from another: its class, its fields, its function, its primitives."""
    found = []
    tree = ast.parse(path.read_text("utf-8"))
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=names):
                found += [each.name for each in names if each.name in CLASSES]
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in CLASSES | {"histogram"}:
                found.append(name)
            case ast.Call(func=ast.Name(id="MeasureAsked")):
                found.append("MeasureAsked")
            case ast.Compare(left=ast.Attribute(attr=name)) if name in FIELDS:
                found.append(f"{name} compared")
            case ast.Constant(value=str(text)) if id(node) not in documentation:
                found += re.findall(r"\b(?:COUNT|SUM|AVG|HISTOGRAM)\b|\b(?:sum|values|bins):", text)
            case _:
                pass
    return found


def test_no_module_but_its_own_and_the_nodes_compute_knows_which_measures_there_are() -> None:
    roots = [Path(package.__path__[0]) for package in (queries, trust)]
    modules = {path.relative_to(root.parent).as_posix(): path for root in roots for path in root.rglob("*.py")}
    found = {name: dispatches(path) for name, path in modules.items()}
    assert {name for name, what in found.items() if what} <= HOMES, {n: w for n, w in found.items() if w}
    assert set(found["queries/question/measures.py"]) >= {"sum compared", "AVG", "histogram"}  # it would be seen
