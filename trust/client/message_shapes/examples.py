"""One example of each message, made from its class: what a field holds is told from its name, its form and its place.

Signed texts in them are signed indeed, with a key that anybody can make (``EXAMPLE_KEY``), so that a reader can try a
verifier on them. No town has a member with that key: they are refused where they are sent.
"""

import hashlib
import re
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import inspect as kinds
from nacl.signing import SigningKey

from ledger import jws
from policies.consents.bundle import NONE, DisclosedLeaf
from policies.languages import BY_TAG, LANGUAGES, NOTICE_LANGUAGES, TITLE_LANGUAGES
from policies.pairwise_keys import public_hex
from policies.policy_document import View
from queries.question.tree import Query
from trust.client import wire
from trust.client.message_shapes.payloads import (
    BUNDLES,
    DOCUMENTS,
    LEAVES,
    SIGNED,
    BundleOf,
    Field,
    LeafOf,
    may_be_left_out,
)

EXAMPLE_KEY = SigningKey(hashlib.sha256(b"musubi: the key of the examples").digest())
"""Its seed is the SHA-256 of ``musubi: the key of the examples``."""
_TIME, _PLACE, _NANO_RHO = 1_790_000_000, 4_711, 200_000_000
_FIVES = "5f" * 32

_BY_NAME: dict[str, Any] = {
    "log": "musubi.example/momijidai",
    "origin": "musubi.example/momijidai",
    "policy": "mobility_demand",
    "id": "mobility_demand",
    "version": 3,
    "language": LANGUAGES[0].tag,
    "purpose": "https://w3id.org/dpv#ImproveTransportMobility",
    "measures": ["https://w3id.org/dpv#DifferentialPrivacy"],
    "title": {tag: f"Rides ({BY_TAG[tag].english})" for tag in sorted(TITLE_LANGUAGES)},
    "notice": {tag: f"Your rides are counted. (In {BY_TAG[tag].english}.)" for tag in sorted(NOTICE_LANGUAGES)},
    "subject": "kz3Wv8pQ",
    "time_zone": "Asia/Tokyo",
    "delta": "0.000001",
    "epsilon": "0.2",
    "scale": "41.5",
    "primitive": "rows",
    "as": "rides",
    "column": "ward",
    "resident": "customer",
    "unit": "yen",
    "detail": "There is no consent at that place of the ledger.",
    "charge": _NANO_RHO,
    "cap": _NANO_RHO,
    "caps": [_NANO_RHO],
    "number": 2,
    "nonce": _FIVES,
    "key": public_hex(EXAMPLE_KEY),
    "sha256": _FIVES,
    "policy_sha256": _FIVES,
    "accounts": [{"account": "policy:mobility_demand", "cap": 10 * _NANO_RHO, "left": 9 * _NANO_RHO}],
    "log_key": "musubi.example/momijidai+1f2e3d4c+AbcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQR",
    "witness_policy": "witness one one.example+1f2e3d4c+BAbcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ\nquorum one\n",
    "receipt": "c2sp.org/tlog-proof@v1\nindex 4711\n",
}
_BY_PLACE: dict[Field, Any] = {
    (wire.LogKeyRequest, "log_key"): {"number": 2, "key": _BY_NAME["log_key"]},
    (View, "rows_per_resident"): 4,
    (View, "holders_per_resident"): 1,
    (DisclosedLeaf, "position"): 1,
}
"""What stands in one field alone; and which fields that may be left out are there."""
_WHOLE: dict[type[Struct], dict[str, Any]] = {
    Query: {
        "v": 1,
        "policy": "mobility_demand",
        "version": 3,
        "from": ["rides"],
        "where": [{"column": "hour", "between": [7, 9]}],
        "group_by": ["ward"],
        "measures": [{"as": "rides", "count": "rows"}],
        "spend": {"epsilon": "0.2"},
    }
}
"""What no field says by itself."""
_FROM = {"question": "planner", "attestation": "city_id", "lost-device": "city_id", "stop": "city_id"}
_FROM |= dict.fromkeys(("go", "work-answer", "leaves-answer", "offer", "admitted"), "operator")
_BY_PATTERN: tuple[tuple[str, str], ...] = (
    ("[0-9a-f]{64}/", f"{_FIVES}/rides"),
    ("[0-9a-f]{64}", _FIVES),
    ("[0-9]{4}-", "2027-11-30"),
)
_BY_PATTERN += (("(0|[1-9]", "0.2"), ("[a-z][a-z0-9_]", "bus_co"), ("[A-Za-z0-9_-]{1,35}", LANGUAGES[0].tag))


def example_of(type_: Any) -> Any:
    """Return a JSON value of a message, the same at each call."""
    return _example(msgspec.inspect.type_info(type_), "")


def signed_example(payload: type[Struct]) -> str:
    """Return a compact JWS of a message's example, by ``EXAMPLE_KEY``."""
    return jws.sign(example_of(payload), EXAMPLE_KEY)


def _bundle(bundle: BundleOf) -> dict[str, Any]:
    return {"leaves": [_leaf(bundle.general), _leaf(bundle.own)]}


def _leaf(leaf: LeafOf) -> dict[str, Any]:
    return {"body": NONE if leaf.payload is None else signed_example(leaf.payload), "salt": _FIVES}


def _struct(info: kinds.StructType) -> dict[str, Any]:
    struct = info.cls
    if struct in _WHOLE:
        return _WHOLE[struct]
    made: dict[str, Any] = {}
    config = struct.__struct_config__
    if config.tag is not None:
        made[str(config.tag_field)] = config.tag
    for each in info.fields:
        place = struct, each.encode_name
        if may_be_left_out(struct, each) and place not in _BY_PLACE:
            continue
        default = each.default if each.default_factory is msgspec.NODEFAULT else each.default_factory()
        value = _field(place, each.type, default, made)
        made[each.encode_name] = value
    return dict(sorted(made.items()))


def _field(place: Field, type_: Any, default: Any, before: dict[str, Any]) -> Any:  # noqa: PLR0911 - one case after another
    name = place[1]
    if place in _BY_PLACE:
        return _BY_PLACE[place]
    if place in BUNDLES:
        return _around(type_, _bundle(BUNDLES[place]))
    if place in LEAVES:
        return _leaf(LEAVES[place])
    if place in DOCUMENTS:
        document = example_of(DOCUMENTS[place])
        return _around(type_, document)
    if place in SIGNED:
        return _around(type_, signed_example(SIGNED[place][0]))
    if default is not msgspec.NODEFAULT:
        return default
    if name == "from":
        return _FROM.get(before.get("for", ""), "bus_co")
    if name in _BY_NAME and _fits(_BY_NAME[name], type_):
        return _BY_NAME[name]
    return _example(type_, name)


def _around(type_: Any, value: Any) -> Any:
    """Return a value inside of what its field is: itself, a list of it, an object from a holder to it."""
    if isinstance(type_, kinds.ListType):
        return [value]
    return {"bus_co": value} if isinstance(type_, kinds.DictType) else value


def _fits(value: Any, type_: Any) -> bool:
    """Whether a field of that type takes the value: names are the same in messages of different kinds."""
    if isinstance(type_, kinds.UnionType):
        return any(_fits(value, each) for each in type_.types)
    if isinstance(type_, kinds.ListType):
        return isinstance(value, list) and all(_fits(each, type_.item_type) for each in value)
    if isinstance(type_, kinds.StrType):
        return isinstance(value, str) and (type_.pattern is None or re.search(type_.pattern, value) is not None)
    if isinstance(type_, kinds.IntType):
        return isinstance(value, int) and (type_.ge or 0) <= value and (type_.le is None or value <= type_.le)
    return isinstance(type_, kinds.DictType) and isinstance(value, dict)


def _example(info: Any, name: str) -> Any:  # noqa: PLR0911 - one case for each kind
    match info:
        case kinds.StructType():
            return _struct(info)
        case kinds.UnionType():
            return _example(
                next((each for each in info.types if isinstance(each, kinds.StructType)), info.types[0]), name
            )
        case kinds.ListType():
            return [_example(info.item_type, name) for _ in range(max(1, info.min_length or 0))]
        case kinds.TupleType():
            return [_example(each, name) for each in info.item_types]
        case kinds.DictType():
            return {_example(info.key_type, ""): _example(info.value_type, name)}
        case kinds.LiteralType():
            return info.values[0]
        case kinds.IntType():
            return _number(info)
        case kinds.StrType():
            return _text(info)
        case kinds.BoolType():
            return False
        case _:
            return None


def _number(info: kinds.IntType) -> int:
    if info.le == 2**37:
        return _TIME
    return min(max(_PLACE, info.ge or 0), info.le if info.le is not None else _PLACE)


def _text(info: kinds.StrType) -> str:
    found = (value for part, value in _BY_PATTERN if info.pattern and part in info.pattern)
    return next(found, "hill"[: info.max_length or 4])
