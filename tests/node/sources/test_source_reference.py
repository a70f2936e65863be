"""The reference of source files says what the code does: its keys, kinds, endings and types are the code's own."""

import re
from pathlib import Path
from typing import get_args

from msgspec.structs import fields

from trust.node.sources.mapping import ENDINGS, Kind, SourceMapping
from trust.node.sources.tables import duckdb_table, postgresql_table
from trust.node.sources.tables.opening import OTHERS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "source-files.md").read_text("utf-8")


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[tuple[list[str], str]]:
    """Return of a section's tables the names in the first column, and the second."""
    found = (re.split(r"(?<!\\)\|", line) for line in section(heading).splitlines() if line.startswith("| "))
    return [(re.findall(r"`([^`]+)`", row[1]) or [row[1].strip()], row[2]) for row in found]


def test_the_table_of_keys_has_every_key_that_a_source_may_have() -> None:
    said = [name for names, _ in rows("Where the rows are")[1:] for name in names]
    assert sorted(said) == sorted(field.name for field in fields(SourceMapping))


def test_the_table_of_kinds_has_every_kind_and_ending() -> None:
    said = {names[0]: re.findall(r"`(\.[a-z0-9]+)`", endings) for names, endings in rows("What each kind is read as")}
    assert {kind: said[kind] for kind in get_args(Kind)} == {
        kind: [ending for ending, is_of in ENDINGS.items() if is_of == kind] for kind in get_args(Kind)
    }


def test_the_table_of_postgresqls_types_has_each_that_is_read() -> None:
    said = {name: text for names, text in rows("A table of PostgreSQL")[1:] for name in names}
    assert said.keys() == postgresql_table.TYPES.keys()
    for name, text in said.items():
        type_ = str(postgresql_table.TYPES[name].type_)
        assert "text" in text or re.sub(r"\[.*", "", type_) in text, name


def test_the_types_of_duckdb_that_are_read_are_named() -> None:
    text = section("What each kind is read as").partition("*DuckDB.*")[2].partition("Every other type")[0]
    said = {name.strip() for name in re.split(r"[,;]|\bas\b", text.replace("\n", " ").partition("Read are")[2])}
    for name, read_as in duckdb_table.READ_AS.items():
        assert re.sub(" +", " ", name) in {re.sub(" +", " ", each) for each in said}, (name, read_as)


def test_whatever_is_refused_by_its_name_is_named() -> None:
    said = section("What each kind is read as")
    for _, reason in OTHERS:
        name = re.search(r"This is (an old Excel file|[\w-]+)", reason)
        assert name is not None
        assert name[1] in said, reason
