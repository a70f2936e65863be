"""The link desk: who of a holder's customers stands behind which key. What does not check is dropped and counted."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from policies.consents.attestation import CHALLENGE_SECONDS, make_challenge, make_link
from policies.pairwise_keys import pairwise_key, public_hex
from tests.kit.parties.lying_service import ME, OTHER, SECRETS, Stage, staged
from tests.kit.towns.residents import seed_of
from tests.kit.waiting import until

Line = Callable[[int], dict[str, str]]


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged(people=0, reads=False) as made:
        yield made


def answered(now: int, person: int = 1, customer: str = "c1", **changes: object) -> dict[str, str]:
    """Return the line that the holder's website drops when a resident has answered the challenge."""
    how = {"secret": SECRETS["link.key"], "asked_of": customer, "holder": ME, "asked_at": now} | changes
    challenge = make_challenge(how["secret"], how["asked_of"], how["asked_at"])  # type: ignore[arg-type]
    token = make_link(seed_of(person), str(how["holder"]), challenge, how["asked_at"])  # type: ignore[arg-type]
    return {"customer": customer, "link": token}


def key(person: int) -> bytes:
    return bytes.fromhex(public_hex(pairwise_key(seed_of(person), ME)))


def drop(stage: Stage, *lines: object, name: str = "000001") -> Path:
    """Leave a file where the desk looks."""
    path = stage.folder / "links" / f"{name}.jsonl"
    whole = [line if isinstance(line, bytes) else json.dumps(line, separators=(",", ":")).encode() for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in whole))
    return path


def take(stage: Stage, path: Path) -> tuple[int, int]:
    """Have a file taken in; return how many links were new, and how many lines bad, as the log says."""
    with structlog.testing.capture_logs() as logs:
        stage.node.links.take(path)
    assert not path.exists()
    (said,) = [line for line in logs if line["event"] == "links"]
    assert set(said) == {"event", "log_level", "new", "bad"}  # how many, and never who
    return said["new"], said["bad"]


def links(stage: Stage) -> list[tuple[bytes, str]]:
    return [(row[1], row[2]) for row in stage.books()["links"]]


def test_a_right_answer_links_the_customer_to_the_key(stage: Stage) -> None:
    assert take(stage, drop(stage, answered(stage.clock()))) == (1, 0)
    assert links(stage) == [(key(1), "c1")]


def _spoiled(line: dict[str, str]) -> dict[str, str]:
    head, payload, signature = line["link"].split(".")
    return {**line, "link": f"{head}.{payload}.{'A' * len(signature)}"}


BAD: dict[str, Callable[[int], object]] = {
    "it was made for another holder": lambda now: answered(now, holder=OTHER),
    "it answers another customer's challenge": lambda now: answered(now, asked_of="c2"),
    "it answers another holder's challenge": lambda now: answered(now, secret=bytes(32)),
    "its challenge is too old": lambda now: answered(now, asked_at=now - CHALLENGE_SECONDS - 1),
    "its challenge is from the future": lambda now: answered(now, asked_at=now + 1),
    "its signature is bad": lambda now: _spoiled(answered(now)),
    "its link is another format": lambda _: {"customer": "c1", "link": "a.b.c"},
    "it has no customer": lambda now: {"link": answered(now)["link"]},
    "it says more than it should": lambda now: {**answered(now), "admin": "yes"},
    "it is not JSON": lambda _: b"\xff\x00 nonsense",
    "it is empty": lambda _: b"",
    "it is nested deep": lambda _: b"[" * 5_000,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_line_that_does_not_check_is_dropped_and_counted_and_its_neighbours_are_kept(
    stage: Stage, bad: Callable[[int], object]
) -> None:
    now = stage.clock()
    path = drop(stage, answered(now, 5, "c5"), bad(now), answered(now, 6, "c6"))
    assert take(stage, path) == (2, 1)
    assert links(stage) == [(key(5), "c5"), (key(6), "c6")]


def test_a_challenge_is_good_to_the_last_second(stage: Stage) -> None:
    now = stage.clock()
    assert take(stage, drop(stage, answered(now, asked_at=now - CHALLENGE_SECONDS))) == (1, 0)


def test_a_second_customer_for_a_key_changes_nothing(stage: Stage) -> None:
    now = stage.clock()
    take(stage, drop(stage, answered(now)))
    before = stage.books()["links"]
    assert take(stage, drop(stage, answered(now, 1, "c2"))) == (0, 0)
    assert stage.books()["links"] == before


def test_a_customers_new_key_takes_the_old_ones_place_and_the_old_one_never_comes_back(stage: Stage) -> None:
    now = stage.clock()
    path = drop(stage, answered(now, 1, "c1"), answered(now, 2, "c1"), answered(now, 1, "c2"), answered(now, 3, "c3"))
    assert take(stage, path) == (3, 0)
    assert links(stage) == [(key(2), "c1"), (key(3), "c3")]
    assert take(stage, drop(stage, answered(now, 1, "c1"), answered(now, 2, "c3"))) == (0, 0)
    assert links(stage) == [(key(2), "c1"), (key(3), "c3")]


def test_a_file_taken_in_a_second_time_after_a_crash_changes_nothing(stage: Stage) -> None:
    lines = [answered(stage.clock(), person, f"c{person}") for person in range(5)]
    take(stage, drop(stage, *lines))
    before = stage.books()["links"]
    stage.restart()
    assert take(stage, drop(stage, *lines)) == (0, 0)
    assert stage.books()["links"] == before


def test_a_file_is_taken_in_whole_or_not_at_all(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop(stage, *(answered(stage.clock(), person, f"c{person}") for person in range(3)))

    def torn(given: list[tuple[str, str]]) -> int:
        stage.node.links._books._db.execute("INSERT INTO links VALUES (0, x'00', 'half')")
        raise KeyboardInterrupt

    monkeypatch.setattr(stage.node.links._books, "link", torn)
    with pytest.raises(KeyboardInterrupt):
        stage.node.links.take(path)
    assert path.exists()
    assert links(stage) == []
    monkeypatch.undo()
    assert take(stage, path) == (3, 0)


def test_a_running_node_takes_files_in_and_leaves_others_alone(stage: Stage) -> None:
    unfinished = stage.folder / "links" / "000002.part"
    unfinished.write_bytes(b"half a li")
    stage.turn()  # the service has taken its clock
    path = drop(stage, answered(stage.clock()))
    stage.node.links.start()
    try:
        until(lambda: not path.exists())
    finally:
        stage.node.links.stop()
    assert unfinished.exists()
    assert links(stage) == [(key(1), "c1")]


def test_slots_are_given_in_order_without_a_gap(stage: Stage) -> None:
    now = stage.clock()
    for turn in range(3):
        lines = [answered(now, person, f"c{person}") for person in (turn, turn + 1)]
        take(stage, drop(stage, *lines, answered(now, asked_of="other")))
    assert [row[0] for row in stage.books()["links"]] == [0, 1, 2, 3]
