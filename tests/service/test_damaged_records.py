"""A record that does not open is as good as lost, for everybody who needs it, and ``fsck`` names it."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from ledger import jws
from policies.consents.bundle import Bundle
from queries.rounds.messages import LeavesAnswer
from tests.kit.towns.running import Resident, Running, Town, lay_out, run
from tests.kit.towns.toy_town import MOBILITY
from trust.service.settings import load_settings
from trust.service.upkeep.fsck.check import fsck

pytestmark = pytest.mark.anyio
Damage = Callable[[bytes, bytes], tuple[bytes | None, bytes | None]]
"""What becomes of (sealed record, key); None where the row is gone."""


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES: dict[str, Damage] = {
    "a bit of the nonce": lambda sealed, key: (flipped(sealed, 0), key),
    "a bit of the record": lambda sealed, key: (flipped(sealed, len(sealed) // 2), key),
    "a bit of its end": lambda sealed, key: (flipped(sealed, len(sealed) - 1), key),
    "a record cut short": lambda sealed, key: (sealed[:20], key),
    "an empty record": lambda _, key: (b"", key),
    "a bit of the key": lambda sealed, key: (sealed, flipped(key, 31)),
    "a key cut short": lambda sealed, key: (sealed, key[:31]),
    "no record": lambda _, key: (None, key),
    "no key": lambda sealed, _: (sealed, None),
}


def damage(town: Town, index: int, how: Damage) -> None:
    """Damage what the service's files hold of a record."""
    with (
        sqlite3.connect(town.service / "service.sqlite") as rows,
        sqlite3.connect(town.service / "record-keys.sqlite") as keys,
    ):
        (sealed,) = rows.execute('SELECT sealed FROM records WHERE "index" = ?', (index,)).fetchone()
        (key,) = keys.execute("SELECT key FROM keys WHERE place = ?", (index,)).fetchone()
        new_sealed, new_key = how(sealed, key)
        for database, table, name, place, value in (
            (rows, "records", "sealed", '"index"', new_sealed),
            (keys, "keys", "key", "place", new_key),
        ):
            if value is None:
                database.execute(f"DELETE FROM {table} WHERE {place} = ?", (index,))
            else:
                database.execute(f"UPDATE {table} SET {name} = ? WHERE {place} = ?", (value, index))


async def two_consents(running: Running) -> tuple[list[Resident], list[Bundle], list[int]]:
    residents = [Resident(), Resident()]
    await running.enrol(*residents)
    bundles = [resident.consent() for resident in residents]
    return residents, bundles, [(await running.grant(bundle))[0] for bundle in bundles]


@pytest.mark.parametrize("name", DAMAGES)
async def test_one_damaged_record_denies_nobody_anything_and_is_named(tmp_path: Path, name: str) -> None:
    town = lay_out(tmp_path / "town")
    async with run(town) as running:
        await running.found()
        residents, bundles, indices = await two_consents(running)
        await running.settle()
    damage(town, indices[0], DAMAGES[name])
    report = await asyncio.to_thread(fsck, load_settings(town.service))
    fault = "missing" if name.startswith("no ") else "altered"
    assert [(f.resource, f.fault) for f in report.findings] == [(f"records/{indices[0]}", fault)]

    async with run(town) as running:
        await running.settle()
        node = running.nodes["bus_co"]
        answer = await running.done("/v1/node/leaves", node.sign(node.leaves(0, indices[1])))
        leaves = jws.verify(answer, bytes(town.keys["operator"].verify_key), LeavesAnswer).leaves
        assert [held.index for held in leaves] == [indices[1]]
        for resident, record in zip(residents, ("lost", "kept"), strict=True):
            mine = await running.done("/v1/residents/consents", jws.sign(resident.mine(), resident.key))
            assert [each.get("record", "kept") for each in mine] == [record]
        revoked = await running.done("/v1/revocations", residents[0].revocation(bundles[0], indices[0]))
        assert revoked["index"] > indices[1]


async def test_the_newest_consents_are_shown_where_there_are_more_than_one_answer_holds(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trust.service.acts.own_consents.MOST", 3)
    resident = Resident()
    await running.enrol(resident)
    versions = [structs.replace(MOBILITY, id=f"again_{number}") for number in range(5)]
    for each in versions:
        await running.done("/v1/policies", running.town.approved("policy", each))
    given = [(await running.grant(resident.consent(each)))[0] for each in versions]
    mine = await running.done("/v1/residents/consents", jws.sign(resident.mine(), resident.key))
    assert [each["index"] for each in mine] == given[-3:]
