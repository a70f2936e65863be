"""Real records of people that ship in packages are read as what they mean, or whoever holds them is told why not."""

import bz2
import csv
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from policies.policy_document import Category, Measure, Range, View
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.tree import Query, Spend
from tests.kit.node_tables import SECRET, TITLE, policy_of, view_over
from trust.node.check.file_check import check_source
from trust.node.check.findings import SourceFindings
from trust.node.check.suggestion import draft_mapping
from trust.node.data.views import ViewStore
from trust.node.settings import NodeSettings
from trust.node.sources.mapping import SourceMapping
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import FileRefused

PACKAGES = ("lifetimes==0.11.3", "linearmodels==7.1", "lifelines==0.30.3")
R = 400
"""More rows than any of these people have."""
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the packages, without what they need."""
    folder = tmp_path_factory.mktemp("packages")
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", folder, *PACKAGES], check=True)
    return folder


def drafted(path: Path, view: View, linked: Sequence[str]) -> SourceMapping:
    draft = draft_mapping(view.source, path, path.name, [("mobility", view)], linked, "Asia/Tokyo")
    settings = msgspec.toml.decode('alias = "x"\nservice = "http://x"\n' + draft.toml, type=NodeSettings)
    return settings.mappings[view.source]


def look(path: Path, view: View, linked: Sequence[str], mapping: SourceMapping) -> SourceFindings:
    spill = path.parent / "spill"
    return check_source(view.source, SourceFile(path, mapping), [("mobility", view)], linked, spill)


def answer(path: Path, view: View, linked: Sequence[str], mapping: SourceMapping, key: str, summed: str) -> list[int]:
    store = ViewStore(path.parent, {view.source: path}, SECRET, {view.source: mapping})
    try:
        store.set_links([(customer, slot) for slot, customer in enumerate(linked)])
        store.load([view])
        store.materialise("ab" * 32, view)
        asked = [MeasureAsked(as_="rows", count="rows"), MeasureAsked(as_="all", sum=summed)]
        query = Query(
            policy="mobility",
            version=1,
            from_=[view.source],
            where=[],
            group_by=[key],
            measures=asked,
            spend=Spend(epsilon="0.1"),
        )
        return store.vector("ab" * 32, make_plan(query, policy_of(view)), np.ones(len(linked), dtype=bool))
    finally:
        store.close()


def meant(rows: Sequence[dict[str, str]], key: str, keys: Sequence[object], summed: str, hi: int) -> list[int]:
    counts: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for row in rows:
        counts[row[key]] += 1
        sums[row[key]] += min(int(row[summed]), hi) if row[summed].isdigit() else 0
    return [*(counts[str(each)] for each in keys), *(sums[str(each)] for each in keys)]


def test_purchases_of_23_570_people_parted_by_blanks_are_told_and_read_once_they_are_csv(
    packages: Path, tmp_path: Path
) -> None:
    raw = packages / "lifetimes" / "datasets" / "CDNOW_master.txt"
    lines = [line.split() for line in raw.read_text().splitlines() if line.strip()]
    rows = [dict(zip(("customer_id", "date", "cds", "dollars"), line, strict=True)) for line in lines[1:]]
    columns = Range(name="cds", title=TITLE, lo=1, hi=99), MONEY
    view = view_over("purchases", *columns, rows=R, resident="customer_id")
    linked = sorted({row["customer_id"] for row in rows})
    told = look(raw, view, linked, SourceMapping(file=raw.name))
    assert told.refused
    assert any("parted by blanks" in sentence for sentence in told.advice)
    path = tmp_path / "purchases.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "date", "cds", "dollars"])
        writer.writerows([*line[:3], line[3].replace(".", "")] for line in lines[1:])
    cents = [{**row, "dollars": str(int(row["dollars"].replace(".", "")))} for row in rows]
    found = answer(path, view, linked, drafted(path, view, linked), "cds", "dollars")
    assert found == meant(cents, "cds", range(1, 100), "dollars", 100_000)


MONEY = Measure(name="dollars", title=TITLE, lo=0, hi=100_000)


def test_the_wages_of_545_people_over_eight_years_are_told_to_be_packed_and_read_once_they_are_not(
    packages: Path, tmp_path: Path
) -> None:
    raw = packages / "linearmodels" / "datasets" / "wage_panel" / "wage_panel.csv.bz2"
    view = view_over(
        "wages",
        Range(name="year", title=TITLE, lo=1980, hi=1987),
        Measure(name="hours", title=TITLE, lo=0, hi=4_000),
        rows=R,
        resident="nr",
    )
    with pytest.raises(FileRefused, match="bzip2"):
        drafted(raw, view, [])
    path = tmp_path / "wages.csv"
    path.write_bytes(bz2.decompress(raw.read_bytes()))
    rows = list(csv.DictReader(path.open()))
    linked = sorted({row["nr"] for row in rows})
    found = answer(path, view, linked, drafted(path, view, linked), "year", "hours")
    assert found == meant(rows, "year", range(1980, 1988), "hours", 4_000)


def test_a_trial_with_2_139_people_is_read_and_each_value_that_is_not_there_is_counted(
    packages: Path, tmp_path: Path
) -> None:
    path = tmp_path / "trial.csv"
    path.write_bytes((packages / "lifelines" / "datasets" / "ACTG175.csv").read_bytes())
    view = view_over(
        "trial",
        Category(name="arms", title=TITLE, values=["0", "1", "2", "3"]),
        Measure(name="cd496", title=TITLE, lo=0, hi=2_000),
        Measure(name="wtkg", title=TITLE, lo=0, hi=200),
        rows=R,
        resident="pidnum",
    )
    rows = list(csv.DictReader(path.open()))
    linked = sorted({row["pidnum"] for row in rows})
    mapping = drafted(path, view, linked)
    assert answer(path, view, linked, mapping, "arms", "cd496") == meant(rows, "arms", range(4), "cd496", 2_000)
    found = look(path, view, linked, mapping)
    (cd496,) = [column for column in found.views[0].columns if column.column == "cd496"]
    assert cd496.unread == sum(row["cd496"] == "NA" for row in rows) > 700
    assert [(each.value, each.rows) for each in cd496.examples] == [("NA", cd496.unread)]
    assert any(sentence.startswith("wtkg:") and "have decimals" in sentence for sentence in found.advice)
