"""A holder puts its own file in, on its own machine, and sees what became of it; then its node answers from it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from ledger import entries as e
from tests.kit.towns.town_of_two import TownOfTwo, town_of_two
from trust.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path_factory.mktemp("pair") / "town") as made:
        yield made


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


def found(town: TownOfTwo, holder: str) -> dict[str, Any]:
    (source,) = json.loads(run("node", "check", "--dir", town.layout.node(holder), "--json"))["sources"]
    shown: dict[str, Any] = source
    return shown


def as_a_firm_has_it(parquet: Path) -> bytes:
    """The same rows as the firm's own software writes them."""
    rows = pq.read_table(parquet).to_pylist()
    lines = ["会員名簿,,", "会員番号,地区,年齢"]
    lines += [f"{row['customer_no']}　,{row['ward']} ,{str(row['age']).translate(WIDE)}" for row in rows]
    return ("\r\n".join(lines) + "\r\n").encode("cp932")


WIDE = {48 + digit: 0xFF10 + digit for digit in range(10)}


def test_a_firms_own_file_is_drafted_put_in_seen_and_answered_from(town: TownOfTwo) -> None:
    holder, _ = town.holders
    folder = town.layout.node(holder)
    before = found(town, holder)
    assert before["linked_here"] == before["linked"] > 0
    (folder / "data" / "会員名簿.csv").write_bytes(as_a_firm_has_it(folder / "data" / "people.parquet"))
    draft = json.loads(run("node", "check", "--dir", folder, "--suggest", folder / "data" / "会員名簿.csv", "--json"))
    assert any("CP932" in sentence for sentence in draft["says"])

    town.processes.stop(holder)
    settings = folder / "node.toml"
    settings.write_text(settings.read_text().partition("[sources]")[0] + draft["toml"])
    (folder / "data" / "people.parquet").unlink()
    town.processes.start_node(holder)
    assert isinstance(town.end_of(town.ask()).entry, e.Release)

    after = found(town, holder)
    assert after["file"] == "会員名簿.csv"
    for name in ("rows", "customers", "linked", "linked_here", "left_out", "advice"):
        assert after[name] == before[name] or name == "left_out", name
    for now, then in zip(after["views"], before["views"], strict=True):
        assert now["keeps"] == then["keeps"]
        for column, old in zip(now["columns"], then["columns"], strict=True):
            assert {**column, "in_file": ""} == {**old, "in_file": ""}


def test_a_file_that_is_none_is_refused_in_words_and_a_source_that_is_none_too(town: TownOfTwo, tmp_path: Path) -> None:
    holder, _ = town.holders
    odd = tmp_path / "rides.csv"
    odd.write_bytes(b"\x1f\x8b\x08packed")
    check = ("node", "check", "--dir", town.layout.node(holder), "--suggest", odd)
    assert "This is gzip: unpack it first." in run(*check, code=10)
    assert "people" in run(*check, "--source", "fares", code=14)
