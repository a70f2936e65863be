r"""The proven key history that a service gives: every change of the log's key, for those who do not read the log.

A reader of all entries finds the changes itself (``trust.log.followed_keys``). One that does not read the log, such as
a resident's device with a receipt, asks the service for them::

    GET /v1/log-keys
    {"changes":[{"entry":{"kind":"log-key",…},"index":4711,"receipt":"c2sp.org/tlog-proof@v1\nindex 4711\n…"}],
     "genesis":{"kind":"genesis",…},"v":1}

``genesis`` has the pinned hash; each change is a quorum-signed entry, with its receipt under a checkpoint that is
signed with the keys of that history and cosigned by the quorum of witnesses. All of it holds, or nothing is believed.
The document is public and may be kept beside one's receipts: with ``trust.json`` it checks them offline.

**What this cannot show** is that no later change was left out. Whoever has a stolen old key, serves a forked log
and hides the change is stopped by the witnesses alone, which have removed that key.
"""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from ledger import canonical
from ledger import entries as e
from ledger.entries import Index
from ledger.errors import Malformed, ProofInvalid
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.receipts import MAX_RECEIPT_BYTES, Receipt, check_receipt
from ledger.notes.witness_policy import WitnessPolicy
from policies.log_key_changes import change_log_keys, first_log_keys
from trust.log.pins import PinnedLogKeys, open_genesis


class ProvenChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``log-key`` entry, where it is, and its receipt."""

    index: Index
    entry: Raw
    receipt: Annotated[str, Meta(max_length=MAX_RECEIPT_BYTES)]


class ProvenLogKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every change of the log's keys so far, with its proof. See the module's docstring."""

    v: Literal[1] = 1
    genesis: Raw
    changes: Annotated[list[ProvenChange], Meta(max_length=10_000)]


def check_log_keys(proven: ProvenLogKeys, pinned: PinnedLogKeys, witnesses: WitnessPolicy | None) -> LogKeyHistory:
    """Return the key history that the document proves.

    Raises ProofInvalid, SignatureInvalid, NotPermitted (no quorum) or Malformed for the first thing wrong.
    """
    genesis = open_genesis(bytes(proven.genesis), pinned.genesis_sha256)
    history = first_log_keys(genesis)
    for change in proven.changes:
        entry = e.decode(bytes(change.entry))
        if not isinstance(entry, e.LogKey):
            raise Malformed("The key history holds an entry that changes no key.")
        history = change_log_keys(history, change.index, entry, genesis)
    for change in proven.changes:
        receipt = Receipt.parse(change.receipt.encode())
        if receipt.index != change.index:
            raise ProofInvalid("The key history holds a receipt for another entry.")
        check_receipt(receipt, bytes(change.entry), history, witnesses)
    return history


def decode_log_keys(data: bytes) -> ProvenLogKeys:
    """Read the document strictly; raise Malformed."""
    return canonical.decode(data, ProvenLogKeys, "key history")
