"""A node's part in a round, under a service that lies about it: it refuses, its books stay, and nothing leaves it."""

from collections.abc import Callable, Iterator
from itertools import permutations

import pytest
import structlog

import trust.node.rounds.steps as rounds_module
from ledger import entries as e
from ledger import jws
from policies.pairwise_keys import pairwise_key, public_hex
from queries.rounds.messages import Countersign, Go, Share, Task, Word, transcript_sha256
from tests.kit.parties.lying_service import ME, OTHER, Stage, staged
from tests.kit.towns.residents import seed_of
from tests.kit.towns.toy_town import key_of
from trust.node.books.charged_rounds import DataCharge

Lie = Callable[[Stage, int, int], str]


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


@pytest.fixture
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the node add no noise, so that its shares show the exact vector."""
    monkeypatch.setattr(rounds_module, "make_measurement", lambda *_: list)


# Countersigning.


def test_a_right_admit_is_charged_once_and_countersigned_once(stage: Stage) -> None:
    admit = stage.admit()
    assert stage.countersign(admit) == []
    charge = -(-stage.builder.state.rounds[admit].admit.charge // 2)
    year = stage.books()["charges"][0][1]
    source = year.replace("data/", "data/trips/")
    assert stage.books()["charges"] == [(admit, year, charge), (admit, source, charge)]
    assert [row[2] for row in stage.books()["rounds"]] == ["countersigned"]
    ((step, token),) = stage.service.said
    said = jws.verify(token, bytes(key_of(ME).verify_key), Countersign)
    assert (step, said.admit, said.admit_sha256) == ("countersign", admit, stage.sha256(admit))


def test_a_countersignature_asked_for_again_is_the_same_bytes_and_is_not_charged_again(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    books = stage.books()
    stage.restart()
    stage.countersign(admit)
    stage.turn(*[Task(step="countersign", admit=admit)] * 2)
    assert stage.books() == books
    assert len(stage.service.said) == 4
    assert len(set(stage.service.said)) == 1


def test_an_admit_below_the_size_signed_as_caught_up_with_is_never_begun(stage: Stage) -> None:
    admit = stage.admit()
    stage.offset = 700
    stage.turn()  # reads the admit, which has expired
    stage.turn()
    assert stage.service.statements[-1].size > admit
    stage.offset = 0  # a clock put back does not undo what was signed
    with stage.nothing_changes():
        assert stage.countersign(admit) == ["round-closed"]
    stage.restart()
    with stage.nothing_changes():
        assert stage.countersign(admit) == ["round-closed"]


def test_a_node_is_not_caught_up_with_an_admit_that_it_may_still_begin_or_send(stage: Stage) -> None:
    admit = stage.admit()
    stage.turn()
    stage.turn()
    assert stage.service.statements[-1].size == admit
    stage.countersign(admit)
    stage.offset = 10_000
    stage.turn()
    assert (
        stage.service.statements[-1].size == admit
    )  # countersigned: past expiry it is still to be ended by word or share
    stage.word(admit)
    stage.turn()
    assert stage.service.statements[-1].size == len(stage.builder.entries)


def test_an_expired_admit_is_not_countersigned(stage: Stage) -> None:
    admit = stage.admit()
    stage.offset = 600
    with stage.nothing_changes():
        assert stage.countersign(admit) == ["round-closed"]


def test_an_admit_is_countersigned_until_the_second_before_it_expires(stage: Stage) -> None:
    admit = stage.admit()
    stage.offset = 599
    assert stage.countersign(admit) == []


def test_an_admit_from_the_future_is_not_countersigned(stage: Stage) -> None:
    admit = stage.builder.admit()
    now = stage.builder.at - 100
    stage.service.publish(at=now + 55)  # the witnesses' clocks run ahead of ours, and the admit's ahead of theirs
    stage.offset = -100
    with stage.nothing_changes():
        assert stage.countersign(admit) == ["round-closed"]


def test_a_task_for_an_index_that_is_no_open_round_of_ours_is_refused(stage: Stage) -> None:
    admit = stage.admit()
    released = stage.admit()
    stage.builder.release(released)
    stage.service.publish()
    with stage.nothing_changes():
        for index in (0, stage.grants[0], released, len(stage.builder.entries), 10**9):
            assert stage.countersign(index) == ["not-found"]
            assert stage.share(index, "a.b.c") == ["not-found"]
            assert stage.word(index) == ["not-found"]
    assert stage.countersign(admit) == []


def test_a_question_past_the_data_accounts_cap_gets_the_nodes_word_at_once_and_is_not_charged() -> None:
    with staged(data_cap=10) as stage:
        admit = stage.admit()
        assert stage.countersign(admit) == ["budget-exceeded"]
        assert stage.service.steps() == ["word"]
        assert stage.books()["charges"] == []
        assert [row[2] for row in stage.books()["rounds"]] == ["no-share"]
        stage.countersign(admit)
        assert len(set(stage.service.said)) == 1


@pytest.fixture(scope="module")
def part() -> int:
    """Our part of the standard question's charge, in nano-rho."""
    with staged() as stage:
        return -(-stage.builder.make_admit().charge // 2)


def test_charges_that_only_the_ledger_knows_count_against_the_data_accounts_cap(part: int) -> None:
    with staged(data_cap=3 * part - 1) as stage:
        for _ in range(2):  # answered, and our books know nothing of it: they are new, say
            stage.builder.release(stage.admit())
        assert stage.countersign(stage.admit()) == ["budget-exceeded"]
        assert stage.books()["charges"] == []


def test_charges_that_only_our_books_know_count_against_the_data_accounts_cap(part: int) -> None:
    with staged(data_cap=3 * part - 1) as stage:
        stage.countersign(stage.admit())
        account = stage.books()["charges"][0][1]
        hidden = DataCharge(account=account, account_cap=10**12, nano_rho=part, in_ledger=0)
        stage.node.books.countersign(10**6, "00" * 32, "t", [hidden])  # a ledger that hides one of two
        assert stage.countersign(stage.admit()) == ["budget-exceeded"]


def test_own_books_and_ledger_are_compared_and_not_added(part: int) -> None:
    with staged(data_cap=3 * part) as stage:
        for _ in range(3):  # each is in both
            assert stage.countersign(stage.admit()) == []
        assert stage.countersign(stage.admit()) == ["budget-exceeded"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_on_the_last_of_a_cap_the_questions_that_were_admitted_first_are_answered_in_whatever_order_tasks_come(
    part: int, order: tuple[int, ...]
) -> None:
    with staged(data_cap=2 * part) as stage:
        admits = [stage.admit() for _ in range(3)]
        said = {place: stage.countersign(admits[place]) for place in order}
        assert said == {0: [], 1: [], 2: ["budget-exceeded"]}
        assert [charge for _, account, charge in stage.books()["charges"] if account.count("/") == 1] == [part, part]


def test_a_refunded_question_frees_the_data_account(part: int) -> None:
    with staged(data_cap=part) as stage:
        first = stage.admit()
        assert stage.countersign(first) == []
        assert stage.word(first) == []
        stage.builder.refund(first)
        stage.service.publish()
        assert stage.books()["charges"] == []
        assert stage.countersign(stage.admit()) == []


# The go.


LIES: dict[str, Lie] = {
    "a participant's countersignature is missing": lambda s, a, _: s.go(a, transcript=[s.own(a)]),
    "a countersignature is there twice": lambda s, a, _: s.go(a, transcript=[s.own(a), s.others(a), s.others(a)]),
    "the transcript is in another order": lambda s, a, _: s.go(a, transcript=[s.others(a), s.own(a)]),
    "ours stands for the other's too": lambda s, a, _: s.go(a, transcript=[s.own(a), s.own(a)]),
    "a countersignature is another round's": lambda s, a, b: s.go(a, transcript=[s.own(a), s.others(b)]),
    "a countersignature is for another entry": lambda s, a, _: s.go(
        a, transcript=[s.own(a), s.others(a, admit_sha256="00" * 32)]
    ),
    "a countersignature is for another log": lambda s, a, _: s.go(a, transcript=[s.own(a), s.others(a, log="other")]),
    "the service signed in a participant's place": lambda s, a, _: s.go(
        a, transcript=[s.own(a), s.others(a, signer="operator")]
    ),
    "ours is another one than our books have": lambda s, a, _: s.go(
        a, transcript=[s.others(a, signer=ME, from_=ME, nonce="cd" * 32), s.others(a)]
    ),
    "ours is another round's": lambda s, a, b: s.go(a, transcript=[s.own(b), s.others(a)]),
    "it is not signed by the operator": lambda s, a, _: s.go(a, signer=OTHER),
    "it is signed by a holder who says so": lambda s, a, _: s.go(a, signer=OTHER, from_=OTHER),
    "it is for another round": lambda s, _, b: s.go(b),
    "it names another index": lambda s, a, b: s.go(a, admit=b),
    "it names another entry": lambda s, a, _: s.go(a, admit_sha256="00" * 32),
    "it names another log": lambda s, a, _: s.go(a, log="other.example/log"),
    "it is not a JWS": lambda *_: "go",
    "it is a countersignature": lambda s, a, _: s.own(a),
    "it is empty": lambda *_: "",
}
CODES = {"proof-invalid", "signature-invalid", "malformed"}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_no_share_leaves_for_a_go_that_does_not_prove_everybodys_part(stage: Stage, lie: Lie) -> None:
    admit, other = stage.admit(), stage.admit()
    stage.turn(Task(step="countersign", admit=admit), Task(step="countersign", admit=other))
    with stage.nothing_changes():
        (code,) = stage.share(admit, lie(stage, admit, other))
    assert code in CODES
    assert stage.share(admit) == []  # and a right go still gets its share
    assert stage.service.steps()[-1] == "share"


def test_no_share_leaves_for_a_round_that_this_node_has_not_countersigned(stage: Stage) -> None:
    admit = stage.admit()
    go = stage.go(admit, transcript=[stage.others(admit, signer=ME, from_=ME), stage.others(admit)])
    with stage.nothing_changes():
        assert stage.share(admit, go) == ["round-closed"]


def test_a_go_after_expiry_gets_no_share_and_the_word_only_once_it_is_asked_for(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    stage.offset = 600
    with stage.nothing_changes():
        assert stage.share(admit) == ["round-closed"]
    assert stage.word(admit) == []
    assert stage.service.steps() == ["countersign", "word"]
    assert stage.books()["charges"] == []


# Shares and words.


def test_a_share_names_the_transcript_and_is_as_long_as_the_plan(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    go = stage.go(admit)
    stage.share(admit, go)
    share = jws.verify(stage.service.said[-1][1], bytes(key_of(ME).verify_key), Share)
    assert share.transcript_sha256 == transcript_sha256(jws.read_unverified(go, Go).transcript)
    assert len(share.vector) == 4
    assert [row[2] for row in stage.books()["rounds"]] == ["sent"]


def test_a_share_asked_for_again_is_the_same_bytes_also_after_a_restart_and_past_expiry(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    go = stage.go(admit)
    stage.share(admit, go)
    books = stage.books()
    stage.share(admit, go)
    stage.restart()
    stage.offset = 10_000
    stage.share(admit, "any go at all")
    shares = [token for step, token in stage.service.said if step == "share"]
    assert len(shares) == 3
    assert len(set(shares)) == 1
    assert stage.books() == books


def test_a_share_whose_sending_failed_is_sent_again_as_it_was(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    stage.service.down = {"/v1/node/share"}
    assert stage.share(admit) == ["unavailable"]
    assert [row[2] for row in stage.books()["rounds"]] == ["sending"]
    stored = stage.books()["rounds"][0][3]
    stage.service.down = set()
    stage.restart()
    assert stage.share(admit) == []
    assert stage.service.said[-1] == ("share", stored)
    assert [row[2] for row in stage.books()["rounds"]] == ["sent"]


def test_a_share_is_refused_for_ever_after_a_word(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    go = stage.go(admit)
    assert stage.word(admit) == []
    books = stage.books()
    stage.share(admit, go)
    stage.restart()
    stage.share(admit, go)
    stage.countersign(admit)
    assert stage.service.steps() == ["countersign", "word", "word", "word", "word"]
    assert len({token for step, token in stage.service.said if step == "word"}) == 1
    assert stage.books() == books
    assert books["charges"] == []


def test_a_word_is_refused_for_ever_after_a_share(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    stage.share(admit)
    books = stage.books()
    stage.word(admit)
    stage.restart()
    stage.offset = 10_000
    stage.word(admit)
    assert "word" not in stage.service.steps()
    assert stage.books() == books
    assert len(books["charges"]) == 2  # of the year, and of its source


def test_a_word_given_before_anything_was_countersigned_closes_the_round_for_this_node(stage: Stage) -> None:
    admit = stage.admit()
    assert stage.word(admit) == []
    said = jws.verify(stage.service.said[0][1], bytes(key_of(ME).verify_key), Word)
    assert (said.admit, said.admit_sha256, said.said) == (admit, stage.sha256(admit), "no-share-left")
    stage.countersign(admit)
    assert stage.service.steps() == ["word", "word"]
    assert stage.books()["charges"] == []


def test_a_failed_round_touches_no_other_round(stage: Stage) -> None:
    first, second = stage.admit(), stage.admit()
    codes = stage.turn(
        Task(step="share", admit=first, go="nonsense"),
        Task(step="countersign", admit=10**6),
        Task(step="countersign", admit=second),
    )
    assert codes == ["round-closed", "not-found"]
    assert [row[0] for row in stage.books()["rounds"]] == [second]


# Who is counted. ``trips`` has for each person one ride: the even in the north, the odd in the south, fare 100 +
# person.


def expected(*people: int) -> list[int]:
    """Return rides and fares by ward of these people."""
    wards = [[p for p in people if p % 2 == ward] for ward in (0, 1)]
    return [len(ward) for ward in wards] + [sum(100 + p for p in ward) for ward in wards]


@pytest.mark.usefixtures("exactly")
def test_exactly_the_linked_residents_with_a_consent_in_force_are_counted(stage: Stage) -> None:
    assert stage.answer() == expected(0, 1, 2, 3)


@pytest.mark.usefixtures("exactly")
def test_customers_without_a_consent_are_never_counted(stage: Stage) -> None:
    stage.node.books.link([("ab" * 32, "c010"), ("cd" * 32, "c011")])
    assert stage.answer() == expected(0, 1, 2, 3)


@pytest.mark.usefixtures("exactly")
def test_consents_without_a_linked_customer_are_never_counted(stage: Stage) -> None:
    stage.grant(5)
    stage.grant(6)
    assert stage.answer() == expected(0, 1, 2, 3)


@pytest.mark.usefixtures("exactly")
def test_a_consent_that_leaves_this_holder_out_is_not_counted_here(stage: Stage) -> None:
    linked = [(public_key(5), "c005")]
    stage.node.books.link(linked)
    stage.grant(5, holders=[OTHER])
    assert stage.answer() == expected(0, 1, 2, 3)


def public_key(person: int) -> str:
    """Return a person's key at this holder."""
    return public_hex(pairwise_key(seed_of(person), ME))


@pytest.mark.usefixtures("exactly")
def test_a_resident_who_revoked_is_counted_in_no_later_question(stage: Stage) -> None:
    assert stage.answer() == expected(0, 1, 2, 3)
    stage.builder.revoke(stage.grants[2])
    assert stage.answer() == expected(0, 1, 3)


@pytest.mark.usefixtures("exactly")
def test_who_is_counted_is_settled_at_the_admits_own_index(stage: Stage) -> None:
    """A revocation and a grant between admit and go change nothing for this round, and everything for the next."""
    admit = stage.admit()
    stage.countersign(admit)
    stage.builder.revoke(stage.grants[0])
    stage.node.books.link([(public_key(5), "c005")])
    stage.grant(5)
    stage.service.publish()
    assert stage.share(admit) == []
    assert jws.read_unverified(stage.service.said[-1][1], Share).vector == expected(0, 1, 2, 3)
    assert stage.answer() == expected(1, 2, 3, 5)


@pytest.mark.usefixtures("exactly")
def test_a_resident_with_two_consents_is_counted_once_and_until_one_is_taken_back(stage: Stage) -> None:
    second = stage.grant(1, number=1)
    assert stage.answer() == expected(0, 1, 2, 3)
    stage.builder.revoke(second)
    assert stage.answer() == expected(0, 2, 3)  # the other was signed before that


@pytest.mark.usefixtures("exactly")
def test_a_consent_used_before_is_void_although_its_leaf_is_right(stage: Stage) -> None:
    stage.builder.revoke(stage.grants[3])
    assert stage.grant(3) > stage.grants[3]  # the very same signed bundle once more
    assert stage.answer() == expected(0, 1, 2)


@pytest.mark.usefixtures("exactly")
def test_an_erased_record_is_not_counted(stage: Stage) -> None:
    stage.builder.add(e.Erase(at=stage.builder.now(), index=stage.grants[0], reason="requested"))
    assert stage.answer() == expected(1, 2, 3)


@pytest.mark.usefixtures("exactly")
def test_a_customer_linked_between_admit_and_go_is_counted_by_the_consent_alone(stage: Stage) -> None:
    stage.grant(5)
    admit = stage.admit()
    stage.countersign(admit)
    stage.node.books.link([(public_key(5), "c005")])
    assert stage.share(admit) == []
    assert jws.read_unverified(stage.service.said[-1][1], Share).vector == expected(0, 1, 2, 3, 5)


@pytest.mark.usefixtures("exactly")
def test_a_restarted_node_counts_the_same_people(stage: Stage) -> None:
    stage.builder.revoke(stage.grants[1])
    before = stage.answer()
    stage.restart()
    assert stage.answer() == before == expected(0, 2, 3)


def test_without_the_test_in_place_of_noise_a_share_is_noised(stage: Stage) -> None:
    vectors = [stage.answer() for _ in range(3)]
    assert any(vector != expected(0, 1, 2, 3) for vector in vectors)
    assert len({tuple(vector) for vector in vectors}) > 1


def test_no_value_key_or_customer_is_in_what_the_node_logs(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    stage.service.tasks = [Task(step=step, admit=admit, go=stage.go(admit)) for step in ("share", "word")]
    stage.service.tasks += [Task(step="word", admit=10**6)]
    with structlog.testing.capture_logs() as logs:
        stage.node.turn()
    assert [line["event"] for line in logs] == ["computed", "task-refused"]
    assert {key for line in logs for key in line} <= {
        "event",
        "log_level",
        "step",
        "admit",
        "code",
        "why",
        "milliseconds",
    }
    secrets = [row[1].hex() for row in stage.books()["links"]] + [row[2] for row in stage.books()["links"]]
    assert not [secret for secret in secrets if secret in repr(logs)]
