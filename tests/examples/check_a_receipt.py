"""Check receipts of the ledger on this machine, without a network.

    python check_a_receipt.py FOLDER TRUST

FOLDER holds what ``musubi resident receipt`` saves: receipts, their entries, and the history of the log's key where
that has changed. TRUST is a ``trust.json`` that you got from someone whom you trust, and not from the service.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from ledger import entries
from ledger.errors import MusubiError
from ledger.notes.note import parse_note
from ledger.notes.receipts import Receipt, check_receipt
from trust.log.pins import load_trust
from trust.log.proven_keys import check_log_keys, decode_log_keys


def main(folder: Path, trust_file: Path) -> None:
    """Check each receipt in the folder; raise at the first that does not hold."""
    trust = load_trust(trust_file)
    keys = trust.log_keys.history
    changes = folder / "log-keys.json"
    if changes.exists():  # each change of the log's key is signed by the stewards' quorum
        keys = check_log_keys(decode_log_keys(changes.read_bytes()), trust.log_keys, trust.witnesses)
    receipts = sorted(folder.glob("receipt-*.tlog-proof"))
    if not receipts:
        sys.exit("Not proven: there is no receipt in the folder.")
    for path in receipts:
        receipt = Receipt.parse(path.read_bytes())
        data = (folder / f"entry-{receipt.index}.json").read_bytes()
        checkpoint = check_receipt(receipt, data, keys, trust.witnesses)
        cosigned = trust.witnesses.check_quorum(parse_note(receipt.checkpoint))
        kind = type(entries.decode(data)).__name__
        print(f"{kind} {receipt.index} is in {checkpoint.origin}, as that was with {checkpoint.size} entries.")
        if (seen := trust.witnesses.median_of(cosigned)) is not None:
            print(
                f"  Cosigned by {', '.join(trust.witnesses.by_witness(cosigned))} at {datetime.fromtimestamp(seen, UTC)}."
            )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except MusubiError as error:
        sys.exit(f"Not proven: {error}")
