"""What a node does when keys change under it: the log's, its own, the operator's and the other holder's."""

from collections.abc import Iterator

import pytest

from ledger import jws
from ledger.canonical import encode
from ledger.errors import ProofInvalid, SignatureInvalid
from policies.consents.attestation import make_challenge, make_link
from policies.consents.bundle import commitment, disclose
from policies.pairwise_keys import pairwise_key, public_hex
from queries.rounds.messages import HeldLeaf, Share
from tests.kit.parties.lying_service import ME, OTHER, PLACE, Stage, consent_of_person, staged
from tests.kit.towns.residents import seed_of
from tests.kit.towns.toy_town import OPERATOR, key_of
from trust.files.keys import read_secret, write_secret


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


def signed_by(token: str, name: str) -> bool:
    try:
        jws.verify(token, bytes(key_of(name).verify_key), dict)
    except SignatureInvalid:
        return False
    return True


def change_own_key(stage: Stage, name: str) -> None:
    """Register the node's new key, put it into its folder and start it again."""
    stage.builder.change_key(ME, name)
    stage.service.publish()
    (stage.folder / "keys" / "node.key").unlink()
    write_secret(stage.folder / "keys" / "node.key", bytes(key_of(name)))
    stage.service.me = name
    stage.restart()


def test_a_node_follows_the_logs_new_key_and_goes_no_further_with_the_old_one(stage: Stage) -> None:
    change = stage.builder.change_log_key("second log key")
    admit = stage.admit()
    assert stage.countersign(admit) == []
    assert stage.service.steps() == ["countersign"]
    stage.restart()
    stage.turn()
    assert stage.node.reader.size == admit + 1
    later = stage.builder.admit()
    stage.service.publish(signer="log")
    with stage.nothing_changes(), pytest.raises(SignatureInvalid):
        stage.countersign(later)
    stage.restart()  # it pins the first key: it finds the change as it reads, and stops there
    with stage.nothing_changes(), pytest.raises((ProofInvalid, SignatureInvalid)):
        stage.countersign(later)
    assert stage.node.reader.size <= change


def test_a_round_begun_under_the_old_key_is_finished_under_the_new_one(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    first = stage.own(admit)
    change_own_key(stage, "bus_co_2")
    assert stage.countersign(admit) == []
    again = stage.service.said[-1][1]
    assert jws.parts(again)[1] == jws.parts(first)[1]
    assert signed_by(first, ME)
    assert signed_by(again, "bus_co_2")
    for transcript in ([first, stage.others(admit)], [again, stage.others(admit)]):
        go = stage.go(admit, transcript=transcript)
        stage.share(admit, go)
    shares = [token for step, token in stage.service.said if step == "share"]
    assert signed_by(shares[0], "bus_co_2")
    assert len(set(shares)) == 1


def test_a_share_stored_under_the_old_key_leaves_signed_anew_with_the_same_numbers(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    go = stage.go(admit)
    stage.service.down.add("/v1/node/share")
    stage.share(admit, go)
    ((*_, kept),) = stage.books()["rounds"]
    stage.service.down.clear()
    change_own_key(stage, "bus_co_2")
    stage.share(admit, go)
    sent = stage.service.said[-1][1]
    assert signed_by(sent, "bus_co_2")
    assert jws.read_unverified(sent, Share) == jws.read_unverified(kept, Share)


def test_the_other_holders_old_key_counts_for_a_round_from_before_its_change_and_for_none_after_it(
    stage: Stage,
) -> None:
    before = stage.admit()
    stage.countersign(before)
    stage.builder.change_key(OTHER, "clinic_2")
    stage.service.publish()
    assert stage.share(before, stage.go(before)) == []
    after = stage.admit()
    stage.countersign(after)
    with stage.nothing_changes():
        assert stage.share(after, stage.go(after)) == ["signature-invalid"]
    new = [stage.own(after), stage.others(after, signer="clinic_2")]
    assert stage.share(after, stage.go(after, transcript=new)) == []


def test_a_node_learns_the_operators_new_key_from_the_ledger_also_while_it_lacks_leaves(stage: Stage) -> None:
    stage.service.lies[stage.grant(7)] = lambda _: None
    stage.service.publish()
    stage.turn()
    assert stage.node.reader.lacks_leaves
    stage.service.lies.clear()
    stage.builder.change_key(OPERATOR, "office_2")
    admit = stage.admit()
    stage.service.signer = "office_2"
    with pytest.raises(SignatureInvalid):  # the poll is refused, and the ledger read all the same
        stage.turn()
    assert stage.countersign(admit) == []
    assert stage.service.steps() == ["countersign"]
    with stage.nothing_changes():
        assert stage.share(admit, stage.go(admit)) == ["signature-invalid"]  # a go by the old key
    assert stage.share(admit, stage.go(admit, signer="office_2")) == []
    stage.service.signer = OPERATOR
    with stage.nothing_changes(), pytest.raises(SignatureInvalid):
        stage.turn()


# A customer with a new device.


def link_new_device(stage: Stage, person: int) -> None:
    """Have a customer link a new device at the holder: the person's next seed."""
    now = stage.clock()
    challenge = make_challenge(read_secret(stage.folder / "keys" / "link.key"), f"c{person:03}", now)
    line = {"customer": f"c{person:03}", "link": make_link(seed_of(100 + person), ME, challenge, now)}
    path = stage.folder / "links" / "new.jsonl"
    path.write_bytes(encode(line) + b"\n")
    assert stage.node.links.take(path) == 1


def counted(stage: Stage) -> int:
    """Return how many of the holder's customers count in a question of now."""
    admit = stage.admit()
    stage.turn()
    opened = stage.node.reader.state.rounds[admit]
    return int(stage.node.rounds._counted.at(admit, opened).sum())


def test_after_a_lost_device_the_customer_counts_by_the_new_one_only_and_once(stage: Stage) -> None:
    assert counted(stage) == 4
    new = stage.builder.grant(0, **granted_by_new_device(stage, 0))
    stage.service.publish()
    stage.turn()
    assert stage.node.books.held(new, new) == {new}
    assert counted(stage) == 4  # the new device is not linked yet: the old consent counts, and the new one for nobody
    link_new_device(stage, 0)
    assert counted(stage) == 4  # now the other way round, although both consents are still in force
    stage.builder.revoke(stage.grants[0])
    stage.service.publish()
    assert counted(stage) == 4
    stage.builder.revoke(new)
    stage.service.publish()
    assert counted(stage) == 3


def granted_by_new_device(stage: Stage, person: int) -> dict[str, str]:
    """Put the leaf of a consent by a person's next seed where the node asks for it; return what its entry says."""
    bundle = consent_of_person(stage.policy, 100 + person)
    index = len(stage.builder.entries)
    stage.service.bundles[index] = bundle
    leaf = HeldLeaf(index=index, leaf=disclose(bundle, PLACE))
    assert public_hex(pairwise_key(seed_of(100 + person), ME)) in jws.parts(leaf.leaf.leaf.body)[1].decode()
    said = jws.read_unverified(bundle.leaves[0].body, dict)
    return {"consent": said["consent"], "commitment": commitment(bundle)}
