"""A node's step in a round that is not its own, out of turn or of another round is refused and changes nothing."""

from typing import Any

import pytest
from msgspec import Raw, structs

from ledger import canonical, jws
from queries.rounds.messages import Countersign, Share, Word
from tests.kit.towns.running import refused
from tests.service.refusals.standing import Make, Standing, signed

pytestmark = pytest.mark.anyio


def countersigned(s: Standing, alias: str = "clinic", key: str | None = None, **changes: Any) -> str:
    return signed(s, alias, s.node(alias).countersign(s.opened, s.opened_entry, **changes), key)


def shared(
    s: Standing, alias: str = "clinic", key: str | None = None, vector: list[int] | None = None, **changes: Any
) -> str:
    """The clinic's share of the round that waits for it, in which something is off."""
    said = s.node(alias).share(s.half, s.half_entry, s.half_transcript, [8] if vector is None else vector)
    return signed(s, alias, structs.replace(said, **changes), key)


def worded(s: Standing, alias: str, admit: int, entry: bytes, key: str | None = None, **changes: Any) -> str:
    return signed(s, alias, s.node(alias).word(admit, entry, **changes), key)


def of_round(s: Standing, kind: type[Countersign | Word | Share], alias: str, admit: int, entry: bytes) -> str:
    node = s.node(alias)
    if kind is Share:
        return signed(s, alias, node.share(admit, entry, ["x"], [1]))
    return signed(s, alias, node.word(admit, entry) if kind is Word else node.countersign(admit, entry))


BAD_STEPS: dict[str, tuple[str, Make, str, str]] = {
    "a countersignature of an entry that is no question": (
        "countersign",
        lambda s: of_round(s, Countersign, "clinic", 1, s.opened_entry),
        "round-closed",
        "",
    ),
    "a countersignature past the ledger's end": (
        "countersign",
        lambda s: of_round(s, Countersign, "clinic", 2**53 - 1, s.opened_entry),
        "round-closed",
        "",
    ),
    "a countersignature of an answered question": (
        "countersign",
        lambda s: of_round(s, Countersign, "clinic", s.closed, s.closed_entry),
        "round-closed",
        "",
    ),
    "a countersignature by a holder that takes no part": (
        "countersign",
        lambda s: countersigned(s, "market"),
        "not-permitted",
        "",
    ),
    "a countersignature by a partner": (
        "countersign",
        lambda s: countersigned(s, key="planner", from_="planner"),
        "not-permitted",
        "",
    ),
    "a countersignature with another node's key": (
        "countersign",
        lambda s: countersigned(s, key="market"),
        "signature-invalid",
        "",
    ),
    "a countersignature of another entry": (
        "countersign",
        lambda s: countersigned(s, admit_sha256="ab" * 32),
        "proof-invalid",
        "another round",
    ),
    "a countersignature for another ledger": (
        "countersign",
        lambda s: countersigned(s, log="elsewhere.test/log"),
        "proof-invalid",
        "",
    ),
    "a second, different countersignature": (
        "countersign",
        lambda s: countersigned(s, "bus_co"),
        "replayed",
        "",
    ),
    "a countersignature after somebody's word": (
        "countersign",
        lambda s: of_round(s, Countersign, "bus_co", s.worded, s.worded_entry),
        "replayed",
        "",
    ),
    "a share before all have countersigned": (
        "share",
        lambda s: shared(
            s, "bus_co", admit=s.opened, admit_sha256=s.node("bus_co").word(s.opened, s.opened_entry).admit_sha256
        ),
        "round-closed",
        "countersigned",
    ),
    "a share for another transcript": (
        "share",
        lambda s: shared(s, transcript_sha256="ab" * 32),
        "proof-invalid",
        "transcript",
    ),
    "a share for another round": ("share", lambda s: shared(s, admit=s.worded), "proof-invalid", "another round"),
    "a share by name of another round": (
        "share",
        lambda s: shared(s, admit=s.worded, admit_sha256=s.node("clinic").word(s.worded, s.worded_entry).admit_sha256),
        "proof-invalid",
        "transcript",
    ),
    "another share for an answered question": (
        "share",
        lambda s: signed(
            s, "clinic", structs.replace(jws.read_unverified(s.closed_shares["clinic"], Share), vector=[1_000])
        ),
        "round-closed",
        "",
    ),
    "a share too long": ("share", lambda s: shared(s, vector=[8, 9]), "proof-invalid", "length"),
    "a share of nothing": ("share", lambda s: shared(s, vector=[]), "malformed", ""),
    "a share of numbers past 2^53": ("share", lambda s: shared(s, vector=[2**53]), "malformed", ""),
    "a share of numbers below -2^53": ("share", lambda s: shared(s, vector=[-(2**53)]), "malformed", ""),
    "a share of a number past 2^64": ("share", lambda s: shared(s, vector=[2**70]), "malformed", ""),
    "a share that another share would carry past 2^53": (
        "share",
        lambda s: shared(s, vector=[2**53 - 1]),
        "proof-invalid",
        "",
    ),
    "a share of floats": (
        "share",
        lambda s: s.node("clinic").sign(
            Raw(
                canonical.encode(s.node("clinic").share(s.half, s.half_entry, s.half_transcript, [8])).replace(
                    b"[8]", b"[8.5]"
                )
            )
        ),
        "malformed",
        "",
    ),
    "a share with another node's key": ("share", lambda s: shared(s, key="bus_co"), "signature-invalid", ""),
    "a share in another node's name": ("share", lambda s: shared(s, "market"), "not-permitted", ""),
    "a second, different share": ("share", lambda s: shared(s, "bus_co", vector=[9]), "replayed", ""),
    "a share after one's word": (
        "share",
        lambda s: shared(
            s,
            admit=s.worded,
            admit_sha256=s.node("clinic").word(s.worded, s.worded_entry).admit_sha256,
            transcript_sha256="cd" * 32,
        ),
        "proof-invalid",
        "",
    ),
    "a word after one's share": ("word", lambda s: worded(s, "bus_co", s.half, s.half_entry), "round-closed", "share"),
    "a word in an answered round": (
        "word",
        lambda s: worded(s, "clinic", s.closed, s.closed_entry),
        "round-closed",
        "",
    ),
    "a word for another round": ("word", lambda s: worded(s, "clinic", s.half, s.opened_entry), "proof-invalid", ""),
    "a word with another node's key": (
        "word",
        lambda s: worded(s, "clinic", s.half, s.half_entry, "market"),
        "signature-invalid",
        "",
    ),
    "a word by a holder that takes no part": (
        "word",
        lambda s: worded(s, "market", s.half, s.half_entry),
        "not-permitted",
        "",
    ),
    "a countersignature in place of a word": ("word", countersigned, "malformed", ""),
}


@pytest.mark.parametrize("what", BAD_STEPS)
async def test_a_bad_step_of_a_round_is_refused_and_changes_nothing(standing: Standing, what: str) -> None:
    path, make, code, says = BAD_STEPS[what]
    async with standing.running.unchanged():
        refused(await standing.running.post(f"/v1/node/{path}", make(standing)), code, says)


async def test_saying_the_same_step_again_is_fine_and_changes_nothing(standing: Standing) -> None:
    async with standing.running.unchanged():
        assert await standing.running.done("/v1/node/share", standing.half_share) == {"closed_by": None}
