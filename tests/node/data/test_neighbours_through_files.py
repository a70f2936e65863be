"""The declared sensitivity holds through the file: of every kind, with every odd value, whoever's it is.

A file is written with a person's rows and without them, and with an odd row of a stranger more. Loaded and asked as a
node does it, the vectors of the first two are no further apart than declared, and those of the first and the third are
the same. There is an answer in each case.
"""

import csv
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from policies.policy_document import Category, Measure, Range, Time, View
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from queries.question.tree import Query, Spend
from tests.kit.amounts import amount
from tests.kit.node_tables import SECRET, TITLE, policy_of, take_in
from tests.kit.odd_columns import COLUMNS, text_of
from trust.node.data.views import ViewStore

POLICY = "ab" * 32
PEOPLE = 4
STRANGERS = [91, 92, None]
Row = tuple[int | None, int, int, int]
"""Whose, and a small number for each of three columns (``tests.kit.odd_columns``)."""
RESIDENTS: dict[str, Callable[[Sequence[int | None]], Any]] = {
    "int64": lambda people: pa.array(people, pa.int64()),
    "uint64": lambda people: pa.array(people, pa.uint64()),
    "int16": lambda people: pa.array(people, pa.int16()),
    "double": lambda people: pa.array(people, pa.float64()),
    "text": lambda people: pa.array([None if each is None else str(each) for each in people], pa.string()),
    "binary": lambda people: pa.array([b"\xff" if each is None else b"%d" % each for each in people], pa.binary()),
    "dictionary": lambda people: pa.array(
        [None if each is None else str(each) for each in people], pa.string()
    ).dictionary_encode(),
    "decimal": lambda people: pa.array(people, pa.int64()).cast(pa.decimal128(21, 2)),
}
NOT_WRITTEN = {"timestamp s", "date64", "decimal128 past its digits"}
"""Parquet has no such type or value: its writer makes others of them, if any."""
WRITERS: list[dict[str, Any]] = [
    {}, {"version": "1.0"}, {"use_dictionary": False, "compression": "none"}, {"row_group_size": 3},
    {"store_schema": False}, {"data_page_version": "2.0", "write_statistics": False},
]  # fmt: skip

TIMES = [
    Time(name="b", title=TITLE, unit="hour", first="2026-11-30T06", last="2026-11-30T23"),
    Time(name="b", title=TITLE, unit="day", first="2026-11-29", last="2026-12-01"),
    Time(name="b", title=TITLE, unit="week", first="2026-W48", last="2026-W50"),
    Time(name="b", title=TITLE, unit="month", first="0001-01", last="0001-12"),
    Time(name="b", title=TITLE, unit="month", first="2026-10", last="2026-12"),
]
who = st.sampled_from([*range(PEOPLE), *range(PEOPLE), *STRANGERS])
small = st.integers(0, 47)
kinds = st.sampled_from(sorted(COLUMNS.keys() - NOT_WRITTEN))
exactly_so = settings(
    max_examples=amount(10, 1_000), deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A view of the three columns, and a question that looks at all of it."""
    lo = draw(st.integers(-3, 5))
    keys: list[Range | Time] = [Range(name="b", title=TITLE, lo=lo, hi=lo + draw(st.integers(1, 9))), *TIMES]
    b = draw(st.sampled_from(keys))
    view = View(
        name="odd", title=TITLE, holders=["bus_co"], source="odd", resident="who", holders_per_resident=1,
        rows_per_resident=draw(st.integers(1, 4)),
        columns=[
            Category(name="a", title=TITLE, values=["7", "3", "x", "true", "0", "2.5", "north"],
                     other=draw(st.sampled_from(["", "x"]))),
            b,
            Measure(name="c", title=TITLE, lo=draw(st.sampled_from([-8, 0, 2])), hi=draw(st.sampled_from([7, 2**30]))),
        ],
        bounding_measures=True,
    )  # fmt: skip
    query = Query(
        policy="mobility", version=1, from_=["odd"], where=[], spend=Spend(epsilon="1"),
        group_by=draw(st.sampled_from([[], ["a"], ["b"], ["a", "b"]])),
        measures=[
            MeasureAsked(as_="n", count="rows"), MeasureAsked(as_="people", count="residents"),
            MeasureAsked(as_="each", mean="c"), MeasureAsked(as_="bins", histogram="c", edges=[2, 5, 7]),
            MeasureAsked(as_="more", over_limit="residents"), MeasureAsked(as_="cut", clipped="c"),
        ],
    )  # fmt: skip
    return make_plan(query, policy_of(view))


def columns_of(rows: Sequence[Row], resident: str, made_of: Sequence[str]) -> dict[str, Any]:
    numbers = ([row[1] for row in rows], [row[2] for row in rows], [row[3] for row in rows])
    made = {name: COLUMNS[kind](of) for name, kind, of in zip("abc", made_of, numbers, strict=True)}
    return {"who": RESIDENTS[resident]([row[0] for row in rows])} | made


def as_csv(columns: dict[str, Any]) -> bytes:
    """Write the columns as any sound program does."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(columns)
    for place in range(len(columns["who"])):
        writer.writerow([text_of(column, place) for column in columns.values()])
    return out.getvalue().encode("utf-8", "surrogatepass")


def write_parquet(table: pa.Table, path: Path, how: dict[str, Any]) -> None:
    """Write a file; where the writer itself has no way to write such a value, there is no such file."""
    try:
        pq.write_table(table, path, **how)
    except pa.ArrowInvalid:
        reject()


class Asked:
    """A node's data side over one file, which is replaced again and again."""

    def __init__(self, folder: Path, ending: str, plan: Plan) -> None:
        self.path = folder / f"odd.{ending}"
        self._plan = plan
        self.store = ViewStore(folder / "node", {"odd": self.path}, SECRET)
        self.store.set_links((str(person), person) for person in range(PEOPLE))

    def put(self, write: Callable[[Path], object]) -> None:
        """Replace the file."""
        fresh = self.path.with_suffix(".fresh")
        write(fresh)
        fresh.rename(self.path)

    def vector(self, *, but: int = -1) -> list[int]:
        """Load and ask, over everybody but one."""
        take_in(self.store, POLICY, self._plan.view)
        return self.store.vector(POLICY, self._plan, np.array([person != but for person in range(PEOPLE)]))

    def was_refused(self) -> bool:
        """Whether the last file was not taken in."""
        return any((self.path.parent / "node" / "snapshots").glob("*.refused.json"))


@contextmanager
def asked(ending: str, plan: Plan) -> Iterator[Asked]:
    with tempfile.TemporaryDirectory() as folder:
        made = Asked(Path(folder), ending, plan)
        try:
            yield made
        finally:
            made.store.close()


def check_within(plan: Plan, one: list[int], other: list[int]) -> None:
    """Each block's distance is within what is declared."""
    start = 0
    for primitive in plan.primitives:
        end = start + plan.cells * primitive.width
        apart = sum((a - b) ** 2 for a, b in zip(one[start:end], other[start:end], strict=True))
        assert apart <= primitive.squared_sensitivity
        start = end


@pytest.mark.parametrize("kind", sorted(COLUMNS))
def test_the_odd_values_themselves_are_the_same_wherever_they_stand_in_a_file(kind: str) -> None:
    numbers = range(48)
    together = COLUMNS[kind](numbers)
    assert [text_of(COLUMNS[kind]([n]), 0) for n in numbers] == [text_of(together, place) for place in numbers]


@exactly_so
@given(
    plan=plans(), rows=st.lists(st.tuples(who, small, small, small), max_size=30), person=st.integers(0, PEOPLE - 1),
    resident=st.sampled_from(sorted(RESIDENTS)), made_of=st.tuples(kinds, kinds, kinds),
    odd=st.tuples(st.sampled_from(STRANGERS), small, small, small), at=st.integers(0, 30),
    ending=st.sampled_from(["parquet", "parquet", "csv"]), how=st.sampled_from(WRITERS),
)  # fmt: skip
def test_no_person_moves_a_vector_further_than_declared_and_no_stranger_at_all(
    plan: Plan, rows: list[Row], person: int, resident: str, made_of: tuple[str, str, str], odd: Row, at: int,
    ending: str, how: dict[str, Any],
) -> None:  # fmt: skip
    def put(chosen: Sequence[Row]) -> None:
        columns = columns_of(chosen, resident, made_of)
        if ending == "csv":
            node.put(lambda path: path.write_bytes(as_csv(columns)))
        else:
            node.put(lambda path: write_parquet(pa.table(columns), path, how))

    with asked(ending, plan) as node:
        put(rows)
        everybody, unconsented = node.vector(), node.vector(but=person)
        put([row for row in rows if row[0] != person])
        without = node.vector()
        put([*rows[:at], odd, *rows[at:]])
        with_stranger = node.vector()
        assert not node.was_refused()
    assert without == unconsented
    assert with_stranger == everybody
    check_within(plan, everybody, without)


lines = st.one_of(
    st.tuples(st.sampled_from([*map(str, range(PEOPLE)), "91", ""]), st.sampled_from(["7", "x", '"a,b"', "2.5"])).map(
        lambda pair: f"{pair[0]},{pair[1]},3,4\n".encode()
    ),
    st.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b"") + b"\n"),
    st.text(alphabet=st.sampled_from('0123,"x\r'), max_size=10).map(lambda text: f"{text}\n".encode()),
)


@exactly_so
@given(plan=plans(), good=st.lists(lines, max_size=12), odd=lines, at=st.integers(0, 12))
def test_a_csv_line_of_any_bytes_changes_nobody_elses_answer_or_the_file_is_refused_and_all_stays(
    plan: Plan, good: list[bytes], odd: bytes, at: int
) -> None:
    """Of no linked person: one whose line begins with a number of a person is that person's, and counts as theirs."""
    header = b"who,a,b,c\n"
    with asked("csv", plan) as node:
        node.put(lambda path: path.write_bytes(header + b"0,7,3,4\n"))
        node.vector()
        node.put(lambda path: path.write_bytes(header + b"".join(good)))
        before = node.vector()
        first_refused = node.was_refused()
        odd = b"91," + odd.replace(b"\r", b"")  # a carriage return ends a line too: there it would be two
        node.put(lambda path: path.write_bytes(header + b"".join([*good[:at], odd, *good[at:]])))
        after = node.vector()
        if first_refused:
            return  # two refusals, or a line that happens to mend a file: either is whatever was good last
        assert after == before, (good, odd)
