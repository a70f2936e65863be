"""What the clock may stamp: whatever it shows and whoever lies, no entry is ahead, and being right again is enough."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from nacl.signing import SigningKey

from ledger.errors import ReadOnly
from ledger.notes.note import VerifierKey
from ledger.notes.witness_policy import WitnessPolicy
from trust.runtime.clock import MAX_SKEW_SECONDS
from trust.service.store.held_clock import HeldClock

NOW = 1_790_000_000
HOUR = 3_600
NAMES = ("a", "b", "c")


def policy(quorum: str = "2", names: tuple[str, ...] = NAMES) -> WitnessPolicy:
    """Some witnesses, of whom a number must sign."""
    lines = []
    for number, name in enumerate(names):
        key = SigningKey(bytes([number + 1]) * 32).verify_key
        lines.append(f"witness {name} {VerifierKey.cosignature(f'{name}.example', bytes(key))} https://{name}.example")
    return WitnessPolicy.parse("\n".join([*lines, f"group q {quorum} {' '.join(names)}", "quorum q", ""]))


class Machine:
    """A machine whose clock can be set wrong, beside the true time."""

    def __init__(self, witnesses: WitnessPolicy | None) -> None:
        self.passed = 0.0
        self.wrong = 0
        self.held = HeldClock(lambda: self.true + self.wrong, lambda: self.passed, witnesses)

    @property
    def true(self) -> int:
        """The true time."""
        return NOW + int(self.passed)

    def hear(self, **off: int) -> None:
        """Hear witnesses, each with how many seconds its clock is off."""
        self.held.learn({name: self.true + each for name, each in off.items()}, self.passed)

    def reasons(self, last: int = NOW) -> list[str]:
        """Why nothing is stamped behind an entry of that time."""
        return self.held.reasons(last)


@pytest.mark.parametrize(
    ("wrong", "off", "reasons"),
    [
        (0, {}, ["clock-unconfirmed"]),
        (0, {"a": 0}, ["clock-unconfirmed"]),
        (0, {"a": 0, "b": 0}, []),
        (0, {"a": HOUR, "b": 0}, ["clock-unconfirmed"]),
        (0, {"a": HOUR, "b": 0, "c": 0}, []),
        (0, {"a": -HOUR, "b": 0, "c": 0}, []),
        (0, {"a": -HOUR, "b": HOUR, "c": 0}, []),
        (3 * HOUR, {"a": 0, "b": 0}, ["clock-ahead"]),
        (3 * HOUR, {"a": 3 * HOUR, "b": 0, "c": 0}, ["clock-ahead"]),
        (-HOUR, {"a": 0, "b": 0, "c": -HOUR}, ["clock-behind"]),
        (MAX_SKEW_SECONDS, {"a": 0, "b": 0}, []),
        (MAX_SKEW_SECONDS + 1, {"a": 0, "b": 0}, ["clock-ahead"]),
    ],
)
def test_two_of_three_witnesses_say_what_time_it_is_and_one_says_nothing(
    wrong: int, off: dict[str, int], reasons: list[str]
) -> None:
    machine = Machine(policy())
    machine.wrong = wrong
    machine.hear(**off)
    assert machine.reasons(NOW - 10 * HOUR) == reasons


def test_two_keys_of_one_witness_are_one_voice() -> None:
    """Quorum any: the one that lies with both its keys is not more than the one that does not."""
    keys = [bytes(SigningKey(bytes([n]) * 32).verify_key) for n in (1, 2, 3)]
    lines = [
        f"witness a {VerifierKey.cosignature('a.example', keys[0])}",
        f"witness a_too {VerifierKey.cosignature('a.example', keys[1])}",
        f"witness b {VerifierKey.cosignature('b.example', keys[2])}",
        "group q any a a_too b",
        "quorum q",
        "",
    ]
    machine = Machine(WitnessPolicy.parse("\n".join(lines)))
    machine.hear(a=HOUR, a_too=HOUR, b=0)
    assert machine.reasons() == ["clock-unconfirmed"]
    machine.hear(b=0)
    machine.hear(a=HOUR, a_too=HOUR, b=0)
    assert machine.reasons() == []


@pytest.mark.parametrize("wrong", [3 * HOUR, -3 * HOUR, 90, -90])
@pytest.mark.parametrize("witnesses", [policy(), None])
def test_a_clock_that_jumps_is_noticed_without_asking_anybody_and_forgotten_when_it_is_back(
    witnesses: WitnessPolicy | None, wrong: int
) -> None:
    machine = Machine(witnesses)
    machine.hear(a=0, b=0)
    assert machine.reasons() == []
    machine.passed += 86_400
    machine.wrong = wrong
    with pytest.raises(ReadOnly) as caught:
        machine.held.stamp(NOW)
    assert caught.value.details["reasons"] == ["clock-ahead" if wrong > 0 else "clock-behind"]
    assert abs(machine.held() - machine.true) <= 1, "reading goes on by the time that is known"
    machine.wrong = 0
    assert machine.held.stamp(NOW) == machine.true


@pytest.mark.parametrize("slept", [MAX_SKEW_SECONDS, MAX_SKEW_SECONDS + 1, 86_400])
def test_an_answer_during_which_the_machine_slept_does_not_make_a_right_clock_wrong(slept: int) -> None:
    machine = Machine(policy())
    machine.hear(a=0, b=0)
    asked, said = machine.passed, machine.true
    machine.passed += slept
    machine.held.learn(dict.fromkeys(NAMES, said), asked)
    assert machine.reasons() == []
    assert machine.held.stamp(NOW) == machine.true


@pytest.mark.parametrize("wrong", [65, -65])
@pytest.mark.parametrize("said", [0, 5, 10], ids="said after {} of 10 s".format)
def test_a_slow_answer_never_confirms_a_clock_that_is_off_by_more_than_a_minute(wrong: int, said: int) -> None:
    machine = Machine(policy())
    machine.wrong = wrong
    asked, time = machine.passed, machine.true + said
    machine.passed += 10
    machine.held.learn(dict.fromkeys(NAMES, time), asked)
    assert machine.reasons() != []
    machine.hear(a=0, b=0, c=0)
    assert machine.reasons() == ["clock-ahead" if wrong > 0 else "clock-behind"]


@pytest.mark.parametrize("lie", [HOUR, -HOUR])
def test_no_lie_of_all_witnesses_about_the_time_is_what_their_cosignatures_are_held_against(lie: int) -> None:
    machine = Machine(policy())
    machine.hear(a=lie, b=lie, c=lie)
    assert machine.held.agreed() == machine.true
    machine.hear(a=0, b=0)
    machine.passed += 100
    machine.hear(a=lie, b=lie, c=lie)
    assert machine.reasons() != []
    machine.wrong = lie
    assert machine.held.agreed() == machine.true


def test_an_entry_of_a_time_to_come_is_waited_for_and_no_longer_than_its_readers_do() -> None:
    machine = Machine(policy())
    machine.hear(a=0, b=0)
    last = NOW + 3 * HOUR
    error = machine.held.read_only(last)
    assert error is not None
    assert error.details == {"reasons": ["log-ahead"], "until": last - MAX_SKEW_SECONDS}
    machine.passed = last - MAX_SKEW_SECONDS - NOW
    assert machine.held.stamp(last) == last


def test_every_reason_is_named_at_once() -> None:
    machine = Machine(policy())
    machine.wrong = HOUR
    machine.hear(a=0, b=0)
    assert machine.reasons(NOW + 3 * HOUR) == ["clock-ahead", "log-ahead"]


def test_without_witnesses_a_clock_that_starts_behind_the_ledger_is_believed_only_once_it_has_come_up() -> None:
    machine = Machine(None)
    machine.wrong = -HOUR
    assert machine.reasons() == ["log-ahead"]
    machine.wrong = 0
    assert machine.held.stamp(NOW) == NOW


class Jumps(RuleBasedStateMachine):
    """A clock that is set and set again, witnesses that come, go and lie one at a time, and time that passes."""

    @initialize(quorum=st.sampled_from(["2", "all", "any"]))
    def begin(self, quorum: str) -> None:
        """Start a service, not yet confirmed."""
        self.machine = Machine(policy(quorum))
        self.last = NOW
        self.heard = False

    @rule(wrong=st.sampled_from([0, 0, 30, -30, 61, -61, 300, HOUR, -HOUR, 3 * HOUR, 10**9, -(10**9)]))
    def set_clock(self, wrong: int) -> None:
        """Set the clock wrong, or right."""
        self.machine.wrong = wrong

    @rule(seconds=st.sampled_from([0.4, 1.0, 59.0, 3_600.0, 90_000.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.machine.passed += seconds

    @rule(liar=st.sampled_from(NAMES), off=st.sampled_from([HOUR, -HOUR, 10**8, 61, -200]))
    def hear_with_a_liar(self, liar: str, off: int) -> None:
        """Hear all three; one of them lies, perhaps just as our clock does."""
        self.machine.hear(**{name: off if name == liar else 0 for name in NAMES})

    @rule(away=st.sets(st.sampled_from(NAMES), max_size=2))
    def hear(self, away: set[str]) -> None:
        """Hear those that are there, all honest."""
        self.machine.hear(**dict.fromkeys(set(NAMES) - away, 0))

    @invariant()
    def nothing_is_stamped_that_readers_would_not_take(self) -> None:
        """An entry's time never goes back and is at most a minute ahead of the true time."""
        if not hasattr(self, "machine"):
            return
        try:
            at = self.machine.held.stamp(self.last)
        except ReadOnly:
            return
        assert self.last <= at <= max(self.last, self.machine.true + MAX_SKEW_SECONDS)
        assert at >= self.machine.true - MAX_SKEW_SECONDS - 1
        self.last = at

    @precondition(lambda self: hasattr(self, "machine"))
    @rule()
    def once_it_is_right_again_writing_goes_on_at_once(self) -> None:
        """The clock is right, the witnesses are honest: whatever was before, the next entry is stamped."""
        self.machine.wrong = 0
        self.machine.hear(**dict.fromkeys(NAMES, 0))
        self.last = self.machine.held.stamp(self.last)


TestJumps: Any = Jumps.TestCase
