"""Our canonical JSON is RFC 8785, held against the ``rfc8785`` package, and decoding takes that one form only."""

import json
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import canonical
from ledger.errors import Malformed

numbers = st.integers(-(2**53) + 1, 2**53 - 1)
keys = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=6)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=12)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


class Two(msgspec.Struct, forbid_unknown_fields=True):
    """A small message."""

    b: int
    a: list[str] = []


@settings(max_examples=300)
@given(documents)
def test_our_bytes_are_those_of_the_rfc8785_package(document: Any) -> None:
    assert canonical.encode(document) == rfc8785.dumps(document)


@settings(max_examples=300)
@given(documents)
def test_decoding_is_the_inverse_of_encoding(document: Any) -> None:
    assert canonical.decode(canonical.encode(document), Any) == document


@given(st.text(st.characters(max_codepoint=0x1F) | st.sampled_from('"\\/\x7f\u2028\u2029\ufeffé結😀'), max_size=20))
def test_every_escape_is_the_one_of_rfc_8785(text: str) -> None:
    assert canonical.encode(text) == rfc8785.dumps(text)
    assert canonical.decode(rfc8785.dumps(text), str) == text


@settings(max_examples=300)
@given(documents, st.data())
def test_another_spelling_of_the_same_document_is_malformed(document: Any, data: st.DataObject) -> None:
    """Other separators, escapes, key orders: whatever the standard library writes and RFC 8785 would not."""
    spelling: dict[str, Any] = {
        "indent": data.draw(st.sampled_from([None, 0, 1])),
        "ensure_ascii": data.draw(st.booleans()),
        "separators": data.draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", ":")])),
    }
    try:
        other = json.dumps(document, **spelling).encode()
    except UnicodeEncodeError:
        return
    if other == rfc8785.dumps(document):
        assert canonical.decode(other, Any) == document
    else:
        with pytest.raises(Malformed):
            canonical.decode(other, Any)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b'{"b":1}',
        b'{"a":[],"b":1,"b":1}',
        b'{"a":[],"b":2,"b":1}',
        b'{"b":1,"a":[]}',
        b'{"a":[],"b":1,"c":1}',
        b'{"a":[],"b":1} ',
        b'\xef\xbb\xbf{"a":[],"b":1}',
        b'{"a":[],"b":1}\x00',
        b'{"a":[],"b":01}',
        b'{"a":[],"b":+1}',
        b'{"a":[],"b":-0}',
        b'{"a":[],"b":1.0}',
        b'{"a":[],"b":1e0}',
        b'{"a":[],"b":true}',
        b'{"a":[],"b":"1"}',
        b'{"a":[],"b":NaN}',
        b'{"a":[],"\\u0062":1}',
        b'{"a":["\\/"],"b":1}',
        b'{"a":["\\u00e9"],"b":1}',
        b'{"a":["\\ud800"],"b":1}',
        b'{"a":["\xff"],"b":1}',
        b'{"a":["\xed\xa0\x80"],"b":1}',
        b'{"a":["\xc0\xaf"],"b":1}',
        b'{"a":["\n"],"b":1}',
        b'{"a":[' + b"[" * 50_000,
        b"9" * 5_000,
        b"null",
    ],
)
def test_bytes_that_are_not_the_one_form_are_malformed(data: bytes) -> None:
    assert canonical.decode(b'{"a":[],"b":1}', Two) == Two(b=1)
    with pytest.raises(Malformed):
        canonical.decode(data, Two)


@given(st.text(min_size=4, max_size=30))
def test_an_error_names_the_place_and_never_the_value(secret: str) -> None:
    with pytest.raises(Malformed) as refused:
        canonical.decode(canonical.encode({"a": [], "b": f"tell-{secret}-tale"}), Two)
    assert "tell-" not in refused.value.message
    assert "$.b" in refused.value.message
