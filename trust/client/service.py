"""The service as its clients see it: residents, counters, partners and stewards. Answers are checked, not believed."""

import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct
from nacl.signing import SigningKey

from ledger import canonical, jws
from ledger import entries as e
from ledger.entries import MemberBody
from ledger.errors import Malformed, NotPermitted, ProofInvalid, SignatureInvalid, TooLarge, UpgradeNeeded
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.receipts import Receipt, check_receipt
from ledger.second_reads import read_in_turn
from policies.consents.bundle import Bundle
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from policies.policy_document import Policy, decode_document
from policies.rules import NEWEST_RULES, decode_in_ledger, rules_at_first
from queries.question.tree import Query, encode_query
from queries.rounds.messages import AskAnswer, Mine, OfferAnswer, Question
from trust.client import paths
from trust.client.http import HttpAnswer, call
from trust.client.wire import (
    EndedGrant,
    EnrolmentRequest,
    Granted,
    GrantRequest,
    MyConsent,
    PublishedPolicy,
    ReplacedDevice,
    Revoked,
    RevokeRequest,
    RoundStatus,
    RulesAnswer,
)
from trust.log.pins import Trust, open_genesis
from trust.log.proven_keys import check_log_keys, decode_log_keys
from trust.log.source import PAST_CACHES, PAUSES
from trust.runtime.clock import system_clock
from trust.runtime.http_clients import open_http
from trust.runtime.problems import ToldLater

T = TypeVar("T")
WAIT_SECONDS = 60
BAD_ANSWERS = (Malformed, NotPermitted, ProofInvalid, SignatureInvalid, TooLarge)
"""What an answer that does not hold raises: the service's own, or a cache's or a gateway's on the way."""


class Proven(Struct, frozen=True, kw_only=True):
    """One ledger entry with its receipt, checked against the pins."""

    index: int
    entry: e.AnyEntry
    data: bytes
    receipt: Receipt


def _asked_again(ask: Callable[[], T]) -> T:
    """Return an answer, asked for again after each pause where the service says that it is for later."""
    for pause in PAUSES:
        try:
            return ask()
        except ToldLater:
            time.sleep(pause)
    return ask()


def _open_policy(data: bytes, sha256: str) -> Policy:
    """Read a policy document of that hash; raise ProofInvalid for another, UpgradeNeeded where it cannot be read.

    (What nobody could read is in no ledger: newer software can, or an auditor will find the fault.)
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ProofInvalid("The service's policy does not have the hash that it is named by.")
    try:
        return decode_document(data)
    except Malformed:
        raise UpgradeNeeded(
            "The town has a policy of a form that this software does not know: install a newer Musubi, and try again."
        ) from None


class ServiceClient:
    """One service, and the pins by which its word is checked.

    Before its first call it holds the ledger's first entry against the pins: to another town's ledger nothing is said.
    Every method raises ProofInvalid where that entry is not the pinned one.

    One answer is no finding. Whatever is got and checked is got again where it does not hold, past the caches and after
    growing pauses; whoever checks answers against each other does all of it in ``checked``. What the service says is
    for later is asked for again a few times.
    """

    def __init__(self, url: str, trust: Trust, *, ca_file: Path | None = None, proxy: str | None = None) -> None:
        self.trust = trust
        self._log_keys = trust.log_keys.history
        self._genesis: e.Genesis | None = None
        self._http = open_http(url, seconds=WAIT_SECONDS, ca_file=ca_file, proxy=proxy)
        self._is_checking = False
        self._is_fresh = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, type_: type[T]) -> T:
        """GET canonical JSON. Raises the service's problem, Malformed, or Unavailable."""
        return self.checked(lambda: canonical.decode(self._got(path), type_, "answer"))

    def checked(self, check: Callable[[], T]) -> T:
        """Return what ``check`` does of the answers that it gets, all got again where they do not hold together.

        Raises what it raises the last time. Inside another ``checked`` it is done once: the outer one does all again.
        """
        self.genesis()
        return self._checked(check)

    def _checked(self, check: Callable[[], T]) -> T:
        if self._is_checking:
            return check()
        self._is_checking = True
        try:
            return read_in_turn(range(1 + len(PAUSES)), lambda turn: self._in_turn(check, turn), BAD_ANSWERS)
        finally:
            self._is_checking = self._is_fresh = False

    def _in_turn(self, check: Callable[[], T], turn: int) -> T:
        if turn:
            time.sleep(PAUSES[turn - 1])
            self._is_fresh = True
        return check()

    def _got(self, path: str) -> bytes:
        """GET bytes, also before the first entry is known."""
        return _asked_again(lambda: self._got_once(path))

    def _got_once(self, path: str) -> bytes:
        return call(self._http, "GET", path, headers=PAST_CACHES if self._is_fresh else None).content

    def post(self, path: str, body: object, type_: type[T], key: str | None = None) -> T:
        """POST canonical JSON, with an idempotency key if one is given."""
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        response = self._call("POST", path, content=canonical.encode(body), headers=headers)
        return canonical.decode(response.content, type_, "answer")

    def post_bytes(self, path: str, body: bytes, key: str | None = None) -> bytes:
        """POST bytes that are canonical JSON already; return the answer's bytes."""
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        return self._call("POST", path, content=body, headers=headers).content

    def send(self, path: str, token: str) -> str:
        """POST a signed message; return the answer's text."""
        return self._call("POST", path, content=token, headers={"Content-Type": "application/jose"}).text

    def send_for(self, path: str, token: str, type_: type[T]) -> T:
        """POST a signed message; return the canonical JSON of the answer."""
        return canonical.decode(self.send(path, token).encode(), type_, "answer")

    def _call(self, method: str, path: str, **how: Any) -> HttpAnswer:
        self.genesis()
        return call(self._http, method, path, **how)

    # What anyone may read

    def genesis(self) -> e.Genesis:
        """Return the ledger's first entry, which names the stewards, proven and held against the pinned hash."""
        if self._genesis is None:
            _, data = self._fetch_proven(0)
            self._genesis = open_genesis(data, self.trust.genesis_sha256)
        return self._genesis

    def policies(self) -> dict[str, Policy]:
        """Return the current policies by id; their hashes are checked against the documents."""

        def check() -> dict[str, Policy]:
            found = {}
            for each in self.get(paths.POLICIES, list[PublishedPolicy]):
                policy = _open_policy(bytes(each.policy), each.sha256)
                found[policy.id] = policy
            return found

        return self.checked(check)

    def policy(self, sha256: str) -> Policy:
        """Return one policy document, of any version, by its hash; what comes is checked against it."""

        def check() -> Policy:
            return _open_policy(self._got(paths.at(paths.POLICY, sha256=sha256)), sha256)

        return self.checked(check)

    def prove(self, index: int) -> Proven:
        """Fetch one entry and its receipt, and check log signature, witnesses and inclusion. Raises ProofInvalid."""
        self.genesis()
        receipt, data = self._fetch_proven(index)
        return Proven(index=index, entry=decode_in_ledger(data), data=data, receipt=receipt)

    def _fetch_proven(self, index: int) -> tuple[Receipt, bytes]:
        """Fetch an entry's receipt and bytes, proven by the pins alone, and not looked into."""

        def check() -> tuple[Receipt, bytes]:
            # the service has waited for the receipt already: where it says that it is for later, that is an answer
            receipt = Receipt.parse(self._got_once(paths.at(paths.RECEIPT, index=index)))
            data = self._got(paths.at(paths.ENTRY, index=index))
            if receipt.index != index:
                raise ProofInvalid("The receipt is for another entry.")
            self._check_receipt(receipt, data)
            return receipt, data

        return self._checked(check)

    def _check_receipt(self, receipt: Receipt, data: bytes) -> None:
        """Check a receipt; where the known keys did not sign it, learn whether the log has changed its keys since."""
        try:
            check_receipt(receipt, data, self._log_keys, self.trust.witnesses)
        except SignatureInvalid:
            self._log_keys = self._read_log_keys()
            check_receipt(receipt, data, self._log_keys, self.trust.witnesses)

    def log_keys(self) -> LogKeyHistory:
        """Return the log's key history, from the pinned keys on, once every change is proven.

        Raises SignatureInvalid, ProofInvalid and the like where one is not.
        """
        return self._checked(self._read_log_keys)

    def _read_log_keys(self) -> LogKeyHistory:
        return check_log_keys(decode_log_keys(self._got(paths.LOG_KEYS)), self.trust.log_keys, self.trust.witnesses)

    def rules(self) -> int:
        """Return by which rules the ledger goes, as the service says; never less than its first entry does."""
        at_first = rules_at_first(self.genesis())
        if at_first >= NEWEST_RULES:
            return at_first
        return max(at_first, self.get(paths.RULES, RulesAnswer).number)

    def members(self) -> dict[str, MemberBody]:
        """Return the members as the service gives them, by alias."""
        return {body.alias: body for body in self.get(paths.MEMBERS, list[MemberBody])}

    # Partners

    def question(self, query: Query, partner: str, key: SigningKey, *, fresh: bool) -> str:
        """Sign a question."""
        message = Question(
            from_=partner,
            log=self.trust.origin,
            id=secrets.token_hex(32),
            at=system_clock(),
            fresh=fresh,
            query=Raw(encode_query(query)),
        )
        return jws.sign(message, key)

    def preview(self, token: str) -> OfferAnswer:
        """Return what a signed question would cost."""
        return jws.read_unverified(_asked_again(lambda: self.send(paths.PREVIEW, token)), OfferAnswer)

    def ask(self, token: str) -> AskAnswer:
        """Ask; return where the question stands in the ledger. Raises BudgetExceeded and the like.

        A question has an ``id`` of its own, so it is charged once, however often it is sent.
        """
        return jws.read_unverified(_asked_again(lambda: self.send(paths.QUESTIONS, token)), AskAnswer)

    def watch(self, admit: int, wait: int = 20) -> RoundStatus:
        """Return where a round stands, waiting up to ``wait`` seconds for its end."""
        return self.get(paths.at(paths.ROUND, admit=admit, wait=wait), RoundStatus)

    # Residents

    def grant(self, bundles: list[Bundle], key: str | None = None) -> list[int]:
        """Hand consents in; return their ledger indices once they are published."""
        request = GrantRequest(bundles=[Raw(canonical.encode(bundle)) for bundle in bundles])
        return self.post(paths.GRANTS, request, Granted, key).indices

    def replace(self, bundle: Bundle, revocations: list[RevokeRequest]) -> Granted:
        """Hand in a consent that replaces others, with their revocations; return where all that stands, published."""
        request = GrantRequest(bundles=[Raw(canonical.encode(bundle))], revocations=revocations)
        return self.post(paths.GRANTS, request, Granted)

    def revoke(self, grant: int, bundle: Bundle, granted: Bundle | None = None) -> Revoked:
        """Hand a revocation in; return where it will stand, and the service's signed promise of that.

        ``granted`` is one's own copy of the consent, for a service that has lost it.
        """
        request = RevokeRequest(grant=grant, bundle=bundle, granted=UNSET if granted is None else granted)
        return self.post(paths.REVOCATIONS, request, Revoked)

    def stop(self, token: str) -> Revoked:
        """Hand in a stop that an identity provider signed; return what a revocation is answered with."""
        return self.send_for(paths.STOPS, token, Revoked)

    def replace_device(self, attestation: str, enrolment: str) -> list[EndedGrant]:
        """Hand in that a device is lost and which key is on the new one; return what ended, each with its promise."""
        request = EnrolmentRequest(attestation=attestation, enrolment=enrolment)
        return self.post(paths.LOST_DEVICES, request, ReplacedDevice).ended

    def my_consents(self, seed: bytes) -> list[MyConsent]:
        """Return a resident's own consents."""
        key = pairwise_key(seed, SERVICE)
        message = Mine(log=self.trust.origin, key=public_hex(key), at=system_clock(), nonce=secrets.token_hex(32))
        answer = self.send(paths.OWN_CONSENTS, jws.sign(message, key))
        try:
            return msgspec.json.decode(answer, type=list[MyConsent])  # a newer service may say more
        except (msgspec.DecodeError, RecursionError):
            raise Malformed("The list of your consents is not of its format.") from None
