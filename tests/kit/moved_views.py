"""A node's data side whose views are bounded in an engine that its holder names, and the life that each must answer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from policies.policy_document import Category, Measure, Range, Time
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from queries.question.tree import Query, Spend
from tests.kit.node_tables import SECRET, TITLE, policy_of, view_over
from tests.kit.source_kinds import said
from trust.node.data.elsewhere import ElsewhereBounding
from trust.node.data.views import ViewStore
from trust.node.engines.bounding_engine import BoundingEngine, BoundingJob
from trust.node.engines.engine_setting import EngineSetting, open_engine

POLICY = "ab" * 32
MARK = "zebra-crossing-4711"
"""A ward that is looked for where nothing may be left."""
WARDS = ["north", "é", "１", "'", "\\", MARK, "other"]
VIEW = view_over(
    "rides",
    Category(name="ward", title=TITLE, values=WARDS, other="other"),
    Category(name="kind", title=TITLE, values=["adult", "child"]),
    Range(name="hour", title=TITLE, lo=0, hi=23),
    Measure(name="fare", title=TITLE, lo=0, hi=400),
    Measure(name="far", title=TITLE, lo=-(2**31), hi=2**31),
    Time(name="day", title=TITLE, unit="day", first="2026-10-01", last="2026-10-20"),
    bounding_measures=True,
)
MEASURES = [
    MeasureAsked(as_="trips", count="rows"),
    MeasureAsked(as_="riders", count="residents"),
    MeasureAsked(as_="paid", sum="fare"),
]
ODD_WARDS = [*WARDS, "e\u0301", "north ", "elsewhere", "🌸", ""]
ODD_NUMBERS = ["", "0", "7", "23", "24", "-1", "400", "401", str(2**31 + 1), str(2**63 - 1), str(-(2**63)), "none"]
Answer = tuple[list[tuple[Any, ...]], list[int]]


def rides(first: int, below: int) -> bytes:
    """Return a CSV file of rides; the same numbers give the same rides."""
    lines = ["customer,ward,kind,hour,fare,far,day"]
    for number in range(first, below):
        ward = ODD_WARDS[number % len(ODD_WARDS)]
        values = [ODD_NUMBERS[(number * step) % len(ODD_NUMBERS)] for step in (1, 5, 7)]
        kind, day = ("adult", "child", "dog")[number % 3], f"2026-10-{1 + number % 31:02}"
        lines.append(f"{number * 7 % 23:03},{ward},{kind},{','.join(values)},{day}")
    return "\n".join(lines).encode() + b"\n"


def sums() -> Plan:
    """Trips, riders and fares by ward."""
    query = Query(
        policy="mobility",
        version=1,
        from_=["rides"],
        where=[],
        group_by=["ward"],
        measures=MEASURES,
        spend=Spend(epsilon="1"),
    )
    return make_plan(query, policy_of(VIEW))


@contextmanager
def moved(folder: Path, engine: BoundingEngine | None, more: str = "", **how: Any) -> Iterator[ViewStore]:
    """Give a node's data side in a folder, over rides that only grow; ``engine`` bounds its views.

    ``more`` is what the mapping says besides.
    """
    (folder / "rides").mkdir(parents=True, exist_ok=True)
    (folder / "rides" / "01.csv").write_bytes(rides(0, 300))
    mapping = said('folder = "rides"\nkind = "csv"\nappend_only = true\n' + more)
    elsewhere = None if engine is None else ElsewhereBounding(engine, **how)
    store = ViewStore(folder / "node", {"rides": folder / "rides"}, SECRET, {"rides": mapping}, elsewhere)
    try:
        yield store
    finally:
        store.close()


def link(store: ViewStore, first: int, below: int) -> None:
    store.set_links([(f"{number:03}", number) for number in range(first, below)])


def answer(store: ViewStore) -> Answer:
    """Return the whole bounded view that a question would be asked of now, and one question's exact vector."""
    table = store._made[POLICY, VIEW.name].table
    rows = sorted(map(tuple, store._engine.con.execute(f"FROM {table}").fetchall()), key=repr)
    return rows, store.vector(POLICY, sums(), np.ones(32, dtype=bool))


def take(store: ViewStore) -> Answer:
    store.load([VIEW])
    store.materialise(POLICY, VIEW)
    return answer(store)


def life(folder: Path, engine: BoundingEngine | None) -> list[Answer]:
    """Return what is answered at first, with new links, after an erasure, with a new file, and by books put back."""
    with moved(folder, engine) as store:
        link(store, 0, 12)
        answers = [take(store)]
        link(store, 12, 20)
        answers.append(take(store))  # a part of the new links' rows is added
        store.erase_rows([3, 15])
        answers += [answer(store), take(store)]
        (folder / "rides" / "02.csv").write_bytes(rides(300, 420))
        answers.append(take(store))
        store.keep_only([(f"{number:03}", number) for number in range(9) if number != 3])
        answers += [answer(store), take(store)]
    return answers


class Watched:
    """An engine in whose midst a test looks, or does something to it."""

    def __init__(self, engine: BoundingEngine, then: Any) -> None:
        self.engine, self.then = engine, then

    @contextmanager
    def bounding(self, job: BoundingJob) -> Iterator[Iterator[pa.RecordBatch]]:
        """Do what the engine does, and then what the test does."""
        with self.engine.bounding(job) as batches:
            self.then(job)
            yield batches


class Saying:
    """An engine that gives whatever rows it is told, and then fails where it is told to."""

    def __init__(self, rows: list[Mapping[str, Any]], error: Exception | None = None) -> None:
        self.rows, self.error = rows, error

    @contextmanager
    def bounding(self, job: BoundingJob) -> Iterator[Iterator[pa.RecordBatch]]:
        """Read all that is given, and give what the test says."""
        for rows in job.tables.values():
            rows().read_all()

        def batches() -> Iterator[pa.RecordBatch]:
            yield pa.RecordBatch.from_pylist(self.rows, schema=job.schema)
            if self.error is not None:
                raise self.error

        yield batches()


def engine_of(folder: Path, kind: Any, **said_of: Any) -> BoundingEngine:
    engine = open_engine(EngineSetting(kind=kind, **said_of), folder)
    assert engine is not None
    return engine
