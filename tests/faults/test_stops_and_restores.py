"""Consents ended by whoever may end them: by the key, without it, after a restore; with the town's own commands."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ledger import entries as e
from policies.in_force.sets import indices_in_force
from policies.ledger_state import State
from policies.replay import MemoryConsents
from queries.replay import replay
from tests.kit.towns.town_of_two import TownOfTwo, town_of_two
from trust.cli import main
from trust.log.follower import LogFollower
from trust.log.source import HttpLog
from trust.runtime.problems import exit_code_of
from trust.service.settings import load_settings
from trust.service.upkeep.fsck.check import fsck

pytestmark = pytest.mark.slow
POLICY = "everyone"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path_factory.mktemp("stops") / "town") as made:
        yield made


def musubi(*arguments: object, code: int = 0) -> Result:
    """Run one command; check how it ended."""
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result


class Person:
    """A resident of the town, by number, at the command line."""

    def __init__(self, town: TownOfTwo, number: int) -> None:
        self.number = number
        self.place = town.place(number)

    def __call__(self, *words: object, code: int = 0) -> str:
        """Run one command of theirs; return what it printed."""
        return musubi("resident", "--place", self.place, *words, code=code).output

    def standing(self, policy: str = POLICY) -> list[int]:
        """Return one's own consents to a policy that are in force, as the service shows them."""
        shown = json.loads(self("show", "--json"))
        return [each["index"] for each in shown if each["ended_by"] is None and each["policy"] == policy]

    def grant(self) -> int:
        """Consent anew, in the place of what there is."""
        wide = ("--holder", "east", "--holder", "west", "--until", "2090-12-31", "--cap", "2000000000", "--yes")
        said = musubi("resident", "--place", self.place, "grant", POLICY, *wide, "--json")
        return int(json.loads(said.stdout)["index"])


def counted(town: TownOfTwo) -> list[int]:
    """Replay the ledger as a node does, and return the grants that it would count now."""
    log = HttpLog(town.layout.url)
    follower = LogFollower(log, town.client.trust.log_keys, town.client.trust.witnesses)
    state, seen = State(), MemoryConsents()
    for batch in follower.follow():
        for offset, data in enumerate(batch.entries):
            replay(state, batch.first + offset, data, seen)
    log.close()
    return indices_in_force(state.eligible(state.policies[POLICY].sha256, state.at, 0))


def test_a_person_without_a_device_is_stopped_by_the_provider_and_sees_who_did_it(town: TownOfTwo) -> None:
    person, provider = Person(town, 4), town.layout.identity()
    grant, *_ = person.standing()
    subject = musubi("play", "subject", person.number, "--dir", town.layout.folder).output.strip()
    where = ("--place", town.place(provider))
    other = musubi("play", "subject", 5, "--dir", town.layout.folder).output.strip()
    musubi("identity", "stop", grant, "--subject", other, *where, code=exit_code_of("consent-mismatch"))
    result = CliRunner().invoke(main, ["identity", "stop", str(grant), "--subject", "-", *map(str, where)], subject)
    assert result.exit_code == 0, result.output
    assert "you ended it for the person" in result.output
    musubi("identity", "stop", grant, "--subject", subject, *where, code=exit_code_of("already-ended"))
    town.wait_until_caught_up()
    shown = " ".join(person("show").split())
    assert f"Consent {grant}: '{provider}' stopped it for you on" in shown
    assert "Its signature was checked." in shown
    assert "That is final" in person("stopped", grant)
    report = town.audit()
    assert (report.verdict, report.attested_stops) == ("ok", {provider: 1})
    said = musubi("audit", town.layout.url, "--trust", town.layout.folder / "trust.json").output
    assert f"Ended by '{provider}' for residents without a key: 1 consents" in said


def test_stopping_a_policy_ends_what_stands_and_final_is_not_said_before(town: TownOfTwo) -> None:
    person = Person(town, 6)
    (first,) = person.standing()
    again = person.grant()
    assert person.standing() == [again], "it took the first one's place"
    town.wait_until_caught_up()
    told = " ".join(person("stopped", first).split())
    assert "final" not in told
    assert f"your consent {again} still counts you" in told
    assert f"you are still counted by {again}" in " ".join(person("show").split())
    assert json.loads(person("stopped", first, "--json"))["still_in_force"] == [again]
    (ended,) = json.loads(person("revoke", "--policy", POLICY, "--json"))["ended"]
    assert ended["grant"] == again
    assert not {first, again} & set(counted(town))
    person("revoke", "--policy", POLICY, code=exit_code_of("not-found"))
    person("revoke", code=2)
    town.wait_until_caught_up()
    for each in (first, again):
        assert "That is final" in person("stopped", each)


def test_a_seed_that_was_never_enrolled_is_told_so_and_whoever_has_left_that_they_have(
    town: TownOfTwo, tmp_path: Path
) -> None:
    stranger, pins = tmp_path / "stranger", town.layout.folder / "trust.json"
    musubi("place", "init", "--url", town.layout.url, "--pins", pins, "--resident", stranger)
    code = exit_code_of("not-enrolled")
    for words in (("show",), ("uses",), ("show", "--json"), ("revoke", 7), ("erase", "--all", "--yes")):
        assert "not enrolled" in musubi("resident", "--place", stranger, *words, code=code).output
    person = Person(town, 7)
    assert person.standing()
    person("erase", "--all", "--yes")
    assert "You have left this town" in person("show")
    assert json.loads(person("show", "--json")) == []
    assert "You have left this town" in person("erase", "--all", "--yes")  # its answer was lost
    assert "You have left this town" in person("uses", code=code)
    assert list((person.place / "own-copies").glob("*.json")) == [person.place / "own-copies" / "left.json"]
    shutil.copytree(person.place, tmp_path / "copy", ignore=shutil.ignore_patterns("own-copies"))
    assert "of whoever has left" in musubi("resident", "--place", tmp_path / "copy", "show", code=code).output


def test_what_was_agreed_to_since_the_last_backup_is_taken_back_from_the_device(
    town: TownOfTwo, tmp_path: Path
) -> None:
    person, second, service = Person(town, 8), Person(town, 11), town.layout.service
    musubi("backup", tmp_path / "backup", "--dir", service)
    since, kept = person.grant(), second.grant()  # each in the place of what there was
    leaving = Person(town, 10)
    left_behind = leaving.grant()
    town.wait_until_caught_up()
    assert {since, kept} <= set(counted(town))
    town.processes.stop("service")
    lost = tmp_path / "lost"
    service.rename(lost)
    service.mkdir()
    shutil.copytree(lost / "keys", service / "keys")
    shutil.copy(lost / "record-keys.sqlite", service)
    said = json.loads(musubi("restore", tmp_path / "backup", service, "--mirror", lost / "log", "--json").stdout)
    assert said["lost_records"] == [since, kept, left_behind]
    town.processes.start_service()
    town.processes.wait_for_port("service", town.layout.settings.port)
    for each, index in ((person, since), (second, kept)):
        assert each.standing() == [], "the ledger says that the one before was replaced, and not whose the new one is"
        assert f"Consent {index} to '{POLICY}' is kept by this device" in " ".join(each("show").split())
    other = Person(town, 9)
    assert "None of your consents" in other("revoke", since, code=exit_code_of("not-found"))
    ended = json.loads(person("revoke", since, "--json"))
    assert (ended["grant"], ended["doubt"]) == (since, "")  # receipt and promise were checked
    assert isinstance(town.client.prove(ended["index"]).entry, e.Revoke)
    assert since not in counted(town)
    town.wait_until_caught_up()
    assert "That is final" in person("stopped", since)
    second("revoke", "--policy", POLICY)  # also what only the device knows of
    assert not {since, kept} & set(counted(town))
    mine = {each["index"]: each["ended_by"] for each in json.loads(person("show", "--json"))}
    assert mine[since] == ended["index"]
    person("erase", since, "--yes")
    town.wait_until_caught_up()
    assert "That is final" in second("stopped", kept)
    assert isinstance(town.end_of(town.ask()).entry, e.Release | e.Refund)
    leaving("erase", "--all", "--yes")
    assert left_behind not in counted(town)
    assert "Erased at the service" in leaving("erased", left_behind)
    assert town.audit().verdict == "ok"
    assert [each for each in fsck(load_settings(service)).findings if each.resource != f"records/{kept}"] == []
