"""Whether an ``erase`` is right, as far as the ledger can tell. A wrong one changes nothing, and is a finding.

What it erases is a consent's record: that of a ``grant``, or of the ``revoke`` that ended one. By its reason:

- ``requested``: the resident signed for it. What was signed is destroyed with the record, because it would tie the
  consent to its key again, so nobody can check it later; the resident sees the entry, and can deny it.
- ``retention``: a consent is kept for some time after it ended. So it has ended: no such ``grant`` is in force.
- ``authority``: the stewards' quorum has signed an order for that very grant (``policies.consents.erasure``); the entry
  bears their ``approvals``. The record of what had ended that grant is erased with it, right behind and in the same
  second: one such entry follows from the order, and bears none. (Which grant it ended is not looked at; it is a
  ``revoke``, so nobody's consent depends on it.)

By rules before number 3 none of this was looked at, and no ``erase`` bore approvals.
"""

from msgspec import UnsetType

from ledger import entries as e
from ledger.canonical import encode
from ledger.errors import Malformed, MusubiError, ProofInvalid
from policies.consents.erasure import ErasureOrder
from policies.governance import check_quorum
from policies.in_force.chunk_tree import CHUNK_BITS, Chunks
from policies.ledger_state import State
from policies.rules import LIES_SEEN


def set_bit(bits: Chunks, index: int) -> None:
    """Note one ledger index."""
    number, bit = divmod(index, CHUNK_BITS)
    bits[number] = bits.get(number, 0) | 1 << bit


def has_bit(bits: Chunks, index: int) -> bool:
    """Return whether that ledger index was noted."""
    number, bit = divmod(index, CHUNK_BITS)
    return bool(bits.get(number, 0) >> bit & 1)


def check_erase(state: State, index: int, entry: e.Erase) -> None:
    """Raise ProofInvalid where the ``erase`` at ``index`` is wrong; Malformed where its rules know no approvals."""
    if state.rules < LIES_SEEN and not isinstance(entry.approvals, UnsetType):
        raise Malformed("it bears approvals, which its rules do not know.")
    if entry.index >= index or entry.index in state.erased:
        raise ProofInvalid("it erases a record that is not there, or was erased before.")
    if state.rules < LIES_SEEN:
        return
    is_grant = has_bit(state.grants, entry.index)
    if not is_grant and not has_bit(state.revokes, entry.index):
        raise ProofInvalid("it erases what is no consent's record.")
    if entry.reason == "retention" and is_grant and _is_in_force(state, entry):
        raise ProofInvalid("it says that the time of a consent is over which is in force.")
    if entry.reason == "authority":
        _check_order(state, index, entry, is_grant=is_grant)
    elif not isinstance(entry.approvals, UnsetType):
        raise ProofInvalid("it bears approvals, and names no authority.")


def ordered_at(index: int, entry: e.Erase) -> int | None:
    """Return the index behind which an order's second ``erase`` may come, once the one at ``index`` is found right."""
    return index if entry.reason == "authority" and not isinstance(entry.approvals, UnsetType) else None


def _is_in_force(state: State, entry: e.Erase) -> bool:
    today = state.day(entry.at)
    return any(each.holds(entry.index) and each.last_day(entry.index) >= today for each in state.in_force.values())


def _check_order(state: State, index: int, entry: e.Erase, *, is_grant: bool) -> None:
    if isinstance(entry.approvals, UnsetType):
        if is_grant or state.ordered != index - 1 or entry.at != state.at:
            raise ProofInvalid("it names an authority, and no order that the stewards have signed.")
        return
    if not is_grant:
        raise ProofInvalid("the stewards order that a consent is erased, and not what ended it.")
    order = ErasureOrder(log=state.log, index=entry.index)
    try:
        check_quorum("erasure", encode(order), entry.approvals, state.trust_root)
    except MusubiError as error:
        raise ProofInvalid(f"its order is not the stewards': {error.message}") from None
