"""A node signs by which mapping its data was read: whoever sees its countersignatures sees when that was changed."""

from pathlib import Path

import pytest
from msgspec import UnsetType

from ledger import jws
from queries.rounds.messages import SAYS_MAPPING, Countersign
from tests.kit.parties.lying_service import Stage, staged


def signed(stage: Stage) -> str | UnsetType:
    """Return the mapping's hash in the countersignature of one more question, which is answered."""
    admit = stage.admit()
    assert stage.countersign(admit) == []
    return jws.read_unverified(stage.own(admit), Countersign).mapping_sha256


def write(stage: Stage, ward: str) -> None:
    """Have node.toml say from which column of the file the ward comes, and start the node anew."""
    path: Path = stage.folder / "node.toml"
    head = path.read_text().partition("[sources")[0]
    path.write_text(
        f'{head}[sources.trips]\nfile = "data/trips.parquet"\n[sources.trips.columns]\nward = {{ {ward} }}\n'
    )
    stage.restart()
    stage.turn()


def test_a_changed_mapping_is_seen_in_the_next_countersignature_and_a_changed_file_is_not() -> None:
    with staged() as stage:
        stage.turn()
        plain = signed(stage)
        assert isinstance(plain, str)
        assert signed(stage) == plain
        data = stage.folder / "data" / "trips.parquet"
        before = data.read_bytes()
        write(stage, 'read = ["strip"]')
        stripped = signed(stage)
        assert isinstance(stripped, str)
        assert stripped != plain
        assert data.read_bytes() == before


def test_until_a_file_is_taken_in_by_it_a_new_mapping_is_not_what_is_signed() -> None:
    with staged() as stage:
        stage.turn()
        plain = signed(stage)
        (stage.folder / "data" / "trips.parquet").write_bytes(b"damaged")
        write(stage, 'read = ["strip"]')
        assert signed(stage) == plain


@pytest.mark.parametrize("rules", range(1, SAYS_MAPPING))
def test_under_older_rules_a_countersignature_is_as_older_nodes_read_it(rules: int) -> None:
    with staged(rules=rules) as stage:
        stage.turn()
        assert isinstance(signed(stage), UnsetType)
