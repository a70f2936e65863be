"""Keys changed and a device replaced in a running town, with the town's own commands and real processes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ledger import entries as e
from ledger.notes.receipts import check_receipt
from tests.kit.towns.town_of_two import TownOfTwo, town_of_two
from trust.audit.auditor import audit
from trust.cli import main
from trust.files.keys import read_secret
from trust.runtime.problems import KINDS
from trust.town.up import client_of

WIDE = ("--holder", "east", "--holder", "west", "--until", "2090-12-31", "--cap", "2000000000", "--yes")
"""All that a consent can be: what is not said is not agreed to."""

pytestmark = pytest.mark.slow
PERSON = 3


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path_factory.mktemp("keys") / "town") as made:
        yield made


def musubi(*arguments: object, code: int = 0) -> Result:
    """Run one command; check how it ended."""
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result


def signed(town: TownOfTwo, command: str, body: Path) -> list[Path]:
    """Have the quorum of stewards sign, each by itself; return the files."""
    files = []
    for steward in town.town.stewards[: town.town.quorum]:
        files.append(body.with_name(f"{body.stem}.{steward.alias}.jws"))
        files[-1].write_text(musubi(command, "sign", body, "--place", town.place(steward.alias)).output)
    return files


def restart_witness(town: TownOfTwo) -> None:
    town.processes.stop("witness")
    town.processes.start_witness()
    town.processes.wait_for_port("witness", town.layout.settings.witness_port)


def test_the_logs_key_is_changed_without_stopping_the_service_and_everybody_follows(
    town: TownOfTwo, tmp_path: Path
) -> None:
    where, state = ("--place", town.place("planner")), tmp_path / "state"
    before = town.client.prove(1)
    assert audit(town.layout.url, trust=town.client.trust, state_folder=state).verdict == "ok"
    body = tmp_path / "log-key.json"
    keys = musubi("keys", "rotate-log", body, "--dir", town.layout.service).output.split()
    files = signed(town, "log-key", body)
    assert len(keys) == 2
    musubi("keys", "witness", "--dir", town.layout.witness, "--add", keys[0])
    restart_witness(town)
    musubi("log-key", "publish", body, *files[:1], *where, code=13)
    musubi("log-key", "publish", body, *files, *where)
    musubi("keys", "witness", "--dir", town.layout.witness, "--remove", town.client.trust.log_key)
    restart_witness(town)
    assert isinstance(town.end_of(town.ask()).entry, e.Release)  # the nodes have followed
    for trusted in (state, tmp_path / "fresh"):
        report = audit(town.layout.url, trust=town.client.trust, state_folder=trusted)
        assert report.verdict == "ok"
        assert report.algorithms == {"Ed25519": ["log", "town"], "ML-DSA-44": ["log", "town_pq"]}
    with client_of(town.layout) as device:  # with the pins of the town's first day
        assert device.prove(1).data == before.data
        history = device.log_keys()
    assert [str(key) for key in history.newest.all] == keys
    check_receipt(before.receipt, before.data, history, town.client.trust.witnesses)


def test_a_holder_changes_its_key_and_goes_on(town: TownOfTwo, tmp_path: Path) -> None:
    holder = town.holders[1]
    key = town.layout.node(holder) / "keys" / "node.key"
    public = musubi("keys", "new", tmp_path / "next.key").output.strip()
    body = tmp_path / "member.json"
    body.write_text(musubi("member", "change", holder, "--key", public, "--place", town.place("city")).output)
    admit = town.ask()
    musubi("member", "register", body, *signed(town, "member", body), "--place", town.place("city"))
    town.processes.stop(holder)
    key.unlink()
    shutil.move(tmp_path / "next.key", key)
    town.processes.start_node(holder)
    assert isinstance(town.end_of(admit).entry, e.Release | e.Refund)
    assert isinstance(town.end_of(town.ask()).entry, e.Release)
    assert town.audit().verdict == "ok"


def test_whoever_has_a_lost_device_can_do_nothing_and_the_new_one_agrees_anew(town: TownOfTwo, tmp_path: Path) -> None:
    where, pins = tmp_path / "new-device", town.layout.folder / "trust.json"
    old, new = ("resident", "--place", town.place(PERSON)), ("resident", "--place", where)
    policy = next(iter(town.client.policies()))
    musubi(*old, "grant", policy, *WIDE)
    standing = [each["index"] for each in json.loads(musubi(*old, "show", "--json").stdout) if each["ended_by"] is None]
    make = ("place", "init", "--url", town.layout.url, "--pins", pins, "--resident", where)
    musubi(*make)
    attestation = tmp_path / "attestation.jws"
    attestation.write_text(musubi("play", "identity", PERSON, where, "--dir", town.layout.folder).stdout)
    said = json.loads(musubi(*new, "lost-device", attestation, "--json").stdout)
    assert [each["grant"] for each in said["ended"]] == sorted(standing)
    assert len(list((where / "promises").glob("*.json"))) == len(standing)
    assert (where / "seed.key").stat().st_mode & 0o777 == 0o600
    linked = musubi("play", "holders", PERSON, where, "--dir", town.layout.folder).output
    assert all(holder in linked for holder in town.holders)
    code = next(kind.exit_code for error, kind in KINDS.items() if error.code == "not-permitted")
    for words in (("show",), ("grant", policy, *WIDE), ("revoke", standing[0])):
        assert "This device was reported lost" in musubi(*old, *words, code=code).output
    musubi(*make, code=code)  # no key file is ever overwritten
    granted = json.loads(musubi(*new, "grant", policy, *WIDE, "--json").stdout)["index"]
    mine = {each["index"]: each["ended_by"] for each in json.loads(musubi(*new, "show", "--json").stdout)}
    assert mine[granted] is None
    assert all(mine[index] is not None for index in standing)
    town.wait_until_caught_up()
    assert isinstance(town.end_of(town.ask()).entry, e.Release)
    assert town.audit().verdict == "ok"
    assert read_secret(where / "seed.key").hex() not in "".join(path.read_text() for path in town.layout.logs.iterdir())
