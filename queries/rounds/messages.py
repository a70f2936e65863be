"""What service, nodes and partners say to each other about a question: each a JWS payload, canonical JSON.

Every message says what it is ``for``, ``from`` whom, in which ``log``, and for which step of which round; a round is
named by its ``admit``'s index *and* the SHA-256 of that entry, so no message fits another round or another history.

============  =================  =====================================================================================
for           from               says
============  =================  =====================================================================================
question      partner            here is my query; charge me
work          node               give me work; with my newest ``caught-up`` statement
caught-up     node               I have caught up with the log to ``size`` (and mean it: see below)
countersign   node               I checked the ``admit`` and charged my own books; my fresh nonce
go            service            here is the transcript: everybody's countersignatures
share         node               my noised vector for this transcript
word          node               no share of mine left for this round, and none ever will
leaves        node               give me my own leaves of new grants
mine          resident           show me my own consents
============  =================  =====================================================================================

Links and enrolments are in ``policies.consents.attestation``. The service signs its answers too: ``work-answer``,
``leaves-answer``, ``offer`` and ``admitted`` (as is a revocation's ``promise``, in ``policies.consents.promises``).

The **transcript** is the list of countersignatures in the order of the ``admit``'s participants; its hash is the
SHA-256 of that list's canonical JSON. A share names it, so a share for other participants is a share for another round.

A node's **caught-up** statement binds it for ever, and is shown to anyone: every ``admit`` below its ``size`` that the
node takes part in is sent, refunded or expired, and the node will never again begin one below it.
"""

import hashlib
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from ledger import canonical
from ledger.entries import Alias, Decimal, Hex32, Index, NanoRho, Noise, Seconds, Token, Whole
from policies.consents.bundle import DisclosedLeaf
from policies.policy_document import Name as ColumnName
from queries.question.measure_forms import Provided, Truth

_NAMES = {"for_": "for", "from_": "from"}
SAYS_NOT_READY = 2
"""From these rules on a node's poll says which views it has no data for: a service that reads them reads that, too."""
SAYS_MAPPING = 4
"""From these rules on a countersignature says by which mapping the data was read: who reads them reads that, too."""

ViewName = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}/[a-z][a-z0-9_]{0,31}\Z")]
"""A view of a policy version: ``<the policy's SHA-256>/<view>``."""


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """A partner's signed question.

    ``id`` is 32 fresh random bytes: the idempotency key. ``fresh`` pays for a new answer.
    """

    v: Literal[1] = 1
    for_: Literal["question"] = "question"
    from_: Alias
    log: str
    id: Hex32
    at: Seconds
    fresh: bool
    query: Raw


class Work(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """A node's poll. ``wait`` is how many seconds the service may hold it."""

    v: Literal[1] = 1
    for_: Literal["work"] = "work"
    from_: Alias
    log: str
    at: Seconds
    nonce: Hex32
    caught_up: Token
    known: Index
    """The tree size that the node has read; a larger published one is news."""
    wait: Annotated[int, Meta(ge=0, le=60)]
    not_ready: Annotated[list[ViewName], Meta(max_length=4_096)] | UnsetType = UNSET
    """The views that the node has no data for yet. Left out: it cannot tell yet, and what it said before stands;
    or the rules are from before it is said."""


class CaughtUp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """A node's word, binding for ever.

    Each ``admit`` below ``size`` that I take part in is sent, refunded or expired, and I will never begin one below it.
    """

    v: Literal[1] = 1
    for_: Literal["caught-up"] = "caught-up"
    from_: Alias
    log: str
    size: Index
    at: Seconds


class LeavesWanted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """A node asks for its own leaves of the grants from ``first`` on."""

    v: Literal[1] = 1
    for_: Literal["leaves"] = "leaves"
    from_: Alias
    log: str
    at: Seconds
    nonce: Hex32
    first: Index
    last: Index


class Countersign(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """A node takes part: it checked the ``admit`` against the ledger and wrote the charge to its own books.

    ``mapping_sha256`` is how it reads the file behind its answer, as its ``node.toml`` says (a hash of that, not of any
    data): whoever sees the countersignature sees when it was changed. It is said from ``SAYS_MAPPING`` on.
    """

    v: Literal[1] = 1
    for_: Literal["countersign"] = "countersign"
    from_: Alias
    log: str
    admit: Index
    admit_sha256: Hex32
    nonce: Hex32
    mapping_sha256: Hex32 | UnsetType = UNSET


class Go(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """The service hands out the transcript."""

    v: Literal[1] = 1
    for_: Literal["go"] = "go"
    from_: Alias
    log: str
    admit: Index
    admit_sha256: Hex32
    transcript: Annotated[list[Token], Meta(min_length=1, max_length=64)]


class Share(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """A node's noised vector, for one transcript. ``kind`` says how shares combine."""

    v: Literal[1] = 1
    for_: Literal["share"] = "share"
    from_: Alias
    log: str
    admit: Index
    admit_sha256: Hex32
    transcript_sha256: Hex32
    kind: Literal["local"]
    vector: Annotated[list[Whole], Meta(min_length=1, max_length=8_192)]


class Word(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """A node's word: no share of mine left for this round, and none ever will."""

    v: Literal[1] = 1
    for_: Literal["word"] = "word"
    from_: Alias
    log: str
    admit: Index
    admit_sha256: Hex32
    said: Literal["no-share-left"] = "no-share-left"


class Task(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing the service asks a node to do: countersign an ``admit``, send a share (with ``go``), give its word.

    ``shown`` is another participant's signed share: with it a node still finishes a round that has expired.
    """

    step: Literal["countersign", "share", "word"]
    admit: Index
    go: str = ""
    shown: Token | UnsetType = UNSET


class WorkAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """What a poll brings, signed by the service: the published tree size, and tasks. ``nonce`` is the poll's."""

    v: Literal[1] = 1
    for_: Literal["work-answer"] = "work-answer"
    from_: Alias
    log: str
    nonce: Hex32
    size: Index
    tasks: list[Task]


class HeldLeaf(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One holder's own leaf of the grant at ``index``."""

    index: Index
    leaf: DisclosedLeaf


class LeavesAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """A holder's own leaves, signed by the service."""

    v: Literal[1] = 1
    for_: Literal["leaves-answer"] = "leaves-answer"
    from_: Alias
    log: str
    nonce: Hex32
    leaves: list[HeldLeaf]


class Mine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """A resident asks for their own consents, signed with the key at the service."""

    v: Literal[1] = 1
    for_: Literal["mine"] = "mine"
    log: str
    key: Hex32
    at: Seconds
    nonce: Hex32


class ColumnBounds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A measure's column that a question reads: values below ``lo`` count as that, values above ``hi`` as that."""

    column: ColumnName
    lo: int
    hi: int


class MeasureTruth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which way bounding moves one measure (``queries.question.measures.Direction``).

    ``column`` is the one that ``provided`` speaks of, "" for none.
    """

    measure: str
    column: str
    truth: Truth
    provided: list[Provided]


class Bounding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an answer leaves out besides the noise (``queries.answers.left_out``).

    At each of ``holders`` holders at most ``rows_per_resident`` rows of one resident are used, and columns are clipped.
    """

    rows_per_resident: int
    holders: int
    columns: list[ColumnBounds]
    measures: list[MeasureTruth]


class OfferAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """What a question would cost, signed by the service; nothing was charged and no data was touched.

    An answer counts at most ``in_force`` consents. ``bounding`` is there from rules number 4 on.
    """

    v: Literal[1] = 1
    for_: Literal["offer"] = "offer"
    from_: Alias
    log: str
    query_sha256: Hex32
    charge: NanoRho
    epsilon: Decimal
    noise: list[Noise]
    participants: list[Alias]
    accounts: list[dict[str, str | int]]
    in_force: int
    bounding: Bounding | UnsetType = UNSET


class AskAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES):
    """Where the question stands in the ledger. ``reused`` says that an earlier answer serves, at no charge.

    ``bounding`` is there from rules number 4 on.
    """

    v: Literal[1] = 1
    for_: Literal["admitted"] = "admitted"
    from_: Alias
    log: str
    query_sha256: Hex32
    admit: Index
    reused: bool
    bounding: Bounding | UnsetType = UNSET


def transcript_sha256(transcript: list[str]) -> Hex32:
    """Return the hash that shares name their transcript by."""
    return hashlib.sha256(canonical.encode(transcript)).hexdigest()


def token_sha256(token: str) -> Hex32:
    """Return the SHA-256 of a compact JWS, by which the ledger names a share or question."""
    return hashlib.sha256(token.encode("ascii")).hexdigest()
