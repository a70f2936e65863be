"""One town for all refusals: that each case leaves it as it was is what lets the next one use it.

Every table, the state and the log's files are looked at before and after each.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.kit.towns.running import Resident, lay_out, query, question, run
from tests.kit.towns.toy_town import HEALTH
from tests.service.refusals.standing import OUTINGS, OUTINGS_2, TIGHT, Standing


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On PostgreSQL every fourth will do: what is refused is decided before a database is asked, or alike on both."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "postgresql" in item.name:
            item.add_marker(pytest.mark.many(4))


@pytest.fixture(scope="package")
async def standing(tmp_path_factory: pytest.TempPathFactory, database: Callable[[], str]) -> AsyncIterator[Standing]:
    town = lay_out(tmp_path_factory.mktemp("standing"), database())
    async with run(town) as running:
        await running.found()
        for document in (TIGHT, OUTINGS, OUTINGS_2):
            await running.done("/v1/policies", town.approved("policy", document))
        aoi, ren, stranger = Resident(), Resident(), Resident()
        await running.enrol(aoi, ren)
        given, given_too, ended = aoi.consent(), aoi.consent(HEALTH), ren.consent(holders=["bus_co"])
        grant, grant_too, ended_grant = [(await running.grant(each))[0] for each in (given, given_too, ended)]
        revocation = ren.revocation(ended, ended_grant, holders=["bus_co"])
        await running.done("/v1/revocations", revocation)

        asked = question(town, query())
        opened = (await running.ask(asked)).admit
        closed = (await running.ask(question(town, query(group_by=["ward"])))).admit
        worded = (await running.ask(question(town, query(measures=[{"as": "n", "count": "residents"}])))).admit
        half = (await running.ask(question(town, query(), fresh=True))).admit
        await running.countersign(opened, "bus_co")
        await running.countersign(closed, "bus_co", "clinic")
        await running.share(closed, "bus_co", [1, 2, 3])
        assert await running.share(closed, "clinic", [4, 5, 6]) is not None
        await running.countersign(worded, "bus_co", "clinic")
        await running.word(worded, "clinic")
        half_transcript = await running.countersign(half, "bus_co", "clinic")
        half_entry = await running.entry(half)
        bus = running.nodes["bus_co"]
        half_share = bus.sign(bus.share(half, half_entry, half_transcript, [7]))
        await running.done("/v1/node/share", half_share)

        yield Standing(
            running=running,
            aoi=aoi,
            ren=ren,
            stranger=stranger,
            given=given,
            grant=grant,
            given_too=given_too,
            grant_too=grant_too,
            ended=ended,
            ended_grant=ended_grant,
            revocation=revocation,
            asked=asked,
            opened=opened,
            opened_entry=await running.entry(opened),
            closed=closed,
            closed_entry=await running.entry(closed),
            closed_shares=(await running.client.get(f"/v1/rounds/{closed}/shares")).json()["shares"],
            worded=worded,
            worded_entry=await running.entry(worded),
            half=half,
            half_entry=half_entry,
            half_transcript=half_transcript,
            half_share=half_share,
        )
