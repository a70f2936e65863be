"""One consent a request, from 32 residents at once, until each holds its receipt: against the sequencing interval.

Each client signs nothing (its consents were signed beforehand), hands one in, waits for the answer, which comes once a
cosigned checkpoint covers it, and fetches the receipt; then the next. The service is a real process with a real witness
and the default interval, 200 ms: with arrivals at any moment, waiting for the next turn alone takes up to that long.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.intake import sign_all
from ledger import canonical
from ledger.notes.receipts import Receipt
from trust.client.service import ServiceClient
from trust.log.pins import load_trust
from trust.service.settings import ServiceSettings
from trust.town.founding import found_town
from trust.town.layout import lay_out
from trust.town.loader import load_town
from trust.town.processes import Processes
from trust.town.up import free_ports

CLIENTS = 32
EACH = 60
"""How many consents each client hands in while the clock runs."""
WARM_UP = 2
TARGET = "<= 2.5"


def run(each: int = EACH) -> list[dict[str, Any]]:
    """Return the 99th percentile of the time until the receipt, in sequencing intervals."""
    town = load_town(Path(__file__).parent / "four_holders")
    wanted = CLIENTS * (each + WARM_UP)
    with tempfile.TemporaryDirectory() as folder:
        port, witness_port = free_ports(None)
        layout = lay_out(town, Path(folder), residents=wanted, port=port, witness_port=witness_port)
        with (layout.service / "service.toml").open("a") as settings:
            settings.write("requests_per_minute = 1_000_000\n")  # all 32 come from one address here
        processes = Processes(layout)
        try:
            processes.start_all([])
            with ServiceClient(layout.url, load_trust(layout.folder / "trust.json")) as client:
                found_town(layout, town, client)
                enrolments, grants = sign_all(layout, client)
                for body in enrolments:
                    client.post_bytes("/v1/enrolments", body)
            seconds = asyncio.run(_hand_in(layout.url, _one_by_one(grants)[:wanted]))
        finally:
            processes.stop_all()
    interval = ServiceSettings(origin="").interval_ms / 1_000
    hundredths = statistics.quantiles(seconds, n=100)
    return [
        {
            "name": "one consent over HTTP until its receipt, 32 clients, one witness: p99 ÷ the sequencing interval",
            "ratio": hundredths[98] / interval,
            "target": TARGET,
            "detail": f"{len(seconds):,} consents: p50 {1e3 * hundredths[49]:.0f} ms, p90 {1e3 * hundredths[89]:.0f} ms, "
            f"p99 {1e3 * hundredths[98]:.0f} ms, at most {1e3 * max(seconds):.0f} ms; "
            f"an interval of {1e3 * interval:.0f} ms",
        }
    ]


def _one_by_one(grants: list[bytes]) -> list[bytes]:
    return [
        canonical.encode({"bundles": [bundle]})
        for body in grants
        for bundle in canonical.decode(body, dict[str, list[Any]])["bundles"]
    ]


async def _hand_in(url: str, bodies: list[bytes]) -> list[float]:
    """Return how long each took, without the first few of each client."""
    waiting = iter(bodies)
    taken: list[float] = []

    async def one(client: httpx.AsyncClient) -> None:
        for turn, body in enumerate(waiting):
            began = time.perf_counter()
            answer = await client.post("/v1/grants", content=body)
            (index,) = answer.raise_for_status().json()["indices"]
            receipt = (await client.get(f"/v1/receipts/{index}")).raise_for_status()
            if turn >= WARM_UP:
                taken.append(time.perf_counter() - began)
            assert Receipt.parse(receipt.content).index == index
            await asyncio.sleep(0)

    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(one(client) for _ in range(CLIENTS)))
    return taken
