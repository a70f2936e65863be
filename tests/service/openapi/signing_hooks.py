"""What schemathesis cannot know of this interface: how JSON becomes canonical, and how a message is signed.

Loaded by schemathesis itself (``SCHEMATHESIS_HOOKS``). The document that it gets is the service's own, with one change
(``opened``): where a compact JWS stands, it has an object with one member, ``jws``, whose value is what the message
says. So messages are made and broken as any other data, and signed here, with the keys of those whom they are from.
Data that is of its schema is moved near to the town first: its log, its members, its policy, the time.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import schemathesis
from nacl.signing import SigningKey

from ledger import canonical, jws
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from policies.policy_document import document_sha256
from tests.kit.towns.toy_town import HOLDERS, IDENTITY, MOBILITY, ORIGIN, PARTNER, STEWARDS, key_of

SEED = bytes(range(32))
"""Of the one resident that is enrolled."""
RESIDENT = pairwise_key(SEED, SERVICE)
MEMBERS = {"question": PARTNER, "attestation": IDENTITY, "lost-device": IDENTITY, "stop": IDENTITY}
COUNTS = "MUSUBI_ATTACK_COUNTS"
"""The variable of the environment that names the file for what was sent and answered."""
NOT_OF_FORMAT = ("is not of its format", "is not canonical JSON", "is not a compact JWS", "is not a signed message")
PLACES = {"index", "admit", "size", "first", "grant", "known", "last"}


def opened(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with requests' signed texts as what they say."""
    made: dict[str, Any] = json.loads(json.dumps(document))
    for operations in made["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content["schema"] = _opened(content["schema"])
                content["example"] = _closed_example(content["example"])
    schemas = made["components"]["schemas"]
    opened_schemas = {f"Opened{name}": _opened(schema) for name, schema in schemas.items()}
    made["components"]["schemas"] = _closed(schemas) | opened_schemas
    for operations in made["paths"].values():
        for operation in operations.values():
            operation["responses"] = _closed(operation["responses"])
    return made


def _closed(schema: Any) -> Any:
    """Return a schema without ``contentSchema``: schemathesis 4.32 stumbles over ``prefixItems`` in it."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _closed(value) for key, value in schema.items() if key != "contentSchema"}


def _opened(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_opened(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "contentSchema" in schema:
        payload = _opened(schema["contentSchema"]["prefixItems"][1])
        return {"type": "object", "properties": {"jws": payload}, "required": ["jws"], "additionalProperties": False}
    if "$ref" in schema:
        return {"$ref": schema["$ref"].replace("/schemas/", "/schemas/Opened")}
    return {key: _opened(value) for key, value in schema.items()}


def _closed_example(example: Any) -> Any:
    """Return an example with its signed texts as ``opened`` has them."""
    if isinstance(example, dict):
        return {key: _closed_example(value) for key, value in example.items()}
    if isinstance(example, list):
        return [_closed_example(each) for each in example]
    if isinstance(example, str) and example.startswith(f"{jws.HEADER}."):
        return {"jws": _closed_example(json.loads(jws.parts(example)[1]))}
    return example


def _key_of(payload: Any) -> SigningKey:
    named = payload.get("from", payload.get("holder")) if isinstance(payload, dict) else None
    return key_of(named) if isinstance(named, str) and named[:1] < "\ud800" else RESIDENT


def _signed(value: Any) -> Any:
    """Return data with every message in it signed, the innermost first. RFC 8785 writes 384.0 as 384."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_signed(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _signed(each) for key, each in value.items()}
    if set(made) != {"jws"}:
        return made
    return jws.sign(made["jws"], _key_of(made["jws"]))


def _near(value: Any, name: str = "") -> Any:
    """Return data of its schema as somebody of this town would have made it."""
    if isinstance(value, dict):
        made = {key: _near(each, key) for key, each in value.items()}
        says = made.get("for", "")
        if "from" in made and isinstance(made["from"], str):
            made["from"] = STEWARDS[0] if "sha256" in made else MEMBERS.get(str(says), HOLDERS[0])
        return made
    if isinstance(value, list):
        return [_near(each, name) for each in value]
    known: dict[str, str | int] = {
        "log": ORIGIN,
        "key": public_hex(RESIDENT),
        "policy": MOBILITY.id,
        "policy_sha256": document_sha256(MOBILITY),
    }
    known |= {"at": int(time.time()), "said_at": int(time.time()), "shown_at": int(time.time())}
    if name in known and isinstance(value, type(known[name])):
        return known[name]
    if name == "version":
        return 1
    if name == "wait":
        return 0
    return value % 20 if name in PLACES and isinstance(value, int) and value % 3 else value


def _bytes(value: Any) -> bytes:
    """Return canonical JSON; for what has none (floats, lone surrogates), the nearest that there is."""
    try:
        return canonical.encode(value)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, UnicodeError):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@schemathesis.serializer("application/json")
def as_json(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """Write a body as canonical JSON, with its messages signed."""
    return value if isinstance(value, bytes) else _bytes(_signed_or_plain(value))


@schemathesis.serializer("application/jose")
def as_jose(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """Write a body as a compact JWS; what is no message as it is."""
    made = _signed_or_plain(value)
    return made.encode() if isinstance(made, str) else _bytes(made)


def _signed_or_plain(value: Any) -> Any:
    try:
        return _signed(value)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, UnicodeError):
        return value


def _is_of_its_schema(case: Any) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """Move data that is of its schema near to the town."""
    if _is_of_its_schema(case):
        if isinstance(case.body, dict):
            case.body = _near(case.body)
        case.path_parameters = _near(case.path_parameters)
        case.query = _near(case.query)
    return case


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Write down what was sent and answered, for the test to count."""
    mode = case.meta.generation.mode.value if case.meta is not None else "negative"
    said = {
        "operation": case.operation.label,
        "mode": mode,
        "method": case.method,
        "status": response.status_code,
        "el": response.elapsed,
        "t": time.time(),
        "n": len(response.request.body or b""),
    }
    with Path(os.environ[COUNTS]).open("a") as file:
        file.write(json.dumps(said) + "\n")


@schemathesis.check
def what_is_of_its_schema_is_not_refused_as_none(ctx: Any, response: Any, case: Any) -> None:
    """Refused may it be, but not for its form: then the schema would lack what the reader wants."""
    if _is_of_its_schema(case) and response.status_code == 400:
        detail = str(response.json().get("detail", ""))
        assert not any(part in detail for part in NOT_OF_FORMAT), detail


@schemathesis.check
def a_refusal_is_not_kept_by_any_cache(ctx: Any, response: Any, case: Any) -> None:
    """And every one is a problem."""
    if response.status_code >= 400:
        assert response.headers["cache-control"] == ["no-store"], response.headers
        assert response.headers["content-type"] == ["application/problem+json"], response.headers


def write_opened(document: dict[str, Any], path: Path) -> None:
    """Write the document for schemathesis."""
    path.write_text(json.dumps(opened(document)), "utf-8")
