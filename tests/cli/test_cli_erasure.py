"""Erasure in a town of real processes: signed by every holder's node, and a holder that is down is named."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ledger.errors import NotPermitted
from policies.pairwise_keys import pairwise_key
from tests.kit.towns.town_of_two import TownOfTwo, town_of_two
from tests.kit.waiting import until
from trust.audit.report import OK
from trust.cli import main
from trust.files.keys import read_secret
from trust.runtime.problems import kind_of
from trust.town.play_residents import seed_of


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path_factory.mktemp("erasure") / "pair") as made:
        yield made


def say(town: TownOfTwo, *words: object) -> str:
    """Run the command line in this process; return what it printed."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def resident(town: TownOfTwo, person: int, *words: object) -> Any:
    """Act as a resident of the town; return the JSON that is printed."""
    return json.loads(say(town, "resident", "--place", town.place(person), *words, "--json"))


def wait_until_gone(town: TownOfTwo, index: int) -> dict[str, Any]:
    """Wait until every holder has signed that an erased consent is gone."""
    seen: dict[str, Any] = {}

    def gone() -> bool:
        seen.update(resident(town, 0, "erased", index))
        return not seen["lagging"]

    until(gone, lambda: seen)
    return seen


def disk_of(folder: Path) -> bytes:
    """Return all bytes of a folder but the holder's own data."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "data"]
    return b"".join(path.read_bytes() for path in files)


def key_at(town: TownOfTwo, person: int, holder: str) -> bytes:
    """Return a resident's public key at a holder."""
    seed = seed_of(read_secret(town.layout.people / "seeds.key"), person)
    return bytes(pairwise_key(seed, holder).verify_key)


@pytest.mark.slow
def test_a_resident_erases_everything_and_every_holder_signs_that_it_is_gone(town: TownOfTwo) -> None:
    mine = resident(town, 3, "show")
    assert mine
    holders = {holder for consent in mine for holder in consent["holders"]}
    assert all(key_at(town, 3, holder) in disk_of(town.layout.node(holder)) for holder in holders)
    done = resident(town, 3, "erase", "--all")
    assert done["forgotten"]
    assert {each["index"] for each in done["erased"]} == {consent["index"] for consent in mine}
    for consent in mine:
        seen = wait_until_gone(town, consent["index"])
        assert seen["reason"] == "requested"
        assert seen["done_at"] >= seen["at"]
    assert resident(town, 3, "show") == []
    for holder in town.holders:
        assert key_at(town, 3, holder) not in disk_of(town.layout.node(holder))
    assert town.audit().verdict == OK


@pytest.mark.slow
def test_a_holder_that_is_down_is_named_until_it_has_signed(town: TownOfTwo, tmp_path: Path) -> None:
    lagging, other = town.holders
    town.processes.stop(lagging)
    consent = next(each for each in resident(town, 5, "show") if lagging in each["holders"])
    index = consent["index"]
    first, *others = [steward.alias for steward in town.town.stewards[: town.town.quorum]]
    signed = [word for each in others for word in ("--signature", _printed(town, tmp_path / each, index, each))]
    say(town, "erase", index, "--place", town.place(first), *signed)
    until(lambda: resident(town, 0, "erased", index)["holders"].get(other, 0) is not None)
    seen = resident(town, 0, "erased", index)
    assert (seen["reason"], seen["lagging"], seen["done_at"]) == ("authority", [lagging], None)
    town.processes.start_node(lagging)
    assert wait_until_gone(town, index)["lagging"] == []


@pytest.mark.slow
def test_anybody_hands_in_what_the_stewards_signed_and_nobody_else_orders_anything(
    town: TownOfTwo, tmp_path: Path
) -> None:
    index = resident(town, 7, "show")[0]["index"]
    stewards = [steward.alias for steward in town.town.stewards]
    partner = next(member.alias for member in town.town.with_role("partner") if member.alias not in stewards)
    refused = CliRunner().invoke(main, ["erase", str(index), "--place", str(town.place(partner))])
    assert refused.exit_code == kind_of(NotPermitted("")).exit_code
    assert "no steward" in refused.output
    assert all(each["ended_by"] is None for each in resident(town, 7, "show") if each["index"] == index)
    signed = [
        word
        for each in stewards[: town.town.quorum]
        for word in ("--signature", _printed(town, tmp_path / each, index, each))
    ]
    say(town, "erase", index, "--place", town.place(partner), *signed)
    assert resident(town, 7, "erased", index)["reason"] == "authority"


def _printed(town: TownOfTwo, path: Path, index: int, steward: str) -> Path:
    path.write_text(say(town, "erase", index, "--place", town.place(steward), "--print"))
    return path
