"""The auditor: it replays a whole log from its tiles, trusts nobody, and names the first thing wrong.

It imports nothing of the service. What it checks, in this order:

1. the pins: the log's name, key and genesis entry are the pinned ones, and the ones pinned before;
2. the checkpoint: signed by the log, cosigned by the quorum of witnesses, consistent with the last one seen;
3. every entry is the one in the signed tree, by our own code (``trust.log.follower``), and the whole log's root once
   more by merkletools (``second_opinion``);
4. every entry means what it may: signatures, quorums, charges, caps, in-force roots, rounds (``queries.replay``), and
   no time is ahead of the witnesses' clocks;
5. every answer is the sum of its holders' signed shares, and what a ``lost`` round names as shares are some
   (``shares``): over HTTP, and in a copy as far as it carries them;
6. the checkpoint does not contradict what others were shown, where it is to be held against theirs (``comparison``).

Where two signed checkpoints contradict each other, a file that convicts the log on its own is kept in the state folder.

Memory does not grow with the log, apart from one bit per entry and policy (in-force sets) and 32 bytes per leaf for the
second opinion; consent identifiers are kept on disk.

**What it cannot see:** residents' own signatures, which are private to the holders (nodes check those); and whether a
different history is shown to someone with whom it is not compared.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ledger import entries as e
from ledger.errors import ClockSkew, HistoryForked, MusubiError, NotFound, ProofInvalid, Unavailable, UpgradeNeeded
from ledger.notes.note import VerifierKey
from ledger.second_reads import read_in_turn
from policies.accounts.account_names import life_account
from policies.ledger_state import State
from queries.replay import replay
from queries.rounds.admission import plan_of
from trust.audit.comparison import ShownTree, compare
from trust.audit.memory import Memory
from trust.audit.report import AuditReport
from trust.audit.second_opinion import MAX_LEAVES, SecondOpinion
from trust.audit.seen_consents import DiskConsents
from trust.audit.shares import AnswerBasis, ShareAudit
from trust.client import paths
from trust.files.evidence import parse_evidence
from trust.log.follower import LogFollower
from trust.log.freshness import FRESH_SECONDS, more_is_known, say_age, sizes_by_witnesses
from trust.log.pins import MAX_TRUST_BYTES, TRUST_FILE, Trust, decode_trust, load_trust, open_genesis
from trust.log.seen_checkpoint import SeenCheckpoint, VerifiedBatch
from trust.log.source import FolderLog, HttpLog, StaticLog, open_log, past_caches
from trust.runtime.clock import Clock, system_clock

MOST_FINDINGS = 1_000
Progress = Callable[[int, int], None]
"""Called with (entries checked, entries in all) after each batch."""


def audit(
    place: str,
    *,
    trust: Trust | None = None,
    state_folder: Path | None = None,
    compare_with: Sequence[str] = (),
    progress: Progress | None = None,
    clock: Clock = system_clock,
) -> AuditReport:
    """Audit the log at a service's address or in a folder; return what was found, also where that is a fault.

    ``trust`` are the pins to hold it to. Without them, those kept in ``state_folder`` are used; without these, what the
    log itself offers is believed on first use, and the report says so. ``compare_with`` are places with another view of
    the same log (``comparison``); one that cannot be compared is a fault too. Raises Unavailable where the log cannot
    be read now, NotFound where there is none, UpgradeNeeded where it goes by rules that this software does not read,
    and ClockSkew where its witnesses' time is ahead of ours: those say nothing against the log.
    """
    begin = time.monotonic()
    log = open_log(place)
    audit_ = _Audit(log, Memory(state_folder), progress, clock)
    try:
        audit_.run(trust, compare_with)
    except (Unavailable, UpgradeNeeded):
        raise
    except MusubiError as error:
        if isinstance(error, ClockSkew) and "index" not in error.details:  # perhaps it is our own clock that is off
            raise
        audit_.report_fault(error)
    finally:
        audit_.finish()
        log.close()
    report = audit_.report
    report.milliseconds = round((time.monotonic() - begin) * 1_000)
    return report


class _Audit:
    def __init__(self, log: StaticLog | FolderLog, memory: Memory, progress: Progress | None, clock: Clock) -> None:
        self.report = AuditReport()
        self._log = log
        self._memory = memory
        self._progress = progress
        self._clock = clock
        self._state = State()
        self._counts: Counter[type[e.AnyEntry]] = Counter()
        self._seen = DiskConsents()
        self._second = SecondOpinion()
        self._basis: dict[int, AnswerBasis] = {}
        self._shares = ShareAudit(log)
        self._first_finding: ProofInvalid | None = None

    def run(self, given: Trust | None, compare_with: Sequence[str]) -> None:
        """Do the whole audit; raise the first fault."""
        trust = self._pins(given)
        self.report.origin = trust.origin
        follower = self._follower(trust)
        self._read(follower, trust)
        if follower.latest is None or follower.latest.checkpoint.size == 0:
            raise ProofInvalid("The log is empty: it has no genesis entry.")
        self._remember(follower.latest, trust)
        self._ask_second_opinion(follower.latest)
        if self._shares.unchecked:
            self.report.notes.append(
                f"Shares not checked: the copy does not carry those of {self._shares.unchecked} answers. Audit the "
                "service itself, or a copy that `musubi log export` made."
            )
        for place in compare_with:
            self._compare(follower.latest, follower.history.signing_keys, place)
        if self._first_finding is not None:
            raise self._first_finding

    def _read(self, follower: LogFollower, trust: Trust) -> None:
        """Check all entries; where a pinned witness knows more than is shown over HTTP, those as well, or OldView."""
        for batch in follower.follow():
            self._remember(batch.seen, trust)
            self._check(batch, trust)
        sizes = sizes_by_witnesses(follower) if isinstance(self._log, StaticLog) else None
        if sizes is None:
            return
        if not sizes:
            self.report.notes.append("No pinned witness could be asked whether the log has more than it shows.")
            return
        for batch in follower.follow(max(sizes.values())):
            self._remember(batch.seen, trust)
            self._check(batch, trust)
        if follower.seen.checkpoint.size < max(sizes.values()):
            self._remember(follower.seen, trust)
            raise more_is_known(follower.seen.checkpoint.size, sizes)

    def _compare(self, seen: SeenCheckpoint, keys: list[VerifierKey], place: str) -> None:
        try:
            comparison, evidence = compare(ShownTree(note=seen.note, source=self._log), keys, place)
        except MusubiError as error:
            message = f"The history at {place} could not be compared with this one: {error.message}"
            raise ProofInvalid(message, rule=error.code) from None
        self.report.compared.append(comparison)
        if evidence is not None:
            raise HistoryForked(comparison.says, evidence=evidence.format().decode())

    def _follower(self, trust: Trust) -> LogFollower:
        latest = self._memory.checkpoint()
        try:
            return LogFollower(self._log, trust.log_keys, trust.witnesses, latest=latest, clock=self._clock)
        except MusubiError:
            raise Unavailable("The auditor's own last checkpoint is damaged; give it another state folder.") from None

    def _pins(self, given: Trust | None) -> Trust:
        kept = self._memory.pins()
        if given is not None:
            self._memory.pin(given)
            return given
        if kept is not None:
            return kept  # what is offered is somebody's word: whether this is the pinned log, its signatures show
        offered = self._offered()
        if offered is None:
            raise NotFound("There is no trust.json with the log; ask a steward for the town's and pass it on.")
        self.report.notes.append(
            "Trusted on first use: the pins came from the log's own keeper. Compare genesis "
            f"{offered.genesis_sha256} with what a steward says."
        )
        self._memory.pin(offered)
        return offered

    def _offered(self) -> Trust | None:
        """Return the pins that the log's keeper offers, if any."""
        try:
            if isinstance(self._log, HttpLog):
                return self._offered_at(paths.TRUST)
            if isinstance(self._log, StaticLog):
                return self._offered_at(f"/{TRUST_FILE}")
            for folder in (self._log.path, self._log.path.parent):
                if (folder / TRUST_FILE).is_file():
                    return load_trust(folder / TRUST_FILE)
        except NotFound:
            pass
        return None

    def _offered_at(self, path: str) -> Trust:
        ways = [self._log, *past_caches(self._log)]
        return read_in_turn(ways, lambda way: decode_trust(way.get(path, MAX_TRUST_BYTES)))

    def _remember(self, seen: SeenCheckpoint, trust: Trust) -> None:
        self.report.size = seen.checkpoint.size
        self.report.root = seen.checkpoint.root.hex()
        self.report.cosigners = trust.witnesses.by_witness(seen.cosigned)
        self.report.algorithms = seen.algorithms
        self.report.as_of = seen.time
        self._memory.keep_checkpoint(seen.note)

    def _check(self, batch: VerifiedBatch, trust: Trust) -> None:
        for place, data in enumerate(batch.entries):
            index = batch.first + place
            if index == 0:
                self._check_genesis(data, trust)
            entry = replay(self._state, index, data, self._seen)
            self._counts[type(entry)] += 1
            self._note_finding(index)
            match entry:
                case e.Genesis():
                    named = (entry.origin, entry.log_key, entry.log_key_pq)
                    if named != (trust.origin, trust.log_key, trust.log_key_pq):
                        raise ProofInvalid("Entry 0: the genesis entry names another log or log key.", index=0)
                case e.Admit():
                    self._open_round(index, entry)
                case e.Release() | e.Lost():
                    self._close_round(index, entry)
                case e.Refund():
                    del self._basis[entry.admit]
                case _:
                    pass
            self.report.entries = index + 1
        self._second.add(batch.hashes)
        if self._progress is not None:
            self._progress(self.report.entries, batch.checkpoint.size)

    def _note_finding(self, index: int) -> None:
        """Note what is wrong with an entry that changes nothing: the audit goes on, and ends with it."""
        if self._state.finding and len(self.report.findings) < MOST_FINDINGS:
            self.report.findings.append(self._state.finding)
            self._first_finding = self._first_finding or ProofInvalid(self._state.finding, index=index)

    @staticmethod
    def _check_genesis(data: bytes, trust: Trust) -> None:
        """Raise HistoryForked where entry 0 is not the pinned one: to an auditor, that is another history."""
        try:
            open_genesis(data, trust.genesis_sha256)
        except ProofInvalid:
            raise HistoryForked("Entry 0: the genesis entry is not the pinned one.", index=0) from None

    def _open_round(self, index: int, admit: e.Admit) -> None:
        self._basis[index] = AnswerBasis(opened=self._state.rounds[index], plan=plan_of(self._state, admit))

    def _close_round(self, index: int, closing: e.Release | e.Lost) -> None:
        basis = self._basis.pop(closing.admit)
        try:
            self._shares.check(index, basis, closing, self._state)
        except Unavailable:
            raise
        except MusubiError as error:
            kind = closing.__struct_config__.tag
            raise ProofInvalid(f"Entry {index} ({kind}): {error.message}", index=index, rule=error.code) from None
        self.report.shares_checked = self._shares.checked

    def _ask_second_opinion(self, seen: SeenCheckpoint) -> None:
        if self._second.is_too_large:
            self.report.notes.append(f"No second opinion on the root: merkletools is asked up to {MAX_LEAVES} entries.")
        elif self._second.root() != seen.checkpoint.root:
            raise ProofInvalid("merkletools makes another root of the entries than the signed checkpoint says.")

    def report_fault(self, error: MusubiError) -> None:
        """Turn the first fault into the verdict, and keep the evidence where two signed notes contradict each other."""
        self.report.verdict = error.message
        self.report.rule = str(error.details.get("rule", error.code))
        index = error.details.get("index")
        self.report.first_fault = index if isinstance(index, int) else None
        evidence, smaller = error.details.get("evidence"), error.details.get("smaller")
        if isinstance(evidence, str):
            kept = self._memory.keep_evidence(parse_evidence(evidence.encode()))
            self.report.evidence += [str(kept)] if kept is not None else []
        if isinstance(smaller, str):
            aside = self._memory.set_aside(smaller.encode())
            if aside is not None:
                self.report.notes.append(
                    f"The smaller checkpoint is kept as {aside}. To see whether it belongs to this history, run "
                    f"'musubi audit LOG --compare {aside}' with a LOG that still has the larger tree."
                )

    def finish(self) -> None:
        """Write down the state of the books and drop what was kept for the audit only."""
        age = None if self.report.as_of is None else self._clock() - self.report.as_of
        if age is not None and age > FRESH_SECONDS:
            self.report.notes.append(
                f"The newest checkpoint that the log shows is of {say_age(age)} ago. What came since, if anything did, was not "
                "checked."
            )
        self._seen.close()
        self.report.kinds = {str(kind.__struct_config__.tag): count for kind, count in self._counts.items()}
        self.report.open_rounds = sorted(self._state.rounds)
        self.report.attested_stops = dict(sorted(self._state.attested_stops.items()))
        for policy in sorted(self._state.policies):
            account = self._state.accounts.get(life_account(policy))
            self.report.spent[policy] = account.spent if account else 0
            self.report.reserved[policy] = account.reserved if account else 0
