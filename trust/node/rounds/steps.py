"""A node's part in a round: check everything itself, charge its own books, countersign; draw noise once, send.

Each step is written down durably before anything leaves; what a crash leaves behind is said at each.
"""

import secrets
import time
from typing import Literal

import numpy as np
import structlog
from nacl.signing import SigningKey

from ledger import jws
from ledger.errors import (
    BudgetExceeded,
    MusubiError,
    NotFound,
    ProofInvalid,
    RoundClosed,
    SignatureInvalid,
    Unavailable,
)
from policies.in_force.chunk_tree import CHUNK_BITS, CHUNK_BYTES, Chunks
from policies.replay import OpenRound
from queries.rounds.local import fit
from queries.rounds.messages import Countersign, Go, Share, Task, Word, transcript_sha256
from trust.node.books import Books, OwnRound
from trust.node.client import NodeClient
from trust.node.data.views import ViewStore
from trust.node.ledger_reader import LedgerReader
from trust.node.rounds.noise import make_measurement
from trust.runtime.clock import MAX_SKEW_SECONDS, Clock
from trust.runtime.crash_points import reached

logger = structlog.get_logger()


class NodeRounds:
    """What this node does with its tasks."""

    def __init__(
        self,
        reader: LedgerReader,
        books: Books,
        views: ViewStore,
        client: NodeClient,
        *,
        alias: str,
        key: SigningKey,
        data_cap: int,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._books = books
        self._views = views
        self._client = client
        self._alias = alias
        self._key = key
        self._data_cap = data_cap
        self._clock = clock
        self._slots: dict[str, tuple[tuple[int, int], np.ndarray, np.ndarray]] = {}

    def do(self, task: Task) -> bool:
        """Do one task; return whether it is done. An error is logged by its code, and touches no other round."""
        try:
            opened = self._reader.state.rounds.get(task.admit)
            if opened is None or self._alias not in opened.admit.participants:
                raise NotFound("The task is for a round that the ledger does not show as open and ours.")
            own = self._books.round(task.admit)
            if own is not None and own.admit_sha256 != opened.entry_sha256:
                raise ProofInvalid("The round is not the one that this node began.")
            match task.step:
                case "countersign":
                    self._countersign(task.admit, opened)
                case "share":
                    self._share(task.admit, opened, task.go)
                case "word":
                    self._word(task.admit, opened)
        except MusubiError as error:
            logger.warning("task-refused", step=task.step, admit=task.admit, code=error.code)
            return False
        return True

    def caught_up(self) -> int:
        """Return the size below which nothing of ours is still to be begun or sent."""
        for index in sorted(self._reader.in_force):
            own = self._books.round(index)
            opened = self._reader.state.rounds.get(index)
            if opened is None or (own is not None and own.state in {"sent", "no-share"}):
                continue
            if self._clock() >= opened.admit.expires and not self._may_leave(own, opened):
                continue
            return index
        return self._reader.size

    def _may_leave(self, own: OwnRound | None, opened: OpenRound) -> bool:
        """Return whether something of ours may still leave in an expired round: a stored share does, restored or not."""
        return own is not None and (own.state == "sending" or not self._is_before_restore(opened))

    def _is_before_restore(self, opened: OpenRound) -> bool:
        """Return whether the question may be from before these books were restored from a backup.

        What the lost books had countersigned, sent or given a word for is not known here. So no share is made for such
        a question, with fresh noise, and no word is given; what these books still have is sent as it is.
        """
        restored = self._books.restored_at(self._clock())
        # An entry may be a minute ahead of the witnesses' clocks, and these a minute ahead of ours.
        return restored is not None and opened.admit.at <= restored + 2 * MAX_SKEW_SECONDS

    def _check_not_before_restore(self, opened: OpenRound) -> None:
        if self._is_before_restore(opened):
            raise RoundClosed("This node's books were restored from a backup; it takes part in new questions only.")

    def _countersign(self, index: int, opened: OpenRound) -> None:
        own = self._books.round(index)
        if own is not None:  # written before, perhaps not sent: the same bytes again
            step: Literal["word", "countersign"] = "word" if own.state == "no-share" else "countersign"
            self._client.say(step, self._signed_now(own.token, Word if step == "word" else Countersign))
            return
        admit = opened.admit
        now = self._clock()
        if index < self._books.caught_up:
            raise RoundClosed("The admit is below the size that this node has signed that it is caught up with.")
        if now >= admit.expires:
            raise RoundClosed("The admit has expired.")
        if admit.at > now + MAX_SKEW_SECONDS:
            raise RoundClosed("The admit is from the future by this node's clock.")
        if admit.at < self._reader.cosigned_before.get(index, 0) - MAX_SKEW_SECONDS:
            raise RoundClosed("The admit says a time before a cosigned checkpoint that it is not in: it is backdated.")
        self._check_not_before_restore(opened)
        self._counted(index, opened)  # also checks that every leaf in force is held
        message = Countersign(
            from_=self._alias,
            log=self._reader.state.log,
            admit=index,
            admit_sha256=opened.entry_sha256,
            nonce=secrets.token_hex(32),
        )
        token = jws.sign(message, self._key)
        account, part = self._reader.own_charge(admit)
        in_ledger = self._reader.spent.get(account, 0) - part
        try:
            self._books.countersign(index, opened.entry_sha256, token, account, part, self._data_cap, in_ledger)
        except BudgetExceeded:
            self._word(index, opened)  # this will never come to a share: say so at once, so that the charge is freed
            raise
        reached("node:countersigned")  # a crash here leaves the charge in our books; the token is sent at the next poll
        self._client.say("countersign", token)

    def _share(self, index: int, opened: OpenRound, go: str) -> None:
        own = self._books.round(index)
        if own is None:
            raise RoundClosed("This node has not countersigned the round.")
        if own.state in {"sending", "sent"}:
            self._send(index, own.token)
            return
        if own.state == "no-share":
            self._client.say("word", self._signed_now(own.token, Word))
            return
        self._check_not_before_restore(opened)
        if self._clock() >= opened.admit.expires or index < self._books.caught_up:
            self._word(index, opened)
            return
        transcript = self._checked_transcript(index, opened, go, own.token)
        began = time.perf_counter()
        plan = self._reader.plan(opened.admit)
        counted = self._counted(index, opened)
        self._views.materialise(opened.admit.policy_sha256, plan.view)
        exact = self._views.vector(opened.admit.policy_sha256, plan, counted)
        noised = make_measurement(plan, opened.admit.noise)(exact)
        message = Share(
            from_=self._alias,
            log=self._reader.state.log,
            admit=index,
            admit_sha256=opened.entry_sha256,
            transcript_sha256=transcript_sha256(transcript),
            kind="local",
            vector=fit(plan, noised),
        )
        token = jws.sign(message, self._key)
        logger.info("computed", admit=index, milliseconds=round(1_000 * (time.perf_counter() - began)))
        reached("node:computed")  # a crash here leaves nothing of the noise; nothing has left, so fresh noise is fine
        self._books.send(index, token)
        reached("node:sending")  # a crash here leaves the share's bytes; only these are ever sent
        self._send(index, token)

    def _send(self, index: int, token: str) -> None:
        self._client.say("share", self._signed_now(token, Share))
        reached("node:sent")  # a crash here sends the same bytes once more
        self._books.sent(index)

    def _signed_now(self, token: str, type_: type[Countersign | Share | Word]) -> str:
        """Return a message of our books as it is, or signed anew where our key has changed since: it says the same."""
        try:
            jws.verify(token, bytes(self._key.verify_key), type_)
        except SignatureInvalid:
            return jws.sign(jws.read_unverified(token, type_), self._key)
        return token

    def _checked_transcript(self, index: int, opened: OpenRound, token: str, own: str) -> list[str]:
        """Check everybody's countersignatures ourselves; raise unless all are there, for this round, and ours is ours."""
        state = self._reader.state
        claimed = jws.read_unverified(token, Go, "go")
        operator = state.member(claimed.from_, "operator")
        if operator is None:
            raise ProofInvalid("The go is not by the operator.")
        go = jws.verify(token, bytes.fromhex(operator.key), Go, "go")
        round_ = (state.log, index, opened.entry_sha256)
        if (go.log, go.admit, go.admit_sha256) != round_ or len(go.transcript) != len(opened.admit.participants):
            raise ProofInvalid("The go is for another round.")
        for holder, said in zip(opened.admit.participants, go.transcript, strict=True):
            member = state.participant(holder)
            if member is None:
                raise ProofInvalid("A participant is no member of this town.")
            message = jws.verify_any(said, state.keys_since(holder, index), Countersign, "countersignature")
            if (message.from_, message.log, message.admit, message.admit_sha256) != (holder, *round_):
                raise ProofInvalid("A countersignature is for another round.")
            if holder == self._alias and jws.parts(said)[1] != jws.parts(own)[1]:
                raise ProofInvalid("The transcript holds another countersignature of ours than our books.")
        return go.transcript

    def _word(self, index: int, opened: OpenRound) -> None:
        own = self._books.round(index)
        if own is not None and own.state in {"sending", "sent"}:
            self._send(index, own.token)
            return
        if own is not None and own.state == "no-share":
            self._client.say("word", self._signed_now(own.token, Word))
            return
        self._check_not_before_restore(opened)
        message = Word(from_=self._alias, log=self._reader.state.log, admit=index, admit_sha256=opened.entry_sha256)
        token = jws.sign(message, self._key)
        self._books.give_word(index, opened.entry_sha256, token)
        reached("node:word")  # a crash here leaves the word: it is sent at the next poll
        self._client.say("word", token)

    def _counted(self, index: int, opened: OpenRound) -> np.ndarray:
        """Return which slots (linked customers) count, by the in-force set at exactly this ``admit``.

        A consent that was erased since counts no more, also in a question from before: nothing of it is left here.
        """
        policy_sha256 = opened.admit.policy_sha256
        places, slots = self._places(policy_sha256)
        in_force = bits_of(self._reader.in_force[index], index)
        in_force[[place for place in self._reader.state.erased if place < index]] = False
        held = np.zeros(index, dtype=bool)
        held[places[places < index]] = True
        if bool(np.any(in_force & ~held)):
            raise Unavailable("This node lacks the leaf of a consent that is in force; it will not take part yet.")
        counted = np.zeros(self._books.version()[1], dtype=bool)
        chosen = (places < index) & (slots >= 0)
        counted[slots[chosen][in_force[places[chosen]]]] = True
        self._views.set_links(self._books.linked(self._views.linked))
        return counted

    def _places(self, policy_sha256: str) -> tuple[np.ndarray, np.ndarray]:
        version = self._books.version()
        kept = self._slots.get(policy_sha256)
        if kept is None or kept[0] != version:
            pairs = np.array(self._books.slots(policy_sha256), dtype=np.int64).reshape(-1, 2)
            kept = self._slots[policy_sha256] = (version, pairs[:, 0], pairs[:, 1])
        return kept[1], kept[2]


def bits_of(chunks: Chunks, size: int) -> np.ndarray:
    """Return an in-force set as ``size`` booleans."""
    packed = np.zeros((-(-size // CHUNK_BITS), CHUNK_BYTES), dtype=np.uint8)
    for number, bits in chunks.items():
        packed[number] = np.frombuffer(bits.to_bytes(CHUNK_BYTES, "little"), dtype=np.uint8)
    return np.unpackbits(packed.reshape(-1), bitorder="little")[:size].astype(bool)
