"""Playing the residents of a town: enrolling, linking at the holders' counters, and signing consents.

Each resident's seed is HMAC-SHA256 of the town's ``people/seeds.key`` and the resident's number, so the demo needs no
file for each; a real resident's seed lives on the resident's own device. Signing runs in worker processes, as
thousands of devices would.
"""

import hmac
import os
import random
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path

from msgspec import Raw, Struct
from nacl.signing import SigningKey

from ledger import canonical, jws
from policies.consents.attestation import Attestation, make_challenge, make_enrolment, make_link
from policies.consents.consent import make_consent
from policies.languages import DEFAULT_LANGUAGE
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from policies.policy_document import Policy
from policies.rules import REPLACING
from trust.client import paths
from trust.client.service import ServiceClient
from trust.client.wire import EnrolmentRequest, EnrolmentRequests, GrantRequest
from trust.files.keys import read_secret
from trust.runtime.clock import system_clock
from trust.town.document import Town
from trust.town.layout import Layout
from trust.town.loader import read_residents

CHUNK = 250
AHEAD = 6
"""How many chunks are under way at once at each stage: memory stays flat however many residents there are."""
HANDING_IN = 4
"""How many counters hand in at once."""

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


class SigningWork(Struct, frozen=True, kw_only=True):
    """What a worker signs for one chunk of residents."""

    first: int
    customers: list[dict[str, str]]
    origin: str
    identity: str
    identity_key: bytes
    link_secrets: dict[str, bytes]
    seeds: bytes
    policies: list[Policy]
    shares: dict[str, str]
    seed: int
    now: int
    today: str
    rules: int


class Signed(Struct, frozen=True, kw_only=True):
    """What came of it: an enrolment body, grant bodies, link lines by holder, and how many consents."""

    enrolments: bytes
    grants: list[bytes]
    links: dict[str, bytes]
    residents: int
    consents: int


def seed_of(seeds: bytes, person: int) -> bytes:
    """Return the seed of one of the demo's residents."""
    return hmac.digest(seeds, f"resident {person}".encode(), "sha256")


def subject_of(seeds: bytes, person: int) -> str:
    """Return the name that the demo's identity provider has for a resident: the same also when it changes its key."""
    return hmac.digest(seeds, f"subject {person}".encode(), "sha256").hex()


def chosen_holders(policy: Policy, customer_at: dict[str, str]) -> list[str]:
    """Return the policy's holders at which a resident is a customer: the ones a consent can be about."""
    return [holder for holder in policy.holders if holder in customer_at]


def sign_chunk(work: SigningWork) -> Signed:
    """Play one chunk of residents. Runs in a worker process."""
    enrolments, bundles = [], []
    links: dict[str, list[bytes]] = {holder: [] for holder in work.link_secrets}
    identity = SigningKey(work.identity_key)
    for offset, customer_at in enumerate(work.customers):
        person = work.first + offset
        seed = seed_of(work.seeds, person)
        key = pairwise_key(seed, SERVICE)
        subject = subject_of(work.seeds, person)
        attestation = jws.sign(
            Attestation(
                from_=work.identity,
                log=work.origin,
                key=public_hex(key),
                subject=subject,
                level="high",
                date=work.today,
            ),
            identity,
        )
        answered = make_enrolment(key, attestation, work.origin)
        enrolments.append(EnrolmentRequest(attestation=attestation, enrolment=answered))
        for holder, customer in customer_at.items():
            challenge = make_challenge(work.link_secrets[holder], customer, work.now)
            line = {"customer": customer, "link": make_link(seed, holder, challenge, work.now)}
            links[holder].append(canonical.encode(line))
        chance = random.Random(f"{work.seed} {person}")  # noqa: S311 - who consents in the demo is no secret
        for policy in work.policies:
            share = Decimal(work.shares.get(policy.id, "0"))
            holders = chosen_holders(policy, customer_at)
            if not holders or Decimal(chance.random()) >= share:
                continue
            count = len(policy.holders) + 1
            fresh = os.urandom(32 * (count + 1))
            bundle = make_consent(
                seed,
                policy,
                log=work.origin,
                consent=fresh[:32],
                salts=[fresh[32 * n : 32 * n + 32] for n in range(1, count + 1)],
                holders=holders,
                until=policy.until[-1],
                yearly_cap=policy.yearly_caps[-1],
                language=DEFAULT_LANGUAGE,
                shown_at=work.now,
                dated=work.rules >= REPLACING,
            )
            bundles.append(Raw(canonical.encode(bundle)))
    return Signed(
        enrolments=canonical.encode(EnrolmentRequests(enrolments=enrolments)),
        grants=[canonical.encode(GrantRequest(bundles=bundles[n : n + 250])) for n in range(0, len(bundles), 250)],
        links={holder: b"\n".join(lines) + b"\n" for holder, lines in links.items() if lines},
        residents=len(work.customers),
        consents=len(bundles),
    )


def play_residents(layout: Layout, town: Town, client: ServiceClient, progress: Progress) -> tuple[int, int]:
    """Enrol every resident, link them at their holders, and hand their consents in; return (residents, consents)."""
    people = read_residents(town, layout.people)
    identity = town.with_role("identity")[0].alias
    now = system_clock()
    shared = {
        "origin": town.origin,
        "identity": identity,
        "identity_key": bytes(layout.signing_key(identity)),
        "link_secrets": {h.alias: read_secret(layout.node(h.alias) / "keys" / "link.key") for h in town.holders},
        "seeds": read_secret(layout.people / "seeds.key"),
        "policies": list(client.policies().values()),
        "shares": {row.policy: row.share for row in town.consents},
        "seed": town.seed,
        "now": now,
        "today": time.strftime("%Y-%m-%d", time.gmtime(now)),
        "rules": client.rules(),
    }
    works = (
        SigningWork(first=first, customers=people[first : first + CHUNK], **shared)  # type: ignore[arg-type]
        for first in range(0, len(people), CHUNK)
    )
    residents = consents = 0

    def hand_in(number: int, signed: Signed) -> Signed:
        client.post_bytes(paths.ENROLMENTS, signed.enrolments)
        for holder, lines in signed.links.items():
            drop_links(layout.node(holder) / "links", number, lines)
        for body in signed.grants:
            client.post_bytes(paths.GRANTS, body)
        return signed

    with (
        ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as signers,
        ThreadPoolExecutor(max_workers=HANDING_IN) as desks,
    ):
        chunks = enumerate(_ahead(_submit_shielded(signers, work) for work in works))
        try:
            for signed in _ahead(desks.submit(hand_in, number, signed) for number, signed in chunks):
                residents += signed.residents
                consents += signed.consents
                progress("residents", residents, len(people))
        except BaseException:
            signers.shutdown(wait=False, cancel_futures=True)
            raise
    return residents, consents


def _submit_shielded(signers: ProcessPoolExecutor, work: SigningWork) -> Future[Signed]:
    """Submit work; a process that is started for it never sees Ctrl-C, which is for us, who then end it in order."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return signers.submit(sign_chunk, work)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ahead(futures: Iterator[Future[Signed]]) -> Iterator[Signed]:
    """Yield results in order while a few more are under way."""
    waiting: deque[Future[Signed]] = deque()
    for future in futures:
        waiting.append(future)
        if len(waiting) >= AHEAD:
            yield waiting.popleft().result()
    for future in waiting:
        yield future.result()


def drop_links(folder: Path, number: int, lines: bytes) -> None:
    """Leave answered challenges where the holder's node looks for them, whole or not at all."""
    folder.mkdir(mode=0o700, exist_ok=True)
    temporary = folder / f"{number:06}.part"
    temporary.write_bytes(lines)
    temporary.rename(folder / f"{number:06}.jsonl")
