"""Which consent identifiers the log has used: on disk while an audit runs, so that memory stays flat.

Nearly every consent is new, and asking the disk for each would take a fifth of the whole audit. So 16 MiB of memory
hold one bit for each value of the identifier's first 27 bits. Where the bit is not set, the identifier is new for
certain, and it is written down later, with some thousand others. Where it is set, the disk decides. (An identifier is
the resident's own choice: who chooses many with equal beginnings makes the audit slower, never wrong.)
"""

import sqlite3

BITS = 27
BUFFERED = 4_096


class DiskConsents:
    """A ``policies.replay.SeenConsents`` in a temporary SQLite database, which is gone when the audit ends.

    Nothing here need outlive a crash: the next audit starts at entry 0.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # "" is a private temporary file
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("PRAGMA cache_size=-65536")  # 64 MiB; what does not fit goes to the file
        self._database.execute("CREATE TABLE seen (consent BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")  # one transaction for all: a commit for each would take most of the audit
        self._bits = bytearray(1 << (BITS - 3))
        self._new: list[tuple[bytes]] = []

    def add(self, consent: str, index: int) -> bool:  # noqa: ARG002 - the index is for those who keep it
        """Remember the identifier; return False where it was used before."""
        name = bytes.fromhex(consent)
        place = int.from_bytes(name[:4], "big") >> (32 - BITS)
        byte, bit = place >> 3, 1 << (place & 7)
        if self._bits[byte] & bit:
            self._write()
            return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (name,)).rowcount == 1
        self._bits[byte] |= bit
        self._new.append((name,))
        if len(self._new) >= BUFFERED:
            self._write()
        return True

    def _write(self) -> None:
        self._database.executemany("INSERT INTO seen VALUES (?)", self._new)
        self._new.clear()

    def close(self) -> None:
        """Drop the database."""
        self._database.close()
