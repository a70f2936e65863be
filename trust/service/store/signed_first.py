"""Signatures are checked before the one writing transaction begins.

All acts wait for one another. Whoever has no key of this town must not take the time of those who have: what a
message's signature says is looked at by the state as it is known, before the act takes its turn. Inside its
transaction the act looks again, at the state that it changes; there it meets only what some member did sign.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from ledger import jws
from ledger.errors import MusubiError, NotPermitted
from policies.ledger_state import State
from trust.service.store.store import Store

T = TypeVar("T")


class FromMember(Protocol):
    """A signed message that names its sender."""

    @property
    def from_(self) -> str:
        """The alias of the member who says it."""


S = TypeVar("S", bound=FromMember)


async def look_first(store: Store, check: Callable[[State], T]) -> T:
    """Return what ``check`` makes of the state as it is known; raise what it raises.

    Where another process has appended meanwhile, what would be refused is looked at again with that taken in. Raises
    Unavailable while the state is being rebuilt.
    """
    try:
        return check(store.state)
    except MusubiError:
        if store.databases.sqlite or await store.committed_size() <= store.size:
            raise
    await store.follow()
    return check(store.state)


def signed_by_member(state: State, token: str, type_: type[S], what: str) -> S:
    """Return a message that a member signed with any key that it ever had: whether that one counts is looked at later.

    Raises Malformed, SignatureInvalid, or NotPermitted for whoever never was a member.
    """
    claimed = jws.read_unverified(token, type_, what)
    keys = [bytes.fromhex(each.key) for each in reversed(state.member_keys.get(claimed.from_, []))]
    if not keys:
        raise NotPermitted("The message is not from a member of this town.")
    return jws.verify_any(token, keys, type_, what)
