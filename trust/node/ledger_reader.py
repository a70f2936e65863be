"""How a node knows the ledger, and so every grant and revocation: it reads and replays each entry itself.

A grant, a revocation or an erasure reaches a node in no other way: nobody sends it one. The long poll
(``trust.node.process``) only says that the ledger has grown. Of new grants the node fetches its own leaves.

Nothing here takes the service's word: checkpoints are checked against the pinned log key and witnesses, entries against
the tree, each entry by ``queries.replay``, each leaf against the commitment in its entry. For each ``admit`` that this
node takes part in, the in-force set is kept as it was at that very index.

**A leaf that counts for nothing.** A leaf that the commitment does not prove to be ours is not kept, and asked for
again: without it this node does not countersign. One that is proven, and whose consent is too old
(``policies.consents.age``) or does not hold (another cap than the entry's, a bad signature), will never be another. It
is kept as *void*: its resident has no rows in any answer, the log line ``leaf-void`` says by which code, and questions
go on, so that no such leaf stops this holder's answers for ever. The service must have refused it; leaf, salt and path
stay in the books, and convict it beside the entry (``check_sub_grant`` and ``check_age`` are pure).

At each ``erase`` entry of a consent to a policy of ours, the leaf goes from the books in the transaction in which the
entry is read.

**Starting.** The books keep what was read (``trust.node.books.start_snapshots``), and a start goes on from there where
it fits exactly; every erasure that the books know is made once more. Restored books, or with a damaged row, have none:
then the whole ledger is read, so leaves that a backup brought back go again. What was kept is checked against all
entries in the background (``trust.node.kept.background_check``).
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator

import numpy as np
import structlog
from msgspec import UnsetType

from ledger import canonical
from ledger import entries as e
from ledger.errors import HistoryForked, Malformed, MusubiError, ProofInvalid, SignatureInvalid
from ledger.tlog.tree import Frontier
from policies.consents.age import check_age
from policies.consents.consent import SubGrant, check_own_leaf, check_sub_grant
from policies.in_force.chunk_tree import Chunks
from policies.kept_state import decode_kept, encode_kept
from policies.ledger_state import State
from policies.rules import NEWEST_RULES, REPLACING, rules_at
from queries.question.plan import Plan
from queries.rounds.admission import plan_of
from queries.rounds.messages import HeldLeaf, token_sha256
from trust.log.follower import LogFollower
from trust.log.pins import Trust
from trust.node.books.books import Books, ErasedConsent
from trust.node.books.start_snapshots import StartSnapshot
from trust.node.kept.holder_state import HolderState, Lacking, OwnCharge, RestsOn, holder_state_of
from trust.runtime.crash_points import reached
from trust.runtime.json_lines import reason_of
from trust.runtime.software import software

FetchLeaves = Callable[[int, int], list[HeldLeaf]]
LEAVES_AT_ONCE = 1_024
MOST_KEYS_TOLD = 2
"""A share is kept as it was first signed, and can be signed anew with the key of today: those two are told apart."""
logger = structlog.get_logger()


class LedgerReader:
    """The verified ledger as one holder sees it."""

    def __init__(
        self,
        follower: LogFollower,
        trust: Trust,
        books: Books,
        holder: str,
        fetch: FetchLeaves,
        signed_now: Callable[[str], str] = str,
    ) -> None:
        self.cosigned_before: dict[int, int] = {}
        """For each open round of ours: when the witnesses cosigned the last checkpoint that we saw without its
        ``admit`` (seconds since 1970; 0 where we saw none). It cannot be older than that."""
        self._follower = follower
        self._trust = trust
        self._books = books
        self._holder = holder
        self._fetch = fetch
        self._signed_now = signed_now
        self._held = HolderState(holder, trust)
        self._lacking: dict[int, e.Grant] = {}
        self._erased_slots: set[int] = set()
        self.rests_on: RestsOn | None = None
        """What was kept of an earlier reading and has not been checked against the whole ledger yet."""
        self.must_look = False
        """Whether the log has not been held yet against what was kept of it: until then nothing is said by it."""
        self._kept_size = 0
        """The size of the snapshot that is kept."""
        self._go_on()

    @property
    def state(self) -> State:
        """The state after the entries that were read."""
        return self._held.state

    @property
    def in_force(self) -> dict[int, Chunks]:
        """For each open round of ours, by ``admit``: the in-force set at exactly that index."""
        return self._held.in_force

    @property
    def standing(self) -> dict[int, Chunks]:
        """For each open round of ours: the grants that had not ended at that index, whatever their day and cap."""
        return self._held.standing

    def take_erased_slots(self) -> set[int]:
        """Return the slots whose links were erased since the last call: their view rows are to go."""
        taken, self._erased_slots = self._erased_slots, set()
        return taken

    @property
    def lacks_leaves(self) -> bool:
        """Whether the service still owes us the leaf of a grant that is in force."""
        return bool(self._lacking)

    @property
    def size(self) -> int:
        """How many entries were read and checked."""
        return self.state.size

    def read(self, at_least: int = 0) -> None:
        """Read all new entries and keep our leaves of them; ask again for leaves that did not come before.

        The log should have ``at_least`` so many entries, as somebody says: it is looked for past the caches then.

        Where leaves cannot be fetched, what was begun goes on, and nothing is begun that needs them
        (``trust.node.rounds.counted``). Raises ProofInvalid, HistoryForked, SignatureInvalid or ClockSkew where the
        ledger is not what it should be: the node then goes no further. While what was kept of an earlier reading is
        not checked, nothing that does not fit it is the ledger's fault: the whole ledger is read then, and says so.
        """
        try:
            self._read(at_least)
        except (ProofInvalid, HistoryForked, SignatureInvalid) as error:
            if self.rests_on is None:
                raise
            logger.warning("snapshot-doubted", entries=self.rests_on.size, **reason_of(error))
            self._begin_anew()
            self._read(at_least)

    def _read(self, at_least: int) -> None:
        has_news, are_given = False, True
        before = self._follower.latest
        for batch in self._follower.follow(at_least):
            has_news = True
            try:
                with self._books.transaction():
                    if not batch.first:
                        self._books.forget_consents()
                    for index, data in enumerate(batch.entries, batch.first):
                        self._held.apply(index, data, self._books, self)
                        if index in self.in_force and before is not None and before.checkpoint.size <= index:
                            self.cosigned_before[index] = before.time or 0
                held = self._books.held(batch.first, batch.first + len(batch.entries) - 1)
            except sqlite3.Error:  # the books have nothing of this batch, the state some of it: read everything again
                self._begin_anew()
                raise
            self._lacking |= {
                i: grant
                for i, grant in self._own_grants(batch.first, batch.entries)
                if i not in held and i not in self.state.erased
            }
            are_given = are_given and self._keep_leaves()
            # a crash here leaves leaves kept for entries that the next start reads again; both are idempotent
        if not has_news:  # the log is read first: it may say that the operator, who signs the leaves, has another key
            self._keep_leaves()
        self._check_kept()
        self.must_look = False

    def _begin_anew(self) -> None:
        self._held = HolderState(self._holder, self._trust)
        self._follower.begin_anew()
        self._lacking.clear()
        self.cosigned_before.clear()
        self.rests_on, self._kept_size, self.must_look = None, 0, False

    # What was kept of an earlier reading

    def _go_on(self) -> None:
        """Go on from what these books kept of an earlier reading, where it fits them; else read everything."""
        snapshot = self._books.kept_start()
        if snapshot is None:
            return
        try:
            held, lacking, edge = self._fitting(snapshot)
        except MusubiError as error:
            logger.info("snapshot-unfit", entries=snapshot.size, **reason_of(error))
            return
        self._held, self._lacking = held, lacking
        self._follower.go_on_from(edge, held.state.log_keys)
        self._kept_size, self.must_look = snapshot.size, True
        self.rests_on = RestsOn(
            size=snapshot.size, root=edge.root(), state_sha256=hashlib.sha256(snapshot.state).digest()
        )
        logger.info("snapshot-read", entries=snapshot.size)

    def _fitting(self, snapshot: StartSnapshot) -> tuple[HolderState, dict[int, e.Grant], Frontier]:
        """Return what a snapshot holds; raise Malformed where it is another software's, or not all of one piece."""
        if (snapshot.rules, snapshot.software) != (NEWEST_RULES, software()):
            raise Malformed("What was kept of the ledger is another software's.")
        edge = decode_kept(snapshot.edge, Frontier)
        held = holder_state_of(snapshot.state, self._holder, self._trust)
        if not snapshot.size == edge.size == held.state.size <= int(self._books.noted("size") or b"0"):
            raise Malformed("What was kept of the ledger is of several sizes.")
        lacking = decode_kept(snapshot.lacking, Lacking).grants()
        with self._books.transaction():  # every known erasure once more, whatever brought a leaf back
            erased = [
                ErasedConsent(index=i, entry=entry, entry_sha256=sha) for i, entry, sha in self._books.erased_entries()
            ]
            self._erased_slots.update(self._books.erase(erased))
        gone = {each.index for each in erased}
        have = self._books.held_all()
        without = held.own_standing(snapshot.size)
        for places in (have, np.array(sorted(gone | lacking.keys()), dtype=np.int64)):
            without[places[places < snapshot.size]] = False
        if without.any() or not gone.issuperset(held.own_erased()):
            raise Malformed("What was kept of the ledger does not fit the leaves that are held.")
        gone |= self._books.held(min(lacking, default=0), max(lacking, default=-1))
        return held, {index: grant for index, grant in lacking.items() if index not in gone}, edge

    def keep_start(self, grown: int = 1) -> None:
        """Keep what was read for the next start, where it has grown by so many entries since that was done."""
        if self.size < self._kept_size + grown or self.size != self._follower.frontier.size:
            return
        snapshot = StartSnapshot(
            size=self.size,
            edge=encode_kept(self._follower.frontier),
            rules=NEWEST_RULES,
            software=software(),
            state=self._held.kept(),
            lacking=encode_kept(Lacking.of(self._lacking)),
        )
        with self._books.transaction():
            self._books.keep_start(snapshot)
            reached("node:keeping-start")  # a crash here leaves what was kept before
        self._kept_size = snapshot.size

    def forget_start(self) -> None:
        """Keep nothing for the next start: it reads the whole ledger."""
        with self._books.transaction():
            self._books.forget_start()

    # What the entries say of our consents and rounds

    def note_own_end(self, grant: int, entry: int, at: int, *, replaced: bool) -> None:
        """Note that a grant of ours has ended, and what that puts an end to."""
        if self._books.note_end(grant, entry, at, replaced=replaced):
            sha256 = self._books.policy_of(grant)
            if sha256 is not None:  # else its leaf is to come, and is held against this end then
                self._books.outlive(grant, self._versions(self.state.versions[sha256].document.id))

    def note_own_erasure(self, erased: ErasedConsent) -> None:
        """Take an erased consent's leaf out of the books."""
        self._erased_slots.update(self._books.erase([erased]))
        self._lacking.pop(erased.index, None)

    def note_own_closing(self, entry: e.Closing) -> None:
        """Look at what the end of a round of ours says."""
        self.cosigned_before.pop(entry.admit, None)
        if isinstance(entry, e.Release | e.Lost):
            self._look_at_end(entry)

    def _versions(self, policy_id: str) -> list[str]:
        return [sha256 for sha256, each in self.state.versions.items() if each.document.id == policy_id]

    def _look_at_end(self, entry: e.Release | e.Lost) -> None:
        """Say so where the ledger names another share of ours than the one that we sent, or one that we never made.

        That is all that one holder can tell of a sum: the others' shares it has not seen. Of a lost round it also tells
        that a share which the service took is not named. What these books, restored from a backup, may have forgotten
        is no fault of anybody's; nor is a share that may be signed with a key of ours that is gone.
        """
        own = self._books.round(entry.admit)
        named = entry.shares.get(self._holder)
        if own is None:
            return
        if own.state in ("countersigned", "no-share"):
            if named is not None and self._books.restored_at is None:
                logger.error("share-forged", admit=entry.admit)
        elif named is not None or (own.state == "sent" and isinstance(entry, e.Lost)):
            is_told = len(self.state.keys_since(self._holder, entry.admit)) <= MOST_KEYS_TOLD or named is None
            if is_told and named not in {token_sha256(own.token), token_sha256(self._signed_now(own.token))}:
                logger.error("share-denied", admit=entry.admit)

    def plan(self, admit: e.Admit) -> Plan:
        """Return an admitted question's plan."""
        return plan_of(self.state, admit)

    def spent_before(self, account: str, index: int) -> int:
        """Return what the ledger says was charged to an account of our data by questions admitted before ``index``.

        Only those: a question that comes later takes nothing from one that was admitted before it. Each counts those
        before it, so that together they never pass the cap. Nano-rho of our own part.
        """
        return sum(part for admit, part in self._held.charges.get(account, {}).items() if admit < index)

    def own_charge(self, admit: e.Admit) -> OwnCharge:
        """Return what a question charges to our own data: our part of its charge, rounded up, and to which accounts."""
        return self._held.own_charge(admit)

    def _keep_leaves(self) -> bool:
        """Fetch the leaves that we lack; return whether the service answered.

        One that is not given, or not good, is asked for again while it is in force. Whoever is no holder any more gets
        none, and only ends what it began.
        """
        if self.state.member(self._holder, "holder") is None:
            return True
        try:
            self._fetch_lacking()
        except MusubiError as error:
            logger.warning("leaves-not-given", **reason_of(error))
            return False
        return True

    def _fetch_lacking(self) -> None:
        missing = sorted(self._lacking)
        while missing:
            start = missing[0]
            wanted = [index for index in missing if index < start + LEAVES_AT_ONCE]
            missing = missing[len(wanted) :]
            given = [held for held in self._fetch(start, wanted[-1]) if held.index in self._lacking]
            kept = set()
            with self._books.transaction():
                for held in sorted(given, key=lambda each: each.index):
                    if self._keep(held, self._lacking[held.index]):
                        kept.add(held.index)
            for index in wanted:
                if index in kept or not self.state.in_force[self._lacking[index].policy_sha256].holds(index):
                    del self._lacking[index]

    def _own_grants(self, first: int, entries: list[bytes]) -> Iterator[tuple[int, e.Grant]]:
        for offset, data in enumerate(entries):
            if b'"kind":"grant"' in data:
                entry = e.decode(data)
                if isinstance(entry, e.Grant) and self._held.is_ours(entry):
                    yield first + offset, entry

    def _keep(self, held: HeldLeaf, grant: e.Grant) -> bool:
        """Keep one leaf if it is our own; return whether it is. Those of earlier grants have been looked at before."""
        policy = self.state.versions[grant.policy_sha256].document
        sub_grant, shown_at, void = None, None, None
        reason: dict[str, str] = {}
        try:
            check_own_leaf(held.leaf, grant, policy, self._holder)
        except MusubiError as error:
            logger.warning("leaf-refused", grant=held.index, **reason_of(error))
            return False
        try:
            sub_grant = check_sub_grant(held.leaf, grant, policy, self.state.log, self._holder)
            if sub_grant is not None and rules_at(self.state.rules_since, held.index) >= REPLACING:
                shown_at = sub_grant.shown_at
                self._check_age(held.index, grant, sub_grant)
        except MusubiError as error:
            void, reason = error.code, reason_of(error)
        key = sub_grant.key if sub_grant is not None else None
        row = (held.index, grant.policy_sha256, key, canonical.encode(held.leaf))
        self._books.keep_leaves([row], shown_at=None if isinstance(shown_at, UnsetType) else shown_at, void=void)
        if key is not None:
            self._books.outlive(held.index, self._versions(grant.policy))
        if void:
            logger.warning("leaf-void", grant=held.index, **reason)
        return True

    def _check_age(self, index: int, grant: e.Grant, sub_grant: SubGrant) -> None:
        last = self._books.last_end(sub_grant.key, self._versions(grant.policy), index)
        check_age(sub_grant.shown_at, grant.at, last, sub_grant.replaces)

    def _check_kept(self) -> None:
        """Compare with the largest tree that these books remember, and remember this one."""
        kept = self._books.noted("size")
        if kept is not None and self.size < int(kept):
            raise ProofInvalid("The ledger is shorter than this node has read before.")
        self._books.note("size", str(self.size).encode())
        latest = self._follower.latest
        if latest is not None:
            self._books.note("checkpoint", latest.note)
