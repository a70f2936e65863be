"""A private answer against the same SQL without privacy, at one node: 10,000,000 rows of 1,000,000 people.

The question is a count and a sum, grouped by one key, over the four fifths of the people who consent. The yardstick is
that SQL on the raw table, a native DuckDB table in a file of its own, with the same consent filter (a semi-join on a
native table of customer numbers) and the same number of threads. Rounds of both alternate; medians are compared, by the
processor's time, which hangs less on who else is at work, and by the clock beside it.

*Second query* is what each question costs once the bounded view is there: pricing (each round at another epsilon, so
that no price is remembered), looking whether the view is current, the exact vector, and OpenDP's noise.
*Loading* is taking the Parquet file in: reading, linking, numbering, and the snapshot on the disk. *Materialising* is
making the bounded view from that: at most ``ROWS_PER_RESIDENT`` of about ten rows each, so that most are bounded.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import duckdb
import msgspec
import numpy as np

from policies.policy_document import Budget, Category, Limits, Measure, Policy, Range, View
from queries.price.pricing import price
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.tree import Query, Spend
from trust.node.data.views import ViewStore
from trust.node.rounds.noise import make_measurement

ROWS = 10_000_000
PEOPLE = 1_000_000
ROWS_PER_RESIDENT = 5
ROUNDS = 7
QUERY_TARGET = 0.15
LOAD_TARGET = 20.0
MATERIALISE_TARGET = 5.0
WARDS = [f"ward {number}" for number in range(20)]
PLAIN = "SELECT ward, count(*), sum(fare) FROM rides SEMI JOIN consents USING (customer) GROUP BY ward"
TITLE = {"ja": "乗車", "en": "rides", "ja-easy": "のりもの"}


def run(rows: int = ROWS, people: int = PEOPLE) -> list[dict[str, object]]:
    """Return the three ratios, private / plain; below 1.0 the private answer is the faster one."""
    policy, counted = _policy(), np.random.default_rng(1).random(people) < 0.8
    view = policy.views[0]
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as root:
        raw = _raw_table(Path(root), rows, people, counted)
        store = ViewStore(Path(root), {"rides": Path(root) / "rides.parquet"}, bytes(32))
        store.set_links((str(_customer(slot)), slot) for slot in range(people))
        plain, made, asked = [], [], []
        loading = _seconds(lambda: store.load([view]))
        for number in range(ROUNDS):
            version = sha256(bytes([number])).hexdigest()  # another policy version each time: made from nothing
            query = _query(policy, f"0.{number + 1}")
            plain.append(_seconds(lambda: raw.execute(PLAIN).fetchall()))
            made.append(_seconds(lambda version=version: store.materialise(version, view)))  # type: ignore[misc]
            asked.append(_seconds(lambda version=version, query=query: _ask(store, version, policy, query, counted)))  # type: ignore[misc]
        store.close()
        raw.close()
    setting = f"{rows:,} rows, {people:,} people, 80% consent"
    return [
        _row("second query on a view, price and noise included / plain SQL", QUERY_TARGET, asked, plain, setting),
        _row("loading the file / plain SQL", LOAD_TARGET, [loading], plain, f"{setting}, once for each file"),
        _row(
            "materialising the bounded view / plain SQL",
            MATERIALISE_TARGET,
            made,
            plain,
            f"{setting}, at most {ROWS_PER_RESIDENT} rows each",
        ),
    ]


def _row(
    name: str, target: float, ours: list[tuple[float, float]], plain: list[tuple[float, float]], setting: str
) -> dict[str, object]:
    """Return the ratio of medians by the processor's time; by the clock it stands beside it."""
    wall, used = (statistics.median(each[place] for each in ours) for place in (0, 1))
    plain_wall, plain_used = (statistics.median(each[place] for each in plain) for place in (0, 1))
    return {
        "name": name,
        "ratio": round(used / plain_used, 3),
        "target": target,
        "detail": f"{setting}; by the processor's time {1e3 * used:.0f} ms, plain SQL {1e3 * plain_used:.0f} ms; "
        f"by the clock {wall / plain_wall:.2f}: {1e3 * wall:.0f} ms and {1e3 * plain_wall:.0f} ms",
    }


def _customer(slot: int) -> int:
    return 10_000_000 + 7 * slot


def _raw_table(folder: Path, rows: int, people: int, counted: np.ndarray) -> duckdb.DuckDBPyConnection:
    raw = duckdb.connect(folder / "raw.duckdb")
    raw.execute(
        f"CREATE TABLE rides AS SELECT CAST({_customer(0)} + 7 * (hash(i) % {people}) AS BIGINT) AS customer, "
        f"'ward ' || (hash(i + 1000000007) % {len(WARDS)}) AS ward, CAST(hash(i * 3) % 24 AS INTEGER) AS hour, "
        f"CAST(hash(i * 5) % 1000 AS INTEGER) AS fare FROM range({rows}) AS t(i)"
    )
    raw.execute(f"COPY rides TO '{folder / 'rides.parquet'}'")
    slots = np.flatnonzero(counted)
    raw.execute(
        f"CREATE TABLE consents AS SELECT {_customer(0)} + 7 * slot AS customer FROM (SELECT unnest(?) AS slot)",
        [slots],
    )
    raw.execute("CHECKPOINT")
    return raw


def _ask(store: ViewStore, version: str, policy: Policy, query: Query, counted: np.ndarray) -> list[int]:
    plan = make_plan(query, policy)
    cost = price(plan, query.spend, policy.budget)
    store.materialise(version, plan.view)
    return make_measurement(plan, cost.noise)(store.vector(version, plan, counted))


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds by the clock, and of all processors."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - used


def _query(policy: Policy, epsilon: str) -> Query:
    return Query(
        policy=policy.id,
        version=policy.version,
        from_=["rides"],
        where=[],
        group_by=["ward"],
        measures=[MeasureAsked(as_="rides", count="rows"), MeasureAsked(as_="fare", sum="fare")],
        spend=Spend(epsilon=epsilon),
    )


def _policy() -> Policy:
    view = View(
        name="rides",
        title=TITLE,
        holders=["bus_co"],
        source="rides",
        resident="customer",
        rows_per_resident=ROWS_PER_RESIDENT,
        holders_per_resident=1,
        columns=[
            Category(name="ward", title=TITLE, values=WARDS),
            Range(name="hour", title=TITLE, lo=0, hi=23),
            Measure(name="fare", title=TITLE, lo=0, hi=800, unit="JPY"),
        ],
    )
    return Policy(
        id="mobility_demand",
        version=1,
        title=TITLE,
        notice=TITLE,
        purpose="https://w3id.org/dpv#ImproveTransportMobility",
        group="excursion",
        controller="city",
        holders=["bus_co"],
        partners=["city"],
        until=["2027-11-30"],
        yearly_caps=[10**9],
        views=[view],
        budget=Budget(delta="0.000001", window="year", per_window=10**12, life=10**12, per_partner=10**12),
        limits=Limits(cells=4096, measures=16, charge=10**12),
        aggregation="local",
        reuse=0,
    )


if __name__ == "__main__":
    print(msgspec.json.format(msgspec.json.encode(run())).decode())
