"""Files as firms have them: each is read as what it means, or its holder sees the sentence that helps."""

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ledger.errors import MusubiError
from policies.policy_document import Category, Measure, Range
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.tree import Query, Spend
from tests.kit.amounts import amount
from tests.kit.node_tables import SECRET, TITLE, policy_of, view_over
from tests.node.check.firms_files import FILES, LINKED, RIDES, RIGHT, WARDS
from trust.cli.operator.node_check import show_source
from trust.node.check.file_check import check_source
from trust.node.check.findings import SourceFindings
from trust.node.check.suggestion import draft_mapping
from trust.node.data.views import ViewStore
from trust.node.settings import NodeSettings
from trust.node.sources.mapping import SourceMapping
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import FileRefused

VIEW = view_over(
    "rides",
    Category(name="ward", title=TITLE, values=list(WARDS), labels={ward: {"ja": f"{ward}（札幌）"} for ward in WARDS}),
    Category(name="zone", title=TITLE, values=["01", "02", "11"]),
    Measure(name="fare", title={**TITLE, "ja": "運賃"}, lo=0, hi=2000),
    Range(name="hour", title=TITLE, lo=0, hi=23),
    rows=100,
)
VIEWS = [("mobility", VIEW)]


def answer(path: Path, mapping: SourceMapping) -> list[int]:
    """Count rides and fares by ward and zone, and rides by hour, over all who have linked, by the node's own way."""
    store = ViewStore(path.parent, {"rides": path}, SECRET, {"rides": mapping})
    try:
        store.set_links([(customer, slot) for slot, customer in enumerate(LINKED)])
        store.load([VIEW])
        store.materialise("ab" * 32, VIEW)
        found: list[int] = []
        for keys in (["ward", "zone"], ["hour"]):
            asked = [MeasureAsked(as_="rides", count="rows"), MeasureAsked(as_="fares", sum="fare")]
            query = Query(
                policy="mobility",
                version=1,
                from_=["rides"],
                where=[],
                group_by=keys,
                measures=asked,
                spend=Spend(epsilon="0.1"),
            )
            plan = make_plan(query, policy_of(VIEW))
            found += store.vector("ab" * 32, plan, np.ones(len(LINKED), dtype=bool))
        return found
    finally:
        store.close()


def meant() -> list[int]:
    """The same, from the rides themselves."""
    known = set(LINKED)
    rides = [ride for ride in RIDES if ride.customer in known]
    cells, hours = Counter((r.ward, r.zone) for r in rides), Counter(r.local.hour for r in rides)
    fares: Counter[object] = Counter()
    for ride in rides:
        fares[ride.ward, ride.zone] += max(ride.fare, 0)
        fares[ride.local.hour] += max(ride.fare, 0)
    keys = [(ward, zone) for ward in WARDS for zone in ("01", "02", "11")]
    return [
        *(cells[key] for key in keys),
        *(fares[key] for key in keys),
        *(hours[hour] for hour in range(24)),
        *(fares[hour] for hour in range(24)),
    ]


def look(path: Path, mapping: SourceMapping) -> SourceFindings:
    return check_source("rides", SourceFile(path, mapping), VIEWS, LINKED, path.parent / "spill")


def drafted_for(path: Path) -> tuple[SourceMapping, str]:
    """Return the mapping that is drafted for a file, as node.toml says it, and what is said of it."""
    try:
        draft = draft_mapping("rides", path, path.name, VIEWS, LINKED, "Asia/Tokyo")
    except FileRefused as error:
        return SourceMapping(file=path.name), error.reason
    settings = 'alias = "bus_co"\nservice = "http://127.0.0.1:1"\n' + draft.toml
    return msgspec.toml.decode(settings, type=NodeSettings).mappings["rides"], " ".join(draft.says)


def says_something(found: SourceFindings) -> bool:
    """Whether the holder is told more than that all is well."""
    columns = [column for view in found.views for column in view.columns]
    return bool(
        found.refused
        or found.advice
        or found.uneven
        or not found.linked_here
        or any(column.missing or column.unread or column.outside for column in columns)
    )


@pytest.mark.parametrize("name", list(FILES)[:: amount(4, 1)])
def test_a_firms_file_is_read_as_what_it_means_or_its_holder_is_told(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file_name, data, becomes = FILES[name]
    path = tmp_path / file_name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    alone = SourceMapping(file=file_name)
    found = look(path, alone)
    if not says_something(found):  # then it is right with nothing said of it
        assert answer(path, alone) == meant()
    drafted, said = drafted_for(path)
    found = look(path, drafted)
    show_source(found)
    shown = " ".join(f"{capsys.readouterr().out} {said}".split())
    if becomes == RIGHT:
        assert answer(path, drafted) == meant(), shown
        assert found.linked_here == len(LINKED)
    else:
        assert becomes in shown
        assert says_something(found)
        try:
            assert answer(path, drafted) != meant() or found.advice or found.uneven
        except MusubiError:
            assert found.refused or any(column.missing for view in found.views for column in view.columns)


def test_there_are_at_least_sixty() -> None:
    assert len(FILES) >= 60
