"""What a client says to a service, and what it does not say before it knows whose ledger this is."""

import inspect
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import structs

from ledger.errors import ProofInvalid
from policies.consents.bundle import Bundle
from tests.kit.logs.log_builder import LogBuilder, receipt_of
from trust.client.service import ServiceClient

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "get": ("/v1/members", list),
    "post": ("/v1/grants", {}, dict),
    "post_bytes": ("/v1/grants", b"{}"),
    "send": ("/v1/questions", "token"),
    "send_for": ("/v1/questions", "token", dict),
    "checked": (lambda: None,),
    "genesis": (),
    "policies": (),
    "policy": ("0" * 64,),
    "prove": (1,),
    "members": (),
    "preview": ("token",),
    "ask": ("token",),
    "watch": (1,),
    "grant": ([],),
    "replace": (Bundle(leaves=[]), []),
    "rules": (),
    "revoke": (1, None),
    "stop": ("token",),
    "replace_device": ("attestation", "enrolment"),
    "my_consents": (bytes(32),),
}
SAYS_NOTHING = {
    "question": "it signs, and sends nothing",
    "log_keys": "each change of a key is proven from the pinned keys and the pinned entry's stewards on",
}


def test_to_another_ledger_than_the_pinned_one_nothing_is_said_by_any_method(tmp_path: Path) -> None:
    town = LogBuilder().town()
    town.publish(tmp_path)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        if request.url.path.startswith("/v1/receipts/"):
            return httpx.Response(200, content=receipt_of(town, tmp_path, 0).format())
        return httpx.Response(200, content=town.entries[0])

    def client(genesis: str) -> ServiceClient:
        made = ServiceClient("http://service", structs.replace(town.trust, genesis_sha256=genesis))
        made._http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
        return made

    methods = {name for name, _ in inspect.getmembers(ServiceClient, inspect.isfunction) if not name.startswith("_")}
    assert methods == set(ARGUMENTS) | set(SAYS_NOTHING)
    for name, arguments in ARGUMENTS.items():
        asked.clear()
        with pytest.raises(ProofInvalid, match="not the pinned one"):
            getattr(client("0" * 64), name)(*arguments)
        assert asked == ["GET /v1/receipts/0", "GET /v1/entries/0"], name
    asked.clear()
    right = client(town.trust.genesis_sha256)
    for _ in range(2):
        assert right.genesis().origin == town.trust.origin
    assert len(asked) == 2  # it remembers


def test_a_first_entry_that_is_not_the_pinned_one_is_never_taken_for_one_of_newer_software(tmp_path: Path) -> None:
    town = LogBuilder()
    town.append(b'{"kind":"of a time to come"}')
    town.publish(tmp_path)

    def answer(request: httpx.Request) -> httpx.Response:
        is_receipt = request.url.path.startswith("/v1/receipts/")
        return httpx.Response(200, content=receipt_of(town, tmp_path, 0).format() if is_receipt else town.entries[0])

    client = ServiceClient("http://service", structs.replace(town.trust, genesis_sha256="0" * 64))
    client._http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    with pytest.raises(ProofInvalid, match="not the pinned one"):
        client.members()
