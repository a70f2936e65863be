"""A node's own books: caps are kept, a round goes one way, and what was written outlives the process."""

import hashlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.errors import BudgetExceeded, RoundClosed
from trust.node.books.books import Books, ErasedConsent
from trust.node.books.charged_rounds import DataCharge, OwnRound

ADMITS = st.integers(0, 6)


def year_of(account: str) -> str:
    """The account of all sources in an account's year."""
    return f"data/{account.rpartition('/')[2]}"


def charges(nano_rho: int) -> list[DataCharge]:
    """A charge to one account."""
    return [DataCharge(account="data/rides/2026", account_cap=CAP, nano_rho=nano_rho, in_ledger=0)]


ACCOUNTS = st.sampled_from(["data/rides/2026", "data/rides/2027", "data/visits/2026"])
CAP = 100


def h32(text: str) -> str:
    """Return a hash in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Part:
    """This node's part in one round, in the model."""

    state: str
    token: str
    account: str = ""
    charge: int = 0


class NodeBooks(RuleBasedStateMachine):
    """Rounds, charges, consents, leaves and links at random, with the process lost at any moment."""

    @initialize()
    def begin(self) -> None:
        """Open new books."""
        # In memory where there is such a folder: a killed process loses nothing there either, and fsync costs nothing.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
        self.folder = Path(tempfile.mkdtemp(prefix="books-", dir=memory))
        self.images = 0
        self.books = Books(self.folder / "books.sqlite")
        self.parts: dict[int, Part] = {}
        self.consents: dict[str, int] = {}
        self.links: dict[str, str] = {}
        self.slots: dict[str, int] = {}
        self.caps: dict[str, int] = {}
        self.highest: dict[str, int] = {}
        """The highest cap that an account was charged under."""
        self.given = 0
        self.replaced: dict[str, int] = {}
        self.erased: set[int] = set()
        self.leaves: dict[int, tuple[str, str | None]] = {}
        self.caught_up = 0
        self.messages = 0

    def teardown(self) -> None:
        """Remove the books."""
        if hasattr(self, "books"):
            self.books.close()
            shutil.rmtree(self.folder)

    def _token(self) -> str:
        self.messages += 1
        return f"message {self.messages}"

    def _charged(self, account: str) -> int:
        counting = [part for part in self.parts.values() if part.state != "no-share"]
        return sum(part.charge for part in counting if account in (part.account, year_of(part.account)))

    @rule(
        admit=ADMITS,
        account=ACCOUNTS,
        charge=st.integers(0, 60),
        in_ledger=st.integers(0, 120),
        cap=st.sampled_from([CAP, CAP, CAP - 20, CAP + 50]),
        part=st.sampled_from([CAP, CAP // 2, CAP + 50]),
    )
    def countersign(self, admit: int, account: str, charge: int, in_ledger: int, cap: int, part: int) -> None:
        """A charge is taken once for a round, and only within the larger of what these books and the ledger say.

        It must fit the year of all sources, and its own source's part. The least cap that was charged under binds.
        """
        token = self._token()
        caps = {year_of(account): cap, account: part}
        caps = {each: min(said, self.caps.get(each, said)) for each, said in caps.items()}
        lefts = {each: max(0, caps[each] - max(self._charged(each), in_ledger)) for each in caps}
        how = (
            admit,
            h32(f"{admit}"),
            token,
            [
                DataCharge(account=each, account_cap=said, nano_rho=charge, in_ledger=in_ledger)
                for each, said in ((year_of(account), cap), (account, part))
            ],
        )
        if admit in self.parts:
            with pytest.raises(RoundClosed):
                self.books.countersign(*how)
        elif charge > min(lefts.values()):
            with pytest.raises(BudgetExceeded) as refused:
                self.books.countersign(*how)
            short = next(each for each, left in lefts.items() if charge > left)
            assert (refused.value.account, refused.value.asked, refused.value.left) == (short, charge, lefts[short])
        else:
            self.books.countersign(*how)
            self.caps |= caps
            self.highest |= {each: max(cap, self.highest.get(each, 0)) for each, cap in caps.items()}
            self.parts[admit] = Part("countersigned", token, account, charge)

    @rule(admit=ADMITS)
    def send(self, admit: int) -> None:
        """A share is stored once, after the countersignature, and never after the word."""
        token, part = self._token(), self.parts.get(admit)
        if part is not None and part.state == "countersigned":
            self.books.send(admit, token)
            part.state, part.token = "sending", token
        else:
            with pytest.raises(RoundClosed):
                self.books.send(admit, token)

    @rule(admit=ADMITS)
    def sent(self, admit: int) -> None:
        """That the service has the share is noted for a share on its way, and for nothing else."""
        self.books.sent(admit)
        part = self.parts.get(admit)
        if part is not None and part.state == "sending":
            part.state = "sent"

    @rule(admit=ADMITS)
    def give_word(self, admit: int) -> None:
        """The word is given before a share may have left, once, and gives this round's charge back."""
        token, part = self._token(), self.parts.get(admit)
        if part is None:
            self.books.give_word(admit, h32(f"{admit}"), token)
            self.parts[admit] = Part("no-share", token)
        elif part.state == "countersigned":
            self.books.give_word(admit, h32(f"{admit}"), token)
            part.state, part.token = "no-share", token
        else:
            with pytest.raises(RoundClosed):
                self.books.give_word(admit, h32(f"{admit}"), token)

    @rule(number=st.integers(0, 5), index=st.integers(0, 9))
    def read_consent(self, number: int, index: int) -> None:
        """A consent is new at the index that first used it, however often that is read; at any other it is void."""
        name = h32(f"consent {number}")
        first = self.consents.setdefault(name, index)
        assert self.books.add(name, index) == (first == index)

    @rule(size=st.integers(0, 50))
    def catch_up(self, size: int) -> None:
        """The caught-up size never goes back."""
        self.books.catch_up(size)
        self.caught_up = max(self.caught_up, size)

    @rule(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=3))
    def link(self, pairs: list[tuple[int, int]]) -> None:
        """One customer, one key; another one takes the old one's place and slot, and the old one never comes back."""
        new = 0
        for key, customer in pairs:
            name, who = h32(f"key {key}"), f"customer {customer}"
            if name in self.links or name in self.replaced:
                continue
            if who in self.slots:
                old = next(key for key, linked in self.links.items() if linked == who)
                self.replaced[old] = self.slots[who]
                del self.links[old]
            else:
                self.slots[who] = self.given
                self.given += 1
            self.links[name] = who
            new += 1
        assert self.books.link([(h32(f"key {key}"), f"customer {customer}") for key, customer in pairs]) == new

    @rule(place=st.integers(0, 9), policy=st.integers(0, 1), key=st.none() | st.integers(0, 4))
    def keep_leaf(self, place: int, policy: int, key: int | None) -> None:
        """The first leaf of an index stays."""
        row = (h32(f"policy {policy}"), None if key is None else h32(f"key {key}"))
        if place not in self.erased:
            self.leaves.setdefault(place, row)
        self.books.keep_leaves([(place, *row, b"leaf")])

    @rule(place=st.integers(0, 9))
    def erase(self, place: int) -> None:
        """A leaf goes for good, with its key's link if it was the last one; a slot is never given again.

        A replaced key's last leaf takes the link of the customer's present key, if that has no leaf either.
        """
        key = self.leaves.pop(place, ("", None))[1]
        self.erased.add(place)
        expected = []
        slot = self.replaced.get(key or "")
        present = next((each for each, who in self.links.items() if self.slots[who] == slot), key)
        if present in self.links and not {key, present} & {each[1] for each in self.leaves.values()}:
            expected = [self.slots.pop(self.links.pop(present))]
        before = self.books.version()
        with self.books.transaction():
            assert self.books.erase([ErasedConsent(index=place, entry=100 + place, entry_sha256=h32("e"))]) == expected
        assert (self.books.version() == before) or self.books.version()[0] > before[0]

    @rule(clean=st.booleans())
    def reopen(self, clean: bool) -> None:
        """Open the books again: after closing, or from what the disk holds at this very moment (as after SIGKILL)."""
        self.images += 1
        image = self.folder / f"image-{self.images}"
        image.mkdir()
        if clean:
            self.books.close()
        for name in ("books.sqlite", "books.sqlite-wal"):
            source = self._path.parent / name
            if source.exists():
                shutil.copy(source, image / name)
        if not clean:
            self.books.close()
        self.books = Books(image / "books.sqlite")

    @property
    def _path(self) -> Path:
        return self.folder / (f"image-{self.images - 1}" if self.images > 1 else "") / "books.sqlite"

    @rule()
    def lose_a_half_done_transaction(self) -> None:
        """What fails in the middle of several writes leaves none of them."""

        def half() -> None:
            with self.books.transaction():
                self.books.add(h32("lost"), self.messages)
                self.books.note("caught-up", b"1000000")
                self.books.keep_leaves([(10**6, h32("p"), None, b"x")])
                raise ZeroDivisionError

        self.messages += 1  # another index each time: had the last one stayed, this one would not be new
        with pytest.raises(ZeroDivisionError):
            half()
        with self.books.transaction():
            assert self.books.add(h32(f"kept {self.messages}"), self.messages)
        assert self.books.held(10**6, 10**6) == set()

    @invariant()
    def the_books_say_what_the_model_says(self) -> None:
        """Rounds, charges, links, leaves and the caught-up size; and no account is past its cap."""
        for admit in range(7):
            part = self.parts.get(admit)
            expected = part and OwnRound(admit_sha256=h32(f"{admit}"), state=part.state, token=part.token)  # type: ignore[arg-type]
            assert self.books.round(admit) == expected
        for account in ("data/rides/2026", "data/rides/2027", "data/visits/2026", "data/2026", "data/2027"):
            # a cap that is lowered later takes back nothing of what was charged before
            assert self.books.charged(account) == self._charged(account) <= self.highest.get(account, 0)
            assert self.books.account_cap(account) == self.caps.get(account)
        assert self.books.caught_up == self.caught_up
        linked = self.books.linked(0)
        assert sorted(customer for customer, _ in linked) == sorted(self.links.values())
        assert dict(linked) == self.slots
        assert self.books.version()[1] == self.given
        assert {each.index for each in self.books.unsaid()} == self.erased
        assert self.books.held(0, 9) == set(self.leaves)
        slot_of = dict(linked)
        for number in range(2):
            policy = h32(f"policy {number}")
            expected_slots = [
                (place, slot_of[self.links[key]] if key in self.links else -1)
                for place, (held, key) in sorted(self.leaves.items())
                if held == policy
            ]
            assert self.books.slots(policy) == expected_slots


TestNodeBooks = NodeBooks.TestCase
TestNodeBooks.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


def test_the_books_are_their_owners_to_read(tmp_path: Path) -> None:
    books = Books(tmp_path / "books.sqlite")
    books.countersign(1, h32("1"), "token", charges(1))
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    books.close()


def test_a_write_that_returned_is_on_the_disk(tmp_path: Path) -> None:
    """SQLite is told to make each commit durable, and to keep readers out of no one's way."""
    books = Books(tmp_path / "books.sqlite")
    assert books._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert books._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    books.close()


def test_a_state_that_is_none_is_never_written(tmp_path: Path) -> None:
    books = Books(tmp_path / "books.sqlite")
    with pytest.raises(sqlite3.IntegrityError):
        books._db.execute("INSERT INTO rounds VALUES (1, 'h', 'open', 't')")
    books.close()


def test_at_no_statement_are_a_charge_and_its_round_apart(tmp_path: Path) -> None:
    """What the disk holds before each single statement of a countersignature, a share and a word is looked at."""
    path = tmp_path / "books.sqlite"
    books = Books(path)
    images: list[Path] = []

    def copy(_: str) -> None:
        image = tmp_path / f"image-{len(images)}"
        image.mkdir()
        for file in tmp_path.glob("books.sqlite*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, image / file.name)
        images.append(image / "books.sqlite")

    books._db.set_trace_callback(copy)
    for admit in range(3):
        books.countersign(admit, h32("h"), "countersign", charges(1))
    books.send(1, "share")
    books.give_word(2, h32("h"), "word")
    books.give_word(3, h32("h"), "word")
    books.close()
    assert len(images) > 20
    seen = set()
    for image in [*images, path]:
        found = Books(image)
        parts = [part for part in map(found.round, range(4)) if part is not None]
        assert found.charged("data/rides/2026") == sum(part.state != "no-share" for part in parts)
        seen.add(tuple(part.state for part in parts))
        found.close()
    assert len(seen) == 7  # each of the six writes is seen before and after, and nothing in between


CHILD = """
import sys
from pathlib import Path
from trust.node.books.books import Books
from trust.node.books.charged_rounds import DataCharge
books = Books(Path(sys.argv[1]))
charge = DataCharge(account="data/rides/2026", account_cap=10**9, nano_rho=1, in_ledger=0)
for admit in range(100_000):
    books.countersign(admit, "00" * 32, f"countersign {admit}", [charge])
    if admit % 3 == 1:
        books.send(admit, f"share {admit}")
    if admit % 3 == 2:
        books.give_word(admit, "00" * 32, f"word {admit}")
    print(admit, flush=True)
"""


@pytest.mark.parametrize("after", [1, 7, 40])
def test_a_node_killed_while_writing_has_each_charge_with_its_countersignature(tmp_path: Path, after: int) -> None:
    """SIGKILL in the middle: what was said to be done is there whole, and the charges are those of the rounds."""
    path = tmp_path / "books.sqlite"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [int(child.stdout.readline()) for _ in range(after)]
    os.kill(child.pid, signal.SIGKILL)
    said += [int(line) for line in child.stdout.read().splitlines()]
    child.wait()
    child.stdout.close()
    books = Books(path)
    begun = [admit for admit in range(len(said) + 2) if books.round(admit) is not None]
    assert begun[: len(said)] == said
    assert len(begun) <= len(said) + 1
    counting = 0
    for admit in begun:
        own = books.round(admit)
        assert own is not None
        if admit in said:
            assert own.state == ("countersigned", "sending", "no-share")[admit % 3]
        counting += own.state != "no-share"
    assert books.charged("data/rides/2026") == counting
    books.close()


@pytest.mark.parametrize("after", ["a start", "a countersignature", "a share", "a word", "a caught-up size"])
def test_an_old_copy_written_over_the_books_is_noticed(tmp_path: Path, after: str) -> None:
    """As ``cp`` does it: the file, its inode and its mark stay, and what is in it is old."""
    path, copy = tmp_path / "books.sqlite", tmp_path / "copy"
    books = Books(path)
    if not os.listxattr(path):
        pytest.skip("this file system keeps no marks beside a file")
    for admit in (1, 2):
        books.countersign(admit, h32("admit"), "token", charges(1))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    if after == "a countersignature":
        books.countersign(3, h32("admit"), "token", charges(1))
    elif after == "a share":
        books.send(1, "share")
    elif after == "a word":
        books.give_word(1, h32("admit"), "word")
    elif after == "a caught-up size":
        books.catch_up(9)
    books.close()
    if after == "a start":
        Books(path).close()
    books = Books(path)
    assert books.restored_at is None
    books.close()
    path.write_bytes(copy.read_bytes())
    assert Books(path, lambda: 7).restored_at == Books(path, lambda: 9).restored_at == 7


@pytest.mark.parametrize("crash", ["before the mark", "after the mark"])
def test_a_crash_around_the_mark_is_not_taken_for_a_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    books = Books(tmp_path / "books.sqlite")
    put = os.setxattr

    def dies(*how: Any) -> None:
        if crash == "after the mark":
            put(*how)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "setxattr", dies)
        with pytest.raises(KeyboardInterrupt):
            books.catch_up(3)
    books.close()
    books = Books(tmp_path / "books.sqlite")
    assert (books.caught_up, books.restored_at) == (3, None)
