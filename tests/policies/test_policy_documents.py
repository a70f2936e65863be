"""A policy document is taken only whole, canonical, and with parts that fit each other."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import encode
from ledger.errors import Malformed
from policies.policy_document import Policy, decode_document, document_sha256
from tests.kit.towns.toy_town import scarce

DATA = encode(scarce())
Change = Callable[[dict[str, Any]], Any]


def changed(change: Change) -> bytes:
    """Return the canonical bytes of the document with one change."""
    document = json.loads(DATA)
    change(document)
    return encode(document)


def put(place: str, value: Any) -> Change:
    """Return a change of the value at a dotted place."""

    def change(document: dict[str, Any]) -> None:
        *way, last = place.split(".")
        here: Any = document
        for step in way:
            here = here[int(step) if step.isdigit() else step]
        here[int(last) if last.isdigit() else last] = value

    return change


def test_a_document_reads_back_as_it_was_written() -> None:
    assert decode_document(DATA) == scarce()
    assert document_sha256(decode_document(DATA)) == document_sha256(scarce())


COLUMN = "views.0.columns.0"
BAD: dict[str, Change] = {
    "no Japanese title": put("title.ja", ""),
    "no English notice": lambda document: document["notice"].pop("en"),
    "no plain Japanese": lambda document: document["notice"].pop("ja-easy"),
    "a holder twice": put("holders", ["bus_co", "bus_co"]),
    "a holder called service": put("holders", ["bus_co", "clinic", "service"]),
    "a partner twice": put("partners", ["planner", "planner"]),
    "no partner": put("partners", []),
    "a view twice": lambda document: document["views"].append(document["views"][0]),
    "no view": put("views", []),
    "a view at a holder outside the policy": put("views.0.holders", ["bus_co", "shop"]),
    "a view at one holder twice": put("views.0.holders", ["bus_co", "bus_co"]),
    "fewer holders per resident than holders": put("views.0.holders_per_resident", 1),
    "a column twice": lambda document: document["views"][0]["columns"].append(document["views"][0]["columns"][0]),
    "a value twice": put(f"{COLUMN}.values", ["north", "north"]),
    "an other that is no value": put(f"{COLUMN}.other", "west"),
    "a label for no value": put(f"{COLUMN}.labels", {"west": {"ja": "西", "en": "West"}}),
    "a label without English": put(f"{COLUMN}.labels", {"north": {"ja": "北"}}),
    "a range upside down": put("views.0.columns.1.lo", 24),
    "squares": put("views.0.columns.2.squares", True),
    "a delta of 0": put("budget.delta", "0"),
    "a delta of 1": put("budget.delta", "1"),
    "an until that is not a month's end": put("until", ["2027-03-30"]),
    "an until that is no date": put("until", ["2027-02-30"]),
    "a 29 February in a common year": put("until", ["2027-02-29"]),
    "a cap of 0": put("caps", [0, 5]),
    "caps that fall": put("caps", [5, 4]),
    "caps that repeat": put("caps", [5, 5]),
    "a float": put("reuse", 1.5),
    "a boolean for a number": put("reuse", True),
    "a number for text": put("id", 7),
    "an unknown field": put("free_text", "…"),
    "an unknown aggregation": put("aggregation", "trust-me"),
    "a purpose that is no DPV term": put("purpose", "https://example.org/Marketing"),
    "an alias that ends in a line feed": put("controller", "bus_co\n"),
    "a purpose that ends in a line feed": put("purpose", "https://w3id.org/dpv#ImproveTransportMobility\n"),
    "a delta that ends in a line feed": put("budget.delta", "0.000001\n"),
    "an until that ends in a line feed": put("until", ["2027-03-31\n"]),
    "a column name that ends in a line feed": put(f"{COLUMN}.name", "ward\n"),
    "a language tag with a space": put("notice.j a", "?"),
    "a label key above U+FFFF": lambda document: document["views"][0]["columns"][0].update(
        {"values": ["𠮷", "ｱ"], "labels": {"𠮷": {"ja": "吉", "en": "Yoshi"}}}
    ),
    "a missing field": lambda document: document.pop("limits"),
    "a default left out": lambda document: document.pop("expires"),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_spoiled_document_is_malformed(change: Change) -> None:
    with pytest.raises(Malformed) as refused:
        decode_document(changed(change))
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize("day", ["2028-02-29", "2027-02-28", "2027-12-31", "2027-04-30"])
def test_every_real_end_of_a_month_may_be_an_until(day: str) -> None:
    assert decode_document(changed(put("until", [day]))).until == [day]


def test_only_the_one_canonical_form_is_taken() -> None:
    document = json.loads(DATA)
    for data in (
        json.dumps(document).encode(),
        json.dumps(document, separators=(",", ":")).encode(),
        DATA + b"\n",
        b" " + DATA,
        DATA.replace(b'"v":1', b'"v":1,"v":1'),
        DATA.replace(b'"v":1', b'"v":1.0'),
        DATA.replace(b"bus_co", b"\\u0062us_co"),
        b"",
        b"null",
        b"[" * 100_000,
    ):
        with pytest.raises(Malformed):
            decode_document(data)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.integers(0, len(DATA) - 1).map(lambda spot: DATA[:spot] + b"~" + DATA[spot + 1 :]))
def test_no_bytes_make_anything_but_a_whole_document_or_malformed(data: bytes) -> None:
    try:
        policy = decode_document(data)
    except Malformed:
        return
    assert isinstance(policy, Policy)
    assert encode(policy) == data
