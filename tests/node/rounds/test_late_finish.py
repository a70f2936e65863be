"""Past a question's expiry a node finishes only the round that another one has answered, and only until its last."""

import hashlib
from collections.abc import Callable, Iterator

import pytest
import structlog
from msgspec.structs import replace

from ledger import entries as e
from ledger import jws
from policies.admit_expiry import LAST_SECONDS
from policies.governance import approve
from queries.rounds.messages import Share, Task, token_sha256, transcript_sha256
from tests.kit.parties.lying_service import ME, OTHER, Stage, staged
from tests.kit.towns.toy_town import ORIGIN, STEWARDS, key_of

EXPIRED, PAST_LAST = 700, 700 + LAST_SECONDS
Lie = Callable[[Stage, int], str]


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


def begun(stage: Stage) -> int:
    """Have a question countersigned, and let it expire."""
    admit = stage.admit()
    assert stage.countersign(admit) == []
    stage.offset = EXPIRED
    return admit


def shown(stage: Stage, round_: int, signer: str = OTHER, **changes: object) -> str:
    """Return the other holder's share for the very transcript of ``Stage.go``."""
    transcript = [stage.own(round_), stage.others(round_)]
    said = Share(
        from_=OTHER,
        log=ORIGIN,
        admit=round_,
        admit_sha256=stage.sha256(round_),
        transcript_sha256=transcript_sha256(transcript),
        kind="local",
        vector=[1],
    )
    return jws.sign(replace(said, **changes), key_of(signer))


def late(stage: Stage, admit: int, token: str) -> list[str]:
    return stage.turn(Task(step="share", admit=admit, go=stage.go(admit), shown=token))


def test_a_round_that_another_has_answered_is_finished_late(stage: Stage) -> None:
    admit = begun(stage)
    assert late(stage, admit, shown(stage, admit)) == []
    assert stage.service.steps() == ["countersign", "share"]
    assert stage.books()["rounds"][0][2] == "sent"


def test_without_another_share_nothing_is_said_until_the_word_is_asked_for(stage: Stage) -> None:
    admit = begun(stage)
    with stage.nothing_changes():
        assert stage.share(admit) == ["round-closed"]
    assert stage.word(admit) == []
    assert stage.service.steps() == ["countersign", "word"]
    assert late(stage, admit, shown(stage, admit)) == []
    assert stage.service.steps() == ["countersign", "word", "word"], "a word stands, whatever is shown later"


def test_after_its_last_nothing_is_computed_whatever_is_shown(stage: Stage) -> None:
    admit = begun(stage)
    stage.offset = PAST_LAST
    assert late(stage, admit, shown(stage, admit)) == []
    assert stage.service.steps() == ["countersign", "word"]


def test_a_share_that_was_kept_in_time_is_sent_after_its_last(stage: Stage) -> None:
    admit = begun(stage)
    stage.offset = 0
    stage.service.down = {"/v1/node/share"}
    stage.share(admit)
    stage.service.down = set()
    stage.offset = PAST_LAST
    assert stage.word(admit) == []
    assert stage.service.steps() == ["countersign", "share"]


LIES: dict[str, Lie] = {
    "our own": lambda s, n: shown(s, n, signer=ME, from_=ME),
    "a stranger's": lambda s, n: shown(s, n, signer="planner", from_="planner"),
    "signed by another key": lambda s, n: shown(s, n, signer="planner"),
    "for another round": lambda s, n: shown(s, n, admit=n + 1),
    "for another entry": lambda s, n: shown(s, n, admit_sha256="00" * 32),
    "for another log": lambda s, n: shown(s, n, log="elsewhere"),
    "for another transcript": lambda s, n: shown(s, n, transcript_sha256=hashlib.sha256(b"").hexdigest()),
    "no share at all": lambda s, n: s.others(n),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_share_that_proves_nothing_moves_nothing(stage: Stage, lie: Lie) -> None:
    admit = begun(stage)
    token = lie(stage, admit)
    with stage.nothing_changes():
        assert len(late(stage, admit, token)) == 1


def test_until_its_last_a_begun_round_is_not_passed_and_then_it_is_given_up(stage: Stage) -> None:
    admit = begun(stage)
    stage.turn()
    assert stage.service.statements[-1].size == admit
    stage.offset = PAST_LAST
    stage.turn()
    assert stage.service.statements[-1].size > admit
    stage.offset = 0  # the clock goes back: what was signed stands
    assert late(stage, admit, shown(stage, admit)) == []
    assert stage.service.steps() == ["countersign", "word"]


@pytest.mark.parametrize("change", [{"roles": ["partner"]}, {"status": "left"}, {"status": "left", "roles": []}])
def test_a_holder_that_left_or_has_another_role_ends_what_it_began_though_it_gets_no_leaves(
    stage: Stage, change: dict[str, object]
) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    old = stage.builder.state.members[ME]
    entry = stage.builder.make_member(ME, "holder", number=old.number + 1)
    body = replace(entry.member, **change)
    signed = [approve("member", body, log=ORIGIN, steward=name, key=key_of(name)) for name in STEWARDS[:2]]
    stage.builder.add(replace(entry, member=body, signatures=signed))
    stage.grant(9)  # the policy still names the holder
    stage.builder.add(e.Erase(at=stage.builder.now(), index=stage.grants[0], reason="requested"))
    stage.service.publish()
    stage.service.down = {"/v1/node/leaves"}
    assert stage.share(admit) == []
    assert stage.service.steps() == ["countersign", "share"]
    stage.turn()
    assert len(stage.service.erased_words) == 1, "and what is erased, it says to be gone"


def test_where_leaves_cannot_be_had_what_was_begun_goes_on(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    stage.grant(9)
    later = stage.admit()
    stage.service.down = {"/v1/node/leaves"}
    assert (
        len(stage.turn(Task(step="share", admit=admit, go=stage.go(admit)), Task(step="countersign", admit=later))) == 1
    )
    assert stage.service.steps() == ["countersign", "share"]
    stage.service.down = set()
    assert stage.countersign(later) == []


def test_a_service_that_lost_what_was_said_gets_it_again_and_the_share_fits_it(stage: Stage) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    stage.share(admit)
    said = list(stage.service.said)
    assert stage.countersign(admit) == []
    assert stage.share(admit) == []
    assert stage.service.said == said * 2


@pytest.mark.parametrize("names", ["our share", "another share", "our silence"])
def test_a_node_says_so_where_the_ledger_denies_the_share_that_it_sent(stage: Stage, names: str) -> None:
    admit = stage.admit()
    stage.countersign(admit)
    stage.share(admit)
    mine = token_sha256(stage.service.said[-1][1])
    lost = stage.builder.make_lost(admit, sent=[], stepped_out=[])
    if names != "our silence":
        lost = replace(lost, silent=[OTHER], shares={ME: mine if names == "our share" else "00" * 32})
    stage.builder.add(lost)
    stage.service.publish()
    with structlog.testing.capture_logs() as logs:
        stage.node.turn()
    denied = [line["admit"] for line in logs if line["event"] == "share-denied"]
    assert denied == ([] if names == "our share" else [admit])
    with stage.nothing_changes():
        assert stage.turn(Task(step="share", admit=admit, go="a.b.c")) == ["not-found"], "nothing is sent after it"
    assert stage.node.rounds.caught_up() == stage.node.reader.size
