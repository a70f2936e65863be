"""The signed shares of closed rounds as a running service gives them, for those who read its log."""

from trust.client import paths
from trust.log.share_files import MAX_SHARES_BYTES
from trust.log.source import FileSource, past_caches


class ServiceShares:
    """A service's shares: of every answer that its log has (``trust.log.share_files.SharesSource``)."""

    def __init__(self, log: FileSource) -> None:
        self._log = log

    def ways(self) -> "list[ServiceShares]":
        """Return the ways to read the same, this one first."""
        return [self, *(ServiceShares(way) for way in past_caches(self._log))]

    def read_shares(self, admit: int) -> bytes:
        """Return the JSON of one round's shares. Raises NotFound, TooLarge or Unavailable."""
        return self._log.get(paths.at(paths.SHARES, admit=admit), MAX_SHARES_BYTES)

    def carries(self) -> None:
        """Say that it has those of all entries."""
