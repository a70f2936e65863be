"""How every role calls the service over HTTP: one way, whoever calls and from wherever.

An office often lets nothing out but through its proxy, and vouches for its own servers with a certificate authority of
its own. So whoever calls may name a proxy and a file with the authority's certificates. Without them the environment
counts, as ``httpx`` reads it: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE`` and
``SSL_CERT_DIR``. A proxy is one for HTTP; SOCKS is not spoken.
"""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from ledger.errors import Malformed, Unavailable
from trust.runtime.authorities import trusted_authorities
from trust.runtime.problems import MEDIA_TYPE, error_of


def open_http(url: str, *, seconds: float, ca_file: Path | None = None, proxy: str | None = None) -> httpx.Client:
    """Return a client for the service at ``url``, which waits ``seconds`` for an answer.

    With ``ca_file`` only certificates by that file's authorities count (PEM). Raises NotFound, Malformed or Unavailable
    for a file that is none, and Malformed where an address is none.
    """
    try:
        return httpx.Client(base_url=url, timeout=seconds, proxy=proxy, verify=trusted_authorities(ca_file))
    except (httpx.InvalidURL, ValueError):
        raise Malformed(
            "The address of the service, of the proxy, or of the one that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names, is "
            "no http or https address."
        ) from None
    except ImportError:  # what it takes to speak SOCKS is not among what Musubi installs
        raise Malformed(
            "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names a SOCKS proxy; name one that speaks HTTP, or leave the service "
            "out with NO_PROXY."
        ) from None


def call(client: httpx.Client, method: str, path: str, **how: Any) -> httpx.Response:
    """Return the service's answer to one request; raise the service's own problem, or Unavailable."""
    try:
        response = client.request(method, path, **how)
    except httpx.HTTPError as error:
        raise Unavailable(_why_not(error)) from None
    if response.is_success:
        return response
    if response.headers.get("content-type", "").startswith(MEDIA_TYPE):
        with suppress(ValueError):  # then it is something on the way that answered
            raise error_of(response.json())
    raise Unavailable(f"The service answered with status {response.status_code}.")


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
