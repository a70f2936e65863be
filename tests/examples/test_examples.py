"""Each example does what its first line says, as a process of its own, against a running town and a log in a folder."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger import entries as e
from tests.docs.docs_pages import REPO
from tests.kit.towns.town_of_two import SQL, TownOfTwo, town_of_two
from tests.kit.towns.toy_town import PARTNER
from tests.kit.waiting import PATIENCE
from trust.log.export import export_log
from trust.log.source import HttpLog
from trust.resident.receipts import save_receipts

EXAMPLES = Path(__file__).parent
ASKED = SQL.format(policy="everyone")
pytestmark = pytest.mark.slow


def example(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run an example as somebody would who copied it elsewhere."""
    words = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, cwd=REPO, check=False, timeout=PATIENCE)


def told(name: str, *arguments: object) -> str:
    """Run an example that goes well, and return what it printed."""
    done = example(name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(name: str, *arguments: object) -> str:
    """Run an example that does not go well, and return its one sentence."""
    done = example(name, *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    (sentence,) = done.stderr.splitlines()
    return sentence


@dataclass
class Scene:
    """A running town, its pins, and what people have saved of it."""

    town: TownOfTwo
    folder: Path
    grant: int

    @property
    def trust(self) -> Path:
        """The file of pins, as a steward hands it out."""
        return self.town.layout.folder / "trust.json"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("examples")
    with town_of_two(folder / "pair") as town:
        log = HttpLog(town.layout.url)
        size = town.client.get("/v1/caught-up", dict[str, int])["published"]
        grant = next(n for n in range(size) if isinstance(town.client.prove(n).entry, e.Grant))
        save_receipts(town.client, log, grant, folder / "receipts")
        export_log(log, town.client.trust, folder / "export")
        log.close()
        yield Scene(town, folder, grant)


def test_a_receipt_is_checked_without_the_service_and_a_changed_entry_is_not_proven(scene: Scene) -> None:
    said = told("check_a_receipt", scene.folder / "receipts", scene.trust)
    assert f"Grant {scene.grant} is in musubi.test/pair" in said
    assert "Cosigned by town" in said
    lie = scene.folder / "lie"
    shutil.copytree(scene.folder / "receipts", lie)
    entry = lie / f"entry-{scene.grant}.json"
    entry.write_bytes(entry.read_bytes().replace(b'"until":"20', b'"until":"21'))
    assert refused("check_a_receipt", lie, scene.trust).startswith("Not proven: ")
    (scene.folder / "nothing").mkdir()
    assert "no receipt" in refused("check_a_receipt", scene.folder / "nothing", scene.trust)


def test_a_log_is_followed_from_a_folder_to_the_service_and_not_back_again(scene: Scene) -> None:
    export, seen = scene.folder / "export", scene.folder / "seen"
    before = told("follow_a_log", export, scene.trust, seen)
    assert re.search(r"^ +1 Genesis$", before, re.MULTILINE)
    scene.town.grow()
    scene.town.wait_until_caught_up()
    after = told("follow_a_log", scene.town.layout.url, scene.trust, seen)
    refusals = [int(found) for found in re.findall(r"(\d+) Refuse$", after, re.MULTILINE)]
    assert refusals[0] >= 1
    assert refused("follow_a_log", export, scene.trust, seen).startswith("Stopped: ")


def test_the_price_worked_out_at_home_is_what_the_ledger_then_charges(scene: Scene) -> None:
    url = scene.town.layout.url
    price = told("price_a_question", url, scene.trust, ASKED, "0.1")
    charge = re.search(r"cost (\d+) nano-rho", price)
    assert charge is not None
    assert len(re.findall(r"± \d+, for all numbers", price)) == 2
    answer = told("ask_a_question", scene.town.place(PARTNER), ASKED, "0.1")
    assert f"Charged: {charge[1]} nano-rho." in answer
    assert re.search(r"hill +people -?\d+ ± \d+", answer)
    asked, closed = map(int, re.findall(r"index (\d+), released at (\d+)", answer)[0])
    admit = scene.town.client.prove(asked).entry
    release = scene.town.client.prove(closed).entry
    assert isinstance(admit, e.Admit)
    assert admit.charge == int(charge[1])
    assert isinstance(release, e.Release)
    assert release.admit == asked
    again = told("ask_a_question", scene.town.place(PARTNER), ASKED, "0.1")
    assert "nothing was charged" in again
    assert again.splitlines()[:-1] == answer.splitlines()[:-1]


def test_a_question_that_the_policy_does_not_allow_has_no_price_and_a_dear_one_is_not_asked(scene: Scene) -> None:
    url = scene.town.layout.url
    nowhere = "SELECT COUNT(*) AS n FROM everyone.people WHERE street = 'x'"
    assert refused("price_a_question", url, scene.trust, nowhere, "0.1").startswith("No price: ")
    size = scene.town.client.get("/v1/caught-up", dict[str, int])["published"]
    assert refused("ask_a_question", scene.town.place(PARTNER), ASKED, "6").startswith("Too dear: ")
    assert scene.town.client.get("/v1/caught-up", dict[str, int])["published"] == size
