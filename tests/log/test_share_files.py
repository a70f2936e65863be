"""A copy of the log carries what the holders signed of each answer, so that a wrong sum is seen without the service."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ledger import jws
from ledger.errors import NotFound, Unavailable
from queries.rounds import messages as m
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import ASKED, key_of
from trust.audit.auditor import audit
from trust.audit.report import AuditReport
from trust.log.export import Exported, export_log
from trust.log.share_files import CopiedShares, shares_path
from trust.log.source import FolderLog

ME, OTHER = ASKED


class Service:
    """Gives a log's shares as a service does, but for what a test changes."""

    def __init__(self, log: LogBuilder) -> None:
        self.log = log
        self.fails_at: int | None = None

    def read_shares(self, admit: int) -> bytes:
        """Give a round's shares."""
        if admit == self.fails_at:
            raise Unavailable("The service is away.")
        if not self.log.shares.get(admit):
            raise NotFound("No such question.")
        return msgspec.json.encode({"shares": self.log.shares[admit], "members": {}})

    def carries(self) -> None:
        """Of all entries."""

    def ways(self) -> "list[Service]":
        """What it says it says always."""
        return [self]


class Copying:
    """A log, its service, and a copy that is exported from them."""

    def __init__(self, folder: Path, log: LogBuilder) -> None:
        self.log = log
        self.service = Service(log)
        self.folder, self.out = folder / "log", folder / "out"

    def export(self, *, with_shares: bool = True) -> Exported:
        """Publish and export."""
        self.log.publish(self.folder)
        shares = self.service if with_shares else CopiedShares(FolderLog(self.folder))
        return export_log(FolderLog(self.folder), self.log.trust, self.out, shares=shares)

    def audit(self) -> AuditReport:
        """Audit the copy, as somebody who has nothing else."""
        return audit(str(self.out), trust=self.log.trust, clock=lambda: self.log.at + 5)


@pytest.fixture
def copying(tmp_path: Path) -> Copying:
    return Copying(tmp_path, LogBuilder().town())


def answered(copying: Copying) -> int:
    """Ask and answer once more; return the question's index."""
    admit = copying.log.admit()
    copying.log.release(admit)
    return admit


def test_every_sum_is_done_again_without_the_service(copying: Copying) -> None:
    answered(copying)
    done = copying.export()
    assert done.shares is not None
    assert (done.shares.copied, done.shares.lacking, done.shares.size) == (2, [], len(copying.log.entries))
    report = copying.audit()
    assert (report.verdict, report.shares_checked) == ("ok", 2)
    assert not any("Shares" in note for note in report.notes)


def wrong_sum(log: LogBuilder, admit: int) -> int:
    release = log.make_release(admit)
    return log.add(structs.replace(release, vector=[release.vector[0] + 1, *release.vector[1:]]))


def forged(log: LogBuilder, admit: int) -> int:
    good = log.make_shares(admit)
    share = jws.read_unverified(good[OTHER], m.Share)
    mine = structs.replace(share, vector=[number + 1_000 for number in share.vector])
    return log.release(admit, good | {OTHER: jws.sign(mine, key_of("operator"))})


def withheld(log: LogBuilder, admit: int) -> int:
    index = log.release(admit)
    del log.shares[admit]
    return index


def one_withheld(log: LogBuilder, admit: int) -> int:
    index = log.release(admit)
    del log.shares[admit][OTHER]
    return index


def others_shown(log: LogBuilder, admit: int) -> int:
    index = log.release(admit)
    log.shares[admit] = log.shares[admit] | {OTHER: log.shares[admit][ME]}
    return index


def lost_and_withheld(log: LogBuilder, admit: int) -> int:
    log.rules(2)
    index = log.lost(admit)
    log.shares[admit] = {}
    return index


LIES: dict[str, tuple[Callable[[LogBuilder, int], int], str, bool]] = {
    "a wrong sum": (wrong_sum, "do not add up", False),
    "a forged share": (forged, "not by the key", False),
    "shares withheld": (withheld, "not given", True),
    "one share withheld": (one_withheld, "not given", True),
    "others' shares shown": (others_shown, "not given", True),
    "a lost round's share withheld": (lost_and_withheld, "not given", True),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_an_answer_is_seen_in_a_copy_and_the_log_is_copied_all_the_same(
    name: str, copying: Copying
) -> None:
    lie, says, is_lacking = LIES[name]
    admit = copying.log.admit()
    index = lie(copying.log, admit)
    done = copying.export()
    assert done.shares is not None
    assert done.size == len(copying.log.entries)
    assert done.shares.lacking == ([admit] if is_lacking else [])
    report = copying.audit()
    assert report.first_fault == index
    assert says in report.verdict


def test_a_copy_without_shares_says_that_no_sum_was_done_again(copying: Copying) -> None:
    copying.export(with_shares=False)
    report = copying.audit()
    assert (report.verdict, report.shares_checked) == ("ok", 0)
    assert any("Shares not checked: the copy does not carry those of 1 answer" in note for note in report.notes)


def test_shares_are_added_to_a_copy_that_had_none_and_those_of_later_answers_to_one_that_had(copying: Copying) -> None:
    copying.export(with_shares=False)
    copying.export()
    assert copying.audit().shares_checked == 1
    answered(copying)
    copying.export(with_shares=False)
    report = copying.audit()
    assert (report.verdict, report.shares_checked) == ("ok", 1)
    assert any("those of 1 answer" in note for note in report.notes)
    done = copying.export()
    assert done.shares is not None
    assert done.shares.copied == 1
    assert copying.audit().shares_checked == 2
    again = copying.export()
    assert again.shares is not None
    assert again.shares.copied == 0


def test_a_copy_that_broke_off_says_nothing_wrong_and_the_next_one_ends_it(copying: Copying) -> None:
    copying.service.fails_at = answered(copying)
    with pytest.raises(Unavailable):
        copying.export()
    report = copying.audit()
    assert (report.verdict, report.shares_checked) == ("ok", 0)
    copying.service.fails_at = None
    copying.export()
    assert copying.audit().shares_checked == 2


def test_a_copy_can_be_copied_with_its_shares(copying: Copying, tmp_path: Path) -> None:
    admit = answered(copying)
    copying.export()
    first, second = FolderLog(copying.out), tmp_path / "second"
    export_log(first, copying.log.trust, second, shares=CopiedShares(first))
    assert (second / shares_path(admit)).read_bytes() == (copying.out / shares_path(admit)).read_bytes()
    assert (second / "shares" / "size").read_bytes() == (copying.out / "shares" / "size").read_bytes()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_byte_changed_in_the_shares_of_a_copy_is_noticed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where it is in the number of entries that they are said to be of, at least as shares that were not checked."""
    folder = tmp_path_factory.mktemp("copy")
    copying = Copying(folder, LogBuilder().town(6))
    answered(copying)
    copying.export()
    files = sorted(path for path in (copying.out / "shares").rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    changed = bytearray(path.read_bytes())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    report = copying.audit()
    if path.name == "size":
        assert report.verdict != "ok" or report.notes or int(changed) >= len(copying.log.entries)
    else:
        assert report.verdict != "ok"
        assert report.first_fault is not None
    path.unlink()
    assert copying.audit().verdict != "ok" or path.name == "size"
    shutil.rmtree(folder)
