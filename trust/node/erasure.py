"""What a node does once a consent is erased: view rows go, books are scrubbed, and the service gets a signed word.

The leaf and the link were erased from the books with the ``erase`` entry itself (``trust.node.ledger_reader``). In
order:

1. the view rows and the customer number go from memory, the rows from the snapshots (``ViewStore.erase_rows``);
2. the books' file is written anew (``Books.scrub``), so that no copy is left in its free space or write-ahead log;
3. only then the node signs, for each consent, that nothing of it is left here, and sends that
   (``policies.consents.erasure``);
4. that it was sent is noted. A crash before this sends the words once more, which changes nothing.

A round that is open goes on without the erased consent. A share that was written before goes out as it is: it is a sum
with noise on it, as after a revocation.
"""

import structlog
from nacl.signing import SigningKey

from ledger import jws
from ledger.errors import MusubiError
from policies.consents.erasure import ErasedWord
from trust.node.books.books import Books, ErasedConsent
from trust.node.client import NodeClient
from trust.node.data.views import ViewStore
from trust.node.ledger_reader import LedgerReader
from trust.runtime.clock import Clock
from trust.runtime.crash_points import reached
from trust.runtime.json_lines import reason_of

WORDS_AT_ONCE = 256
logger = structlog.get_logger()


class NodeErasures:
    """What is still to be done and said of erased consents."""

    def __init__(
        self,
        reader: LedgerReader,
        books: Books,
        views: ViewStore,
        client: NodeClient,
        *,
        alias: str,
        key: SigningKey,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._books = books
        self._views = views
        self._client = client
        self._alias = alias
        self._key = key
        self._clock = clock
        self._scrubbed: set[int] = set()
        """What was erased before the books' file was last written anew."""
        self._due: set[int] = set()
        """Slots whose rows are to go, until they went."""

    def erase_rows(self) -> None:
        """Drop the view rows of links that were erased; before any question is computed."""
        self._due |= self._reader.take_erased_slots()
        self._views.erase_rows(self._due)
        self._due.clear()

    def finish(self) -> None:
        """Scrub the books and send the words that are due. What the service does not take is said again later.

        Raises sqlite3.Error where the books are in use or the disk is full, Unavailable where a snapshot cannot be
        written.
        """
        erased = self._books.unsaid()
        if not erased:
            return
        if not self._scrubbed.issuperset(each.index for each in erased):
            self._views.keep_only(self._books.linked(0))  # a crash, or a disk that refused, may have come before 1.
            self._due.clear()
            self._books.scrub()
            self._scrubbed = {each.index for each in erased}
        reached("node:scrubbed")  # a crash here leaves nothing of them, and the words unsaid: the next start says them
        for at in range(0, len(erased), WORDS_AT_ONCE):
            part = erased[at : at + WORDS_AT_ONCE]
            try:
                self._client.say_erased([self._word(each) for each in part])
            except MusubiError as error:  # whatever the service says of it, the node's own work goes on
                logger.warning("erased-unsaid", **reason_of(error))
                return
            self._books.said(part)
        logger.info("erased", consents=len(erased))

    def _word(self, erased: ErasedConsent) -> str:
        word = ErasedWord(
            from_=self._alias,
            log=self._reader.state.log,
            at=self._clock(),
            index=erased.index,
            entry=erased.entry,
            entry_sha256=erased.entry_sha256,
        )
        return jws.sign(word, self._key)
