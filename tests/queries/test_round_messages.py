"""Messages of a round: each is for one use, one round and one history; shares add up only when they are all there."""

import hashlib
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct, structs

from ledger import canonical, jws
from ledger.errors import Malformed, MusubiError, ProofInvalid, SignatureInvalid
from policies.consents.bundle import Bundle, Leaf, disclose
from queries.question.plan import Plan
from queries.replay import check_word
from queries.rounds import messages as m
from queries.rounds.admission import plan_of
from queries.rounds.local import MAX_NUMBER, combine
from tests.kit.logs.histories import ready
from tests.kit.towns.toy_town import ASKED, ORIGIN, key_of

H = "ab" * 32
LEAF = disclose(Bundle(leaves=[Leaf(salt=H, body="none"), Leaf(salt=H, body="x")]), 1)
SAMPLES: list[Struct] = [
    m.Question(from_="p", log="l", id=H, at=1, fresh=False, query=Raw(b"{}")),
    m.Work(from_="h", log="l", at=1, nonce=H, caught_up="t.t.t", known=3, wait=4),
    m.CaughtUp(from_="h", log="l", size=2, at=1),
    m.LeavesWanted(from_="h", log="l", at=1, nonce=H, first=2, last=3),
    m.Countersign(from_="h", log="l", admit=1, admit_sha256=H, nonce=H),
    m.Go(from_="s", log="l", admit=1, admit_sha256=H, transcript=["a"]),
    m.Share(from_="h", log="l", admit=1, admit_sha256=H, transcript_sha256=H, kind="local", vector=[1]),
    m.Word(from_="h", log="l", admit=1, admit_sha256=H),
    m.WorkAnswer(from_="s", log="l", nonce=H, size=1, tasks=[m.Task(step="share", admit=1, go="g")]),
    m.LeavesAnswer(from_="s", log="l", nonce=H, leaves=[m.HeldLeaf(index=1, leaf=LEAF)]),
    m.Mine(log="l", key=H, at=1, nonce=H),
    m.OfferAnswer(
        from_="s", log="l", query_sha256=H, charge=1, epsilon="0.1", noise=[], participants=[], accounts=[], in_force=0
    ),
    m.AskAnswer(from_="s", log="l", query_sha256=H, admit=1, reused=False),
]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_reads_back_and_says_what_it_is_for(message: Struct) -> None:
    data = canonical.encode(message)
    assert canonical.encode(canonical.decode(data, type(message))) == data
    assert b'"for":"' in data
    assert b'"log":"' in data


def test_no_message_passes_for_one_of_another_use() -> None:
    """Each signed by the same key: what it is for keeps them apart."""
    uses = [get_args(type(message).__annotations__["for_"])[0] for message in SAMPLES]
    assert len(set(uses)) == len(SAMPLES)
    for message in SAMPLES:
        token = jws.sign(message, key_of("bus_co"))
        for other in SAMPLES:
            if type(other) is not type(message):
                with pytest.raises(Malformed):
                    jws.read_unverified(token, type(other))


def round_of() -> tuple[Any, int, Plan]:
    """Return a builder with one open round, and its plan."""
    builder = ready()
    admit = builder.admit()
    return builder, admit, plan_of(builder.state, builder.state.rounds[admit].admit)


BUILDER, ADMIT, PLAN = round_of()
SHA256 = BUILDER.state.rounds[ADMIT].entry_sha256


def share(alias: str, vector: list[int]) -> m.Share:
    """Return a holder's share."""
    return m.Share(
        from_=alias, log=ORIGIN, admit=ADMIT, admit_sha256=SHA256, transcript_sha256=H, kind="local", vector=vector
    )


numbers = st.integers(-(2**52) + 1, 2**52 - 1)
vectors = st.lists(numbers, min_size=PLAN.length, max_size=PLAN.length)


@given(vectors, vectors, st.booleans())
def test_shares_of_all_participants_add_up_in_any_order(one: list[int], other: list[int], turned: bool) -> None:
    shares = [share("bus_co", one), share("clinic", other)]
    expected = [left + right for left, right in zip(one, other, strict=True)]
    assert combine(PLAN, shares[::-1] if turned else shares) == expected


@given(st.lists(st.sampled_from([*ASKED, "shop"]), max_size=4), st.integers(0, PLAN.length + 2))
def test_shares_add_up_only_when_they_are_exactly_one_of_each_and_fit(aliases: list[str], length: int) -> None:
    shares = [share(alias, [1] * length) for alias in aliases]
    if sorted(aliases) == sorted(ASKED) and length == PLAN.length:
        assert combine(PLAN, shares) == [2] * length
    else:
        with pytest.raises(ProofInvalid):
            combine(PLAN, shares)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_that_json_readers_would_round_is_refused(sign: int) -> None:
    """Each share is of its form; one holder's absurd number must not make a release that nobody can read."""
    rest = [0] * (PLAN.length - 1)
    edge = [share("bus_co", [sign * MAX_NUMBER, *rest]), share("clinic", [0, *rest])]
    assert combine(PLAN, edge)[0] == sign * MAX_NUMBER
    over = [share("bus_co", [sign * MAX_NUMBER, *rest]), share("clinic", [sign, *rest])]
    for each in over:
        assert canonical.decode(canonical.encode(each), m.Share) == each
    with pytest.raises(ProofInvalid):
        combine(PLAN, over)


WORD = m.Word(from_="bus_co", log=ORIGIN, admit=ADMIT, admit_sha256=SHA256)


def test_a_word_is_by_its_holder_for_its_round() -> None:
    check_word(BUILDER.state, "bus_co", jws.sign(WORD, key_of("bus_co")), ADMIT, SHA256)


@pytest.mark.parametrize(
    ("alias", "signer", "change", "error"),
    [
        ("bus_co", "clinic", {}, SignatureInvalid),
        ("clinic", "bus_co", {}, SignatureInvalid),
        ("clinic", "clinic", {}, ProofInvalid),
        ("bus_co", "bus_co", {"from_": "clinic"}, ProofInvalid),
        ("bus_co", "bus_co", {"log": "other.example/log"}, ProofInvalid),
        ("bus_co", "bus_co", {"admit": ADMIT + 1}, ProofInvalid),
        ("bus_co", "bus_co", {"admit_sha256": H}, ProofInvalid),
        ("bus_co", "bus_co", {"said": "a-share-left"}, Malformed),
        ("planner", "planner", {"from_": "planner"}, ProofInvalid),
        ("shop", "shop", {"from_": "shop"}, ProofInvalid),
    ],
)
def test_another_word_is_refused(alias: str, signer: str, change: dict[str, Any], error: type[MusubiError]) -> None:
    token = jws.sign(structs.replace(WORD, **change), key_of(signer))
    with pytest.raises(error):
        check_word(BUILDER.state, alias, token, ADMIT, SHA256)


def test_a_share_does_not_pass_for_a_word() -> None:
    token = jws.sign(share("bus_co", [0] * PLAN.length), key_of("bus_co"))
    with pytest.raises(Malformed):
        check_word(BUILDER.state, "bus_co", token, ADMIT, SHA256)


transcripts = st.lists(st.text("abc.", min_size=1, max_size=6), min_size=1, max_size=4)


@settings(max_examples=200)
@given(transcripts, transcripts)
def test_transcripts_with_one_hash_are_one_transcript(one: list[str], other: list[str]) -> None:
    """Order and borders count: no two lists run together."""
    assert (m.transcript_sha256(one) == m.transcript_sha256(other)) == (one == other)


def test_a_token_is_named_by_the_hash_of_its_very_bytes() -> None:
    assert m.token_sha256("a.b.c") == hashlib.sha256(b"a.b.c").hexdigest()


@pytest.mark.parametrize("wait", [-1, 61, 10**6])
def test_a_poll_cannot_hold_the_service_for_long(wait: int) -> None:
    data = canonical.encode(structs.replace(SAMPLES[1], wait=wait))
    with pytest.raises(Malformed):
        canonical.decode(data, m.Work)


@pytest.mark.parametrize("vector", [[], [1.5], [2**53], ["1"], [True], [None], [0] * 8_193])
def test_a_share_is_of_whole_numbers_that_json_holds(vector: list[Any]) -> None:
    data = canonical.encode(structs.replace(SAMPLES[6], vector=vector))
    with pytest.raises(Malformed):
        canonical.decode(data, m.Share)
