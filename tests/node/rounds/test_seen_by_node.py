"""What a node makes of lies that the ledger shows: it ignores a wrong erasure, and says whose share it never sent."""

from collections.abc import Iterator

import pytest
import structlog
from msgspec import structs

from ledger import jws
from ledger.errors import ProofInvalid
from queries.rounds.messages import Share, token_sha256
from tests.kit.parties.lying_service import ME, Stage, staged
from tests.kit.towns.toy_town import STEWARDS, key_of
from trust.files.keys import write_secret


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


def told(stage: Stage) -> dict[str, list[int]]:
    """Publish, let the node read, and return what it says of shares, by event."""
    stage.service.publish()
    with structlog.testing.capture_logs() as logs:
        stage.node.turn()
    said: dict[str, list[int]] = {}
    for line in logs:
        if line["event"].startswith("share-"):
            said.setdefault(line["event"], []).append(line["admit"])
    return said


WRONG = {
    "retention in force": ("retention", ()),
    "authority without approvals": ("authority", ()),
    "authority of one steward": ("authority", STEWARDS[:1]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_node_ignores_an_erasure_without_a_reason_and_goes_on(stage: Stage, name: str) -> None:
    """The leaf, the link and the rows stay, the next question counts the resident, and no word says that they went."""
    reason, signers = WRONG[name]
    before = stage.books()
    stage.builder.add(stage.builder.make_erase(stage.grants[1], reason, signers))  # type: ignore[arg-type]
    stage.service.publish()
    assert stage.turn() == []
    after = stage.books()
    assert (after["leaves"], after["links"]) == (before["leaves"], before["links"])
    assert stage.service.erased_words == []
    admit = stage.admit()
    assert stage.countersign(admit) == []
    sha256 = stage.builder.state.policies["mobility"].sha256
    assert stage.node.reader.state.in_force[sha256].holds(stage.grants[1])
    assert stage.share(admit) == []


@pytest.mark.parametrize("name", WRONG)
def test_by_the_rules_before_the_node_erases_as_it_did(name: str) -> None:
    reason, signers = WRONG[name]
    with staged(rules=2) as stage:
        entry = stage.builder.make_erase(stage.grants[1], reason)  # type: ignore[arg-type]
        stage.builder.add(entry)
        stage.service.publish()
        stage.turn()
        assert len(stage.books()["leaves"]) == len(stage.grants) - 1
        assert len(stage.service.erased_words) == 1
        if signers:
            known = stage.builder.make_erase(stage.grants[2], reason, signers)  # type: ignore[arg-type]
            with pytest.raises(ProofInvalid, match="approvals"):
                stage.builder.add(known)


def test_an_order_that_the_stewards_signed_is_carried_out(stage: Stage) -> None:
    stage.builder.add(stage.builder.make_erase(stage.grants[1], "authority", STEWARDS[:2]))
    stage.service.publish()
    stage.turn()
    assert len(stage.books()["leaves"]) == len(stage.grants) - 1
    assert len(stage.service.erased_words) == 1


def test_a_node_goes_no_further_than_noise_that_nobody_asked_for(stage: Stage) -> None:
    admit = stage.builder.append(stage.builder.make_useless(spend={"epsilon": "0.05"}))
    stage.service.publish()
    with stage.nothing_changes(), pytest.raises(ProofInvalid, match="less exactly"):
        stage.countersign(admit)


@pytest.mark.parametrize("names", ["our share", "another share"])
def test_a_node_says_so_where_an_answer_names_another_share_than_it_sent(stage: Stage, names: str) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    stage.share(admit)
    sent = token_sha256(stage.service.said[-1][1])
    release = stage.builder.make_release(admit)
    named = {"our share": sent, "another share": "00" * 32}[names]
    stage.builder.add(structs.replace(release, shares=release.shares | {ME: named}))
    assert told(stage) == ({} if names == "our share" else {"share-denied": [admit]})
    stage.restart()
    assert told(stage) == ({} if names == "our share" else {"share-denied": [admit]}), "a new start says it again"


@pytest.mark.parametrize("did", ["countersigned", "gave its word", "nothing"])
def test_a_node_says_so_where_an_answer_names_a_share_that_it_never_made(stage: Stage, did: str) -> None:
    """What it knows nothing of, its books may have lost: they prove nothing."""
    admit = stage.admit()
    if did != "nothing":
        stage.countersign(admit)
    if did == "gave its word":
        stage.offset = 700
        stage.word(admit)
    stage.builder.release(admit)
    assert told(stage) == ({} if did == "nothing" else {"share-forged": [admit]})


def test_books_restored_from_a_backup_accuse_nobody_of_a_share_that_they_forgot(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    stage.builder.release(admit)
    stage.node.books.note("restored", str(stage.clock()).encode())
    assert told(stage) == {}


@pytest.mark.parametrize("kept", ["before", "after"])
def test_a_share_signed_anew_with_ones_next_key_is_ones_own(stage: Stage, kept: str) -> None:
    """The service may have kept the one from before or the one from after; a third is neither."""
    admit = stage.admit()
    stage.countersign(admit)
    stage.share(admit)
    old = stage.service.said[-1][1]
    stage.builder.change_key(ME, "next key")
    (stage.folder / "keys" / "node.key").unlink()
    write_secret(stage.folder / "keys" / "node.key", bytes(key_of("next key")))
    stage.service.me = "next key"
    stage.restart()
    new = jws.sign(jws.read_unverified(old, Share), key_of("next key"))
    shares = stage.builder.make_shares(admit) | {ME: old if kept == "before" else new}
    release = stage.builder.make_release(admit)
    hashes = {alias: token_sha256(token) for alias, token in shares.items()}
    stage.builder.add(structs.replace(release, shares=hashes))
    assert told(stage) == {}
