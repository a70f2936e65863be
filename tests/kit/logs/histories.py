"""Histories to try entries on: the hand-made town at each of its sizes, and whole snapshots of a state."""

import pickle
from functools import cache

from msgspec import structs

from policies.ledger_state import State
from policies.replay import MemoryConsents
from queries.replay import replay
from tests.kit.logs.log_builder import LogBuilder

Frozen = bytes


def freeze(state: State, seen: MemoryConsents) -> Frozen:
    """Return everything that a state and its consents hold, for comparing and for thawing."""
    sets = sorted(state.once_holders), sorted(state.erased)  # a set's own order is another in each copy
    return pickle.dumps((structs.replace(state, once_holders=set(), erased=set()), *sets, sorted(seen._seen)))


def thaw(frozen: Frozen) -> tuple[State, MemoryConsents]:
    """Return a state of one's own."""
    state, once_holders, erased, used = pickle.loads(frozen)  # noqa: S301 - we froze it ourselves
    state.once_holders, state.erased = set(once_holders), set(erased)
    seen = MemoryConsents()
    seen._seen.update(used)
    return state, seen


@cache
def town() -> tuple[list[bytes], list[Frozen]]:
    """Return the town's entries, and the state before each of them and after the last."""
    entries = LogBuilder().town().entries
    state, seen, sizes = State(), MemoryConsents(), []
    for index, data in enumerate(entries):
        sizes.append(freeze(state, seen))
        replay(state, index, data, seen)
    sizes.append(freeze(state, seen))
    return entries, sizes


def ready() -> LogBuilder:
    """Return a builder with members, a policy and three grants, and nothing asked yet."""
    builder = LogBuilder()
    builder.found()
    for number in range(3):
        builder.grant(number)
    return builder
