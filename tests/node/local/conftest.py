"""A node's local interface as a real process, on a real node's folder."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from tests.kit.machine.forks import start_musubi
from tests.kit.machine.ports import free_port
from tests.kit.parties.lying_service import staged
from tests.kit.waiting import PATIENCE, until
from trust.cli import main
from trust.files.keys import read_secret


@dataclass
class Interface:
    """One local interface that runs: its node's folder, its port, and the file that it logs into."""

    folder: Path
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Its address, as the holder's link has it."""
        return f"http://127.0.0.1:{self.port}"

    def link(self) -> str:
        """Have a link to the page printed, as the holder does."""
        said = CliRunner().invoke(main, ["node", "page", "--dir", str(self.folder), "--port", str(self.port)])
        assert said.exit_code == 0, said.output
        return said.output.split()[-1]

    @property
    def bearer(self) -> dict[str, str]:
        """What the holder's own site shows."""
        return {"Authorization": f"Bearer {read_secret(self.folder / 'keys' / 'site.key').hex()}"}

    @contextlib.contextmanager
    def holder(self) -> Iterator[httpx.Client]:
        """Be the holder's browser, with its cookie."""
        with httpx.Client(base_url=self.url, timeout=PATIENCE, headers={"Accept-Language": "en"}) as client:
            assert client.get(self.link()).headers["location"] == "/"
            yield client


@contextlib.contextmanager
def interface_of(folder: Path, log: Path) -> Iterator[Interface]:
    """Run the local interface of a node's folder for as long as the block lasts."""
    made = Interface(folder, free_port(), log)
    assert CliRunner().invoke(main, ["node", "link", "secret", "--dir", str(folder)]).exit_code == 0
    process = start_musubi("node", "local", "--dir", str(folder), "--port", str(made.port), log=log)

    def answers() -> bool:
        assert process.is_alive(), log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(made.url).status_code == httpx.codes.FORBIDDEN
        return False

    try:
        until(answers)
        yield made
        process.terminate()
        process.join(PATIENCE)
        assert process.exitcode == 0, log.read_text()
    finally:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def interface(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interface]:
    """The local interface of a node without a service."""
    with (
        staged(people=3, reads=False) as stage,
        interface_of(stage.folder, tmp_path_factory.mktemp("log") / "log") as made,
    ):
        yield made
