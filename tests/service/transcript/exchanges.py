"""Requests and answers as text that is the same at each run: what is random or of its moment is named, not shown.

Signed messages are opened, with who signed them. A key, hash or time becomes a word in angle brackets; an index, a
charge, a size of a tree stays what it is, for these are the service's behaviour.
"""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
from litestar import Litestar

from ledger import canonical, ed25519, jws
from ledger.errors import SignatureInvalid
from ledger.tlog.tiles import decode_bundle

WIDTH = 118
SOON_SECONDS = 3 * 86_400
DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
HEX = re.compile(r"\b(?:[0-9a-f]{32}){1,2}\b")
KEY = re.compile(r"\+[0-9a-f]{8}\+[A-Za-z0-9+/]{40,}=*")
SIGNATURE = re.compile(r"^(— \S+) [A-Za-z0-9+/]{60,}=*$")
BYTES = re.compile(r"[A-Za-z0-9+/_-]{40,}=*")
NOT_SHOWN = re.compile(r"content-length|date|content-type|ratelimit.*")


class Transcript:
    """Exchanges with one application, in the order in which they are had."""

    def __init__(self, app: Litestar, client: httpx.AsyncClient, settle: Callable[[], Any]) -> None:
        self._client = client
        self._settle = settle
        self._text: list[str] = []
        self.names: dict[str, str] = {}
        """What public keys and hashes (64 hexadecimal digits) stand for."""
        self.routes = {
            (method, route.path): re.compile(
                re.sub(r"\\{\w+(?::(\w+))?\\}", lambda m: ".+" if m[1] == "path" else "[^/]+", re.escape(route.path))
            )
            for route in app.routes
            for method in getattr(route, "methods", ())
            if method in {"GET", "POST"}
        }
        self.taken: set[tuple[str, str]] = set()
        self.refused: set[tuple[str, str]] = set()

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._text.append(f"{title}\n{'=' * len(title)}\n")

    async def taken_in(self, what: str, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """Have an exchange that goes well; return the answer."""
        answer = await self._send(method, path, body, headers)
        assert answer.is_success, (what, answer.text)
        self.taken |= self._routes_of(method, path)
        self._write(what, method, path, body, headers, answer)
        return answer

    async def refusal(self, what: str, method: str, path: str, body: object = None, **headers: str) -> None:
        """Have an exchange that is refused. Its body is not shown: ``what`` says what is wrong with it."""
        answer = await self._send(method, path, body, headers)
        assert answer.is_client_error, (what, answer.text)
        self.refused |= self._routes_of(method, path)
        self._write(what, method, path, None, headers, answer)

    def text(self) -> str:
        """Return all of it."""
        return "\n".join(self._text)

    async def _send(self, method: str, path: str, body: object, headers: dict[str, str]) -> httpx.Response:
        """Send a request, and wait until all that it led to is published: no answer depends on when it is sent."""
        content = None if body is None else body.encode() if isinstance(body, str) else canonical.encode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self._client.request(method, path, content=content, headers=named)
        await self._settle()
        return answer

    def _routes_of(self, method: str, path: str) -> set[tuple[str, str]]:
        plain = path.partition("?")[0]
        exact = {pair for pair in self.routes if pair == (method, plain)}
        return exact or {pair for pair, shape in self.routes.items() if pair[0] == method and shape.fullmatch(plain)}

    def _write(
        self, what: str, method: str, path: str, body: object, headers: dict[str, str], answer: httpx.Response
    ) -> None:
        lines = [f"# {what}", f"{method} {self._line(path)}"]
        lines += [f"{name.replace('_', '-')}: {self._line(value)}" for name, value in headers.items()]
        if isinstance(body, str):
            lines.append(_laid_out(self._opened(body)))
        elif body is not None:
            lines.append(_laid_out(self._named(json.loads(canonical.encode(body)))))
        lines.append(f"-> {answer.status_code} {answer.headers.get('content-type', '')}")
        lines += [
            f"   {name}: {self._header(name, value)}"
            for name, value in sorted(answer.headers.items())
            if not NOT_SHOWN.fullmatch(name)
        ]
        self._text.append("\n".join(lines) + f"\n{self._answer(path, answer)}\n")

    def _header(self, name: str, value: str) -> str:
        if name == "etag":
            return "<tag>"
        return re.sub(r"'sha256-[^']+'", "'sha256-<hash>'", self._line(value))

    def _answer(self, path: str, answer: httpx.Response) -> str:
        match answer.headers.get("content-type", "").partition(";")[0]:
            case "application/json" | "application/problem+json":
                shown = _laid_out(self._named(answer.json()))
            case "application/jose":
                shown = _laid_out(self._opened(answer.text))
            case "application/octet-stream":
                shown = self._tile(path, answer.content)
            case "application/vnd.oai.openapi+json":
                shown = _laid_out({"openapi": "…", "paths": sorted(answer.json()["paths"])})
            case "text/html":
                title = re.findall(r"<title>(.*?)</title>", answer.text, re.DOTALL)[0]
                shown = f"<a page: {' '.join(title.split())}>"
            case _ if answer.text.startswith("# HELP"):
                kinds = re.findall(r"^# TYPE (.*)$", answer.text, re.MULTILINE)
                shown = "\n".join(sorted(kind for kind in kinds if "_created " not in kind))
            case _:
                shown = "\n".join(map(self._line, answer.text.splitlines()))
        return shown

    def _tile(self, path: str, data: bytes) -> str:
        """A tile of hashes is so many hashes; a bundle is its entries."""
        if "/entries/" not in path:
            return f"<{len(data) // 32} hashes>"
        entries = decode_bundle(data, int(path.rpartition("/")[2]))
        return f"<{len(entries)} entries: {', '.join(json.loads(entry)['kind'] for entry in entries)}>"

    def _named(self, value: Any) -> Any:
        """Return a JSON value with a word for each part of it that is random or of its moment."""
        if isinstance(value, dict):
            return {self._line(key): self._named(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._named(each) for each in value]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value - time.time()) < SOON_SECONDS:
            return "<time>"
        if not isinstance(value, str):
            return value
        if value.startswith(f"{jws.HEADER}."):
            return self._opened(value)
        return [self._line(line) for line in value.splitlines()] if "\n" in value else self._line(value)

    def _opened(self, token: str) -> dict[str, Any]:
        """Return what a signed message says, and whose signature it bears."""
        signed, payload, signature = jws.parts(token.rstrip("\n"))
        return {"signed by": self._signer(signed, signature), "says": self._named(json.loads(payload))}

    def _signer(self, signed: bytes, signature: bytes) -> str:
        for key, name in self.names.items():
            try:
                ed25519.check(signed, signature, bytes.fromhex(key))
            except SignatureInvalid:
                continue
            return name
        return "nobody that is known"

    def _line(self, text: str) -> str:
        text = HEX.sub(lambda found: f"<{self.names.get(found[0], f'{len(found[0]) // 2} bytes')}>", text)
        text = KEY.sub("+<key>", SIGNATURE.sub(r"\1 <signature>", text))
        text = DATE.sub(lambda found: "<today>" if _is_today(found[0]) else found[0], text)
        return "<bytes>" if BYTES.fullmatch(text) else text


def _is_today(text: str) -> bool:
    """Whether it is today in any time zone."""
    return abs(date.fromisoformat(text) - datetime.now(UTC).date()) <= timedelta(days=1)


def _laid_out(value: Any, indent: str = "") -> str:
    """Return JSON on one line where that fits, else one member on each line."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    deeper = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(deeper + _laid_out(each, deeper) for each in value) + f"\n{indent}]"
    members = (f"{deeper}{json.dumps(key, ensure_ascii=False)}: {_laid_out(value[key], deeper)}" for key in value)
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"
