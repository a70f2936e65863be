"""A full audit of a town's log, as fast as it reads: every entry replayed, every rule checked, signatures set aside.

The log has the mix of the town ``momijidai``, over a year: its own members and policies (with larger budgets, so that a
whole year's questions fit), consents, one in twenty taken back, and a question for each 50 other entries, all with
real signatures. What is timed is ``musubi audit`` of its folder. The checks of signatures are timed where they are
made, in the same run, and taken off: they are the same work for any auditor, and libsodium's. Seconds are those of the
one processor that the audit runs on (``time.process_time``), so that other work on the machine does not count; the
detail gives the clock's as well.

Beside it, the price of an ``admit``'s in-force root in a log of 1 and of 10 million entries, all of them grants of one
policy: after one new grant, against hashing every chunk anew.
"""

import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Raw, structs

import ledger.ed25519
from ledger import entries as e
from ledger import jws
from ledger.canonical import encode
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.witness_policy import PolicyLog, WitnessPolicy
from ledger.tlog.tiles import TileAppender
from policies.governance import approve
from policies.in_force.chunk_tree import CHUNK_BITS, ChunkTree
from policies.in_force.sets import InForce
from policies.ledger_state import State
from policies.policy_document import Policy
from policies.replay import MemoryConsents
from queries.replay import replay
from queries.rounds.admission import make_admit, offer, plan_of, read_question
from queries.rounds.messages import Question, Word
from trust.audit.auditor import audit
from trust.files.keys import read_key, read_post_quantum_key
from trust.log.pins import load_trust
from trust.log.tile_folder import TileFolder
from trust.town.layout import Layout, lay_out, member_bodies
from trust.town.loader import load_town

ENTRIES = 120_000
TARGET = ">= 50000"
SPREAD = 300 * 86_400


class _Log:
    """A log that grows entry by entry, each replayed as it is added."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.entries: list[bytes] = []
        self.state = State()
        self.random = random.Random(1)
        self.grants: list[int] = []
        self._seen = MemoryConsents()

    def add(self, entry: e.AnyEntry) -> int:
        """Append an entry; return its index."""
        data = e.encode(entry)
        replay(self.state, len(self.entries), data, self._seen)
        self.entries.append(data)
        return len(self.entries) - 1

    def found(self) -> list[Policy]:
        """Append genesis, members and policies; return the policies."""
        town = self.layout.town
        genesis = e.decode((self.layout.service / "genesis.json").read_bytes().rstrip(b"\n"))
        self.add(genesis)
        keys = {steward.alias: self.layout.signing_key(steward.alias) for steward in town.stewards[: town.quorum]}

        def signed(subject: Any, body: object) -> list[str]:
            return [approve(subject, body, log=town.origin, steward=alias, key=key) for alias, key in keys.items()]

        for body in member_bodies(self.layout, town):
            self.add(e.Member(at=genesis.at, member=body, signatures=signed("member", body)))
        policies = []
        for policy in town.policies:
            budget = structs.replace(policy.budget, per_window=10**14, life=10**15, per_partner=10**14)
            document = structs.replace(policy, budget=budget)
            policies.append(document)
            self.add(e.PolicyEntry(at=genesis.at, policy=Raw(encode(document)), signatures=signed("policy", document)))
        return policies

    def grant(self, policy: Policy, at: int) -> None:
        """Append a consent, chosen at random."""
        record = self.state.policies[policy.id]
        self.grants.append(
            self.add(
                e.Grant(
                    at=at,
                    consent=secrets.token_hex(32),
                    policy=policy.id,
                    version=policy.version,
                    policy_sha256=record.sha256,
                    until=self.random.choice([day for day in policy.until if day >= self.state.day(at)]),
                    yearly_cap=self.random.choice(policy.yearly_caps),
                    commitment=secrets.token_hex(32),
                )
            )
        )

    def revoke(self, at: int) -> None:
        """Append the end of a consent, chosen at random."""
        place = self.random.randrange(len(self.grants))
        self.grants[place], self.grants[-1] = self.grants[-1], self.grants[place]
        grant = self.grants.pop()
        self.add(e.Revoke(at=at, grant=grant, reason="withdrawn", commitment=secrets.token_hex(32)))

    def ask(self, policy: Policy, at: int) -> None:
        """Append a question and its end: nineteen in twenty are answered, one is refunded."""
        partner, view = policy.partners[0], policy.views[0]
        query = {
            "v": 1,
            "policy": policy.id,
            "version": policy.version,
            "from": [view.name],
            "where": [],
            "group_by": [],
            "measures": [{"as": "rows", "count": "rows"}],
            "spend": {"epsilon": self.random.choice(["0.05", "0.1", "0.2"])},
        }
        log = self.state.log
        question = Question(
            from_=partner, log=log, id=secrets.token_hex(32), at=at, fresh=True, query=Raw(encode(query))
        )
        asked = read_question(self.state, jws.sign(question, self.layout.signing_key(partner)), at)
        admit = make_admit(self.state, asked, offer(self.state, asked, at), at)
        index = self.add(admit)
        opened = self.state.rounds[index]
        if self.random.random() < 0.05:
            words = {
                alias: jws.sign(
                    Word(from_=alias, log=log, admit=index, admit_sha256=opened.entry_sha256),
                    self.layout.signing_key(alias),
                )
                for alias in admit.participants
            }
            self.add(e.Refund(at=at, admit=index, words=words))
        else:
            shares = {alias: secrets.token_hex(32) for alias in admit.participants}
            vector = [self.random.randrange(10**6) for _ in range(plan_of(self.state, admit).length)]
            self.add(e.Release(at=at, admit=index, vector=vector, shares=shares))

    def publish(self, folder: Path) -> None:
        """Write tiles and a signed checkpoint."""
        appender, files = TileAppender(), TileFolder(folder)
        for first in range(0, len(self.entries), 10_000):
            files.write_tiles(appender.append(self.entries[first : first + 10_000]))
        checkpoint = Checkpoint(self.state.log, appender.size, appender.root())
        keys = self.layout.service / "keys"
        post_quantum = read_post_quantum_key(keys / "log.pq.key")
        files.write_checkpoint(sign_checkpoint(checkpoint, read_key(keys / "log.key"), post_quantum))
        files.close()


def build(layout: Layout, entries: int) -> _Log:
    """Make the log."""
    log = _Log(layout)
    policies = log.found()
    begin = log.state.at
    while len(log.entries) < entries:
        at = begin + SPREAD * len(log.entries) // entries
        policy = log.random.choice([each for each in policies if max(each.until) >= log.state.day(at)])
        what = log.random.random()
        if what < 0.02:
            log.ask(policy, at)
        elif what < 0.07 and log.grants:
            log.revoke(at)
        else:
            log.grant(policy, at)
    return log


class _Stopwatch:
    """Times every call of a function, in seconds of the processor."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function
        self.calls = 0
        self.seconds = 0.0

    def __call__(self, *arguments: Any) -> None:
        """Call the function."""
        began = time.process_time()
        try:
            self._function(*arguments)
        finally:
            self.seconds += time.process_time() - began
            self.calls += 1


def run(entries: int = ENTRIES) -> list[dict[str, Any]]:
    """Measure, and return the rows."""
    return [_audit(entries), *(_roots(size) for size in (1_000_000, 10_000_000))]


def _audit(entries: int) -> dict[str, Any]:
    town = load_town(Path(__file__).parent.parent / "towns" / "momijidai")
    with tempfile.TemporaryDirectory() as folder:
        layout = lay_out(town, Path(folder) / "town", residents=50, port=1, witness_port=2)
        log = build(layout, entries)
        log.publish(Path(folder) / "log")
        pins = load_trust(layout.folder / "trust.json")
        alone = WitnessPolicy(logs=(PolicyLog(pins.verifier),)).format()
        end = log.state.at
        kinds = log.entries
        signatures = _Stopwatch(ledger.ed25519.check)
        clock, begin = time.perf_counter(), time.process_time()
        ledger.ed25519.check, check = signatures, ledger.ed25519.check  # type: ignore[assignment]
        try:
            report = audit(
                str(Path(folder) / "log"), trust=structs.replace(pins, witness_policy=alone), clock=lambda: end + 1
            )
        finally:
            ledger.ed25519.check = check
        seconds, clock = time.process_time() - begin, time.perf_counter() - clock
    if report.verdict != "ok" or report.entries != len(kinds):
        raise RuntimeError(report.verdict)
    rate = report.entries / (seconds - signatures.seconds)
    return {
        "name": "full audit replay, entries a second besides signature checks",
        "ratio": rate,
        "target": TARGET,
        "detail": (
            f"{report.entries:,} entries ({', '.join(f'{n:,} {kind}' for kind, n in sorted(report.kinds.items()))}) in "
            f"{seconds:.2f} s ({clock:.2f} s by the clock), of which {signatures.calls:,} signatures took "
            f"{signatures.seconds:.2f} s"
        ),
    }


def _roots(size: int) -> dict[str, Any]:
    """Compare the root after one new grant with that of all chunks hashed anew."""
    in_force = InForce()
    groups = [(until, cap) for until in ("2027-03-31", "2028-03-31") for cap in (10**8, 10**9)]
    source = random.Random(1)
    for number in range(-(-size // CHUNK_BITS)):
        rest = (1 << CHUNK_BITS) - 1
        for group in groups:
            mine = rest & source.getrandbits(CHUNK_BITS) if group != groups[-1] else rest
            in_force.granted.setdefault(group, {})[number] = mine
            rest &= ~mine
    day = "2026-12-01"
    in_force.root(day, 10, size)
    kept, anew = [], []
    for turn in range(20):
        in_force.end(source.randrange(size))
        began = time.perf_counter()
        root = in_force.root(day, 10 + turn, size)
        kept.append(time.perf_counter() - began)
        chunks = in_force.eligible(day, 10 + turn)
        began = time.perf_counter()
        if ChunkTree(chunks).root(size) != root:
            raise RuntimeError("The kept root is not the one made anew.")
        anew.append(time.perf_counter() - began)
    before, after = statistics.median(anew), statistics.median(kept)
    return {
        "name": f"in-force root after one change, {size // 1_000_000} million ledger indices: all chunks anew ÷ this",
        "ratio": before / after,
        "target": None,
        "detail": f"{1e3 * before:.2f} ms anew, {1e3 * after:.3f} ms kept",
    }
