"""Linking a customer from outside the node's process: challenges, answers, and whether a customer is linked.

The node itself links, on its own thread and by its own clock (``trust.node.links``); here an answer is checked first,
so that whoever sent it is told what is wrong, then left where the node looks, and what became of it is read in the
node's books. So nothing here writes into them, and it does not matter in which process it runs.
"""

from pathlib import Path

from ledger.errors import Replayed, Unavailable
from policies.consents.attestation import CHALLENGE_SECONDS
from policies.consents.link_challenge import LinkChallenge, challenge_for
from trust.files.keys import read_secret
from trust.node.books.reading import books_read
from trust.node.links import AnsweredChallenge, check_answered, hand_in
from trust.node.settings import BOOKS
from trust.runtime.clock import Clock, system_clock

LINK_KEY = "link.key"
TAKEN_IN_SECONDS = 10
"""How long whoever sent an answer waits at most for the node to take it in."""
LOOK_AGAIN_SECONDS = 0.05


class HandedIn:
    """An answer on its way into the node's books."""

    def __init__(self, links: "SiteLinks", path: Path, customer: str, key: str) -> None:
        self._links = links
        self._path = path
        self._customer = customer
        self._key = key

    def is_taken_in(self) -> bool:
        """Whether the node has looked at it."""
        return not self._path.exists()

    def check(self) -> None:
        """Raise Unavailable where the node has not looked at it yet, Replayed where it did not link by it."""
        if not self.is_taken_in():
            raise Unavailable(
                "The answer is kept, and the node has not taken it in yet: it may not run, or its clock may be off. "
                "Send the same answer again in some seconds."
            )
        if self._links.key_of(self._customer) != self._key:
            raise Replayed(
                "The answer was not taken: its key is another customer's, or a newer device's has taken its place. "
                "The customer's device makes a new key with `musubi resident lost-device`."
            )


class SiteLinks:
    """Links of one node's folder. Raises NotFound, NotPermitted, Malformed or Unavailable for its ``keys/link.key``."""

    def __init__(self, folder: Path, holder: str, clock: Clock = system_clock) -> None:
        self._folder = folder
        self._holder = holder
        self._clock = clock
        self._secret = read_secret(folder / "keys" / LINK_KEY)

    def challenge(self, customer: str) -> LinkChallenge:
        """Return a challenge for the customer who is logged in."""
        return challenge_for(self._secret, self._holder, customer, self._clock())

    @staticmethod
    def expires_at(challenge: LinkChallenge) -> int:
        """Return the last second in which the challenge is good."""
        return challenge.asked_at + CHALLENGE_SECONDS

    def hand_in(self, customer: str, link: str) -> HandedIn:
        """Check an answer, and leave it for the node. Raises what ``check_link`` does, and Unavailable."""
        answered = AnsweredChallenge(customer=customer, link=link)
        key = check_answered(answered, secret=self._secret, holder=self._holder, now=self._clock())
        return HandedIn(self, hand_in(self._folder / "links", answered), customer, key)

    def is_linked(self, customer: str) -> bool:
        """Whether the node's books have a key for a customer. Raises Unavailable."""
        return self.key_of(customer) is not None

    def key_of(self, customer: str) -> str | None:
        """Return the pairwise key that a customer is linked to. Raises Unavailable where the books cannot be read."""
        path = self._folder / BOOKS
        if not path.exists():
            return None
        with books_read(path) as books:
            return books.key_of(customer)
