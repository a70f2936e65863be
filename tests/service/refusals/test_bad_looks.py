"""Nobody looks at what is not theirs or not there, and a bad address gets a problem document."""

import re
import time

import httpx
import pytest

from ledger import jws
from tests.kit.towns.running import refused
from tests.service.refusals.standing import HOUR, Make, Standing
from trust.service.database import tables as t

pytestmark = pytest.mark.anyio

BAD_LOOKS: dict[str, tuple[Make, str]] = {
    "with another resident's key": (lambda s: jws.sign(s.aoi.mine(), s.ren.key), "signature-invalid"),
    "for another ledger": (lambda s: jws.sign(s.aoi.mine(log="elsewhere.test/log"), s.aoi.key), "signature-invalid"),
    "by a clock an hour off": (lambda s: jws.sign(s.aoi.mine(at=int(time.time()) - HOUR), s.aoi.key), "clock-skew"),
    "a second time": (lambda s: jws.sign(s.aoi.mine(), s.aoi.key), "replayed"),
}


@pytest.mark.parametrize("what", BAD_LOOKS)
async def test_nobody_looks_at_a_residents_consents_but_the_resident_now(standing: Standing, what: str) -> None:
    make, code = BAD_LOOKS[what]
    token = make(standing)
    if code == "replayed":
        assert len(await standing.running.done("/v1/residents/consents", token)) == 2
    async with standing.running.unchanged():
        refused(await standing.running.post("/v1/residents/consents", token), code)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nowhere", "not-found"),
        ("/v1/entries/123456789", "not-found"),
        ("/v1/entries/" + "9" * 30, "not-found"),
        ("/v1/entries/-1", "not-found"),
        ("/v1/entries/one", "not-found"),
        ("/v1/receipts/123456789", "not-found"),
        ("/v1/receipts/" + "9" * 30, "not-found"),
        ("/v1/rounds/0", "not-found"),
        ("/v1/rounds/" + "9" * 30, "not-found"),
        ("/v1/rounds/0/shares", "not-found"),
        ("/v1/rounds/" + "9" * 30 + "/shares", "not-found"),
        ("/v1/rounds/" + "9" * 5_000 + "/shares", "not-found"),
        ("/v1/rounds/0?wait=long", "malformed"),
        ("/log/tile/0/123", "not-found"),
        ("/log/tile/0/000.p/255", "not-found"),
        ("/log/tile/0/000.p/256", "malformed"),
        ("/log/tile/0/0", "malformed"),
        ("/log/tile/64/000", "malformed"),
        ("/log/tile/entries/../../../keys/log.key", "not-found"),
        ("/log/tile/%2e%2e/%2e%2e/service.toml", "malformed"),
        ("/log/tile/0/" + "x999/" * 300 + "999", "malformed"),
    ],
)
async def test_a_bad_address_gets_a_problem_and_changes_nothing(standing: Standing, path: str, code: str) -> None:
    async with standing.running.unchanged():
        response = await standing.running.client.get(path)
        refused(response, code)
    assert b"seed" not in response.content


async def test_another_method_gets_a_problem(standing: Standing) -> None:
    response = await standing.running.client.delete("/v1/entries/0")
    assert response.status_code == httpx.codes.METHOD_NOT_ALLOWED
    assert response.json()["code"] == "not-permitted"


async def test_the_store_has_looked_at_every_table(standing: Standing) -> None:
    """What ``unchanged`` compares is not empty: each table has something that could have changed."""
    snapshot = await standing.running.snapshot()
    empty = {name.removeprefix("/") for name, rows in snapshot.items() if name.startswith("/") and not rows}
    by_nodes = {"caught_up", "confirmations", "erased_words", "not_ready", "rules_words"}
    assert empty <= by_nodes | {"erasures", "idempotency", "lost_keys", "refusals"}
    assert snapshot["files"]


async def test_whatever_is_looked_at_is_there_a_second_time_and_nothing_came_of_it(standing: Standing) -> None:
    """A GET, and so a HEAD, is made by whoever only looks: a mail program, a browser that fetches ahead."""
    running = standing.running
    app = running.client._transport.app  # type: ignore[attr-defined]
    routes = {route.path for route in app.routes if "GET" in getattr(route, "methods", ())}
    found: set[str] = set()
    seen = [await running.rows(table) for table in (t.nonces, t.stop_attempts)]
    async with running.unchanged():
        for route in routes:
            for number, name in ((0, "mobility"), (standing.grant, "bus_co"), (standing.closed, "0/000.p/1")):
                numbered = re.sub(r"\{[a-z_]+:int\}", str(number), route)
                path = re.sub(r"\{[a-z_0-9]+:[a-z]+\}", name, numbered)
                first, second = [await running.client.get(path) for _ in range(2)]
                assert first.status_code == second.status_code, path
                found |= {route} if first.status_code == httpx.codes.OK else set()
    assert seen == [await running.rows(table) for table in (t.nonces, t.stop_attempts)]
    assert len(found) > 2 * len(routes) // 3, sorted(routes - found)
