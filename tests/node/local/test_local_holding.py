"""What another program on the machine holds of a node's local interface leaves the holder and the site theirs."""

import httpx
import pytest

from tests.kit.amounts import amount
from tests.kit.machine.strangers import get, post, strangers
from tests.kit.waiting import PATIENCE
from tests.node.local.conftest import Interface
from trust.node.local.app import LANES
from trust.node.local.local_paths import LINKS, LOOK, PAGE, STATUS
from trust.runtime.callers.connections import MANY

MORE = 2 * max(lane.places for lane in LANES)
HELD = {
    "bodies that do not come, where the site calls": [post(LINKS, 10)] * MORE,
    "bodies that do not come, at the holder's page": [post(LOOK, 10)] * MORE,
    "bodies that do not come, where nothing is": [post("/nothing", 10)] * MORE,
    "large bodies that lack one byte": [post(LINKS, 60_000, bytes(59_999))] * MORE,
    "heads that do not end": [get(PAGE)[:-2]] * MORE,
}


@pytest.mark.parametrize("first", [1, 2], ids=["of the same address", "of another address"])
@pytest.mark.parametrize("what", HELD)
def test_the_holders_page_opens_and_the_site_is_answered_while_another_program_holds_what_it_can(
    interface: Interface, what: str, first: int
) -> None:
    with strangers(interface.port, HELD[what], first=first), interface.holder() as browser:
        for _ in range(3):
            assert browser.get(PAGE).status_code == httpx.codes.OK
            said = httpx.post(
                interface.url + STATUS, json={"customer": "c001"}, headers=interface.bearer, timeout=PATIENCE
            )
            assert said.json() == {"linked": True}


@pytest.mark.slow
def test_the_holders_page_opens_beside_more_connections_than_one_address_may_keep(interface: Interface) -> None:
    with strangers(interface.port, [b""] * amount(MANY + 300, 4_600), first=1), interface.holder() as browser:
        assert browser.get(PAGE).status_code == httpx.codes.OK


def test_every_lane_lets_whoever_comes_take_the_place_of_whoever_is_slow() -> None:
    """Every caller has the same address: a number of its own would be reached first, and nobody would make room."""
    assert all(lane.places_each > lane.places for lane in LANES)
