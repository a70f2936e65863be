"""The readers that a column can be given: each form that people write is read as what it is, and nothing else is."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Malformed
from policies.time_zones import time_zone_of
from trust.node.sources import readers
from trust.node.sources.readers import read_in_order, reader_of

TOKYO, BERLIN = time_zone_of("Asia/Tokyo"), time_zone_of("Europe/Berlin")
ALL = ["nfkc", "strip", "excel", "number", "whole", "zero-pad 3", "times 100", "date", "time", "hour", "day", "month"]
ALL += ["weekday", "week"]


def read(words: str, *values: str | None, zone: Any = TOKYO) -> list[str | None]:
    column = pa.array(values, pa.large_string())
    found: list[str | None] = read_in_order(column, [reader_of(each, zone) for each in words.split("|")]).to_pylist()
    return found


FORMS: dict[str, dict[str, str | None]] = {
    "number": {
        "1,200": "1200", "210円": "210", "¥210": "210", "\\210": "210", "▲100": "-100", "△1,000": "-1000", "(100)": "-100",
        "-100": "-100", "￥１，２００": "1200", "－５": "-5", "1,200.50": "1200.50", "　2,100　": "2100", "▲¥300": "-300",
        "12,34": None, "1,2000": None, "(100": None, "-(5)": None, "1e3": None, "二百": None, "": None, "210ドル": None,
        "1_000": None, "0x10": None,
    },
    "excel": {'="0012345"': "0012345", "0012345": "0012345", '=""': ""},
    "whole": {"12345.0": "12345", "7": "7", " 8. ": "8", "7.5": None, "seven": None, "-3.00": "-3"},
    "zero-pad 3": {"7": "007", "007": "007", "1234": "1234", "７": None, "a": None, "": None, "-1": None},
    "times 100": {"2.5": "250", "-0.015": "-1.5", "0.07": "7", "1e3": None, "1_0": None, ".5": None},
    "nfkc|strip": {"　００１　": "001", "中央区　": "中央区", "ﾁｭｳｵｳ": "チュウオウ", "\t x ": "x"},
    "date": {
        "2024-04-01": "2024-04-01", "2024/4/1": "2024-04-01", "2024.4.1": "2024-04-01", "20240401": "2024-04-01",
        "2024年4月1日": "2024-04-01", "２０２４年４月１日（月）": "2024-04-01", "令和6年4月1日": "2024-04-01",
        "令和元年5月1日": "2019-05-01", "㋿6年4月1日": "2024-04-01", "R6.4.1": "2024-04-01", "H31/4/30": "2019-04-30",
        "S64.1.7": "1989-01-07", "2024-4-1 8:05": "2024-04-01", "2024-02-29": "2024-02-29", "2023-02-29": None,
        "2024-13-01": None, "2024-00-10": None, "2024-04-31": None, "4/1/2024": None, "8:05": None, "令和0年1月1日": None,
        "2024-04-01 25:00": None, "0000-01-01": None, "20241301": None,
    },
    "hour": {
        "8:05": "8", "08:05:30": "8", "8時5分": "8", "８：０５": "8", "2024/4/1 23:59": "23", "2024-04-01T07:05:00+09:00": "7",
        "2024-04-01T23:05:00Z": "8", "2024-04-01T00:05:00-1000": "19", "24:00": None, "8:60": None, "2024-04-01": None,
        "25:10": None, "8": None,
    },
    "time": {"8:05": "08:05:00", "2024-04-01T23:05:00Z": "2024-04-02T08:05:00", "2024/4/1": None},
    "weekday": {"2024/4/1": "1", "2024/4/7": "7"},
    "week": {"2024/12/30": "2025-W01", "2027-01-01": "2026-W53"},
    "month": {"R6/4/1": "2024-04"},
    "day": {"2024-04-01T23:05:00Z": "2024-04-02"},
}  # fmt: skip


@pytest.mark.parametrize("words", FORMS)
def test_each_form_is_read_as_what_it_is_and_others_are_null(words: str) -> None:
    forms = FORMS[words]
    assert dict(zip(forms, read(words, *forms), strict=True)) == forms


def test_a_time_with_its_distance_from_utc_is_nothing_where_no_zone_is_said() -> None:
    assert read("hour", "2024-04-01T07:05:00+09:00", "7:05", zone=None) == [None, "7"]


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from([form for forms in FORMS.values() for form in forms]),
    st.from_regex(r"[0-9,.▲¥円()/:年月日時分TZ+\- 　０-９]{0,16}", fullmatch=True),
)


@pytest.mark.parametrize("words", ALL)
@given(values=st.lists(TEXTS, max_size=6))
def test_each_value_is_read_by_itself_and_none_raises(words: str, values: list[str | None]) -> None:
    assert read(words, *values) == [each for value in values for each in read(words, value)]


@pytest.mark.parametrize("words", ALL)
@given(values=st.lists(TEXTS, max_size=6), others=st.lists(TEXTS, max_size=6), often=st.sampled_from([3, 700]))
def test_few_values_that_stand_in_many_rows_are_read_as_each_is(
    words: str, values: list[str | None], others: list[str | None], often: int
) -> None:
    assert read(words, *values * often, *others) == [*read(words, *values) * often, *read(words, *others)]


@given(
    values=st.lists(TEXTS, max_size=6),
    often=st.sampled_from([1, 3, 700]),
    chains=st.lists(st.lists(st.sampled_from(ALL), max_size=3), min_size=1, max_size=4),
)
def test_readers_of_one_column_that_begin_alike_are_each_read_as_if_alone(
    values: list[str | None], often: int, chains: list[list[str]]
) -> None:
    together = readers.ColumnReadings(pa.array(values * often, pa.string()))
    for words in chains:
        found = together.read([reader_of(each, TOKYO) for each in words])
        assert found.to_pylist() == (read("|".join(words), *values * often) if words else values * often)


@given(
    st.lists(
        st.from_regex(
            r"(20|19)[0-9]{2}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}|[0-9]{8}|R[0-9]年[0-9]月[0-9]{1,2}日", fullmatch=True
        )
    )
)
def test_texts_of_one_shape_are_read_as_each_is(values: list[str]) -> None:
    for words in ("time", "date", "hour"):
        assert read(words, *values) == [each for value in values for each in read(words, value)]


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+09:00", "9999-12-31T23:59:59-10:00", "9999-12-31 23:59:59-01:00"]
)
def test_a_moment_in_no_year_of_the_calendar_is_nothing_and_its_neighbours_are_read(text: str) -> None:
    for words in ("date", "time", "hour", "week"):
        assert read(words, text, "2024-04-01T07:05:00+09:00")[0] is None
        assert read(words, text, "2024-04-01T07:05:00+09:00")[1] is not None


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - local times are what is drawn
    st.integers(-23 * 60, 23 * 60),
    st.sampled_from([TOKYO, BERLIN]),
)
def test_a_moment_is_that_of_pythons_own_calendar(local: datetime, minutes: int, zone: Any) -> None:
    said = local.replace(tzinfo=timezone(timedelta(minutes=minutes)), microsecond=0)
    there = said.astimezone(UTC).astimezone(zone)
    text = said.isoformat()
    assert read("time", text, zone=zone) == [there.replace(tzinfo=None).isoformat()]
    assert read("weekday", text, zone=zone) == [str(there.isoweekday())]
    assert read("week", text, zone=zone) == [f"{there.isocalendar()[0]:04}-W{there.isocalendar()[1]:02}"]


@given(st.dates(date(1868, 1, 1), date(2100, 12, 31)), st.sampled_from("/-."))
def test_every_day_of_the_calendar_is_read_and_the_day_after_a_months_last_is_not(day: date, sign: str) -> None:
    assert read("date", f"{day.year}{sign}{day.month}{sign}{day.day}") == [day.isoformat()]
    next_day = day + timedelta(days=1)
    if next_day.month != day.month:
        assert read("date", f"{day.year}{sign}{day.month}{sign}{day.day + 1}") == [None]


@pytest.mark.parametrize(
    "words", ["yen", "zero-pad", "zero-pad 0", "zero-pad 3 4", "strip 3", "times -1", "times １", ""]
)
def test_words_that_name_no_reader_are_refused_with_those_that_there_are(words: str) -> None:
    with pytest.raises(Malformed, match="zero-pad N"):
        reader_of(words, TOKYO)


def test_every_reader_is_described_where_they_stand() -> None:
    described = readers.__doc__ or ""
    assert [words for words in ALL if f"``{words.replace(' 3', ' N').replace(' 100', ' N')}``" not in described] == []
