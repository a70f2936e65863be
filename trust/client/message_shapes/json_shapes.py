r"""JSON Schemas of messages, from their classes: what msgspec says, and what canonical JSON and ``payloads`` add to it.

- A field with a default has to be written all the same: what is read must encode to the bytes that came
  (``ledger.canonical``). Only a field that may be unset can be left out.
- Python's ``\Z`` means nothing in JSON Schema's regular expressions; it becomes ``$``, which there is the very end.
- Raw JSON is the document that it holds. A compact JWS has what it says in ``contentSchema``, as JSON Schema does it
  for JWT (2020-12, validation, section 8.6): a list of header and payload.
"""

import copy
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.inspect import StructType

from ledger import jws
from policies.consents.bundle import NONE, Bundle
from trust.client.message_shapes.payloads import (
    BUNDLES,
    DOCUMENTS,
    JWS_PATTERN,
    LEAVES,
    SIGNED,
    UNSIGNED_TEXT,
    BundleOf,
    Field,
    LeafOf,
    may_be_left_out,
    plain_words,
)

MAX_BODY = 8_192
"""The most characters of a leaf's body (``policies.consents.bundle.Leaf``)."""
REF = "#/components/schemas/{name}"
Shape = dict[str, Any]


def shapes_of(types: list[Any]) -> tuple[list[Shape], dict[str, Shape]]:
    """Return the schema of each type, in order, and the components that they refer to."""
    wanted = [*types, *inner_types()]
    found, components = msgspec.json.schema_components(wanted, ref_template=REF)
    for struct in structs_in(wanted):
        _complete(struct, components[struct.__name__])
    bundle, leaf = components.pop("Bundle"), components.pop("Leaf")
    for each in BUNDLES.values():
        components |= _bundle(each, bundle, leaf)
    return [_translated(each) for each in found[: len(types)]], _translated(components)


def inner_types() -> list[Any]:
    """Return what stands in raw and signed fields, wherever that is."""
    leaves = [*LEAVES.values(), *(leaf for bundle in BUNDLES.values() for leaf in (bundle.general, bundle.own))]
    signed = [payload for payloads in SIGNED.values() for payload in payloads]
    return [Bundle, *DOCUMENTS.values(), *signed, *(leaf.payload for leaf in leaves if leaf.payload is not None)]


def structs_in(types: list[Any]) -> list[type[Struct]]:
    """Return every message class that the types are made of, each once."""
    found: dict[type[Struct], None] = {}

    def walk(info: Any) -> None:
        if isinstance(info, StructType):
            if info.cls in found:
                return
            found[info.cls] = None
            for each in info.fields:
                walk(each.type)
        for name in ("item_type", "key_type", "value_type", "type"):
            if hasattr(info, name):
                walk(getattr(info, name))
        for each in (*getattr(info, "types", ()), *getattr(info, "item_types", ())):
            walk(each)

    for info in msgspec.inspect.multi_type_info(types):
        walk(info)
    return list(found)


def _complete(struct: type[Struct], shape: Shape) -> None:
    """Add to what msgspec says of a class what the module's docstring names."""
    shape["description"] = plain_words(struct.__doc__)
    info = msgspec.inspect.type_info(struct)
    fields = info.fields if isinstance(info, StructType) else ()
    may_lack = {each.encode_name for each in fields if may_be_left_out(struct, each)}
    shape["properties"] = dict(sorted(shape.get("properties", {}).items()))  # as in canonical JSON
    shape["required"] = [name for name in shape.get("properties", {}) if name not in may_lack]
    for name, said in shape.get("properties", {}).items():
        only = said["enum"][0] if len(said.get("enum", ())) == 1 else None
        if only is True:  # makers of clients trip over a truth that is the only value
            said.update(type="boolean", enum=[True])
        elif only is not None:
            said["const"] = said.pop("enum")[0]
            said.pop("default", None)
        place = struct, name
        if place in DOCUMENTS:
            _put(said, {"$ref": REF.format(name=DOCUMENTS[place].__name__)})
        elif place in BUNDLES or place in LEAVES:
            _put(said, {"$ref": REF.format(name=BUNDLES[place].name if place in BUNDLES else LEAVES[place].name)})
        elif place in SIGNED:
            _put(said, _signed_text(place, said))
            said.pop("default", None)


def _put(said: Shape, instead: Shape) -> None:
    """Put a shape in the place of a field's own, or of what its list or object holds."""
    for inside in ("items", "additionalProperties"):
        if isinstance(said.get(inside), dict) and said.get("type") in {"array", "object"}:
            nullable = "anyOf" in said[inside]
            said[inside] = {"anyOf": [instead, {"type": "null"}]} if nullable else instead
            return
    nullable = {"type": "null"} in said.get("anyOf", ())
    said.clear()
    said.update({"anyOf": [instead, {"type": "null"}]} if nullable else instead)


def _signed_text(place: Field, said: Shape) -> Shape:
    token = token_shape(list(SIGNED[place]), said.get("maxLength", 60_000))
    if place in UNSIGNED_TEXT:
        return {"anyOf": [token, {"const": UNSIGNED_TEXT[place]}]}
    return token


def token_shape(payloads: list[type[Struct]], most: int | None = None) -> Shape:
    """Return the schema of a text that is a compact JWS, which says one of the payloads."""
    refs = [{"$ref": REF.format(name=each.__name__)} for each in payloads]
    shape: Shape = {
        "type": "string",
        "pattern": JWS_PATTERN,
        "contentMediaType": "application/jose",
        "contentSchema": {
            "type": "array",
            "minItems": 2,
            "prefixItems": [
                {"const": msgspec.json.decode(jws.unb64url(jws.HEADER))},
                refs[0] if len(refs) == 1 else {"anyOf": refs},
            ],
        },
    }
    return shape if most is None else {**shape, "maxLength": most}


def _bundle(bundle: BundleOf, whole: Shape, leaf: Shape) -> dict[str, Shape]:
    """Return the components of a bundle: its own, that of its first leaf, that of all the others."""
    made = copy.deepcopy(whole)
    made["title"] = bundle.name
    first, others = ({"$ref": REF.format(name=each.name)} for each in (bundle.general, bundle.own))
    made["properties"]["leaves"] |= {"prefixItems": [first], "items": others}
    return {bundle.name: made, **{each.name: _leaf(each, leaf) for each in (bundle.general, bundle.own)}}


def _leaf(leaf: LeafOf, whole: Shape) -> Shape:
    made = copy.deepcopy(whole)
    made["title"] = leaf.name
    token = [] if leaf.payload is None else [token_shape([leaf.payload], MAX_BODY)]
    said = [*token, {"const": NONE}] if leaf.or_none else token
    made["properties"]["body"] = said[0] if len(said) == 1 else {"anyOf": said}
    return made


def _translated(value: Any) -> Any:
    """Return a schema with its regular expressions as JSON Schema reads them.

    What ends a tuple is said by ``maxItems`` alone: code generators do not read ``"items": false``.
    """
    if isinstance(value, dict):
        return {
            key: each.replace(r"\Z", "$") if key == "pattern" and isinstance(each, str) else _translated(each)
            for key, each in value.items()
            if not (key == "items" and each is False and value.get("maxItems") == len(value.get("prefixItems", ())))
        }
    return [_translated(each) for each in value] if isinstance(value, list) else value
