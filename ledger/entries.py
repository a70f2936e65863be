"""What the ledger says: thirteen kinds of entry, each canonical JSON of at most 65,535 bytes.

Every entry has ``v`` (1), ``kind`` and ``at`` (whole UTC seconds since 1970, never decreasing from entry to entry).
Hashes, keys and consent identifiers are lower-case hexadecimal. Budgets are whole nano-rho. There are no floats, no
names of people, no residents' keys and no free text.

==========  ==========================================================================================================
kind        says
==========  ==========================================================================================================
genesis     entry 0: the log's origin and key, the stewards and how many of them must sign, the town's time zone
log-key     the log signs with another key from here on; signed by the stewards' quorum
member      an organisation joined, changed or left, with its keys and roles; signed by the stewards' quorum
policy      a whole policy document; signed by the stewards' quorum
rules       entries after it are judged by this numbered set of rules; signed by the stewards' quorum, and each holder
            says that its node reads them
grant       a consent's identifier, the policy version it is for, how long, its yearly cap, its commitment
revoke      ends one grant, by index
erase       one index whose record is destroyed, and why; an authority's order with the stewards' signatures
admit       a question that was let in: the whole question, who asked, the in-force root, the noise, the exact charge
release     the answer to one ``admit`` (it is safe to publish), with the hashes of the shares it was summed from
refund      gives the charge of one ``admit`` back: every participant signed that no share left it
lost        one ``admit`` that nobody can finish any more; its charge stands
refuse      a question that was not let in, and the rule that said no
==========  ==========================================================================================================

Example of a ``revoke``::

    {"at":1790000000,"commitment":"5f…","grant":4711,"kind":"revoke","reason":"withdrawn","v":1}
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from ledger import canonical
from ledger.errors import Malformed, TooLarge

MAX_ENTRY_BYTES = 65_535
"""An entry bundle gives each entry a 16-bit length (C2SP tlog-tiles)."""

Alias = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\Z")]
Hex32 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""32 bytes in lower-case hexadecimal: a hash, a key or a consent identifier."""
Seconds = Annotated[int, Meta(ge=0, le=2**37)]
"""Whole UTC seconds since 1970, up to the year 6325: every one of them is a date in every time zone."""
Index = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""A position in the log, from 0."""
Whole = Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)]
"""A number of an answer: every JSON reader holds it exactly."""
NanoRho = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""A privacy charge or cap: 10^-9 rho of zero-concentrated differential privacy."""
Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
"""A date, ``YYYY-MM-DD``, in the town's time zone."""
Token = Annotated[str, Meta(max_length=60_000)]
"""A compact JWS (``ledger.jws``)."""
LongKey = Annotated[str, Meta(min_length=1, max_length=2_200)]
"""A verifier key with room for a post-quantum one."""
Decimal = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,17})(\.[0-9]{1,12})?\Z")]
"""A non-negative decimal number as text: exact, and never a float."""
Text = dict[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,35}\Z")], Annotated[str, Meta(max_length=8_000)]]
"""One text in several languages, by language tag (``ja``, ``en``, ``ja-easy``)."""

RulesNumber = Annotated[int, Meta(ge=1, le=10_000)]
"""By which rules an entry is judged (``policies.rules``); 1 are those of a ledger that names none."""

Role = Literal["holder", "partner", "identity", "operator"]
RevokeReason = Literal["withdrawn", "lost-device", "replaced", "attested"]
EraseReason = Literal["requested", "retention", "authority"]
RefuseRule = Literal["budget-exceeded", "query-invalid", "not-permitted", "policy-not-current"]


class Entry(Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What every kind of entry has."""

    v: Literal[1] = 1
    at: Seconds


class Steward(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of those whose quorum signs members and policies."""

    alias: Alias
    title: Text
    key: Hex32


class Genesis(Entry, frozen=True, kw_only=True, tag="genesis"):
    """The root of trust. Nodes and auditors pin the hash of this entry; all else follows from it."""

    origin: Annotated[str, Meta(min_length=1, max_length=200)]
    title: Text
    log_key: Annotated[str, Meta(max_length=400)]
    log_key_pq: LongKey | UnsetType = UNSET
    """The log's post-quantum verifier key (type 0x06), where it has one."""
    time_zone: Annotated[str, Meta(max_length=64)]
    stewards: Annotated[list[Steward], Meta(min_length=1, max_length=64)]
    quorum: Annotated[int, Meta(ge=1, le=64)]
    rules: RulesNumber | UnsetType = UNSET
    """The rules that the ledger begins with; 1 where this is left out."""


class LogKeyBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The log's keys as the stewards signed them. ``number`` counts them; the genesis entry's are number 1."""

    number: Annotated[int, Meta(ge=2, le=10_000)]
    key: Annotated[str, Meta(max_length=400)]
    key_pq: LongKey | UnsetType = UNSET
    """The post-quantum key; without it, the log signs with none from here on."""


class LogKey(Entry, frozen=True, kw_only=True, tag="log-key"):
    """Every tree that holds this entry is signed with these keys (``ledger.notes.log_keys``), and with no others."""

    log_key: LogKeyBody
    signatures: Annotated[list[Token], Meta(max_length=64)]


class MemberBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An organisation as the stewards signed it.

    ``number`` counts the changes to this alias from 1, so an old body cannot be signed in again.
    ``key`` signs (Ed25519), ``sealing_key`` receives (X25519).
    """

    alias: Alias
    number: Annotated[int, Meta(ge=1, le=10_000)]
    status: Literal["active", "left"]
    roles: Annotated[list[Role], Meta(max_length=4)]
    title: Text
    key: Hex32
    sealing_key: Hex32


class Member(Entry, frozen=True, kw_only=True, tag="member"):
    """An organisation joined, changed its keys, or left."""

    member: MemberBody
    signatures: Annotated[list[Token], Meta(max_length=64)]


class PolicyEntry(Entry, frozen=True, kw_only=True, tag="policy"):
    """A whole policy document (``policies.policy_document``), as canonical JSON inside the entry."""

    policy: Raw
    signatures: Annotated[list[Token], Meta(max_length=64)]


class RulesBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The next rules as the stewards signed them."""

    number: Annotated[int, Meta(ge=2, le=10_000)]


class Rules(Entry, frozen=True, kw_only=True, tag="rules"):
    """Every entry after this one is judged by these rules. ``readers`` are the holders' signed words that they can.

    Software that does not know the rules must still see that it is this kind of entry, and check its signatures: the
    fields ``kind``, ``rules.number`` and ``signatures`` stay as they are, whatever rules to come add.
    """

    rules: RulesBody
    readers: dict[Alias, Token]
    signatures: Annotated[list[Token], Meta(max_length=64)]


class Grant(Entry, frozen=True, kw_only=True, tag="grant"):
    """A consent came into force. Nothing in it is personal.

    Nothing links it to the same resident's others but ``replaces``, within one policy: the grant whose place it takes,
    which a ``revoke`` with the reason ``replaced`` has ended right before it.
    """

    consent: Hex32
    policy: Alias
    version: Annotated[int, Meta(ge=1, le=10_000)]
    policy_sha256: Hex32
    until: Day
    yearly_cap: NanoRho = field(name="cap")
    commitment: Hex32
    replaces: Index | UnsetType = UNSET


class Revoke(Entry, frozen=True, kw_only=True, tag="revoke"):
    """A consent ended. ``commitment`` binds what was signed for that, which stays outside the ledger.

    That is the resident's own revocation, or the word of the identity provider: that a device is lost, or, for the
    reason ``attested``, that the person wants to stop. Then ``by`` says which provider it was.
    """

    grant: Index
    reason: RevokeReason
    commitment: Hex32
    by: Alias | UnsetType = UNSET


class Erase(Entry, frozen=True, kw_only=True, tag="erase"):
    """The record behind one entry was destroyed.

    For the reason ``authority``, ``approvals`` are what the stewards' quorum signed: an order for that very grant.
    """

    index: Index
    reason: EraseReason
    approvals: Annotated[list[Token], Meta(max_length=64)] | UnsetType = UNSET


class Noise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Discrete Gaussian noise for one primitive of the question's vector; ``scale`` is its sigma."""

    primitive: Annotated[str, Meta(max_length=200)]
    scale: Decimal


class Admit(Entry, frozen=True, kw_only=True, tag="admit"):
    """A question was let in and its charge reserved.

    ``question`` is the partner's signed question; ``query`` is the whole query inside it, readable;
    ``in_force_root`` is the root of the in-force set at this entry's own index (``policies.in_force.sets``);
    ``expires`` is when a participant must no longer begin.
    """

    question: Token
    query: Raw
    query_sha256: Hex32
    by: Alias
    policy: Alias
    version: Annotated[int, Meta(ge=1, le=10_000)]
    policy_sha256: Hex32
    in_force_root: Hex32
    noise: Annotated[list[Noise], Meta(min_length=1, max_length=64)]
    participants: Annotated[list[Alias], Meta(min_length=1, max_length=64)]
    charge: NanoRho
    expires: Seconds


class Release(Entry, frozen=True, kw_only=True, tag="release"):
    """The answer to one ``admit``: the sum of the participants' noised vectors."""

    admit: Index
    vector: Annotated[list[Whole], Meta(max_length=8_192)]
    shares: dict[Alias, Hex32]


class Refund(Entry, frozen=True, kw_only=True, tag="refund"):
    """Every participant's signed word that no share left it, so the charge is free again."""

    admit: Index
    words: dict[Alias, Token]


class Lost(Entry, frozen=True, kw_only=True, tag="lost"):
    """An ``admit`` that nobody can finish any more, after its ``last``. Its charge stands, and its place is free.

    Each participant is named once: by the hash of its share, by its signed word that none left it, or as silent.
    """

    admit: Index
    shares: dict[Alias, Hex32]
    words: dict[Alias, Token]
    silent: Annotated[list[Alias], Meta(max_length=64)]


class Refuse(Entry, frozen=True, kw_only=True, tag="refuse"):
    """A question that was not let in. ``asked`` and ``left`` are nano-rho where the rule is a budget's, else 0."""

    query_sha256: Hex32
    by: Alias
    policy: Alias
    rule: RefuseRule
    account: Annotated[str, Meta(max_length=120)]
    asked: NanoRho
    left: NanoRho


Closing = Release | Refund | Lost
"""What ends a round."""
AnyEntry = Genesis | LogKey | Member | PolicyEntry | Rules | Grant | Revoke | Erase | Admit | Closing | Refuse


def encode(entry: AnyEntry) -> bytes:
    """Return the entry's canonical bytes; raise TooLarge past 65,535 bytes."""
    data = canonical.encode(entry)
    if len(data) > MAX_ENTRY_BYTES:
        raise TooLarge("The ledger entry would be larger than 65,535 bytes.", bytes=len(data))
    return data


def decode(data: bytes) -> AnyEntry:
    """Read one entry strictly; raise Malformed or TooLarge."""
    if len(data) > MAX_ENTRY_BYTES:
        raise TooLarge("The ledger entry is larger than 65,535 bytes.", bytes=len(data))
    return canonical.decode(data, AnyEntry, "ledger entry")  # type: ignore[arg-type]


def stamp(entry: AnyEntry, at: int) -> AnyEntry:
    """Return the entry with another ``at``: the sequencing transaction sets it when it gives the index."""
    if at < 0:
        raise Malformed("An entry's time is not negative.")
    return msgspec.structs.replace(entry, at=at)
