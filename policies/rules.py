"""The rules by which entries are judged. They have a number, so that an honest old ledger stays honest for ever.

What the replay accepts changes over the years. Each entry is judged by the rules in force at its index: those that the
genesis entry names, or the last ``rules`` entry before it. Such an entry takes the signatures of the stewards' quorum,
and the signed word of every active holder that its node reads the new rules::

    {"for":"rules","from":"bus_co","log":"…","number":2,"v":1}

A word stands for every number up to its own. Software that does not read the rules of a ledger says so and stops
(UpgradeNeeded); what it cannot read is no evidence against anybody. Only the quorum's signatures have that effect: an
entry that merely claims newer rules is a fault like any other.

======  ================================================================================================================
number  what is judged otherwise than before
======  ================================================================================================================
1       (the first)
2       an ``erase`` of a record that is not there, or was erased before, and a ``refuse`` of a question by no member
        change nothing and halt nobody; they are an auditor's findings (``State.finding``)
2       ``lost`` closes a round after its ``last``; a participant's word counts whatever its roles are by then
2       a ``grant`` may name in ``replaces`` the one that it takes the place of, and a ``revoke`` has the reason
        ``replaced`` then; every sub-grant says when its notice was shown (``shown_at``), and one that is too old, or
        says nothing of it, counts for nothing (``policies.consents.age``)
2       a ``revoke`` may have the reason ``attested``, and then names in ``by`` an active member with the role
        ``identity``
3       every measure of an ``admit`` has the noise that the signed ``spend`` pays for, within 1% of its cost, and no
        more (``queries.price.signed_spend``)
3       a ``refuse`` is of a partner's question, under a policy that is there; for ``budget-exceeded`` it names that
        question's tightest account and what the ledger says is left in it, for any other rule none, and 0
3       an ``erase`` is of a ``grant`` or a ``revoke``; for ``retention`` the consent has ended; for ``authority`` it
        bears the quorum's ``approvals`` of the order, or comes right behind one that does
4       a policy may have columns of time, and a question measures of what bounding left out
4       a filter on a measure is one that clipping does not decide (``queries.question.faithful``)
======  ================================================================================================================
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from nacl.signing import SigningKey

from ledger import jws
from ledger.entries import Alias, AnyEntry, Genesis, RulesNumber, Token, decode
from ledger.errors import Malformed, MusubiError, NotPermitted, ProofInvalid, TooLarge, UpgradeNeeded
from policies.governance import check_quorum

FIRST_RULES = 1
REPLACING = 2
"""From these rules on a grant may replace another, and sub-grants say when their notice was shown."""
STOPS = 2
"""From these rules on an identity provider may end a consent for the resident."""
SOME_HARMLESS = 2
"""From these rules on a wrong entry that cannot do harm halts nobody."""
LOST_ROUNDS = 2
"""From these rules on a round that nobody can finish is closed, and a holder without its role can end what it began."""
LIES_SEEN = 3
"""From these rules on noise, refusals and erasures are held against what the ledger and the signed question say."""
WIDER_QUESTIONS = 4
"""From these rules on a policy may have columns of time, and a question may ask what bounding left out."""
NEWEST_RULES = 4
"""The newest rules that this software reads."""


class RulesWord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for", "from_": "from"}):
    """A holder's word: my node reads the rules up to this number."""

    v: Literal[1] = 1
    for_: Literal["rules"] = "rules"
    from_: Alias
    log: str
    number: RulesNumber


class _Named(Struct, frozen=True, kw_only=True):
    number: int


class _Ahead(Struct, frozen=True, kw_only=True):
    """What of an entry every software reads, whatever else later rules put in it."""

    kind: str
    rules: Raw | UnsetType = UNSET
    signatures: list[Token] = []


def rules_at_first(genesis: Genesis) -> int:
    """Return the rules that a ledger begins with."""
    return FIRST_RULES if isinstance(genesis.rules, UnsetType) else genesis.rules


def rules_at(rules_since: Sequence[tuple[int, int]], index: int) -> int:
    """Return the rules by which the entry at ``index`` is judged; ``rules_since`` is ``State.rules_since``."""
    return next((number for since, number in reversed(rules_since) if since < index), FIRST_RULES)


def check_readable(data: bytes, genesis: Genesis | None) -> None:
    """Raise UpgradeNeeded where the entry's bytes bring rules that this software does not read.

    They do in a genesis entry (``genesis`` is None then; its hash is the reader's to check), and in a ``rules`` entry
    that the stewards' quorum signed. All else is for the strict reading to judge.
    """
    if b'"rules"' not in data:
        return
    try:
        ahead = msgspec.json.decode(data, type=_Ahead)
        if isinstance(ahead.rules, UnsetType):
            return
        body = bytes(ahead.rules)
        if genesis is None:
            number = msgspec.json.decode(body, type=int) if ahead.kind == "genesis" else 0
        else:
            number = msgspec.json.decode(body, type=_Named).number if ahead.kind == "rules" else 0
        if number <= NEWEST_RULES:
            return
        if genesis is not None:
            check_quorum("rules", body, ahead.signatures, genesis)
    except (msgspec.MsgspecError, UnicodeDecodeError, MusubiError):
        return
    raise UpgradeNeeded(
        f"The ledger goes by rules number {number}, and this software reads them up to {NEWEST_RULES}. Nothing is wrong "
        "with the ledger: install a newer Musubi, and start again.",
        rules=number,
        newest=NEWEST_RULES,
    )


def decode_in_ledger(data: bytes) -> AnyEntry:
    """Read an entry that a signed tree was proven to hold, for who follows no rules: a resident, a partner.

    Raises UpgradeNeeded where it cannot be read: newer software can, or an auditor will find the fault.
    """
    try:
        return decode(data)
    except (Malformed, TooLarge):
        raise UpgradeNeeded(
            "The ledger holds an entry of a form that this software does not know: install a newer Musubi, and try again."
        ) from None


def make_rules_word(key: SigningKey, *, log: str, holder: str, number: int = NEWEST_RULES) -> str:
    """Sign, as a holder, up to which number one's node reads the rules."""
    return jws.sign(RulesWord(from_=holder, log=log, number=number), key)


def check_rules_word(token: str, key: bytes, *, log: str, holder: str) -> int:
    """Return the number up to which a holder reads the rules; raise Malformed, SignatureInvalid or ProofInvalid."""
    word = jws.verify(token, key, RulesWord, "word on rules")
    if (word.log, word.from_) != (log, holder):
        raise ProofInvalid("The word on rules is for another ledger, or another holder's.")
    return word.number


def check_readers(readers: dict[str, str], number: int, holders: dict[str, bytes], *, log: str) -> None:
    """Check that there is exactly one word of each active holder, by its key, and that it reads these rules.

    Raises NotPermitted where one is missing or reads older rules only, and as ``check_rules_word``.
    """
    behind = sorted(
        holder
        for holder, key in holders.items()
        if holder not in readers or check_rules_word(readers[holder], key, log=log, holder=holder) < number
    )
    if behind:
        raise NotPermitted(
            f"Rules number {number} wait for the nodes of {len(behind)} holders to read them.", behind=behind
        )
    if set(readers) != set(holders):
        raise ProofInvalid("The words on rules are not those of the active holders alone.")
