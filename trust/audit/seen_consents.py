"""Which consent identifiers the log has used: on disk while an audit runs, so that memory stays flat."""

import sqlite3


class SeenConsents:
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

    def add(self, consent: str, index: int) -> bool:  # noqa: ARG002 - the index is for those who keep it
        """Remember the identifier; return False where it was used before."""
        found = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (bytes.fromhex(consent),))
        return found.rowcount == 1

    def close(self) -> None:
        """Drop the database."""
        self._database.close()
