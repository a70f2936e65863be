"""Whom a node counts over many consents' lives, honest and not, beside a model that is as plain as can be."""

import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec import structs

from ledger import entries as e
from policies.consents.age import MAX_AGE_SECONDS
from policies.consents.bundle import Bundle
from policies.pairwise_keys import pairwise_key, public_hex
from tests.kit.amounts import amount
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.parties.attacked_node import NODE, AttackedNode
from tests.kit.towns.residents import seed_of
from tests.kit.towns.toy_town import scarce

CAPS = [5_000_000, 12_000_000, 1_000_000_000]
PEOPLE = 4


@dataclass
class Given:
    """One consent of the model."""

    person: int
    index: int
    cap: int
    first: int
    shown_at: int
    is_void: bool
    is_over: bool = False
    """Whether its person took something back, or replaced something else that stood, after they had signed it."""
    ended_at: int | None = None
    ended_by: int = -1
    is_erased: bool = False
    is_replaced: bool = False


@dataclass
class Copy:
    """A consent that was signed, and is not in the ledger yet."""

    person: int
    shown_at: int
    replaces: int | None
    bundle: Bundle


class Lives:
    """A service that writes whatever residents have signed, whenever it likes; the node reads after each entry."""

    def __init__(self, folder: Path, seed: int) -> None:
        budget = structs.replace(scarce().budget, per_window=10**12, life=10**12, per_partner=10**12)
        self.service = AttackedNode(LogBuilder(), folder, scarce(yearly_caps=CAPS, budget=budget))
        self.chance = random.Random(seed)
        self.given: list[Given] = []
        self.copies: list[Copy] = []
        self.spent: list[tuple[int, int]] = []

    def link(self) -> None:
        """Link everybody, also whose link went with the last of their consents that was erased."""
        self.service.books.link(
            (public_hex(pairwise_key(seed_of(person), NODE)), str(person)) for person in range(PEOPLE)
        )

    def standing(self, person: int) -> list[Given]:
        """Return a person's consents that have not ended, the newest last."""
        return [each for each in self.given if each.person == person and each.ended_at is None]

    def sign(self) -> Copy:
        """Have somebody sign a consent, mostly one that replaces what stands."""
        person, builder = self.chance.randrange(PEOPLE), self.service.builder
        shown_at = builder.at + self.chance.choice([-MAX_AGE_SECONDS - 10, 0, 1, 1, 1, 90])
        standing = self.standing(person)
        replaces = standing[-1].index if standing and self.chance.random() < 0.7 else None
        how = {"shown_at": shown_at, "yearly_cap": self.chance.choice(CAPS), "replaces": replaces}
        return Copy(person, shown_at, replaces, self.service.consent(seed_of(person), **how))

    def hand_in(self, copy: Copy) -> None:
        """Write a consent into the ledger, where there is a place for it."""
        old = next((each for each in self.standing(copy.person) if each.index == copy.replaces), None)
        if copy.replaces is not None and old is None:
            return
        index = self.service.grant(copy.bundle, ends=[] if old is None else [old.index])
        entry = e.decode(self.service.builder.entries[index])
        assert isinstance(entry, e.Grant)
        if old is not None:
            self.end(old, entry.at, index - 1)
            old.is_replaced = True
        known = [each for each in self.given if each.person == copy.person and each.ended_at is not None]
        last = max((each for each in known if not each.is_erased), key=lambda each: each.ended_by, default=None)
        is_older = last is not None and last.index != copy.replaces and copy.shown_at <= (last.ended_at or 0)
        is_over = any(
            copy.shown_at <= (each.ended_at or 0) for each in known if not (each.is_erased or each.is_replaced)
        )
        is_void = is_older or not -60 <= entry.at - copy.shown_at <= MAX_AGE_SECONDS
        first = index if old is None else old.first
        self.given.append(Given(copy.person, index, entry.yearly_cap, first, copy.shown_at, is_void, is_over))

    def end(self, one: Given, at: int, entry: int) -> None:
        """Note an end, and what it puts an end to besides: what the same person had signed by then."""
        one.ended_at, one.ended_by = at, entry
        for other in self.given:
            if other is not one and other.person == one.person and other.shown_at <= at:
                other.is_over = True

    def act(self) -> None:
        """Do one thing."""
        what, builder = (
            self.chance.choice(
                ["give"] * 4 + ["twice", "twice", "keep", "copy", "copy", "end", "end", "erase", "crash"]
            ),
            self.service.builder,
        )
        standing = [each for each in self.given if each.ended_at is None]
        left = [each for each in self.given if not each.is_erased]
        if what == "give":
            self.hand_in(self.sign())
        elif what == "twice":  # both of what was signed twice
            once = self.sign()
            again = self.service.consent(seed_of(once.person), shown_at=once.shown_at, yearly_cap=CAPS[-1])
            self.hand_in(once)
            self.hand_in(Copy(once.person, once.shown_at, None, again))
        elif what == "keep":
            self.copies.append(self.sign())
        elif what == "copy" and self.copies:
            self.hand_in(self.copies.pop(self.chance.randrange(len(self.copies))))
        elif what == "end" and standing:
            one = self.chance.choice(standing)
            entry = builder.revoke(one.index)
            self.end(one, builder.at, entry)
        elif what == "erase" and left:
            one = self.chance.choice(left)
            entry = builder.add(e.Erase(at=builder.now(), index=one.index, reason="requested"))
            if one.ended_at is None:
                self.end(one, builder.at, entry)
            one.is_erased = True
        elif what == "crash":
            self.service.crash()
        self.service.read()
        self.service.views.erase_rows(self.service.reader.take_erased_slots())

    def expected(self, admit: int, charge: int) -> int:
        """Ask each person whether they count: every good consent that stands must have room under its cap."""
        found = 0
        for person in range(PEOPLE):
            good = [each for each in self.standing(person) if not each.is_void and not each.is_over]
            used = [sum(nano for index, nano in self.spent if index > each.first) for each in good]
            rooms = [nano + charge <= each.cap for nano, each in zip(used, good, strict=True)]
            found += bool(rooms) and all(rooms)
        self.spent.append((admit, charge))
        return found


@pytest.mark.parametrize("seed", range(amount(2, 40)))
def test_a_node_counts_everybody_by_all_good_consents_that_stand_and_takes_part_whatever_is_void(
    tmp_path: Path, seed: int
) -> None:
    lives = Lives(tmp_path, seed)
    seen, voids, overs = set(), 0, 0
    for _ in range(12):
        for _ in range(5):
            lives.act()
        lives.link()
        admit = lives.service.admit()
        charge = lives.service.reader.state.rounds[admit].admit.charge
        assert lives.service.countersigned(admit)
        counted = lives.service.counted(admit)
        assert counted == lives.expected(admit, charge)
        seen.add(counted)
        voids = sum(each.is_void for each in lives.given)
        lives.service.builder.release(admit)
        lives.service.read()
        overs += any(each.is_over and each.ended_at is None and not each.is_void for each in lives.given)
    assert len(seen) > 1
    assert overs, "some consent stood that its person had signed before they took another back"
    assert voids
