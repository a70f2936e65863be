"""A node's part in a round: check everything itself, charge its own books, countersign; draw noise once, send.

What a task means is decided once, by the state of the round in this node's own books (``RoundState``, or not begun),
and by this table. Its last column says when the node may sign that it has caught up past the round while the ledger
still shows it open.

=============  ===========  =========  =========  ================
state          countersign  share      word       past it
=============  ===========  =========  =========  ================
not begun      begin        refuse     give word  when expired
countersigned  say again    compute    give word  past its last
sending        say again    send       send       never
sent           say again    send       send       always
no-share       say again    say again  say again  always
=============  ===========  =========  =========  ================

- *begin*: check the ``admit`` and that every leaf in force is held, make the view, charge and countersign in one
  durable write, say so; where the charge does not fit, or there is no data yet, give word.
- *compute*: check the transcript, compute, draw the noise, keep the share's bytes durably as ``sending``, then send.
  Where the question has expired, this is done only if another participant's share for the very transcript is shown;
  otherwise nothing is said: somebody's share may be on its way, and a word would spoil the round. Past the round's
  ``last``, give word.
- *give word*: keep the word durably, which frees the charge in these books, then say it.
- *send*: the very bytes that are kept, and note that they were sent. *say again*: the very message that is kept.
- *refuse*: nothing is said; there is no countersignature.
- *past its last*: nothing is computed for it any more (``policies.admit_expiry``). Where the round may be from before
  these books were restored from a backup, no share of it is made at all, so that its expiry is enough.

Each step is written down durably before anything leaves; what a crash leaves behind is said at each.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import structlog
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace
from nacl.signing import SigningKey

from ledger import jws
from ledger.entries import Admit
from ledger.errors import (
    BudgetExceeded,
    Malformed,
    MusubiError,
    NotFound,
    NotReady,
    ProofInvalid,
    RoundClosed,
    SignatureInvalid,
)
from policies.admit_expiry import has_expired, is_past_last
from policies.ledger_state import OpenRound
from queries.rounds.local import fit
from queries.rounds.messages import SAYS_MAPPING, Countersign, Go, Share, Task, Word, transcript_sha256
from trust.node.books.books import Books
from trust.node.books.charged_rounds import DataCharge, RoundState
from trust.node.client import NodeClient
from trust.node.data.views import ViewStore
from trust.node.ledger_reader import LedgerReader
from trust.node.rounds.counted import CountedSlots
from trust.node.rounds.noise import make_measurement
from trust.runtime.clock import MAX_SKEW_SECONDS, Clock
from trust.runtime.crash_points import reached
from trust.runtime.json_lines import reason_of

logger = structlog.get_logger()

State = RoundState | Literal["not begun"]
Step = Literal["countersign", "share", "word"]


def signed_now(token: str, type_: type[Countersign | Share | Word], key: SigningKey) -> str:
    """Return a message of one's books as it is, or signed anew where one's key has changed since: it says the same."""
    try:
        jws.verify(token, bytes(key.verify_key), type_)
    except SignatureInvalid:
        return jws.sign(jws.read_unverified(token, type_), key)
    return token


class _Turn(Struct, frozen=True, kw_only=True):
    """A task's round: its ``admit``'s index and entry, what our books say of it, what came with the task.

    ``token`` is the message that the books keep for the state, "" where the round is not begun.
    """

    index: int
    opened: OpenRound
    state: State
    token: str
    go: str
    shown: str
    """Another participant's signed share, or ""."""


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
        split: Mapping[str, int],
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._books = books
        self._views = views
        self._client = client
        self._alias = alias
        self._key = key
        self._data_cap = data_cap
        self._split = split
        self._clock = clock
        self._counted = CountedSlots(reader, books)

    def do(self, task: Task) -> bool:
        """Do one task; return whether it is done. An error is logged with its sentence, and touches no other round."""
        try:
            turn = self._turn_of(task)
            self._TABLE[turn.state][task.step](self, turn)
        except MusubiError as error:
            logger.warning("task-refused", step=task.step, admit=task.admit, **reason_of(error))
            return False
        except sqlite3.Error:
            raise  # the books: nothing half-written, and the process as a whole waits for its disk
        except Exception as error:  # noqa: BLE001 - whatever one task meets, the others are done
            logger.error("task-failed", step=task.step, admit=task.admit, kind=type(error).__name__)  # noqa: TRY400 - a trace could hold rows
            return False
        return True

    def _turn_of(self, task: Task) -> _Turn:
        opened = self._reader.state.rounds.get(task.admit)
        if opened is None or self._alias not in opened.admit.participants:
            raise NotFound("The task is for a round that the ledger does not show as open and ours.")
        own = self._books.round(task.admit)
        if own is not None and own.admit_sha256 != opened.entry_sha256:
            raise ProofInvalid("The round is not the one that this node began.")
        return _Turn(
            index=task.admit,
            opened=opened,
            state=own.state if own is not None else "not begun",
            token=own.token if own is not None else "",
            go=task.go,
            shown="" if isinstance(task.shown, UnsetType) else task.shown,
        )

    def caught_up(self) -> int:
        """Return the size below which nothing of ours is still to be begun or sent."""
        for index in sorted(self._reader.in_force):
            opened = self._reader.state.rounds.get(index)
            if opened is not None and not self._may_pass(index, opened):
                return index
        return self._reader.size

    def _may_pass(self, index: int, opened: OpenRound) -> bool:
        """Return what the table's last column says of an open round."""
        own = self._books.round(index)
        match own.state if own is not None else "not begun":
            case "not begun":
                return has_expired(opened.admit, self._clock())
            case "countersigned":
                now = self._clock()
                is_restored = self._is_before_restore(opened)
                return has_expired(opened.admit, now) if is_restored else is_past_last(opened.admit, now)
            case "sending":  # a stored share may leave at any time, restored or not
                return False
            case "sent" | "no-share":
                return True

    def _is_before_restore(self, opened: OpenRound) -> bool:
        """Return whether the question may be from before these books were restored from a backup.

        What the lost books had countersigned, sent or given a word for is not known here. So no share is made for such
        a question, with fresh noise, and no word is given; what these books still have is sent as it is.
        """
        restored = self._books.restored_at
        # An entry may be a minute ahead of the witnesses' clocks, and these a minute ahead of ours.
        return restored is not None and opened.admit.at <= restored + 2 * MAX_SKEW_SECONDS

    def _check_not_before_restore(self, opened: OpenRound) -> None:
        if self._is_before_restore(opened):
            raise RoundClosed("This node's books were restored from a backup; it takes part in new questions only.")

    def _begin(self, turn: _Turn) -> None:
        index, opened = turn.index, turn.opened
        admit = opened.admit
        now = self._clock()
        if index < self._books.caught_up:
            raise RoundClosed("The admit is below the size that this node has signed that it is caught up with.")
        if has_expired(admit, now):
            raise RoundClosed("The admit has expired.")
        if admit.at > now + MAX_SKEW_SECONDS:
            raise RoundClosed("The admit is from the future by this node's clock.")
        if admit.at < self._reader.cosigned_before.get(index, 0) - MAX_SKEW_SECONDS:
            raise RoundClosed("The admit says a time before a cosigned checkpoint that it is not in: it is backdated.")
        self._check_not_before_restore(opened)
        self._counted.at(index, opened)  # raises where the leaf of a consent in force is not held
        view = self._reader.plan(admit).view
        try:
            self._views.materialise(admit.policy_sha256, view)
        except NotReady:
            self._give_word(turn)  # the service asks no node that says so; if it does, the charge is freed at once
            raise
        mapping = self._views.mapping_of(view) if self._reader.state.rules >= SAYS_MAPPING else ""
        message = Countersign(
            from_=self._alias,
            log=self._reader.state.log,
            admit=index,
            admit_sha256=opened.entry_sha256,
            nonce=secrets.token_hex(32),
            mapping_sha256=mapping or UNSET,
        )
        token = jws.sign(message, self._key)
        try:
            self._books.countersign(index, opened.entry_sha256, token, self._charges(index, admit))
        except BudgetExceeded:
            self._give_word(turn)  # this will never come to a share: say so at once, so that the charge is freed
            raise
        reached("node:countersigned")  # a crash here leaves the charge in our books; the token is sent at the next poll
        self._client.say("countersign", token)

    def _charges(self, index: int, admit: Admit) -> list[DataCharge]:
        """Return what a question charges here: to all our data, and to the source that it reads."""
        own = self._reader.own_charge(admit)
        caps = {own.account: self._data_cap, own.source_account: self._split.get(own.source, self._data_cap)}
        return [
            DataCharge(
                account=account,
                account_cap=cap,
                nano_rho=own.nano_rho,
                in_ledger=self._reader.spent_before(account, index),
            )
            for account, cap in caps.items()
        ]

    def _compute(self, turn: _Turn) -> None:
        index, opened = turn.index, turn.opened
        self._check_not_before_restore(opened)
        now = self._clock()
        if index < self._books.caught_up or is_past_last(opened.admit, now):
            self._give_word(turn)
            return
        transcript = self._checked_transcript(turn)
        if has_expired(opened.admit, now) and not self._is_shown_a_share(turn, transcript_sha256(transcript)):
            raise RoundClosed("The admit has expired, and no other participant's share for it was shown.")
        began = time.perf_counter()
        plan = self._reader.plan(opened.admit)
        counted = self._counted.at(index, opened)
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
        self._send(replace(turn, state="sending", token=token))

    def _send(self, turn: _Turn) -> None:
        self._client.say("share", signed_now(turn.token, Share, self._key))
        reached("node:sent")  # a crash here sends the same bytes once more
        self._books.sent(turn.index)

    def _give_word(self, turn: _Turn) -> None:
        index, opened = turn.index, turn.opened
        self._check_not_before_restore(opened)
        message = Word(from_=self._alias, log=self._reader.state.log, admit=index, admit_sha256=opened.entry_sha256)
        token = jws.sign(message, self._key)
        self._books.give_word(index, opened.entry_sha256, token)
        reached("node:word")  # a crash here leaves the word: it is sent at the next poll
        self._client.say("word", token)

    def _say_again(self, turn: _Turn) -> None:
        """Say what was written before, and perhaps not sent, or is not kept where it was sent to: the same bytes."""
        if turn.state == "no-share":
            self._client.say("word", signed_now(turn.token, Word, self._key))
            return
        token = self._books.countersignature(turn.index) or (turn.token if turn.state == "countersigned" else None)
        if token is None:
            raise Malformed("The books keep this round's share, and not its countersignature.")
        self._client.say("countersign", signed_now(token, Countersign, self._key))

    def _refuse(self, _: _Turn) -> None:
        raise RoundClosed("This node has not countersigned the round.")

    def _checked_transcript(self, turn: _Turn) -> list[str]:
        """Check everybody's countersignatures ourselves; raise unless all are there, of this round, and ours ours."""
        state, index, opened = self._reader.state, turn.index, turn.opened
        claimed = jws.read_unverified(turn.go, Go, "go")
        operator = state.member(claimed.from_, "operator")
        if operator is None:
            raise ProofInvalid("The go is not by the operator.")
        go = jws.verify(turn.go, bytes.fromhex(operator.key), Go, "go")
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
            if holder == self._alias and jws.parts(said)[1] != jws.parts(turn.token)[1]:
                raise ProofInvalid("The transcript holds another countersignature of ours than our books.")
        return go.transcript

    def _is_shown_a_share(self, turn: _Turn, transcript: str) -> bool:
        """Return whether the round cannot be refunded any more, as another participant's own signature proves.

        Raises ProofInvalid or SignatureInvalid for a share that proves nothing of the kind: what is claimed is not
        true, and a word given now might be the one that spoils the round.
        """
        if not turn.shown:
            return False
        state, index, opened = self._reader.state, turn.index, turn.opened
        claimed = jws.read_unverified(turn.shown, Share, "share")
        others = set(opened.admit.participants) - {self._alias}
        if claimed.from_ not in others:
            raise ProofInvalid("The share shown is by no other participant of the round.")
        share = jws.verify_any(turn.shown, state.keys_since(claimed.from_, index), Share, "share")
        if (share.log, share.admit, share.admit_sha256) != (state.log, index, opened.entry_sha256):
            raise ProofInvalid("The share shown is for another round.")
        if share.transcript_sha256 != transcript:
            raise ProofInvalid("The share shown is for another transcript.")
        return True

    _TABLE: ClassVar[Mapping[State, Mapping[Step, Callable[["NodeRounds", _Turn], None]]]] = {
        "not begun": {"countersign": _begin, "share": _refuse, "word": _give_word},
        "countersigned": {"countersign": _say_again, "share": _compute, "word": _give_word},
        "sending": {"countersign": _say_again, "share": _send, "word": _send},
        "sent": {"countersign": _say_again, "share": _send, "word": _send},
        "no-share": {"countersign": _say_again, "share": _say_again, "word": _say_again},
    }
    """The table at the top of this module: what each task means in each state."""
