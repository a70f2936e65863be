"""Signed consents taken in through HTTP, verified, durable and checkpointed, against bare verification.

The yardstick is a bare PyNaCl loop that verifies the very same signatures, on both cores at once (one process each).
The service is a real process with a real witness; consents are signed beforehand and sent by a few keep-alive clients.
A request is answered only when a cosigned checkpoint covers its entries.
"""

import asyncio
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from nacl.bindings import crypto_sign_open

from ledger import canonical, jws
from policies.consents.bundle import NONE, Bundle
from policies.consents.consent import General, SubGrant
from trust.client.service import ServiceClient
from trust.files.keys import read_secret
from trust.log.pins import load_trust
from trust.town.founding import found_town
from trust.town.layout import Layout, lay_out
from trust.town.loader import load_town, read_residents
from trust.town.play_residents import SigningWork, sign_chunk
from trust.town.processes import Processes
from trust.town.up import free_ports

RESIDENTS = 16_000
CLIENTS = 16
WARM_UP = 8
"""Requests before the clock starts: the service starts its workers at the first large one."""
Signature = tuple[bytes, bytes]
"""(signature and signed bytes, public key)."""


def run(residents: int = RESIDENTS) -> list[dict[str, Any]]:
    """Measure for a policy of four holders (five signatures a consent), and for momijidai's policies (2.3 of them)."""
    here = Path(__file__).parent
    return [
        _measure(here / "four_holders", residents, "of four holders", ">= 0.5"),
        _measure(here.parent / "towns" / "momijidai", residents, "of momijidai's one or two holders", ""),
    ]


def _measure(place: Path, residents: int, what: str, target: str) -> dict[str, Any]:
    town = load_town(place)
    with tempfile.TemporaryDirectory() as folder:
        port, witness_port = free_ports(None)
        layout = lay_out(town, Path(folder), residents=residents, port=port, witness_port=witness_port)
        processes = Processes(layout)
        try:
            processes.start_all([])
            with ServiceClient(layout.url, load_trust(layout.folder / "trust.json")) as client:
                found_town(layout, town, client)
                enrolments, grants = sign_all(layout, client)
                for body in enrolments:
                    client.post_bytes("/v1/enrolments", body)
            asyncio.run(_send(layout.url, grants[:WARM_UP]))
            seconds = asyncio.run(_send(layout.url, grants[WARM_UP:]))
        finally:
            processes.stop_all()
    grants = grants[WARM_UP:]
    signatures = [signature for body in grants for signature in _signatures(body)]
    consents = sum(len(canonical.decode(body, dict[str, list[Bundle]])["bundles"]) for body in grants)
    bare = _bare(signatures)
    return {
        "name": f"consents {what} through HTTP, verified, durable, checkpointed; bare PyNaCl on both cores ÷ this",
        "ratio": bare / seconds,
        "target": target,
        "detail": f"{consents:,} consents with {len(signatures):,} signatures in {seconds:.2f} s "
        f"({consents / seconds:,.0f} consents/s, {len(signatures) / seconds:,.0f} signatures/s; "
        f"bare {len(signatures) / bare:,.0f}/s)",
    }


def sign_all(layout: Layout, client: ServiceClient) -> tuple[list[bytes], list[bytes]]:
    """Sign every resident's enrolment and consents; return the bodies to hand in."""
    town = layout.town
    people = read_residents(town, layout.people)
    identity = town.with_role("identity")[0].alias
    now = int(time.time())
    works = [
        SigningWork(
            first=first,
            customers=people[first : first + 250],
            origin=town.origin,
            identity=identity,
            identity_key=bytes(layout.signing_key(identity)),
            link_secrets={h.alias: read_secret(layout.node(h.alias) / "keys" / "link.key") for h in town.holders},
            seeds=read_secret(layout.people / "seeds.key"),
            policies=list(client.policies().values()),
            shares={row.policy: row.share for row in town.consents},
            seed=town.seed,
            now=now,
            rules=client.rules(),
            today=time.strftime("%Y-%m-%d", time.gmtime(now)),
        )
        for first in range(0, len(people), 250)
    ]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        signed = pool.map(sign_chunk, works)
    return [each.enrolments for each in signed], [body for each in signed for body in each.grants]


async def _send(url: str, bodies: list[bytes]) -> float:
    waiting = iter(bodies)
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:

        async def one() -> None:
            for body in waiting:
                answer = await client.post("/v1/grants", content=body, headers={"Content-Type": "application/json"})
                answer.raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(CLIENTS)))
        return time.perf_counter() - began


def _signatures(body: bytes) -> list[Signature]:
    found = []
    for bundle in canonical.decode(body, dict[str, list[Bundle]])["bundles"]:
        for place, leaf in enumerate(bundle.leaves):
            if leaf.body != NONE:
                signed_part, payload, signature = jws.parts(leaf.body)
                kind: type[SubGrant | General] = SubGrant if place else General
                key = canonical.decode(payload, kind).key
                found.append((signature + signed_part, bytes.fromhex(key)))
    return found


def _verify(signatures: list[Signature]) -> float:
    began = time.perf_counter()
    for signed, key in signatures:
        crypto_sign_open(signed, key)
    return time.perf_counter() - began


def _bare(signatures: list[Signature]) -> float:
    half = len(signatures) // 2
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_verify, [signatures[:1], signatures[:1]])  # both workers are up before the clock starts
        return max(pool.map(_verify, [signatures[:half], signatures[half:]], chunksize=1))
