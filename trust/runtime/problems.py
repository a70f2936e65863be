"""Each error of ``ledger.errors`` as exactly one HTTP problem (RFC 9457) and one exit code.

Exit codes: 0 done; 1 a fault in Musubi itself; 2 the command line was used wrongly (click's own); then one for each
kind of error, 10 and up, as in the table below. Scripts may rely on them.
"""

from typing import Any

from msgspec import Struct

from ledger import errors
from ledger.errors import MusubiError


class Kind(Struct, frozen=True):
    """What one kind of error is to a client: HTTP status, exit code and title."""

    status: int
    exit_code: int
    title: str


KINDS: dict[type[MusubiError], Kind] = {
    errors.Malformed: Kind(400, 10, "Not of its format"),
    errors.TooLarge: Kind(413, 11, "Too large"),
    errors.SignatureInvalid: Kind(401, 12, "Signature not valid"),
    errors.NotPermitted: Kind(403, 13, "Not permitted"),
    errors.NotFound: Kind(404, 14, "Not found"),
    errors.Replayed: Kind(409, 15, "Used before"),
    errors.AlreadyEnded: Kind(409, 16, "Already ended"),
    errors.PolicyNotCurrent: Kind(409, 17, "Policy not current"),
    errors.ConsentMismatch: Kind(422, 18, "Consent does not agree with itself"),
    errors.QueryInvalid: Kind(422, 19, "Question not allowed"),
    errors.BudgetExceeded: Kind(403, 20, "Budget exceeded"),
    errors.RoundClosed: Kind(409, 21, "Round closed"),
    errors.ClockSkew: Kind(400, 22, "Clock out of step"),
    errors.ProofInvalid: Kind(422, 23, "Proof not valid"),
    errors.HistoryForked: Kind(409, 24, "History forked"),
    errors.RateLimited: Kind(429, 25, "Too many requests"),
    errors.Unavailable: Kind(503, 26, "Not available now"),
    errors.UpgradeNeeded: Kind(503, 27, "A newer Musubi is needed"),
    errors.NotEnrolled: Kind(404, 29, "Not enrolled"),
}

PROBLEM_TYPE = "tag:musubi.example,2026:problem/"
"""Problem types are stable names; the rest of the IRI is the error's ``code``."""
MEDIA_TYPE = "application/problem+json"


def kind_of(error: MusubiError) -> Kind:
    """Return the one kind of an error: its own, or that of the error in the tree that it specialises."""
    return next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)


def problem(error: MusubiError) -> dict[str, Any]:
    """Return the problem document of an error: it carries the error's details, such as asked and left."""
    kind = kind_of(error)
    return {
        "type": PROBLEM_TYPE + error.code,
        "title": kind.title,
        "status": kind.status,
        "detail": error.message,
        "code": error.code,
        **error.details,
    }


def error_of(document: dict[str, Any]) -> MusubiError:
    """Return the error that a problem document stands for, so that a client meets what the service met.

    The document is someone else's: whatever it says, an error comes of it, and never a fault of ours.
    """
    members = {"type", "title", "status", "detail", "code", "self", "message"}
    details = {k: v for k, v in document.items() if k not in members}
    by_code = {cls.code: cls for cls in KINDS}
    cls = by_code.get(str(document.get("code")), errors.Unavailable)
    if cls is errors.BudgetExceeded:
        asked, left = details.get("asked"), details.get("left")
        exceeded = errors.BudgetExceeded(
            str(details.get("account")), asked if isinstance(asked, int) else 0, left if isinstance(left, int) else 0
        )
        exceeded.details = {**details, **exceeded.details}
        return exceeded
    return cls(str(document.get("detail", "The service gave no reason.")), **details)


def exit_code_of(code: str) -> int:
    """Return the exit code of an error's stable ``code``; 1 for one that is not of the tree."""
    return next((kind.exit_code for cls, kind in KINDS.items() if cls.code == code), 1)
