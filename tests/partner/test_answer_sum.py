"""A partner adds an answer up again from what its holders signed, and takes no other."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from ledger import entries as e
from ledger import jws
from ledger.errors import MusubiError, NotFound, NotPermitted, ProofInvalid, SignatureInvalid
from ledger.notes.receipts import Receipt
from queries.question.tree import decode_query, query_sha256
from queries.rounds.admission import plan_of
from queries.rounds.messages import AskAnswer, Question, Share
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import ASKED, PARTNER, STEWARDS, key_of, scarce
from trust.client.service import Proven
from trust.client.wire import RoundStatus, SignedShares
from trust.log.pins import open_genesis
from trust.partner.answer_sum import check_sum
from trust.partner.asking import Answered, ask

ME, OTHER = ASKED


class Answering:
    """A service that answers one question, and what it says of that; entries are as the log has them."""

    def __init__(self) -> None:
        self.log = LogBuilder()
        self.log.found(scarce(reuse=86_400), rules=3)
        self.log.grant(1)
        self.admit = self.log.admit()
        self.plan = plan_of(self.log.state, self.log.state.rounds[self.admit].admit)
        self.shares = self.log.make_shares(self.admit)
        self.members = dict(self.log.state.member_entries)
        self.release = self.log.make_release(self.admit, self.shares)
        self.trust = self.log.trust
        self.reused = False
        self.asked_at = 0
        """When another question of the same words was signed; 0 for the very one that was admitted."""

    def checked(self, check: Callable[[], Any]) -> Any:
        """Do it once: what is said here is said always."""
        return check()

    def get(self, path: str, type_: type[Any]) -> SignedShares:
        """Answer a GET."""
        assert (path, type_) == (f"/v1/rounds/{self.admit}/shares", SignedShares)
        if not self.shares:
            raise NotFound("No such question.")
        return SignedShares(shares=self.shares, members=self.members)

    def question(self, *_: Any, fresh: bool) -> str:
        """Sign the question that was admitted, or another one of the same words."""
        said = e.decode(self.log.entries[self.admit])
        assert isinstance(said, e.Admit)
        message = jws.read_unverified(said.question, Question)
        changes = {"id": "ab" * 32, "at": self.asked_at} if self.asked_at else {}
        return jws.sign(structs.replace(message, fresh=fresh, **changes), key_of(PARTNER))

    def ask(self, token: str) -> AskAnswer:
        """Say where the question stands."""
        said = jws.read_unverified(token, Question)
        sha256 = query_sha256(decode_query(bytes(said.query)))
        return AskAnswer(from_="operator", log=said.log, query_sha256=sha256, admit=self.admit, reused=self.reused)

    def watch(self, admit: int) -> RoundStatus:
        """Say that it is answered."""
        assert admit == self.admit
        return RoundStatus(status="released", closed_by=self.log.add(self.release), waiting_for=[])

    def asked(self, *, fresh: bool) -> Answered:
        """Ask, as the partner does."""
        said = e.decode(self.log.entries[self.admit])
        assert isinstance(said, e.Admit)
        policy = self.log.state.versions[said.policy_sha256].document
        query = decode_query(bytes(said.query))
        return ask(self, query, policy, PARTNER, key_of(PARTNER), fresh=fresh)  # type: ignore[arg-type]

    def prove(self, index: int) -> Proven:
        """Prove an entry."""
        data = self.log.entries[index]
        note = self.log.checkpoint(len(self.log.entries), bytes(32))
        return Proven(index=index, entry=e.decode(data), data=data, receipt=Receipt(index, [], note))

    def genesis(self) -> e.Genesis:
        """Give the first entry, if it is the pinned one."""
        return open_genesis(self.log.entries[0], self.trust.genesis_sha256)

    def release_as(self, shares: dict[str, str]) -> None:
        """Answer with these shares, named and added up as if they were right."""
        self.shares = shares
        self.release = self.log.make_release(self.admit, shares)

    def said_by(self, holder: str, key: str, **changes: Any) -> str:
        """Return a holder's share with changes, signed by a key."""
        share = jws.read_unverified(self.shares[holder], Share)
        return jws.sign(structs.replace(share, **changes), key_of(key))

    def check(self) -> None:
        """Have the partner check it."""
        check_sum(self, self.plan, self.prove(self.admit), self.release)  # type: ignore[arg-type]


def test_an_answer_that_is_the_sum_of_its_shares_is_taken() -> None:
    Answering().check()


def test_a_share_under_a_key_that_came_while_the_question_was_open_is_taken() -> None:
    service = Answering()
    service.members[OTHER] = service.log.change_key(OTHER, "next key")
    service.release_as(service.shares | {OTHER: service.said_by(OTHER, "next key")})
    service.check()


def wrong_sum(service: Answering) -> None:
    vector = service.release.vector
    service.release = structs.replace(service.release, vector=[vector[0] + 1, *vector[1:]])


def forged(service: Answering) -> None:
    service.release_as(service.shares | {OTHER: service.said_by(OTHER, "operator", vector=[7] * service.plan.length)})


def forged_under_a_key_of_the_operators_own(service: Answering) -> None:
    """A ``member`` entry that no quorum signed: any auditor stops there, and the partner reads no whole log."""
    service.members[OTHER] = service.log.append(
        service.log.make_member(OTHER, "holder", number=2, key="operator", signers=STEWARDS[:1])
    )
    forged(service)


def forged_under_another_members_key(service: Answering) -> None:
    service.release_as(service.shares | {OTHER: service.said_by(OTHER, ME)})
    service.members[OTHER] = service.members[ME]


def no_member_named(service: Answering) -> None:
    del service.members[OTHER]


def not_named(service: Answering) -> None:
    service.shares = service.shares | {OTHER: service.said_by(OTHER, OTHER, vector=[7] * service.plan.length)}


def withheld(service: Answering) -> None:
    service.shares = {}


def one_withheld(service: Answering) -> None:
    service.shares = {ME: service.shares[ME]}


def of_another_round(service: Answering) -> None:
    service.release_as(service.shares | {OTHER: service.said_by(OTHER, OTHER, admit_sha256="00" * 32)})


def of_another_transcript(service: Answering) -> None:
    service.release_as(service.shares | {OTHER: service.said_by(OTHER, OTHER, transcript_sha256="00" * 32)})


LIES: dict[Callable[[Answering], None], tuple[type[MusubiError], str]] = {
    wrong_sum: (ProofInvalid, "do not add up"),
    forged: (SignatureInvalid, "key"),
    forged_under_a_key_of_the_operators_own: (NotPermitted, "2 stewards"),
    forged_under_another_members_key: (ProofInvalid, "does not register"),
    no_member_named: (ProofInvalid, "upgraded"),
    not_named: (ProofInvalid, "not the one that the entry names"),
    withheld: (ProofInvalid, "does not give what the holders signed"),
    one_withheld: (ProofInvalid, "not those that the entry names"),
    of_another_round: (ProofInvalid, "another round"),
    of_another_transcript: (ProofInvalid, "different transcripts"),
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_an_answer_that_is_not_the_sum_of_what_its_holders_signed_is_not_taken(
    lie: Callable[[Answering], None],
) -> None:
    kind, says = LIES[lie]
    service = Answering()
    lie(service)
    with pytest.raises(kind, match=says):
        service.check()


def test_the_very_question_that_was_signed_is_answered_or_one_of_the_same_words_of_late() -> None:
    assert not Answering().asked(fresh=True).reused
    service = Answering()
    service.reused, service.asked_at = True, service.log.at + 86_000  # a policy that reuses answers for a day
    assert service.asked(fresh=False).reused


def passed_off_as_new(service: Answering) -> bool:
    service.asked_at = service.log.at
    return False


def old_where_a_new_one_was_paid_for(service: Answering) -> bool:
    service.reused, service.asked_at = True, service.log.at
    return True


def too_old(service: Answering) -> bool:
    service.reused, service.asked_at = True, service.log.at + 87_100
    return False


def not_the_sum(service: Answering) -> bool:
    wrong_sum(service)
    return True


@pytest.mark.parametrize("lie", [passed_off_as_new, old_where_a_new_one_was_paid_for, too_old, not_the_sum])
def test_an_old_or_a_wrong_answer_is_not_passed_off_as_what_was_asked_for(lie: Callable[[Answering], bool]) -> None:
    service = Answering()
    fresh = lie(service)
    with pytest.raises(ProofInvalid):
        service.asked(fresh=fresh)
