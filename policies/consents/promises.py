r"""The service's signed promise to put a revocation into the ledger, and evidence that it broke one.

When a resident takes a consent back, the service answers at once with a ``Promise``: this revocation
stands at this index, and the ledger shows it by this time. A **broken promise** is one line of canonical JSON that
holds the promise, who the promiser is, and a signed tree in which it is not kept::

    {"checkpoint":"example.town/log\n4711\n…","genesis":{"entry":"<base64>","index":0,"proof":["<base64>",…]},
     "instead":{"entry":"<base64>","index":4700,"proof":[…]},"kind":"broken-promise","log_keys":["example.town/log+…"],
     "operator":{"entry":"<base64>","index":3,"proof":[…]},"promise":"<compact JWS>","v":1,"witness_policy":""}

==================  ==================================================================================================
field               says
==================  ==================================================================================================
``log_keys``        1 to 8 verifier keys of the log, as in ``ledger.evidence``
``checkpoint``      a whole signed note of the log, with its cosignatures
``genesis``         entry 0 of that tree: it names the stewards and how many of them must sign
``operator``        the ``member`` entry that says whose the promise's key is: active, with the role ``operator``, and
                    signed by that quorum
``promise``         the promise, signed with that key
``instead``         the entry that stands at the promised index, or null where the tree does not reach so far
``witness_policy``  the tlog-policy by whose witnesses the time is told, or empty where no time is needed
==================  ==================================================================================================

Entries and hashes are base64; each ``proof`` is the RFC 6962 inclusion path under the checkpoint's root. The file
convicts in one of two cases:

- **another entry**: the tree reaches past the promised index, and what stands there is not this revocation (a
  ``revoke`` of that grant with that commitment). No time matters: an index has one entry, and for ever.
- **missing**: the tree does not reach the promised index, and was still the newest more than 60 seconds after ``by``.
  A witness cosigns only what extends the largest tree it has seen, so its time on a smaller tree says that it had
  seen no larger one by then. Those witnesses whose time is that late must be a quorum of the policy, and the others
  must not be: or a larger tree could have been published by the others, and one forgotten witness would convict an
  honest log. The 60 seconds are what a witness's clock may be off.

**What it says of whom.** The log's key signed that tree, and the operator's key, which this very tree names, signed the
promise. Where the reader brings the log's keys and the witnesses (``trust.json``), nothing in the file is believed.
*Missing* convicts only by witnesses that the reader brings: whoever has a promise that was kept and a tree from before
could make witnesses of his own, and have them say any time.

**Limits.** A service that is down, or whose witnesses are, breaks its promise too: *missing* does not say why. A key
that a later ``member`` entry has replaced may have been stolen since; a promise by it for an index past that entry is
not the operator's, and the town answers such a file by showing the entry.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ledger import canonical, jws
from ledger import entries as e
from ledger.entries import MAX_ENTRY_BYTES, Hex32, Index, Seconds, Token
from ledger.errors import MusubiError, ProofInvalid
from ledger.evidence import MAX_PROOF_HASHES, Conviction, Hash, LogKeys, Note, choose_keys, line_of, open_signed
from ledger.hashing import leaf_hash
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.cosignatures import newest_of_each
from ledger.notes.note import VerifierKey, parse_note
from ledger.notes.witness_policy import NO_WITNESS, WitnessPolicy
from ledger.tlog.proofs import check_inclusion
from policies.governance import check_quorum

PROMISE_SECONDS = 60
"""By how long after it was given a promise is to be kept."""
LATE_SECONDS = 60
"""How far past ``by`` a witness's clock must be before it counts: so far it may be ahead of the service's."""


class Promise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service's signed word that a revocation will be in the ledger by ``by``; it convicts us if it is not."""

    v: Literal[1] = 1
    kind: Literal["promise"] = "promise"
    log: str
    grant: Index
    commitment: Hex32
    index: Index
    promised_at: Seconds
    by: Seconds


class Included(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry's bytes, where it stands, and the path from it to the checkpoint's root."""

    index: Index
    entry: Annotated[bytes, Meta(max_length=MAX_ENTRY_BYTES)]
    proof: Annotated[list[Hash], Meta(max_length=MAX_PROOF_HASHES)]

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise ProofInvalid unless the checkpoint's tree has this entry here."""
        check_inclusion(leaf_hash(self.entry), self.index, checkpoint.size, self.proof, checkpoint.root)


class BrokenPromise(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="broken-promise"
):
    """A signed promise, and a signed tree in which it is not kept. See the module's docstring."""

    v: Literal[1] = 1
    log_keys: LogKeys
    checkpoint: Note
    genesis: Included
    operator: Included
    promise: Token
    instead: Included | None
    witness_policy: Annotated[str, Meta(max_length=1_000_000)]

    @classmethod
    def parse(cls, data: bytes) -> "BrokenPromise":
        """Read the file strictly, without checking what it shows; raise Malformed or TooLarge."""
        return canonical.decode(line_of(data), cls, "evidence")

    def format(self) -> bytes:
        """Return the file's bytes, a line of JSON; the inverse of ``parse``."""
        return canonical.encode(self) + b"\n"


def keeps(entry: bytes, promise: Promise) -> bool:
    """Return whether an entry's bytes are the revocation that was promised."""
    try:
        said = e.decode(entry)
    except MusubiError:
        return False
    return isinstance(said, e.Revoke) and (said.grant, said.commitment) == (promise.grant, promise.commitment)


def open_promise(token: str, genesis: e.Genesis, member: e.AnyEntry) -> Promise:
    """Return a promise that the operator signed, as this ``member`` entry names the operator.

    The caller has shown that both entries are in the log. Raises Malformed, SignatureInvalid or NotPermitted; and
    ProofInvalid where the member is not an active operator, or the promise is about another log.
    """
    if not isinstance(member, e.Member) or member.member.status != "active" or "operator" not in member.member.roles:
        raise ProofInvalid("The entry that should name the operator does not name one.")
    check_quorum("member", canonical.encode(member.member), member.signatures, genesis)
    promise = jws.verify(token, bytes.fromhex(member.member.key), Promise, "promise")
    if promise.log != genesis.origin:
        raise ProofInvalid("The promise is about another log.")
    return promise


def are_late(policy: WitnessPolicy, times: dict[str, int], promise: Promise) -> bool:
    """Return whether the witnesses' times show that no larger tree could have been published in time.

    ``times`` are seconds since 1970 by the witnesses' names in ``policy``, all on a tree without the promised index.
    """
    late = {name for name, time in times.items() if time > promise.by + LATE_SECONDS}
    others = set(policy.witnesses) - late
    return policy.quorum != NO_WITNESS and policy.is_quorum(late) and not policy.is_quorum(others)


def check_broken_promise(
    evidence: BrokenPromise, trusted: Sequence[VerifierKey] = (), witnesses: WitnessPolicy | None = None
) -> Conviction:
    """Return what the file convicts the service of; raise an error where it does not.

    ``trusted`` are the log's keys as the reader knows them; without any the file's own are taken, and the conviction
    says so. ``witnesses`` is the policy as the reader knows it; without it nothing is *missing*. Raises Malformed,
    TooLarge, SignatureInvalid, NotPermitted (no quorum made that operator) or ProofInvalid (the promise is not shown to
    be broken).
    """
    keys = choose_keys(evidence.log_keys, trusted)
    checkpoint = open_signed(evidence.checkpoint.encode(), keys)
    evidence.genesis.check(checkpoint)
    evidence.operator.check(checkpoint)
    genesis = e.decode(evidence.genesis.entry)
    if evidence.genesis.index != 0 or not isinstance(genesis, e.Genesis) or genesis.origin != checkpoint.origin:
        raise ProofInvalid("The evidence does not hold the log's genesis entry.")
    promise = open_promise(evidence.promise, genesis, e.decode(evidence.operator.entry))
    if promise.index < checkpoint.size:
        _check_instead(evidence.instead, checkpoint, promise)
        says = (
            f"The operator promised the revocation of the grant at {promise.grant} at index {promise.index} of the log, "
            "and the log has another entry there."
        )
    else:
        policy = witnesses if witnesses is not None else WitnessPolicy.parse(evidence.witness_policy)
        note = parse_note(evidence.checkpoint.encode())
        # Each line stands for itself; a file may hold those of the first reading beside the later ones.
        lines = newest_of_each(note.signatures, [witness.key for witness in policy.witnesses.values()])
        if not are_late(policy, policy.check_quorum(replace(note, signatures=lines)), promise):
            raise ProofInvalid("The witnesses do not show that the promised time had passed without the revocation.")
        if witnesses is None:
            raise ProofInvalid(
                "That the promised time had passed is told only by witnesses whom the file itself names, and those anybody "
                "can make; bring the town's own with its pins (trust.json)."
            )
        says = (
            f"The operator promised the revocation of the grant at {promise.grant} at index {promise.index} of the log "
            f"within a minute, and past that time the log still ended at {checkpoint.size} entries."
        )
    return Conviction(
        kind="broken-promise",
        origin=checkpoint.origin,
        log_keys=[str(key) for key in keys],
        pinned=bool(trusted),
        says=says,
    )


def _check_instead(instead: Included | None, checkpoint: Checkpoint, promise: Promise) -> None:
    if instead is None or instead.index != promise.index:
        raise ProofInvalid("The evidence lacks the entry that stands at the promised index.")
    instead.check(checkpoint)
    if keeps(instead.entry, promise):
        raise ProofInvalid("The promise was kept: the revocation stands at the promised index.")
