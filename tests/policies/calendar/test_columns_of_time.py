"""Columns of time: texts and numbers go into each other, bounds are held, and only rules number 4 know them."""

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from ledger import canonical
from ledger import entries as e
from ledger.errors import Malformed, ProofInvalid, UpgradeNeeded
from policies import rules
from policies.calendar.calendar_units import (
    EXAMPLES,
    CalendarUnit,
    day_in_calendar,
    number_in_calendar,
    text_in_calendar,
)
from policies.kept_state import KeptState, decode_kept, encode_kept, keep_state, state_of
from policies.policy_document import Policy, Range, Time, check_document, decode_document, place_of_time
from policies.replay import MemoryConsents
from policies.rules import FIRST_RULES, NEWEST_RULES, WIDER_QUESTIONS
from queries.replay import replay
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import MOBILITY

UNITS = sorted(EXAMPLES)
MONTH = Time(name="month", title={"ja": "月", "en": "Month"}, unit="month", first="2025-11", last="2026-10")
FORMS: dict[CalendarUnit, str] = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}
moments = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 20))  # noqa: DTZ001 - what a clock on the wall shows


def with_column(column: Time | Range, policy: Policy = MOBILITY) -> Policy:
    """The policy with one more column in its view."""
    (view,) = policy.views
    return changed(policy, views=[changed(view, columns=[*view.columns, column])])


@pytest.mark.parametrize("unit", UNITS)
@given(moment=moments, later=moments)
def test_texts_are_those_of_the_standard_library_and_numbers_count_in_the_order_of_time(
    unit: CalendarUnit, moment: datetime, later: datetime
) -> None:
    text, other = moment.strftime(FORMS[unit]), later.strftime(FORMS[unit])
    number, further = number_in_calendar(unit, text), number_in_calendar(unit, other)
    assert number is not None
    assert further is not None
    assert text_in_calendar(unit, number) == text
    assert (number < further) == (text < other)  # of one unit they are in the order of time
    first = day_in_calendar(unit, number)
    assert first <= moment.date() < day_in_calendar(unit, number + {"hour": 24}.get(unit, 1))
    assert (moment.date() - first) < timedelta(days={"week": 7, "month": 31}.get(unit, 1))


@pytest.mark.parametrize("unit", UNITS)
def test_the_number_0_is_where_unix_time_begins(unit: CalendarUnit) -> None:
    begins = {"week": date(1969, 12, 29)}.get(unit, date(1970, 1, 1))
    assert day_in_calendar(unit, 0) == begins
    assert text_in_calendar(unit, 0) == datetime(1970, 1, 1).strftime(FORMS[unit])  # noqa: DTZ001 - no zone


NO_TIMES = ["", "2026", "2026-13", "2026-00", "2026-1", "2026-10-1", "2026-02-29", "2026-10-01T24", "2026-10-01T7",
            "2026-10-01 07", "2026-W00", "2025-W53", "2026-W54", "2026-w40", "0000-01", "0000-01-01", "２０２６-10", "2026-10\n",
            " 2026-10", "-2026-10", "12026-10", "2026-10-01T07:00", "2026-W40-1"]  # fmt: skip


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_unit_in_its_one_form_is_none(text: str) -> None:
    assert all(number_in_calendar(unit, text) is None for unit in UNITS)


@pytest.mark.parametrize("unit", UNITS)
def test_years_of_more_than_four_digits_have_no_text(unit: CalendarUnit) -> None:
    for number in (-(10**9), 10**9):
        with pytest.raises(Malformed):
            text_in_calendar(unit, number)


def test_a_column_has_every_unit_from_its_first_to_its_last() -> None:
    check_document(with_column(MONTH))
    assert MONTH.texts()[0] == "2025-11"
    assert MONTH.texts()[-1] == "2026-10"
    assert len(MONTH.texts()) == 12
    assert [MONTH.place(text) for text in ("2025-10", "2025-11", "2026-10", "2026-10-01")] == [-1, 0, 11, None]
    turn = changed(MONTH, unit="week", first="2026-W52", last="2027-W02")
    assert turn.texts() == ("2026-W52", "2026-W53", "2027-W01", "2027-W02")


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [("2026-10", "2025-11", "its last before its first"), ("2026-W40", "2026-10", "no month"), ("2026-10", "2026-13", "no month")],
)  # fmt: skip
def test_bounds_that_are_none_or_out_of_order_are_malformed(first: str, last: str, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        check_document(with_column(changed(MONTH, first=first, last=last)))


def judge(town: LogBuilder, entry: e.AnyEntry) -> None:
    replay(town.state, len(town.entries), e.encode(entry), MemoryConsents())


def town_by(number: int) -> LogBuilder:
    town = LogBuilder()
    town.found()
    if number > FIRST_RULES:
        town.rules(number)
    return town


def next_version(town: LogBuilder, column: Time | Range) -> Policy:
    current = town.state.policies["mobility"].document
    return with_column(column, changed(current, version=current.version + 1))


@pytest.mark.parametrize("number", range(FIRST_RULES, WIDER_QUESTIONS))
def test_older_rules_refuse_a_column_of_time_in_the_words_of_software_that_did_not_know_it(number: int) -> None:
    """The words are those of a kind of column that nobody knows, by the very decoder of then and now."""
    town = town_by(number)
    policy = next_version(town, MONTH)
    with pytest.raises(ProofInvalid) as said:
        judge(town, town.make_policy(policy))
    place = place_of_time(policy)
    assert place is not None
    unknown = canonical.encode(policy).replace(b'"type":"time"', b'"type":"tide"')
    with pytest.raises(Malformed) as then:
        decode_document(unknown)
    assert said.value.message == f"Entry {len(town.entries)} (policy): {then.value.message}"
    assert place in said.value.message
    judge(town, town.make_policy(next_version(town, Range(name="n", title=MONTH.title, lo=0, hi=1))))


def test_rules_number_4_have_columns_of_time_and_what_came_before_them_stays_judged_as_it_was() -> None:
    town = town_by(WIDER_QUESTIONS - 1)
    early = town.make_policy(next_version(town, MONTH))
    with pytest.raises(ProofInvalid):
        judge(town, early)
    town.rules(WIDER_QUESTIONS)
    town.policy(next_version(town, MONTH))
    assert MONTH in town.state.policies["mobility"].document.views[0].columns
    kept = state_of(decode_kept(encode_kept(keep_state(town.state)), KeptState))
    assert kept.versions == town.state.versions


def test_software_of_before_asks_for_an_upgrade_where_the_rules_begin_and_never_comes_to_the_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever follows the ledger stops there: a node, an auditor, the service. Nobody is accused."""
    town = town_by(FIRST_RULES)
    brings = town.make_rules(WIDER_QUESTIONS)
    monkeypatch.setattr(rules, "NEWEST_RULES", WIDER_QUESTIONS - 1)
    with pytest.raises(UpgradeNeeded, match="Nothing is wrong with the ledger"):
        judge(town, brings)
    monkeypatch.undo()
    assert NEWEST_RULES >= WIDER_QUESTIONS
