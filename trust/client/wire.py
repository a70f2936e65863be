"""What requests and answers say that nobody signs: one struct each, with which one end encodes and the other decodes.

Bodies are canonical JSON. What is signed is in ``queries.rounds.messages`` and ``policies.consents``; proofs that
anyone checks are in ``queries.answers.uses`` and ``trust.log.proven_keys``; paths are in ``trust.client.paths``. The
order is that of the headings of docs/reference/http-interface.md. Requests refuse unknown fields: they have one form
only.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from ledger.entries import Alias, Day, Hex32, Index, LogKeyBody, MemberBody, NanoRho, RulesBody, Token
from policies.consents.bundle import Bundle
from policies.consents.erasure import ErasureOrder

MAX_CONSENTS = 512
"""The most consents in one request."""
MAX_REPLACED = 100
"""The most consents that one consent may replace."""
MAX_ENROLMENTS = 1_000
"""The most enrolments in one request."""
MAX_WORDS = 256
"""The most words of a node in one request."""


class Placed(Struct, frozen=True, kw_only=True):
    """Where in the ledger the entry stands that a request has brought about."""

    index: int


# The log, and proofs for anyone


class PublishedPolicy(Struct, frozen=True, kw_only=True):
    """A policy document, its hash, and where it stands in the ledger."""

    index: int
    sha256: str
    policy: Raw


class ErasureAnswer(Struct, frozen=True, kw_only=True):
    """An erased consent: its ``erase`` entry, each holder's signed word or null, stewards' approvals of an order."""

    index: int
    entry: int
    holders: dict[str, Token | None]
    approvals: list[Token]


# For residents and counters


class EnrolmentRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider's attestation and the resident's answer to it: for a lost device, and one of several enrolments."""

    attestation: Token
    enrolment: Token


class EnrolmentRequests(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several enrolments at once: what a counter or a provider hands in."""

    enrolments: Annotated[list[EnrolmentRequest], Meta(min_length=1, max_length=MAX_ENROLMENTS)]


class Enrolled(Struct, frozen=True, kw_only=True):
    """How many residents were enrolled."""

    enrolled: int


class RevokeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The grant to end, and the signed revocation.

    ``granted`` is the consent as the device keeps it, for a service that has lost it.
    """

    grant: Index
    bundle: Bundle
    granted: Bundle | UnsetType = UNSET


class Revoked(Struct, frozen=True, kw_only=True):
    """An ended consent: where its ``revoke`` entry stands, and the service's signed promise of that.

    ``operator`` is the ``member`` entry that says whose signature the promise bears, if there is one.
    """

    index: int
    operator: int | None
    promise: str


class GrantRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Consents to take in, each a whole bundle (``policies.consents.bundle.Bundle``) in its canonical form.

    One that replaces others comes alone, with the revocations of all those.
    """

    bundles: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_CONSENTS)]
    revocations: Annotated[list[RevokeRequest], Meta(min_length=1, max_length=MAX_REPLACED)] | UnsetType = UNSET


class Granted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the consents stand in the ledger, in the request's order; ``revoked`` is what a replacing one ended."""

    indices: list[int]
    revoked: list[Revoked] = []


class EndedGrant(Struct, frozen=True, kw_only=True):
    """One grant that ended with a lost device, and what its revocation is answered with."""

    grant: int
    revoked: Revoked


class ReplacedDevice(Struct, frozen=True, kw_only=True):
    """A new device is enrolled in a lost one's place, and this is what ended with the old one."""

    ended: list[EndedGrant]


class AttestedEnd(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who ended a consent for a resident: the provider ``by``, whose key the entry ``member`` has, and what it signed.

    That is the ``record``; it is null where the service has lost it.
    """

    by: Alias
    member: Index
    record: Bundle | None


class MyConsent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of a resident's own consents; ``ended_by`` is the index of the entry that ended it, or null.

    ``attested`` says who ended it where an identity provider did. Where the service has lost its ``record``,
    ``holders`` are all of the policy; it can be taken back all the same.
    """

    index: Index
    consent: Hex32
    policy: Alias
    version: int
    policy_sha256: Hex32
    until: Day
    yearly_cap: NanoRho = field(name="cap")
    holders: list[Alias]
    ended_by: Index | None
    attested: AttestedEnd | None = None
    record: Literal["kept", "lost"] = "kept"


class Erased(Struct, frozen=True, kw_only=True):
    """One record that is gone, and the ``erase`` entry that says so."""

    index: int
    entry: int


class ErasedRecords(Struct, frozen=True, kw_only=True):
    """Every record that a wish or an order destroyed."""

    erased: list[Erased]


class Forgotten(Struct, frozen=True, kw_only=True):
    """That an enrolment is forgotten."""

    forgotten: bool


# For partners


RoundState = Literal["open", "released", "refunded", "lost"]


class RoundStatus(Struct, frozen=True, kw_only=True):
    """Where a round stands, by which published entry it is closed, and who is waited for."""

    status: RoundState
    closed_by: int | None
    waiting_for: list[str]


class SignedShares(Struct, frozen=True, kw_only=True):
    """The signed share of each holder that took part in an answered question.

    ``members`` are the indices of the ``member`` entries that have the keys that these are signed with.
    """

    shares: dict[str, str]
    members: dict[str, Index] = {}


# For stewards


Tokens = Annotated[list[Token], Meta(min_length=1, max_length=64)]
"""What stewards signed, each for themselves (``policies.governance``)."""


class MemberRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member's body with the stewards' approvals."""

    member: MemberBody
    signatures: Tokens


class PolicyRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy document in its canonical form, with the stewards' approvals."""

    policy: Raw
    signatures: Tokens


class LogKeyRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The log's next keys with the stewards' approvals."""

    log_key: LogKeyBody
    signatures: Tokens


class RulesRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The next rules with the stewards' approvals."""

    rules: RulesBody
    signatures: Tokens


class RulesAnswer(Struct, frozen=True, kw_only=True):
    """By which rules the ledger goes, the newest that the service reads, and what each holder's node reads.

    Only active holders are in it; one whose node has said nothing yet reads the first.
    """

    number: int
    newest: int
    holders: dict[Alias, int]


class OrderRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An authority's order to erase, with the stewards' approvals."""

    order: ErasureOrder
    signatures: Tokens


# For nodes


class StepTaken(Struct, frozen=True, kw_only=True):
    """A node's message of a round is taken; ``closed_by`` is the entry that it closed the round with, if it did."""

    closed_by: int | None


class ErasedWords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several words of one node that erased consents are gone from it, each signed by itself."""

    words: Annotated[list[Token], Meta(min_length=1, max_length=MAX_WORDS)]


class WordsTaken(Struct, frozen=True, kw_only=True):
    """How many of the words were new."""

    new: int
