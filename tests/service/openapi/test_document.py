"""The service's OpenAPI document: whole, true to the code, and made of it."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.inspect import StructType

from ledger import canonical, ed25519, jws
from ledger.entries import Token
from policies.consents.bundle import Bundle
from policies.policy_document import check_document, decode_document
from queries.question.tree import decode_query
from tests.kit.towns.described import Described
from tests.kit.towns.running import Running, lay_out, run
from trust.client import wire
from trust.client.message_shapes.examples import EXAMPLE_KEY, example_of
from trust.client.message_shapes.json_shapes import inner_types, structs_in
from trust.client.message_shapes.payloads import BUNDLES, DOCUMENTS, LEAVES, SIGNED
from trust.runtime.problems import KINDS, MEDIA_TYPE, problem
from trust.service.app import create_app
from trust.service.routes.openapi.document import problem_name, template_of
from trust.service.routes.openapi.operations import OPERATIONS, Says
from trust.service.service import Service
from trust.service.settings import load_settings

pytestmark = pytest.mark.anyio
SAID = [
    each for op in OPERATIONS.values() for each in (op.body, op.answer) if each is not None and each.type is not None
]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Described:
    """The document of the service's application."""
    town = lay_out(tmp_path_factory.mktemp("described"))
    return Described.of(create_app(Service(load_settings(town.service))))


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A founded town."""
    async with run(lay_out(tmp_path / "town")) as started:
        yield await started.found()


def test_every_operation_has_its_row_and_no_row_is_of_none(described: Described) -> None:
    paths = described.document["paths"]
    written = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert written == {(method, template_of(path)) for method, path in OPERATIONS}
    assert len(written) == 43


def test_no_operation_lacks_a_body_an_answer_or_an_example(described: Described) -> None:
    for (method, path), operation in OPERATIONS.items():
        place = described.document["paths"][template_of(path)][method.lower()]
        assert ("requestBody" in place) == (method == "POST"), path
        contents = [*place["requestBody"]["content"].items()] if method == "POST" else []
        for status, answer in place["responses"].items():
            assert ("content" in answer) == (status != "204"), (path, status)
            contents += answer.get("content", {}).items()
        assert str(operation.status) in place["responses"]
        for media_type, content in contents:
            assert content["schema"], path
            # bytes of a tile are no text that a document of JSON could show
            assert media_type == "application/octet-stream" or {"example", "examples"} & set(content), path
        for parameter in place.get("parameters", ()):
            assert "example" in parameter, (path, parameter["name"])


def test_every_example_is_of_its_schema(described: Described) -> None:
    found = 0
    for path, operations in described.document["paths"].items():
        for operation in operations.values():
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in [each for holder in contents for each in holder.get("content", {}).values()]:
                shown = [_resolved(described, each)["value"] for each in content.get("examples", {}).values()]
                for value in [*shown, content["example"]] if "example" in content else shown:
                    described.check_value(content["schema"], value, path)
                    found += 1
            for parameter in operation.get("parameters", ()):
                described.check_value(parameter["schema"], parameter["example"], path)
    assert found > 300


def _resolved(described: Described, place: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = described.document
    for part in place["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


@pytest.mark.parametrize("says", SAID, ids=lambda says: getattr(says.type, "__name__", str(says.type)))
def test_what_an_example_shows_is_taken_by_the_strict_reader(says: Says) -> None:
    canonical.decode(canonical.encode(example_of(says.type)), says.type, "example")


def test_signed_examples_are_signed_with_the_key_that_the_document_names(described: Described) -> None:
    public = bytes(EXAMPLE_KEY.verify_key)
    assert public.hex() in described.document["info"]["description"]
    tokens = [text for text in _texts(described.document) if text.startswith(f"{jws.HEADER}.") and len(text) > 100]
    assert len(tokens) > 30
    for token in tokens:
        signed, _, signature = jws.parts(token)
        ed25519.check(signed, signature, public)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def test_the_example_of_a_policy_and_of_a_question_are_whole_ones() -> None:
    check_document(decode_document(canonical.encode(example_of(DOCUMENTS[wire.PolicyRequest, "policy"]))))
    decode_query(canonical.encode(example_of(DOCUMENTS[next(place for place in DOCUMENTS if place[1] == "query")])))


def test_every_field_of_raw_json_and_every_signed_text_has_its_row() -> None:
    """A field of raw JSON without a row would be described as anything; a signed text as any text."""
    raw, signed, bundles, leaves = set(), set(), set(), set()
    for struct in structs_in([*(says.type for says in SAID), *inner_types()]):
        info = msgspec.inspect.type_info(struct)
        assert isinstance(info, StructType)
        names = {each.name: each.encode_name for each in info.fields}
        for name, hint in struct.__annotations__.items():
            text = str(hint)
            if name in names and ("Raw" in text or hint is Raw):
                raw.add((struct, names[name]))
            if name in names and f"max_length={_longest()}" in text:
                signed.add((struct, names[name]))
            if "bundle.Bundle" in text:
                bundles.add((struct, names[name]))
            if "bundle.Leaf" in text and struct is not Bundle:
                leaves.add((struct, names[name]))
    assert raw == set(DOCUMENTS) | {(wire.GrantRequest, "bundles")}
    assert signed <= set(SIGNED)
    assert len(signed) > 20
    assert bundles | {(wire.GrantRequest, "bundles")} == set(BUNDLES)
    assert leaves == set(LEAVES)


def _longest() -> int:
    (meta,) = Token.__metadata__  # type: ignore[attr-defined]
    return int(meta.max_length)


def test_every_problem_is_the_tables_own(described: Described) -> None:
    schemas = described.document["components"]["schemas"]
    for error, kind in KINDS.items():
        made = error("account", 1, 0) if error.code == "budget-exceeded" else error("One sentence.")  # type: ignore[call-arg]
        described.check_value({"$ref": f"#/components/schemas/{problem_name(error.code)}"}, problem(made), error.code)
        assert schemas[problem_name(error.code)]["properties"]["status"] == {"const": kind.status}
    problems = {name for name in schemas if name.startswith("Problem")}
    assert problems == {problem_name(error.code) for error in KINDS} | {"ProblemFault"}


def test_every_refusal_is_a_problem(described: Described) -> None:
    for operations in described.document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert set(answer["content"]) == {MEDIA_TYPE}


async def test_the_document_is_served_as_it_is_made_and_made_once(running: Running, described: Described) -> None:
    first, second = [(await running.client.get("/openapi/openapi.json")).content for _ in range(2)]
    assert json.loads(first) == described.document
    assert first == second


async def test_an_answer_that_the_document_does_not_describe_fails_the_test_that_got_it(running: Running) -> None:
    described = Described.of(running.client._transport.app)  # type: ignore[attr-defined]
    answer = await running.client.get("/v1/rounds")
    operation = described.operation("GET", "/v1/rounds")
    assert operation is not None
    broken = {**operation, "responses": {"201": operation["responses"]["200"]}}
    with pytest.raises(AssertionError):
        described.check_answer(broken, answer)
    schema = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    with pytest.raises(AssertionError):
        described.check_value(schema, answer.json(), "rounds")


async def test_one_error_has_one_title_whoever_refuses(running: Running) -> None:
    """The framework's own refusals (a path, a query, a body too large) are the same problems as ours."""
    titles = {error.code: kind.title for error, kind in KINDS.items()}
    asked = [
        ("GET", "/v1/nothing", b""),
        ("GET", "/v1/rounds/0?wait=soon", b""),
        ("POST", "/v1/trust", b"{}"),
        ("POST", "/v1/grants", b'"' + b"x" * 500_000 + b'"'),
    ]
    for method, path, body in asked:
        document = (await running.client.request(method, path, content=body)).json()
        assert document["title"] == titles[document["code"]], (method, path)


async def test_options_names_every_method_of_a_path(running: Running, described: Described) -> None:
    for path, operations in described.document["paths"].items():
        answer = await running.client.options(_at(path))
        assert answer.status_code == 204, path
        assert answer.headers["allow"] == ", ".join(sorted({"OPTIONS", *(method.upper() for method in operations)}))


def _at(path: str) -> str:
    return re.sub(r"\{(\w+)\}", "7", path)
