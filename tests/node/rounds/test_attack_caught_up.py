"""What a node signed that it has caught up with holds for ever, whatever the service offers and the clocks say."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import jws
from policies.admit_expiry import LAST_SECONDS, last_of
from queries.rounds.messages import Countersign, Share, Task
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.parties.attacked_node import AttackedNode

EXPIRED = [("clock", 601), ("poll", 0), ("clock", 0)]
"""The question expires, the node signs past it, and its clock is put back."""
STEP = st.one_of(
    st.just(("admit", 0)),
    st.tuples(st.sampled_from(["countersign", "share", "share", "late", "word"]), st.integers(0, 3)),
    st.tuples(st.just("close"), st.integers(0, 3)),
    st.tuples(st.just("clock"), st.sampled_from([-700, -30, 0, 0, 30, 601, 5_000, 5_000 + LAST_SECONDS])),
    st.just(("poll", 0)),
    st.just(("poll", 0)),
    st.just(("crash", 0)),
    st.tuples(st.just("deaf"), st.sampled_from([0, 1])),
)
STEPS = st.tuples(
    st.lists(STEP, max_size=3), st.sampled_from([EXPIRED, EXPIRED, []]), st.lists(STEP, min_size=3, max_size=8)
).map(lambda parts: [*parts[0], *parts[1], *parts[2]])


class Attack:
    """A node, its lying service, and everything that ever left the node, with what it had signed before."""

    def __init__(self, folder: Path) -> None:
        self.service = AttackedNode(LogBuilder(), folder)
        self.service.resident(1)
        self.service.read()
        self.admits: list[int] = []
        self.signed = 0
        self.begun: dict[int, set[str]] = {}

    def do(self, what: str, number: int) -> None:
        """Do one thing to the node; what leaves it anew is checked by ``check``."""
        service, offset = self.service, self.service.offset
        if what in {"admit", "crash", "close"}:  # with a clock far behind the witnesses' nothing is read at all
            service.offset = max(offset, 0)
        if what == "admit" and len(self.admits) < 6:  # what the policy's budget is good for
            self.admits.append(service.admit())
        elif what == "clock":
            service.offset = number
            return
        elif what == "poll":  # as ``Node.turn`` does: on disk before it is signed
            size = service.rounds.caught_up()
            service.books.catch_up(size)
            self.signed = max(self.signed, service.books.caught_up)
            self.check_statement(size)
        elif what == "crash":
            service.crash()
            service.read()
        elif what == "deaf":
            service.deaf = bool(number)
        elif self.admits:
            admit = self.admits[number % len(self.admits)]
            open_ = admit in service.builder.state.rounds
            if what == "countersign":
                service.rounds.do(Task(step="countersign", admit=admit))
            elif what == "share" and open_:
                service.ask_share(admit)
            elif what == "late" and open_:
                service.ask_share(admit, late=True)
            elif what == "word" and open_:
                service.ask_word(admit)
            elif what == "close" and open_:
                service.builder.refund(admit)  # a lie: the node may never have given that word
                service.read()
        service.offset = offset

    def check_statement(self, size: int) -> None:
        """Each round of ours below a signed size is sent, given up, closed, or expired without us."""
        for admit, opened in self.service.reader.state.rounds.items():
            own = self.service.books.round(admit)
            if admit < size:
                done = own is not None and own.state in {"sent", "no-share"}
                begun_in_vain = own is not None and own.state == "countersigned"
                now = self.service.clock()
                assert (
                    done
                    or (own is None and now >= opened.admit.expires)
                    or (begun_in_vain and now >= last_of(opened.admit))
                )

    def check(self) -> None:
        """Nothing is begun below what was signed: a first countersignature or share is for an admit at it or above."""
        for admit in self.admits:
            own = self.service.books.round(admit)
            done = self.begun.setdefault(admit, set())
            if own is None:
                continue
            state = "sending" if own.state == "sent" else own.state
            if state not in done:
                done.add(state)
                assert state == "no-share" or admit >= self.signed, (admit, self.signed, state)
        for step, token in self.service.said:
            if step == "countersign":
                assert jws.read_unverified(token, Countersign).admit in self.begun
            elif step == "share":
                assert jws.read_unverified(token, Share).admit in self.begun


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_nothing_is_begun_below_a_size_that_was_signed(steps: list[tuple[str, int]]) -> None:
    """Old questions offered after the catch-up, clocks put back, crashes, lost lines: the word stands."""
    with tempfile.TemporaryDirectory() as folder:
        attack = Attack(Path(folder))
        try:
            for what, number in [("admit", 0), *steps]:
                attack.do(what, number)
                attack.check()
        finally:
            attack.service.books.close()
            attack.service.views.close()


def test_an_old_question_offered_after_the_catch_up_is_never_computed(tmp_path: Path) -> None:
    """Step by step: the question expires, the node signs past it, the clock goes back, the service offers it again."""
    attack = Attack(tmp_path)
    service = attack.service
    admit = service.admit()
    service.offset = 700
    attack.do("poll", 0)
    assert attack.signed > admit
    service.offset = 0
    for _ in range(2):
        assert service.countersigned(admit) == ""
        service.ask_share(admit)
        assert service.shares() == []
        service.crash()
        service.read()
    assert attack.signed == service.books.caught_up
    new = service.builder.admit(service.builder.ask())
    service.read()
    assert service.countersigned(new), "what comes after is taken part in"
