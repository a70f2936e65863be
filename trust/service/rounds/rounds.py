"""The rounds of admitted questions: countersign, go, share, release; or words, and refund.

What each participant said is kept for ever, one message of each step; a second, different one is refused. The service
only carries: it holds no noise, makes no share, and can neither speed up nor skip a step, because nodes check each
other's signatures. A round that no participant has begun by its ``expires`` is refunded when all have given their word;
once a share may have left, only this same round may finish: until its ``last``, by whoever is shown that share. Then it
is given up (``trust.service.rounds.closing``).
"""

from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace
from sqlalchemy import Row, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import entries as e
from ledger import jws
from ledger.errors import MusubiError, NotFound, NotPermitted, ProofInvalid, Replayed, RoundClosed, Unavailable
from policies.admit_expiry import has_expired
from policies.ledger_state import OpenRound, State
from policies.rules import LOST_ROUNDS
from queries.rounds.admission import plan_of
from queries.rounds.messages import Countersign, Go, Share, Task, Word, transcript_sha256
from trust.client.paths import Step
from trust.client.wire import RoundState, RoundStatus, SignedShares
from trust.service import metrics
from trust.service.database import tables as t
from trust.service.keys.own_keys import OperatorSigner
from trust.service.rounds.closing import Said, closing_row, gives_up_at, make_closing, make_lost
from trust.service.store.bell import Bell
from trust.service.store.signed_first import look_first, signed_by_member
from trust.service.store.store import Store, Transaction

_KINDS: dict[Step, type[Countersign | Share | Word]] = {"countersign": Countersign, "share": Share, "word": Word}
MOST_PAUSE_SECONDS = 60
"""The longest pause between two times that a holder is asked for a share past the expiry."""


class LateAsking(Struct, kw_only=True):
    """How often a holder was asked, and when it is asked next (UTC seconds)."""

    times: int = 0
    next_at: int = 0


class Talk(Struct, kw_only=True):
    """What was said so far in one open round, by step and holder, and the signed ``go`` once all have countersigned."""

    said: Said = field(default_factory=lambda: {"countersign": {}, "share": {}, "word": {}})
    go: str = ""
    go_key: bytes = b""
    """The operator's public key that ``go`` is signed with; once it is laid down, ``go`` is signed anew."""
    late: dict[str, LateAsking] = field(default_factory=dict)
    """How often each holder was asked for its share past the expiry, while none was out."""

    def has(self, step: Step, participants: list[str]) -> bool:
        """Return whether every participant has said this step."""
        return all(holder in self.said[step] for holder in participants)


async def _read_talk(connection: AsyncConnection, state: State, admit: int) -> Talk:
    """Return what was said in an open round; what is damaged is as good as lost, and its node says it again."""
    talk = Talk()
    opened = state.rounds.get(admit)
    for row in await connection.execute(select(t.messages).where(t.messages.c.admit == admit)):
        if opened is not None and _is_whole(state, opened, row):
            talk.said[row.step][row.holder] = row.token
    return talk


def _is_whole(state: State, opened: OpenRound, row: Row[*tuple[Any, ...]]) -> bool:
    """Return whether a kept message is what its holder signed in this round, as it stands in the database."""
    if row.step not in _KINDS or row.holder not in opened.admit.participants:
        return False
    try:
        message = jws.verify_any(row.token, state.keys_since(row.holder, row.admit), _KINDS[row.step], row.step)
    except MusubiError:
        return False
    return (message.from_, message.admit_sha256) == (row.holder, opened.entry_sha256)


async def _closed_before(connection: AsyncConnection, step: Step, admit: int, holder: str, token: str) -> int | None:
    """Return what closed a round that this very message is part of; raise RoundClosed where it is not part of one."""
    mine = t.messages.c.admit == admit, t.messages.c.holder == holder, t.messages.c.step == step
    query = select(t.messages.c.token, t.rounds.c.closed_by).join(t.rounds, t.rounds.c.admit == admit).where(*mine)
    row = (await connection.execute(query)).first()
    if row is None or row.token != token:
        raise RoundClosed("This round is closed, or was never opened.")
    return int(row.closed_by)


def _is_awaited(opened: OpenRound, talk: Talk, holder: str, now: int) -> bool:
    """Return whether the round's next step waits for a message of this holder."""
    if holder in talk.said["share"] or holder in talk.said["word"]:
        return False
    over = has_expired(opened.admit, now) or bool(talk.said["word"])
    return over or holder not in talk.said["countersign"] or talk.has("countersign", opened.admit.participants)


async def _note_closed(transaction: Transaction, admit: int, closed: int, closing: e.Closing) -> None:
    values = closing_row(closed, closing, transaction.at)
    await transaction.connection.execute(update(t.rounds).where(t.rounds.c.admit == admit).values(values))


class Rounds:
    """All open rounds. Memory holds only the open ones."""

    def __init__(self, store: Store, bell: Bell, operator: str, signer: OperatorSigner) -> None:
        self._store = store
        self._bell = bell
        self._operator = operator
        self._signer = signer
        self._talks: dict[int, Talk] = {}

    async def load(self) -> None:
        """Read what was said in open rounds back from the store."""
        await self.refresh()

    async def refresh(self) -> None:
        """Learn what was said in open rounds, also to other processes; forget the rounds that are closed."""
        open_rounds = set(self._store.state.rounds)
        for admit in self._talks.keys() - open_rounds:
            del self._talks[admit]
        if not open_rounds:
            return
        columns = t.messages.c.admit, t.messages.c.holder, t.messages.c.step
        async with self._store.databases.reader.connect() as connection:
            said = (await connection.execute(select(*columns).where(t.messages.c.admit.in_(open_rounds)))).all()
            for admit in {row.admit for row in said if row.holder not in self._talk(row.admit).said.get(row.step, ())}:
                # What was said once stands for ever, so this can only add to what is known.
                for step, tokens in (await _read_talk(connection, self._store.state, admit)).said.items():
                    self._talk(admit).said[step].update(tokens)

    def _talk(self, admit: int) -> Talk:
        return self._talks.setdefault(admit, Talk())

    def tasks(self, holder: str, published: int) -> list[Task]:
        """Return what a holder's node should do now; an ``admit`` is handed out once its checkpoint is published."""
        now = self._store.clock()
        tasks = []
        for index, opened in self._store.state.rounds.items():
            if index < published and holder in opened.admit.participants:
                task = self._task(index, opened, holder, now)
                if task is not None:
                    tasks.append(task)
        return tasks

    def waiting_for(self, admit: int) -> list[str]:
        """Return the participants whose next message an open round waits for."""
        opened = self._store.state.rounds[admit]
        now = self._store.clock()
        talk = self._talk(admit)
        return [holder for holder in opened.admit.participants if _is_awaited(opened, talk, holder, now)]

    def open_below(self, published: int) -> list[int]:
        """Return the ``admit`` indices of the published questions that are still open."""
        return [index for index in self._store.state.rounds if index < published]

    async def status(self, admit: int, seconds: float) -> RoundStatus:
        """Return where a round stands, waiting up to ``seconds`` for its end.

        Raises NotFound where no question is there.
        """
        unknown = NotFound("The ledger has no such question.")
        if not 0 <= admit < self._store.size:
            raise unknown
        waiting_for: list[str] = []
        if admit in self._store.state.rounds:
            await self._bell.until(lambda: (admit not in self._store.state.rounds) or None, seconds)
            if admit in self._store.state.rounds:
                waiting_for = self.waiting_for(admit)
        query = select(t.rounds.c.closed_by, t.rounds.c.released, t.rounds.c.lost).where(t.rounds.c.admit == admit)
        async with self._store.databases.reader.connect() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            raise unknown
        ended: RoundState = "released" if row.released else "lost" if row.lost else "refunded"
        status: RoundState = "open" if row.closed_by is None else ended
        return RoundStatus(status=status, closed_by=row.closed_by, waiting_for=waiting_for)

    async def shares(self, admit: int, published: int) -> SignedShares:
        """Return the signed shares of a question whose answer, or loss, is published.

        Raises NotFound where it has neither, and Unavailable where that is still to be published.
        """
        query = (
            select(t.messages.c.holder, t.messages.c.token, t.rounds.c.closed_by)
            .join(t.rounds, t.rounds.c.admit == t.messages.c.admit)
            .where(t.messages.c.admit == admit, t.messages.c.step == "share")
            .where(or_(t.rounds.c.released, t.rounds.c.lost), t.rounds.c.closed_by.is_not(None))
        )
        found: dict[str, str] = {}
        if 0 <= admit < self._store.size:
            async with self._store.databases.reader.connect() as connection:
                rows = (await connection.execute(query)).all()
            if any(row.closed_by >= published for row in rows):
                raise Unavailable("The answer is in the ledger, but not published yet; ask again in a moment.")
            found = {row.holder: row.token for row in rows}
        if not found:
            raise NotFound("No question whose shares are public is at that place of the ledger.")
        signed_by = {holder: self._key_entry(holder, token) for holder, token in found.items()}
        members = {holder: index for holder, index in signed_by.items() if index is not None}
        return SignedShares(shares=found, members=members)

    def _key_entry(self, holder: str, token: str) -> int | None:
        """Return which ``member`` entry brought the key of a kept share; None where the share is damaged."""
        for each in reversed(self._store.state.member_keys.get(holder, [])):
            try:
                jws.verify(token, bytes.fromhex(each.key), Share, "share")
            except MusubiError:
                continue
            return each.index
        return None

    def _task(self, index: int, opened: OpenRound, holder: str, now: int) -> Task | None:
        talk = self._talk(index)
        if not _is_awaited(opened, talk, holder, now):
            return None
        if talk.has("countersign", opened.admit.participants) and not talk.said["word"]:
            task = Task(step="share", admit=index, go=self._go(index, opened, talk))
            return task if not has_expired(opened.admit, now) else self._late_task(task, opened, talk, holder, now)
        if talk.said["word"] or has_expired(opened.admit, now):
            return Task(step="word", admit=index)
        return Task(step="countersign", admit=index)

    def _late_task(self, task: Task, opened: OpenRound, talk: Talk, holder: str, now: int) -> Task | None:
        """Return what a holder is asked past the expiry of a round that all have countersigned.

        Whoever stored a share before sends it. Once one is out, the others are shown it, and finish. While none is, it
        may be on its way, and one word would spoil the round: so words are asked for only when every participant has
        been asked for its share twice since, and has come back without. In between it is asked less and less often.
        """
        if talk.said["share"]:
            is_read = self._store.state.rules >= LOST_ROUNDS
            return replace(task, shown=next(iter(talk.said["share"].values()))) if is_read else task
        if all(holder in talk.late and talk.late[holder].times > 1 for holder in opened.admit.participants):
            return Task(step="word", admit=task.admit)
        asked = talk.late.setdefault(holder, LateAsking())
        if now < asked.next_at:
            return None
        asked.times, asked.next_at = asked.times + 1, now + min(MOST_PAUSE_SECONDS, 2**asked.times)
        return task

    def _go(self, index: int, opened: OpenRound, talk: Talk) -> str:
        key = self._signer.key(self._store.state)
        if talk.go_key != bytes(key.verify_key):
            message = Go(
                from_=self._operator,
                log=self._store.state.log,
                admit=index,
                admit_sha256=opened.entry_sha256,
                transcript=self._transcript(opened, talk),
            )
            talk.go, talk.go_key = jws.sign(message, key), bytes(key.verify_key)
        return talk.go

    @staticmethod
    def _transcript(opened: OpenRound, talk: Talk) -> list[str]:
        return [talk.said["countersign"][holder] for holder in opened.admit.participants]

    async def take(self, step: Step, token: str) -> int | None:
        """Take one message of a round; return the index of the entry that it closed the round with, if it did.

        Saying the same again is fine: it gets the index that the round is closed with by then. Raises SignatureInvalid,
        NotPermitted, ProofInvalid (for another round), RoundClosed, or Replayed for a second, different message.
        """
        new = False
        damaged: list[tuple[Step, str]] = []
        await look_first(self._store, lambda state: signed_by_member(state, token, _KINDS[step], step))

        async def act(transaction: Transaction) -> int | None:
            nonlocal new
            new = False
            claimed = jws.read_unverified(token, _KINDS[step], step)
            if claimed.admit not in transaction.state.rounds:
                return await _closed_before(transaction.connection, step, claimed.admit, claimed.from_, token)
            message, opened = self._check(transaction.state, step, token)
            talk = await _read_talk(
                transaction.connection, transaction.state, message.admit
            )  # others of this group may have spoken
            damaged[:] = self._not_kept(message.admit, talk.said)
            before = talk.said[step].get(message.from_)
            if before is not None:
                if (
                    jws.parts(before)[1] != jws.parts(token)[1]
                ):  # signed anew after a change of its key, it says the same
                    raise Replayed("This node has said something else for this step of the round before.")
                return None
            self._check_turn(step, message, opened, talk)
            new = True
            after = {**talk.said[step], message.from_: token}
            closing = make_closing(transaction.state, step, message.admit, opened, after)
            closed = transaction.append(closing) if closing else None
            mine = t.messages.c.admit == message.admit, t.messages.c.holder == message.from_, t.messages.c.step == step
            await transaction.connection.execute(delete(t.messages).where(*mine))  # one that is damaged
            row = {"admit": message.admit, "holder": message.from_, "step": step, "token": token}
            await transaction.connection.execute(insert(t.messages), row)
            if closed is not None and closing is not None:
                await _note_closed(transaction, message.admit, closed, closing)
            return closed

        closed = await self._store.submit(act)
        message = jws.read_unverified(token, _KINDS[step])
        if closed is None:
            self._forget(message.admit, damaged)  # it has to be said again
            self._talk(message.admit).said[step].setdefault(message.from_, token)
        else:
            self._talks.pop(message.admit, None)
            if new:
                (metrics.released if step == "share" else metrics.refunded).inc()
        self._bell.ring()
        return closed

    async def give_up(self) -> int:
        """Close the open rounds that nobody can finish any more; return how many."""
        now = self._store.clock()
        due = [
            index
            for index, opened in self._store.state.rounds.items()
            if now >= gives_up_at(opened, share_is_out=bool(self._talk(index).said["share"]))
        ]
        count = 0
        for index in due:

            async def act(transaction: Transaction, admit: int = index) -> int | None:
                opened = transaction.state.rounds.get(admit)
                if opened is None:  # another process closed it, or a participant has spoken at last
                    return None
                said = (await _read_talk(transaction.connection, transaction.state, admit)).said
                damaged = self._not_kept(admit, said)
                if damaged:  # it has to be said again, and there is still time
                    self._forget(admit, damaged)
                    return None
                given_up = make_lost(transaction.state, admit, opened, said, transaction.at)
                if given_up is None:
                    return None
                closed = transaction.append(given_up)
                await _note_closed(transaction, admit, closed, given_up)
                return closed

            if await self._store.submit(act) is not None:
                self._talks.pop(index, None)
                metrics.lost.inc()
                count += 1
        if count:
            self._bell.ring()
        return count

    def _not_kept(self, admit: int, said: Said) -> list[tuple[Step, str]]:
        """Return what memory has of a round and the tables do not, or no longer whole: (step, holder)."""
        known = self._talk(admit).said
        return [(step, holder) for step, tokens in known.items() for holder in tokens if holder not in said[step]]

    def _forget(self, admit: int, messages: list[tuple[Step, str]]) -> None:
        for step, holder in messages:
            self._talk(admit).said[step].pop(holder, None)

    def _check(self, state: State, step: Step, token: str) -> tuple[Countersign | Share | Word, OpenRound]:
        claimed = jws.read_unverified(token, _KINDS[step], step)
        opened = state.rounds.get(claimed.admit)
        if opened is None:
            raise RoundClosed("This round is closed, or was never opened.")
        member = state.participant(claimed.from_)
        if member is None or claimed.from_ not in opened.admit.participants:
            raise NotPermitted("Only the round's participants take part in it.")
        message = jws.verify(token, bytes.fromhex(member.key), _KINDS[step], step)
        if message.log != state.log or message.admit_sha256 != opened.entry_sha256:
            raise ProofInvalid("The message is for another round.")
        return message, opened

    def _check_turn(self, step: Step, message: Countersign | Share | Word, opened: OpenRound, talk: Talk) -> None:
        complete = talk.has("countersign", opened.admit.participants)
        if step == "countersign" and (talk.said["word"] or has_expired(opened.admit, self._store.clock())):
            raise RoundClosed("The round has expired, or a participant has stepped out of it.")
        if isinstance(message, Share):
            if not complete:
                raise RoundClosed("No share is taken before all participants have countersigned.")
            if message.transcript_sha256 != transcript_sha256(self._transcript(opened, talk)):
                raise ProofInvalid("The share is for another transcript.")
            if message.from_ in talk.said["word"]:
                raise RoundClosed("This node gave its word that no share would leave it.")
            if len(message.vector) != plan_of(self._store.state, opened.admit).length:
                raise ProofInvalid("The share is not of the length that the question's plan says.")
        if step == "word" and message.from_ in talk.said["share"]:
            raise RoundClosed("A share of this node is here already.")
