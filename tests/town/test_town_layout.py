"""Laying a town out happens whole or leaves a folder that the next try can use."""

import socket
from pathlib import Path

import pytest

from ledger.errors import NotFound, NotPermitted, Unavailable
from trust.client.place import Place
from trust.files.keys import read_secret
from trust.node.settings import LocalInterface, load_node_settings
from trust.town.layout import Layout, lay_out
from trust.town.loader import load_town
from trust.town.play_residents import seed_of
from trust.town.resident_places import lay_out_residents, resident_place
from trust.town.up import MOST_PORT, ports_for_pages, prepare

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


def test_each_holders_page_has_a_port_of_its_own_which_its_node_and_the_town_know(tmp_path: Path) -> None:
    layout = prepare(load_town(PAIR), tmp_path / "town", residents=5, port=None, with_pages=True)
    ports = layout.settings.page_ports
    assert list(ports) == [holder.alias for holder in layout.town.holders]
    assert len({layout.settings.port, layout.settings.witness_port, *ports.values()}) == 2 + len(ports)
    for holder, port in ports.items():
        assert load_node_settings(layout.node(holder)).local == LocalInterface(port=port)


def test_a_port_that_is_taken_is_no_holders_pages(pair: Layout) -> None:
    assert pair.settings.page_ports == {}  # unless pages are wanted
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        taken = other.getsockname()[1]
        ports = ports_for_pages(["east", "west"], (taken - 2, taken - 1), beside=True)
        last = ports_for_pages(["east"], (MOST_PORT - 1, MOST_PORT), beside=True)
    assert not {taken - 2, taken - 1, taken} & set(ports.values())
    assert len(set(ports.values())) == 2
    assert last["east"] < MOST_PORT
