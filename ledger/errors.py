"""The one tree of errors that a person or a program can meet.

::

    MusubiError
    ├── Malformed            the bytes are not of the format they claim
    ├── TooLarge             more bytes, entries or nesting than is taken
    ├── SignatureInvalid     a signature is missing, bad, or by another key
    ├── NotPermitted         a known key asks for what its role may not have
    ├── NotFound             nothing by that name or index
    ├── NotEnrolled          no resident is enrolled with the key that signed
    ├── Replayed             a consent, nonce or round that was used before
    ├── AlreadyEnded         the grant was revoked or erased before
    ├── PolicyNotCurrent     an unknown, old or expired policy version
    ├── ConsentMismatch      parts of one consent do not say the same
    ├── ConsentStands        another consent to that policy is in force, and the new one does not replace it
    ├── ConsentStale         a consent whose notice was shown too long ago, or before the last one ended
    ├── QueryInvalid         the question does not fit the policy
    ├── BudgetExceeded       the charge would pass an account's cap: what was asked, what was left
    ├── RoundClosed          a step of a query's round that is past or was never opened
    ├── ClockSkew            a time runs backwards or is too far from ours
    ├── ProofInvalid         a hash, proof, checkpoint or replay does not verify
    ├── HistoryForked        two signed checkpoints that cannot both be true
    ├── OldView              what is shown is older than what was shown before
    ├── KeptStateDiffers     what was kept of the ledger is not what its entries give
    ├── Hearsay              somebody says what only one's own check can find
    ├── RateLimited          too many requests, or too much pending work
    ├── UpgradeNeeded        the ledger goes by rules that this software does not read
    ├── ReadOnly             the service's time is not sure, so it writes nothing; reads go on
    ├── NotReady             a holder that the question needs has no data for it yet
    └── Unavailable          a witness, node, disk or database cannot do its part now

Every leaf maps to exactly one HTTP problem (RFC 9457) and one exit code; see ``trust.runtime.problems``.
An error's message is one sentence for a person and never holds a value, key, token, salt or customer number.

**Whose words.** An error that was made of somebody else's answer is ``Told`` as well as its kind: a service may say
that a budget is used up, and nobody has looked. What only one's own check can find is never taken from anybody's words
(``FINDINGS``): it becomes ``Hearsay``.
"""

from typing import ClassVar


class MusubiError(Exception):
    """Something a caller can be told. ``code`` is the stable name that programs match on."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **details: str | int | list[str]) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Malformed(MusubiError):
    """The bytes are not of the format they claim."""

    code = "malformed"


class TooLarge(MusubiError):
    """More bytes, entries or nesting than is taken."""

    code = "too-large"


class SignatureInvalid(MusubiError):
    """A signature is missing, bad, or by another key."""

    code = "signature-invalid"


class NotPermitted(MusubiError):
    """A known key asks for what its role may not have."""

    code = "not-permitted"


class NotFound(MusubiError):
    """Nothing by that name or index."""

    code = "not-found"


class NotEnrolled(MusubiError):
    """No resident is enrolled with the key that signed: a wrong seed, someone new, or someone who has left."""

    code = "not-enrolled"


class Replayed(MusubiError):
    """A consent, nonce or round that was used before."""

    code = "replayed"


class AlreadyEnded(MusubiError):
    """The grant was revoked or erased before."""

    code = "already-ended"


class PolicyNotCurrent(MusubiError):
    """An unknown, old or expired policy version."""

    code = "policy-not-current"


class ConsentMismatch(MusubiError):
    """Parts of one consent do not say the same."""

    code = "consent-mismatch"


class ConsentStands(MusubiError):
    """Another consent to that policy is in force, and the new one does not replace it.

    ``in_force`` lists the ledger indices of what is to end, the one to be named in ``replaces`` last.
    """

    code = "consent-stands"


class ConsentStale(MusubiError):
    """A consent whose notice was shown too long ago, or before the last one ended."""

    code = "consent-stale"


class QueryInvalid(MusubiError):
    """The question does not fit the policy, the language or the limits."""

    code = "query-invalid"


class BudgetExceeded(MusubiError):
    """The charge would pass an account's cap.

    ``account`` names the account, ``asked`` and ``left`` are nano-rho.
    """

    code = "budget-exceeded"

    def __init__(self, account: str, asked: int, left: int) -> None:
        super().__init__(
            f"The question costs {asked} nano-rho, but the account '{account}' has {left} left.",
            account=account,
            asked=asked,
            left=left,
        )
        self.account = account
        self.asked = asked
        self.left = left


class RoundClosed(MusubiError):
    """A step of a query's round that is past, expired, or was never opened."""

    code = "round-closed"


class ClockSkew(MusubiError):
    """A time runs backwards, or is further from ours than is allowed."""

    code = "clock-skew"


class ProofInvalid(MusubiError):
    """A hash, proof, checkpoint or replay does not verify."""

    code = "proof-invalid"


class HistoryForked(MusubiError):
    """Two signed checkpoints that cannot both be true, or a state from which going on would make two such."""

    code = "history-forked"


class OldView(MusubiError):
    """What is shown is older than what was shown before: a cache's, an old copy, or a ledger that was rolled back.

    It contradicts nothing that is known, so it convicts nobody.
    """

    code = "old-view"


class KeptStateDiffers(MusubiError):
    """What was kept of the ledger is not what its entries give. Nothing is wrong with the ledger."""

    code = "kept-state-differs"


class Hearsay(MusubiError):
    """Somebody says what only one's own check can find, such as a fork. Nothing was found here.

    ``details["said"]`` is the code that was said.
    """

    code = "hearsay"


class RateLimited(MusubiError):
    """Too many requests, or too much pending work."""

    code = "rate-limited"


class UpgradeNeeded(MusubiError):
    """The ledger goes by rules that this software does not read: nothing is wrong with the ledger."""

    code = "upgrade-needed"


class ReadOnly(MusubiError):
    """The service's time is not sure, or the ledger's is still to come, so it writes nothing; reads go on.

    ``details["reasons"]`` names why (``trust.service.store.held_clock``). It ends by itself.
    """

    code = "read-only"


class NotReady(MusubiError):
    """A holder that the question needs has never loaded data for it. It does not depend on what data says."""

    code = "not-ready"


class Unavailable(MusubiError):
    """A witness, node, disk or database cannot do its part now; trying again later may help."""

    code = "unavailable"


class Told(MusubiError):
    """An error made of somebody else's words, beside its kind: it says what they said, and nobody has checked it."""


FINDINGS: frozenset[type[MusubiError]] = frozenset(
    {ProofInvalid, HistoryForked, OldView, KeptStateDiffers, UpgradeNeeded, Hearsay}
)
"""What is found by one's own check or not at all."""
