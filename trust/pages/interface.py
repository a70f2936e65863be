"""The HTTP interface as a page: every operation of the OpenAPI document, for people who would rather not read JSON."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Operation(Struct, frozen=True, kw_only=True):
    """One operation: method, path, and what it does (in English, as in the OpenAPI document)."""

    method: str
    path: str
    does: str


def list_operations(document: Mapping[str, Any]) -> list[Operation]:
    """Return the operations of an OpenAPI document, by path."""
    return [
        Operation(method=method.upper(), path=path, does=str(operation.get("description", "")).replace("``", ""))
        for path, methods in sorted(document["paths"].items())
        for method, operation in sorted(methods.items())
    ]
