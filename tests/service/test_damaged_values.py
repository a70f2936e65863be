"""One damaged value, in any column of any table: nobody meets a fault, and the state can be left.

The columns are those of the schema itself, so that a new one is looked at too. In a town in which something of
everything stands, one row's value is changed at rest; then the service starts, and all who read or go on do so. Nothing
may be answered with a fault of the service's own, and none may wait for ever. A start may be refused, for the log's own
rows alone, with a sentence that says what to run.
"""

import asyncio
import secrets
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Column, LargeBinary, Table, Text
from sqlalchemy.types import Boolean, String

from ledger import jws
from ledger.errors import MusubiError, Unavailable
from policies.consents.bundle import Bundle
from policies.consents.erasure import ErasedWord, ErasureOrder, make_erasure
from policies.replay import entry_sha256
from policies.rules import STOPS, make_rules_word
from queries.rounds.messages import Countersign, Go, Share, Task, Word, WorkAnswer
from tests.kit.amounts import LONG
from tests.kit.towns.running import TABLES, Node, Resident, Running, Town, consent_of, lay_out, query, question, run
from tests.kit.towns.toy_town import HEALTH, HOLDERS, ORIGIN
from trust.service.settings import load_settings
from trust.service.upkeep.fsck.check import fsck

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
LOG_ROWS = {"entries", "head", "published"}
"""Without these nothing can be signed: a start may be refused where one is damaged."""
NAMED = {
    "records.sealed",
    "erased_words.token",
    "confirmations.token",
    "rules_words.token",
    "messages.token",
    "erasures.approvals",
    "idempotency.answer",
    "grants.consent",
    "grants.policy_sha256",
    "entries.data",
    "published.checkpoint",
}
"""What `musubi fsck` tells by its name where it is cut short."""
WAYS = ("a low bit", "a high bit", "cut short", "emptied")


@dataclass
class Lived:
    """A town that something of everything stands in, at rest, and who goes on in it."""

    town: Town
    residents: list[Resident]
    bundles: list[Bundle]
    grants: list[int]
    stop: str
    erased: int
    asked: str
    admit: int
    answered: int
    revocation: dict[str, Any]
    key: str
    countersigned: str


@pytest.fixture(scope="module")
async def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    town = lay_out(tmp_path_factory.mktemp("lived") / "town", rules=STOPS, receipt_wait_seconds=2)
    async with run(town) as running:
        await running.found()
        residents = [Resident() for _ in range(6)]
        await running.enrol(*residents)
        bundles = [each.consent() for each in residents] + [residents[0].consent(HEALTH)]
        key = secrets.token_hex(16)
        grants = [*(await running.grant(*bundles[:6], key=key)), *(await running.grant(bundles[6]))]
        revocation = residents[1].revocation(bundles[1], grants[1])
        await running.done("/v1/revocations", revocation)
        stop = residents[2].stop(town, bundles[2], grants[2])
        await running.done("/v1/stops", stop)
        order = town.approved("erasure", ErasureOrder(log=ORIGIN, index=grants[3]))
        ordered = {"order": order["erasure"], "signatures": order["signatures"]}
        (gone, *_) = (await running.done("/v1/erasures/ordered", ordered))["erased"]
        await running.settle()
        word = ErasedWord(
            from_="clinic",
            log=ORIGIN,
            at=running.clock(),
            index=grants[3],
            entry=gone["entry"],
            entry_sha256=entry_sha256(await running.entry(gone["entry"])),
        )
        await running.done("/v1/node/erased", {"words": [running.nodes["clinic"].sign(word)]})
        for alias in HOLDERS:
            said = await running.post("/v1/node/rules", make_rules_word(town.keys[alias], log=ORIGIN, holder=alias))
            assert said.is_success
        answered = (await running.ask(question(town, query()))).admit
        participants = participants_of(running, answered)
        await running.countersign(answered, *participants)
        for alias in participants:
            await running.share(answered, alias, [3])
        refused_one = await running.post("/v1/questions", question(town, query(spend={"epsilon": "99"})))
        assert refused_one.status_code >= 400
        asked = question(town, query(), fresh=True)
        admit = (await running.ask(asked)).admit
        (countersigned,) = await running.countersign(admit, participants[0])
        await running.settle()
        published = running.service.sequencer.size
        for alias in HOLDERS:
            await running.work(alias, size=published, not_ready=[f"{'0' * 64}/of_another_policy"])
        lost = Resident(subject=residents[5].subject)
        await running.done("/v1/lost-devices", lost.enrolment(town, for_="lost-device"))
        await running.settle()
    return Lived(
        town=town,
        residents=residents,
        bundles=bundles,
        grants=grants,
        stop=stop,
        erased=grants[3],
        asked=asked,
        admit=admit,
        answered=answered,
        revocation=revocation,
        key=key,
        countersigned=countersigned,
    )


def participants_of(running: Running, admit: int) -> list[str]:
    return list(running.service.store.state.rounds[admit].admit.participants)


def altered(value: Any, column: Column[Any], way: str) -> Any:
    """Return a stored value as damage leaves it; the same where that way does not touch it."""
    if isinstance(value, bytes) or isinstance(column.type, LargeBinary | String | Text):
        data = value if isinstance(value, bytes) else str(value).encode()
        middle = len(data) // 2
        if way == "a low bit":
            changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else b"\x01"
        elif way == "a high bit":
            changed = data[:middle] + bytes([data[middle] ^ 128]) + data[middle + 1 :] if data else b"\x80"
        else:
            changed = data[:middle] if way == "cut short" else b""
        return changed
    if isinstance(column.type, Boolean):
        return 1 - int(value)
    return int(value) ^ {"a low bit": 1, "a high bit": 1 << 40, "cut short": 1 << 3, "emptied": 1 << 60}[way]


def damage(folder: Path, table: Table, column: Column[Any], way: str) -> int:
    """Change the column's value in every row of the table in turn of its kind: the last row; return how many stand."""
    with sqlite3.connect(folder / "service.sqlite") as db:
        rows = db.execute(f'SELECT rowid, "{column.name}" FROM "{table.name}" ORDER BY rowid').fetchall()
        present = [(place, value) for place, value in rows if value is not None]
        for place, value in present[-1:]:
            new = altered(value, column, way)
            text = isinstance(column.type, String | Text) and not isinstance(column.type, LargeBinary)
            to = "CAST(? AS TEXT)" if text else "?"
            db.execute(f'UPDATE OR REPLACE "{table.name}" SET "{column.name}" = {to} WHERE rowid = ?', (new, place))
    return len(present)


COLUMNS = [
    pytest.param(table, column, id=f"{table.name}.{column.name}") for table in TABLES for column in table.columns
]


@pytest.mark.many(4)
@pytest.mark.parametrize(("table", "column"), COLUMNS)
async def test_a_damaged_value_is_as_good_as_lost_and_faults_nobody(
    lived: Lived, tmp_path: Path, table: Table, column: Column[Any]
) -> None:
    place = sum(
        map(len, (table.name, column.name))
    )  # each time one of the ways for each column, and all in the long run
    for number, way in enumerate(WAYS if LONG else [WAYS[place % len(WAYS)]]):
        folder = tmp_path / str(number)
        shutil.copytree(lived.town.folder, folder)
        town = Town(folder, lived.town.genesis, lived.town.keys, lived.town.stewards, "")
        stand = damage(town.service, table, column, way)
        assert stand or table.name == "nonces", "nothing stands there: the town has to be lived in more"
        report = await asyncio.to_thread(fsck, load_settings(town.service))  # whatever it finds, it says so
        if way == "cut short" and f"{table.name}.{column.name}" in NAMED:
            assert table.name in {finding.resource.partition("/")[0] for finding in report.findings}
        refusal = await lived_in(town, lived)
        assert refusal is None or (table.name in LOG_ROWS and refusal.message.endswith(".")), refusal


async def lived_in(town: Town, lived: Lived) -> MusubiError | None:
    """Start the service and let everybody go on; return why it does not start, where it does not."""
    started = False
    try:
        async with run(town) as running:
            started = True
            await everybody_goes_on(running, lived)
    except (MusubiError, BaseExceptionGroup) as error:
        refusal = None if started else reason_of(error)
        if refusal is None:
            raise
        return refusal
    return None


def reason_of(error: BaseException) -> MusubiError | None:
    """Return the one reason that an application gave for not starting: what is shown instead of a trace."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, MusubiError) else None


async def everybody_goes_on(running: Running, lived: Lived) -> None:
    """Read and do, as everybody would; whatever is answered, it is no fault of the service's own."""
    answers: list[tuple[str, httpx.Response]] = []

    async def get(path: str) -> None:
        answers.append((path, await running.client.get(path)))

    async def post(path: str, body: object, key: str | None = None) -> None:
        answers.append((path, await running.post(path, body, key)))

    size = running.service.sequencer.size
    sha256 = running.service.store.state.policies["mobility"].sha256
    for path in (
        "/",
        "/metrics",
        "/healthz",
        "/readyz",
        "/v1/caught-up",
        "/v1/rules",
        "/v1/rounds",
        "/v1/policies",
        "/v1/members",
        "/v1/log-keys",
        f"/v1/erasures/{lived.erased}",
        f"/v1/rounds/{lived.answered}",
        f"/v1/rounds/{lived.answered}/shares",
        f"/v1/rounds/{lived.admit}",
        *(f"/v1/log/stopped/{index}" for index in range(size)),
        *(f"/v1/log/uses/{sha256}/{grant}" for grant in lived.grants),
        *(f"/v1/receipts/{index}" for index in range(0, size, 5)),
        *(f"/v1/entries/{index}" for index in range(size)),
    ):
        await get(path)
    for resident in lived.residents:
        await post("/v1/residents/consents", jws.sign(resident.mine(), resident.key))
    await post("/v1/grants", {"bundles": lived.bundles[:6]}, lived.key)
    await post("/v1/questions", lived.asked)
    await post("/v1/questions", question(running.town, query()))
    await post("/v1/revocations", lived.revocation)
    await post("/v1/stops", lived.stop)
    for alias in HOLDERS:
        node = running.nodes[alias]
        await post("/v1/node/leaves", node.sign(node.leaves(0, size)))
        await post("/v1/node/work", node.sign(node.work(at=running.clock())))
        await post("/v1/node/rules", make_rules_word(running.town.keys[alias], log=ORIGIN, holder=alias))
    try:
        await round_ends(running, lived)
    except AssertionError:  # an entry of the ledger itself is damaged: the service looks for that, says so, and halts
        if not isinstance(running.service.store.halted, Unavailable):
            raise
    one, bundle, grant = lived.residents[0], lived.bundles[0], lived.grants[0]
    await post("/v1/revocations", one.revocation(bundle, grant) | {"granted": bundle})
    said: dict[str, Any] = {"log": ORIGIN, "consent": consent_of(bundle), "grant": grant, "said_at": running.clock()}
    await post("/v1/erasures", make_erasure(one.key, **said))
    newcomer = Resident()
    await post("/v1/enrolments", {"enrolments": [newcomer.enrolment(running.town)]})
    await post("/v1/grants", {"bundles": [newcomer.consent()]}, secrets.token_hex(16))
    faults = [
        (path, answer.text) for path, answer in answers if answer.status_code == 500 or "fault" in answer.text[:200]
    ]
    assert faults == []


async def round_ends(running: Running, lived: Lived) -> None:
    """Let the open round go on as its nodes do: each says again what it has said, whenever it is asked; and it ends."""
    admit, state = lived.admit, running.service.store.state
    participants, data = participants_of(running, admit), await running.entry(admit)
    kept = {(participants[0], "countersign"): lived.countersigned}
    for _ in range(8):
        for alias in participants:
            node = running.nodes[alias]
            answer = await running.post("/v1/node/work", node.sign(node.work(at=running.clock())))
            assert answer.status_code == 200, answer.text
            for task in jws.read_unverified(answer.text, WorkAnswer).tasks:
                if task.admit != admit:
                    continue
                if (alias, task.step) not in kept:
                    kept[alias, task.step] = node.sign(_message(node, task, admit, data))
                taken = await running.post(f"/v1/node/{task.step}", kept[alias, task.step])
                assert taken.status_code < 500, taken.text
        if admit not in state.rounds:
            return
    raise AssertionError(f"the round does not end: {kept.keys()}")


def _message(node: Node, task: Task, admit: int, data: bytes) -> Countersign | Share | Word:
    if task.step == "countersign":
        return node.countersign(admit, data)
    if task.step == "word":
        return node.word(admit, data)
    return node.share(admit, data, jws.read_unverified(str(task.go), Go).transcript, [3])
