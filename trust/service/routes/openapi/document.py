"""The OpenAPI document: Litestar's own (paths, parameters, what each operation does) with what it cannot know put in.

Handlers read bodies by hand, as canonical JSON or a compact JWS, so Litestar sees no body and no answer. These come
from ``operations``, their schemas from the messages' classes (``trust.client.message_shapes``), and problems from
``trust.runtime.problems``.
"""

import copy
import re
from typing import Any

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.plugins import JsonRenderPlugin

from ledger.entries import Hex32, Index, NanoRho
from ledger.errors import MusubiError
from trust.client import paths
from trust.client.message_shapes.examples import EXAMPLE_KEY, example_of, signed_example
from trust.client.message_shapes.json_shapes import REF, Shape, shapes_of, token_shape
from trust.client.message_shapes.payloads import plain_words
from trust.runtime.problems import KINDS, MEDIA_TYPE, PROBLEM_TYPE
from trust.service.routes.http import FAULT_TITLE, JOSE, JSON
from trust.service.routes.openapi.operations import OPERATIONS, OperationShape, Says, all_errors

_PARAMETERS: dict[str, tuple[Any, Any]] = {
    "index": (Index, 4_711),
    "admit": (Index, 4_711),
    "size": (Index, 4_711),
    "first": (Index, 0),
    "charge": (NanoRho, 200_000_000),
    "sha256": (Hex32, "5f" * 32),
    "policy_sha256": (Hex32, "5f" * 32),
}
_TEXT_PARAMETERS: dict[str, Shape] = {
    "path": {
        "schema": {"type": "string", "pattern": r"^([0-9]{1,2}|entries)/(x[0-9]{3}/)*[0-9]{3}(\.p/[1-9][0-9]{0,2})?$"},
        "example": "entries/x001/234",
        "description": "What C2SP tlog-tiles gives a tile's name after `tile/`. Its slashes stand as they are.",
    },
    "wait": {
        "schema": {"type": "integer", "default": 0, "minimum": 0, "maximum": 30},
        "example": 20,
        "description": "For how many seconds the answer may be held.",
    },
    "Idempotency-Key": {
        "schema": {"type": "string", "minLength": 8, "maxLength": 64},
        "example": "aki-grant-2026-11-28",
        "description": "The same key with the same body is done once, and answered the same.",
    },
}
_TEXTS = {
    paths.CHECKPOINT: "musubi.example/momijidai\n4711\nX19fX19fX19fX19fX19fX19fX19fX19fX19fX19fX18=\n\n— musubi.example/momijidai Hy49TA…\n",
    paths.RECEIPT: "c2sp.org/tlog-proof@v1\nindex 4711\nX19fX19fX19fX19fX19fX19fX19fX19fX19fX19fX18=\n\nmusubi.example/momijidai\n…\n",
    paths.METRICS: "# TYPE musubi_admitted_total counter\nmusubi_admitted_total 12.0\n",
}
_FAULT = "fault"


class DescribedInterface(JsonRenderPlugin):
    """Renders the whole document: made when it is first asked for, and kept, for anybody can ask for it."""

    _made: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document's bytes."""
        if self._made is None:
            self._made = self.render_json(request, describe(openapi_schema))
        return self._made


def operation_name(handler: HTTPRouteHandler) -> str:
    """Return for whom an operation is and its name, as ``partners/questions``; clients that are made sort them so."""
    return f"{handler.fn.__module__.rpartition('.')[2]}/{handler.handler_name}"


def template_of(path: str) -> str:
    """Return a path of ``trust.client.paths`` as OpenAPI writes it, without its parameters' types."""
    return re.sub(r":\w+}", "}", path)


def describe(bare: dict[str, Any]) -> dict[str, Any]:
    """Return Litestar's document with bodies, answers, problems and examples put in. It changes nothing of ``bare``."""
    document = copy.deepcopy(bare)
    said = [each for op in OPERATIONS.values() for each in (op.body, op.answer) if each is not None and each.type]
    shapes, components = shapes_of([each.type for each in said])
    by_place = {id(each): shape for each, shape in zip(said, shapes, strict=True)}
    for (method, path), operation in OPERATIONS.items():
        place = document["paths"][template_of(path)][method.lower()]
        audience, _, place["operationId"] = place["operationId"].rpartition("/")
        place["tags"] = [audience]
        _complete(place, method, path, operation, by_place)
    examples = {problem_name(code): {"value": _problem_example(code)} for code in [*_BY_CODE, _FAULT]}
    document["components"] = {"schemas": components | _problems(), "examples": examples}
    document["info"]["description"] = (
        "Consents, questions and the ledger. JSON bodies are canonical (RFC 8785), so that a body has one form only: sorted "
        "keys, no white space, no repeated keys, whole numbers without point or exponent. Signed bodies are a compact JWS "
        'with the header {"alg":"Ed25519"} over canonical JSON, which `contentSchema` describes. Nothing is asked of a '
        "request's Content-Type. Examples are signed with the key whose public half is "
        f"{bytes(EXAMPLE_KEY.verify_key).hex()}; its seed is the SHA-256 of `musubi: the key of the examples`."
    )
    return document


def _complete(
    place: dict[str, Any], method: str, path: str, operation: OperationShape, shapes: dict[int, Shape]
) -> None:
    place["description"] = plain_words(place["description"])
    for parameter in place.get("parameters", ()):
        _complete_parameter(parameter)
    if operation.body is not None:
        place["requestBody"] = {"required": True, "content": _content(operation.body, shapes, path)}
    answer: Shape = {"description": place["responses"][str(operation.status)]["description"]}
    if operation.answer.form != "nothing":
        answer["content"] = _content(operation.answer, shapes, path)
    place["responses"] = {str(operation.status): answer, **_refusals(all_errors(method, path, operation))}


def _complete_parameter(parameter: dict[str, Any]) -> None:
    name = parameter["name"]
    parameter.pop("allowEmptyValue", None)
    if name in _TEXT_PARAMETERS:
        parameter.update(_TEXT_PARAMETERS[name])
        return
    type_, example = _PARAMETERS[name]
    schema = msgspec.json.schema(type_)
    schema.pop("$schema", None)
    if "pattern" in schema:
        schema["pattern"] = schema["pattern"].replace(r"\Z", "$")
    parameter |= {"schema": schema, "example": example}


def _content(says: Says, shapes: dict[int, Shape], path: str) -> Shape:
    """Return one media type with its schema and example."""
    if says.form == "json":
        return {JSON: {"schema": shapes[id(says)], "example": example_of(says.type)}}
    if says.form == "signed":
        return {JOSE: {"schema": token_shape([says.type]), "example": signed_example(says.type)}}
    if says.form == "text":
        return {says.media_type: {"schema": {"type": "string"}, "example": _TEXTS[path]}}
    return {says.media_type: {"schema": {"type": "string", "format": "binary"}}}


def _refusals(errors: list[type[MusubiError]]) -> Shape:
    """Return the problems that an operation can answer with, by status."""
    by_status: dict[int, list[str]] = {500: [_FAULT]}
    for error in errors:
        by_status.setdefault(KINDS[error].status, []).append(error.code)
    return {str(status): _refusal(status, sorted(codes)) for status, codes in sorted(by_status.items())}


def _refusal(status: int, codes: list[str]) -> Shape:
    refs = [{"$ref": REF.format(name=problem_name(code))} for code in codes]
    examples = {code: {"$ref": f"#/components/examples/{problem_name(code)}"} for code in codes}
    answer: Shape = {
        "description": "; ".join(f"{_title(code)} (`{code}`)" for code in codes),
        "content": {MEDIA_TYPE: {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}, "examples": examples}},
    }
    if status in {429, 503}:
        answer["headers"] = {
            "Retry-After": {
                "description": "After how many seconds it may be worth trying again, where that is known.",
                "schema": {"type": "integer", "minimum": 0},
            }
        }
    return answer


_BY_CODE = {error.code: (error, kind) for error, kind in KINDS.items()}


def problem_name(code: str) -> str:
    """Return the component's name of a problem."""
    return "Problem" + code.title().replace("-", "")


def _title(code: str) -> str:
    return FAULT_TITLE if code == _FAULT else _BY_CODE[code][1].title


def _status(code: str) -> int:
    return 500 if code == _FAULT else _BY_CODE[code][1].status


def _problem_example(code: str) -> Shape:
    detail = "Something in the service failed; nothing was answered."
    made = {"type": PROBLEM_TYPE + code, "title": _title(code), "status": _status(code), "detail": detail, "code": code}
    if code != _FAULT:
        made["detail"] = plain_words(_BY_CODE[code][0].__doc__).partition("\n")[0]
    if code == "budget-exceeded":
        made |= {"account": "policy:mobility_demand", "asked": 200_000_000, "left": 0}
    return made


def _problems() -> dict[str, Shape]:
    """Return a component for each error of the table, and one for a fault of the service's own."""
    made = {}
    for code in [*_BY_CODE, _FAULT]:
        shape: Shape = {
            "title": problem_name(code),
            "description": "A fault of the service." if code == _FAULT else plain_words(_BY_CODE[code][0].__doc__),
            "type": "object",
            "properties": {
                "type": {"const": PROBLEM_TYPE + code},
                "title": {"const": _title(code)},
                "status": {"const": _status(code)},
                "detail": {"type": "string"},
                "code": {"const": code},
            },
        }
        if code == "budget-exceeded":
            numbers = msgspec.json.schema(NanoRho)
            numbers.pop("$schema", None)
            shape["properties"] |= {"account": {"type": "string"}, "asked": numbers, "left": numbers}
        made[problem_name(code)] = {**shape, "required": list(shape["properties"])}
    return made
