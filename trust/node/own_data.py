"""Which of the holder's files are taken in, and when: between tasks, for the views that questions may be about.

A question never waits for a file, nor makes one be read. What the service is told is which views this node has no data
for *yet*: it follows from whether there was ever a good load, and never from what a file says since. A file that is
refused leaves the data in use that there was.
"""

from ledger.errors import MusubiError
from policies.policy_document import View
from trust.node.books.books import Books
from trust.node.data.views import ViewStore
from trust.node.ledger_reader import LedgerReader


class OwnData:
    """The data side of one holder's node, kept as the ledger and the books want it."""

    def __init__(self, reader: LedgerReader, books: Books, views: ViewStore, alias: str) -> None:
        self._reader = reader
        self._books = books
        self._views = views
        self._alias = alias

    def refresh(self) -> None:
        """Take in new links, and the files that changed; raise Unavailable where disk or memory fails."""
        self._views.set_links(self._books.linked(self._views.linked))
        self._views.load([view for _, view in self._wanted()])

    def make_ready(self) -> None:
        """Make the bounded views that may be asked for, while nothing else is to be done.

        One that cannot be made holds up no other; that is raised at the end.
        """
        failed: MusubiError | None = None
        for policy_sha256, view in self._wanted():
            if self._views.is_ready(view):
                try:
                    self._views.materialise(policy_sha256, view)
                except MusubiError as error:
                    failed = error
        if failed is not None:
            raise failed

    def not_ready(self) -> list[str]:
        """Return the views that this node has no data for yet, each as ``<policy's SHA-256>/<view>``."""
        return sorted(f"{sha256}/{view.name}" for sha256, view in self._wanted() if not self._views.is_ready(view))

    def readiness(self) -> list[tuple[str, bool]]:
        """Return our views by name, ``<policy> <version>: <view>``, each with whether it has data."""
        documents = {sha256: record.document for sha256, record in self._reader.state.versions.items()}
        return sorted(
            (f"{documents[sha256].id} {documents[sha256].version}: {view.name}", self._views.is_ready(view))
            for sha256, view in self._wanted()
        )

    def _wanted(self) -> list[tuple[str, View]]:
        """Return our views of every policy that may be asked, or has an open question for us."""
        state = self._reader.state
        records = {record.sha256: record for record in state.policies.values()}
        for admit in self._reader.in_force:
            opened = state.rounds.get(admit)
            if opened is not None:
                record = state.versions[opened.admit.policy_sha256]
                records[record.sha256] = record
        return [
            (record.sha256, view)
            for record in records.values()
            for view in record.document.views
            if self._alias in view.holders
        ]
