"""One witness is one voice: each of its keys says one time, a time it must be, and no policy counts it twice."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ledger.errors import Malformed, ProofInvalid, SignatureInvalid
from ledger.notes import ml_dsa
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.cosignatures import check_cosignature, cosign, newest_of_each
from ledger.notes.note import Note, VerifierKey
from ledger.notes.witness_policy import PolicyGroup, PolicyWitness, WitnessPolicy, cosigners_of
from tests.kit.parties.witnesses import timeless
from trust.log.pins import Trust

TREE = Checkpoint("example.town/log", 7, bytes(range(32)))
NAMES = ("town.example", "town.example", "library.example", "library.example", "firms.example")
SIGNERS = [SigningKey(bytes([n]) * 32) for n in range(1, 6)]
KEYS = [VerifierKey.cosignature(name, bytes(key.verify_key)) for name, key in zip(NAMES, SIGNERS, strict=True)]
PQ = ml_dsa.key_from_seed(bytes(range(32)))
PQ_KEY = VerifierKey.ml_dsa_44(NAMES[0], ml_dsa.public_bytes(PQ))


@pytest.mark.parametrize(("name", "signer", "key"), [(NAMES[0], SIGNERS[0], KEYS[0]), (NAMES[0], PQ, PQ_KEY)])
def test_two_lines_by_one_witnesss_key_of_two_times_spoil_the_note_and_of_one_time_do_not(
    name: str, signer: SigningKey, key: VerifierKey
) -> None:
    lines = [cosign(TREE.text, name, signer, time) for time in (5, 9, 5)]
    assert check_cosignature(Note(TREE.text, (lines[0], lines[2])), key) == 5
    for pair in (lines[:2], lines[1::-1], lines):
        with pytest.raises(SignatureInvalid, match="two times"):
            check_cosignature(Note(TREE.text, tuple(pair)), key)
    kept = newest_of_each(lines, [key])
    assert kept == (lines[1],)
    assert check_cosignature(Note(TREE.text, kept), key) == 9


def test_a_cosignature_at_the_time_0_says_nothing_and_counts_for_no_quorum() -> None:
    none = timeless(TREE.text, NAMES[0], SIGNERS[0])
    policy = WitnessPolicy(witnesses={"town": PolicyWitness(KEYS[0])}, quorum="town")
    assert check_cosignature(Note(TREE.text, (none,)), KEYS[0]) is None
    with pytest.raises(ProofInvalid):
        policy.check(Note(TREE.text, (none,)))
    assert policy.check(Note(TREE.text, (none, cosign(TREE.text, NAMES[0], SIGNERS[0], 5)))) == {"town": 5}
    with pytest.raises(Malformed):
        cosign(TREE.text, NAMES[0], PQ, 0)


@st.composite
def groupings(draw: st.DrawFn) -> tuple[dict[str, PolicyWitness], dict[str, PolicyGroup], str]:
    """Draw witnesses with two keys, one key, or one address together, and any groups of them."""
    count = draw(st.integers(2, 5))
    urls = [draw(st.sampled_from([None, None, "https://a.example", "https://a.example/"])) for _ in range(count)]
    witnesses = {f"w{n}": PolicyWitness(KEYS[n], urls[n]) for n in range(count)}
    free, groups = list(witnesses), dict[str, PolicyGroup]()
    for number in range(draw(st.integers(1, 4))):
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        name = f"g{number}"
        groups[name] = PolicyGroup(draw(st.integers(1, len(members))), tuple(members))
        free = [each for each in free if each not in members] + [name]
    return witnesses, groups, draw(st.sampled_from(list(groups)))


def people(witnesses: dict[str, PolicyWitness], names: set[str]) -> list[set[str]]:
    """Put lines together that one witness must have, in the slowest way."""
    heaps = [{name} for name in names]
    while True:
        for one, other in combinations(heaps, 2):
            pairs = [(witnesses[a], witnesses[b]) for a in one for b in other]
            if any(
                a.key.name == b.key.name or (a.url is not None and (a.url.strip("/") == (b.url or "").strip("/")))
                for a, b in pairs
            ):
                heaps = [each for each in heaps if each not in (one, other)] + [one | other]
                break
        else:
            return heaps


@settings(max_examples=400)
@given(groupings())
def test_no_policy_that_is_taken_holds_with_fewer_witnesses_than_it_names(
    drawn: tuple[dict[str, PolicyWitness], dict[str, PolicyGroup], str],
) -> None:
    """What it names: k of its members' own, where they are several witnesses; one, where all are one witness's keys."""
    witnesses, groups, quorum = drawn
    try:
        policy = WitnessPolicy((), witnesses, groups, quorum)
    except Malformed:
        return

    def leaves(name: str) -> set[str]:
        return {name} if name in witnesses else set[str]().union(*map(leaves, groups[name].members))

    whole = people(witnesses, set(witnesses))

    def asks_for(name: str) -> int:
        if any(leaves(name) <= heap for heap in whole):
            return 1
        return sum(sorted(map(asks_for, groups[name].members))[: groups[name].threshold])

    for size in range(len(witnesses) + 1):
        for who in map(set, combinations(witnesses, size)):
            if policy.is_quorum(who):
                assert sum(bool(heap & who) for heap in whole) >= asks_for(quorum), (policy.format(), who)


TWICE = (
    f"witness town {KEYS[0]}\nwitness town_pq {PQ_KEY}\nwitness library {KEYS[2]}\n"
    "group two 2 town town_pq library\nquorum two\n"
)
ONCE = TWICE.replace("group two 2 town town_pq library", "group own any town town_pq\ngroup two 2 own library")


def test_two_of_three_lines_of_two_witnesses_are_no_policy_for_anybody_who_reads_one() -> None:
    log_key = str(VerifierKey.ed25519(TREE.origin, bytes(range(32))))

    def pinned(text: str) -> WitnessPolicy:
        return Trust(origin=TREE.origin, log_key=log_key, genesis_sha256="00" * 32, witness_policy=text).witnesses

    for read in (WitnessPolicy.parse, pinned):
        with pytest.raises(Malformed, match="counts one witness twice"):
            read(TWICE)
        assert list(read(ONCE).witnesses) == ["town", "town_pq", "library"]


def test_two_keys_of_one_witness_are_one_time_in_the_median_and_the_earlier_one() -> None:
    """Else the witness with two keys would set the clock of two with one each."""
    policy = WitnessPolicy.parse(ONCE)
    assert policy.median_of({"town": 900, "town_pq": 900, "library": 100}) == 100
    assert policy.median_of({"town": 100, "town_pq": 900}) == 100
    assert policy.by_witness({"town_pq": 900, "library": 5}) == {"town_pq": 900, "library": 5}
    signatures = (cosign(TREE.text, NAMES[0], SIGNERS[0], 7), cosign(TREE.text, NAMES[0], PQ, 3))
    assert cosigners_of(Note(TREE.text, signatures), policy) == {"town": 3}
