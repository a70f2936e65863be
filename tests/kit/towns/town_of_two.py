"""The town ``tests/towns/pair`` as real processes, for tests that use, kill and restart them."""

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger import entries as e
from ledger import jws
from ledger.errors import QueryInvalid
from policies.policy_document import Policy
from policies.rules import NEWEST_RULES
from queries.question.tree import Query, Spend
from queries.rounds.messages import Share
from tests.kit.machine.forks import ForkedProcesses, running_town
from tests.kit.waiting import until
from trust.audit.auditor import audit
from trust.audit.report import AuditReport
from trust.client.service import Proven, ServiceClient
from trust.client.wire import SignedShares
from trust.log.follower import LogFollower
from trust.log.source import HttpLog
from trust.partner.asking import preview, to_query
from trust.town.document import Town
from trust.town.layout import Layout
from trust.town.loader import load_town
from trust.town.resident_places import resident_place
from trust.town.up import client_of, prepare, settle_in

FOLDER = Path(__file__).parents[2] / "towns" / "pair"
PARTNER = "planner"
SQL = "SELECT ward, COUNT(DISTINCT resident) AS people, SUM(age) AS years FROM {policy}.people GROUP BY ward"


@dataclass
class TownOfTwo:
    """The running town."""

    town: Town
    layout: Layout
    processes: ForkedProcesses
    client: ServiceClient

    @property
    def holders(self) -> list[str]:
        """Both holders."""
        return [holder.alias for holder in self.town.holders]

    def place(self, owner: str | int) -> Path:
        """Return the folder of a member's or steward's place, by alias, or of a resident's, by number."""
        return resident_place(self.layout, owner).folder if isinstance(owner, int) else self.layout.place(owner).folder

    def question(self, policy: str = "everyone", epsilon: str = "0.05") -> tuple[Query, Policy]:
        """Return the standard question under a policy."""
        return to_query(SQL.format(policy=policy), self.client.policies(), Spend(epsilon=epsilon))

    def ask(self, policy: str = "everyone") -> int:
        """Ask a fresh question and return its ``admit``; its answer is not waited for."""
        query, _ = self.question(policy)
        key = self.layout.signing_key(PARTNER)
        return self.client.ask(self.client.question(query, PARTNER, key, fresh=True)).admit

    def grow(self) -> None:
        """Put one more entry into the ledger: a refusal. Only a node that runs now can catch up with it."""
        query, _ = self.question(epsilon="9")
        with contextlib.suppress(QueryInvalid):
            self.client.ask(self.client.question(query, PARTNER, self.layout.signing_key(PARTNER), fresh=True))
            raise AssertionError("the question was to be refused")

    def wait_until_expired(self, admit: int) -> None:
        """Wait until a question is past its time, by this machine's clock, which is everybody's here."""
        entry = self.client.prove(admit).entry
        assert isinstance(entry, e.Admit)
        until(lambda: time.time() > entry.expires + 1)

    def left(self, policy: str) -> list[dict[str, Any]]:
        """Return what every account of a policy has left."""
        query, document = self.question(policy)
        assert document.id == policy
        return list(preview(self.client, query, PARTNER, self.layout.signing_key(PARTNER)).accounts)

    def end_of(self, admit: int) -> Proven:
        """Wait until a round has ended, and return the entry that ended it."""
        waiting_for: list[str] = []

        def closed_by() -> list[int]:
            status = self.client.watch(admit, 5)
            waiting_for[:] = status.waiting_for
            return [] if status.closed_by is None else [status.closed_by]

        (index,) = until(closed_by, lambda: f"the round {admit} waits for {waiting_for}")
        return self.client.prove(index)

    def ends_in_ledger(self, admit: int) -> list[e.AnyEntry]:
        """Return every entry of the ledger that ends an ``admit``."""
        log = HttpLog(self.layout.url)
        follower = LogFollower(log, self.client.trust.log_keys, self.client.trust.witnesses)
        decoded = [e.decode(data) for batch in follower.follow() for data in batch.entries]
        log.close()
        return [entry for entry in decoded if isinstance(entry, e.Closing) and entry.admit == admit]

    def shares(self, admit: int) -> dict[str, Share]:
        """Return the published shares of a round."""
        tokens = self.client.get(f"/v1/rounds/{admit}/shares", SignedShares).shares
        return {holder: jws.read_unverified(token, Share) for holder, token in tokens.items()}

    def books(self, holder: str, admit: int) -> tuple[list[str], int]:
        """Return a node's state of a round (none or one) and whether its books are charged for it (1 or 0)."""
        path = self.layout.node(holder) / "books.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            states = [row[0] for row in db.execute("SELECT state FROM rounds WHERE admit = ?", (admit,))]
            (charges,) = db.execute("SELECT count(DISTINCT admit) FROM charges WHERE admit = ?", (admit,)).fetchone()
        return states, charges

    def wait_for_books(self, holder: str, admit: int, *states: str) -> None:
        """Wait until a node's books have a state of a round."""
        wanted = [[state] for state in states]
        until(lambda: self.books(holder, admit)[0] in wanted, lambda: self.books(holder, admit))

    def audit(self) -> AuditReport:
        """Audit the running town."""
        with tempfile.TemporaryDirectory() as state:
            return audit(self.layout.url, trust=self.client.trust, state_folder=Path(state))

    def wait_until_caught_up(self) -> None:
        """Wait until both nodes have read the ledger and taken in their links."""
        until(self._caught_up, lambda: "the nodes did not catch up")

    def _caught_up(self) -> bool:
        sizes = self.client.get("/v1/caught-up", dict[str, int])
        waiting = any(any((self.layout.node(h) / "links").glob("*.jsonl")) for h in self.holders)
        return not waiting and all(sizes.get(holder, 0) >= sizes["published"] for holder in self.holders)


@contextlib.contextmanager
def town_of_two(folder: Path, rules: int = NEWEST_RULES) -> Iterator[TownOfTwo]:
    """Run the town, founded with these rules, with all its residents' consents."""
    town = load_town(FOLDER)
    layout = prepare(town, folder, residents=None, port=None, rules=rules)
    holders = [holder.alias for holder in town.holders]
    with running_town(layout, holders) as processes, client_of(layout) as client:
        settle_in(layout, town, client, lambda *_: None)
        made = TownOfTwo(town, layout, processes, client)
        made.wait_until_caught_up()
        yield made
