"""What the types alone do not say: which document stands in a field of raw JSON, and what a signed text in it says.

A field is a message's class and the name that it has in JSON. A test holds that every such field of every body and
answer has its row here (tests/service/openapi/test_document.py).
"""

import re
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec import inspect as kinds

from ledger import entries as e
from policies.consents.attestation import Attestation, Enrolment
from policies.consents.attested_stop import Stop
from policies.consents.bundle import DisclosedLeaf
from policies.consents.consent import General, SubGrant
from policies.consents.erasure import ErasedWord
from policies.consents.promises import Promise
from policies.consents.revocation import Revocation
from policies.governance import Approval
from policies.policy_document import Policy
from policies.rules import RulesWord
from queries.answers.uses import HolderStopped
from queries.question.tree import Query
from queries.rounds.messages import CaughtUp, Countersign, Go, Question, Share, Task, Word, Work
from trust.client import wire
from trust.log.proven_keys import ProvenChange, ProvenLogKeys

Field = tuple[type[Struct], str]

DOCUMENTS: dict[Field, Any] = {
    (Question, "query"): Query,
    (wire.PolicyRequest, "policy"): Policy,
    (wire.PublishedPolicy, "policy"): Policy,
    (ProvenLogKeys, "genesis"): e.Genesis,
    (ProvenChange, "entry"): e.LogKey,
    (e.PolicyEntry, "policy"): Policy,
    (e.Admit, "query"): Query,
}
"""Fields of raw JSON, whose bytes are kept as they came; of a list, what each of its items is."""

SIGNED: dict[Field, tuple[type[Struct], ...]] = {
    (Work, "caught_up"): (CaughtUp,),
    (Go, "transcript"): (Countersign,),
    (Task, "go"): (Go,),
    (Task, "shown"): (Share,),
    (HolderStopped, "token"): (CaughtUp,),
    (wire.EnrolmentRequest, "attestation"): (Attestation,),
    (wire.EnrolmentRequest, "enrolment"): (Enrolment,),
    (wire.ErasedWords, "words"): (ErasedWord,),
    (wire.ErasureAnswer, "holders"): (ErasedWord,),
    (wire.ErasureAnswer, "approvals"): (Approval,),
    (wire.Revoked, "promise"): (Promise,),
    (wire.SignedShares, "shares"): (Share,),
    (wire.MemberRequest, "signatures"): (Approval,),
    (wire.PolicyRequest, "signatures"): (Approval,),
    (wire.LogKeyRequest, "signatures"): (Approval,),
    (wire.RulesRequest, "signatures"): (Approval,),
    (wire.OrderRequest, "signatures"): (Approval,),
    (e.Erase, "approvals"): (Approval,),
    (e.LogKey, "signatures"): (Approval,),
    (e.Member, "signatures"): (Approval,),
    (e.PolicyEntry, "signatures"): (Approval,),
    (e.Rules, "signatures"): (Approval,),
    (e.Rules, "readers"): (RulesWord,),
    (e.Admit, "question"): (Question,),
    (e.Refund, "words"): (Word,),
    (e.Lost, "words"): (Word,),
}
"""Texts that are a compact JWS; of a list or an object, what each of its values is."""

UNSIGNED_TEXT: dict[Field, str] = {(Task, "go"): ""}
"""What stands in a signed text's place where there is none."""


class LeafOf(Struct, frozen=True):
    """A leaf by what it says (``payload``); ``or_none`` where it may say ``none`` instead."""

    name: str
    payload: type[Struct] | None
    or_none: bool


class BundleOf(Struct, frozen=True):
    """A bundle by its leaves: the general part, and one for each holder."""

    name: str
    general: LeafOf
    own: LeafOf


_SUB_GRANT = LeafOf("SubGrantLeaf", SubGrant, or_none=True)
_CONSENT = BundleOf("ConsentBundle", LeafOf("GeneralLeaf", General, or_none=False), _SUB_GRANT)
_REVOCATION = BundleOf(
    "RevocationBundle",
    LeafOf("GeneralRevocationLeaf", Revocation, or_none=False),
    LeafOf("RevocationLeaf", Revocation, or_none=True),
)
_STOP = BundleOf("StopRecord", LeafOf("StopLeaf", Stop, or_none=False), LeafOf("NoLeaf", None, or_none=True))

BUNDLES: dict[Field, BundleOf] = {
    (wire.GrantRequest, "bundles"): _CONSENT,
    (wire.RevokeRequest, "bundle"): _REVOCATION,
    (wire.RevokeRequest, "granted"): _CONSENT,
    (wire.AttestedEnd, "record"): _STOP,
}
"""What the leaves of a bundle say, by where it stands: their class is one for all (``policies.consents.bundle``)."""
LEAVES: dict[Field, LeafOf] = {(DisclosedLeaf, "leaf"): _SUB_GRANT}
"""The same of a leaf by itself."""

JWS_PATTERN = r"^eyJhbGciOiJFZDI1NTE5In0\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$"
"""``ledger.jws``: the one header, a payload, a signature of 64 bytes."""


def plain_words(docstring: str | None) -> str:
    """Return a docstring as a description: without indentation, and with one backtick where ours has two."""
    lines = [line.strip() for line in (docstring or "").strip().splitlines()]
    return re.sub(r"``+", "`", "\n".join(lines))


def may_be_left_out(struct: type[Struct], field: kinds.Field) -> bool:
    """Whether a message may lack a field. One with a default may not, unless its class leaves defaults out.

    (For msgspec's inspection a field that may be unset is not required and has no default.)
    """
    has_default = field.default is not NODEFAULT or field.default_factory is not NODEFAULT
    return not field.required and (struct.__struct_config__.omit_defaults or not has_default)
