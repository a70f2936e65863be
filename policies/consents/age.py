"""How old a signed consent may be when it comes into the ledger, so that no old copy of one counts again.

Every part of a consent says when its notice was shown to the resident (``shown_at``). Service and nodes refuse, each by
itself, one that

- was shown more than 26 hours before its entry (a day at a counter, and the night before a batch is handed in);
- was not shown after the end of the resident's last ended consent to that policy, of any version: it may be a second
  copy that was signed before they took it back. One that names the ended one in ``replaces`` was signed to take its
  place, and need not be;
- is to have been shown in the future, by more than a minute that clocks may be off.
"""

from msgspec import UNSET, Struct, UnsetType

from ledger.errors import ConsentMismatch, ConsentStale

MAX_AGE_SECONDS = 26 * 3_600
AHEAD_SECONDS = 60
"""How far the device's clock may be ahead of the service's."""


class LastEnd(Struct, frozen=True, kw_only=True):
    """The grant of one key (or resident) to one policy that ended last, and when (UTC seconds)."""

    grant: int
    at: int


def check_age(
    shown_at: int | UnsetType, at: int, last: LastEnd | None = None, replaces: int | UnsetType = UNSET
) -> None:
    """Check when a consent was shown, beside its entry's time ``at``; all times are UTC seconds.

    Raises ConsentStale where it is too old, or says nothing of it; ConsentMismatch where it was shown in the future.
    """
    if isinstance(shown_at, UnsetType):
        raise ConsentStale("The consent does not say in each part when its notice was shown; sign it anew.")
    if shown_at > at + AHEAD_SECONDS:
        raise ConsentMismatch("The consent says that its notice was shown in the future; check the device's clock.")
    if at - shown_at > MAX_AGE_SECONDS:
        raise ConsentStale("The consent's notice was shown more than 26 hours ago; read it again, and sign anew.")
    if last is not None and last.grant != replaces and shown_at <= last.at:
        raise ConsentStale(
            "The consent was shown before your last one to this policy ended; read the notice again, and sign anew.",
            ended=last.grant,
        )
