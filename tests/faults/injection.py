"""Failures injected into the durable steps of a running service; the database, disk and witness are the real ones.

Every durable step passes one of the layers that ``Faults`` wraps, and has a label there:

===========================  =============================================================================
label                        step
===========================  =============================================================================
``sql INSERT INTO entries``  one writing statement of the database (SQLAlchemy's cursor events)
``commit entries``           the commit of a transaction, by the first table that it wrote (the dialect)
``keys keep``, ``destroy``   the file of the records' keys
``disk write tile``          one call of the tile folder's operating system layer: mkdir, open, write, fdatasync,
                             fsync of a folder, rename; of a tile or of the checkpoint
``witness cosign``           the witness's check and durable write, over its real application
===========================  =============================================================================

Each can fail in two ways: *lost*, the step was not done; *unsaid*, it was done, durably, but reported as failed. A
write can also be *torn*: half of it is on disk. ``record`` notes the labels of what an act passes, so that the table of
cases is what the service does, and not what someone remembered.
"""

import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

import trust.files.durable
import trust.log.tile_folder
from ledger.errors import Unavailable
from tests.kit.towns.running import Running, WitnessLine

How = Literal["lost", "unsaid", "torn"]
WRITES = ("INSERT", "UPDATE", "DELETE")


class Faults:
    """One failure at a time, at the next step of a label; or a record of the labels."""

    def __init__(self) -> None:
        self.fired = False
        self._armed: tuple[str, How] | None = None
        self._record: list[str] | None = None
        self._first_tables: dict[int, str] = {}
        """The first table that each connection wrote in its transaction."""
        self._committing: Connection | None = None

    def arm(self, label: str, how: How) -> None:
        """Have the next step of this label fail."""
        self.fired, self._armed = False, (label, how)

    def disarm(self) -> None:
        """Let everything work."""
        self._armed = None

    @contextmanager
    def record(self) -> Iterator[list[str]]:
        """Note each label that is passed, once, in order."""
        found: list[str] = []
        self._record = found
        yield found
        self._record = None

    def meets(self, label: str) -> How | None:
        """Return how the step of this label is to fail now, if it is; it fails once."""
        if self._record is not None and label not in self._record:
            self._record.append(label)
        if self._armed is None or self._armed[0] != label:
            return None
        how = self._armed[1]
        self.fired, self._armed = True, None
        return how

    def step(self, label: str, do: Callable[[], Any], error: Callable[[], Exception]) -> Any:
        """Do one step, or fail at it."""
        how = self.meets(label)
        if how == "lost":
            raise error()
        done = do()
        if how is not None:
            raise error()
        return done

    def install(self, running: Running, patch: pytest.MonkeyPatch) -> None:
        """Wrap the layers of one running service."""
        service = running.service
        engines = {service.databases.writer, service.databases.reader}
        lock_engine = getattr(service.election, "_engine", None)
        for engine in [*engines, *([lock_engine] if lock_engine is not None else [])]:
            self._wrap_engine(engine.sync_engine, patch)
        self._wrap_keys(service.keys, patch)
        self._wrap_witness(running.line, patch)

    # The database

    def _wrap_engine(self, engine: Any, patch: pytest.MonkeyPatch) -> None:
        def label_of(statement: str) -> str | None:
            words = statement.replace('"', "").replace("(", " ").split()
            if not words or words[0] not in WRITES:
                return None
            return " ".join(["sql", *words[: 2 if words[0] == "UPDATE" else 3]])

        def fail(statement: str) -> OperationalError:
            return OperationalError(
                statement.split("\n", maxsplit=1)[0][:40], None, sqlite3.OperationalError("disk I/O error")
            )

        meant: dict[int, How | None] = {}

        @event.listens_for(engine, "before_cursor_execute")
        def _before(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
            label = label_of(statement)
            if label is None:
                return
            self._first_tables.setdefault(id(connection), label.split()[-1])
            how = self.meets(label)
            if how == "lost":
                raise fail(statement)
            meant[id(cursor)] = how

        @event.listens_for(engine, "after_cursor_execute")
        def _after(_connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
            if meant.pop(id(cursor), None) is not None:
                raise fail(statement)

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            self._first_tables.pop(id(connection), None)

        @event.listens_for(engine, "commit")
        def _commit(connection: Connection) -> None:
            self._committing = connection

        real = engine.dialect.do_commit

        def do_commit(driver: Any) -> None:
            table = self._first_tables.get(id(self._committing))
            if table is None:
                real(driver)
            else:
                self.step(f"commit {table}", lambda: real(driver), lambda: _driver_error(engine))

        patch.setattr(engine.dialect, "do_commit", do_commit)

    # The keys, the witness

    def _wrap_keys(self, keys: Any, patch: pytest.MonkeyPatch) -> None:
        def wrap(name: str) -> None:
            real: Callable[..., Awaitable[Any]] = getattr(keys, name)

            async def wrapped(*arguments: Any) -> Any:
                how = self.meets(f"keys {name}")
                if how == "lost":
                    raise Unavailable("The file of the records' keys cannot be read or written; look at its disk.")
                done = await real(*arguments)
                if how is not None:
                    raise Unavailable("The file of the records' keys cannot be read or written; look at its disk.")
                return done

            patch.setattr(keys, name, wrapped)

        wrap("keep")
        wrap("destroy")

    def _wrap_witness(self, line: WitnessLine, patch: pytest.MonkeyPatch) -> None:
        real = line.handle_async_request

        async def wrapped(request: httpx.Request) -> httpx.Response:
            if request.method != "POST":
                return await real(request)
            how = self.meets("witness cosign")
            if how == "lost":
                raise httpx.ConnectError("injected", request=request)
            answer = await real(request)
            if how is not None:
                raise httpx.ReadTimeout("injected", request=request)
            return answer

        patch.setattr(line, "handle_async_request", wrapped)

    # The disk

    def install_disk(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        """Wrap what the tile folder asks of the operating system under ``root``."""
        layer = _Disk(self)
        real_mkdir, real_replace = Path.mkdir, Path.replace

        def mkdir(path: Path, *arguments: Any, **how: Any) -> None:
            if not path.is_relative_to(root) or path.is_dir():
                real_mkdir(path, *arguments, **how)
            else:
                self.step("disk mkdir", lambda: real_mkdir(path, *arguments, **how), _disk_error)

        def replace(path: Path, target: Any) -> Any:
            if not path.is_relative_to(root):
                return real_replace(path, target)
            return self.step("disk rename checkpoint", lambda: real_replace(path, target), _disk_error)

        patch.setattr(trust.log.tile_folder, "os", layer)
        patch.setattr(trust.files.durable, "os", layer)
        patch.setattr(trust.log.tile_folder, "_sync_data", layer.sync_data)
        patch.setattr(Path, "mkdir", mkdir)
        patch.setattr(Path, "replace", replace)


class _Disk:
    """The module ``os`` as the tile folder sees it."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._kinds: dict[int, str] = {}
        """What each open file is."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        kind = "checkpoint" if "checkpoint" in Path(path).name else "tile"
        if flags & os.O_DIRECTORY:
            kind = "folder"
        handle: int = self._faults.step(f"disk open {kind}", lambda: os.open(path, flags, mode), _disk_error)
        self._kinds[handle] = kind
        return handle

    def write(self, handle: int, data: Any) -> int:
        how = self._faults.meets(f"disk write {self._kinds[handle]}")
        if how == "lost":
            raise _disk_error()
        if how == "torn":
            os.write(handle, data[: len(data) // 2])
            raise _disk_error()
        done = os.write(handle, data)
        if how is not None:
            raise _disk_error()
        return done

    def close(self, handle: int) -> None:
        self._kinds.pop(handle, None)
        os.close(handle)

    def fsync(self, handle: int) -> None:
        kind = self._kinds.get(handle)
        if kind is None:
            os.fsync(handle)  # a file that is none of the log's
        else:
            self._faults.step(f"disk fsync {kind}", lambda: os.fsync(handle), _disk_error)

    def sync_data(self, handle: int) -> None:
        self._faults.step(f"disk fdatasync {self._kinds[handle]}", lambda: os.fdatasync(handle), _disk_error)


def _disk_error() -> OSError:
    return OSError(28, "No space left on device (injected)")


def _driver_error(engine: Any) -> Exception:
    error: Exception = engine.dialect.loaded_dbapi.OperationalError("disk I/O error (injected)")
    return error
