"""A town's folder is read strictly: what is wrong is named, with its file and place."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from ledger.errors import Malformed, Unavailable
from trust.node.settings import load_node_settings
from trust.node.sources.source_file import SourceFile
from trust.town.document import Town
from trust.town.layout import lay_out
from trust.town.loader import generate, load_town, read_residents

MOMIJIDAI = Path(__file__).parents[2] / "towns" / "momijidai"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of Momijidai to spoil."""
    return Path(shutil.copytree(MOMIJIDAI, tmp_path / "town", ignore=shutil.ignore_patterns("__pycache__")))


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, "the fixture no longer holds what this test spoils"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_good_town_gives_its_members_policies_and_questions() -> None:
    town = load_town(MOMIJIDAI)
    assert [holder.alias for holder in town.holders] == ["town_hall", "bus_co", "health_app", "food_app"]
    assert {policy.group for policy in town.policies} == {"living", "health", "community", "excursion", "sdgs"}
    assert len(town.policies) == 5
    assert any(len(policy.holders) > 1 for policy in town.policies)
    assert any(len(view.holders) == 2 for policy in town.policies for view in policy.views)
    assert {consent.policy for consent in town.consents} == {policy.id for policy in town.policies}
    assert town.policy("mobility_demand") in town.policies
    assert town.policy("no_such_policy") is None
    assert len(town.questions) >= 6


def test_notices_name_every_holder_and_every_partner_in_both_languages() -> None:
    town = load_town(MOMIJIDAI)
    titles = {member.alias: member.title for member in town.members}
    for policy in town.policies:
        for alias in {*policy.holders, *policy.partners}:
            # Titles carry a word of what the member is; the notice may leave it to the sentence.
            name = titles[alias]["ja"].removeprefix("もみじ市もみじ台").removeprefix("食品ロス削減アプリ")
            assert name.removeprefix("健康ポイント") in policy.notice["ja"], f"{policy.id} hides {alias}"
            english = titles[alias]["en"].removesuffix(" Food-Loss App").removesuffix(" Health Points")
            assert english in policy.notice["en"], f"{policy.id} hides {alias}"


def test_a_notice_promises_as_many_rows_as_the_views_take() -> None:
    for policy in load_town(MOMIJIDAI).policies:
        for view in policy.views:
            if view.rows_per_resident > 1:
                assert f"{view.rows_per_resident}" in policy.notice["ja"].partition("■ だれが")[0]
                assert f"at most {view.rows_per_resident} " in policy.notice["en"]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("town.toml", "quorum = 2", "quorum = 2\ncolour = 'red'", "town.toml: Object contains unknown field `colour`"),
        ("town.toml", "quorum = 2", "", "town.toml: Object missing required field `quorum`"),
        ("town.toml", "quorum = 2", "quorum = 4", "The quorum is 4, but there are 3 stewards"),
        ("town.toml", "quorum = 2", "quorum = 'two'", "town.toml, $.quorum: Expected `int`"),
        ("town.toml", "quorum = 2", "quorum = ", "town.toml is not TOML"),
        ("town.toml", '"Asia/Tokyo"', '"Asia/Momijidai"', "The time zone 'Asia/Momijidai' is not known"),
        ("town.toml", '"Asia/Tokyo"', '"../../etc/passwd"', "is not known"),
        ("town.toml", 'en = "City of Momiji"', 'fr = "Ville"', "The title of 'city' lacks the language 'en'"),
        ("town.toml", 'alias = "clinic"', 'alias = "bus_co"', "The alias 'bus_co' is given twice"),
        ("town.toml", 'alias = "clinic"', 'alias = "city"', "The alias 'city' is given twice"),
        ("town.toml", '["rides", "outings"]', "[]", "The member 'bus_co' must be a holder and have sources"),
        ("town.toml", '["rides", "outings"]', '["rides", "rides"]', "The member 'bus_co' repeats a role or a source"),
        ("town.toml", '["rides", "outings"]', '["rides"]', "needs the source 'outings', which 'bus_co' lacks"),
        ("town.toml", 'roles = ["operator"]', 'roles = ["partner"]', "exactly one member with the role 'operator'"),
        ("town.toml", 'roles = ["operator"]', 'roles = ["mayor"]', "town.toml, $.member[8].roles[0]"),
        ("town.toml", '"holder", "identity"', '"holder"', "needs a member with the role 'identity'"),
        ("town.toml", 'policy = "food_loss"', 'policy = "food"', "the policy 'food', which the town does not have"),
        ("town.toml", 'policy = "food_loss"', 'policy = "autumn_outings"', "There are two consents for the policy"),
        (
            "town.toml",
            'share = "0.85"',
            'share = "1.01"',
            "The consent share of the policy 'mobility_demand' is above 1",
        ),
        ("town.toml", 'share = "0.85"', "share = 0.85", "town.toml, $.consent[0].share: Expected `str`"),
        ("town.toml", 'as = "clinic"\ntitle', 'as = "service"\ntitle', "asked as 'service', who is not a partner"),
        ("town.toml", "revoke = 25", "revoke = 5001", "More residents revoke than there are"),
        ("policies/food_loss.toml", 'id = "food_loss"', 'id = "food"', "policies/food_loss.toml: The file is named"),
        ("policies/food_loss.toml", "reuse =", "re_use =", "policies/food_loss.toml: Object contains unknown field"),
        (
            "policies/food_loss.toml",
            "ja-easy =",
            "ja_easy =",
            "policies/food_loss.toml: The policy's notice lacks plain",
        ),
        ("policies/food_loss.toml", 'en = "No food', 'fr = "No food', "The policy's title lacks the language 'en'"),
        ("policies/food_loss.toml", '"health_app"]\n', '"health_app", "clinic"]\n', "The town has no holder 'clinic'"),
        ("policies/food_loss.toml", '["supermarket"', '["greengrocer"', "The town has no partner 'greengrocer'"),
        (
            "policies/food_loss.toml",
            'controller = "food_app"',
            'controller = "x"',
            "The controller 'x' is not a member",
        ),
        (
            "policies/food_loss.toml",
            'source = "points"',
            'source = "p"',
            "needs the source 'p', which 'food_app' lacks",
        ),
        (
            "policies/food_loss.toml",
            "2027-03-31",
            "2027-03-30",
            "policies/food_loss.toml: A policy's until is the last day",
        ),
        ("policies/food_loss.toml", "hi = 1_000", "hi = 1.5", "policies/food_loss.toml, $.views[0].columns[4]"),
    ],
)
def test_a_spoiled_town_is_refused_with_the_file_and_the_place(
    folder: Path, file: str, old: str, new: str, said: str
) -> None:
    spoil(folder / file, old, new)
    with pytest.raises(Malformed) as refusal:
        load_town(folder)
    assert said in refusal.value.message
    assert "\n" not in refusal.value.message


@pytest.mark.parametrize(
    ("remove", "said"),
    [
        ("town.toml", "town.toml is missing"),
        ("policies", "no policies/*.toml"),
        ("generate.py", "lacks generate.py"),
    ],
)
def test_a_town_that_lacks_a_part_is_refused(folder: Path, remove: str, said: str) -> None:
    path = folder / remove
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(Malformed, match=said.replace("*", r"\*")):
        load_town(folder)


def test_a_file_that_is_not_utf_8_is_refused(folder: Path) -> None:
    (folder / "town.toml").write_bytes("name = 'もみじ台'".encode("shift_jis"))
    with pytest.raises(Malformed, match=r"town\.toml is not UTF-8"):
        load_town(folder)


def test_a_generator_that_fails_is_reported_without_its_words(folder: Path, tmp_path: Path) -> None:
    (folder / "generate.py").write_text("raise SystemExit('customer 4711 broke it')", encoding="utf-8")
    with pytest.raises(Unavailable, match=r"generate\.py ended with code 1") as refusal:
        generate(load_town(folder), tmp_path / "out")
    assert "4711" not in refusal.value.message


def test_a_generator_that_lacks_its_data_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    (folder / "generate.py").write_text(
        "import sys; print('Fetch the data first.', file=sys.stderr); sys.exit(69)", encoding="utf-8"
    )
    with pytest.raises(Unavailable, match=r"^Fetch the data first\.$"):
        generate(load_town(folder), tmp_path / "out")


def test_a_generator_that_leaves_out_a_source_is_refused(folder: Path, tmp_path: Path) -> None:
    spoil(folder / "generate.py", 'write(out, "bus_co", "outings", columns)', "pass")
    with pytest.raises(Malformed, match=r"did not write bus_co/outings\.parquet or bus_co/outings\.csv"):
        generate(load_town(folder), tmp_path / "out", residents=50)


WRITES_CSV = "csv.write_csv(pa.table(columns), out / holder / f'{source}.csv')"


def test_a_generator_may_write_a_source_as_csv_and_the_node_gets_it(folder: Path, tmp_path: Path) -> None:
    writes = 'parquet.write_table(pa.table(columns), out / holder / f"{source}.parquet", compression="zstd")'
    spoil(folder / "generate.py", writes, WRITES_CSV)
    spoil(folder / "generate.py", "from pyarrow import parquet", "from pyarrow import csv, parquet")
    town = load_town(folder)
    layout = lay_out(town, tmp_path / "laid", residents=50, port=1, witness_port=2)
    for holder in town.holders:
        settings = load_node_settings(layout.node(holder.alias))
        ending = {"rides": "parquet"}  # written week by week, by other words
        assert settings.sources == {source: f"data/{source}.{ending.get(source, 'csv')}" for source in holder.sources}
        for source, mapping in settings.mappings.items():
            file = SourceFile(layout.node(holder.alias) / mapping.place, mapping)
            assert sum(part.num_rows for part in file.read(file.columns()[:1])) > 0, source


def test_a_generator_that_writes_a_source_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    writes = 'parquet.write_table(pa.table(columns), out / holder / f"{source}.parquet", compression="zstd")'
    spoil(folder / "generate.py", writes, f"{writes}; {WRITES_CSV}")
    spoil(folder / "generate.py", "from pyarrow import parquet", "from pyarrow import csv, parquet")
    with pytest.raises(Malformed, match=r"wrote both .*\.parquet and .*\.csv"):
        generate(load_town(folder), tmp_path / "out", residents=50)


def _without_a_holder(table: pa.Table) -> pa.Table:
    return table.drop_columns(["bus_co"])


def _numbers_not_text(table: pa.Table) -> pa.Table:
    return table.set_column(table.column_names.index("bus_co"), "bus_co", pa.array(range(table.num_rows)))


def _person_from_one(table: pa.Table) -> pa.Table:
    return table.set_column(table.column_names.index("person"), "person", pa.array(range(1, table.num_rows + 1)))


def _one_number_for_all(table: pa.Table) -> pa.Table:
    return table.set_column(table.column_names.index("bus_co"), "bus_co", pa.array(["MK00000000"] * table.num_rows))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without_a_holder, "other columns"),
        (_numbers_not_text, "not text"),
        (_person_from_one, "count person from 0"),
        (_one_number_for_all, "two people one customer number at 'bus_co'"),
    ],
)
def test_a_residents_file_with_a_fault_is_refused(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    town = load_town(MOMIJIDAI)
    generate(town, tmp_path, residents=50)
    parquet.write_table(change(parquet.read_table(tmp_path / "residents.parquet")), tmp_path / "residents.parquet")
    with pytest.raises(Malformed, match=said):
        read_residents(town, tmp_path)


def test_a_missing_residents_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="missing or not Parquet"):
        read_residents(load_town(MOMIJIDAI), tmp_path)


def test_a_town_is_a_value() -> None:
    assert load_town(MOMIJIDAI) == load_town(MOMIJIDAI)
    with pytest.raises(AttributeError):
        load_town(MOMIJIDAI).name = "other"  # type: ignore[misc]
    assert "folder" in msgspec.structs.asdict(load_town(MOMIJIDAI))
    assert issubclass(Town, msgspec.Struct)
