"""Receipts (C2SP tlog-proof): proof, checkable offline and for ever, that an entry is in the log.

::

    c2sp.org/tlog-proof@v1
    extra <base64>
    index 4711
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
    ... one base64 hash a line, from the leaf's sibling to the root's child

    example.town/log
    ... the checkpoint, as it was signed and cosigned

The ``extra`` line may be absent, is never empty, and is signed by nobody. The entry itself is not in the receipt:
whoever checks brings it. At most 63 hashes are taken, enough for 2^63 entries.
"""

from dataclasses import dataclass

from ledger.errors import Malformed, TooLarge
from ledger.hashing import HASH_BYTES, leaf_hash
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.log_keys import LogKeyHistory, LogKeys
from ledger.notes.note import VerifierKey, parse_note
from ledger.notes.witness_policy import WitnessPolicy
from ledger.text_forms import MAX_SIZE, from_base64, to_base64, to_hash, to_number
from ledger.tlog.proofs import check_inclusion

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_HASHES = 63
MAX_RECEIPT_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """An entry's index, its inclusion path, and the checkpoint (a signed note's bytes) it was proven against.

    Raises Malformed when a field is outside what the format can say.
    """

    index: int
    proof: list[bytes]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_SIZE:
            raise Malformed("A receipt's index is 0 to 2^63 - 1.")
        if len(self.proof) > MAX_PROOF_HASHES or any(len(each) != HASH_BYTES for each in self.proof):
            raise Malformed("A receipt has at most 63 proof hashes of 32 bytes each.")
        if self.extra == b"":
            raise Malformed("A receipt without extra data leaves the line out.")
        parse_note(self.checkpoint)

    @classmethod
    def parse(cls, data: bytes) -> "Receipt":
        """Read a receipt strictly, without checking what it proves; raise Malformed or TooLarge."""
        if len(data) > MAX_RECEIPT_BYTES:
            raise TooLarge("The receipt is larger than 2,000,000 bytes.")
        head, gap, checkpoint = data.partition(b"\n\n")
        if not gap or not head.isascii():
            raise Malformed("A receipt is ASCII lines, an empty line and a checkpoint.")
        lines = head.decode("ascii").split("\n")
        if lines.pop(0) != HEADER:
            raise Malformed("A receipt begins with the line c2sp.org/tlog-proof@v1.")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = from_base64(lines.pop(0).removeprefix("extra "), "receipt's extra data")
        if not lines or not lines[0].startswith("index "):
            raise Malformed("A receipt gives the entry's index before its proof.")
        index = to_number(lines.pop(0).removeprefix("index "), "receipt's index")
        if len(lines) > MAX_PROOF_HASHES:
            raise Malformed("A receipt has at most 63 proof hashes.")
        return cls(index, [to_hash(line, "receipt's proof hash") for line in lines], checkpoint, extra)

    def format(self) -> bytes:
        """Return the receipt's bytes, the inverse of ``parse``."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {to_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines += [to_base64(each) for each in self.proof]
        return "\n".join(lines).encode("ascii") + b"\n\n" + self.checkpoint


def check_receipt(
    receipt: Receipt,
    entry: bytes,
    log_key: VerifierKey | LogKeys | LogKeyHistory,
    witnesses: WitnessPolicy | None = None,
) -> Checkpoint:
    """Check that ``entry`` is in the log at the receipt's index; return the checkpoint that proves it.

    Checks the log's signature by the key of that size (of its history, where that is given), the inclusion path and,
    where ``witnesses`` is given, that policy's quorum. Raises Malformed, SignatureInvalid or ProofInvalid.
    """
    checkpoint, note = LogKeyHistory.of(log_key).open(receipt.checkpoint)
    check_inclusion(leaf_hash(entry), receipt.index, checkpoint.size, receipt.proof, checkpoint.root)
    if witnesses is not None:
        witnesses.check_quorum(note)
    return checkpoint
