"""Entries read back as they were written, and no bytes are two entries or half of one."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw, structs

from ledger import entries as e
from ledger.canonical import encode as canonical
from ledger.errors import Malformed, TooLarge
from tests.kit.logs.histories import town

hex32 = st.binary(min_size=32, max_size=32).map(bytes.hex)
aliases = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
times = st.integers(0, 2**37)
indices = st.integers(0, 2**53 - 1)
tokens = st.text(max_size=40)
texts = st.dictionaries(st.sampled_from(["ja", "en", "ja-easy"]), st.text(max_size=20), max_size=3)
days = st.dates().map(lambda day: day.isoformat())
raws = st.dictionaries(st.text("abc", max_size=2), indices, max_size=3).map(lambda found: Raw(canonical(found)))

ENTRIES: dict[str, st.SearchStrategy[e.AnyEntry]] = {
    "member": st.builds(
        e.Member,
        at=times,
        member=st.builds(
            e.MemberBody,
            alias=aliases,
            number=st.integers(1, 10_000),
            status=st.sampled_from(["active", "left"]),
            roles=st.lists(st.sampled_from(["holder", "partner", "identity", "operator"]), max_size=4),
            title=texts,
            key=hex32,
            sealing_key=hex32,
        ),
        signatures=st.lists(tokens, max_size=3),
    ),
    "policy": st.builds(e.PolicyEntry, at=times, policy=raws, signatures=st.lists(tokens, max_size=3)),
    "grant": st.builds(
        e.Grant,
        at=times,
        consent=hex32,
        policy=aliases,
        version=st.integers(1, 10_000),
        policy_sha256=hex32,
        until=days,
        yearly_cap=indices,
        commitment=hex32,
    ),
    "revoke": st.builds(
        e.Revoke,
        at=times,
        grant=indices,
        reason=st.sampled_from(["withdrawn", "lost-device", "attested"]),
        commitment=hex32,
        by=st.just(UNSET) | aliases,
    ),
    "erase": st.builds(
        e.Erase, at=times, index=indices, reason=st.sampled_from(["requested", "retention", "authority"])
    ),
    "release": st.builds(
        e.Release,
        at=times,
        admit=indices,
        vector=st.lists(st.integers(-(2**53) + 1, 2**53 - 1), max_size=5),
        shares=st.dictionaries(aliases, hex32, max_size=3),
    ),
    "refund": st.builds(e.Refund, at=times, admit=indices, words=st.dictionaries(aliases, tokens, max_size=3)),
}


@settings(max_examples=200, deadline=None)
@given(st.one_of(*ENTRIES.values()))
def test_an_entry_reads_back_as_it_was_written(entry: e.AnyEntry) -> None:
    data = e.encode(entry)
    assert e.encode(e.decode(data)) == data
    assert type(e.decode(data)) is type(entry)
    assert json.loads(data)["kind"] == entry.__struct_config__.tag


def test_the_hand_made_town_has_nearly_every_kind_and_each_reads_back() -> None:
    entries, _ = town()
    for data in entries:
        assert e.encode(e.decode(data)) == data
    kinds = {json.loads(data)["kind"] for data in entries}
    assert kinds == {"genesis", "member", "policy", "grant", "revoke", "erase", "admit", "release", "refund"}


GRANT = json.loads(
    e.encode(
        e.Grant(
            at=5,
            consent="aa" * 32,
            policy="mobility",
            version=1,
            policy_sha256="bb" * 32,
            until="2027-03-31",
            yearly_cap=9,
            commitment="cc" * 32,
        )
    )
)
SPOILED: dict[str, dict[str, Any]] = {
    "an unknown kind": {"kind": "grand"},
    "a kind of another case": {"kind": "Grant"},
    "another version of the format": {"v": 2},
    "a time before 1970": {"at": -1},
    "a time that is no date": {"at": 2**37 + 1},
    "a float for a time": {"at": 5.5},
    "upper-case hexadecimal": {"consent": "AA" * 32},
    "31 bytes": {"consent": "aa" * 31},
    "33 bytes": {"consent": "aa" * 33},
    "a hash with a line feed": {"commitment": "cc" * 32 + "\n"},
    "an alias with a line feed": {"policy": "mobility\n"},
    "an alias with a capital": {"policy": "Mobility"},
    "an alias with a digit first": {"policy": "1st"},
    "an alias of 33 characters": {"policy": "a" * 33},
    "an alias in full-width letters": {"policy": "ａｂ"},
    "a day with a line feed": {"until": "2027-03-31\n"},
    "a day in other digits": {"until": "２０２７-03-31"},
    "version 0": {"version": 0},
    "a negative cap": {"cap": -1},
    "a cap that JSON readers round": {"cap": 2**53},
    "a name": {"name": "山田"},
}


@pytest.mark.parametrize("change", SPOILED.values(), ids=SPOILED)
def test_a_spoiled_entry_is_malformed(change: dict[str, Any]) -> None:
    assert e.encode(e.decode(canonical(GRANT))) == canonical(GRANT)
    with pytest.raises(Malformed):
        e.decode(canonical(GRANT | change))


@pytest.mark.parametrize("field", sorted(GRANT))
def test_every_field_must_be_there(field: str) -> None:
    with pytest.raises(Malformed):
        e.decode(canonical({name: value for name, value in GRANT.items() if name != field}))


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63, -(2**64), 10**40])
def test_a_released_number_is_one_that_every_json_reader_holds(number: int) -> None:
    release = {"at": 0, "admit": 1, "kind": "release", "shares": {}, "v": 1, "vector": [2**53 - 1, 1 - 2**53]}
    e.decode(canonical(release))
    with pytest.raises(Malformed):
        e.decode(json.dumps(release | {"vector": [number]}, sort_keys=True, separators=(",", ":")).encode())


def test_an_entry_fits_the_sixteen_bits_that_a_bundle_gives_its_length() -> None:
    release = e.Release(at=0, admit=0, vector=[10**15] * 4_000, shares={})
    short = len(e.encode(structs.replace(release, vector=[])))
    numbers = (e.MAX_ENTRY_BYTES - short + 1) // 17
    e.decode(e.encode(structs.replace(release, vector=[10**15] * numbers)))
    with pytest.raises(TooLarge):
        e.encode(structs.replace(release, vector=[10**15] * (numbers + 1)))
    with pytest.raises(TooLarge):
        e.decode(b"[" + b" " * e.MAX_ENTRY_BYTES)


def test_stamping_changes_the_time_and_nothing_else() -> None:
    erase = e.Erase(at=0, index=3, reason="requested")
    assert e.stamp(erase, 77) == e.Erase(at=77, index=3, reason="requested")
    with pytest.raises(Malformed):
        e.stamp(erase, -1)
