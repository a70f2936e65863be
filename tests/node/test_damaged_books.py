"""One damaged value, in any column of the node's books: the node goes on, and says nothing twice.

The tables and columns are those of the file itself, so that a new one is looked at too.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger import entries as e
from ledger.errors import BudgetExceeded, Unavailable
from policies.pairwise_keys import pairwise_key, public_hex
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.parties.attacked_node import NODE, AttackedNode
from tests.kit.towns.residents import seed_of
from trust.node.books.aged_leaves import AGED_LEAVES_SCHEMA
from trust.node.books.books import _SCHEMA, Books
from trust.node.books.charged_rounds import CHARGED_ROUNDS_SCHEMA, DataCharge
from trust.node.books.seals import UNSEALED
from trust.node.books.start_snapshots import START_SNAPSHOTS_SCHEMA

pytestmark = pytest.mark.slow
WAYS = ("a low bit", "a high bit", "cut short")
PEOPLE = 4


def lived_in(folder: Path) -> tuple[AttackedNode, dict[str, int]]:
    """Return a node with something in every table, and the rounds by what it did in them."""
    node = AttackedNode(LogBuilder(), folder)
    grants = [node.resident(number) for number in range(PEOPLE)]
    node.grant(node.consent(seed_of(PEOPLE), dated=False))  # void
    twice = [node.grant(node.consent(seed_of(PEOPLE + 1))) for _ in range(2)]
    node.builder.revoke(twice[0])
    node.read()
    node.books.link([(public_hex(pairwise_key(seed_of("new device"), NODE)), "2")])  # the old key is replaced
    node.builder.add(e.Erase(at=node.builder.now(), index=grants[3], reason="requested"))
    done = {}
    done["sent"] = node.admit()
    node.countersigned(done["sent"])
    node.ask_share(done["sent"])
    done["word"] = node.admit()
    node.countersigned(done["word"])
    node.ask_word(done["word"])
    done["countersigned"] = node.admit()
    node.countersigned(done["countersigned"])
    node.books.catch_up(done["sent"])
    node.read()
    node.reader.keep_start()
    return node, done


def columns() -> Iterator[Any]:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA + AGED_LEAVES_SCHEMA + CHARGED_ROUNDS_SCHEMA + START_SNAPSHOTS_SCHEMA)
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        for table in [*tables, "seals"]:
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")] or ["of", "id", "sum"]
            yield from (pytest.param(table, name, id=f"{table}.{name}") for name in names)


def damage(path: Path, table: str, column: str, way: str, which: int) -> bool:
    """Change one row's value at rest, past the books' own triggers; return whether there was one to change."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA ignore_check_constraints=ON")
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        rows = [row[0] for row in db.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL")]
        if which >= len(rows):
            return False
        value = rows[which]
        new: int | bytes
        if isinstance(value, int):
            to, new = "?", value ^ {"a low bit": 1, "a high bit": 1 << 40, "cut short": 1 << 3}[way]
        else:
            data = value if isinstance(value, bytes) else value.encode()
            middle = len(data) // 2
            bit = {"a low bit": 1, "a high bit": 128, "cut short": 0}[way]
            new = data[:middle] + (bytes([data[middle] ^ bit]) + data[middle + 1 :] if bit else b"")
            to = "?" if isinstance(value, bytes) else "CAST(? AS TEXT)"
        db.execute(f"UPDATE OR REPLACE {table} SET {column} = {to} WHERE {column} = ?", (new, value))
        db.commit()
    return True


@pytest.mark.many(4)
@pytest.mark.parametrize(("table", "column"), list(columns()))
def test_a_damaged_value_in_the_books_is_as_good_as_lost(tmp_path: Path, table: str, column: str) -> None:
    seen = False
    for which, way in enumerate(WAYS):
        folder = tmp_path / str(which)
        folder.mkdir()
        node, done = lived_in(folder)
        before = {share.admit: tuple(share.vector) for share in node.shares()}
        assert set(before) == {done["sent"]}
        node.books.close()
        node.views.close()
        if not damage(folder / "books.sqlite", table, column, way, which):
            continue
        seen = True
        node.open()
        goes_on(node, done, before)
        node.views.close()
        node.books.close()
    assert seen, "nothing stands there: the node has to be lived in more"


def goes_on(node: AttackedNode, done: dict[str, int], before: dict[int, tuple[int, ...]]) -> None:
    """Start the node, do what it is asked again, and let a new question in."""
    node.offset = 0
    node.read()
    for admit in done.values():
        node.countersigned(admit)
        node.ask_share(admit)
        node.ask_word(admit)
    after = {(share.admit, tuple(share.vector)) for share in node.shares()}
    assert {vector for admit, vector in after if admit == done["sent"]} == {before[done["sent"]]}  # never a second one
    assert done["word"] not in {admit for admit, _ in after}  # what it gave its word for never leaves
    steps = {step for step, token in node.said if step == "word"}
    assert steps
    node.books.erase([])
    assert node.books.unsaid() is not None
    node.rounds.caught_up()
    # what is left of the links are true ones, each customer's own; a lost one is linked anew
    linked = dict(node.books.linked(0))
    assert set(linked) <= {str(number) for number in range(PEOPLE)}
    node.builder.at += 600  # past whatever the books may count as restored
    fresh = node.admit()
    assert node.countersigned(fresh)
    node.ask_share(fresh)
    assert fresh in {share.admit for share in node.shares()}


def test_books_that_cannot_be_read_as_a_whole_are_told_so(tmp_path: Path) -> None:
    path = tmp_path / "books.sqlite"
    Books(path).close()
    with path.open("r+b") as file:
        file.write(b"\x00" * 64)
    with pytest.raises(Unavailable, match="musubi restore"):
        Books(path)


def test_what_is_written_is_sealed_in_every_table_but_those_named(tmp_path: Path) -> None:
    node, _ = lived_in(tmp_path)
    node.books.close()
    node.views.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "books.sqlite")) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
            (seals,) = db.execute("SELECT count(*) FROM seals WHERE of = ?", (table,)).fetchone()
            assert seals == (0 if table in UNSEALED else rows)


def change(path: Path, what: str) -> None:
    """Change rows past the books' own triggers, as a flipped bit does."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        assert db.execute(what).rowcount
        db.commit()


@pytest.mark.parametrize(
    "what", ["void = 'consent-stalf'", "void = NULL", "shown_at = shown_at + 64", "outlived = NULL"]
)
def test_no_damage_makes_an_old_copy_count(tmp_path: Path, what: str) -> None:
    node = AttackedNode(LogBuilder(), tmp_path)
    node.resident(0)
    node.books.link([(public_hex(pairwise_key(seed_of(1), NODE)), "1")])
    consents = [node.consent(seed_of(1)) for _ in range(3)]
    first = node.grant(consents[0])
    node.grant(consents[1])
    node.builder.revoke(first)
    node.grant(consents[2])
    node.read()
    node.books.close()
    node.views.close()
    change(tmp_path / "books.sqlite", f"UPDATE leaves SET {what}")
    node.open()
    assert node.counted(node.admit()) == 1


@pytest.mark.parametrize("what", ["UPDATE caps SET nano_rho = nano_rho + 4096", "DELETE FROM caps"])
def test_a_damaged_cap_is_not_raised_by_the_settings(tmp_path: Path, what: str) -> None:
    path = tmp_path / "books.sqlite"

    def charge(cap: int) -> list[DataCharge]:
        return [DataCharge(account="data/2026", account_cap=cap, nano_rho=90, in_ledger=0)]

    books = Books(path, lambda: 7)
    books.countersign(1, "ab" * 32, "token", charge(100))
    books.close()
    change(path, what)
    books = Books(path, lambda: 9)
    assert books.restored_at == 9
    with pytest.raises(BudgetExceeded):
        books.countersign(2, "cd" * 32, "token", charge(10_000))


@pytest.mark.parametrize(
    "what",
    ["UPDATE replaced SET slot = 7", "UPDATE replaced SET key_sha256 = zeroblob(32)", "DELETE FROM replaced"],
)
def test_a_replaced_key_does_not_come_back_by_damage(tmp_path: Path, what: str) -> None:
    path, old, new = tmp_path / "books.sqlite", "11" * 32, "22" * 32
    books = Books(path)
    books.link([(old, "customer")])
    books.link([(new, "customer")])
    books.close()
    change(path, what)
    for _ in range(2):
        books = Books(path)
        assert books.link([(old, "customer"), (old, "another")]) == 0
        books.close()


def test_a_table_that_gets_another_column_keeps_its_rows_and_is_sealed_anew(tmp_path: Path) -> None:
    path = tmp_path / "books.sqlite"
    books = Books(path, lambda: 7)
    books.countersign(5, "ab" * 32, "token", [DataCharge(account="account", account_cap=10, nano_rho=3, in_ledger=0)])
    books.send(5, "share")
    books.close()
    with contextlib.closing(sqlite3.connect(path)) as db:  # as a newer Musubi does
        db.execute("ALTER TABLE rounds ADD COLUMN later INTEGER")
        db.commit()
    for _ in range(2):
        books = Books(path, lambda: 9)
        assert books.round(5) is not None
        assert books.restored_at is None
        books.sent(5)
        books.close()
    found = Books(path).round(5)
    assert found is not None
    assert (found.state, found.token) == ("sent", "share")
