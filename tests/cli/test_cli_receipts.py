"""What ``resident receipt`` saves in a real town checks in a real browser, without the town."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import Browser

from ledger.errors import NotFound, ProofInvalid, QueryInvalid
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.receipts import Receipt
from tests.kit.machine.chromium import launch, new_context
from tests.kit.towns.town_of_two import TownOfTwo, town_of_two
from trust.cli import main
from trust.files.keys import read_key, read_post_quantum_key
from trust.runtime.problems import KINDS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path_factory.mktemp("receipts") / "town") as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from launch()


def run(town: TownOfTwo, *words: object) -> Result:
    """Run a command of resident 3's."""
    who = ["resident", "--place", town.place(3), *words]
    return CliRunner().invoke(main, [str(word) for word in who])


def saved(town: TownOfTwo, index: int, folder: Path, *options: object) -> list[str]:
    """Save a receipt's files; return their names."""
    result = run(town, "receipt", index, "--out", folder, *options, "--json")
    assert result.exit_code == 0, result.stderr
    names: list[str] = json.loads(result.stdout)["files"]
    assert all((folder / name).is_file() for name in names)
    return names


def shown_by_the_page(browser: Browser, folder: Path) -> tuple[str, str]:
    """Choose every file of the folder in the page that lies there; return the verdict and all that is said."""
    page = new_context(browser, locale="en-GB").new_page()
    page.goto((folder / "musubi-verify.html").as_uri())
    files = [path for path in sorted(folder.iterdir()) if path.suffix != ".html"]
    page.set_input_files("#files", files)
    page.locator(".finding").first.wait_for()
    said = page.inner_text("#verdict"), page.inner_text("#findings")
    page.context.close()
    return said


def test_a_residents_files_hold_in_the_page_and_a_later_receipt_shows_that_the_log_only_grew(
    town: TownOfTwo, browser: Browser, tmp_path: Path
) -> None:
    mine = json.loads(run(town, "show", "--json").stdout)
    grant = next(consent["index"] for consent in mine if consent["policy"] == "everyone")
    names = saved(town, grant, tmp_path)
    assert names == [f"receipt-{grant}.tlog-proof", f"entry-{grant}.json", "trust.json"]
    verdict, said = shown_by_the_page(browser, tmp_path)
    assert verdict == "Everything holds."
    assert f"Entry number {grant:,} is in the record" in said
    assert "It is a consent to the agreement “everyone”" in said
    before = Receipt.parse((tmp_path / names[0]).read_bytes()).checkpoint

    town.grow()
    question = town.ask()
    names = saved(town, grant, tmp_path, "--question", question)
    old = int(before.split(b"\n")[1])
    assert (tmp_path / f"state-{old}.txt").read_bytes() == before
    assert f"in-force-{grant}-in-{question}.json" in names
    verdict, said = shown_by_the_page(browser, tmp_path)
    assert verdict.startswith(("Everything holds.", "What could be checked holds."))
    assert f"From {old:,} to " in said
    assert f"{grant:,} could be counted in the question that is entry number {question:,}" in said

    (tmp_path / f"entry-{grant}.json").unlink()
    spoilt = tmp_path / f"receipt-{grant}.tlog-proof"
    spoilt.write_bytes(spoilt.read_bytes().replace(b"index ", b"index 1"))
    assert shown_by_the_page(browser, tmp_path)[0].startswith("Something does not hold.")


def test_what_cannot_be_proven_is_refused_with_a_sentence(town: TownOfTwo, tmp_path: Path) -> None:
    mine = json.loads(run(town, "show", "--json").stdout)
    grant = mine[0]["index"]
    for error, *words in (
        (NotFound, 10**9),
        (QueryInvalid, grant, "--question", 0),
        (NotFound, grant, "--question", 10**9),
    ):
        result = run(town, "receipt", *words, "--out", tmp_path)
        assert result.exit_code == KINDS[error].exit_code
        assert result.stderr.startswith("musubi: ")
        assert list(tmp_path.iterdir()) == []


def test_a_log_that_does_not_continue_the_folders_receipts_is_told_on(town: TownOfTwo, tmp_path: Path) -> None:
    """The folder's receipt is by this log's own key, and of a history that the log does not continue."""
    grant = json.loads(run(town, "show", "--json").stdout)[0]["index"]
    keys = town.layout.service / "keys"
    checkpoint = Checkpoint(town.client.trust.origin, 2, bytes(32))
    other = sign_checkpoint(checkpoint, read_key(keys / "log.key"), read_post_quantum_key(keys / "log.pq.key"))
    (tmp_path / "receipt-1.tlog-proof").write_bytes(Receipt(1, [], other).format())
    result = run(town, "receipt", grant, "--out", tmp_path)
    assert result.exit_code == KINDS[ProofInvalid].exit_code
    assert "does not continue the history" in result.stderr
