"""A state that was kept and read again is the one that the replay gives, and goes on as that one does."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs

from ledger.errors import BudgetExceeded, Malformed, ProofInvalid
from policies.kept_state import KeptState, decode_kept, encode_kept, keep_state, state_of
from policies.ledger_state import State
from policies.replay import MemoryConsents
from policies.rules import NEWEST_RULES, REPLACING
from queries.replay import replay
from tests.kit.logs.histories import thaw, town
from tests.kit.logs.log_builder import LogBuilder

DAYS = ("2026-11-21", "2027-12-31", "2028-03-31")


def plain(value: Any) -> Any:
    """Return everything that a value holds, however deep, with nothing that only saves time."""
    if isinstance(value, Struct):
        return type(value), {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return type(value), [(plain(key), plain(each)) for key, each in _ordered(value)]
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "__dict__"):
        return type(value), {name: plain(each) for name, each in vars(value).items() if name != "_kept"}
    return value


def _ordered(value: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """In order where keys are chunks' numbers: what came first there says nothing."""
    yield from sorted(value.items()) if all(isinstance(key, int) for key in value) else value.items()


def again(state: State) -> State:
    """Keep a state and read it."""
    return state_of(decode_kept(encode_kept(keep_state(state)), KeptState))


def goes_on_alike(one: State, other: State, entries: list[bytes], seen: MemoryConsents) -> None:
    """Replay the rest of a history on both, and compare what they say after each entry."""
    theirs = copy.deepcopy(seen)
    for data in entries:
        found = []
        for state, used in ((one, seen), (other, theirs)):
            try:
                replay(state, state.size, data, used)
                found.append("")
            except ProofInvalid as error:
                found.append(error.message)
        assert found[0] == found[1]
        assert plain(one) == plain(other)
        assert encode_kept(keep_state(one)) == encode_kept(keep_state(other))
        for sha256 in one.versions:
            for day in DAYS:
                roots = {each.in_force[sha256].root(day, 1_000, each.size) for each in (one, other)}
                assert len(roots) == 1


@pytest.mark.parametrize("size", range(len(town()[0]) + 1))
def test_what_was_kept_at_any_size_of_the_town_is_the_replays_state_and_goes_on_like_it(size: int) -> None:
    entries, sizes = town()
    state, seen = thaw(sizes[size])
    kept = keep_state(again(state))
    data = encode_kept(kept)
    restored = state_of(kept)
    assert plain(restored) == plain(state)
    goes_on_alike(restored, state, entries[size:], seen)
    assert encode_kept(kept) == data  # what was kept stays as it is


ACTS = st.lists(st.sampled_from(["grant", "revoke", "admit", "release", "refund", "replace", "erase"]), max_size=14)


@given(ACTS, st.integers(0, 30), st.integers(1, NEWEST_RULES))
def test_what_was_kept_of_any_history_is_the_replays_state_and_goes_on_like_it(
    acts: list[str], size: int, rules: int
) -> None:
    builder = history(acts, rules)
    size = min(size, len(builder.entries))
    state, seen = State(), MemoryConsents()
    for index, data in enumerate(builder.entries[:size]):
        replay(state, index, data, seen)
    restored = again(state)
    assert plain(restored) == plain(state)
    goes_on_alike(restored, state, builder.entries[size:], seen)


def history(acts: list[str], rules: int) -> LogBuilder:
    """Play acts, as far as they can be."""
    builder = LogBuilder()
    builder.found(rules=rules)
    for number, act in enumerate(acts):
        state = builder.state
        grants = [i for each in state.in_force.values() for i in range(state.size) if each.holds(i)]
        opened = sorted(state.rounds)
        match act:
            case "grant":
                builder.grant(number + 10)
            case "revoke" if grants:
                builder.revoke(grants[-1])
            case "replace" if grants and state.rules >= REPLACING:
                builder.replace([grants[0]], builder.make_grant(number + 10))
            case "admit":
                with suppress(BudgetExceeded):
                    builder.admit(builder.ask())
            case "erase" if grants:
                builder.add(builder.make_erase(grants[0]))
            case "release" if opened:
                builder.release(opened[0])
            case "refund" if opened:
                builder.refund(opened[-1])
    return builder


def test_every_field_of_a_state_is_kept() -> None:
    assert [each.name for each in structs.fields(State)] == [each.name for each in structs.fields(KeptState)]
    assert all(each.required for each in structs.fields(KeptState))


def test_bytes_that_are_not_exactly_a_kept_state_are_refused() -> None:
    data = encode_kept(keep_state(thaw(town()[1][-1])[0]))
    fields = msgspec.msgpack.decode(data)
    wrong = [data[:-1], data + b"\0", b"", b"\xc1", *(msgspec.msgpack.encode(fields | each) for each in LIES)]
    wrong += [msgspec.msgpack.encode({k: v for k, v in fields.items() if k != name}) for name in fields]
    for each in wrong:
        with pytest.raises(Malformed):
            state_of(decode_kept(each, KeptState))


LIES: list[dict[str, Any]] = [
    {"more": 1},
    {"size": "1"},
    {"policies": {"rides": "00" * 32}},
    {"grants": [[0, bytes(513)]]},
    {"grants": [[-1, b"\1"]]},
    {"once_holders": [1]},
]
