"""Redoing the sum of one answer from the holders' signed shares, which the service publishes beside the log.

A service gives them at ``GET /v1/rounds/<admit>/shares``, a copy of the log carries them in ``shares/``
(``trust.log.share_files``). Each token's SHA-256 is the one that the ``release`` names; each is signed with a key that
the holder had in the ledger while the round was open, from the ``admit`` to the ``release`` (a holder may change its
key in between); each is a share for that very ``admit`` (by index and by hash) and all are for one and the same
transcript; and their sum is the released vector (``queries.rounds.local``).

What a copy does not carry is not checked, and counted. What it says that it carries and does not is a fault, as it is
where a service does not give it.
"""

from msgspec import Struct

from ledger import entries as e
from ledger.errors import NotFound, ProofInvalid
from ledger.second_reads import read_in_turn
from policies.ledger_state import OpenRound, State
from queries.question.plan import Plan
from queries.rounds.local import ClosedRound, check_shares
from trust.client.service_shares import ServiceShares
from trust.log.share_files import CopiedShares, SharesSource, decode_shares
from trust.log.source import FolderLog, HttpLog, StaticLog


class AnswerBasis(Struct, frozen=True, kw_only=True):
    """What a ``release`` is checked against: its round and its plan."""

    opened: OpenRound
    plan: Plan

    def check(self, closing: e.Release | e.Lost, tokens: dict[str, str], state: State) -> None:
        """Check the shares that an entry names, in the state right after it.

        Raises ProofInvalid, SignatureInvalid or Malformed for the first thing wrong.
        """
        closed = ClosedRound(log=state.log, admit=closing.admit, admit_sha256=self.opened.entry_sha256, plan=self.plan)
        keys = {alias: state.keys_since(alias, closing.admit) for alias in closing.shares}
        check_shares(closed, closing, tokens, keys)


class ShareAudit:
    """Checks what a log's place has of shares, answer by answer, and counts."""

    def __init__(self, log: StaticLog | FolderLog) -> None:
        self.checked = 0
        """How many answers' shares were added up, or looked at where a round was lost."""
        self.unchecked = 0
        """How many the copy does not carry."""
        self._source: SharesSource = ServiceShares(log) if isinstance(log, HttpLog) else CopiedShares(log)
        self._carried: int | None = -1

    def check(self, index: int, basis: AnswerBasis, closing: e.Release | e.Lost, state: State) -> None:
        """Check the shares that the entry at ``index`` names, in the state right after it.

        Raises ProofInvalid, SignatureInvalid or Malformed for the first thing wrong that stays so; Unavailable.
        """
        if not closing.shares:
            return

        def read(way: SharesSource) -> bool:
            if not self._is_carried(index, way):
                return False
            try:
                tokens = decode_shares(way.read_shares(closing.admit))
            except NotFound:
                raise ProofInvalid("the signed shares that the answer was summed from are not given.") from None
            basis.check(closing, tokens, state)
            return True

        if read_in_turn(self._source.ways(), read):
            self.checked += 1
        else:
            self.unchecked += 1

    def _is_carried(self, index: int, way: SharesSource) -> bool:
        """Whether the copy says that it carries the shares of an entry; what is read in doubt is asked anew."""
        if self._carried == -1 or way is not self._source:
            self._carried = way.carries()
        return self._carried is None or index < self._carried
