"""What is said of bounding is true of any rows: the direction of each number, the bounds, and the words for it."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, structs, to_builtins

from policies.policy_document import Measure, View
from queries.answers.left_out import bounding_of, bounding_sentences
from queries.question.check import make_plan
from queries.question.faithful import is_faithful, known_inside
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from queries.question.tree import Filter, Query
from tests.kit.amounts import amount
from tests.kit.questions import ALL_MEASURES, BOTH, make_policy, make_query, plan_of, values
from tests.queries.naive import naive_vector

MEASURES = [
    *ALL_MEASURES,
    MeasureAsked(as_="changes", sum="change"),
    MeasureAsked(as_="losses", sum="loss"),
    MeasureAsked(as_="middle", histogram="fare", edges=[10, 20]),
]
TRUTHS: dict[str, Callable[[int, int], bool]] = {
    "exact": lambda true, without_noise: true == without_noise,
    "at-least": lambda true, without_noise: true >= without_noise,
    "at-most": lambda true, without_noise: true <= without_noise,
    "either": lambda _true, _without_noise: True,
}


def policy(rows: int) -> Any:
    made = make_policy(rows=rows)
    columns = [*made.views[0].columns, Measure(name="loss", title=BOTH, lo=-50, hi=0)]
    return structs.replace(made, views=[structs.replace(made.views[0], columns=columns)])


filters = st.sampled_from(
    [
        Filter(column="fare", between=(0, 150)),
        Filter(column="fare", between=(400, 400)),
        Filter(column="fare", between=(10, 300)),
        Filter(column="fare", equals=30),
        Filter(column="change", between=(-7, -2)),
        Filter(column="change", between=(1, 5)),
        Filter(column="loss", between=(-50, -10)),
        Filter(column="loss", between=(-20, 0)),
        Filter(column="ward", equals="east"),
        Filter(column="fare", between=(401, 500)),
        Filter(column="fare", between=(-5, 100)),
    ]
)
questions = st.builds(
    lambda where, keys: make_query(*MEASURES, where=where, group_by=keys),
    st.lists(filters, max_size=2),
    st.lists(st.sampled_from(["ward", "hour"]), max_size=2, unique=True),
)
ABOUT_THE_BOUNDS = {
    "fare": [None, -30, -1, 0, 5, 10, 15, 20, 30, 150, 399, 400, 401, 700],
    "change": [None, -20, -8, -7, -2, 0, 3, 5, 6, 20],
    "loss": [None, -80, -51, -50, -10, -1, 0, 1, 40],
    "hour": [None, 1, 2, 3, 9],
}
rows_of_one = st.lists(
    st.builds(
        lambda row, about: row | about,
        values,
        st.fixed_dictionaries({name: st.sampled_from(of) for name, of in ABOUT_THE_BOUNDS.items()}),
    ),
    min_size=1,
    max_size=5,
)


def with_nothing_left_out(query: Query, view: View) -> Plan:
    """The same question of a view that keeps all rows and clips nothing; an end at a bound was open."""
    made = policy(1_000)
    columns = [
        structs.replace(column, lo=-1_000, hi=1_000) if isinstance(column, Measure) else column
        for column in made.views[0].columns
    ]
    where = []
    for condition in query.where:
        column = view.column(condition.column)
        if isinstance(column, Measure) and condition.between is not UNSET and is_faithful(condition, column):
            low, high = known_inside(condition, column)
            wide = (-1_000 if low is None else low, 1_000 if high is None else high)
            condition = Filter(column=column.name, between=wide)  # noqa: PLW2901 - the same, said of all values
        where.append(condition)
    asked = structs.replace(query, where=where)
    return make_plan(asked, structs.replace(made, views=[structs.replace(made.views[0], columns=columns)]))


def true_numbers(query: Query, view: View, rows: list[dict[str, Any]], over: set[Any]) -> list[int]:
    """What the question, of one measure, gives of all rows as the holder has them."""
    (measure,) = query.measures
    everybody = {row["card"] for row in rows}
    if measure.clipped is UNSET:
        return naive_vector(with_nothing_left_out(query, view), rows, everybody, over)
    column = view.column(measure.clipped)
    assert isinstance(column, Measure)
    outside = [row for row in rows if row[column.name] is not None and not column.lo <= row[column.name] <= column.hi]
    counted = structs.replace(query, measures=[MeasureAsked(as_="n", count="rows")])
    return naive_vector(with_nothing_left_out(counted, view), outside, everybody)


@settings(max_examples=amount(150, 3_000), deadline=None)
@given(query=questions, kept=st.integers(1, 3), data=st.lists(rows_of_one, min_size=1, max_size=4))
def test_which_way_each_number_is_moved_is_true_of_any_rows(query: Query, kept: int, data: list[list[Any]]) -> None:
    made = policy(kept)
    view = made.views[0]
    rows = [{"card": who, **row} for who, own in enumerate(data) for row in own]
    used = [{"card": who, **row} for who, own in enumerate(data) for row in own[:kept]]
    over = {who for who, own in enumerate(data) if len(own) > kept}
    said = bounding_of(query, view)
    assert [each.measure for each in said.measures] == [asked.as_ for asked in query.measures]
    for asked, truth in zip(query.measures, said.measures, strict=True):
        if asked.mean is not UNSET:
            assert truth.truth == "either"
            continue
        column = view.column(truth.column)
        if isinstance(column, Measure):
            own = [row[column.name] for row in rows if row[column.name] is not None]
            if "none-below" in truth.provided and min(own, default=column.lo) < column.lo:
                continue
            if "none-above" in truth.provided and max(own, default=column.hi) > column.hi:
                continue
        alone = structs.replace(query, measures=[asked])
        without_noise = naive_vector(make_plan(alone, made), used, set(range(len(data))), over)
        for true, number in zip(true_numbers(alone, view, rows, over), without_noise, strict=True):
            assert TRUTHS[truth.truth](true, number), (asked, truth)


def said_of(*measures: MeasureAsked, rows: int = 10, holders: int = 1, **others: Any) -> list[str]:
    made = make_policy(rows=rows, holders=holders)
    query = make_query(*measures, **others)
    return bounding_sentences(
        bounding_of(query, made.views[0]), made.views[0], {}, gettext=str, plain=lambda text: text["en"], number=str
    )


def test_an_answer_says_how_many_rows_which_bounds_and_which_way() -> None:
    said = said_of(
        MeasureAsked(as_="rides", count="rows"), MeasureAsked(as_="riders", count="residents"),
        MeasureAsked(as_="paid", sum="fare"), MeasureAsked(as_="each", mean="fare"),
    )  # fmt: skip
    assert said == [
        "title: of each person, at most 10 records are used.",
        "title is cut to the range 0 to 400: what is below counts as 0, what is above as 400.",
        "rides: apart from the ±, the true number can only be larger.",
        "riders: apart from the ±, nothing is left out.",
        "paid: apart from the ±, the true number can only be larger. That holds where no value of title is below 0.",
        "each: apart from the ±, the true number may be larger or smaller.",
    ]


@pytest.mark.parametrize(
    ("rows", "holders", "says"),
    [
        (1, 1, "title: of each person, one record is used."),
        (1, 3, "title: of each person, one record at each of 3 holders is used."),
        (7, 2, "title: of each person, at most 7 records at each of 2 holders are used."),
    ],
)
def test_one_record_and_several_holders_have_words_of_their_own(rows: int, holders: int, says: str) -> None:
    assert said_of(rows=rows, holders=holders)[0] == says


def test_what_a_filter_says_of_the_values_takes_a_condition_away() -> None:
    paid = MeasureAsked(as_="paid", sum="fare")
    assert said_of(paid, where=[Filter(column="fare", between=(1, 400))])[-1] == (
        "paid: apart from the ±, the true number can only be larger."
    )


def test_bounding_is_data_that_follows_from_question_and_view_alone() -> None:
    made = make_policy(rows=3, holders=2)
    query = make_query(MeasureAsked(as_="paid", sum="fare"), where=[Filter(column="change", between=(0, 5))])
    assert to_builtins(bounding_of(query, made.views[0])) == {
        "rows_per_resident": 3,
        "holders": 2,
        "columns": [{"column": "fare", "lo": 0, "hi": 400}, {"column": "change", "lo": -7, "hi": 5}],
        "measures": [{"measure": "paid", "column": "fare", "truth": "at-least", "provided": ["none-below"]}],
    }
    assert plan_of(made, *query.measures).participants == ("bus_co", "rail_co")
