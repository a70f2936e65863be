"""A private key's file is nobody else's to read, is never overwritten, and is whole or not there."""

import os
import stat
from pathlib import Path

import pytest

from ledger.errors import Malformed, NotFound, NotPermitted
from trust.files.keys import new_key, read_key, read_secret, write_secret

SECRET = bytes(range(32))


def test_a_secret_reads_back_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "sign.key"
    write_secret(path, SECRET)
    assert read_secret(path) == SECRET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["sign.key"]


def test_a_loose_umask_does_not_loosen_a_secret(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_secret(tmp_path / "keys" / "sign.key", SECRET)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys" / "sign.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_a_secret_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "sign.key"
    write_secret(path, SECRET)
    with pytest.raises(NotPermitted) as refused:
        write_secret(path, bytes(32))
    assert read_secret(path) == SECRET
    assert [entry.name for entry in tmp_path.iterdir()] == ["sign.key"]
    assert SECRET.hex() not in refused.value.message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o777])
def test_a_secret_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "sign.key"
    write_secret(path, SECRET)
    path.chmod(mode)
    with pytest.raises(NotPermitted, match="chmod 600"):
        read_secret(path)


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"xyz", b"00" * 31, b"00" * 33, b"0" * 63, "é".encode() * 32, b"\xff" * 64, b"0x" + b"00" * 31]
)
def test_a_file_that_holds_no_secret_is_malformed_and_not_shown(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "sign.key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(Malformed) as refused:
        read_secret(path)
    assert refused.value.message.startswith("The key file 'sign.key'")
    assert "00000000" not in refused.value.message


def test_a_missing_secret_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="musubi keys new"):
        read_secret(tmp_path / "sign.key")


def test_a_write_that_fails_leaves_no_file_and_no_part_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk says no at the moment of making it durable."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_secret(tmp_path / "sign.key", SECRET)
    assert list(tmp_path.iterdir()) == []


def test_two_new_keys_differ_and_each_reads_back(tmp_path: Path) -> None:
    first, second = new_key(tmp_path / "a.key"), new_key(tmp_path / "b.key")
    assert bytes(first) != bytes(second)
    assert bytes(read_key(tmp_path / "a.key")) == bytes(first)
