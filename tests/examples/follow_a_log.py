"""Read a log from its first entry to its newest, believe only what its signed tree shows, and count what is in it.

    python follow_a_log.py LOG TRUST SEEN

LOG is a service's address, a web server's that has the log's files, or a folder (``musubi log export`` makes one).
TRUST is a ``trust.json``. SEEN is a file that this program keeps: the last checkpoint that it was shown, so that a log
which forgets some of its history between two runs is found out.
"""

import sys
from collections import Counter
from pathlib import Path

from ledger import entries
from ledger.errors import MusubiError
from trust.log.follower import LogFollower
from trust.log.pins import load_trust
from trust.log.source import open_log


def main(place: str, trust_file: Path, seen: Path) -> None:
    """Follow the log once; raise where it is not what it was, or not what its checkpoint signs."""
    trust = load_trust(trust_file)
    log = open_log(place)
    last_note = seen.read_bytes() if seen.exists() else None
    follower = LogFollower(log, trust.log_keys, trust.witnesses, latest=last_note)
    kinds: Counter[str] = Counter()
    for batch in follower.follow():  # what comes out here is verified already
        kinds.update(type(entries.decode(data)).__name__ for data in batch.entries)
    log.close()
    latest = follower.latest
    assert latest is not None
    seen.write_bytes(latest.note)
    print(f"{latest.checkpoint.origin} has {latest.checkpoint.size} entries, root {latest.checkpoint.root.hex()}.")
    for kind, count in sorted(kinds.items()):
        print(f"{count:6} {kind}")


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except MusubiError as error:
        sys.exit(f"Stopped: {error}")
