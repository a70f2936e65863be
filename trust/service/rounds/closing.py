"""What closes a round: ``release``, ``refund`` or ``lost``, from what its participants said.

A round in which everybody sent a share is released, one in which everybody gave a word is refunded. What is left when
its ``last`` has come (``policies.admit_expiry``) is given up: nobody computes for it any more, so a share that lacks
will not come. Where no share is out at all, the words that lack are waited for a fortnight longer, for a charge that is
given back is worth a place: a firm's machine may be off for all of a long holiday.
"""

from typing import Any

from ledger import entries as e
from ledger import jws
from policies.admit_expiry import last_of
from policies.ledger_state import OpenRound, State
from policies.rules import LOST_ROUNDS
from queries.rounds.admission import plan_of
from queries.rounds.local import combine
from queries.rounds.messages import Share, token_sha256
from trust.client.paths import Step
from trust.runtime.clock import MAX_SKEW_SECONDS

WORDS_SECONDS = 14 * 86_400
"""How long after its ``last`` a round without any share is kept open for the words that would refund it."""

Said = dict[Step, dict[str, str]]


def make_closing(state: State, step: Step, index: int, opened: OpenRound, said: dict[str, str]) -> e.Closing | None:
    """Return what closes a round in which ``said`` is all that was said of a step, or None while somebody lacks."""
    if step == "countersign" or not all(holder in said for holder in opened.admit.participants):
        return None
    if step == "word":
        return e.Refund(at=0, admit=index, words=said)
    shares = [jws.read_unverified(token, Share, "share") for token in said.values()]
    vector = combine(plan_of(state, opened.admit), shares)
    return e.Release(at=0, admit=index, vector=vector, shares=_hashes(said))


def gives_up_at(opened: OpenRound, *, share_is_out: bool) -> int:
    """Return when an open round is given up (UTC seconds).

    A minute late: a node whose clock is behind ours may be sending what it computed in time.
    """
    last = last_of(opened.admit) + MAX_SKEW_SECONDS
    return last if share_is_out else last + WORDS_SECONDS


def make_lost(state: State, index: int, opened: OpenRound, said: Said, now: int) -> e.Lost | None:
    """Return the entry that gives a round up, or None while it may still end otherwise."""
    shares, words = said["share"], said["word"]
    if state.rules < LOST_ROUNDS or now < gives_up_at(opened, share_is_out=bool(shares)):
        return None
    silent = sorted(set(opened.admit.participants) - set(shares) - set(words))
    return e.Lost(at=0, admit=index, shares=_hashes(shares), words=dict(words), silent=silent)


def closing_row(index: int, entry: e.Closing, at: int) -> dict[str, Any]:
    """Return what the table of rounds says of a round that the entry at ``index`` closed."""
    released, lost = isinstance(entry, e.Release), isinstance(entry, e.Lost)
    return {"closed_by": index, "closed_at": at, "released": released, "lost": lost}


def _hashes(shares: dict[str, str]) -> dict[str, str]:
    return {holder: token_sha256(token) for holder, token in shares.items()}
