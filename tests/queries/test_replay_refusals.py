"""Every entry that the ledger must not hold is refused with a sentence, and leaves the state as it was."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, structs

from ledger import entries as e
from ledger import jws
from ledger.canonical import encode
from ledger.errors import ProofInvalid
from policies.governance import approve
from policies.ledger_state import State
from policies.replay import MemoryConsents, step
from queries.replay import replay
from queries.rounds.messages import Question, Word
from tests.kit.logs.histories import freeze, ready, thaw, town
from tests.kit.logs.log_builder import QUERY, LogBuilder
from tests.kit.towns.toy_town import ORIGIN, PARTNER, START, TEXT, key_of, public, scarce

Make = Callable[[LogBuilder], e.AnyEntry]


def refused(builder: LogBuilder, entry: e.AnyEntry | bytes, match: str | None = None) -> None:
    """Replay one entry after the builder's; it must be refused for the reason given, and nothing may change."""
    data = entry if isinstance(entry, bytes) else e.encode(entry)
    index = len(builder.entries)
    before = freeze(builder.state, builder._seen)
    with pytest.raises(ProofInvalid, match=match) as error:
        replay(builder.state, index, data, builder._seen)
    assert freeze(builder.state, builder._seen) == before
    assert error.value.message.startswith(f"Entry {index}")
    if not isinstance(entry, bytes):  # the lower room alone either refuses it as well, or has nothing to say of it
        state, seen = thaw(before)
        try:
            step(state, index, entry, data, seen)
        except ProofInvalid:
            assert freeze(state, seen) == before


def genesis(**changes: Any) -> e.Genesis:
    """Return the town's genesis entry with changes."""
    builder = LogBuilder()
    builder.genesis()
    assert builder.state.genesis is not None
    return structs.replace(builder.state.genesis, **changes)


def steward(alias: str, key: str = "") -> e.Steward:
    """Return a steward."""
    return e.Steward(alias=alias, title=TEXT, key=key or public(alias))


BAD_GENESIS = {
    "a steward twice": genesis(stewards=[steward("city"), steward("city", public("other"))]),
    "one key for two stewards": genesis(stewards=[steward("city"), steward("firms", public("city"))]),
    "a quorum above the stewards": genesis(quorum=4),
    "an unknown time zone": genesis(time_zone="Asia/Nowhere"),
    "a folder for a time zone": genesis(time_zone="Asia"),
    "a path for a time zone": genesis(time_zone="../../etc/passwd"),
    "no time zone": genesis(time_zone=""),
}


@pytest.mark.parametrize("entry", BAD_GENESIS.values(), ids=BAD_GENESIS)
def test_a_bad_root_of_trust_is_refused(entry: e.Genesis) -> None:
    refused(LogBuilder(), entry)


def test_a_ledger_begins_with_genesis_and_has_no_second_one() -> None:
    builder = ready()
    for data in town()[0][1:]:
        refused(LogBuilder(), data)
    refused(builder, genesis(at=builder.now()), "comes first and only once")


def test_an_entry_out_of_turn_is_refused() -> None:
    """Neither twice, nor one ahead."""
    builder = ready()
    data = e.encode(builder.make_grant(9))
    for index in (0, len(builder.entries) - 1, len(builder.entries) + 1, -1):
        before = freeze(builder.state, builder._seen)
        with pytest.raises(ProofInvalid, match="out of turn"):
            replay(builder.state, index, data, builder._seen)
        assert freeze(builder.state, builder._seen) == before


def member_body(**changes: Any) -> e.MemberBody:
    """Return a new member's body."""
    body = e.MemberBody(
        alias="shop",
        number=1,
        status="active",
        roles=["holder"],
        title=TEXT,
        key=public("shop"),
        sealing_key=public("shop sealing"),
    )
    return structs.replace(body, **changes)


def member(body: e.MemberBody, *signers: str, signed: e.MemberBody | None = None, log: str = ORIGIN) -> e.Member:
    """Return a member entry whose signatures are for ``signed`` (the body, unless told otherwise)."""
    tokens = [approve("member", signed or body, log=log, steward=name, key=key_of(name)) for name in signers]
    return e.Member(at=START + 900, member=body, signatures=tokens)


BAD_MEMBERS: dict[str, e.Member] = {
    "unsigned": member(member_body()),
    "signed by one": member(member_body(), "city"),
    "signed twice by one": member(member_body(), "city", "city"),
    "signed by itself": member(member_body(), "shop", "bus_co"),
    "signed for another body": member(member_body(), "city", "firms", signed=member_body(roles=["partner"])),
    "signed for another ledger": member(member_body(), "city", "firms", log="other.example/log"),
    "number 2 first": member(member_body(number=2), "city", "firms"),
    "number 1 again": member(member_body(alias="bus_co"), "city", "firms"),
    "number 3 after 1": member(member_body(alias="bus_co", number=3), "city", "firms"),
}


@pytest.mark.parametrize("entry", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_a_member_without_the_quorum_or_out_of_turn_is_refused(entry: e.Member) -> None:
    refused(ready(), entry)


def left(builder: LogBuilder, alias: str, *roles: e.Role) -> None:
    """Let a member leave, or keep only some roles."""
    old = builder.state.members[alias]
    body = structs.replace(old, number=old.number + 1, status="active" if roles else "left", roles=list(roles))
    builder.add(structs.replace(member(body, "city", "firms"), at=builder.now()))


BAD_POLICIES: dict[str, Make] = {
    "unsigned": lambda b: b.make_policy(scarce(2), signers=()),
    "signed by one": lambda b: b.make_policy(scarce(2), signers=("city",)),
    "signed by one twice": lambda b: b.make_policy(scarce(2), signers=("city", "city")),
    "version 1 again": lambda b: b.make_policy(scarce(1)),
    "version 3 after 1": lambda b: b.make_policy(scarce(3)),
    "a new policy at version 2": lambda b: b.make_policy(scarce(2, id="health")),
    "a holder that is none": lambda b: b.make_policy(scarce(2, holders=["bus_co", "clinic", "shop"])),
    "a holder that is only a partner": lambda b: b.make_policy(scarce(2, holders=["bus_co", "clinic", PARTNER])),
    "a partner that is only a holder": lambda b: b.make_policy(scarce(2, partners=["bus_co"])),
    "a controller that is no member": lambda b: b.make_policy(scarce(2, controller="mayor")),
    "another window": lambda b: b.make_policy(scarce(2, budget=structs.replace(scarce().budget, window="day"))),
    "a document that does not fit itself": lambda b: b.make_policy(scarce(2, until=["2027-03-30"])),
    "white space in the document": lambda b: structs.replace(
        b.make_policy(scarce(2)), policy=Raw(encode(scarce(2)).replace(b",", b", ", 1))
    ),
    "a document that was not signed": lambda b: structs.replace(
        b.make_policy(scarce(2)), policy=Raw(encode(scarce(2, reuse=1)))
    ),
}


@pytest.mark.parametrize("make", BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_a_policy_that_the_quorum_did_not_sign_or_that_does_not_fit_is_refused(make: Make) -> None:
    builder = ready()
    refused(builder, make(builder))


BAD_GRANTS: dict[str, dict[str, Any]] = {
    "an until that is not in the list": {"until": "2027-04-30"},
    "an until that is past": {"at": START + 3 * 365 * 86_400},
    "a cap off the grid": {"yearly_cap": 5_000_001},
    "an unknown policy": {"policy": "health"},
    "a version to come": {"version": 2},
    "another document": {"policy_sha256": "00" * 32},
    "a time before the last entry": {"at": START},
}


@pytest.mark.parametrize("change", BAD_GRANTS.values(), ids=BAD_GRANTS)
def test_a_grant_that_the_policy_does_not_offer_is_refused(change: dict[str, Any]) -> None:
    builder = ready()
    refused(builder, builder.make_grant(9, **change))


def test_a_grant_for_an_old_version_is_refused_and_an_old_grant_can_still_be_revoked() -> None:
    builder = ready()
    old = builder.make_grant(9)
    grant = len(builder.entries) - 1
    builder.policy(scarce(2))
    refused(builder, structs.replace(old, at=builder.now()), "unknown or old policy version")
    builder.revoke(grant)


def test_a_revocation_ends_one_standing_grant_once() -> None:
    builder = ready()
    first = len(builder.entries) - 3
    builder.revoke(first)
    void = builder.grant(0)  # its consent was used before
    builder.add(e.Erase(at=builder.now(), index=first + 1, reason="requested"))
    for index in (first, first + 1, void, 0, 4, len(builder.entries), len(builder.entries) + 1, 2**53 - 1):
        entry = e.Revoke(at=builder.now(), grant=index, reason="withdrawn", commitment="00" * 32)
        refused(builder, entry, "revokes no grant")


def test_a_record_is_erased_once_and_only_after_it_is_there() -> None:
    builder = ready()
    grant = len(builder.entries) - 1
    builder.add(e.Erase(at=builder.now(), index=grant, reason="requested"))
    for index in (grant, len(builder.entries), len(builder.entries) + 7):
        refused(builder, e.Erase(at=builder.now(), index=index, reason="authority"), "not there, or was erased")


def sign(builder: LogBuilder, signer: str = PARTNER, **changes: Any) -> str:
    """Sign a question with changes to the message around the query."""
    said = jws.read_unverified(builder.ask(), Question)
    return jws.sign(structs.replace(said, **changes), key_of(signer))


def other_query(**changes: Any) -> dict[str, Any]:
    """Return the fields of an admit that name another query."""
    from queries.question.tree import decode_query, query_sha256

    data = encode(QUERY | changes)
    return {"query": Raw(data), "query_sha256": query_sha256(decode_query(data))}


BAD_ADMITS: dict[str, Make] = {
    "a wrong root": lambda b: b.make_admit(in_force_root="00" * 32),
    "an expiry that is not the policy's": lambda b: b.make_admit(expires=b.at + 602),
    "a charge below the noise's cost": lambda b: structs.replace(a := b.make_admit(), charge=a.charge - 1),
    "a charge that the partner did not sign for": lambda b: structs.replace(a := b.make_admit(), charge=a.charge * 2),
    "no charge": lambda b: b.make_admit(charge=0),
    "less noise": lambda b: structs.replace(
        a := b.make_admit(), noise=[structs.replace(part, scale="1") for part in a.noise]
    ),
    "no noise for one primitive": lambda b: structs.replace(a := b.make_admit(), noise=a.noise[:1]),
    "noise in another order": lambda b: structs.replace(a := b.make_admit(), noise=a.noise[::-1]),
    "noise of scale 0": lambda b: structs.replace(
        a := b.make_admit(), noise=[structs.replace(part, scale="0") for part in a.noise]
    ),
    "fewer participants": lambda b: b.make_admit(participants=["bus_co"]),
    "a participant twice": lambda b: b.make_admit(participants=["bus_co", "bus_co"]),
    "participants in another order": lambda b: b.make_admit(participants=["clinic", "bus_co"]),
    "another partner": lambda b: b.make_admit(by="bus_co"),
    "nobody's question": lambda b: b.make_admit(by="stranger"),
    "another policy": lambda b: b.make_admit(policy="health"),
    "another version": lambda b: b.make_admit(version=2),
    "another document": lambda b: b.make_admit(policy_sha256="00" * 32),
    "another query's hash": lambda b: b.make_admit(query_sha256="00" * 32),
    "a query that was not signed": lambda b: b.make_admit(**other_query(group_by=[])),
    "a question by another key": lambda b: b.make_admit(question=sign(b, "stranger")),
    "a question for another ledger": lambda b: b.make_admit(question=sign(b, log="other.example/log")),
    "a question as somebody else": lambda b: b.make_admit(question=sign(b, from_="bus_co")),
    "a question signed long ago": lambda b: b.make_admit(question=sign(b, at=b.at - 700)),
    "a question signed in the future": lambda b: b.make_admit(question=sign(b, at=b.at + 700)),
    "a question that is none": lambda b: b.make_admit(question="x"),
    "a time before the last entry": lambda b: b.make_admit(at=START, expires=START + 600),
}


@pytest.mark.parametrize("make", BAD_ADMITS.values(), ids=BAD_ADMITS)
def test_an_admit_that_the_ledgers_own_words_do_not_bear_out_is_refused(make: Make) -> None:
    builder = ready()
    refused(builder, make(builder))


def test_the_admits_beside_those_refused_ones_is_taken() -> None:
    """So that each refusal above is for its own reason."""
    builder = ready()
    builder.release(builder.admit())


def test_one_signed_question_is_admitted_once() -> None:
    """Neither while its round is open nor when it is closed; the same query signed anew is another question."""
    builder = ready()
    token = builder.ask()
    first = builder.make_admit(token)
    admit = builder.add(first)
    refused(builder, structs.replace(first, at=first.at, expires=first.expires), "second time")
    builder.release(admit)
    refused(builder, structs.replace(first, at=builder.at, expires=builder.at + 600), "second time")
    builder.admit()


def test_a_question_is_remembered_for_as_long_as_it_could_be_admitted() -> None:
    """First at the earliest moment that its own time allows, again at the latest, with others in between."""
    builder = ready()
    said_at = builder.at + 600
    token = sign(builder, at=said_at)
    admit = builder.make_admit(token)
    early = structs.replace(admit, at=said_at - 600, expires=said_at)
    builder.add(early)
    builder.at = said_at + 590
    builder.admit()
    again = structs.replace(early, at=said_at + 600, expires=said_at + 1_200)
    refused(builder, again, "second time")


def test_an_admit_past_any_cap_is_refused() -> None:
    """The tightest of the three accounts says no; the entry is otherwise right."""
    spend = {"epsilon": "0.3"}
    for name, cap in (("per_window", 1), ("life", 1), ("per_partner", 1)):
        builder = ready()
        charge = builder.make_admit(builder.ask(spend=spend)).charge
        budget = structs.replace(scarce().budget, **{name: charge * 2 + cap})
        builder.policy(scarce(2, budget=budget))
        builder.grant(8)
        for _ in range(2):
            builder.admit(builder.ask(spend=spend, version=2))
        fresh = ready()  # the same question and price, made where the cap does not bite
        fresh.policy(scarce(2, budget=budget))
        fresh.grant(8)
        entry = fresh.make_admit(fresh.ask(spend=spend, version=2))
        token = sign(builder, at=builder.at, query=Raw(bytes(entry.query)))
        at = builder.now()
        refused(builder, structs.replace(entry, question=token, at=at, expires=at + 600), "left")


def test_an_admit_past_the_policys_limit_for_one_question_is_refused() -> None:
    """The partner signed for it and every account would take it; the stewards' limit says no."""
    builder = ready()
    entry = builder.make_admit()
    builder.policy(scarce(2, limits=structs.replace(scarce().limits, charge=entry.charge - 1)))
    sha256 = builder.state.policies["mobility"].sha256
    token = builder.ask(version=2)
    said = jws.read_unverified(token, Question)
    at = builder.now()
    from policies.in_force.chunk_tree import ChunkTree
    from queries.question.tree import decode_query, query_sha256

    too_much = structs.replace(
        entry,
        at=at,
        expires=at + 600,
        question=token,
        query=said.query,
        query_sha256=query_sha256(decode_query(bytes(said.query))),
        version=2,
        policy_sha256=sha256,
        in_force_root=ChunkTree({}).root(len(builder.entries)),
    )
    refused(builder, too_much, "more than the policy allows")


def test_nothing_is_admitted_under_a_policy_that_has_ended() -> None:
    builder = ready()
    entry = builder.make_admit()
    at = START + 3 * 365 * 86_400
    from policies.in_force.chunk_tree import ChunkTree

    token = sign(builder, at=at)
    late = structs.replace(
        entry, at=at, expires=at + 600, question=token, in_force_root=ChunkTree({}).root(len(builder.entries))
    )
    refused(builder, late, "has ended")


def test_nothing_is_admitted_for_a_partner_that_left_or_lost_the_role() -> None:
    for roles in ((), ("holder",)):
        builder = ready()
        entry = builder.make_admit()
        left(builder, PARTNER, *roles)
        refused(builder, structs.replace(entry, at=builder.at, expires=builder.at + 600))


def closers(builder: LogBuilder, admit: int) -> Iterator[e.AnyEntry]:
    """Yield every bad way to close a round that is open."""
    refund = builder.make_refund(admit)
    release = builder.make_release(admit)
    hashes = release.shares
    yield structs.replace(release, vector=release.vector[:-1])
    yield structs.replace(release, vector=[*release.vector, 0])
    yield structs.replace(release, vector=[])
    yield structs.replace(release, shares={"bus_co": hashes["bus_co"]})
    yield structs.replace(release, shares={**hashes, "shop": "00" * 32})
    yield structs.replace(release, shares={})
    yield structs.replace(release, admit=admit - 1)
    yield structs.replace(release, admit=admit + 99)
    words = refund.words
    yield structs.replace(refund, words={"bus_co": words["bus_co"]})
    yield structs.replace(refund, words={})
    yield structs.replace(refund, words={**words, "planner": words["clinic"]})
    yield structs.replace(refund, words={**words, "clinic": words["bus_co"]})
    yield structs.replace(refund, words={"bus_co": words["clinic"], "clinic": words["bus_co"]})
    yield structs.replace(refund, words={**words, "clinic": "x"})
    yield structs.replace(refund, admit=admit - 1)
    yield builder.make_refund(admit, signer="bus_co")
    sha256 = builder.state.rounds[admit].entry_sha256
    right = Word(from_="clinic", log=ORIGIN, admit=admit, admit_sha256=sha256)
    for change in (
        {"admit": admit + 1},
        {"admit_sha256": "00" * 32},
        {"log": "other.example/log"},
        {"from_": "bus_co"},
    ):
        token = jws.sign(structs.replace(right, **change), key_of("clinic"))
        yield structs.replace(refund, words={**words, "clinic": token})


def test_a_round_is_closed_by_all_its_participants_and_once() -> None:
    builder = ready()
    admit = builder.admit()
    for entry in closers(builder, admit):
        refused(builder, structs.replace(entry, at=builder.now()))
    refund, release = builder.make_refund(admit), builder.make_release(admit)
    builder.add(release)
    for again in (release, refund):
        refused(builder, structs.replace(again, at=builder.now()), "not open")
    other = builder.admit()
    refund, release = builder.make_refund(other), builder.make_release(other)
    builder.add(structs.replace(refund, at=builder.now()))
    for again in (release, refund):
        refused(builder, structs.replace(again, at=builder.now()), "not open")


def test_a_refusal_is_of_a_members_question() -> None:
    builder = ready()
    entry = e.Refuse(
        at=builder.now(),
        query_sha256="00" * 32,
        by="stranger",
        policy="mobility",
        rule="not-permitted",
        account="",
        asked=0,
        left=0,
    )
    refused(builder, entry, "no member")
    builder.add(structs.replace(entry, by=PARTNER))


# Whatever the bytes say

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=6)
    | st.just("x" * 70)
    | st.sampled_from(
        [0, 1, -1, 2**37, 2**37 + 1, 2**53, 1.5, "00" * 32, "\n", "bus_co", "bus_co\n", "2027-03-31", "日"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def spots(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every place in a JSON value."""
    if way:
        yield way
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in inner:
        yield from spots(below, (*way, name))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_an_entry_with_any_field_changed_is_refused_cleanly_or_is_a_whole_entry(data: st.DataObject) -> None:
    """Nothing but ProofInvalid is ever raised, the state then is as it was, and no signed entry is taken changed."""
    entries, sizes = town()
    index = data.draw(st.integers(0, len(entries) - 1))
    document = json.loads(entries[index])
    way = data.draw(st.sampled_from(list(spots(document))))
    here = document
    for name in way[:-1]:
        here = here[name]
    old = here[way[-1]]
    match data.draw(st.sampled_from(["put", "put", "remove", "add", "near"])):
        case "put":
            here[way[-1]] = data.draw(values)
        case "remove":
            del here[way[-1]]
        case "add":
            document[data.draw(st.text(max_size=4))] = data.draw(values)
        case "near" if isinstance(old, int):
            here[way[-1]] = old + data.draw(st.sampled_from([-1, 1]))
        case "near" if isinstance(old, str):
            here[way[-1]] = old + data.draw(st.sampled_from(["\n", " ", "0"]))
    changed = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        raw = changed.encode()
    except UnicodeEncodeError:  # a lone surrogate: no bytes say it
        return
    state, seen = thaw(sizes[index])
    try:
        replay(state, index, raw, seen)
    except ProofInvalid as error:
        told = error.details["index"]
        assert freeze(state, seen) == sizes[index]
        assert told == index
        return
    assert raw == encode(json.loads(raw))
    assert state.size == index + 1
    if document["kind"] in {"policy", "member", "admit", "refund"} and raw != entries[index]:
        assert way[0] in {"at", "noise", "charge", "signatures"}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_an_entry_with_any_byte_changed_is_refused_cleanly_or_is_a_whole_entry(data: st.DataObject) -> None:
    entries, sizes = town()
    index = data.draw(st.integers(0, len(entries) - 1))
    raw = bytearray(entries[index])
    spot = data.draw(st.integers(0, len(raw) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "twice", "insert"])):
        case "flip":
            raw[spot] ^= data.draw(st.integers(1, 255))
        case "cut":
            del raw[spot:]
        case "twice":
            raw[spot:spot] = raw[spot : spot + 40]
        case "insert":
            raw[spot:spot] = data.draw(st.binary(min_size=1, max_size=3))
    state, seen = thaw(sizes[index])
    try:
        replay(state, index, bytes(raw), seen)
    except ProofInvalid:
        assert freeze(state, seen) == sizes[index]
        return
    assert bytes(raw) == encode(json.loads(bytes(raw)))


def test_a_replay_of_the_same_bytes_gives_the_same_state_in_two_places() -> None:
    """Service, node and auditor reach one state: rebuilt from the bytes it is the builder's own."""
    builder = LogBuilder().town()
    state, seen = State(), MemoryConsents()
    for index, data in enumerate(builder.entries):
        replay(state, index, data, seen)
    assert freeze(*thaw(freeze(state, seen))) == freeze(*thaw(freeze(builder.state, builder._seen)))


def test_a_grant_is_taken_through_its_last_day_in_the_towns_time_zone_and_not_after() -> None:
    last = 1_838_127_599  # 2028-03-31 23:59:59 in Tokyo, 14:59:59 UTC
    builder = ready()
    builder.add(builder.make_grant(7, at=last))
    refused(builder, builder.make_grant(8, at=last + 1), "until is past")
