"""Laying a town out happens whole or leaves a folder that the next try can use."""

from pathlib import Path

import pytest

from ledger.errors import NotFound, NotPermitted, Unavailable
from trust.client.place import Place
from trust.files.keys import read_secret
from trust.town.layout import Layout, lay_out
from trust.town.loader import load_town
from trust.town.play_residents import seed_of
from trust.town.resident_places import lay_out_residents, resident_place
from trust.town.up import prepare

OULAD = Path(__file__).parents[1] / "towns" / "oulad"
PAIR = OULAD.with_name("pair")


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


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return lay_out(load_town(PAIR), tmp_path_factory.mktemp("pair"), residents=5, port=1024, witness_port=1025)


def test_every_steward_partner_and_identity_provider_has_a_place_and_a_mere_holder_none(pair: Layout) -> None:
    assert pair.aliases == ["citizens", "city", "east", "firms", "planner"]
    for alias in pair.aliases:
        place = pair.place(alias)
        assert (place.alias, place.service) == (alias, pair.url)
        assert bytes(pair.signing_key(alias)) == bytes(place.key)
    assert bytes(pair.signing_key("west")) == read_secret(pair.node("west") / "keys" / "node.key")
    with pytest.raises(NotFound):
        pair.signing_key("nobody")


def test_each_secret_lies_in_one_folder_but_the_key_of_a_holder_that_has_a_place_too(pair: Layout) -> None:
    where: dict[str, list[str]] = {}
    for path in sorted(pair.folder.rglob("*.key")):
        where.setdefault(path.read_text(), []).append(str(path.relative_to(pair.folder)))
    assert [files for files in where.values() if len(files) > 1] == [
        ["nodes/east/keys/node.key", "places/east/signing.key"]
    ]


def test_a_residents_place_is_made_once_and_has_the_seed_that_the_demo_plays_with(pair: Layout) -> None:
    lay_out_residents(pair)
    assert sorted(path.name for path in (pair.folder / "residents").iterdir()) == ["0", "1", "2", "3", "4"]
    place = resident_place(pair, 4)
    assert place.seed == seed_of(read_secret(pair.people / "seeds.key"), 4)
    (place.folder / "place.toml").unlink()  # a crash before the last file
    assert not Place(place.folder).is_there
    assert resident_place(pair, 4).seed == place.seed
    for person in (-1, 5):
        with pytest.raises(NotFound, match="numbered 0 to 4"):
            resident_place(pair, person)


def test_a_town_that_was_laid_out_without_places_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "town.json").write_text(f'{{"town":"{PAIR}","residents":5,"port":1024,"witness_port":1025}}')
    with pytest.raises(NotPermitted, match="older Musubi"):
        prepare(load_town(PAIR), tmp_path, residents=None, port=None)
