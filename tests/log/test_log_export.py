"""An export is the log, file by file; it only grows; what does not fit is never copied over it."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ledger import entries as e
from ledger.errors import HistoryForked, MusubiError, OldView, ProofInvalid, SignatureInvalid
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.note import VerifierKey
from ledger.tlog.tiles import TileAppender, encode_bundle
from tests.kit.logs.small_trees import tiles_of_size
from trust.cli import main
from trust.log.export import Exported, export_log
from trust.log.pins import Trust
from trust.log.source import FolderLog
from trust.log.tile_folder import TileFolder

ORIGIN = "example.town/log"
KEY = SigningKey(bytes(32))
LOG_KEY = VerifierKey.ed25519(ORIGIN, bytes(KEY.verify_key))
PINS = Trust(
    origin=ORIGIN, log_key=str(LOG_KEY), genesis_sha256="00" * 32, witness_policy=f"log {LOG_KEY}\nquorum none\n"
)


class Log:
    """A log in a folder, which grows."""

    def __init__(self, folder: Path, name: str = "entry", key: SigningKey = KEY) -> None:
        self.folder = folder
        self.entries: list[bytes] = []
        self._name = name
        self._key = key
        self._appender = TileAppender()

    def grow(self, to: int) -> None:
        """Publish entries up to a size."""
        new = [f"{self._name} {n}".encode() for n in range(len(self.entries), to)]
        self.entries += new
        files = TileFolder(self.folder)
        files.write_tiles(self._appender.append(new))
        files.write_checkpoint(sign_checkpoint(Checkpoint(ORIGIN, to, self._appender.root()), self._key))
        files.close()

    def export(self, out: Path) -> Exported:
        """Export it."""
        return export_log(FolderLog(self.folder), PINS, out)


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@settings(max_examples=12)
@given(steps=st.lists(st.integers(1, 700), min_size=1, max_size=4))
def test_each_export_has_exactly_what_its_checkpoint_needs_byte_for_byte(
    steps: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log, out = Log(folder / "log"), folder / "out"
    for step in steps:
        before = len(log.entries)
        log.grow(before + step)
        done = log.export(out)
        assert (done.before, done.size) == (before, before + step)
        assert log.export(out) == Exported(done.size, done.size, 0, LOG_KEY, done.root)
        files = dict(TileAppender().append(log.entries))
        for tile in tiles_of_size(done.size):
            assert (out / tile.path).read_bytes() == files[tile]
        assert (out / "checkpoint").read_bytes() == (folder / "log" / "checkpoint").read_bytes()
    assert (out / "log.vkey").read_text() == f"{LOG_KEY}\n"
    assert (out / "witnesses.txt").read_text() == PINS.witness_policy
    shutil.rmtree(folder)


def test_only_what_is_new_is_written_again(tmp_path: Path) -> None:
    log, out = Log(tmp_path / "log"), tmp_path / "out"
    log.grow(700)
    log.export(out)
    kept = [out / "tile/0/000", out / "tile/entries/001", out / "tile/0/001"]
    times = [path.stat().st_mtime_ns for path in kept]
    log.grow(900)
    assert log.export(out).files == 2 * 2 + 1  # two places of leaves and bundles, one partial tile above
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_an_export_never_goes_back_and_never_takes_another_history(tmp_path: Path) -> None:
    log, out = Log(tmp_path / "log"), tmp_path / "out"
    log.grow(300)
    shutil.copytree(tmp_path / "log", tmp_path / "old")
    log.grow(400)
    log.export(out)
    before = tree(out)
    fork = Log(tmp_path / "fork", "another entry")
    fork.grow(500)
    stranger = Log(tmp_path / "stranger", key=SigningKey(bytes(31) + b"\1"))
    stranger.grow(500)
    cases: list[tuple[Path, type[MusubiError]]] = [
        (tmp_path / "old", OldView),
        (fork.folder, HistoryForked),
        (stranger.folder, SignatureInvalid),
    ]
    for folder, error in cases:
        with pytest.raises(error):
            export_log(FolderLog(folder), PINS, out)
        assert tree(out) == before


def test_a_damaged_file_is_not_exported_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    log, out = Log(tmp_path / "log"), tmp_path / "out"
    log.grow(300)
    log.export(out)
    log.grow(600)
    before = (out / "checkpoint").read_bytes()
    for name in ("tile/0/001", "tile/entries/001", "tile/entries/002.p/88", "tile/1/000.p/2"):
        path = tmp_path / "log" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
        with pytest.raises(ProofInvalid):
            log.export(out)
        assert (out / "checkpoint").read_bytes() == before
        path.write_bytes(whole)
    log.export(out)
    assert (out / "tile/entries/000").read_bytes() == encode_bundle(log.entries[:256])


def test_the_command_exports_a_towns_log_and_says_what_is_new(tmp_path: Path) -> None:
    service = tmp_path / "service"
    log = Log(service / "log")
    log.grow(300)
    genesis = e.Genesis(
        at=1,
        origin=ORIGIN,
        title={"en": "A town"},
        log_key=str(LOG_KEY),
        time_zone="UTC",
        stewards=[e.Steward(alias="city", title={"en": "City"}, key="00" * 32)],
        quorum=1,
    )
    (service / "service.toml").write_text(f'origin = "{ORIGIN}"\n')
    (service / "genesis.json").write_bytes(e.encode(genesis))
    (service / "witnesses.txt").write_text(PINS.witness_policy)
    command = ["log", "export", "--dir", str(service), str(tmp_path / "out")]
    first = CliRunner().invoke(main, command)
    assert first.exit_code == 0, first.output
    assert "300 are new" in first.output.replace("\n", "")
    assert "already" in CliRunner().invoke(main, command).output
    shutil.rmtree(service / "log")
    assert CliRunner().invoke(main, command).exit_code == 14
