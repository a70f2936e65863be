"""The SQL subset: what it means, and everything that it refuses."""

import json
import logging
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.errors import MusubiError, QueryInvalid
from queries.question.check import make_plan
from queries.question.sql import parse_sql
from queries.question.tree import Query, Spend, decode_query, encode_query
from tests.kit.questions import make_policy

POLICY = make_policy()
SPEND = Spend(epsilon="0.2")
ROWS = {"as": "rows", "count": "rows"}


def parse(text: str) -> Query:
    return parse_sql(text, POLICY, SPEND)


def tree(measures: list[dict[str, Any]], where: list[dict[str, Any]], keys: list[str]) -> Query:
    """Build the same question from its JSON form."""
    body = {
        "v": 1,
        "policy": "mobility",
        "version": 3,
        "from": ["rides"],
        "where": where,
        "group_by": keys,
        "measures": measures,
        "spend": {"epsilon": "0.2"},
    }
    return decode_query(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


EQUIVALENT: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]], list[str]]] = [
    (
        """SELECT ward, COUNT(*) AS rides, COUNT(DISTINCT resident) AS riders, SUM(fare) AS fare, AVG(fare) AS mean_fare,
        HISTOGRAM(fare, 0,200,400) AS fares FROM mobility.rides WHERE hour BETWEEN 3 AND 4 AND ward IN ('east','west')
        AND ticket = 'cash' AND fare >= 3 GROUP BY ward""",
        [
            {"as": "rides", "count": "rows"},
            {"as": "riders", "count": "residents"},
            {"as": "fare", "sum": "fare"},
            {"as": "mean_fare", "mean": "fare"},
            {"as": "fares", "histogram": "fare", "edges": [0, 200, 400]},
        ],
        [
            {"column": "hour", "between": [3, 4]},
            {"column": "ward", "in": ["east", "west"]},
            {"column": "ticket", "equals": "cash"},
            {"column": "fare", "between": [3, 400]},
        ],
        ["ward"],
    ),
    ("SELECT COUNT(*) FROM rides", [ROWS], [], []),
    ("select count(*) from RIDES;", [ROWS], [], []),
    ('SELECT COUNT(*) AS "rows" FROM "rides" -- a remark', [ROWS], [], []),
    ("SELECT COUNT(*) rides FROM rides", [{"as": "rides", "count": "rows"}], [], []),
    ("SELECT COUNT(DISTINCT card) FROM rides", [{"as": "residents", "count": "residents"}], [], []),
    ("SELECT COUNT(DISTINCT rides.resident) FROM rides", [{"as": "residents", "count": "residents"}], [], []),
    (
        "SELECT SUM(fare), AVG(fare), HISTOGRAM(hour, 0, 5) FROM rides",
        [
            {"as": "sum_fare", "sum": "fare"},
            {"as": "mean_fare", "mean": "fare"},
            {"as": "hour_histogram", "histogram": "hour", "edges": [0, 5]},
        ],
        [],
        [],
    ),
    (
        "SELECT HISTOGRAM(change, -7, -1, 5) AS c FROM rides",
        [{"as": "c", "histogram": "change", "edges": [-7, -1, 5]}],
        [],
        [],
    ),
    ("SELECT COUNT(*) FROM rides GROUP BY Hour, rides.ward", [ROWS], [], ["hour", "ward"]),
    ("SELECT ward AS ward, hour, COUNT(*) FROM rides GROUP BY hour, ward", [ROWS], [], ["hour", "ward"]),
    ("SELECT COUNT(*) FROM rides WHERE change > -3", [ROWS], [{"column": "change", "between": [-2, 5]}], []),
    ("SELECT COUNT(*) FROM rides WHERE change < -3", [ROWS], [{"column": "change", "between": [-7, -4]}], []),
    ("SELECT COUNT(*) FROM rides WHERE hour <= 2", [ROWS], [{"column": "hour", "between": [0, 2]}], []),
    ("SELECT COUNT(*) FROM rides WHERE 2 <= hour", [ROWS], [{"column": "hour", "between": [2, 5]}], []),
    ("SELECT COUNT(*) FROM rides WHERE 2 > hour", [ROWS], [{"column": "hour", "between": [0, 1]}], []),
    ("SELECT COUNT(*) FROM rides WHERE hour > 9", [ROWS], [{"column": "hour", "between": [10, 10]}], []),
    ("SELECT COUNT(*) FROM rides WHERE hour < -9", [ROWS], [{"column": "hour", "between": [-10, -10]}], []),
    ("SELECT COUNT(*) FROM rides WHERE hour = -1", [ROWS], [{"column": "hour", "equals": -1}], []),
    ("SELECT COUNT(*) FROM rides WHERE 'east' = ward", [ROWS], [{"column": "ward", "equals": "east"}], []),
    (
        "SELECT week, COUNT(*) FROM rides WHERE week BETWEEN '2026-W52' AND '2027-W01' GROUP BY week",
        [ROWS],
        [{"column": "week", "between": ["2026-W52", "2027-W01"]}],
        ["week"],
    ),
    (
        "SELECT COUNT(*) FROM rides WHERE week = '2026-W53'",
        [ROWS],
        [{"column": "week", "equals": "2026-W53"}],
        [],
    ),
    (
        "SELECT COUNT(*) FROM rides WHERE week IN ('2026-W52', '2027-W01')",
        [ROWS],
        [{"column": "week", "in": ["2026-W52", "2027-W01"]}],
        [],
    ),
    (
        "SELECT COUNT(*) FROM rides WHERE week < '2027-W01'",
        [ROWS],
        [{"column": "week", "between": ["2026-W52", "2026-W53"]}],
        [],
    ),
    (
        "SELECT COUNT(*) FROM rides WHERE week <= '2026-W53'",
        [ROWS],
        [{"column": "week", "between": ["2026-W52", "2026-W53"]}],
        [],
    ),
    (
        "SELECT COUNT(*) FROM rides WHERE week > '2026-W52'",
        [ROWS],
        [{"column": "week", "between": ["2026-W53", "2027-W01"]}],
        [],
    ),
    (
        "SELECT COUNT(*) FROM rides WHERE week >= '2026-W53'",
        [ROWS],
        [{"column": "week", "between": ["2026-W53", "2027-W01"]}],
        [],
    ),
    (
        "SELECT COUNT(*) FROM rides WHERE week < '2026-W01'",
        [ROWS],
        [{"column": "week", "between": ["2025-W52", "2025-W52"]}],
        [],
    ),
    (
        "SELECT COUNT(*) FROM rides WHERE week > '2027-W51'",
        [ROWS],
        [{"column": "week", "between": ["2027-W52", "2027-W52"]}],
        [],
    ),
    (
        "SELECT COUNT(*) FROM rides WHERE '2026-W53' > week",
        [ROWS],
        [{"column": "week", "between": ["2026-W52", "2026-W52"]}],
        [],
    ),
    (
        "SELECT COUNT(*) FROM rides WHERE (hour = 1 AND (hour IN (1, 2))) AND (ward = 'east')",
        [ROWS],
        [
            {"column": "hour", "equals": 1},
            {"column": "hour", "in": [1, 2]},
            {"column": "ward", "equals": "east"},
        ],
        [],
    ),
]


@pytest.mark.parametrize(("sql", "measures", "where", "keys"), EQUIVALENT, ids=[case[0][:60] for case in EQUIVALENT])
def test_sql_means_the_same_bytes_as_its_json_form(
    sql: str, measures: list[dict[str, Any]], where: list[dict[str, Any]], keys: list[str]
) -> None:
    query = parse(sql)
    assert encode_query(query) == encode_query(tree(measures, where, keys))
    assert make_plan(query, POLICY).cells >= 1


REFUSED = [
    # Not one SELECT.
    ("", "begins with SELECT"),
    ("   -- only a remark", "begins with SELECT"),
    ("INSERT INTO rides VALUES (1)", "begins with SELECT"),
    ("UPDATE rides SET fare = 4711", "begins with SELECT"),
    ("DROP TABLE rides", "begins with SELECT"),
    ("COPY rides TO '/tmp/secret-word'", "begins with SELECT"),
    ("ATTACH 'secret-word'", "begins with SELECT"),
    ("PRAGMA database_list", "begins with SELECT"),
    ("INSTALL httpfs", "begins with SELECT"),
    ("FROM rides", "begins with SELECT"),
    ("WITH x AS (SELECT 1) SELECT COUNT(*) FROM x", "begins with SELECT"),
    ("(SELECT COUNT(*) FROM rides)", "begins with SELECT"),
    ("SELECT COUNT(*) FROM rides; DROP TABLE rides", "single statement"),
    ("SELECT COUNT(*) FROM rides UNION SELECT COUNT(*) FROM rides", "exactly one SELECT"),
    ("SELECT COUNT(*) FROM rides EXCEPT SELECT COUNT(*) FROM rides", "exactly one SELECT"),
    ("SELECT COUNT(* FROM rides", "cannot be read"),
    ("SELECT COUNT(*) FROM rides WHERE ward = 'secret-word", "cannot be read"),
    # Rows, files and other tables.
    ("SELECT * FROM rides", "SELECT \\* is not possible"),
    ("SELECT rides.* FROM rides", "SELECT \\* is not possible"),
    ("SELECT * FROM read_csv('/etc/passwd')", "not a function, a file"),
    ("SELECT COUNT(*) FROM read_parquet('secret-word')", "not a function, a file"),
    ("SELECT COUNT(*) FROM glob('*')", "not a function, a file"),
    ("SELECT COUNT(*) FROM 'file.parquet'", "another table or a file"),
    ("SELECT COUNT(*) FROM '/etc/passwd'", "another table or a file"),
    ('SELECT COUNT(*) FROM "s3://secret-word"', "another table or a file"),
    ("SELECT COUNT(*) FROM trips", "another table or a file"),
    ("SELECT COUNT(*) FROM information_schema.tables", "another table or a file"),
    ("SELECT COUNT(*) FROM health.rides", "another policy"),
    ("SELECT COUNT(*) FROM x.mobility.rides", "a database name"),
    ("SELECT COUNT(*) FROM (SELECT * FROM rides)", "not a function, a file"),
    ("SELECT COUNT(*) FROM (VALUES (1)) t", "not a function, a file"),
    ("SELECT COUNT(*)", "which view"),
    ("SELECT COUNT(*) FROM rides, walks", "second table"),
    ("SELECT COUNT(*) FROM rides JOIN walks ON true", "a join"),
    ("SELECT COUNT(*) FROM rides NATURAL JOIN walks", "a join"),
    ("SELECT COUNT(*) FROM rides, LATERAL (SELECT 1)", "second table"),
    ("SELECT COUNT(*) FROM rides AS r", "an alias"),
    ("SELECT walks.ward, COUNT(*) FROM rides GROUP BY ward", "another table"),
    # Clauses.
    ("SELECT DISTINCT COUNT(*) FROM rides", "SELECT DISTINCT"),
    ("SELECT COUNT(*) FROM rides HAVING COUNT(*) > 1", "HAVING"),
    ("SELECT ward, COUNT(*) FROM rides GROUP BY ward ORDER BY ward", "ORDER BY"),
    ("SELECT COUNT(*) FROM rides LIMIT 1", "LIMIT"),
    ("SELECT COUNT(*) FROM rides OFFSET 1", "OFFSET"),
    ("SELECT COUNT(*) FROM rides QUALIFY true", "QUALIFY"),
    ("SELECT COUNT(*) FROM rides TABLESAMPLE 10%", "sampling"),
    ("SELECT COUNT(*) FROM rides USING SAMPLE 3", "sampling"),
    ("SELECT COUNT(*) FROM rides FOR UPDATE", "FOR UPDATE"),
    ("SELECT COUNT(*) INTO x FROM rides", "INTO"),
    ("SELECT COUNT(*) FROM rides WINDOW w AS (PARTITION BY ward)", "WINDOWS"),
    ("SELECT COUNT(*) FROM rides GROUP BY ALL", "GROUP BY ALL"),
    ("SELECT COUNT(*) FROM rides GROUP BY ROLLUP (ward)", "GROUP BY takes columns"),
    ("SELECT COUNT(*) FROM rides GROUP BY GROUPING SETS ((ward))", "GROUP BY takes columns"),
    ("SELECT COUNT(*) FROM rides GROUP BY 1", "GROUP BY takes columns"),
    ("SELECT COUNT(*) FROM rides GROUP BY upper(ward)", "GROUP BY takes columns"),
    # What is selected.
    ("SELECT ward FROM rides GROUP BY ward", "at least one of COUNT"),
    ("SELECT ward, COUNT(*) FROM rides", "not in GROUP BY"),
    ("SELECT card, COUNT(*) FROM rides", "not in GROUP BY"),
    ("SELECT ward AS place, COUNT(*) FROM rides GROUP BY ward", "keeps its own name"),
    ("SELECT MAX(fare) FROM rides", "not the function MAX"),
    ("SELECT LIST(fare) FROM rides", "not the function"),
    ("SELECT getenv('secret-word') FROM rides", "not the function GETENV"),
    ("SELECT read_text('/etc/passwd') FROM rides", "not the function READ_TEXT"),
    ("SELECT SUM(fare + 1) FROM rides", "SUM takes one column"),
    ("SELECT SUM(DISTINCT fare) FROM rides", "SUM takes one column"),
    ("SELECT SUM(4711) FROM rides", "SUM takes one column"),
    ("SELECT AVG(CAST(fare AS INT)) FROM rides", "AVG takes one column"),
    ("SELECT SUM(fare) + 4711 FROM rides", "not that expression"),
    ("SELECT SUM(fare) OVER () FROM rides", "not that expression"),
    ("SELECT SUM(fare) FILTER (WHERE hour = 1) FROM rides", "not that expression"),
    ("SELECT (SELECT 1) FROM rides", "not that expression"),
    ("SELECT CASE WHEN 1 THEN 2 END FROM rides", "not the function CASE"),
    ("SELECT 4711 FROM rides", "not that expression"),
    ("SELECT 'secret-word' FROM rides", "not that expression"),
    ("SELECT COUNT(fare) FROM rides", "COUNT takes"),
    ("SELECT COUNT(DISTINCT ward) FROM rides", "COUNT takes"),
    ("SELECT COUNT(DISTINCT resident, ward) FROM rides", "COUNT takes"),
    ("SELECT COUNT() FROM rides", "COUNT takes"),
    ("SELECT COUNT(1) FROM rides", "COUNT takes"),
    ("SELECT COUNT(* EXCLUDE (ward)) FROM rides", "EXCEPT"),
    ("SELECT SUM(age) FROM rides", "no column 'age'"),
    ("SELECT HISTOGRAM(fare) FROM rides", "at least two edges"),
    ("SELECT HISTOGRAM(fare, 0, 'secret-word') FROM rides", "whole numbers"),
    ("SELECT HISTOGRAM(fare, 0, 47.11) FROM rides", "whole numbers"),
    ("SELECT HISTOGRAM(age, 0, 1) FROM rides", "no column 'age'"),
    ('SELECT COUNT(*) AS "A b" FROM rides', "badly formed name"),
    ("SELECT COUNT(*) AS " + "x" * 33 + " FROM rides", "badly formed name"),
    # Conditions.
    ("SELECT COUNT(*) FROM rides WHERE age = 4711", "no column 'age'"),
    ('SELECT COUNT(*) FROM rides WHERE "secret-word" = 1', "no column of that name"),
    ("SELECT COUNT(*) FROM rides WHERE hour = 1 OR hour = 2", "AND only"),
    ("SELECT COUNT(*) FROM rides WHERE NOT hour = 1", "negated"),
    ("SELECT COUNT(*) FROM rides WHERE hour <> 1", "negated"),
    ("SELECT COUNT(*) FROM rides WHERE ward NOT IN ('east')", "negated"),
    ("SELECT COUNT(*) FROM rides WHERE hour NOT BETWEEN 1 AND 2", "negated"),
    ("SELECT COUNT(*) FROM rides WHERE ward LIKE 'secret-word%'", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE hour IS NULL", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE true", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE ward", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE ward = ticket", "A condition compares"),
    ('SELECT COUNT(*) FROM rides WHERE ward = "east"', "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE upper(ward) = 'secret-word'", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE hour + 1 = 4711", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE hour = 47.11", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE hour = 1e3", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE hour = ?", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE hour = NULL", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE hour = 1 / 0", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE hour = " + "9" * 30, "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE hour = 9999999999", "too large"),
    ("SELECT COUNT(*) FROM rides WHERE hour IN (SELECT 1)", "a subquery"),
    ("SELECT COUNT(*) FROM rides WHERE hour IN UNNEST([1])", "UNNEST"),
    ("SELECT COUNT(*) FROM rides WHERE EXISTS (SELECT 1)", "A condition compares"),
    ("SELECT COUNT(*) FROM rides WHERE hour BETWEEN SYMMETRIC 2 AND 1", "SYMMETRIC"),
    ("SELECT COUNT(*) FROM rides WHERE hour BETWEEN 'secret-word' AND 2", "whole numbers"),
    ("SELECT COUNT(*) FROM rides WHERE ward >= 'secret-word'", "has no order"),
    ("SELECT COUNT(*) FROM rides WHERE hour >= 'secret-word'", "whole number"),
    ("SELECT COUNT(*) FROM rides WHERE " + " AND ".join(["hour = 1"] * 17), "too many parts"),
    ("SELECT COUNT(*) FROM rides WHERE week > 4711", "text such as '2026-W40'"),
    ("SELECT COUNT(*) FROM rides WHERE week < 'secret-word'", "text such as '2026-W40'"),
    ("SELECT COUNT(*) FROM rides WHERE week BETWEEN '2026-10-01' AND '2026-W53'", "text such as '2026-W40'"),
    ("SELECT COUNT(*) FROM rides WHERE week < '0001-W01'", "No calendar"),
    ("SELECT COUNT(*) FROM rides WHERE week > DATE '2026-10-01'", "text such as '2026-W40'"),
    ("SELECT COUNT(*) FROM rides GROUP BY date_trunc('week', week)", "GROUP BY takes columns"),
    # Too long, too deep.
    ("SELECT COUNT(*) FROM rides" + " " * 10_000, "10000 characters"),
    ("SELECT " + "(" * 3_000 + "1" + ")" * 3_000, "too deeply"),
    ("SELECT COUNT(*) FROM rides WHERE " + "(" * 40 + "hour = 1" + ")" * 40, "too deeply"),
    ("SELECT COUNT(*) FROM rides WHERE hour = " + "- " * 4_000 + "1", "too deeply"),
    ("SELECT COUNT(*) FROM rides WHERE " + "NOT " * 2_000 + "hour = 1", "too deeply"),
]


@pytest.mark.parametrize(("sql", "sentence"), REFUSED, ids=[sql[:60] for sql, _ in REFUSED])
def test_sql_outside_the_subset_is_refused_with_a_sentence_that_repeats_no_literal(
    sql: str, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(QueryInvalid, match=sentence) as caught:
        parse(sql)
    told = caught.value.message + caplog.text
    assert not any(literal in told for literal in ("secret-word", "4711", "passwd", "47.11"))
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT COUNT(*) FROM rides WHERE ward = 'mars'", "does not list; it lists: "),
        ("SELECT COUNT(*) FROM rides WHERE ward = 1", "values are text"),
        ("SELECT COUNT(*) FROM rides WHERE hour IN (1, 'east')", "whole numbers"),
        ("SELECT COUNT(*) FROM rides WHERE week = '2026-10'", "time by the week"),
        ("SELECT COUNT(*) FROM rides WHERE week IN ('2026-W54')", "time by the week"),
        ("SELECT COUNT(*) FROM rides WHERE week = 40", "time by the week"),
        ("SELECT COUNT(*) FROM rides WHERE week BETWEEN '2026-W53' AND '2026-W52'", "lower end above"),
        ("SELECT SUM(week) FROM rides", "not a measure"),
        ("SELECT HISTOGRAM(week, 0, 1) FROM rides", "is time: group by it"),
        ("SELECT SUM(ward) FROM rides", "not a measure"),
        ("SELECT HISTOGRAM(fare, 5, 5) FROM rides", "do not rise"),
        ("SELECT COUNT(*), COUNT(*) FROM rides", "same name"),
        ("SELECT COUNT(*) FROM rides GROUP BY card", "no column 'card'"),
        ("SELECT COUNT(*) FROM rides WHERE card = 1", "no column 'card'"),
    ],
)
def test_sql_that_parses_but_does_not_fit_the_policy_is_refused_by_the_checker(sql: str, sentence: str) -> None:
    with pytest.raises(QueryInvalid, match=sentence) as caught:
        make_plan(parse(sql), POLICY)
    assert "mars" not in caught.value.message


@pytest.mark.parametrize("epsilon", ["-1", "NaN", "1e-3", "x"])
def test_sql_with_a_spend_that_is_no_decimal_is_refused(epsilon: str) -> None:
    with pytest.raises(QueryInvalid, match=r"spend\.epsilon"):
        parse_sql("SELECT COUNT(*) FROM rides", POLICY, Spend(epsilon=epsilon))


WORDS = """
SELECT FROM WHERE GROUP BY COUNT ( ) * , . ; AND OR NOT IN BETWEEN = < > AS DISTINCT rides ward hour fare resident SUM
AVG HISTOGRAM 1 -7 1.5 'east' "hour" UNION WITH JOIN ORDER LIMIT [ ] { } : :: -> => ? $1 @ % /* */ -- CASE END INTERVAL
CAST LATERAL PIVOT VALUES NULL x'00' E'\\n' read_csv COLUMNS ALL OVER FILTER
"""
words = st.sampled_from(WORDS.split())


def gives_a_query_or_refuses(text: str) -> None:
    try:
        query = parse(text)
    except MusubiError as refused:
        assert isinstance(refused, QueryInvalid)  # noqa: PT017 - which error it is is the point
        return
    assert decode_query(encode_query(query)) == query


@given(st.text(max_size=200))
@example("SELECT \x00")
@example("SELECT '\ud800'")
def test_any_text_is_a_question_or_is_refused(text: str) -> None:
    gives_a_query_or_refuses(text)
    gives_a_query_or_refuses("SELECT " + text)


@given(st.lists(words, max_size=40))
def test_any_shuffle_of_sql_words_is_a_question_or_is_refused(text: list[str]) -> None:
    gives_a_query_or_refuses("SELECT " + " ".join(text))
    gives_a_query_or_refuses("SELECT COUNT(*) FROM rides " + " ".join(text))


@given(data=st.data(), case=st.sampled_from(EQUIVALENT))
def test_a_good_question_with_one_word_put_in_is_a_question_or_is_refused(data: st.DataObject, case: Any) -> None:
    parts = case[0].split(" ")
    place = data.draw(st.integers(1, len(parts)))
    gives_a_query_or_refuses(" ".join([*parts[:place], data.draw(words), *parts[place:]]))
