"""The engine of a node fetches nothing, loads nothing and reads nothing but what it is given, whatever it is told.

No statement of ours says such a thing: each here is what a fault of ours, or of a library's, could let through.
"""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tests.kit.machine.web import web_server
from trust.node.sources.duckdb_engine import engine_settings, shut_in


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A web server's address, and what it was asked."""
    paths: list[str] = []

    def answer(_method: str, path: str, _body: bytes) -> tuple[int, bytes]:
        paths.append(path)
        return 404, b""

    with web_server(answer) as address:
        yield address, paths


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine as every one of a node is, before it is shut in: the settings hold by themselves."""
    with duckdb.connect(config=engine_settings(tmp_path / "spill")) as engine:
        yield engine


def test_no_extension_is_fetched_or_loaded_by_a_statement_that_would_need_it(
    engine: duckdb.DuckDBPyConnection, asked: tuple[str, list[str]]
) -> None:
    address, paths = asked
    engine.execute(f"SET custom_extension_repository = '{address}'")
    for statement in (
        f"SELECT * FROM read_parquet('{address}/a.parquet')",
        "SELECT * FROM read_xlsx('a.xlsx')",
        "SELECT * FROM st_read('a.shp')",
        "ATTACH 'postgres:host=127.0.0.1' AS other",
        f"FROM '{address}/a.csv'",
    ):
        with pytest.raises(duckdb.Error):
            engine.execute(statement).fetchall()
    assert paths == []


def test_no_communitys_extension_is_installed(engine: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match=r"(?i)community"):
        engine.execute("INSTALL gsheets FROM community")
    with pytest.raises(duckdb.Error, match=r"(?i)cannot"):
        engine.execute("SET allow_community_extensions = true")


def test_no_variable_of_this_program_is_a_table(engine: duckdb.DuckDBPyConnection) -> None:
    rides = pa.table({"customer": ["a secret"]})
    with pytest.raises(duckdb.CatalogException):
        engine.execute("SELECT * FROM rides")
    assert rides.num_rows == 1


def test_a_file_that_is_replaced_within_a_second_by_one_of_its_size_is_read_anew(
    engine: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "rides.parquet"
    read = f"SELECT sum(fare) FROM read_parquet('{path}')"
    seen = []
    for fare in (210, 340):
        new = tmp_path / "new.parquet"
        duckdb.sql(f"COPY (SELECT {fare} AS fare FROM range(1000)) TO '{new}'")
        new.replace(path)
        seen.append(engine.execute(read).fetchall())
    assert seen == [[(210_000,)], [(340_000,)]]


def test_it_spills_into_its_own_folder(engine: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    assert engine.execute("SELECT current_setting('temp_directory')").fetchone() == (str(tmp_path / "spill"),)


def test_once_shut_in_it_reads_writes_and_attaches_in_one_folder_alone(
    engine: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    inside, outside = tmp_path / "own's", tmp_path / "other"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.csv").write_text("ward\neast\n")
    shut_in(engine, inside)
    within = str(inside).replace("'", "''")
    assert engine.execute(f"SELECT * FROM read_csv('{within}/a.csv')").fetchall() == [("east",)]
    for statement in (
        f"SELECT * FROM read_csv('{outside}/a.csv')",
        f"SELECT * FROM read_csv('{within}/../other/a.csv')",
        f"SELECT * FROM read_text('{outside}/*')",
        f"COPY (SELECT 1) TO '{outside}/b.csv'",
        f"ATTACH '{outside}/b.duckdb' AS other",
        "SELECT * FROM glob('/etc/*')",
        "SET enable_external_access = true",
        f"SET allowed_directories = ['{outside}/']",
        f"SET temp_directory = '{outside}'",
    ):
        with pytest.raises(duckdb.Error):
            engine.execute(statement).fetchall()
    assert sorted(path.name for path in outside.iterdir()) == ["a.csv"]
