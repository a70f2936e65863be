"""The local interface lives as long as its node and no longer, and what it does is never the node's fault."""

import contextlib
import os
import signal
import socket
from pathlib import Path

import httpx
import psutil
import pytest

from ledger.errors import Replayed, Unavailable
from policies.consents.attestation import make_link
from tests.kit.machine.forks import start_musubi
from tests.kit.machine.ports import free_port
from tests.kit.parties.lying_service import ME, Stage, staged
from tests.kit.waiting import PATIENCE, until
from trust.node.local.site_links import SiteLinks


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


def answers(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/").status_code == httpx.codes.FORBIDDEN
    return False


def configured(stage: Stage) -> int:
    port = free_port()
    stage.set(10**12, f"[local]\nport = {port}\n")
    stage.close()
    return port


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["told to stop", "killed"])
def test_it_runs_beside_the_node_where_the_settings_say_so_and_ends_with_it(how: signal.Signals, log: Path) -> None:
    with staged(people=0, reads=False) as stage:
        port = configured(stage)
        node = start_musubi("node", "--dir", str(stage.folder), log=log)
        try:
            until(lambda: answers(port), log.read_text)
            assert node.pid is not None
            os.kill(node.pid, how)
            node.join(PATIENCE)
            until(lambda: not answers(port))
            assert node.exitcode == (0 if how == signal.SIGTERM else -how)
        finally:
            node.kill()
        stage.node = stage.open()


def test_without_a_word_of_it_nothing_listens(log: Path) -> None:
    with staged(people=0, reads=False) as stage:
        stage.close()
        node = start_musubi("node", "--dir", str(stage.folder), log=log)
        try:
            until(lambda: "waiting" in log.read_text())
            children = Path(f"/proc/{node.pid}/task/{node.pid}/children")
            assert not children.exists() or children.read_text() == ""
        finally:
            node.terminate()
            node.join(PATIENCE)
        stage.node = stage.open()


def test_where_its_port_is_taken_the_node_goes_on_and_says_so(log: Path) -> None:
    with staged(people=0, reads=False) as stage, socket.socket() as other:
        port = configured(stage)
        other.bind(("127.0.0.1", port))
        other.listen()
        node = start_musubi("node", "--dir", str(stage.folder), log=log)
        try:
            until(lambda: '"local-ended"' in log.read_text())
            assert node.is_alive()
            assert f"Port {port} is taken" in log.read_text()
        finally:
            node.terminate()
            node.join(PATIENCE)
        assert node.exitcode == 0
        stage.node = stage.open()


def test_a_local_interface_that_does_not_end_keeps_no_node_from_ending(log: Path) -> None:
    with staged(people=0, reads=False) as stage:
        port = configured(stage)
        node = start_musubi("node", "--dir", str(stage.folder), log=log)
        try:
            until(lambda: answers(port), log.read_text)
            (beside,) = psutil.Process(node.pid).children()
            beside.suspend()
            node.terminate()
            node.join(PATIENCE)
            assert node.exitcode == 0
            assert not beside.is_running()
        finally:
            node.kill()
        stage.node = stage.open()


def test_an_answer_waits_for_its_node_and_whoever_sent_it_is_told_so() -> None:
    with staged(people=1, reads=False) as stage:
        links = SiteLinks(stage.folder, ME, stage.clock)
        asked = links.challenge("c900")
        handed = links.hand_in("c900", make_link(b"s" * 32, ME, asked.challenge, asked.asked_at))
        with pytest.raises(Unavailable):
            handed.check()
        (path,) = (stage.folder / "links").iterdir()
        assert path.stat().st_mode & 0o777 == 0o600
        assert "c900" not in path.name
        links.hand_in("c900", make_link(b"s" * 32, ME, asked.challenge, asked.asked_at))
        assert len(list((stage.folder / "links").iterdir())) == 1  # the same answer is one file
        stage.node.links.take(path)
        handed.check()
        assert links.is_linked("c900")
        again = links.challenge("c901")
        other = links.hand_in("c901", make_link(b"s" * 32, ME, again.challenge, again.asked_at))
        stage.node.links.take(next((stage.folder / "links").iterdir()))
        with pytest.raises(Replayed):
            other.check()
