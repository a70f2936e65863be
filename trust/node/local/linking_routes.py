"""Linking for the holder's own site, over HTTP: challenges, answers, and whether a customer is linked.

Bodies are JSON objects and answers are too. A customer's number stands in bodies alone, never in an address, and in no
answer. Each request is the site's own word that this customer is logged in there now.
"""

import asyncio
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State as AppState
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct

from ledger import canonical
from ledger.entries import Token
from ledger.errors import Malformed
from trust.node.local.local_paths import CHALLENGES, LINKS, STATUS
from trust.node.local.site_links import LOOK_AGAIN_SECONDS, TAKEN_IN_SECONDS, SiteLinks

LocalRequest = Request[Any, Any, AppState]
CustomerNumber = Annotated[str, Meta(min_length=1, max_length=256)]
T = TypeVar("T")


class LoggedIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The customer who is logged in at the holder's site, by the number that stands in the source files."""

    customer: CustomerNumber


class GivenChallenge(Struct, frozen=True, kw_only=True):
    """The line to show to the customer, and the last second in which it is good (UTC, since 1970)."""

    challenge: str
    expires_at: int


class SentAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The customer who is logged in, and what the device answered."""

    customer: CustomerNumber
    link: Token


class LinkStanding(Struct, frozen=True, kw_only=True):
    """Whether the customer is linked to a device's key."""

    linked: bool


def _answer(value: object) -> Response[bytes]:
    headers = {"Cache-Control": "no-store"}
    return Response(canonical.encode(value), status_code=200, media_type="application/json", headers=headers)


async def _body(request: LocalRequest, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.body(), type=type_)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):  # its own words could hold a customer's number
        fields = ", ".join(f'"{each}"' for each in type_.__struct_fields__)  # type: ignore[attr-defined]
        raise Malformed(f"The body is a JSON object with exactly these texts: {fields}.") from None


def linking_routes(links: SiteLinks) -> list[HTTPRouteHandler]:
    """Return the handlers over one node's links."""

    @post(CHALLENGES, status_code=200)
    async def challenge(request: LocalRequest) -> Response[bytes]:
        """Make a challenge for the customer who is logged in."""
        asked = await _body(request, LoggedIn)
        made = links.challenge(asked.customer)
        return _answer(GivenChallenge(challenge=made.text, expires_at=links.expires_at(made)))

    @post(LINKS, status_code=200)
    async def take(request: LocalRequest) -> Response[bytes]:
        """Take what the customer's device answered; return once the node has linked by it."""
        sent = await _body(request, SentAnswer)
        handed = await asyncio.to_thread(links.hand_in, sent.customer, sent.link.strip())
        loop = asyncio.get_running_loop()
        end = loop.time() + TAKEN_IN_SECONDS
        while not handed.is_taken_in() and loop.time() < end:  # noqa: ASYNC110 - another process takes the file
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        await asyncio.to_thread(handed.check)
        return _answer(LinkStanding(linked=True))

    @post(STATUS, status_code=200)
    async def status(request: LocalRequest) -> Response[bytes]:
        """Say whether a customer is linked."""
        asked = await _body(request, LoggedIn)
        return _answer(LinkStanding(linked=await asyncio.to_thread(links.is_linked, asked.customer)))

    return [challenge, take, status]
