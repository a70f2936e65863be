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
    errors.ReadOnly: Kind(503, 28, "Nothing is written now"),
    errors.ConsentStands: Kind(409, 29, "Another consent is in force"),
    errors.ConsentStale: Kind(409, 30, "Consent too old"),
    errors.NotEnrolled: Kind(404, 31, "Not enrolled"),
    errors.NotReady: Kind(503, 32, "A holder is not ready"),
    errors.OldView: Kind(503, 33, "An old view"),
    errors.Hearsay: Kind(502, 34, "Only said, not found"),
    errors.KeptStateDiffers: Kind(500, 35, "What was kept differs from the ledger"),
}

PROBLEM_TYPE = "tag:musubi.example,2026:problem/"
"""Problem types are stable names; the rest of the IRI is the error's ``code``."""
MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = {429: 5, 503: 1}
"""What ``Retry-After`` says with these statuses (RFC 9110, section 10.2.3)."""


def headers_of(status: int) -> dict[str, str]:
    """Return a problem's headers: no cache keeps it, and where trying again may help, it says when to."""
    later = {"Retry-After": str(RETRY_SECONDS[status])} if status in RETRY_SECONDS else {}
    return {"Cache-Control": "no-store", **later}


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


class ToldLater(errors.Told, errors.Unavailable):
    """Unavailable, as somebody says: the service has just started, say. Whoever reads may ask again."""


_BY_CODE = {cls.code: cls for cls in KINDS}
_TOLD: dict[str, type[MusubiError]] = {
    cls.code: type(f"Told{cls.__name__}", (errors.Told, cls), {"__doc__": f"{cls.__name__}, as somebody says."})
    for cls in KINDS
    if cls not in errors.FINDINGS
} | {errors.Unavailable.code: ToldLater}
_MEMBERS = {"type", "title", "status", "detail", "code", "self", "message"}
MOST_SAID = 2_000
"""How many characters of a sentence of somebody's are kept, and how many members or items of what goes with it."""


def error_of(document: dict[str, Any]) -> MusubiError:
    """Return the error that a problem document of our own stands for: a worker's of ours, or one that we kept."""
    return _made_of(document, _BY_CODE)


def told(document: object) -> MusubiError:
    """Return the error that somebody else's problem document stands for. It is ``Told``, and no finding of ours.

    Whatever it says, and whatever it is, an error comes of it. Raises nothing.
    """
    if not isinstance(document, dict):
        return _TOLD[errors.Unavailable.code](
            "The answer is a problem without a reason; something on the way may have sent it."
        )
    code = document.get("code")
    if isinstance(code, str) and _BY_CODE.get(code) in errors.FINDINGS:
        return errors.Hearsay(
            f"The answer says '{code}'. Nothing was found here: those are somebody's words, or something's on the way. "
            "`musubi audit` looks for itself.",
            said=code,
        )
    return _made_of(document, _TOLD)


def _made_of(document: dict[str, Any], by_code: dict[str, type[MusubiError]]) -> MusubiError:
    code, detail = document.get("code"), document.get("detail")
    cls = by_code.get(code if isinstance(code, str) else "", by_code[errors.Unavailable.code])
    details = {name: value for name, value in document.items() if name not in _MEMBERS and _is_plain(value)}
    if issubclass(cls, errors.BudgetExceeded):
        account, asked, left = (details.get(name) for name in ("account", "asked", "left"))
        exceeded = cls(
            account if isinstance(account, str) else "unknown",
            asked if isinstance(asked, int) else 0,
            left if isinstance(left, int) else 0,
        )
        exceeded.details = {**details, **exceeded.details}
        return exceeded
    return cls(detail[:MOST_SAID] if isinstance(detail, str) else "The service gave no reason.", **details)


def _is_plain(value: object) -> bool:
    """Whether a member of a problem is of the kinds that ours have: text, a whole number, or a list of these."""
    if isinstance(value, list):
        return len(value) <= MOST_SAID and all(not isinstance(each, list) and _is_plain(each) for each in value)
    return isinstance(value, int) or (isinstance(value, str) and len(value) <= MOST_SAID)


def exit_code_of(code: str) -> int:
    """Return the exit code of an error's stable ``code``; 1 for one that is not of the tree."""
    return next((kind.exit_code for cls, kind in KINDS.items() if cls.code == code), 1)
