"""From HTTP to core and back: bodies read strictly, answers as canonical JSON or signed, errors as problems.

Every POST body is canonical JSON (RFC 8785) or one compact JWS, so a body has one form only: repeated keys, other
encodings than UTF-8 and stray white space are refused before anything is looked at.
"""

from collections import Counter
from typing import Any, TypeVar

import structlog
from litestar import Request, Response
from litestar.datastructures import State as AppState
from litestar.exceptions import HTTPException

from ledger import canonical, jws
from ledger.errors import Malformed, MusubiError, NotFound, SignatureInvalid
from queries.rounds.messages import LeavesWanted, Work
from trust.runtime.problems import KINDS, MEDIA_TYPE, PROBLEM_TYPE, headers_of, kind_of, problem
from trust.service import metrics
from trust.service.service import Service

T = TypeVar("T")
ApiRequest = Request[Any, Any, AppState]
JOSE = "application/jose"
JSON = "application/json"
FAULT_TITLE = "Fault"
_TITLES = {error.code: kind.title for error, kind in KINDS.items()}
logger = structlog.get_logger()


def service_of(request: ApiRequest) -> Service:
    """Return the running service."""
    service: Service = request.app.state.service
    return service


async def check_numbers(request: ApiRequest) -> None:
    """Raise NotFound where a number in an address is not in its one form: digits 0-9, no sign, no leading zero.

    The router reads whatever Python takes for a number, such as ``１``, ``+1``, ``1_0`` or ``01``: an address with many
    names for one thing is cached, limited and logged under each.
    """
    # Asynchronous, though it waits for nothing: the framework would run it in a thread, for every request.
    numbers = Counter(str(value) for value in request.path_params.values() if isinstance(value, int))
    if not numbers <= Counter(request.scope["path"].split("/")):
        raise NotFound("A number in an address is written in digits, without sign or leading zeros.")


async def read_json(request: ApiRequest, type_: type[T], what: str) -> T:
    """Read a canonical JSON body. Raises Malformed or TooLarge."""
    return canonical.decode(await request.body(), type_, what)


async def read_token(request: ApiRequest) -> str:
    """Read a body that is one compact JWS; raise Malformed."""
    body = await request.body()
    try:
        return body.decode("ascii").rstrip("\n")
    except UnicodeDecodeError:
        raise Malformed("The body is not a signed message: it has other bytes than ASCII.") from None


async def from_node(service: Service, token: str, type_: type[Work] | type[LeavesWanted]) -> Any:
    """Check a signed, fresh message of a holder's node. Raises SignatureInvalid, ClockSkew or Replayed.

    A holder that has left, or is none any more, may still poll, to end the rounds that it began; it gets no leaves.
    """
    claimed = jws.read_unverified(token, type_)
    state = service.store.state
    member = state.participant(claimed.from_) if type_ is Work else state.member(claimed.from_, "holder")
    if member is None:
        raise SignatureInvalid("The message is not from a holder of this town.")
    message = jws.verify(token, bytes.fromhex(member.key), type_)
    if message.log != service.store.state.log:
        raise SignatureInvalid("The message was signed for another town's ledger.")
    await service.nonces.check(message.nonce, message.at)
    return message


def json_answer(value: object, status: int = 200) -> Response[bytes]:
    """Answer with canonical JSON."""
    return Response(canonical.encode(value), status_code=status, media_type=JSON)


def signed_answer(service: Service, value: object) -> Response[str]:
    """Answer with a JWS by the operator's key."""
    return Response(jws.sign(value, service.operator_key), media_type=JOSE, status_code=200)


def musubi_problem(_: ApiRequest, error: MusubiError) -> Response[bytes]:
    """Answer an error of ours with its problem document."""
    metrics.problems.labels(code=error.code).inc()
    status = kind_of(error).status
    return Response(
        canonical.encode(problem(error)), status_code=status, media_type=MEDIA_TYPE, headers=headers_of(status)
    )


def http_problem(_: ApiRequest, error: HTTPException) -> Response[bytes]:
    """Answer the framework's own refusals (no such path, too large, too many) in the same form."""
    codes = {404: "not-found", 405: "not-permitted", 413: "too-large", 429: "rate-limited"}
    code = codes.get(error.status_code, "malformed" if error.status_code < 500 else "unavailable")
    document = {
        "type": PROBLEM_TYPE + code,
        "title": _TITLES[code],
        "status": error.status_code,
        "detail": "The request cannot be taken: " + code.replace("-", " ") + ".",
        "code": code,
    }
    return Response(
        canonical.encode(document),
        status_code=error.status_code,
        media_type=MEDIA_TYPE,
        headers={**(error.headers or {}), **headers_of(error.status_code)},
    )


def fault(_: ApiRequest, error: Exception) -> Response[bytes]:
    """Answer a fault of our own without saying anything about it; the log names its kind and nothing of its data."""
    logger.error("fault", kind=type(error).__name__)
    document = {
        "type": PROBLEM_TYPE + "fault",
        "title": FAULT_TITLE,
        "status": 500,
        "detail": "Something in the service failed; nothing was answered.",
        "code": "fault",
    }
    return Response(canonical.encode(document), status_code=500, media_type=MEDIA_TYPE, headers=headers_of(500))
