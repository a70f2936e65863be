"""The page of what a caller may hold says what the code says."""

import re

from tests.docs.docs_pages import REPO, code_words, table_rows
from trust.audit.witness import LANES
from trust.runtime.callers import bounds
from trust.runtime.callers.connections import CONNECTIONS_EACH
from trust.service.capacity import lanes_of
from trust.service.settings import ServiceSettings

PAGE = REPO / "docs" / "reference" / "caller-limits.md"
OPTIONS = ServiceSettings(origin="town.example/log")


def _bytes(said: str) -> int:
    if "max_body_bytes" in said:
        return OPTIONS.max_body_bytes
    number, unit = said.split()
    return int(number) * {"KiB": 1024, "MiB": 1024 * 1024}[unit]


def test_the_table_of_places_is_the_services_own() -> None:
    rows = table_rows(PAGE, "Places")
    written = {code_words(row[0])[0]: (int(row[2]), int(row[3]), _bytes(row[4])) for row in rows}
    lanes = lanes_of(OPTIONS)
    assert written == {lane.name: (lane.places, lane.places_each, lane.body_bytes) for lane in lanes}
    paths = {code_words(row[0])[0]: tuple(code_words(row[1])) for row in rows}
    assert paths == {lane.name: lane.paths for lane in lanes}


def test_the_numbers_beside_the_table_are_the_codes_own() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    assert f"A body has {bounds.BODY_SECONDS} seconds" in text
    assert f"every {bounds.BODY_BYTES_PER_SECOND // 1024} KiB" in text
    assert f"a sum: {bounds.BYTES_IN_FLIGHT // 1024 // 1024} MiB" in text
    assert f"at most {CONNECTIONS_EACH} connections" in text
    witness = next(re.finditer(r"A witness bounds.*?readers", text))[0]
    numbers = [int(each.replace(",", "")) for each in re.findall(r"\d[\d,]*\d|\d", witness)]
    logs, health, readers = LANES
    assert numbers == [logs.places, logs.places_each, logs.body_bytes, logs.own_bytes, health.places, readers.places]
