"""The command line as a user meets it: help with examples, errors in one sentence with their exit code, round trips."""

import contextlib
import json
import os
import pty
import re
import shutil
import socket
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ledger import canonical, errors
from ledger import entries as e
from ledger.notes.receipts import Receipt, check_receipt
from policies.policy_document import document_sha256
from queries.answers.uses import Stopped
from tests.kit.commands import commands_of
from tests.kit.towns.town_of_two import FOLDER, TownOfTwo, town_of_two
from tests.kit.towns.toy_town import PARTNER
from tests.kit.waiting import PATIENCE, until
from trust.cli import main
from trust.cli.steward.policy import read_policy
from trust.cli.terminal import nano
from trust.runtime.problems import KINDS, exit_code_of
from trust.town.up import free_ports

ROOT = Path(__file__).parents[2]
SQL = "SELECT COUNT(DISTINCT resident) AS people FROM everyone.people"


def musubi(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    words = [sys.executable, "-m", "trust.cli", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False, timeout=PATIENCE)


def run_here(*arguments: object) -> tuple[int, str, str]:
    """Run the command line in this process, which is quicker; return exit code, output and errors."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def done_well(*arguments: object) -> str:
    """Run the command line, expect that all went well, and return what it printed."""
    code, out, err = run_here(*arguments)
    assert code == 0, out + err
    return out


def refused(error: type[errors.MusubiError], *arguments: object) -> str:
    """Run the command line and expect one sentence and the exit code of an error; return the sentence."""
    code, out, err = run_here(*arguments)
    assert code == KINDS[error].exit_code, out + err
    (sentence,) = err.strip().splitlines()
    assert sentence.startswith("musubi: ")
    assert sentence.endswith((".", "?"))
    assert "Traceback" not in out + err
    return sentence


def at_a_terminal(words: list[object], answers: list[str]) -> str:
    """Run the command line at a terminal, and type these answers, one whenever it asks; return all that it showed."""
    here, there = pty.openpty()
    command = [sys.executable, "-m", "trust.cli", *map(str, words)]
    with subprocess.Popen(command, stdin=there, stdout=there, stderr=there, cwd=ROOT) as process:
        os.close(there)
        shown, left = b"", list(answers)
        with contextlib.suppress(OSError):  # a terminal whose other end is closed
            while part := os.read(here, 4_096):
                shown += part
                if left and shown.rstrip(b" ").endswith((b"]:", b"?:")):
                    os.write(here, left.pop(0).encode() + b"\n")
        process.wait(PATIENCE)
    os.close(here)
    assert not left
    return shown.decode()


# Help.


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command and group below a group, with the words that call it."""
    for name, command in commands_of(group).items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


COMMANDS = dict(every_command(main))


def test_all_promised_commands_are_there() -> None:
    promised = ["up", "demo", "serve", "node", "witness", "audit", "ask", "resident", "policy", "keys"]
    promised_below = {("resident", name) for name in ("grant", "revoke", "show", "uses", "in-force", "stopped")}
    promised_below |= {("policy", name) for name in ("check", "sign", "publish")}
    assert {(name,) for name in promised} | promised_below <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_commands_help_says_what_it_does_with_an_example(words: tuple[str, ...]) -> None:
    for option in ("--help", "-h"):
        code, out, _ = run_here(*words, option)
        assert code == 0
        assert "Example:" in out
        example = out.split("Example:")[1].strip().splitlines()[0]
        assert example.startswith("musubi " + words[0])
        assert all(word in example for word in words)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_is_for(words: tuple[str, ...]) -> None:
    options = [parameter for parameter in COMMANDS[words].params if isinstance(parameter, click.Option)]
    assert not [option.name for option in options if not option.help]


def test_who_names_no_place_is_told_which_option_is_missing() -> None:
    for words in (("resident", "show"), ("ask", SQL, "--epsilon", "0.1"), ("policy", "sign", "p.toml", "--log", "a/b")):
        code, _, err = run_here(*words)
        assert code == (14 if "sign" in words else 2), err
        assert ("--place" in err) == (code == 2)


def test_the_installed_command_and_the_module_are_the_same() -> None:
    installed = subprocess.run(
        [Path(sys.executable).parent / "musubi", "--help"], capture_output=True, text=True, check=False
    )
    assert installed.returncode == 0
    assert "musubi demo" in installed.stdout
    assert musubi("--version").stdout.startswith(("musubi", "python -m", "main", "__main__"))


# Errors that need no town.


def test_a_command_used_wrongly_ends_with_code_2() -> None:
    for words in (["ask"], ["nonsense"], ["up", "no/such/folder"], ["keys", "new"], ["audit"]):
        code, _, err = run_here(*words)
        assert code == 2
        assert "Error:" in err


def test_a_real_process_prints_an_error_on_standard_error_alone_and_ends_with_its_code(tmp_path: Path) -> None:
    done = musubi("keys", "show", tmp_path / "none.key")
    assert done.returncode == 14
    assert done.stdout == ""
    assert done.stderr.startswith("musubi: ")
    assert len(done.stderr.splitlines()) == 1


def test_with_json_an_error_is_the_problem_document(tmp_path: Path) -> None:
    done = musubi("ask", SQL, "--place", tmp_path, "--epsilon", "0.1", "--json")
    assert done.returncode == 14
    assert done.stdout == ""
    said = json.loads(done.stderr)
    assert (said["code"], said["status"], said["title"]) == ("not-found", 404, KINDS[errors.NotFound].title)


def test_an_error_is_a_problem_document_where_json_was_asked_for(tmp_path: Path) -> None:
    words = ["ask", SQL, "--place", tmp_path, "--epsilon", "0.1"]
    code, out, err = run_here(*words, "--json")
    assert (code, out) == (KINDS[errors.NotFound].exit_code, "")
    assert json.loads(err)["code"] == "not-found"
    assert json.loads(err)["detail"] in refused(errors.NotFound, *words)


def test_a_place_that_cannot_be_written_ends_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(errors.Unavailable, "keys", "new", tmp_path / "file" / "my.key")


def test_a_folder_without_a_town_is_not_found(tmp_path: Path) -> None:
    refused(errors.NotFound, "ask", SQL, "--place", tmp_path, "--epsilon", "0.1")
    refused(errors.NotFound, "resident", "--place", tmp_path, "show")
    refused(errors.NotFound, "serve", "--dir", tmp_path)
    refused(errors.NotFound, "node", "--dir", tmp_path)
    refused(errors.NotFound, "audit", tmp_path, "--state", tmp_path / "state")


def test_a_folder_that_describes_no_town_is_refused(tmp_path: Path) -> None:
    assert "town.toml" in refused(errors.Malformed, "up", tmp_path, "--dir", tmp_path / "made")
    assert "town.toml" in refused(errors.Malformed, "demo", "--town", tmp_path, "--dir", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_taken_port_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in (["up", FOLDER], ["demo", "--town", FOLDER]):
            sentence = refused(errors.Unavailable, *command, "--dir", tmp_path / "town", "--port", port)
            assert f"Port {port} is taken" in sentence
            assert "--port" in sentence
        assert not (tmp_path / "town").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "--dir" in refused(errors.NotPermitted, "up", FOLDER, "--dir", tmp_path, "--port", free_ports(None)[0])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# Keys.


@pytest.mark.parametrize("options", [[], ["--sealing"]], ids=["signing", "sealing"])
def test_a_new_key_file_is_its_owners_alone_and_is_never_overwritten(tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / "some" / "new.key"
    printed = done_well("keys", "new", path, *options).strip()
    assert re.fullmatch("[0-9a-f]{64}", printed)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    before = path.read_bytes()
    assert "never overwritten" in refused(errors.NotPermitted, "keys", "new", path, *options)
    assert path.read_bytes() == before
    assert printed.encode() not in before


def test_show_prints_the_public_key_that_new_printed(tmp_path: Path) -> None:
    printed = done_well("keys", "new", tmp_path / "a.key")
    assert done_well("keys", "show", tmp_path / "a.key") == printed


@pytest.mark.parametrize(
    ("content", "mode", "error"),
    [
        ("ab" * 32, 0o644, errors.NotPermitted),
        ("zz" * 32, 0o600, errors.Malformed),
        ("abcd", 0o600, errors.Malformed),
        ("", 0o600, errors.Malformed),
    ],
)
def test_a_key_file_that_is_none_or_open_to_others_is_refused_without_being_shown(
    tmp_path: Path, content: str, mode: int, error: type[errors.MusubiError]
) -> None:
    path = tmp_path / "a.key"
    path.write_text(content)
    path.chmod(mode)
    sentence = refused(error, "keys", "show", path)
    assert not content or content not in sentence


# Policies without a town.


def test_check_names_the_hash_that_consents_will_name() -> None:
    path = FOLDER / "policies" / "everyone.toml"
    assert done_well("policy", "check", path).split()[-1] == document_sha256(read_policy(path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('delta = "0.000001"', 'delta = "1"'),
        ('until = ["2028-03-31"', 'until = ["2028-03-30"'),
        ("rows_per_resident = 1", "rows_per_resident = -1"),
        ('holders = ["east", "west"]\npartners', 'holders = ["east"]\npartners'),
        ("version = 1", "version = 1\nsurprise = 1"),
        ("version = 1", "version = "),
    ],
)
def test_a_policy_with_a_fault_is_refused_and_signed_by_nobody(tmp_path: Path, old: str, new: str) -> None:
    text = (FOLDER / "policies" / "everyone.toml").read_text()
    assert old in text
    path = tmp_path / "everyone.toml"
    path.write_text(text.replace(old, new))
    refused(errors.Malformed, "policy", "check", path)
    done_well("keys", "new", tmp_path / "steward.key")
    how = ["--log", "musubi.test/pair", "--steward", "city", "--key", tmp_path / "steward.key"]
    refused(errors.Malformed, "policy", "sign", path, *how)


# With a running town.


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path_factory.mktemp("pair") / "town") as made:
        yield made


def ask(town: TownOfTwo, sql: str = SQL, *options: object, partner: str = PARTNER) -> list[object]:
    return ["ask", sql, "--place", town.place(partner), *options]


def resident(town: TownOfTwo, person: int, *words: object) -> list[object]:
    return ["resident", "--place", town.place(person), *words]


WIDE = ("--until", "2090-12-31", "--cap", "2000000000", "--yes")
"""The widest that the policy ``everyone`` gives: it is never taken for what was not said."""


def size(town: TownOfTwo) -> int:
    return town.client.get("/v1/caught-up", dict[str, int])["published"]


@pytest.mark.slow
def test_a_preview_past_the_budget_says_so(town: TownOfTwo) -> None:
    assert "It would be refused" in done_well(*ask(town, SQL, "--epsilon", "7", "--preview"))
    assert "It would be refused" not in done_well(*ask(town, SQL, "--epsilon", "0.1", "--preview"))


@pytest.mark.slow
def test_a_preview_shows_the_price_and_charges_nothing(town: TownOfTwo) -> None:
    before, entries = town.left("everyone"), size(town)
    offer = json.loads(done_well(*ask(town, SQL, "--epsilon", "0.1", "--preview", "--json")))
    assert offer["charge"] > 0
    assert float(offer["epsilon"]) <= 0.1
    assert offer["participants"] == town.holders
    assert offer["in_force"] == town.town.residents
    assert offer["bounding"]["rows_per_resident"] == 1
    said = done_well(*ask(town, SQL, "--epsilon", "0.1", "--preview"))
    assert "It would cost" in said
    assert f"It counts at most {town.town.residents:,} consents to this policy." in said
    assert "People: of each person, one record at each of 2 holders is used." in said
    assert (town.left("everyone"), size(town)) == (before, entries)


@pytest.mark.slow
def test_an_answer_as_json_has_its_cells_and_its_place_in_the_ledger(town: TownOfTwo) -> None:
    said = json.loads(done_well(*ask(town, SQL, "--epsilon", "0.2", "--json")))
    assert said["status"] == "released"
    assert not said["reused"]
    (cell,) = said["cells"]
    assert said["bounding"]["measures"] == [{"measure": "people", "column": "", "truth": "exact", "provided": []}]
    assert (cell["key"], cell["measure"]) == ([], "people")
    assert abs(cell["value"] - 2 * town.town.residents) <= 4 * cell["half_width"]  # each lives at both holders
    admit, release = (town.client.prove(said[name]).entry for name in ("admit", "closed_by"))
    assert isinstance(admit, e.Admit)
    assert isinstance(release, e.Release)
    assert (admit.charge, release.admit, release.vector) == (said["charge_nano_rho"], said["admit"], [cell["value"]])
    again = json.loads(done_well(*ask(town, SQL, "--epsilon", "0.2", "--json")))
    assert again["reused"]
    assert again["cells"] == said["cells"]
    fresh = json.loads(done_well(*ask(town, SQL, "--epsilon", "0.2", "--json", "--fresh")))
    assert not fresh["reused"]
    assert fresh["admit"] > said["admit"]


@pytest.mark.slow
def test_an_answer_for_people_shows_price_interval_receipt_and_what_is_left(town: TownOfTwo) -> None:
    out = done_well(*ask(town, SQL, "--epsilon", "0.15"))
    for part in ("Price: ρ", "people", "±", "Receipt: question at ledger index", "Left now:", "policy"):
        assert part in out


@pytest.mark.slow
def test_within_gives_an_interval_of_at_most_the_width_that_was_asked(town: TownOfTwo) -> None:
    said = json.loads(done_well(*ask(town, SQL, "--within", "people=±60", "--json")))
    assert 0 < said["cells"][0]["half_width"] <= 60


@pytest.mark.slow
def test_errors_of_a_question_are_one_sentence_with_their_code_and_change_nothing(town: TownOfTwo) -> None:
    entries, before = size(town), town.left("everyone")
    right = ["--epsilon", "0.1"]
    cases: list[tuple[type[errors.MusubiError], list[object]]] = [
        (errors.NotFound, ask(town, SQL, *right, partner="nobody")),
        (errors.QueryInvalid, ask(town, "DELETE FROM everyone.people", *right)),
        (errors.QueryInvalid, ask(town, "SELECT COUNT(*) AS n FROM everyone.people WHERE nonsense", *right)),
        (errors.QueryInvalid, ask(town, "SELECT shoe_size, COUNT(*) AS n FROM everyone.people GROUP BY 1", *right)),
        (errors.QueryInvalid, ask(town, "SELECT COUNT(*) AS n FROM everyone.read_csv('/etc/passwd')", *right)),
        (errors.PolicyNotCurrent, ask(town, "SELECT COUNT(*) AS n FROM nobody.people", *right)),
        (errors.PolicyNotCurrent, ask(town, "SELECT", *right)),
        (errors.Malformed, ask(town)),
        (errors.Malformed, ask(town, SQL, *right, "--within", "people=5")),
        (errors.Malformed, ask(town, SQL, "--within", "people")),
        (errors.Malformed, ask(town, SQL, "--within", "people=±0")),
        (errors.Malformed, ask(town, SQL, "--within", "people=±1.5")),
        (errors.QueryInvalid, ask(town, SQL, "--within", "shoes=±5")),
        *[(errors.QueryInvalid, ask(town, SQL, f"--epsilon={bad}")) for bad in ("0", "-1", "NaN", "1e9", "x")],
    ]
    wrong = []
    for error, words in cases:
        code, out, err = run_here(*words)
        if code != KINDS[error].exit_code or out or not re.fullmatch(r"musubi: [^\n]+\.\n", err):
            wrong.append((error.code, words[1:2] + words[6:], code, out, err))
    assert not wrong
    assert (size(town), town.left("everyone")) == (entries, before)


@pytest.mark.slow
def test_a_question_past_the_budget_ends_with_code_20_and_says_what_was_left(town: TownOfTwo) -> None:
    before = town.left("everyone")
    sentence = refused(errors.BudgetExceeded, *ask(town, SQL, "--epsilon", "7"))
    assert KINDS[errors.BudgetExceeded].exit_code == exit_code_of("budget-exceeded") == 20
    left = min(row["left"] for row in before)
    assert nano(left) in sentence  # in rho, as everywhere else that people read it
    assert town.left("everyone") == before


@pytest.mark.slow
def test_a_resident_shows_gives_and_takes_back_a_consent_and_sees_its_uses(town: TownOfTwo) -> None:
    mine = json.loads(done_well(*resident(town, 3, "show", "--json")))
    (first,) = [consent for consent in mine if consent["policy"] == "everyone"]
    assert first["holders"] == town.holders
    assert first["ended_by"] is None
    counted = json.loads(done_well(*ask(town, SQL, "--epsilon", "0.1", "--fresh", "--json")))["admit"]
    revoked = json.loads(done_well(*resident(town, 3, "revoke", first["index"], "--json")))
    assert revoked["promise"].count(".") == 2
    assert revoked["doubt"] == ""
    (promise,) = json.loads(done_well(*resident(town, 3, "check-promises", "--json")))
    assert (promise["state"], promise["grant"], promise["index"]) == ("kept", first["index"], revoked["index"])
    assert isinstance(town.client.prove(revoked["index"]).entry, e.Revoke)
    left_out = json.loads(done_well(*ask(town, SQL, "--epsilon", "0.1", "--fresh", "--json")))["admit"]
    given = json.loads(done_well(*resident(town, 3, "grant", "everyone", "--holder", "west", *WIDE, "--json")))
    assert given["until"] == "2090-12-31"
    grant = town.client.prove(given["index"]).entry
    assert isinstance(grant, e.Grant)
    after = {c["index"]: c for c in json.loads(done_well(*resident(town, 3, "show", "--json")))}
    assert after[first["index"]]["ended_by"] == revoked["index"]
    assert after[given["index"]]["holders"] == ["west"]
    every = {use["admit"]: use for use in json.loads(done_well(*resident(town, 3, "uses", "--all", "--json")))}
    assert (every[counted]["grants"], every[left_out]["grants"]) == ([first["index"]], [])
    assert not any(use["fault"] for use in every.values())
    uses = {use["admit"]: use["counted"] for use in json.loads(done_well(*resident(town, 3, "uses", "--json")))}
    assert uses[counted]
    assert left_out not in uses
    shown = done_well(*resident(town, 3, "show"))
    assert f"ended at {revoked['index']}" in re.sub(r"\s+", " ", shown)
    assert "in force" in shown
    said = done_well(*resident(town, 3, "uses"))
    assert "yes" in said
    assert f"Proofs checked: {len(every)} of {len(every)} questions." in said
    assert re.search(r"As of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, when the ledger had \d+ entries\.", said)
    assert "As of " in shown


@pytest.mark.slow
def test_a_resident_proves_what_was_in_force_as_of_any_tree_size(town: TownOfTwo) -> None:
    """At a question's own place by its entry, elsewhere by a replay; before and after the consent ended."""
    mine = json.loads(done_well(*resident(town, 7, "show", "--json")))
    (index,) = [consent["index"] for consent in mine if consent["policy"] == "everyone"]
    admit = json.loads(done_well(*ask(town, SQL, "--epsilon", "0.1", "--fresh", "--json")))["admit"]
    ended = json.loads(done_well(*resident(town, 7, "revoke", index, "--json")))["index"]
    for at, counts in ((index + 1, True), (admit, True), (ended, True), (ended + 1, False)):
        is_question = at <= ended and isinstance(town.client.prove(at).entry, e.Admit)
        how = "the question's own entry" if is_question else "a replay of the ledger"
        said = done_well(*resident(town, 7, "in-force", index, "--size", at))
        assert ("could be counted" in said, "could not be counted" in said) == (counts, not counts)
        assert how in said
        answer = json.loads(done_well(*resident(town, 7, "in-force", index, "--size", at, "--json")))
        assert answer["in_force"] is counts
        assert answer["answer"]["size"] == at
    refused(errors.NotFound, *resident(town, 7, "in-force", index, "--size", 10**9))
    refused(errors.NotFound, *resident(town, 7, "in-force", index, "--size", index))
    refused(errors.NotFound, *resident(town, 7, "in-force", 0, "--size", admit))


@pytest.mark.slow
def test_an_ended_consent_is_stopped_at_every_holder_and_a_dead_one_is_named_until_it_comes_back(
    town: TownOfTwo, tmp_path: Path
) -> None:
    """Real nodes: one is killed before the revocation; the other's word is there, and its own comes when it is up."""
    own = json.loads(done_well(*resident(town, 8, "show", "--json")))[0]["index"]
    refused(errors.NotFound, *resident(town, 8, "stopped", own))
    town.processes.kill("east")
    ended = json.loads(done_well(*resident(town, 8, "revoke", own, "--json")))["index"]

    def stopped() -> dict[str, int | None]:
        said = json.loads(done_well(*resident(town, 8, "stopped", own, "--json")))
        assert (said["index"], said["grant"]) == (ended, own)
        times = {each["holder"]: each["stopped_at"] for each in said["holders"]}
        assert said["stopped_at"] == (max(times.values()) if None not in times.values() else None)
        return times

    until(lambda: stopped()["west"] is not None)
    assert stopped()["east"] is None
    said = re.sub(r"\s+", " ", done_well(*resident(town, 8, "stopped", ended)))
    assert "has not confirmed yet, last heard 2" in said
    assert "Not stopped everywhere yet: east has not confirmed." in said
    assert "not confirmed yet by east" in re.sub(r"\s+", " ", done_well(*resident(town, 8, "show")))
    town.processes.start_node("east")
    until(lambda: None not in stopped().values())
    saved = tmp_path / "stopped.receipt"
    assert "Stopped at every holder at 2" in done_well(*resident(town, 8, "stopped", own, "--save", saved))
    assert "stopped everywhere since" in re.sub(r"\s+", " ", done_well(*resident(town, 8, "show")))
    receipt = Receipt.parse(saved.read_bytes())
    entry = town.client.prove(ended)
    check_receipt(receipt, entry.data, town.client.trust.verifier, town.client.trust.witnesses)
    assert receipt.extra is not None
    inside = canonical.decode(receipt.extra, Stopped)
    assert [each.token is not None for each in inside.holders] == [True, True]


@pytest.mark.slow
def test_a_resident_can_take_back_only_an_own_consent_and_only_once(town: TownOfTwo) -> None:
    others = json.loads(done_well(*resident(town, 4, "show", "--json")))[0]["index"]
    entries = size(town)
    refused(errors.NotFound, *resident(town, 5, "revoke", others))
    refused(errors.NotFound, *resident(town, 5, "revoke", 0))
    refused(errors.NotFound, "resident", "--place", town.layout.resident_folder(10_000), "show")
    refused(errors.NotFound, "play", "resident", 10_000, "--dir", town.layout.folder)
    refused(errors.NotPermitted, "resident", "--place", town.place(PARTNER), "show")
    refused(errors.PolicyNotCurrent, *resident(town, 5, "grant", "nothing"))
    assert size(town) == entries
    own = json.loads(done_well(*resident(town, 5, "show", "--json")))[0]["index"]
    done_well(*resident(town, 5, "revoke", own))
    refused(errors.AlreadyEnded, *resident(town, 5, "revoke", own))


@pytest.mark.slow
def test_a_consent_takes_the_place_of_the_one_before_and_both_ends_are_promised(town: TownOfTwo) -> None:
    mine = json.loads(done_well(*resident(town, 6, "show", "--json")))
    first = next(each for each in mine if each["policy"] == "everyone" and each["ended_by"] is None)["index"]
    said = done_well(*resident(town, 6, "grant", "everyone", "--holder", "west", *WIDE))
    assert f"It takes the place of the one at {first}, which has ended." in said
    assert town.client.policies()["everyone"].notice["ja"] in said.replace("\n", "")
    after = {each["index"]: each for each in json.loads(done_well(*resident(town, 6, "show", "--json")))}
    (second,) = [index for index, each in after.items() if each["policy"] == "everyone" and each["ended_by"] is None]
    assert after[first]["ended_by"] == second - 1
    (promise,) = json.loads(done_well(*resident(town, 6, "check-promises", "--json")))
    assert (promise["state"], promise["grant"]) == ("kept", first)
    entry = town.client.prove(second).entry
    assert isinstance(entry, e.Grant)
    assert entry.replaces == first


@pytest.mark.slow
def test_nothing_is_agreed_to_that_was_not_said_where_nobody_can_be_asked(town: TownOfTwo) -> None:
    entries = size(town)
    whole = ["--holder", "west", *WIDE]
    for left_out in ("--holder", "--until", "--cap"):
        place = whole.index(left_out)
        code, _, err = run_here(*resident(town, 8, "grant", "everyone", *whole[:place], *whole[place + 2 :]))
        assert code == 2
        assert f"Say what you agree to: {left_out} (" in err.replace("\n", " ")
    code, _, err = run_here(*resident(town, 8, "grant", "everyone", *whole[:-1]))
    assert (code, "say --yes" in err.replace("\n", " ")) == (2, True)
    assert size(town) == entries


@pytest.mark.slow
def test_on_a_terminal_the_notice_is_shown_and_each_choice_is_asked_for(town: TownOfTwo) -> None:
    policy = town.client.policies()["everyone"]
    words = [*resident(town, 8, "grant", "everyone", "--language", "en")]
    said = at_a_terminal(words, ["nobody", "west", "2028-03-31", "", "n"])
    assert said.index(policy.title["en"]) < said.index(policy.notice["en"]) < said.index("Holders: east, west")
    assert "Choose one or more of: east, west." in said.replace("\r\n", " ")
    assert "nothing was signed" in said
    entries = size(town)
    said = at_a_terminal(words, ["west", "", "", "y"])
    assert "Receipt checked." in said
    assert size(town) > entries
    given = json.loads(done_well(*resident(town, 8, "show", "--json")))[-1]
    assert (given["holders"], given["until"]) == (["west"], "2028-03-31")
    assert given["cap"] == min(town.client.policies()["everyone"].yearly_caps)


@pytest.mark.slow
def test_a_choice_that_the_policy_does_not_give_is_refused_with_those_it_gives(town: TownOfTwo) -> None:
    for option, choice in (("--holder", "nobody"), ("--until", "2020-01-01"), ("--cap", "0")):
        sentence = refused(errors.ConsentMismatch, *resident(town, 7, "grant", "everyone", option, choice))
        assert "choose from: " in sentence


@pytest.mark.slow
def test_a_resident_with_a_seed_of_their_own_and_no_consent_is_told_so(town: TownOfTwo, tmp_path: Path) -> None:
    pins, where = town.layout.folder / "trust.json", tmp_path / "mine"
    done_well("place", "init", "--url", town.layout.url, "--pins", pins, "--resident", where)
    mine = ["resident", "--place", where]
    refused(errors.NotEnrolled, *mine, "grant", "everyone", "--holder", "west", *WIDE)  # nobody attested this one


@pytest.mark.slow
def test_a_policy_is_checked_signed_by_a_quorum_and_published(town: TownOfTwo, tmp_path: Path) -> None:
    text = (FOLDER / "policies" / "hasty.toml").read_text()
    path = tmp_path / "hasty.toml"
    path.write_text(text.replace("version = 1", "version = 2").replace("Hasty questions", "Hasty questions, anew"))
    assert tomllib.loads(path.read_text())["version"] == 2
    digest = done_well("policy", "check", path).split()[-1]
    signed = []
    for steward in ("city", "firms"):
        key = town.place(steward) / "signing.key"
        how = ["--log", town.town.origin, "--steward", steward, "--key", key]
        file = tmp_path / f"{steward}.jws"
        file.write_text(done_well("policy", "sign", path, *how))
        signed.append(file)
    publish = ["policy", "publish", path]
    where = ["--place", town.place("firms"), "--json"]
    entries = size(town)
    code, _, _ = run_here(*publish, signed[0], *where)  # one is no quorum
    assert code in {KINDS[error].exit_code for error in (errors.NotPermitted, errors.SignatureInvalid)}
    other = tmp_path / "other.toml"
    other.write_text(path.read_text().replace("per_window = 1_000_000_000", "per_window = 1_999_999_999"))
    code, _, _ = run_here("policy", "publish", other, *signed, *where)  # another document than was signed
    assert code in {KINDS[error].exit_code for error in (errors.NotPermitted, errors.SignatureInvalid)}
    assert size(town) == entries
    said = json.loads(done_well(*publish, *signed, *where))
    assert said["sha256"] == digest
    assert isinstance(town.client.prove(said["index"]).entry, e.PolicyEntry)
    assert town.client.policies()["hasty"].version == 2
    entries = size(town)
    assert json.loads(done_well(*publish, *signed, *where)) == said  # sent again: the same answer, and no new entry
    assert size(town) == entries
    assert town.audit().verdict == "ok"


@pytest.mark.slow
def test_audit_prints_its_verdict_and_ends_with_code_0_or_the_faults(town: TownOfTwo, tmp_path: Path) -> None:
    trust = ["--trust", town.layout.folder / "trust.json", "--state", tmp_path / "state"]
    said = json.loads(done_well("audit", town.layout.url, *trust, "--json"))
    assert said["verdict"] == "ok"
    assert said["entries"] == said["size"] > 0
    assert "Verdict: ok." in done_well("audit", town.layout.url, *trust)
    refused(errors.Unavailable, "audit", f"http://127.0.0.1:{free_ports(None)[0]}", *trust)


@pytest.mark.slow
def test_without_a_service_every_command_says_that_it_does_not_answer(tmp_path: Path, town: TownOfTwo) -> None:
    dead = f"http://127.0.0.1:{free_ports(None)[0]}"
    for owner, words in ((PARTNER, ["ask", SQL, "--epsilon", "0.1"]), (1, ["resident"])):
        folder = tmp_path / str(owner)
        shutil.copytree(town.place(owner), folder)
        settings = (folder / "place.toml").read_text()
        (folder / "place.toml").write_text(settings.replace(town.layout.url, dead))
        after = ["show"] if owner == 1 else []
        assert "does not answer" in refused(errors.Unavailable, *words, "--place", folder, *after)
