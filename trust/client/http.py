"""How every role calls the service: what comes back is an answer of a bounded size, or an error in a sentence.

What comes may be the service's, or something's on the way: a gateway, a cache, an office's proxy. A problem document
is somebody's words (``trust.runtime.problems.told``), and never a finding of ours.
"""

import ssl
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from ledger.errors import Malformed, TooLarge, Unavailable
from trust.runtime.problems import MEDIA_TYPE, told

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_PROBLEM_BYTES = 64 * 1024


class HttpAnswer(Struct, frozen=True, kw_only=True):
    """What a call was answered with."""

    content: bytes

    @property
    def text(self) -> str:
        """The answer as text; raises Malformed where it is none."""
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            raise Malformed("The answer is no text; something on the way may have sent it.") from None


def call(client: httpx.Client, method: str, path: str, **how: Any) -> HttpAnswer:
    """Return the answer to one request; raise the problem that it is (``Told``), TooLarge, or Unavailable."""
    try:
        with client.stream(method, path, **how) as response:
            is_problem = response.headers.get("content-type", "").startswith(MEDIA_TYPE)
            content = _bounded(response, MAX_ANSWER_BYTES if response.is_success else MAX_PROBLEM_BYTES)
    except httpx.HTTPError as error:
        raise Unavailable(_why_not(error)) from None
    if response.is_success:
        return HttpAnswer(content=content)
    if is_problem:
        try:
            document = msgspec.json.decode(content)
        except (ValueError, RecursionError):  # then it is something on the way that answered
            pass
        else:
            raise told(document)
    raise Unavailable(f"The service answered with status {response.status_code}.")


def _bounded(response: httpx.Response, most: int) -> bytes:
    data = bytearray()
    for part in response.iter_bytes():
        data += part
        if len(data) > most:
            raise TooLarge("The answer is larger than any that is expected; something on the way may have sent it.")
    return bytes(data)


def _why_not(error: httpx.HTTPError) -> str:
    """Say in one sentence why no answer came; it names no address, for a proxy's may hold a password."""
    if _is_about_certificate(error):
        return (
            "The service's certificate is by no authority that is trusted here; "
            "name the file with your authority's certificates as ca_file."
        )
    if isinstance(error, httpx.ProxyError):
        return "The proxy does not let the call through; ask whoever runs it, or correct its address."
    return f"The service does not answer ({type(error).__name__}); check that it runs, its address, and the way to it."


def _is_about_certificate(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
