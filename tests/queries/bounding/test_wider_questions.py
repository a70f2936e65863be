"""What rules number 4 let a policy allow and a question ask, and what older rules judge as before."""

from typing import Any

import pytest
from msgspec import UNSET, structs

from ledger import canonical
from ledger import entries as e
from ledger.errors import Malformed, MusubiError, ProofInvalid, QueryInvalid
from policies.policy_document import Policy, decode_document, document_sha256
from policies.replay import MemoryConsents
from policies.rules import WIDER_QUESTIONS
from queries.answers.left_out import bounding_by_rules, bounding_of
from queries.question.tree import decode_query
from queries.replay import replay
from queries.rounds import admission
from queries.rounds.admission import offer, read_question
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import scarce

OLDER, NEWER = WIDER_QUESTIONS - 1, WIDER_QUESTIONS
NEW_MEASURES: list[dict[str, Any]] = [
    {"as": "regulars", "over_limit": "residents"},
    {"as": "dear", "clipped": "fare"},
]
DECIDED_BY_CLIPPING: list[dict[str, Any]] = [
    {"column": "fare", "between": [501, 900]},
    {"column": "fare", "between": [-10, 300]},
    {"column": "fare", "equals": 500},
    {"column": "hour", "equals": 24},
]


def allowing(policy: Policy) -> Policy:
    return structs.replace(policy, views=[structs.replace(view, bounding_measures=True) for view in policy.views])


def town(rules: int, policy: Policy | None = None) -> LogBuilder:
    builder = LogBuilder()
    builder.found()
    builder.rules(rules)
    if policy is not None:
        builder.policy(policy)
    builder.grant(1)
    return builder


def judged(builder: LogBuilder, entry: e.AnyEntry) -> MusubiError | None:
    try:
        replay(builder.state, len(builder.entries), e.encode(entry), MemoryConsents())
    except MusubiError as error:
        return error
    return None


def test_a_policy_allows_the_new_measures_from_rules_4_on_and_before_it_is_a_fault_as_to_older_software() -> None:
    wider = allowing(scarce(2))
    builder = town(OLDER)
    error = judged(builder, builder.make_policy(wider))
    assert isinstance(error, ProofInvalid)
    assert (error.details["rule"], "is not of its format at `$.views[0]`." in error.message) == ("malformed", True)
    builder = town(NEWER)
    assert judged(builder, builder.make_policy(wider)) is None


def test_a_document_without_the_allowance_keeps_its_bytes_and_one_with_it_has_one_form() -> None:
    plain, wider = scarce(), allowing(scarce())
    assert b"bounding_measures" not in canonical.encode(plain)
    assert decode_document(canonical.encode(wider)) == wider
    assert document_sha256(plain) != document_sha256(wider)
    denied = canonical.encode(wider).replace(b'"bounding_measures":true', b'"bounding_measures":false')
    with pytest.raises(Malformed):
        decode_document(denied)


@pytest.mark.parametrize("measure", NEW_MEASURES, ids=lambda each: each["as"])
def test_the_new_measures_are_asked_and_paid_for_where_the_policy_allows_them_and_nowhere_else(
    measure: dict[str, Any],
) -> None:
    builder = town(NEWER)
    with pytest.raises(QueryInvalid, match="bounding_measures = true"):
        builder.make_admit(builder.ask(measures=[measure]))
    builder = town(NEWER, allowing(scarce(2)))
    admit = builder.make_admit(builder.ask(version=2, measures=[measure]))
    assert admit.charge > 0
    assert judged(builder, admit) is None


@pytest.mark.parametrize("condition", DECIDED_BY_CLIPPING, ids=str)
def test_a_question_whose_filter_clipping_decides_is_let_in_by_no_service_and_stands_where_older_rules_let_it_in(
    condition: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for rules in (OLDER, NEWER):
        builder = town(rules)
        token = builder.ask(where=[condition])
        with pytest.raises(QueryInvalid):
            builder.make_admit(token)
        with monkeypatch.context() as patched:
            patched.setattr(admission, "check_faithful", lambda _plan: None)
            admit = builder.make_admit(token)
        error = judged(builder, admit)
        if rules == OLDER:
            assert error is None
        else:
            assert isinstance(error, ProofInvalid)
            assert error.details["rule"] == "query-invalid"


def test_a_round_that_older_rules_let_in_is_finished_by_rules_4(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = town(OLDER)
    with monkeypatch.context() as patched:
        patched.setattr(admission, "check_faithful", lambda _plan: None)
        admit = builder.admit(builder.ask(where=[DECIDED_BY_CLIPPING[0]]))
    builder.rules(NEWER)
    assert judged(builder, builder.make_release(admit)) is None


def test_a_service_says_what_is_left_out_from_rules_4_on_for_older_partners_read_no_more_than_they_know() -> None:
    for rules in (OLDER, NEWER):
        builder = town(rules)
        asked = read_question(builder.state, builder.ask(), builder.at)
        said = bounding_by_rules(builder.state, asked.query)
        offered = offer(builder.state, asked, builder.at)
        assert said == (UNSET if rules == OLDER else bounding_of(asked.query, offered.plan.view))


def test_nothing_is_said_of_a_question_that_fits_no_view() -> None:
    builder = town(NEWER)
    query = decode_query(bytes(read_question(builder.state, builder.ask(), builder.at).question.query))
    assert bounding_by_rules(builder.state, structs.replace(query, version=9)) is UNSET
