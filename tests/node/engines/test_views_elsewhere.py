"""Views bounded by a PostgreSQL or Spark of the holder's own answer as the node's own do, and leave nothing there."""

import asyncio
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import psutil
import pytest
import structlog

from ledger.errors import Malformed, NotReady, Unavailable
from tests.docs.docs_pages import REPO
from tests.kit.moved_views import (
    MARK,
    POLICY,
    VIEW,
    Saying,
    Watched,
    answer,
    engine_of,
    life,
    link,
    moved,
    rides,
    take,
)
from tests.kit.parties.lying_service import staged
from tests.kit.waiting import until
from trust.node.data.elsewhere import LEAVE_ALONE_SECONDS
from trust.node.engines import postgresql_bounding, spark_bounding
from trust.node.engines.bounding_engine import BoundingJob
from trust.node.engines.engine_setting import EngineSetting, check_engine, open_engine
from trust.node.engines.spark_process import JOB, SparkJob
from trust.node.rounds import steps
from trust.node.sources import postgresql_session


@pytest.fixture
def _spark() -> None:
    if find_spec("pyspark") is None:
        pytest.skip("Spark is not here: install it with `uv pip install 'musubi[spark]'`, and a Java")


def ask(address: str, sql: str) -> list[Any]:
    async def work() -> list[Any]:
        connection = await asyncpg.connect(address)
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    return asyncio.run(work())


def data_of(address: str) -> Path:
    return Path(ask(address, "SHOW data_directory")[0][0])


def sessions(address: str) -> list[int]:
    """The server's processes that work for a node."""
    here = "application_name = 'musubi node' AND datname = current_database()"
    return [pid for (pid,) in ask(address, f"SELECT pid FROM pg_stat_activity WHERE {here}")]


def temporary_files(address: str) -> list[str]:
    """The files of anybody's temporary tables: ``t<session>_<number>``, and of what a sort spilled."""
    base = data_of(address) / "base"
    return [str(path) for path in base.rglob("*") if path.is_file() and path.name.startswith(("t", "pgsql_tmp"))]


def holds(folder: Path, words: list[bytes]) -> list[tuple[str, bytes]]:
    """Return where any of these words stands in the files below a folder, in UTF-8 or as PostgreSQL has numbers."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found += [(path.name, word) for word in words if word in data]
    return found


@pytest.mark.slow
def test_every_answer_of_a_life_is_the_same_where_postgresql_bounds(tmp_path: Path, address: str) -> None:
    own = life(tmp_path / "own", None)
    assert len({repr(each) for each in own}) >= 5  # links, erasures and files each change what is answered
    assert life(tmp_path / "moved", engine_of(tmp_path, "postgresql", dsn=address)) == own


@pytest.mark.long
@pytest.mark.usefixtures("_spark")
def test_every_answer_of_a_life_is_the_same_where_spark_bounds_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    seen: list[bool] = []
    engine = Watched(engine_of(tmp_path, "spark", master="local[1]"), lambda _: seen.append(is_there()))

    def is_there() -> bool:
        return any((tmp_path / "engine.tmp").rglob("*.parquet"))

    assert life(tmp_path / "moved", engine) == life(tmp_path / "own", None)
    assert all(seen)
    assert not (tmp_path / "engine.tmp").exists()


@pytest.mark.slow
def test_nothing_of_a_view_is_left_in_postgresql_its_log_or_its_files(tmp_path: Path, address: str) -> None:
    database = address.partition("@/")[2].partition("?")[0]
    ask(address, f"ALTER DATABASE {database} SET log_statement = 'all'")
    during: list[list[str]] = []
    engine = Watched(engine_of(tmp_path, "postgresql", dsn=address), lambda _: during.append(temporary_files(address)))
    with moved(tmp_path, engine) as store:
        link(store, 0, 20)
        rows, _ = take(store)
        assert any(row[1] == 5 for row in rows)  # the marked ward was there
        key = store._row_key(POLICY, VIEW.name)
        salts = [salt for (salt,) in store._engine.con.execute("SELECT salt FROM links").fetchall()]
    assert during[0]
    assert temporary_files(address) == []
    assert ask(address, "SELECT relname FROM pg_class WHERE relpersistence = 't'") == []
    ask(address, "CHECKPOINT")
    secret = [str(number).encode() for number in [*key, *salts]]
    assert holds(data_of(address), [MARK.encode(), *secret]) == []
    assert holds(data_of(address), [b'CREATE TEMP TABLE "sent"'])  # it is the log that was looked through


@pytest.mark.slow
def test_a_server_that_ends_a_session_midway_leaves_the_last_view_in_use_and_nothing_there(
    tmp_path: Path, address: str
) -> None:
    broken = False

    def breaks(_: Any) -> None:
        if broken:
            ask(
                address,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'musubi node' AND datname = current_database()",
            )

    now = [0.0]
    engine = Watched(engine_of(tmp_path, "postgresql", dsn=address), breaks)
    with moved(tmp_path, engine, ticks=lambda: now[0]) as store, structlog.testing.capture_logs() as logs:
        link(store, 0, 20)
        before = take(store)
        store.erase_rows([2])
        erased = answer(store)
        assert erased != before
        (tmp_path / "rides" / "02.csv").write_bytes(rides(300, 420))
        broken = True
        assert take(store) == erased  # an erasure reaches the view that stays
        failures = [line for line in logs if line["event"] == "engine-failed"]
        assert [line["why"] for line in failures] == [postgresql_bounding.FAILED]
        tables = store._engine.con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        assert sorted(name for (name,) in tables if name != "counted") == ["bounded_1", "links"]
        broken = False
        assert take(store) == erased  # it is left alone for a while
        now[0] = LEAVE_ALONE_SECONDS
        assert take(store) not in (before, erased)
    assert temporary_files(address) == []
    assert not any(MARK in repr(line) or "zebra" in repr(line) for line in logs)


@pytest.mark.slow
def test_a_node_killed_midway_leaves_nothing_in_postgresql(tmp_path: Path, address: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.node.engines.test_views_elsewhere", str(tmp_path), address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPO,
    )
    assert process.stdout is not None
    while process.stdout.readline() not in (b"sent\n", b""):
        pass
    assert temporary_files(address)
    process.kill()
    process.communicate()
    until(lambda: sessions(address) == [])
    assert temporary_files(address) == []
    with moved(tmp_path, engine_of(tmp_path, "postgresql", dsn=address)) as store:
        assert store._made == {}
        link(store, 0, 20)
        assert take(store)[0]


@pytest.mark.slow
def test_a_server_looks_while_it_works_whether_anybody_is_there(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    close = postgresql_session.PostgresqlSession.close

    def look(session: postgresql_session.PostgresqlSession) -> None:
        found.append(session.run(session.connection.fetchval("SHOW client_connection_check_interval")))
        found.append(session.run(session.connection.fetchval("SHOW statement_timeout")))
        close(session)

    monkeypatch.setattr(postgresql_session.PostgresqlSession, "close", look)
    with moved(tmp_path, engine_of(tmp_path, "postgresql", dsn=address, seconds=900)) as store:
        link(store, 0, 20)
        take(store)
    assert found == ["1s", "15min"]


@pytest.mark.slow
def test_a_server_that_stops_midway_is_given_up_and_what_it_had_is_gone_when_it_goes_on(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[int] = []

    def stop(_: Any) -> None:
        stopped.extend(sessions(address))
        os.kill(stopped[0], signal.SIGSTOP)

    engine = Watched(engine_of(tmp_path, "postgresql", dsn=address, seconds=5), stop)
    with moved(tmp_path, engine) as store:
        link(store, 0, 20)
        store.load([VIEW])
        monkeypatch.setattr(postgresql_session, "CLOSE_SECONDS", 1)
        with pytest.raises(Unavailable, match="did not finish"):
            store.materialise(POLICY, VIEW)
        assert store._made == {}
    for session in stopped:
        os.kill(session, signal.SIGCONT)
    until(lambda: sessions(address) == [])
    assert temporary_files(address) == []


@pytest.mark.slow
def test_a_node_answers_the_same_where_its_settings_name_postgresql(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "make_measurement", lambda *_: list)  # no noise: its shares show the exact vector
    with staged() as stage:
        stage.trips([(person, ("north", "south")[person % 2], 100 + person) for person in range(20)])
        own = stage.answer()
        assert any(own)
        secret = stage.folder / "keys" / "engine.dsn"
        secret.write_text(address)
        secret.chmod(0o600)
        with (stage.folder / "node.toml").open("a") as file:
            file.write('\n[engine]\nkind = "postgresql"\ndsn_file = "keys/engine.dsn"\n')
        stage.restart()
        asked: list[Any] = []
        bounding = postgresql_bounding.PostgresqlBounding.bounding

        def watched(engine: postgresql_bounding.PostgresqlBounding, job: BoundingJob) -> Any:
            asked.append(job)
            return bounding(engine, job)

        monkeypatch.setattr(postgresql_bounding.PostgresqlBounding, "bounding", watched)
        assert stage.answer() == own
        assert asked


def test_without_any_view_a_dead_engine_is_unavailable_in_words_without_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_DSN", "postgresql://node:hunter2@127.0.0.1:1/town")
    with moved(tmp_path, engine_of(tmp_path, "postgresql", dsn_env="ENGINE_DSN")) as store:
        link(store, 0, 20)
        store.load([VIEW])
        with structlog.testing.capture_logs() as logs, pytest.raises(Unavailable) as refused:
            store.materialise(POLICY, VIEW)
        assert "hunter2" not in repr(logs) + refused.value.message
        assert "town" not in refused.value.message
        assert store._made == {}


def row(slot: int | None = 0, **other: Any) -> dict[str, Any]:
    columns = {"ward": 0, "kind": -1, "hour": 3, "fare": 400, "far": None, "day": 0}
    said = {f"column_{name}": value for name, value in columns.items()}
    return {"slot": slot, **said, "over_limit": True, "clipped_fare": 0, "clipped_far": 0, **other}


NO_VIEWS = {
    "more rows of one resident than the view keeps": [row()] * 4,
    "a row of nobody who was sent": [row(31)],
    "a row without a slot": [row(None)],
    "a code past the list": [row(column_ward=7)],
    "a code that is null": [row(column_kind=None)],
    "a measure past its bound": [row(column_fare=401)],
    "a range before its bound": [row(column_hour=-1)],
    "a time past its last unit": [row(column_day=20)],
    "a bit that is none": [row(clipped_far=2)],
    "a bit that is null": [row(over_limit=None)],
}


@pytest.mark.parametrize("rows", NO_VIEWS.values(), ids=NO_VIEWS.keys())
def test_what_an_engine_gives_that_bounding_cannot_give_is_not_used(tmp_path: Path, rows: list[Any]) -> None:
    with moved(tmp_path, Saying(rows)) as store:
        link(store, 0, 20)
        store.load([VIEW])
        with pytest.raises(Unavailable, match="nothing of it is used"):
            store.materialise(POLICY, VIEW)
        assert store._made == {}
    with moved(tmp_path, Saying([row(), row(), row(), row(4, column_day=None)])) as store:
        link(store, 0, 20)
        assert len(take(store)[0]) == 4


def test_an_engine_that_fails_after_some_rows_has_given_none(tmp_path: Path) -> None:
    with moved(tmp_path, Saying([row()], Unavailable("It is gone."))) as store:
        link(store, 0, 20)
        store.load([VIEW])
        with pytest.raises(Unavailable, match="It is gone"):
            store.materialise(POLICY, VIEW)
        assert store._engine.con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("links",)]


def test_a_view_that_was_read_otherwise_than_the_node_signs_now_does_not_go_on(tmp_path: Path) -> None:
    with moved(tmp_path, None) as store:
        link(store, 0, 20)
        store.load([VIEW])
    engine = Saying([row()])
    with moved(tmp_path, engine, '[columns.fare]\nread = ["nfkc"]', ticks=lambda: 0.0) as store:
        link(store, 0, 20)
        store.materialise(POLICY, VIEW)  # of the snapshot that was there
        before = store.mapping_of(VIEW)
        store.load([VIEW])
        assert store.mapping_of(VIEW) != before
        engine.error = Unavailable("It is gone.")
        with pytest.raises(Unavailable, match="It is gone"):
            store.materialise(POLICY, VIEW)


def test_a_damaged_snapshot_is_missing_also_where_another_engine_bounds(tmp_path: Path) -> None:
    with moved(tmp_path, Saying([row()])) as store:
        link(store, 0, 20)
        take(store)
        link(store, 20, 23)
        store.load([VIEW])
        for path in (tmp_path / "node" / "snapshots").glob("*.parquet"):
            path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(Unavailable):
            store.materialise(POLICY, VIEW)
        with pytest.raises(NotReady):
            store.materialise(POLICY, VIEW)


def test_what_leaves_the_node_is_typed_rows_of_linked_customers_and_no_free_text(tmp_path: Path) -> None:
    sent: dict[str, Any] = {}

    class Keeping(Saying):
        def bounding(self, job: Any) -> Any:
            sent.update({name: rows().read_all() for name, rows in job.tables.items()})
            return super().bounding(job)

    with moved(tmp_path, Keeping([])) as store:
        link(store, 0, 20)
        store.erase_rows([3])
        take(store)
    assert set(sent) > {"sent", "people", "row_key"}
    columns = ["text_ward", "text_kind", "whole_hour", "whole_fare", "whole_far", "day_day"]
    assert sent["sent"].column_names == ["slot", "salt", "number", *columns]
    assert sent["people"].column_names == ["slot", "salt"]
    texts = {*sent["sent"]["text_ward"].to_pylist(), *sent["sent"]["text_kind"].to_pylist()}
    assert MARK in texts
    assert texts == {None, "adult", "child", *VIEW.columns[0].values}  # type: ignore[union-attr]
    assert set(sent["sent"]["slot"].to_pylist()) == {*range(20)} - {3} == set(sent["people"]["slot"].to_pylist())


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ('kind = "postgresql"', "one of"),
        ('kind = "postgresql"\ndsn = "postgresql://a"\ndsn_env = "B"', "one of"),
        ('kind = "spark"\ndsn = "postgresql://a"', "else none"),
        ('dsn_file = "keys/engine.dsn"', "else none"),
        ('kind = "postgresql"\ndsn = "postgresql://u:hunter2@a/b"', "mode 0600"),
        ('kind = "spark"\nmaster = "spark://elsewhere:7077"', "this machine"),
        ('master = "local[2]"', "this machine"),
        ('kind = "spark"\nmemory = "much"', "8g"),
        ('kind = "postgresql"\ndsn = "postgresql://a"\nmemory = "8g"', "8g"),
    ],
)
def test_an_engine_that_is_said_wrongly_is_refused_before_anything_begins(said: str, word: str) -> None:
    with pytest.raises(Malformed, match=word) as refused:
        check_engine(msgspec.toml.decode(said, type=EngineSetting))
    assert "hunter2" not in refused.value.message


def test_an_address_in_a_file_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "engine.dsn").write_text("postgresql://u@127.0.0.1:1/b")
    (tmp_path / "engine.dsn").chmod(0o640)
    with moved(tmp_path, engine_of(tmp_path, "postgresql", dsn_file="engine.dsn")) as store:
        link(store, 0, 20)
        store.load([VIEW])
        with pytest.raises(Unavailable, match="The engine's dsn_file is open to others"):
            store.materialise(POLICY, VIEW)


def test_the_reference_names_every_key_of_an_engine_and_its_default() -> None:
    rows = [
        [cell.strip().strip("`") for cell in line.split("|")[1:3]]
        for line in (REPO / "docs/reference/source-files.md").read_text("utf-8").partition("## Engines")[2].splitlines()
        if line.startswith("| `")
    ]
    said = {name: default for names, default in rows for name in names.split("`, `")}
    assert said.keys() == set(EngineSetting.__struct_fields__)
    assert (said["kind"], int(said["seconds"])) == (EngineSetting().kind, EngineSetting().seconds)


def test_without_a_word_of_it_the_nodes_own_engine_bounds(tmp_path: Path) -> None:
    assert open_engine(EngineSetting(), tmp_path) is None


def test_spark_that_is_not_installed_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setattr("trust.node.engines.engine_setting.find_spec", lambda _: None)
    with pytest.raises(Malformed, match=r"pip install 'musubi\[spark\]'"):
        open_engine(EngineSetting(kind="spark"), tmp_path)


def test_what_a_crash_left_of_sparks_folder_goes_at_the_start(tmp_path: Path) -> None:
    left = tmp_path / "engine.tmp" / "tmpabc" / "given-0.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"rows")
    spark_bounding.SparkBounding(tmp_path / "engine.tmp", "local[1]", "1g", 600)
    assert not (tmp_path / "engine.tmp").exists()


@pytest.mark.long
@pytest.mark.usefixtures("_spark")
def test_a_spark_that_is_killed_leaves_nothing_and_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = subprocess.Popen

    def killed(*arguments: Any, **options: Any) -> Any:
        process = begun(*arguments, **options)
        process.send_signal(signal.SIGKILL)
        return process

    monkeypatch.setattr(subprocess, "Popen", killed)
    with moved(tmp_path, engine_of(tmp_path, "spark", master="local[1]")) as store:
        link(store, 0, 20)
        store.load([VIEW])
        with pytest.raises(Unavailable, match="did not finish"):
            store.materialise(POLICY, VIEW)
    assert not (tmp_path / "engine.tmp").exists()
    assert not [each for each in psutil.Process().children(recursive=True) if "spark_process" in each.cmdline()]


@pytest.mark.long
@pytest.mark.usefixtures("_spark")
def test_sparks_process_ends_when_whoever_asked_has_gone(tmp_path: Path) -> None:
    (tmp_path / JOB).write_bytes(
        msgspec.json.encode(SparkJob(master="local[1]", memory="1g", sql="SELECT 1", tables={}))
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "trust.node.engines.spark_process", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    process.communicate()  # closes its input
    assert process.returncode == 1
    assert not (tmp_path / "bounded").exists()


def _wait_in_the_midst(folder: Path, address: str) -> None:
    def wait(_: Any) -> None:
        print("sent", flush=True)  # noqa: T201 - the test reads it
        sys.stdin.read()

    with moved(folder, Watched(engine_of(folder, "postgresql", dsn=address), wait)) as store:
        link(store, 0, 20)
        take(store)


if __name__ == "__main__":
    _wait_in_the_midst(Path(sys.argv[1]), sys.argv[2])
