"""Addresses that people write down: of a service, and of the proxy on the way to it."""

import re
from urllib.parse import urlsplit

import httpx

from ledger.errors import Malformed

MAX_ADDRESS = 500
_FORM = "has the form https://host or http://host:port, with a path behind it or none"
_NO_ADDRESS = re.compile(r"[\s\x00-\x20\x7f\\]")


def check_service_address(address: str) -> str:
    """Return the address of a service; raise Malformed unless it is one, without a name and a password in it."""
    parts = _split(address)
    if parts is None:
        raise Malformed(f"The service's address is none: it {_FORM}.")
    if parts.userinfo:
        raise Malformed(
            "The service's address has a name or a password in it; the service asks for none. Leave it out."
        )
    return address


def check_proxy_address(address: str) -> str:
    """Return the address of a proxy, which may hold a name and a password; raise Malformed unless it is one.

    It has no path: what looks like one is most often the rest of a password with a slash in it.
    """
    parts = _split(address)
    if parts is None or parts.path != "/":
        raise Malformed(
            "The proxy's address is none: it has the form http://host:port, or http://name:password@host:port. In a "
            "password, signs other than letters and digits are written as % and two hexadecimal digits."
        )
    return address


def without_password(address: str) -> str:
    """Return an address that was checked, without the name and the password in it."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _split(address: str) -> httpx.URL | None:
    if len(address) > MAX_ADDRESS or _NO_ADDRESS.search(address):
        return None
    try:
        parts, url = urlsplit(address), httpx.URL(address)
        port = parts.port
    except (ValueError, httpx.InvalidURL):
        return None
    whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0
    return url if whole and not parts.query and not parts.fragment else None
