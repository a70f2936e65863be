"""Every answer that a test gets from a service in its event loop is one that the service's OpenAPI document describes.

``running.run`` has each answer looked at here: status, media type, the body against its schema. So all tests of the
service hold the document, also those that are about something else.
"""

import json
import re
from functools import lru_cache
from typing import Any, Self

import httpx
import jsonschema_rs
from litestar import Litestar

from ledger import jws
from trust.runtime.problems import MEDIA_TYPE
from trust.service.routes.openapi.document import describe

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@lru_cache(maxsize=1)
def _described(bare: str) -> "Described":
    return Described(describe(json.loads(bare)))


class Described:
    """An OpenAPI document, with a validator for each schema that an answer was held against."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self._operations = {
            (method.upper(), re.compile(_pattern(path))): operation
            for path, operations in sorted(document["paths"].items(), key=lambda pair: "{" in pair[0])
            for method, operation in operations.items()
        }

    @classmethod
    def of(cls, app: Litestar) -> Self:
        """Return the document of an application; all of them have the same."""
        found = _described(json.dumps(app.openapi_schema.to_schema()))
        assert isinstance(found, cls)
        return found

    async def check(self, answer: httpx.Response) -> None:
        """Check one answer (an ``httpx`` hook)."""
        await answer.aread()
        operation = self.operation(answer.request.method, answer.request.url.path)
        if operation is None:
            return
        self.check_answer(operation, answer)

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """Return the operation that takes a request, if one does."""
        return next(
            (op for (name, shape), op in self._operations.items() if name == method and shape.match(path)), None
        )

    def check_answer(self, operation: dict[str, Any], answer: httpx.Response) -> None:
        """Check an answer of an operation."""
        name = operation["operationId"]
        said = operation["responses"].get(str(answer.status_code))
        assert said is not None, (name, answer.status_code, answer.text[:400])
        if "content" not in said:
            assert answer.content == b"", name
            return
        media_type = answer.headers["content-type"]
        assert media_type in said["content"], (name, answer.status_code, media_type)
        schema = said["content"][media_type]["schema"]
        if media_type in {"application/json", MEDIA_TYPE}:
            self.check_value(schema, answer.json(), f"{name} {answer.status_code}")
        elif media_type == "application/jose":
            self.check_value(schema, answer.text, name)
            payload = json.loads(jws.parts(answer.text)[1])
            self.check_value(schema["contentSchema"]["prefixItems"][1], payload, name)

    def check_value(self, schema: dict[str, Any], value: object, what: str) -> None:
        """Check a value against one of the document's schemas."""
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {"$schema": DIALECT, "components": self.document["components"], "allOf": [schema]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        faults = [fault.message[:300] for fault in self._validators[key].iter_errors(value)]
        assert faults == [], (what, faults)


def _pattern(path: str) -> str:
    return "^" + re.sub(r"\\{(\w+)\\}", lambda m: ".+" if m[1] == "path" else "[^/]+", re.escape(path)) + "$"
