"""Cosignatures, the policy that counts them, and a witness's decision."""

from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey, VerifyKey

from ledger.errors import Malformed, MusubiError, ProofInvalid, SignatureInvalid, TooLarge
from ledger.hashing import EMPTY_ROOT, leaf_hash
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.cosignatures import check_cosignature, cosign
from ledger.notes.note import Note, NoteSignature, VerifierKey, parse_note, sign_text, verify_note
from ledger.notes.witness_policy import PolicyGroup, PolicyLog, PolicyWitness, WitnessPolicy
from ledger.notes.witness_protocol import (
    AddCheckpoint,
    BadRequest,
    InconsistentCheckpoint,
    SizeConflict,
    UnknownLog,
    UntrustedSignature,
    WitnessRefusal,
    decide,
)
from ledger.tlog.tiles import TileAppender, TileReader
from ledger.tlog.tree import merkle_root, prove_consistency

ORIGIN = "example.town/log"
LOG = SigningKey(bytes(32))
LOG_KEY = VerifierKey.ed25519(ORIGIN, bytes(LOG.verify_key))
WITNESSES = [SigningKey(bytes([n]) * 32) for n in range(1, 6)]
WITNESS_KEYS = [VerifierKey.cosignature(f"w{n}.example", bytes(key.verify_key)) for n, key in enumerate(WITNESSES, 1)]
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))


def cosigned(times: dict[int, int], checkpoint: Checkpoint = CHECKPOINT) -> Note:
    """The checkpoint's note with the log's line and those of the witnesses (from 0) at these times."""
    lines = [cosign(checkpoint.text, WITNESS_KEYS[n].name, WITNESSES[n], time) for n, time in times.items()]
    return Note(checkpoint.text, (sign_text(checkpoint.text, ORIGIN, LOG), *lines))


@given(st.integers(1, 2**63 - 1))
def test_a_cosignature_signs_the_bytes_of_the_specification(time: int) -> None:
    line = cosign(CHECKPOINT.text, WITNESS_KEYS[0].name, WITNESSES[0], time)
    message = b"cosignature/v1\ntime %d\n" % time + CHECKPOINT.text.encode()
    assert int.from_bytes(line.signature[:8], "big") == time
    VerifyKey(bytes(WITNESSES[0].verify_key)).verify(message, line.signature[8:])
    assert check_cosignature(cosigned({0: time}), WITNESS_KEYS[0]) == time
    assert verify_note(cosigned({0: time}), [WITNESS_KEYS[0], LOG_KEY]) == [WITNESS_KEYS[0], LOG_KEY]


def test_a_witness_that_did_not_cosign_has_no_time() -> None:
    assert check_cosignature(cosigned({0: 5}), WITNESS_KEYS[1]) is None


def test_a_cosignature_with_another_time_text_length_or_key_type_is_refused() -> None:
    key = WITNESS_KEYS[0]
    line = cosign(CHECKPOINT.text, key.name, WITNESSES[0], 5)
    later = (6).to_bytes(8, "big") + line.signature[8:]
    beyond = b"cosignature/v1\ntime %d\n" % (2**63,) + CHECKPOINT.text.encode()
    too_late = (2**63).to_bytes(8, "big") + WITNESSES[0].sign(beyond).signature
    plain = WITNESSES[0].sign(CHECKPOINT.text.encode()).signature
    for signature in (later, too_late, plain, line.signature[:-1], line.signature + b"x", line.signature[8:]):
        with pytest.raises(SignatureInvalid):
            check_cosignature(Note(CHECKPOINT.text, (NoteSignature(key.name, key.key_id, signature),)), key)
    with pytest.raises(SignatureInvalid):
        check_cosignature(Note(Checkpoint(ORIGIN, 8, bytes(32)).text, (line,)), key)
    with pytest.raises(Malformed):
        check_cosignature(cosigned({0: 5}), LOG_KEY)
    for text, time in [
        (CHECKPOINT.text, -1),
        (CHECKPOINT.text, 0),
        (CHECKPOINT.text, 2**63),
        ("not a checkpoint\n", 1),
    ]:
        with pytest.raises(Malformed):
            cosign(text, key.name, WITNESSES[0], time)


# Policies


def vkeys(text: str) -> str:
    """Put keys in the place of LOG and W1 to W5."""
    for n, key in enumerate(WITNESS_KEYS, 1):
        text = text.replace(f"W{n}", str(key))
    return text.replace("LOG", str(LOG_KEY))


TWO_LEVELS = vkeys("""# The example of the specification, with other names.
log LOG https://example.town/log

witness X1 W1
 witness\tX2 W2   https://x2.example/
witness X3 W3
group X-witnesses 2 X1 X2 X3
  # An indented comment.
witness Y1 W4
witness Y2 W5
group Y-witnesses any Y1 Y2
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
""")


@given(st.sets(st.integers(0, 4)))
def test_the_quorum_of_the_specifications_example_holds_exactly_for_two_of_x_and_one_of_y(who: set[int]) -> None:
    policy = WitnessPolicy.parse(TWO_LEVELS)
    names = ["X1", "X2", "X3", "Y1", "Y2"]
    note = cosigned({n: 100 + n for n in who})
    if len(who & {0, 1, 2}) >= 2 and who & {3, 4}:
        assert policy.check(note) == {names[n]: 100 + n for n in who}
    else:
        with pytest.raises(ProofInvalid):
            policy.check(note)


@st.composite
def policies(draw: st.DrawFn) -> WitnessPolicy:
    """Any policy over the five witnesses, with groups of what was defined before them."""
    count = draw(st.integers(0, 5))
    urls = [draw(st.none() | st.just(f"https://witness.example/{n}/")) for n in range(count)]
    witnesses = {f"w{n}": PolicyWitness(WITNESS_KEYS[n], url) for n, url in enumerate(urls)}
    free = list(witnesses)
    groups: dict[str, PolicyGroup] = {}
    while bool(free) and draw(st.booleans()):
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        name = f"g{len(groups)}"
        groups[name] = PolicyGroup(draw(st.integers(1, len(members))), tuple(members))
        free = [each for each in free if each not in members] + [name]
    logs = draw(st.sampled_from([(), (PolicyLog(LOG_KEY),), (PolicyLog(LOG_KEY, "https://log.example"),)]))
    return WitnessPolicy(logs, witnesses, groups, draw(st.sampled_from(["none", *witnesses, *groups])))


@given(policies())
def test_a_policy_reads_back_as_it_was_printed(policy: WitnessPolicy) -> None:
    read = WitnessPolicy.parse(policy.format())
    assert read == policy
    assert [*read.witnesses, *read.groups] == [*policy.witnesses, *policy.groups]


def naive_holds(policy: WitnessPolicy, name: str, who: set[str]) -> bool:
    if name in policy.witnesses:
        return name in who
    group = policy.groups[name]
    return sum(naive_holds(policy, member, who) for member in group.members) >= group.threshold


@given(policies(), st.sets(st.integers(0, 4)))
def test_a_quorum_holds_as_its_groups_say_from_the_top_down(policy: WitnessPolicy, who: set[int]) -> None:
    note = cosigned(dict.fromkeys(who, 1))
    known = {f"w{n}" for n in who} & set(policy.witnesses)
    if policy.quorum == "none" or naive_holds(policy, policy.quorum, known):
        assert policy.check(note) == dict.fromkeys(known, 1)
    else:
        with pytest.raises(ProofInvalid):
            policy.check(note)


MALFORMED = {
    "no quorum": "log LOG\n",
    "two quorums": "quorum none\nquorum none\n",
    "no last newline": "quorum none",
    "carriage return": "quorum none\r\n",
    "unknown line": "quorum none\nwatcher a\n",
    "unknown quorum": "quorum a\n",
    "quorum before its group": "witness a W1\nquorum g\ngroup g any a\n",
    "group before its member": "group g any a\nwitness a W1\nquorum g\n",
    "group without members": "witness a W1\ngroup g any\nquorum a\n",
    "group of itself": "witness a W1\ngroup g any a g\nquorum g\n",
    "none as a member": "witness a W1\ngroup g any a none\nquorum g\n",
    "none as a name": "witness none W1\nquorum none\n",
    "member of two groups": "witness a W1\ngroup g any a\ngroup h any a\nquorum g\n",
    "member twice": "witness a W1\ngroup g 2 a a\nquorum g\n",
    "threshold of 0": "witness a W1\ngroup g 0 a\nquorum g\n",
    "threshold above the members": "witness a W1\ngroup g 2 a\nquorum g\n",
    "threshold with a leading zero": "witness a W1\ngroup g 01 a\nquorum g\n",
    "one name for two witnesses": "witness a W1\nwitness a W2\nquorum a\n",
    "one name for a witness and a group": "witness a W1\ngroup a any a\nquorum a\n",
    "one key for two witnesses": "witness a W1\nwitness b W1\nquorum a\n",
    "one key for two logs": "log LOG\nlog LOG\nquorum none\n",
    "a witness's key for a log": "log W1\nquorum none\n",
    "a log's key for a witness": "witness a LOG\nquorum a\n",
    "no key": "witness a\nquorum a\n",
    "too many items": "log LOG https://a https://b\nquorum none\n",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_this_witness_policy_is_malformed(what: str) -> None:
    with pytest.raises(Malformed):
        WitnessPolicy.parse(vkeys(MALFORMED[what]))


words = st.sampled_from(["log", "witness", "group", "quorum", "none", "any", "all", "1", "a", "b", "#", "\t", *map(str, [LOG_KEY, *WITNESS_KEYS[:2]])])  # fmt: skip


@given(st.text(max_size=100) | st.lists(st.lists(words, max_size=5).map(" ".join), max_size=6).map("\n".join))
def test_any_text_is_a_witness_policy_or_refused(text: str) -> None:
    with suppress(Malformed, TooLarge):
        policy = WitnessPolicy.parse(text)
        assert WitnessPolicy.parse(policy.format()) == policy


def test_where_a_policy_names_logs_one_of_them_must_have_signed_under_its_own_origin() -> None:
    policy = WitnessPolicy.parse(vkeys("log LOG\nquorum none\n"))
    assert policy.check(cosigned({})) == {}
    other = Checkpoint("other.log", 1, bytes(32)).text
    stranger = SigningKey(bytes([9]) * 32)
    notes = [
        Note(other, (sign_text(other, ORIGIN, LOG),)),
        Note(CHECKPOINT.text, (sign_text(CHECKPOINT.text, "other.log", stranger),)),
    ]
    for note in notes:
        with pytest.raises(ProofInvalid):
            policy.check(note)
    bad = NoteSignature(ORIGIN, LOG_KEY.key_id, bytes(64))
    for line in [bad, NoteSignature(WITNESS_KEYS[0].name, WITNESS_KEYS[0].key_id, bytes(72))]:
        with pytest.raises(SignatureInvalid):
            WitnessPolicy.parse(TWO_LEVELS).check(
                Note(CHECKPOINT.text, (*cosigned({1: 1, 2: 1, 3: 1}).signatures, line))
            )


# A witness

entries = [b"entry %d" % n for n in range(40)]
appender = TileAppender()
TILES = dict(appender.append(entries))
READER = TileReader(
    lambda tile: TILES[tile.full if tile.is_full else next(t for t in TILES if t.level == tile.level)], 40
)


def tree(size: int, fork: bool = False) -> Checkpoint:
    """The checkpoint of the first entries, or of a history that differs in the first of them."""
    leaves = [leaf_hash(entry + b"'" if fork and n == 0 else entry) for n, entry in enumerate(entries[:size])]
    return Checkpoint(ORIGIN, size, merkle_root(leaves))


def request(old: int, checkpoint: Checkpoint, key: SigningKey = LOG) -> AddCheckpoint:
    proof = prove_consistency(min(old, checkpoint.size), checkpoint.size, READER)
    return AddCheckpoint(old, proof, sign_checkpoint(checkpoint, key))


KNOWN = {ORIGIN: [LOG_KEY]}


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_witness_takes_a_proven_larger_or_equal_tree(old: int, new: int) -> None:
    old, new = sorted((old, new))
    stored = tree(old) if old else None
    assert decide(request(old, tree(new)), stored, KNOWN) == tree(new)


REFUSED = {
    "old size above the checkpoint's": (AddCheckpoint(8, [], sign_checkpoint(tree(7), LOG)), tree(8), BadRequest, 400),
    "not a checkpoint": (
        AddCheckpoint(0, [], b"hello\n\n" + sign_checkpoint(tree(7), LOG).partition(b"\n\n")[2]),
        None,
        BadRequest,
        400,
    ),
    "signed by another key": (request(0, tree(7), WITNESSES[0]), None, UntrustedSignature, 403),
    "of an unknown log": (request(0, Checkpoint("unknown.log", 0, EMPTY_ROOT)), None, UnknownLog, 404),
    "old size below the stored one": (request(6, tree(9)), tree(7), SizeConflict, 409),
    "old size above the stored one": (request(8, tree(9)), tree(7), SizeConflict, 409),
    "old size where nothing is stored": (request(8, tree(9)), None, SizeConflict, 409),
    "size 0 where something is stored": (request(0, tree(9)), tree(7), SizeConflict, 409),
    "an equal size with another root": (request(7, tree(7, fork=True)), tree(7), InconsistentCheckpoint, 422),
    "another history": (request(7, tree(9, fork=True)), tree(7), InconsistentCheckpoint, 422),
    "no proof": (AddCheckpoint(7, [], sign_checkpoint(tree(9), LOG)), tree(7), InconsistentCheckpoint, 422),
    "a proof between equal sizes": (
        AddCheckpoint(7, [bytes(32)], sign_checkpoint(tree(7), LOG)),
        tree(7),
        InconsistentCheckpoint,
        422,
    ),
    "a proof from size 0": (
        AddCheckpoint(0, [bytes(32)], sign_checkpoint(tree(7), LOG)),
        None,
        InconsistentCheckpoint,
        422,
    ),
    "an empty tree with another root": (
        request(0, Checkpoint(ORIGIN, 0, bytes(32))),
        None,
        InconsistentCheckpoint,
        422,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_witness_refuses_with_the_status_of_the_specification(what: str) -> None:
    asked, stored, refusal, status = REFUSED[what]
    with pytest.raises(WitnessRefusal) as caught:
        decide(asked, stored, KNOWN)
    assert type(caught.value) is refusal
    assert caught.value.status == status
    if isinstance(caught.value, SizeConflict):
        assert caught.value.body == b"%d\n" % (stored.size if stored else 0)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans()), max_size=30))
def test_whatever_is_asked_of_a_witness_its_log_only_grows_and_never_forks(
    asked: list[tuple[int, int, bool]],
) -> None:
    stored: Checkpoint | None = None
    for old, new, fork in asked:
        before = stored
        # Half of the requests guess the stored size, so that some get through.
        claimed = stored.size if stored is not None and old % 2 else old
        with suppress(WitnessRefusal):
            stored = decide(request(claimed, tree(new, fork)), stored, KNOWN)
        if before is not None and before.size:
            assert stored is not None
            assert stored.size >= before.size
            first_fork = before == tree(before.size, fork=True)
            assert stored == tree(stored.size, first_fork)


@given(
    st.builds(
        AddCheckpoint,
        old=st.integers(0, 2**63 - 1),
        proof=st.lists(st.binary(min_size=32, max_size=32), max_size=63),
        checkpoint=st.just(sign_checkpoint(tree(7), LOG)),
    )
)
def test_a_request_to_a_witness_reads_back_as_it_was_written(asked: AddCheckpoint) -> None:
    assert AddCheckpoint.parse(asked.format()) == asked


GOOD = request(3, tree(7)).format()


@st.composite
def damaged_requests(draw: st.DrawFn) -> bytes:
    data = bytearray(GOOD)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2) | st.sampled_from([b"\n", b" ", b"0"]))
    return bytes(data)


@given(st.binary(max_size=100) | damaged_requests())
@example(GOOD.replace(b"old 3", b"old 03"))
@example(GOOD.replace(b"old 3\n", b"old 3\n\n"))
@example(b"old 0\n" + b"A" * 44 + b"\n" + GOOD.partition(b"\n")[2])
def test_any_bytes_are_the_one_form_of_a_request_or_refused_and_never_crash_a_witness(data: bytes) -> None:
    try:
        asked = AddCheckpoint.parse(data)
    except (Malformed, TooLarge):
        return
    assert asked.format() == data
    with suppress(MusubiError):
        decide(asked, tree(3), KNOWN)


def test_a_request_with_more_hashes_than_the_specification_allows_is_malformed() -> None:
    checkpoint = sign_checkpoint(tree(7), LOG)
    line = b"A" * 43 + b"=\n"
    assert len(AddCheckpoint.parse(b"old 3\n" + line * 63 + b"\n" + checkpoint).proof) == 63
    with pytest.raises(Malformed):
        AddCheckpoint.parse(b"old 3\n" + line * 64 + b"\n" + checkpoint)
    with pytest.raises(Malformed):
        AddCheckpoint(3, [bytes(32)] * 64, checkpoint)
    with pytest.raises(Malformed):
        AddCheckpoint(-1, [], checkpoint)
    with pytest.raises(TooLarge):
        AddCheckpoint.parse(bytes(1_000_001))


def test_the_answer_of_a_witness_is_one_line_that_joins_the_note() -> None:
    data = sign_checkpoint(tree(7), LOG)
    line = cosign(tree(7).text, WITNESS_KEYS[0].name, WITNESSES[0], 1_790_000_000)
    joined = parse_note(data + f"{line}\n".encode())
    assert verify_note(joined, [LOG_KEY, WITNESS_KEYS[0]]) == [LOG_KEY, WITNESS_KEYS[0]]
    assert check_cosignature(joined, WITNESS_KEYS[0]) == 1_790_000_000
