"""What each operation takes and gives: its body, its answer, and the errors that it can meet.

The order is that of docs/reference/http-interface.md. Paths are those of ``trust.client.paths``, messages their own
classes, errors those of ``ledger.errors``, with status and title from ``trust.runtime.problems``.
Every answer that the service's tests see is held against this table (``tests.kit.towns.described``).
"""

from typing import Any, Literal

from msgspec import Struct

from ledger.entries import AnyEntry, Index, MemberBody
from ledger.errors import (
    AlreadyEnded,
    BudgetExceeded,
    ClockSkew,
    ConsentMismatch,
    ConsentStale,
    ConsentStands,
    HistoryForked,
    Malformed,
    MusubiError,
    NotEnrolled,
    NotFound,
    NotPermitted,
    NotReady,
    PolicyNotCurrent,
    ProofInvalid,
    QueryInvalid,
    RateLimited,
    ReadOnly,
    Replayed,
    RoundClosed,
    SignatureInvalid,
    TooLarge,
    Unavailable,
    UpgradeNeeded,
)
from policies.consents.attested_stop import Stop
from policies.consents.erasure import Erasure, Farewell
from policies.policy_document import Policy
from policies.rules import RulesWord
from queries.answers.uses import InForceAt, Stopped, Uses
from queries.rounds import messages as m
from trust.client import paths, wire
from trust.log.pins import Trust
from trust.log.proven_keys import ProvenLogKeys

Form = Literal["json", "signed", "text", "bytes", "nothing"]
Errors = tuple[type[MusubiError], ...]


class Says(Struct, frozen=True):
    """What a body or an answer is: a message's type as JSON or signed; for text and bytes, their media type."""

    form: Form
    type: Any = None
    media_type: str = ""


class OperationShape(Struct, frozen=True, kw_only=True):
    """One operation. ``errors`` are its own; what any of its kind can meet besides is added by ``all_errors``."""

    body: Says | None = None
    answer: Says
    status: int = 200
    errors: Errors = ()
    appends: bool = False


class Readiness(Struct, frozen=True, kw_only=True):
    """How many entries are committed, and how many of them are published."""

    size: int
    published: int


class Liveness(Struct, frozen=True, kw_only=True):
    """That the process answers."""

    status: Literal["ok"]


def _json(type_: Any) -> Says:
    return Says("json", type_)


def _signed(type_: Any) -> Says:
    return Says("signed", type_)


_NOTE = Says("text", media_type="text/plain; charset=utf-8")
_TILE = Says("bytes", media_type="application/octet-stream")
_METRICS = Says("text", media_type="text/plain; version=0.0.4; charset=utf-8")
_NOTHING = Says("nothing")


def _get(answer: Says, *errors: type[MusubiError]) -> OperationShape:
    return OperationShape(answer=answer, errors=errors)


def _post(
    body: Says, answer: Says, *errors: type[MusubiError], status: int = 200, appends: bool = True
) -> OperationShape:
    return OperationShape(body=body, answer=answer, status=status, errors=errors, appends=appends)


_QUESTION: Errors = (SignatureInvalid, NotPermitted, ClockSkew, Replayed, PolicyNotCurrent, QueryInvalid, NotReady)
_STEP: Errors = (SignatureInvalid, NotPermitted, Replayed, RoundClosed)
_QUORUM: Errors = (SignatureInvalid, NotPermitted)
_IN_NODES_NAME: Errors = (SignatureInvalid, ClockSkew, Replayed)
_ENDS: Errors = (SignatureInvalid, ConsentMismatch, NotPermitted, NotFound, AlreadyEnded)
_OWN: Errors = (SignatureInvalid, ClockSkew, Replayed, NotEnrolled, NotPermitted)

OPERATIONS: dict[tuple[str, str], OperationShape] = {
    # The log
    ("GET", paths.CHECKPOINT): _get(_NOTE, NotFound),
    ("GET", paths.TILE): _get(_TILE, Malformed, NotFound),
    ("GET", paths.RECEIPT): _get(_NOTE, NotFound, HistoryForked, UpgradeNeeded),
    ("GET", paths.ENTRY): _get(_json(AnyEntry), NotFound, HistoryForked),
    ("GET", paths.TRUST): _get(_json(Trust)),
    ("GET", paths.LOG_KEYS): _get(_json(ProvenLogKeys), HistoryForked, UpgradeNeeded),
    ("GET", paths.POLICIES): _get(_json(list[wire.PublishedPolicy])),
    ("GET", paths.POLICY): _get(_json(Policy), NotFound),
    # Proofs for anyone
    ("GET", paths.IN_FORCE): _get(_json(InForceAt), Malformed, NotFound, HistoryForked),
    ("GET", paths.USES): _get(_json(Uses), Malformed, NotFound),
    ("GET", paths.STOPPED): _get(_json(Stopped), NotFound, HistoryForked),
    ("GET", paths.CAUGHT_UP): _get(_json(dict[str, int])),
    ("GET", paths.ERASURE): _get(_json(wire.ErasureAnswer), NotFound),
    # For residents and counters
    ("POST", paths.ENROLMENTS): _post(
        _json(wire.EnrolmentRequests), _json(wire.Enrolled), SignatureInvalid, ConsentMismatch, NotPermitted, Replayed
    ),
    ("POST", paths.LOST_DEVICES): _post(
        _json(wire.EnrolmentRequest),
        _json(wire.ReplacedDevice),
        *(SignatureInvalid, ConsentMismatch, NotPermitted, NotFound, Replayed),
    ),
    ("POST", paths.GRANTS): _post(
        _json(wire.GrantRequest),
        _json(wire.Granted),
        *(SignatureInvalid, ConsentMismatch, NotPermitted, NotFound, Replayed, AlreadyEnded, PolicyNotCurrent),
        *(ConsentStale, ConsentStands),
    ),
    ("POST", paths.REVOCATIONS): _post(_json(wire.RevokeRequest), _json(wire.Revoked), *_ENDS),
    ("POST", paths.STOPS): _post(_signed(Stop), _json(wire.Revoked), *_ENDS, ClockSkew, Replayed),
    ("POST", paths.OWN_CONSENTS): _post(_signed(m.Mine), _json(list[wire.MyConsent]), *_OWN),
    ("POST", paths.ERASURES): _post(_signed(Erasure), _json(wire.ErasedRecords), *_ENDS),
    ("POST", paths.FAREWELL): _post(_signed(Farewell), _json(wire.Forgotten), *_OWN),
    # For partners
    ("POST", paths.PREVIEW): _post(_signed(m.Question), _signed(m.OfferAnswer), *_QUESTION, appends=False),
    ("POST", paths.QUESTIONS): _post(_signed(m.Question), _signed(m.AskAnswer), *_QUESTION, BudgetExceeded),
    ("GET", paths.ROUNDS): _get(_json(list[Index])),
    ("GET", paths.ROUND): _get(_json(wire.RoundStatus), Malformed, NotFound, HistoryForked, UpgradeNeeded),
    ("GET", paths.SHARES): _get(_json(wire.SignedShares), NotFound, HistoryForked),
    # For stewards
    ("POST", paths.MEMBERS): _post(_json(wire.MemberRequest), _json(wire.Placed), *_QUORUM),
    ("GET", paths.MEMBERS): _get(_json(list[MemberBody])),
    ("POST", paths.POLICIES): _post(_json(wire.PolicyRequest), _json(wire.Placed), *_QUORUM),
    ("POST", paths.LOG_KEYS): _post(_json(wire.LogKeyRequest), _json(wire.Placed), *_QUORUM),
    ("POST", paths.RULES): _post(_json(wire.RulesRequest), _json(wire.Placed), *_QUORUM),
    ("GET", paths.RULES): _get(_json(wire.RulesAnswer)),
    ("POST", paths.ORDERED_ERASURES): _post(_json(wire.OrderRequest), _json(wire.ErasedRecords), *_ENDS),
    # For nodes
    ("POST", paths.WORK): _post(_signed(m.Work), _signed(m.WorkAnswer), *_IN_NODES_NAME),
    ("POST", paths.LEAVES): _post(_signed(m.LeavesWanted), _signed(m.LeavesAnswer), *_IN_NODES_NAME),
    ("POST", paths.node_step("countersign")): _post(_signed(m.Countersign), _json(wire.StepTaken), *_STEP),
    ("POST", paths.node_step("share")): _post(_signed(m.Share), _json(wire.StepTaken), *_STEP),
    ("POST", paths.node_step("word")): _post(_signed(m.Word), _json(wire.StepTaken), *_STEP),
    ("POST", paths.ERASED_WORDS): _post(
        _json(wire.ErasedWords), _json(wire.WordsTaken), SignatureInvalid, NotFound, ProofInvalid
    ),
    ("POST", paths.RULES_WORD): _post(_signed(RulesWord), _NOTHING, SignatureInvalid, NotPermitted, status=204),
    # For operators
    ("GET", paths.HEALTH): _get(Says("json", Liveness)),
    ("GET", paths.READY): _get(Says("json", Readiness), HistoryForked, UpgradeNeeded, ReadOnly),
    ("GET", paths.METRICS): _get(_METRICS),
}

_WRITING: Errors = (ReadOnly, HistoryForked, UpgradeNeeded, ProofInvalid)
"""What whatever is to be written can meet: no sure time, a halted service, an entry that the replay does not take."""


def all_errors(method: str, path: str, operation: OperationShape) -> list[type[MusubiError]]:
    """Return every error of an operation, each once: its own, and those of anything that reads, posts or writes."""
    found = [*operation.errors]
    if method == "POST":
        found += [Malformed, TooLarge, RateLimited]
    if operation.appends:
        found += _WRITING
    if path != paths.HEALTH:
        found.append(Unavailable)
    if not path.startswith((paths.LOG, paths.HEALTH)):
        found.append(RateLimited)
    if "{" in path:
        found.append(NotFound)  # a value that is none of its place leads nowhere
    return list(dict.fromkeys(found))
