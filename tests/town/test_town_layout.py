"""Laying a town out happens whole or leaves a folder that the next try can use."""

from pathlib import Path

import pytest

from ledger.errors import NotPermitted, Unavailable
from trust.town.layout import Layout, lay_out
from trust.town.loader import load_town

OULAD = Path(__file__).parents[1] / "towns" / "oulad"


def test_a_town_whose_data_cannot_be_had_leaves_its_folder_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSUBI_DATA", str(tmp_path / "nothing"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="MUSUBI_DATA"):
            lay_out(load_town(OULAD), tmp_path / "town", residents=5, port=1024, witness_port=1025)
        assert list((tmp_path / "town").iterdir()) == []
    assert not Layout(tmp_path / "town").exists


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(NotPermitted, match="not empty"):
        lay_out(load_town(OULAD), tmp_path, residents=5, port=1024, witness_port=1025)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
