"""A consent: what a resident signs, and how its parts must agree.

Leaf 0, the **general part**, is a consent record in the shape of ISO/IEC TS 27560 with terms of the Data Privacy
Vocabulary 2.3, signed with the resident's key at the service::

    {"cap":200000000,"consent":"…","controller":"town_hall","event":"https://w3id.org/dpv#ConsentGiven",
     "holders":["bus_co"],"key":"…","kind":"consent","language":"ja","law":"https://w3id.org/dpv/legal/jp#law-APPI",
     "log":"…","measures":["https://w3id.org/dpv#DifferentialPrivacy"],"notice_sha256":"…","policy":"mobility_demand",
     "policy_sha256":"…","processing":"https://w3id.org/dpv#Aggregate","purpose":"https://w3id.org/dpv#…",
     "shown_at":1790000000,"until":"2027-11-30","v":1,"version":3}

Each **sub-grant** is signed with the resident's pairwise key at one holder. Besides what the general part says it
carries ``general``, the salted hash of leaf 0. That binds it to the resident who signed leaf 0 without telling the
holder who that is: a sub-grant copied into someone else's bundle no longer fits.

Everything signed carries ``log`` and ``consent`` (32 random bytes from the device), so nothing can be replayed; and,
from rules number 2 on, when the notice was shown, so that no copy is good for ever (``policies.consents.age``).

A consent that takes another's place names that one's ledger index as ``"replaces":4711`` in every part, and its event
is ``RenewedConsentGiven``.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from ledger import canonical, ed25519, jws
from ledger.entries import Alias, Day, Grant, Hex32, Index, NanoRho, Seconds
from ledger.errors import ConsentMismatch
from policies.consents.bundle import NONE, Bundle, DisclosedLeaf, Leaf, check_disclosed, leaf_digest
from policies.languages import NoticeLanguage
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from policies.policy_document import Policy, document_sha256, notice_sha256

DPV = "https://w3id.org/dpv#"
GIVEN: Literal["https://w3id.org/dpv#ConsentGiven"] = "https://w3id.org/dpv#ConsentGiven"
RENEWED: Literal["https://w3id.org/dpv#RenewedConsentGiven"] = "https://w3id.org/dpv#RenewedConsentGiven"
Signed = tuple[bytes, bytes, bytes]
"""A signature still to be checked: (signed bytes, 64-byte signature, 32-byte public key)."""


class General(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the resident saw and agreed to, signed with the key at the service."""

    v: Literal[1] = 1
    kind: Literal["consent"] = "consent"
    log: str
    consent: Hex32
    policy: Alias
    version: int
    policy_sha256: Hex32
    until: Day
    yearly_cap: NanoRho = field(name="cap")
    key: Hex32
    holders: list[Alias]
    controller: Alias
    purpose: str
    processing: Literal["https://w3id.org/dpv#Aggregate"] = "https://w3id.org/dpv#Aggregate"
    measures: list[str]
    law: Literal["https://w3id.org/dpv/legal/jp#law-APPI"] = "https://w3id.org/dpv/legal/jp#law-APPI"
    event: Literal["https://w3id.org/dpv#ConsentGiven", "https://w3id.org/dpv#RenewedConsentGiven"] = GIVEN
    notice_sha256: Hex32
    language: NoticeLanguage
    shown_at: Seconds
    replaces: Index | UnsetType = UNSET


class SubGrant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One holder may count this resident, signed with the pairwise key at that holder."""

    v: Literal[1] = 1
    kind: Literal["sub-grant"] = "sub-grant"
    log: str
    consent: Hex32
    policy: Alias
    version: int
    policy_sha256: Hex32
    holder: Alias
    key: Hex32
    until: Day
    yearly_cap: NanoRho = field(name="cap")
    notice_sha256: Hex32
    general: Hex32
    shown_at: Seconds | UnsetType = UNSET
    """Left out under rules number 1, and only there."""
    replaces: Index | UnsetType = UNSET


class Consent(Struct, frozen=True, kw_only=True):
    """A bundle that was read: its parts agree, its signatures are still to be checked."""

    general: General
    sub_grants: list[SubGrant]
    signatures: list[Signed]

    @property
    def is_dated(self) -> bool:
        """Whether the sub-grants say when the notice was shown."""
        return not isinstance(self.sub_grants[0].shown_at, UnsetType)


def make_consent(
    seed: bytes,
    policy: Policy,
    *,
    log: str,
    consent: bytes,
    salts: list[bytes],
    holders: list[str],
    until: str,
    yearly_cap: int,
    language: NoticeLanguage,
    shown_at: int,
    replaces: int | None = None,
    dated: bool = True,
) -> Bundle:
    """Sign a consent with the resident's seed.

    ``consent`` is 32 fresh random bytes; ``salts`` are 32 fresh random bytes for each leaf. ``replaces`` is the grant
    whose place it takes; ``dated`` is false for a ledger that goes by rules number 1.
    """
    key = pairwise_key(seed, SERVICE)
    shared = {
        "log": log,
        "consent": consent.hex(),
        "policy": policy.id,
        "version": policy.version,
        "policy_sha256": document_sha256(policy),
        "until": until,
        "yearly_cap": yearly_cap,
        "notice_sha256": notice_sha256(policy, language),
        "replaces": UNSET if replaces is None else replaces,
    }
    general = General(
        **shared,  # type: ignore[arg-type]
        key=public_hex(key),
        holders=[holder for holder in policy.holders if holder in holders],
        controller=policy.controller,
        purpose=policy.purpose,
        measures=[DPV + "DifferentialPrivacy"],
        event=GIVEN if replaces is None else RENEWED,
        language=language,
        shown_at=shown_at,
    )
    first = Leaf(salt=salts[0].hex(), body=jws.sign(general, key))
    leaves = [first]
    for salt, holder in zip(salts[1:], policy.holders, strict=True):
        body = NONE
        if holder in holders:
            own = pairwise_key(seed, holder)
            sub_grant = SubGrant(
                **shared,  # type: ignore[arg-type]
                holder=holder,
                key=public_hex(own),
                general=leaf_digest(first).hex(),
                shown_at=shown_at if dated else UNSET,
            )
            body = jws.sign(sub_grant, own)
        leaves.append(Leaf(salt=salt.hex(), body=body))
    return Bundle(leaves=leaves)


FindPolicy = Callable[[General], tuple[Policy, Hex32]]
"""Returns the policy document that a consent names, and its hash; or raises what is to be said of it."""


def read_consent(bundle: Bundle, find_policy: FindPolicy, log: str) -> Consent:
    """Read a bundle and check that all its parts say the same, for the policy version that it names.

    Raises Malformed or ConsentMismatch, and what ``find_policy`` raises. The signatures are returned and not yet
    checked, so that the caller can check many at once.
    """
    signed_part, payload, signature = jws.parts(bundle.leaves[0].body)
    general = canonical.decode(payload, General, "consent")
    signatures = [(signed_part, signature, bytes.fromhex(general.key))]
    policy, policy_sha256 = find_policy(general)
    if len(bundle.leaves) != len(policy.holders) + 1:
        raise ConsentMismatch("The consent has not one part for each holder of the policy, and a general part.")
    _check_general(general, policy, policy_sha256, log)
    expected_general = leaf_digest(bundle.leaves[0]).hex()
    sub_grants = []
    for holder, leaf in zip(policy.holders, bundle.leaves[1:], strict=True):
        if leaf.body == NONE:
            continue
        signed_part, payload, signature = jws.parts(leaf.body)
        sub_grant = canonical.decode(payload, SubGrant, "sub-grant")
        _check_sub_grant(sub_grant, holder, general, expected_general)
        signatures.append((signed_part, signature, bytes.fromhex(sub_grant.key)))
        sub_grants.append(sub_grant)
    if [sub_grant.holder for sub_grant in sub_grants] != general.holders:
        raise ConsentMismatch("The consent's general part names other holders than it has sub-grants for.")
    if not sub_grants:
        raise ConsentMismatch("The consent chooses no holder, so there is nothing to agree to.")
    if len({sub_grant.shown_at for sub_grant in sub_grants}) != 1:
        raise ConsentMismatch("Some of the consent's sub-grants say when its notice was shown, and some do not.")
    if len({sub_grant.key for sub_grant in sub_grants} | {general.key}) != len(sub_grants) + 1:
        raise ConsentMismatch("The consent uses one key twice; each holder gets a key of its own.")
    return Consent(general=general, sub_grants=sub_grants, signatures=signatures)


def _check_general(general: General, policy: Policy, policy_sha256: Hex32, log: str) -> None:
    if general.log != log:
        raise ConsentMismatch("The consent was signed for another ledger.")
    if (general.policy, general.version, general.policy_sha256) != (policy.id, policy.version, policy_sha256):
        raise ConsentMismatch("The consent was signed for another policy document.")
    if general.notice_sha256 != notice_sha256(policy, general.language):
        raise ConsentMismatch("The consent names another notice than the policy's in that language.")
    if general.until not in policy.until:
        raise ConsentMismatch("The consent's until is not one of the policy's.")
    if general.yearly_cap not in policy.yearly_caps:
        raise ConsentMismatch("The consent's yearly cap is not one of the policy's.")
    if (general.controller, general.purpose) != (policy.controller, policy.purpose):
        raise ConsentMismatch("The consent names another controller or purpose than the policy.")
    if (general.event == GIVEN) != isinstance(general.replaces, UnsetType):
        raise ConsentMismatch("The consent's event does not fit whether it replaces another.")
    if general.measures != [DPV + "DifferentialPrivacy"]:
        raise ConsentMismatch("The consent names other protective measures than the policy applies.")


_said_by_all = attrgetter(
    "log", "consent", "policy", "version", "policy_sha256", "until", "yearly_cap", "notice_sha256", "replaces"
)
"""What every part of one consent says in the same words."""


_said_in_ledger = attrgetter("consent", "policy", "version", "policy_sha256", "until", "yearly_cap", "replaces")
"""What the ledger's entry says in the words of each sub-grant. Only so does a node, which never sees the general part,
know that the resident signed the last day, the yearly cap and the chain by which the in-force set is made."""


def _check_sub_grant(sub_grant: SubGrant, holder: str, general: General, expected_general: str) -> None:
    if sub_grant.holder != holder:
        raise ConsentMismatch("A sub-grant stands at another holder's place.")
    if _said_by_all(sub_grant) != _said_by_all(general):
        raise ConsentMismatch("A sub-grant does not say the same as the consent's general part.")
    if not isinstance(sub_grant.shown_at, UnsetType) and sub_grant.shown_at != general.shown_at:
        raise ConsentMismatch("A sub-grant says another time than the consent's general part for its notice.")
    if sub_grant.general != expected_general:
        raise ConsentMismatch("A sub-grant belongs to another consent's general part.")


def check_own_leaf(disclosed: DisclosedLeaf, entry: Grant, policy: Policy, holder: str) -> None:
    """Check that a leaf is this holder's own of the consent that the entry commits to, whatever it says.

    Raises Malformed, ProofInvalid or ConsentMismatch.
    """
    if disclosed.position != policy.holders.index(holder) + 1 or disclosed.count != len(policy.holders) + 1:
        raise ConsentMismatch("The leaf is not at this holder's own position.")
    check_disclosed(disclosed, entry.commitment)


def check_sub_grant(disclosed: DisclosedLeaf, entry: Grant, policy: Policy, log: str, holder: str) -> SubGrant | None:
    """Check one holder's own leaf against the ledger's entry, all by itself: what a node does for each grant.

    Returns the sub-grant, or None where the resident did not choose this holder. Raises Malformed, ProofInvalid,
    ConsentMismatch or SignatureInvalid.
    """
    check_own_leaf(disclosed, entry, policy, holder)
    if disclosed.leaf.body == NONE:
        return None
    signed_part, payload, signature = jws.parts(disclosed.leaf.body)
    sub_grant = canonical.decode(payload, SubGrant, "sub-grant")
    if _said_in_ledger(sub_grant) != _said_in_ledger(entry):
        raise ConsentMismatch("The sub-grant does not say the same as the ledger's entry.")
    if sub_grant.log != log or sub_grant.holder != holder:
        raise ConsentMismatch("The sub-grant is for another ledger or holder.")
    ed25519.check(signed_part, signature, bytes.fromhex(sub_grant.key))
    return sub_grant
