"""A holder's node beside a service that lies: real ledger, real keys, real books and data; the service is the test's.

The log is hand-made (``LogBuilder``) and published into a folder that the node follows. What the node would say to the
service is collected; which leaves it gets, and when a call fails, is for the test to choose.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import UnsetType, structs

from ledger import entries as e
from ledger import jws
from ledger.errors import Unavailable
from policies.consents.bundle import Bundle, commitment, disclose
from policies.consents.consent import make_consent
from policies.pairwise_keys import pairwise_key, public_hex
from policies.policy_document import Policy
from policies.rules import NEWEST_RULES
from queries.rounds.messages import Countersign, Go, HeldLeaf, Share, Task, transcript_sha256
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.residents import seed_of
from tests.kit.towns.toy_town import ASKED, OPERATOR, ORIGIN, key_of, scarce
from trust.log.follower import LogFollower
from trust.log.source import FolderLog
from trust.node.books.books import Books
from trust.node.data.views import ViewStore
from trust.node.ledger_reader import LedgerReader
from trust.node.own_data import OwnData
from trust.node.rounds.steps import NodeRounds

NODE, OTHER = ASKED
UNTIL = "2028-03-31"


@dataclass
class AttackedNode:
    """Everything that a service could do to a node."""

    builder: LogBuilder
    folder: Path
    policy: Policy = field(default_factory=scarce)
    data_cap: int = 10**12
    rules: int | UnsetType = NEWEST_RULES
    offset: int = 0
    """What the node's clock is off from the log's last time."""

    def __post_init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.leaves: dict[int, HeldLeaf] = {}
        self.refuses_leaves = False
        self.deaf = False
        self.builder.found(self.policy, operator=True, rules=self.rules)
        self.seeds: list[bytes] = []
        self.open()

    def open(self) -> None:
        """Start the node's process on what is in its folder."""
        self.books = Books(self.folder / "books.sqlite", self.clock)
        source = self.folder / "trips.csv"
        if not source.exists():
            lines = [f"{number},north,8,{100 + number}" for number in range(50)]
            source.write_text("customer,ward,hour,fare\n" + "\n".join(lines) + "\n")
        self.publish()
        self.views = ViewStore(self.folder, {"trips": source}, b"r" * 32)
        follower = LogFollower(
            FolderLog(self.folder / "log"),
            self.builder.log_key,
            self.builder.witness_policy,
            latest=self.books.noted("checkpoint"),
            clock=self.clock,
        )
        self.reader = LedgerReader(follower, self.builder.trust, self.books, NODE, self.give_leaves)
        self.data = OwnData(self.reader, self.books, self.views, NODE)
        self.rounds = NodeRounds(
            self.reader,
            self.books,
            self.views,
            self,  # type: ignore[arg-type]
            alias=NODE,
            key=key_of(NODE),
            data_cap=self.data_cap,
            split={},
            clock=self.clock,
        )

    def crash(self) -> None:
        """End the node's process and start it anew."""
        self.books.close()
        self.views.close()
        self.open()

    def clock(self) -> int:
        """The node's clock."""
        return self.builder.at + self.offset

    def give_leaves(self, first: int, last: int) -> list[HeldLeaf]:
        """Answer the node's wish for leaves."""
        if self.refuses_leaves:
            raise Unavailable("No leaves now.")
        return [leaf for index, leaf in self.leaves.items() if first <= index <= last]

    def say(self, step: str, token: str) -> None:
        """Hear what the node says."""
        if self.deaf:
            raise Unavailable("The line is cut.")
        self.said.append((step, token))

    def shares(self) -> list[Share]:
        """All shares that ever left."""
        return [jws.read_unverified(token, Share) for step, token in self.said if step == "share"]

    # The log

    def consent(self, seed: bytes, **changes: Any) -> Bundle:
        """A resident signs."""
        how: dict[str, Any] = {
            "holders": list(ASKED),
            "until": UNTIL,
            "yearly_cap": self.policy.yearly_caps[-1],
            "language": "ja",
            "shown_at": self.builder.at,
        }
        return make_consent(
            seed,
            self.policy,
            log=ORIGIN,
            consent=secrets.token_bytes(32),
            salts=[secrets.token_bytes(32) for _ in range(len(ASKED) + 1)],
            **(how | changes),
        )

    def grant(self, bundle: Bundle, ends: Sequence[int] = (), **lies: Any) -> int:
        """Write a consent into the ledger, with what the service changes of it; keep the node's leaf.

        ``ends`` are the grants that it replaces.
        """
        said = jws.read_unverified(bundle.leaves[0].body, dict)
        entry = self.builder.make_grant(0, consent=said["consent"], until=said["until"], yearly_cap=said["cap"])
        entry = structs.replace(entry, commitment=commitment(bundle), **lies)
        index = self.builder.replace(ends, entry) if ends else self.builder.add(entry)
        self.leaves[index] = HeldLeaf(index=index, leaf=disclose(bundle, 1 + self.policy.holders.index(NODE)))
        return index

    def resident(self, number: int, **changes: Any) -> int:
        """A linked customer consents; return the grant's index."""
        seed = seed_of(number)
        self.books.link([(public_hex(pairwise_key(seed, NODE)), str(number))])
        return self.grant(self.consent(seed, **changes))

    def publish(self) -> None:
        """Show the node everything up to now."""
        self.builder.publish(self.folder / "log")

    def read(self) -> None:
        """Publish, and let the node read."""
        self.publish()
        self.reader.read()
        self.data.refresh()

    def admit(self, **changes: Any) -> int:
        """Let a question in and show it to the node."""
        index = self.builder.admit(self.builder.ask(**changes))
        self.read()
        return index

    # Rounds

    def entry_sha256(self, admit: int) -> str:
        """The hash that messages name the round by."""
        return hashlib.sha256(self.builder.entries[admit]).hexdigest()

    def countersigned(self, admit: int) -> str:
        """Have the node countersign; return its token."""
        self.rounds.do(Task(step="countersign", admit=admit))
        tokens = [token for step, token in self.said if step == "countersign"]
        found = [token for token in tokens if jws.read_unverified(token, Countersign).admit == admit]
        return found[-1] if found else ""

    def other(self, admit: int, nonce: str = "") -> str:
        """The other holder's countersignature."""
        message = Countersign(
            from_=OTHER,
            log=ORIGIN,
            admit=admit,
            admit_sha256=self.entry_sha256(admit),
            nonce=nonce or secrets.token_hex(32),
        )
        return jws.sign(message, key_of(OTHER))

    def go(self, admit: int, transcript: list[str]) -> str:
        """A go by the operator."""
        message = Go(
            from_=OPERATOR,
            log=ORIGIN,
            admit=admit,
            admit_sha256=self.entry_sha256(admit),
            transcript=transcript,
        )
        return jws.sign(message, key_of(OPERATOR))

    def counted(self, admit: int) -> int:
        """How many customers the node counts in an open round."""
        opened = self.reader.state.rounds[admit]
        return int(self.rounds._counted.at(admit, opened).sum())

    def ask_share(self, admit: int, go: str = "", *, late: bool = False) -> None:
        """Ask the node for its share; ``late`` shows it the other holder's."""
        mine = self.books.round(admit)
        transcript = [mine.token if mine else "", self.other(admit)]
        task = Task(step="share", admit=admit, go=go or self.go(admit, transcript))
        self.rounds.do(structs.replace(task, shown=self.share_of_other(admit, transcript)) if late else task)

    def share_of_other(self, admit: int, transcript: list[str]) -> str:
        """The other holder's share for a transcript."""
        message = Share(
            from_=OTHER,
            log=ORIGIN,
            admit=admit,
            admit_sha256=self.entry_sha256(admit),
            transcript_sha256=transcript_sha256(transcript),
            kind="local",
            vector=[1],
        )
        return jws.sign(message, key_of(OTHER))

    def ask_word(self, admit: int) -> None:
        """Ask the node for its word."""
        self.rounds.do(Task(step="word", admit=admit))


def entry_of(builder: LogBuilder, index: int) -> e.AnyEntry:
    """Return one entry of the log."""
    return e.decode(builder.entries[index])
