"""What a demo did, for machines. It holds no true answer: no part of the demo ever has one."""

from typing import Any

from msgspec import Struct, field


class DemoReport(Struct, kw_only=True):
    """``seconds`` by phase; ``queries`` with cells of key, measure, value and half_width; the audit's verdict."""

    town: str
    residents: int = 0
    grants: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    queries: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    revocations: list[dict[str, Any]] = field(default_factory=list)
    stopped: dict[str, Any] = field(default_factory=dict)
    killed: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    tampered_audit: dict[str, Any] = field(default_factory=dict)
