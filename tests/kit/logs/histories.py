"""Histories to try entries on: the hand-made town at each of its sizes, and whole snapshots of a state."""

import copy
import pickle
from functools import cache

from msgspec import structs

from policies.ledger_state import State
from policies.replay import MemoryConsents
from queries.replay import replay
from tests.kit.logs.log_builder import LogBuilder

Frozen = bytes


def freeze(state: State, seen: MemoryConsents) -> Frozen:
    """Return everything that a state and its consents hold, for comparing and for thawing.

    Sets of names are in order: as they stand in memory, two that are equal may not be alike.
    """
    shell = copy.copy(state)
    for name in _sets(state):
        setattr(shell, name, sorted(getattr(state, name)))
    return pickle.dumps((shell, sorted(seen._seen)))


def _sets(state: State) -> list[str]:
    return [each.name for each in structs.fields(state) if each.default_factory is set]


def thaw(frozen: Frozen) -> tuple[State, MemoryConsents]:
    """Return a state of one's own."""
    state, used = pickle.loads(frozen)  # noqa: S301 - we froze it ourselves
    for name in _sets(state):
        setattr(state, name, set(getattr(state, name)))
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
