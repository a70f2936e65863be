"""The records of real people stand in for a town, unchanged; where they are absent these tests say so and skip."""

import os
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from ledger.errors import Unavailable
from policies.policy_document import Category
from trust.town.document import Town
from trust.town.loader import generate, load_town, read_residents, source_path

ROOT = Path(__file__).parents[2]
OULAD = ROOT / "tests" / "towns" / "oulad"
DATA = Path(os.environ.get("MUSUBI_DATA", ROOT.parent / "shared" / "data"))
PLACE = DATA / "oulad" if (DATA / "oulad").is_dir() else DATA
here = pytest.mark.skipif(
    not (PLACE / "students.parquet").is_file(), reason="the OULAD tables are not here; set MUSUBI_DATA to their folder"
)


@pytest.fixture(scope="module")
def town() -> Town:
    return load_town(OULAD)


@pytest.fixture(scope="module")
def out(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("oulad")
    generate(town, folder)
    return folder


def test_the_town_has_three_holders_and_three_policies_to_which_everybody_consents(town: Town) -> None:
    assert {holder.alias: holder.sources for holder in town.holders} == {
        "registry": ["students"],
        "results": ["results"],
        "registrations": ["registrations"],
    }
    assert len(town.policies) >= 3
    assert {consent.policy: consent.share for consent in town.consents} == {policy.id: "1" for policy in town.policies}
    assert town.residents == 28_785


@pytest.mark.parametrize("named", ["", "/nonexistent", "a-folder-without-tables"])
def test_without_the_data_the_town_names_the_setting_and_writes_nothing(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("MUSUBI_DATA", named or str(tmp_path))
    with pytest.raises(Unavailable, match="set MUSUBI_DATA"):
        generate(town, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@here
def test_the_folder_of_the_tables_itself_will_do(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSUBI_DATA", str(PLACE.resolve()))
    generate(town, tmp_path, residents=10)
    assert len(read_residents(town, tmp_path)) == 10


@here
def test_each_holder_gets_its_table_unchanged(out: Path) -> None:
    for holder, source in (("registry", "students"), ("results", "results"), ("registrations", "registrations")):
        assert source_path(out, holder, source).read_bytes() == (PLACE / f"{source}.parquet").read_bytes()


@here
def test_all_28785_people_are_residents_and_23369_are_customers_of_results(town: Town, out: Path) -> None:
    people = read_residents(town, out)
    assert len(people) == 28_785
    assert sum("results" in person for person in people) == 23_369
    assert all(person["registry"] == person["registrations"] for person in people)
    assert all(person.get("results", person["registry"]) == person["registry"] for person in people)
    for holder, source in (("registry", "students"), ("results", "results")):
        numbers = {
            str(n) for n in parquet.read_table(source_path(out, holder, source)).column("id_student").to_pylist()
        }
        assert {person[holder] for person in people if holder in person} == numbers


@here
def test_fewer_residents_are_the_first_by_identifier_and_all_rows_stay(town: Town, out: Path, tmp_path: Path) -> None:
    generate(town, tmp_path, residents=100)
    few = read_residents(town, tmp_path)
    assert few == read_residents(town, out)[:100]
    numbers = [int(person["registry"]) for person in few]
    assert numbers == sorted(numbers)
    assert parquet.read_metadata(source_path(tmp_path, "results", "results")).num_rows == 173_912


@here
def test_every_declared_value_occurs_and_no_other_does_but_null(town: Town, out: Path) -> None:
    for policy in town.policies:
        for view in policy.views:
            table = parquet.read_table(source_path(out, view.holders[0], view.source))
            for spec in view.columns:
                if isinstance(spec, Category):
                    seen = set(table.column(spec.name).to_pylist())
                    assert seen - {None} == set(spec.values) - {spec.other}
                    assert (None in seen) == bool(spec.other)


@here
def test_bounds_drop_and_clip_nothing_of_the_published_data(town: Town, out: Path) -> None:
    for policy in town.policies:
        for view in policy.views:
            table = parquet.read_table(source_path(out, view.holders[0], view.source))
            _, rows = np.unique(table.column(view.resident).to_numpy(), return_counts=True)
            assert rows.max() == view.rows_per_resident or view.rows_per_resident == 1
            for spec in view.columns:
                if not isinstance(spec, Category):
                    values = [value for value in table.column(spec.name).to_pylist() if value is not None]
                    assert spec.lo <= min(values) <= max(values) <= spec.hi
