"""The demo's story, step by step; each step does what it says, checks it, and raises DemoFailed where it did not."""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ledger import entries as e
from ledger.errors import BudgetExceeded, Unavailable
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import parse_note
from ledger.tlog.tiles import ENTRIES, TILE_WIDTH, Tile, decode_bundle
from policies.in_force.sets import indices_in_force
from policies.languages import SOURCE_LANGUAGE
from policies.ledger_state import State
from policies.replay import MemoryConsents
from queries.question.tree import Spend
from queries.replay import replay
from queries.rounds.messages import OfferAnswer
from trust.cli.asking import answer_document, show_answer
from trust.cli.demo.report import DemoReport
from trust.cli.tables import budget_table
from trust.cli.terminal import nano, narrate, progress_bar, say, show_table
from trust.client import paths
from trust.client.service import ServiceClient
from trust.files.keys import read_secret
from trust.log.follower import LogFollower
from trust.log.source import HttpLog
from trust.partner.asking import Answered, ask, preview, to_query
from trust.resident.device import revoke, standing
from trust.resident.stopped import StoppedAt, check_stopped
from trust.town.document import DemoQuestion, Town
from trust.town.layout import Layout
from trust.town.play_residents import seed_of
from trust.town.processes import Processes
from trust.town.up import settle_in

CATCH_UP_SECONDS = 300


class DemoFailed(Unavailable):
    """A step of the demo did not do what it said."""


class Story:
    """Tells and checks the demo of one running town."""

    def __init__(self, layout: Layout, town: Town, client: ServiceClient, processes: Processes) -> None:
        self.layout = layout
        self.town = town
        self.client = client
        self.processes = processes
        self.report = DemoReport(town=town.name)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time one phase for the report."""
        began = time.monotonic()
        yield
        self.report.seconds[name] = round(time.monotonic() - began, 2)

    def title(self, text: str) -> None:
        """Begin a step."""
        say("\n[bold]{}[/]", text)

    # The steps

    def residents_sign(self) -> None:
        """Residents enrol, link and sign."""
        self.title("1. Residents enrol and sign")
        narrate("  An identity provider attests each resident; each signs, on their own device, what they agree to.")
        with (
            self.phase("residents"),
            progress_bar("  residents enrolled, linked and signed", with_total=False, stays=True) as progress,
        ):
            counts = settle_in(self.layout, self.town, self.client, lambda _, done, total: progress(done, total))
        self.report.residents, self.report.grants = counts
        narrate(
            "  {:,} residents gave {:,} signed consents. Each is in the ledger, none has a name in it.",
            counts[0],
            counts[1],
        )
        with (
            self.phase("catching_up"),
            progress_bar("  entries checked by every holder's node", with_total=False, stays=True) as progress,
        ):
            self._wait_until_caught_up(progress)

    def _wait_until_caught_up(self, progress: Callable[[int, int | None], None]) -> None:
        """Wait until every node has read the ledger and holds its leaves: their poll says so, and it is kept."""
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while time.monotonic() < deadline:
            sizes = self.client.get(paths.CAUGHT_UP, dict[str, int])
            size = sizes.pop("published")
            slowest = min((sizes.get(holder.alias, 0) for holder in self.town.holders), default=0)
            progress(slowest, size)
            if slowest >= size and not self._links_waiting():
                return
            for holder in self.town.holders:
                self.processes.check_alive(holder.alias)
            time.sleep(0.1)
        raise DemoFailed("A holder's node has not caught up with the ledger in time; its log says why.")

    def _links_waiting(self) -> bool:
        """Return whether a holder's counter still has answered challenges that its node has not taken in."""
        return any(any((self.layout.node(h.alias) / "links").glob("*.jsonl")) for h in self.town.holders)

    def partners_ask(self) -> None:
        """Partners ask: price first, then the answer."""
        self.title("2. Partners ask, see the price first, and get answers with their uncertainty")
        with self.phase("questions"):
            for number, question in enumerate(self.town.questions):
                self._ask(question, loud=number < 2)
        more = len(self.town.questions) - 2
        if more > 0:
            narrate("  … and {} more questions, answered in the same way; the town's page shows them all.", more)

    def _partner(self, question: DemoQuestion) -> str:
        titles = {member.alias: member.title[SOURCE_LANGUAGE] for member in self.town.members}
        return titles[question.as_]

    def _ask(self, question: DemoQuestion, *, loud: bool, fresh: bool = False) -> Answered:
        query, policy = to_query(question.sql, self.client.policies(), Spend(epsilon=question.epsilon))
        key = self.layout.signing_key(question.as_)
        offer = preview(self.client, query, question.as_, key)
        if loud:
            narrate("")
            narrate("  {} asks. What for: {}", self._partner(question), question.title[SOURCE_LANGUAGE])
            narrate("  [cyan]{}[/]", question.sql)
            narrate(
                "  Price: {} (ε {} at δ {}), for at most {:,} consents to this policy.",
                nano(offer.charge),
                offer.epsilon,
                policy.budget.delta,
                offer.in_force,
            )
        answered = ask(self.client, query, policy, question.as_, key, fresh=fresh)
        if answered.status != "released":
            raise DemoFailed("A question was refunded although no node was stopped.")
        if loud:
            show_answer(answered)
            narrate("Left after it:")
            show_table(budget_table(preview(self.client, query, question.as_, key), policy.budget.delta))
        self._note(question, answered, offer)
        return answered

    def _note(self, question: DemoQuestion, answered: Answered, offer: OfferAnswer) -> None:
        document = {"epsilon": float(question.epsilon), "as": question.as_, **answer_document(question.sql, answered)}
        document["release"] = answered.closing.index
        document["in_force"] = offer.in_force
        self.report.queries.append(document)

    def residents_revoke(self) -> None:
        """Residents take consents back, and the next answer does not count them."""
        self.title("3. Residents take their consent back")
        question = self.town.questions[0]
        query, policy = to_query(question.sql, self.client.policies(), Spend(epsilon=question.epsilon))
        with self.phase("revocations"):
            ended = self._revoke_some(query.policy)
            stopped = self._wait_until_stopped(max(each["revoke"] for each in self.report.revocations))
            answered = self._ask(question, loud=False, fresh=True)
            before, after = self._in_force_at(self.report.queries[0]["admit"], answered.admit.index)
        if not ended or set(ended) & set(after) or not set(ended) <= set(before):
            raise DemoFailed("A revoked consent was still in force at the next question.")
        narrate(
            "  {} residents revoked '{}'. Each got a signed promise at once, and a receipt.",
            len(ended),
            policy.title[SOURCE_LANGUAGE],
        )
        narrate(
            "  Within {} s all {} holders of that data had signed that they have stopped. Each resident's device "
            "checks those signatures itself.",
            self.report.stopped["seconds"],
            len(stopped.holders),
        )
        narrate(
            "  The same question again, freshly computed at index {}: it counted at most {:,} consents to this policy before, "
            "and counts at most {:,} now. "
            "None of the {} is among them; the ledger alone proves it.",
            answered.admit.index,
            len(before),
            len(after),
            len(ended),
        )

    def _revoke_some(self, policy_id: str) -> list[int]:
        """Have residents, chosen at random, take their consent to one policy back; return the ended grants."""
        seeds = read_secret(self.layout.people / "seeds.key")
        order = list(range(self.report.residents))
        random.Random(self.town.seed).shuffle(order)  # noqa: S311 - who revokes in the demo is no secret
        wanted: list[tuple[bytes, int]] = []
        for person in order:
            seed = seed_of(seeds, person)
            mine = standing(self.client.my_consents(seed), policy_id)
            wanted += [(seed, consent.index) for consent in mine]
            if len(wanted) >= self.town.demo.revoke:
                break
        with ThreadPoolExecutor(max_workers=8) as devices:
            told = list(devices.map(lambda each: revoke(self.client, *each), wanted))
        for (_, grant), ended in zip(wanted, told, strict=True):
            self.report.revocations.append({"grant": grant, "revoke": ended.revoked.index})
            if ended.doubt:
                raise DemoFailed(f"A revocation came without its promise: {ended.doubt}")
        return [grant for _, grant in wanted]

    def _wait_until_stopped(self, index: int) -> StoppedAt:
        """Wait until every holder has signed that the consent that ended at ``index``, and all before, have stopped."""
        deadline = time.monotonic() + CATCH_UP_SECONDS
        with self._follower() as follower:
            while (found := check_stopped(self.client, follower, index)).stopped_at is None:
                if time.monotonic() > deadline:
                    raise DemoFailed("A holder has not signed in time that it has stopped; its log says why.")
                time.sleep(0.1)
        seconds = max(1, found.stopped_at - found.at)  # both are whole seconds
        self.report.stopped = {"index": index, "seconds": seconds, "holders": len(found.holders)}
        return found

    @contextmanager
    def _follower(self) -> Iterator[LogFollower]:
        """Read the public log from its first entry."""
        log = HttpLog(self.layout.url)
        try:
            yield LogFollower(log, self.client.trust.log_keys, self.client.trust.witnesses)
        finally:
            log.close()

    def _in_force_at(self, *admits: int) -> list[list[int]]:
        """Return the grants in force at each ``admit``, rising, from one reading of the public log alone."""
        state, seen = State(), MemoryConsents()
        found: list[list[int]] = []
        with self._follower() as follower:
            for batch in follower.follow():
                for index, data in enumerate(batch.entries, batch.first):
                    if index in admits:
                        entry = e.decode(data)
                        if not isinstance(entry, e.Admit):
                            raise DemoFailed("The ledger has no question at that index.")
                        found.append(indices_in_force(state.eligible(entry.policy_sha256, entry.at, entry.charge)))
                    replay(state, index, data, seen)
        if len(found) != len(admits):
            raise DemoFailed("The ledger has no such question.")
        return found

    def over_budget(self) -> None:
        """A question past the budget is refused."""
        self.title("4. A question past the budget is refused")
        question = self.town.demo.over_budget
        query, policy = to_query(question.sql, self.client.policies(), Spend(epsilon=question.epsilon))
        key = self.layout.signing_key(question.as_)
        token = self.client.question(query, question.as_, key, fresh=True)
        with self.phase("refusal"):
            try:
                self.client.ask(token)
            except BudgetExceeded as refused:
                at = refused.details.get("refused_at")
                narrate("  {} asks for ε {}: [cyan]{}[/]", self._partner(question), question.epsilon, question.sql)
                narrate(
                    "  [yellow]Refused[/]: asked {}, left {} in '{}'. The refusal is in the ledger at index {}.",
                    nano(refused.asked),
                    nano(refused.left),
                    refused.account,
                    str(at),
                )
                self.report.refusals.append(
                    {
                        "sql": question.sql,
                        "epsilon": float(question.epsilon),
                        "code": refused.code,
                        "asked": refused.asked,
                        "left": refused.left,
                        "account": refused.account,
                        "index": at,
                    }
                )
                return
        raise DemoFailed(f"A question past the budget of '{policy.id}' was not refused.")

    def node_killed(self) -> None:
        """A node dies midway; the question is finished when it is back, with the same charge."""
        self.title("5. A holder's node is killed in the middle of a question")
        question = self.town.questions[0]
        query, policy = to_query(question.sql, self.client.policies(), Spend(epsilon=question.epsilon))
        view = policy.view(query.from_[0])
        victim = view.holders[0] if view else policy.holders[0]
        key = self.layout.signing_key(question.as_)
        with self.phase("node_killed"):
            self.processes.stop(victim)
            self.processes.start_node(victim, crash_at="node:countersigned")
            self.client.ask(self.client.question(query, question.as_, key, fresh=True))
            code = self.processes.wait_dead(victim, 60)
            if code != -signal.SIGKILL:
                raise DemoFailed("The node was to be killed and ended otherwise.")
            narrate(
                "  '{}' was killed by SIGKILL right after it had charged its own books. The question waits.", victim
            )
            self.processes.start_node(victim)
            admit = max(self._open_rounds())
            status = self.client.watch(admit)
            while status.closed_by is None:
                status = self.client.watch(admit, 5)
        closing = self.client.prove(status.closed_by)
        kind = {e.Release: "answered", e.Refund: "refunded"}.get(type(closing.entry), "lost")
        narrate(
            "  '{}' is back and went on where it was: the question is {}, charged once, at index {}.",
            victim,
            kind,
            closing.index,
        )
        self.report.killed = {"node": victim, "admit": admit, "closed_by": closing.index, "ended": kind}

    def _open_rounds(self) -> list[int]:
        found = self.client.get(paths.ROUNDS, list[int])
        if not found:
            raise DemoFailed("The question that was to wait is not open.")
        return found

    def audit(self) -> None:
        """A separate process replays everything."""
        self.title("6. An auditor, who trusts nobody, replays everything")
        with self.phase("audit"):
            found = self._run_audit(self.layout.url)
        self.report.audit = found
        if found["verdict"] != "ok":
            raise DemoFailed(f"The audit says: {found['verdict']}")
        narrate(
            "  {:,} entries replayed: hashes, signatures, charges, caps, in-force sets, sums. Verdict: [green]ok[/].",
            found["entries"],
        )
        self._tamper()

    def _run_audit(self, place: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as state:
            done = subprocess.run(  # noqa: S603 - our own program
                [
                    sys.executable,
                    "-m",
                    "trust.cli",
                    "audit",
                    place,
                    "--trust",
                    str(self.layout.folder / "trust.json"),
                    "--state",
                    state,
                    "--json",
                ],
                capture_output=True,
                check=False,
            )
        try:
            return dict(msgspec.json.decode(done.stdout))
        except msgspec.DecodeError:
            raise DemoFailed(f"The audit ended with code {done.returncode} and no report.") from None

    def _tamper(self) -> None:
        """Flip one bit of one entry in a copy of the log, and have it audited."""
        with self.phase("tampered_audit"), tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "log"
            shutil.copytree(self.layout.service / "log", copy)
            size = Checkpoint.parse(parse_note((copy / "checkpoint").read_bytes()).text).size
            tile = Tile(ENTRIES, 0, min(size, TILE_WIDTH))  # of several partial bundles, the one that is read
            path = copy / tile.path
            data = bytearray(path.read_bytes())
            entries = decode_bundle(bytes(data), tile.width)
            index = len(entries) // 2
            data[sum(2 + len(each) for each in entries[:index]) + 2 + len(entries[index]) // 2] ^= 1
            path.chmod(0o600)
            path.write_bytes(bytes(data))
            found = self._run_audit(str(copy))
        self.report.tampered_audit = {**found, "flipped_entry": index}
        if found["verdict"] == "ok" or found.get("first_fault") != index:
            raise DemoFailed("The audit of a copy with one flipped bit did not name its entry.")
        narrate("  The same audit of a copy with one flipped bit: [red]{}[/]", found["verdict"])
