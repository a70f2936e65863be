"""The service's clock, held against others' before it stamps anything: entries stay, and time in them never goes back.

One entry stamped three hours ahead would stop all writing for three hours: nobody may write an earlier time after it,
and no reader takes a later one yet. So before a transaction that stamps an entry, this machine's clock is compared with

- **the witnesses' word**: when they last cosigned, and the seconds that have passed since (``Ticks``, which no setting
  of the clock moves). The word comes with each published checkpoint and is asked for afresh at the start and whenever
  there is a doubt (``trust.service.publish.time_keeper``); here is no network, only arithmetic. Where no word has come
  since the start, nothing is stamped;
- **the ledger's last entry**: where it is ahead, its time has to come first.

A minute either way is allowed (``MAX_SKEW_SECONDS``): within it an entry bears the last one's time, or ours if later.

**Whose word.** Those witnesses that agree with our clock must be a quorum of the policy, and more than those that do
not: then the word is the median of their times. Where those that do not agree are a quorum, and more, the word is the
median of all. Else nothing was said. So one witness whose clock is off, or that lies, neither stops the town nor moves
its time. A witness with two keys is one witness.

**Without witnesses** (or with ``quorum none``) nobody can be asked. Then our own clock's first time that is not behind
the ledger is the word, and the ticks hold it from there on. A clock that was wrong at the start is not noticed before
it is put right: that looks like a jump, and ends with a restart.

Where the clock does not agree with the word, reading goes on by the word: signed requests are held against it.
"""

from dataclasses import dataclass

from ledger.errors import ReadOnly
from ledger.notes.witness_policy import NO_WITNESS, WitnessPolicy
from trust.runtime.clock import MAX_SKEW_SECONDS, Clock, Ticks, system_clock, system_ticks

NO_WORD = "clock-unconfirmed"
AHEAD = "clock-ahead"
BEHIND = "clock-behind"
LOG_AHEAD = "log-ahead"

_HOW_TO = "See 'When the service does not start' in the documentation."
_SAYS = {
    NO_WORD: "The service's clock is not confirmed: too few witnesses have said what time it is.",
    AHEAD: "The service's clock is ahead by more than a minute; set it right.",
    BEHIND: "The service's clock is behind by more than a minute; set it right.",
}


@dataclass(frozen=True, slots=True)
class _Word:
    """It was ``time``, in whole seconds, when it was heard at a tick, or as much later as the answer took.

    So the time by it is never ahead of the true one.
    """

    time: int
    heard: float

    def now(self, ticks: float) -> int:
        """Return the time by it at a tick."""
        return self.time + int(max(0.0, ticks - self.heard))


class HeldClock:
    """A ``Clock`` that knows whether it may stamp. One for each process; it asks nobody by itself."""

    def __init__(
        self, clock: Clock = system_clock, ticks: Ticks = system_ticks, witnesses: WitnessPolicy | None = None
    ) -> None:
        self.ticks = ticks
        self._clock = clock
        self._witnesses = witnesses if witnesses is not None and witnesses.quorum != NO_WITNESS else None
        self._word: _Word | None = None
        self._agreed: _Word | None = None
        """The last word that agreed with our own clock."""

    def agreed(self) -> int:
        """Return the time that cosignatures are held against: ours as last agreed with, and the ticks since.

        Before they have, our own. Not by the word itself, which is the witnesses': one that lies would be right by it.
        And not by a clock that has been set wrong since: what was promised is published all the same.
        """
        return self._clock() if self._agreed is None else self._agreed.now(self.ticks())

    @property
    def needs_witnesses(self) -> bool:
        """Whether the time is the witnesses' to confirm."""
        return self._witnesses is not None

    @property
    def heard(self) -> float | None:
        """At which tick the last word was heard; None before the first."""
        return None if self._word is None else self._word.heard

    def __call__(self) -> int:
        """Return the time as far as it is known, in whole UTC seconds: our own, or by the word where they differ."""
        now = self._clock()
        if self._word is None or self._doubt(now) is None:
            return now
        return self._word.now(self.ticks())

    def off(self) -> int:
        """Return how many seconds our clock is ahead of the word (less than 0: behind it); 0 where there is none."""
        if self._word is None:
            return 0
        return self._clock() - self._word.now(self.ticks())

    def learn(self, times: dict[str, int], asked: float) -> None:
        """Take in what witnesses, by their names in the policy, say that the time is; ``asked`` is the tick before.

        When between asking and hearing it was said, nobody knows: only a time that agrees with our clock whenever that
        was, or never does, says anything. And nothing does that took longer than ``MAX_SKEW_SECONDS`` (the machine
        slept meanwhile).
        """
        heard = self.ticks()
        if self._witnesses is None or heard - asked > MAX_SKEW_SECONDS:
            return
        now = self._clock()
        then = now - int(heard - asked)
        latest, earliest = then + MAX_SKEW_SECONDS, now - MAX_SKEW_SECONDS
        agree = {name for name, time in times.items() if earliest <= time <= latest}
        others = {name for name, time in times.items() if not then - MAX_SKEW_SECONDS <= time <= now + MAX_SKEW_SECONDS}
        if self._is_word_of(agree, others):
            word = self._witnesses.median_of({name: times[name] for name in agree})
        elif self._is_word_of(others, agree):
            word = self._witnesses.median_of({name: times[name] for name in agree | others})
        else:
            return
        if word is not None:
            self._word = _Word(word, heard)
            self._agreed = self._word if abs(word - now) <= MAX_SKEW_SECONDS else self._agreed

    def _is_word_of(self, those: set[str], others: set[str]) -> bool:
        policy = self._witnesses
        if policy is None:
            return False
        witness_of = policy.witness_of()
        for_it, against = ({witness_of[name] for name in each} for each in (those, others))
        return policy.is_quorum(those) and len(for_it) > len(against)

    def reasons(self, last: int) -> list[str]:
        """Return why nothing is stamped behind an entry of the time ``last``; an empty list where nothing hinders."""
        now = self._clock()
        known = now if self._word is None else self._word.now(self.ticks())
        ahead = [LOG_AHEAD] if last - known > MAX_SKEW_SECONDS else []
        if self._word is None and self._witnesses is None and not ahead:
            self._word = _Word(now, self.ticks())
        doubt = self._doubt(now)
        return ahead if doubt is None else [doubt, *ahead]

    def _doubt(self, now: int) -> str | None:
        if self._word is None:
            return None if self._witnesses is None else NO_WORD
        off = now - self._word.now(self.ticks())
        if off > MAX_SKEW_SECONDS:
            return AHEAD
        return BEHIND if off < -MAX_SKEW_SECONDS else None

    def stamp(self, last: int) -> int:
        """Return the time for entries behind one of the time ``last``; raise ReadOnly where it is not sure."""
        error = self.read_only(last)
        if error is not None:
            raise error
        return max(self._clock(), last)

    def read_only(self, last: int) -> ReadOnly | None:
        """Return why nothing may be written behind an entry of the time ``last``, or None where something may."""
        reasons = self.reasons(last)
        if not reasons:
            return None
        until = last - MAX_SKEW_SECONDS
        says = [
            _SAYS.get(reason) or f"The ledger's last entry is of a time still to come ({last})." for reason in reasons
        ]
        text = " ".join(["Nothing was written; reading goes on.", *says, "It ends by itself.", _HOW_TO])
        return ReadOnly(text, reasons=reasons, **({"until": until} if LOG_AHEAD in reasons else {}))
