"""Who may come in at a node's local interface: from this machine, at its own address, with the right secret.

A page in the holder's browser can send requests to this machine, from any site that it has open. So before anything
else is looked at, each request has to

1. come from this machine (its other end is a loopback address),
2. ask for this very address by its number or as ``localhost`` (``Host``): a name that was made to lead here
   (DNS rebinding) is another one,
3. come from no other site (``Origin``, ``Sec-Fetch-Site``); one that changes something on the page has to say so,
4. bring the secret of its role. There are two roles and two secrets, and neither opens the other's part:

   - the **holder**, in a browser, on everything but ``/v1/``: a *ticket* that is good once and for some minutes, in
     exchange for a cookie (``HttpOnly``, ``SameSite=Strict``) that is good for half a day. A ticket is printed at a
     terminal and kept nowhere; what is kept of one, of ``musubi node page``, is its hash. Cookies are in memory alone.
     Whoever only looks (a HEAD, what a browser fetches ahead) is refused, and does not use the ticket up.
   - the **holder's own site**, on ``/v1/``: a bearer secret, ``keys/site.key``.

Secrets are compared by their hashes, in a time that does not depend on them. No refusal says which part was wrong with
a secret, and none is logged.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec
from litestar.types import HTTPScope
from msgspec import Struct

from ledger.errors import MusubiError, NotPermitted
from trust.files.durable import write_whole
from trust.files.keys import read_secret
from trust.node.local.local_paths import API, ENTER
from trust.node.settings import LocalInterface
from trust.runtime.clock import Clock, Ticks, system_clock, system_ticks
from trust.runtime.serving import IS_HEAD

SITE_KEY = "site.key"
TICKET = "local.ticket"
TICKET_SECONDS = 900
SESSION_SECONDS = 12 * 3600
MOST_SESSIONS = 8
"""Cookies that are good at once; one more, and the oldest goes."""
COOKIE = "musubi_holder"
_NO_ENTRY = "This page is for the node's holder. Get a link with `musubi node page`, and open it on this machine."
_NO_SITE = "This needs the site's secret: Authorization: Bearer, and what is in keys/site.key."
_NOT_OURS = "The request came from elsewhere: another machine, another name, or another site's page."


class KeptTicket(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file keeps of a ticket: its hash, and the last second in which it is good."""

    sha256: str
    until: int


def _hash(secret: str | bytes) -> bytes:
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).digest()


def _is_ahead(headers: Mapping[str, str]) -> bool:
    """Whether a browser asks before anybody wants to see it (``Sec-Purpose``; older ones have other names for it)."""
    said = (headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"))
    return any(word in each.lower() for each in said for word in ("prefetch", "prerender", "preview"))


def page_address(local: LocalInterface) -> str:
    """Return the page's address, without a ticket."""
    return f"http://{local.host}:{local.port}"


def page_link(local: LocalInterface, ticket: str) -> str:
    """Return the page's address with a ticket: for the holder's terminal, and nowhere else."""
    return f"{page_address(local)}{ENTER}?ticket={ticket}"


def leave_ticket(folder: Path, now: int) -> str:
    """Make a ticket for a node that runs, and keep its hash where the node looks, mode 0600; raise Unavailable."""
    ticket = secrets.token_urlsafe(32)
    kept = KeptTicket(sha256=_hash(ticket).hex(), until=now + TICKET_SECONDS)
    write_whole(folder / TICKET, msgspec.json.encode(kept))
    return ticket


def forget_ticket(folder: Path) -> None:
    """Have no ticket of before be good: while nobody was here, somebody else may have been asked at this address."""
    (folder / TICKET).unlink(missing_ok=True)


class Door:
    """The door of one local interface. For one event loop."""

    def __init__(
        self, folder: Path, local: LocalInterface, clock: Clock = system_clock, ticks: Ticks = system_ticks
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._ticks = ticks
        self.cookie = f"{COOKIE}_{local.port}"  # cookies know no ports: a neighbour's would take its place
        host = page_address(local).removeprefix("http://")
        self._hosts = {host, f"localhost:{local.port}"}
        self._ticket: tuple[bytes, float] | None = None
        self._sessions: dict[bytes, float] = {}
        """The hash of each cookie, and until when it is good."""

    def new_ticket(self) -> str:
        """Return a ticket that is kept in memory alone; the one before is good no longer."""
        ticket = secrets.token_urlsafe(32)
        self._ticket = (_hash(ticket), self._ticks() + TICKET_SECONDS)
        return ticket

    def check(self, scope: HTTPScope) -> None:
        """Raise NotPermitted for a request that may not come in."""
        headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_from_here(scope, headers)
        if "//" in scope["path"]:  # the framework takes it for one: whose part it is could be told in two ways
            raise NotPermitted(_NOT_OURS)
        if scope["path"].startswith(API):
            self._check_site(headers)
        elif scope["path"] != ENTER:
            self._check_holder(headers)
        elif scope.get(IS_HEAD) or _is_ahead(headers):  # there a ticket is taken, and nothing else done
            raise NotPermitted(_NO_ENTRY)

    def _check_from_here(self, scope: HTTPScope, headers: Mapping[str, str]) -> None:
        client = scope.get("client")
        try:
            is_from_here = client is not None and ipaddress.ip_address(client[0]).is_loopback
        except ValueError:
            is_from_here = False
        host, origin, fetched = (headers.get(name) for name in ("host", "origin", "sec-fetch-site"))
        if not is_from_here or host not in self._hosts:
            raise NotPermitted(_NOT_OURS)
        if origin is not None and origin not in {f"http://{each}" for each in self._hosts}:
            raise NotPermitted(_NOT_OURS)
        if fetched not in {None, "none", "same-origin"}:
            raise NotPermitted(_NOT_OURS)
        is_from_page = origin is not None or fetched == "same-origin"
        if scope["method"] not in {"GET", "HEAD"} and not scope["path"].startswith(API) and not is_from_page:
            raise NotPermitted(_NOT_OURS)

    def _check_site(self, headers: Mapping[str, str]) -> None:
        scheme, _, said = headers.get("authorization", "").partition(" ")
        try:
            own = read_secret(self._folder / "keys" / SITE_KEY).hex()  # each time: a new one holds at once
        except MusubiError:
            own = ""
        is_right = hmac.compare_digest(_hash(said.strip()), _hash(own))
        if scheme.lower() != "bearer" or not own or not is_right:
            raise NotPermitted(_NO_SITE)

    def _check_holder(self, headers: Mapping[str, str]) -> None:
        cookies = dict(each.strip().partition("=")[::2] for each in headers.get("cookie", "").split(";"))
        if self._session_of(cookies.get(self.cookie, "")) is None:
            raise NotPermitted(_NO_ENTRY)

    def _session_of(self, cookie: str) -> bytes | None:
        said, now = _hash(cookie), self._ticks()
        found = [each for each in self._sessions if hmac.compare_digest(each, said)]
        return found[0] if found and now < self._sessions[found[0]] else None

    def enter(self, ticket: str) -> str:
        """Take a ticket, which is good no longer then; return the cookie that it is exchanged for.

        Raises NotPermitted where it is none, or was taken before, or is too old.
        """
        if not (self._is_ours(ticket) or self._is_kept(ticket)):
            raise NotPermitted(_NO_ENTRY)
        if len(self._sessions) >= MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        cookie = secrets.token_urlsafe(32)
        self._sessions[_hash(cookie)] = self._ticks() + SESSION_SECONDS
        return cookie

    def leave(self, cookie: str) -> None:
        """Have a cookie be good no longer."""
        session = self._session_of(cookie)
        if session is not None:
            del self._sessions[session]

    def _is_ours(self, ticket: str) -> bool:
        if self._ticket is None or not hmac.compare_digest(self._ticket[0], _hash(ticket)):
            return False
        until, self._ticket = self._ticket[1], None
        return self._ticks() < until

    def _is_kept(self, ticket: str) -> bool:
        path = self._folder / TICKET
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=KeptTicket)
        except (OSError, msgspec.DecodeError):
            return False
        if not hmac.compare_digest(kept.sha256.encode(), _hash(ticket).hex().encode()):
            return False
        path.unlink(missing_ok=True)  # a crash before this leaves it good for its minutes
        return self._clock() <= kept.until
