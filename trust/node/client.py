"""The only calls that a node makes: signed messages to the service, and signed answers back."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec import UNSET
from nacl.signing import SigningKey

from ledger import canonical, jws
from ledger.errors import SignatureInvalid
from policies.rules import make_rules_word
from queries.rounds.messages import CaughtUp, LeavesAnswer, LeavesWanted, Work, WorkAnswer
from trust.client import paths
from trust.client.http import call
from trust.client.wire import ErasedWords
from trust.runtime.clock import Clock
from trust.runtime.http_clients import open_http

Answer = TypeVar("Answer", WorkAnswer, LeavesAnswer)
SLACK_SECONDS = 15


class NodeClient:
    """Talks to one service as one holder. ``operator`` gives the operator's public key once the ledger has told it."""

    def __init__(
        self,
        url: str,
        alias: str,
        key: SigningKey,
        log: str,
        operator: Callable[[], bytes | None],
        clock: Clock,
        *,
        ca_file: Path | None = None,
        proxy: str | None = None,
    ) -> None:
        self._client = open_http(url, seconds=SLACK_SECONDS, ca_file=ca_file, proxy=proxy)
        self._alias = alias
        self._key = key
        self._log = log
        self._operator = operator
        self._clock = clock

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def work(self, *, caught_up: int, known: int, wait: int, not_ready: list[str] | None) -> WorkAnswer:
        """Poll for work, and say which views have no data (None: not known yet). Raises the service's problem."""
        nonce, at = secrets.token_hex(32), self._clock()
        statement = jws.sign(CaughtUp(from_=self._alias, log=self._log, size=caught_up, at=at), self._key)
        message = Work(
            from_=self._alias,
            log=self._log,
            at=at,
            nonce=nonce,
            caught_up=statement,
            known=known,
            wait=wait,
            not_ready=UNSET if not_ready is None else not_ready,
        )
        body = self._post(paths.WORK, message, wait + SLACK_SECONDS)
        return self._open(body, WorkAnswer, nonce)

    def leaves(self, first: int, last: int) -> LeavesAnswer:
        """Fetch one's own leaves of the grants in a range of indices."""
        nonce = secrets.token_hex(32)
        message = LeavesWanted(from_=self._alias, log=self._log, at=self._clock(), nonce=nonce, first=first, last=last)
        return self._open(self._post(paths.LEAVES, message, 60), LeavesAnswer, nonce)

    def say(self, step: paths.Step, token: str) -> None:
        """Send one signed message of a round."""
        self._send(paths.node_step(step), token, SLACK_SECONDS)

    def say_erased(self, tokens: list[str]) -> None:
        """Send signed words that erased consents are gone from here."""
        body = canonical.encode(ErasedWords(words=tokens)).decode("ascii")
        self._send(paths.ERASED_WORDS, body, SLACK_SECONDS, "application/json")

    def say_rules(self, number: int) -> None:
        """Send the signed word that this node reads the rules up to a number."""
        word = make_rules_word(self._key, log=self._log, holder=self._alias, number=number)
        self._send(paths.RULES_WORD, word, SLACK_SECONDS)

    def _post(self, path: str, message: object, seconds: float) -> str:
        return self._send(path, jws.sign(message, self._key), seconds)

    def _send(self, path: str, body: str, seconds: float, kind: str = "application/jose") -> str:
        return call(self._client, "POST", path, content=body, headers={"Content-Type": kind}, timeout=seconds).text

    def _open(self, body: str, type_: type[Answer], nonce: str) -> Answer:
        """Check the operator's signature, and that this answers our own request."""
        operator = self._operator()
        if operator is None:
            # before the ledger was read nothing is believed: what comes back can only say that there is a log to read
            answer = jws.read_unverified(body, type_)
            if answer.nonce != nonce:
                raise SignatureInvalid("The service's answer is to another request.")
            return answer
        answer = jws.verify(body, operator, type_)
        if answer.nonce != nonce or answer.log != self._log:
            raise SignatureInvalid("The service's answer is to another request.")
        return answer
