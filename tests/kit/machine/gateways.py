"""What something on the way to a service may answer in its place: a gateway, a cache, an office's proxy, a stranger."""

import gzip
import json

import httpx

from trust.runtime.problems import KINDS, MEDIA_TYPE

PROBLEM = {"content-type": MEDIA_TYPE}


def _problem(body: bytes | str | object, status: int = 503) -> tuple[int, dict[str, str], bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status, PROBLEM, data


ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "a page with status 200": (200, {"content-type": "text/html"}, b"<html><body>Please log in</body></html>"),
    "a page with status 502": (502, {"content-type": "text/html"}, b"<html>Bad gateway</html>"),
    "nothing with status 200": (200, {}, b""),
    "nothing with status 204": (204, {}, b""),
    "a redirect": (302, {"location": "http://elsewhere.test/"}, b""),
    "bytes that are no text": (200, {"content-type": "application/json"}, b"\xff\xfe\x00"),
    "JSON of another shape": (200, {"content-type": "application/json"}, b'{"what":[1,2]}'),
    "null with status 200": (200, {"content-type": "application/json"}, b"null"),
    "a list too deep": (200, {"content-type": "application/json"}, b"[" * 100_000),
    "compressed badly": (200, {"content-encoding": "gzip"}, b"\x1f\x8b no gzip"),
    "compressed well": (200, {"content-encoding": "gzip"}, gzip.compress(b"<html></html>")),
    "a problem that is a page": _problem(b"<html></html>"),
    "a problem that is empty": _problem(b""),
    "a problem that is a list": _problem([]),
    "a problem that is null": _problem(None),
    "a problem that is text": _problem("history-forked"),
    "a problem that is no UTF-8": _problem(b'{"code":"\xff"}'),
    "a problem that is deep": _problem(b'{"code":' + b"[" * 30_000),
    "a problem that is large": _problem({"code": "not-found", "detail": "x" * 200_000}),
    "a problem whose code is a number": _problem({"code": 7, "detail": ["x"]}),
    "a problem whose code is unknown": _problem({"code": "no-such-code"}),
    "a problem of other types": _problem({"code": "budget-exceeded", "asked": "x", "left": None, "account": 3}, 403),
    "a problem with evidence": _problem({"code": "history-forked", "detail": "forked", "evidence": "{}"}, 409),
    **{f"a problem that says {kind.code}": _problem({"code": kind.code, "detail": "so"}) for kind in KINDS},
}
"""By what it is: status, headers, body."""


def response_of(name: str) -> httpx.Response:
    """Return one of them as a response; a body that cannot be decoded fails as it is read, as on the wire."""
    status, headers, body = ANSWERS[name]
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))
