"""A lying service, a failing disk and a crash, tried on a real node: what must not happen does not."""

import hashlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from msgspec import structs

from ledger import canonical
from ledger import entries as e
from policies.consents.attestation import make_challenge, make_link
from policies.pairwise_keys import pairwise_key, public_hex
from queries.rounds.local import MAX_NUMBER, combine
from queries.rounds.messages import Task
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.parties.attacked_node import NODE, OTHER, AttackedNode, entry_of
from tests.kit.waiting import until
from trust.node import links as links_module
from trust.node.books.books import Books
from trust.node.links import LinkDesk
from trust.runtime.clock import MAX_SKEW_SECONDS


@pytest.fixture
def service(tmp_path: Path) -> AttackedNode:
    return AttackedNode(LogBuilder(), tmp_path)


def test_one_admit_has_one_share_whatever_is_asked_and_whenever_the_node_is_killed(service: AttackedNode) -> None:
    for number in range(5):
        service.resident(number)
    admit = service.admit()
    service.countersigned(admit)
    service.deaf = True
    service.ask_share(admit)  # stored, and lost on the way
    service.deaf = False
    for _ in range(2):
        service.ask_word(admit)
        service.ask_share(admit)
        service.crash()
        service.read()
    assert {step for step, _ in service.said} == {"countersign", "share"}
    assert len({tuple(share.vector) for share in service.shares()}) == 1
    assert service.rounds.caught_up() == service.reader.size


def test_a_word_once_given_is_final(service: AttackedNode) -> None:
    service.resident(1)
    admit = service.admit()
    go = service.go(admit, [service.countersigned(admit), service.other(admit)])
    service.ask_word(admit)
    service.ask_share(admit, go)
    service.crash()
    service.read()
    service.ask_share(admit, go)
    assert service.shares() == []


def test_a_cap_that_the_resident_did_not_sign_counts_nobody_and_holds_up_nobody(service: AttackedNode) -> None:
    """The service writes a larger yearly cap into the ledger than the resident chose."""
    service.resident(2)
    seed = hashlib.sha256(b"resident 1").digest()
    service.books.link([(public_hex(pairwise_key(seed, NODE)), "1")])
    service.grant(
        service.consent(seed, yearly_cap=service.policy.yearly_caps[0]), yearly_cap=service.policy.yearly_caps[1]
    )
    admit = service.admit()
    assert service.countersigned(admit)
    assert service.counted(admit) == 1


def test_leaves_that_could_not_be_fetched_are_fetched_at_the_next_reading(service: AttackedNode) -> None:
    service.read()
    service.resident(1)
    service.refuses_leaves = True
    service.read()
    assert service.reader.lacks_leaves
    assert service.countersigned(service.admit()) == "", "nothing is begun without it"
    service.refuses_leaves = False
    assert service.countersigned(service.admit())


def test_a_leaf_that_was_withheld_is_asked_for_until_it_comes(service: AttackedNode) -> None:
    grant = service.resident(1)
    leaf = service.leaves.pop(grant)
    admit = service.admit()
    assert service.countersigned(admit) == ""
    assert service.reader.lacks_leaves
    service.leaves[grant] = leaf
    service.read()
    assert service.countersigned(admit)
    assert not service.reader.lacks_leaves


def test_a_leaf_that_never_comes_is_given_up_when_its_consent_has_ended(service: AttackedNode) -> None:
    grant = service.resident(1)
    del service.leaves[grant]
    service.read()
    service.builder.revoke(grant)
    service.read()
    service.read()
    assert not service.reader.lacks_leaves
    assert service.countersigned(service.admit())


def test_books_that_fail_in_the_middle_of_reading_are_caught_up_without_a_restart(
    service: AttackedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.read()
    service.resident(1)

    def full(consent: str, index: int) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(service.books, "add", full)
        with pytest.raises(sqlite3.Error):
            service.read()
    admit = service.admit()
    assert service.countersigned(admit)
    again = service.builder.add(service.builder.make_grant(0, consent=_consent(service, admit - 1)))
    service.read()
    assert not service.reader.state.in_force[_policy(service)].holds(again)  # it was used before: void for ever


def _consent(service: AttackedNode, index: int) -> str:
    entry = entry_of(service.builder, index)
    assert isinstance(entry, e.Grant)
    return entry.consent


def _policy(service: AttackedNode) -> str:
    return service.builder.state.policies["mobility"].sha256


def test_a_number_too_large_for_a_release_is_cut_off_and_the_round_can_end(
    service: AttackedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether there is an answer must not follow from the data."""
    service.resident(1)
    admit = service.admit()
    service.countersigned(admit)
    monkeypatch.setattr(
        service.views, "vector", lambda _hash, plan, _counted: [(-1) ** n * 2**62 for n in range(plan.length)]
    )
    service.ask_share(admit)
    (mine,) = service.shares()
    other = structs.replace(mine, from_=OTHER)
    vector = combine(service.reader.plan(service.reader.state.rounds[admit].admit), [mine, other])
    assert {abs(number) for number in vector} == {2 * (MAX_NUMBER // 2)}


def test_links_that_a_full_disk_refuses_are_taken_in_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, now = b"l" * 32, 1_790_000_000
    token = make_link(b"s" * 32, NODE, make_challenge(secret, "7", now), now)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "1.jsonl").write_bytes(canonical.encode({"customer": "7", "link": token}) + b"\n")
    books, failures = Books(tmp_path / "books.sqlite"), []

    def full(links: list[tuple[str, str]]) -> int:
        failures.append(links)
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(links_module, "RETRY_SECONDS", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(books, "link", full)
        desk = LinkDesk(tmp_path / "links", books, secret, NODE, lambda: now)
        desk.start()
        until(lambda: len(failures) > 1)
    until(lambda: not list((tmp_path / "links").iterdir()))
    desk.check_alive()
    assert books.linked(0) == [("7", 0)]
    desk.stop()


@pytest.mark.parametrize("taken", ["before the countersignature", "before the share"])
def test_a_node_restored_from_a_backup_sends_only_for_new_admits(
    service: AttackedNode, tmp_path: Path, taken: str
) -> None:
    """The service hides what it has of the old round, and plays the round again with the restored node."""
    service.resident(1)
    admit = service.admit()
    if taken == "before the share":
        service.countersigned(admit)
    backup = _backup(tmp_path)
    service.countersigned(admit)
    service.ask_share(admit)
    (sent,) = service.shares()
    _restore(service, backup, tmp_path)
    service.rounds.do(Task(step="countersign", admit=admit))
    service.ask_share(admit)
    service.ask_word(admit)
    service.builder.at += 700
    service.ask_share(admit)
    service.ask_word(admit)
    assert {step for step, _ in service.said} <= {"countersign"}  # a countersignature that the backup has, at most
    assert service.rounds.caught_up() == service.reader.size
    new = service.admit()
    assert service.countersigned(new)
    service.ask_share(new)
    assert [share.admit for share in service.shares()] == [new]
    assert sent.admit == admit


def test_the_first_question_after_a_restore_is_answered(service: AttackedNode, tmp_path: Path) -> None:
    """What counts is when the books were opened, and not when they were first asked for a round."""
    service.resident(1)
    _restore(service, _backup(tmp_path), tmp_path)
    service.builder.at += 2 * MAX_SKEW_SECONDS + 1
    first = service.admit()
    assert service.countersigned(first)
    service.ask_share(first)
    assert [share.admit for share in service.shares()] == [first]


def test_a_share_that_a_backup_still_has_to_send_holds_up_what_the_restored_node_signs(
    service: AttackedNode, tmp_path: Path
) -> None:
    """Below a size that it has signed nothing leaves it any more, so the share goes first."""
    service.resident(1)
    admit = service.admit()
    service.countersigned(admit)
    service.deaf = True
    service.ask_share(admit)
    _restore(service, _backup(tmp_path), tmp_path)
    service.builder.at += 700
    assert service.books.restored_at is not None
    assert service.rounds.caught_up() == admit
    service.deaf = False
    service.ask_share(admit)
    assert [share.admit for share in service.shares()] == [admit]
    assert service.rounds.caught_up() == service.reader.size


def test_books_that_stay_where_they_are_are_not_taken_for_restored_ones(service: AttackedNode) -> None:
    service.resident(1)
    for _ in range(3):
        service.crash()
        service.read()
    assert service.books.restored_at is None


def _restore(service: AttackedNode, backup: Path, folder: Path) -> None:
    """Start the node on a copy of its books from a backup."""
    service.books.close()
    service.views.close()
    for path in folder.glob("books.sqlite*"):
        path.unlink()
    shutil.copy(backup, folder / "books.sqlite")
    service.said.clear()
    service.open()
    service.read()


def _backup(folder: Path) -> Path:
    """Copy the books as they are now."""
    with sqlite3.connect(folder / "books.sqlite") as source, sqlite3.connect(folder / "backup") as copy:
        source.backup(copy)
    return folder / "backup"


@pytest.mark.parametrize("seconds_back", [59, 61])
def test_an_admit_backdated_by_more_than_a_minute_before_a_cosigned_checkpoint_is_refused(
    service: AttackedNode, seconds_back: int
) -> None:
    """The service holds an entry back, and writes a time into it at which the ledger was seen without it."""
    service.resident(1)
    true_time = service.builder.at + seconds_back + 1
    service.builder.publish(service.folder / "log", at=true_time)  # the witnesses' clocks go on; nothing is written
    service.offset = seconds_back + 1
    service.reader.read()
    admit = service.admit()  # at the next second by the service's word
    assert entry_of(service.builder, admit).at == true_time - seconds_back
    assert bool(service.countersigned(admit)) == (seconds_back <= 60)


def test_the_first_books_of_all_copied_over_their_own_inode_are_noticed(tmp_path: Path) -> None:
    """File systems give a freed inode to the next file, so that the inode alone tells nothing."""
    path = tmp_path / "books.sqlite"
    books = Books(path)
    backup = _backup(tmp_path)
    books.close()
    with path.open("r+b") as file:  # the same inode
        file.truncate()
        file.write(backup.read_bytes())
    os.removexattr(path, "user.musubi.books")  # as a new file has none
    assert Books(path, lambda: 5).restored_at == 5
