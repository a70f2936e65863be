"""The one place in which clients for HTTP are made: for the service, a log, a witness, whoever calls and from wherever.

An office often lets nothing out but through its proxy, and vouches for its own servers with a certificate authority of
its own. So whoever calls may name a proxy and a file with the authority's certificates. Without them the environment
counts, as ``httpx`` reads it: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE`` and
``SSL_CERT_DIR``. A proxy is one for HTTP; SOCKS is not spoken. What the environment names is never used for this very
machine, as in browsers: behind a proxy, 127.0.0.1 is somebody else's. It is the same for all that one process calls:
where a node's polls come through, its reading of the log does too.

No redirect is followed: whoever is meant to answer answers at the address that was given.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ledger.errors import Malformed
from trust.runtime.authorities import trusted_authorities

_NO_ADDRESS = (
    "The address of the service, of the proxy, or of the one that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names, is "
    "no http or https address."
)
_NO_SOCKS = (
    "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names a SOCKS proxy; name one that speaks HTTP, or leave the service "
    "out with NO_PROXY."
)
_THIS_MACHINE: dict[str, Any] = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """Turn what a bad address of a proxy or server brings about into an error that says what to do."""
    try:
        yield
    except (httpx.InvalidURL, ValueError):
        raise Malformed(_NO_ADDRESS) from None
    except ImportError:  # what it takes to speak SOCKS is not among what Musubi installs
        raise Malformed(_NO_SOCKS) from None


def open_http(url: str = "", *, seconds: float, ca_file: Path | None = None, proxy: str | None = None) -> httpx.Client:
    """Return a client, for the server at ``url`` where one is given, which waits ``seconds`` for an answer.

    With ``ca_file`` only certificates by that file's authorities count (PEM). Raises NotFound, Malformed or Unavailable
    for a file that is none, and Malformed where an address is none.
    """
    with _in_a_sentence():
        return httpx.Client(
            base_url=url,
            timeout=seconds,
            proxy=proxy,
            mounts=_THIS_MACHINE if proxy is None else None,
            verify=trusted_authorities(ca_file),
            follow_redirects=False,
        )


def open_async_http(*, seconds: float, ca_file: Path | None = None, proxy: str | None = None) -> httpx.AsyncClient:
    """Return the same for a process with an event loop, which calls several servers. Raises as ``open_http``."""
    with _in_a_sentence():
        return httpx.AsyncClient(
            timeout=seconds,
            proxy=proxy,
            mounts=_THIS_MACHINE if proxy is None else None,
            verify=trusted_authorities(ca_file),
            follow_redirects=False,
        )
