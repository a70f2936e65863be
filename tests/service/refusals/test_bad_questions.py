"""A question that is not well-formed, not well-signed or not of now is refused and leaves nothing."""

import time
from typing import Any

import pytest

from ledger import canonical, jws
from tests.kit.logs.tampering import flipped, stretched, unsigned
from tests.kit.towns.running import query, question, refused
from tests.service.refusals.standing import Make, Standing, spend

pytestmark = pytest.mark.anyio


def huge_query() -> dict[str, Any]:
    """A question within the language's limits whose ``admit`` could not fit in an entry."""
    return query(where=[{"column": "ward", "in": ["hill", "shore", "mill"] * 170}] * 8)


BAD_QUESTIONS: dict[str, tuple[Make, str, str]] = {
    "no token": (lambda _: b"SELECT * FROM trips", "malformed", "JWS"),
    "other bytes than ASCII": (lambda s: s.asked.encode() + "質問".encode(), "malformed", "ASCII"),
    "by an unknown partner": (
        lambda s: question(s.town, query(), "nobody", key=s.town.keys["planner"]),
        "not-permitted",
        "",
    ),
    "by a holder": (lambda s: question(s.town, query(), "bus_co"), "not-permitted", ""),
    "by the operator": (lambda s: question(s.town, query(), "operator"), "not-permitted", ""),
    "in another partner's name": (
        lambda s: question(s.town, query(), key=s.town.keys["campus"]),
        "signature-invalid",
        "",
    ),
    "with a bad signature": (lambda s: flipped(question(s.town, query())), "signature-invalid", ""),
    "with a malleable signature": (lambda s: stretched(question(s.town, query())), "signature-invalid", ""),
    "unsigned": (lambda s: unsigned(question(s.town, query())), "malformed", "JWS"),
    "for another ledger": (lambda s: question(s.town, query(), log="elsewhere.test/log"), "not-permitted", ""),
    "by a clock an hour behind": (
        lambda s: question(s.town, query(), now=int(time.time()) - 3_600),
        "clock-skew",
        "clock",
    ),
    "by a clock an hour ahead": (
        lambda s: question(s.town, query(), now=int(time.time()) + 3_600),
        "clock-skew",
        "clock",
    ),
    "another question under a used id": (
        lambda s: question(s.town, query(group_by=["hour"]), id=jws.read_unverified(s.asked, dict)["id"]),
        "replayed",
        "",
    ),
    "an epsilon below zero": (lambda s: question(s.town, spend(epsilon="-1")), "malformed", ""),
    "an epsilon of minus zero": (lambda s: question(s.town, spend(epsilon="-0")), "malformed", ""),
    "an epsilon NaN": (lambda s: question(s.town, spend(epsilon="NaN")), "malformed", ""),
    "an epsilon Infinity": (lambda s: question(s.town, spend(epsilon="Infinity")), "malformed", ""),
    "an epsilon with an exponent": (lambda s: question(s.town, spend(epsilon="1e3")), "malformed", ""),
    "an epsilon of no digits": (lambda s: question(s.town, spend(epsilon="")), "malformed", ""),
    "an epsilon of 40 digits": (lambda s: question(s.town, spend(epsilon="1" * 40)), "malformed", ""),
    "an epsilon that is a float": (lambda s: question(s.town, spend(epsilon=0.5)), "malformed", ""),
    "a bare NaN": (
        lambda s: question(s.town, canonical.encode(query()).replace(b'"0.2"', b"NaN")),
        "malformed",
        "",
    ),
    "an interval of -50": (
        lambda s: question(s.town, spend(within={"measure": "rows", "plus_minus": -50, "confidence": "0.95"})),
        "malformed",
        "",
    ),
    "a filter on a float": (
        lambda s: question(s.town, query(where=[{"column": "hour", "equals": 7.5}])),
        "malformed",
        "",
    ),
    "a number of 5,000 digits": (
        lambda s: question(s.town, canonical.encode(query()).replace(b'"version":1', b'"version":' + b"9" * 5_000)),
        "malformed",
        "",
    ),
    "a repeated key": (lambda s: question(s.town, canonical.encode(query())[:-1] + b',"version":1}'), "malformed", ""),
    "white space in the query": (lambda s: question(s.town, canonical.encode(query()) + b" "), "malformed", ""),
    "an unknown field": (lambda s: question(s.town, query(limit=5)), "malformed", ""),
    "nested too deep": (lambda s: question(s.town, b"[" * 20_000 + b"]" * 20_000), "malformed", ""),
    "no measures": (lambda s: question(s.town, query(measures=[])), "malformed", ""),
    "a name that is SQL": (
        lambda s: question(s.town, query(group_by=["ward; DROP TABLE entries"])),
        "malformed",
        "",
    ),
}


@pytest.mark.parametrize("path", ["/v1/questions", "/v1/questions/preview"])
@pytest.mark.parametrize("what", BAD_QUESTIONS)
async def test_a_bad_question_is_refused_and_changes_nothing(standing: Standing, what: str, path: str) -> None:
    make, code, says = BAD_QUESTIONS[what]
    if what.endswith("used id") and path.endswith("preview"):
        return  # a preview takes no id
    async with standing.running.unchanged():
        refused(await standing.running.post(path, make(standing)), code, says)


async def test_a_question_that_no_entry_could_hold_is_refused_and_changes_nothing(standing: Standing) -> None:
    async with standing.running.unchanged():
        refused(await standing.running.post("/v1/questions", question(standing.town, huge_query())), "too-large")
