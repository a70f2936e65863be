"""Kills of everything that runs, while residents, partners and readers go on: nothing is lost, stuck or denied."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog

from ledger import entries as e
from ledger.errors import MusubiError, NotFound
from policies.ledger_state import State
from policies.replay import MemoryConsents, grant_in_force
from queries.replay import replay
from tests.kit.amounts import amount
from tests.kit.towns.town_of_two import PARTNER, TownOfTwo, town_of_two
from tests.kit.waiting import random_moment, until
from trust.client import paths
from trust.client.service import ServiceClient
from trust.files.keys import read_secret
from trust.log.follower import LogFollower
from trust.log.source import HttpLog
from trust.resident.device import revoke
from trust.resident.erasure import erase
from trust.resident.giving import current, grant
from trust.runtime.clock import system_clock
from trust.town.play_residents import seed_of
from trust.town.up import client_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(10_800)]
KILLS = amount(12, 1_000)
VICTIMS = ("service", "service", "witness", "east", "west")
PEOPLE = 40
logger = structlog.get_logger()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path / "town") as made:
        yield made


@dataclass
class Load:
    """What was told to whom while everything was being killed: each line was acknowledged, with a receipt checked."""

    town: TownOfTwo
    over: threading.Event = field(default_factory=threading.Event)
    granted: dict[int, bytes] = field(default_factory=dict)
    """Each consent's entry, by its index."""
    revoked: dict[int, int] = field(default_factory=dict)
    """Where a consent's end is, by the consent's index."""
    erased: set[int] = field(default_factory=set)
    replaced: set[int] = field(default_factory=set)
    asked: list[int] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    """What was published and then said not to be there."""
    unexpected: list[str] = field(default_factory=list)
    waits: Counter[str] = field(default_factory=Counter)

    def run(self, what: Callable[[random.Random], None], seed: int) -> threading.Thread:
        """Do something again and again, whatever the service answers, until it is over."""

        def again() -> None:
            chance = random.Random(seed)
            while not self.over.is_set():
                try:
                    what(chance)
                except MusubiError as error:
                    self.waits[error.code] += 1
                    random_moment(chance, 0.2)
                except Exception as error:  # noqa: BLE001 - whatever it is, the test is to say so
                    self.unexpected.append(f"{type(error).__name__}: {error}")
                    random_moment(chance, 0.2)

        thread = threading.Thread(target=again)
        thread.start()
        return thread


def resident(load: Load, client: ServiceClient, people: range) -> Callable[[random.Random], None]:
    """Play one after another of some people: they agree, take it back, have it destroyed."""
    seeds = read_secret(load.town.layout.people / "seeds.key")
    mine: list[tuple[int, int]] = []

    def act(chance: random.Random) -> None:
        kind = chance.choice(["grant", "grant", "revoke", "erase"])
        if kind == "grant" or not mine:
            person = chance.choice(people)
            policy = current(client, chance.choice(["everyone", "hasty"]))
            given = grant(
                client,
                seed_of(seeds, person),
                policy,
                holders=list(policy.holders),
                until=policy.until[-1],
                yearly_cap=policy.yearly_caps[-1],
                language="ja",
                shown_at=system_clock(),
            )
            index = given.index
            mine[:] = [each for each in mine if each[1] not in given.replaced]
            load.replaced |= set(given.replaced)
            load.granted[index] = client.prove(index).data
            mine.append((person, index))
            return
        person, index = mine[chance.randrange(len(mine))]
        if kind == "revoke":
            load.revoked[index] = revoke(client, seed_of(seeds, person), index).revoked.index
        else:
            erase(client, seed_of(seeds, person), index)
            load.erased.add(index)
        mine.remove((person, index))

    return act


def partner(load: Load, client: ServiceClient) -> Callable[[random.Random], None]:
    """Ask one question after another; what is admitted must end."""
    town = load.town

    def act(chance: random.Random) -> None:
        query, _ = town.question(chance.choice(["everyone", "hasty"]), epsilon="0.001")
        signed = client.question(query, PARTNER, town.layout.signing_key(PARTNER), fresh=True)
        load.asked.append(client.ask(signed).admit)
        random_moment(chance, 0.5)

    return act


def reader(load: Load, client: ServiceClient) -> Callable[[random.Random], None]:
    """Look at what was published: it may be out of reach for a moment, and is never said not to be there."""

    def act(chance: random.Random) -> None:
        known = list(load.granted)
        if known:
            index = chance.choice(known)
            try:
                assert client.prove(index).data == load.granted[index]
            except NotFound:
                load.denied.append(f"entry {index}")
        random_moment(chance, 0.05)

    return act


def kill_and_start(town: TownOfTwo, chance: random.Random) -> None:
    """Kill one process, or several at once, at any moment, and start them again after a while."""
    random_moment(chance, 1.5)
    victims = set(chance.choices(VICTIMS, k=chance.choice([1, 1, 1, 2, 3])))
    for name in victims:
        town.processes.kill(name)
    random_moment(chance, 0.5)
    if "witness" in victims:
        town.processes.start_witness()
    if "service" in victims:
        town.processes.start_service()
        town.processes.wait_until_ready()
    for holder in victims & set(town.holders):
        town.processes.start_node(holder)


def ledger_of(town: TownOfTwo) -> tuple[State, list[bytes]]:
    """Replay the whole ledger as an auditor does."""
    log = HttpLog(town.layout.url)
    state, seen = State(), MemoryConsents()
    entries: list[bytes] = []
    for batch in LogFollower(log, town.client.trust.log_keys, town.client.trust.witnesses).follow():
        for data in batch.entries:
            replay(state, len(entries), data, seen)
            entries.append(data)
    log.close()
    return state, entries


def _all_have_ended(town: TownOfTwo, asked: list[int]) -> bool:
    """Return whether what was admitted has ended, and everything else that is published."""
    return all(town.client.watch(admit, 0).closed_by is not None for admit in asked) and not town.client.get(
        paths.ROUNDS, list[int]
    )


def test_whatever_is_killed_nothing_is_lost_no_round_is_stuck_and_nothing_published_is_denied(town: TownOfTwo) -> None:
    load, chance = Load(town), random.Random(7)
    clients = [client_of(town.layout) for _ in range(5)]
    threads = [load.run(resident(load, clients[n], range(n, PEOPLE, 3)), n) for n in range(3)]
    threads += [load.run(partner(load, clients[3]), 3), load.run(reader(load, clients[4]), 4)]
    try:
        for _ in range(KILLS):
            kill_and_start(town, chance)
    finally:
        load.over.set()
        for thread in threads:
            thread.join()
    assert load.unexpected == []
    assert load.denied == []
    until(lambda: _all_have_ended(town, load.asked))
    town.wait_until_caught_up()
    state, entries = ledger_of(town)
    for index, data in load.granted.items():
        assert entries[index] == data
    for index, end in load.revoked.items():
        assert e.decode(entries[end]).grant == index  # type: ignore[union-attr]
    for index in load.granted.keys() & (load.revoked.keys() | load.erased | load.replaced):
        assert grant_in_force(state, index) is None
    assert load.erased <= state.erased
    ends = Counter(entry.admit for entry in map(e.decode, entries) if isinstance(entry, e.Closing))
    assert [ends[admit] for admit in load.asked] == [1] * len(load.asked)
    report = town.audit()
    assert (report.verdict, report.open_rounds) == ("ok", [])
    logger.info(
        "kills-under-load",
        kills=KILLS,
        granted=len(load.granted),
        revoked=len(load.revoked),
        erased=len(load.erased),
        replaced=len(load.replaced),
        asked=len(load.asked),
        kinds=report.kinds,
        waits=dict(load.waits),
    )
