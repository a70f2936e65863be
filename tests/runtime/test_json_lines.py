"""A log line is one line of JSON, says exactly what it was given, and does nothing to the terminal that shows it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Unavailable
from tests.kit.waiting import PATIENCE
from trust.runtime.foreign_text import is_hidden
from trust.runtime.json_lines import MOST_WORDS, _one_line, reason_of

ROOT = Path(__file__).parents[2]
WORDS = "no\x1b[2J\x9b2J\x7f \x1b]8;;https://evil.example\x07x\r\n\u202egnp.exe \u200b もみじ台 \ud800 [/]"
LOGS = """
import sys
import structlog
from trust.runtime.json_lines import log_to_stderr
log_to_stderr()
structlog.get_logger().info("said", why=sys.argv[1].encode().decode("unicode_escape"), number=7)
"""


@given(st.text(st.characters(exclude_categories=())))
def test_a_line_is_exactly_what_was_said_and_hides_nothing(words: str) -> None:
    line = _one_line({"why": words})
    said = json.loads(line)["why"]
    assert said.encode("utf-16", "surrogatepass") == words.encode("utf-16", "surrogatepass")
    assert [each for each in line if is_hidden(each)] == []


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "utf-8", "latin-1:strict"])
def test_no_encoding_of_standard_error_loses_a_line(encoding: str) -> None:
    escaped = WORDS.encode("unicode_escape").decode()
    done = subprocess.run(
        [sys.executable, "-c", LOGS, escaped],
        capture_output=True,
        cwd=ROOT,
        check=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    text = done.stderr.decode(encoding.partition(":")[0])
    assert [each for each in text.removesuffix("\n") if is_hidden(each)] == []
    line = json.loads(text)
    assert (line["event"], line["number"]) == ("said", 7)
    assert line["why"] == WORDS


def test_a_reason_is_a_code_and_a_sentence_of_a_lines_length() -> None:
    assert reason_of(Unavailable("Try again.")) == {"code": "unavailable", "why": "Try again."}
    assert len(reason_of(Unavailable("x" * 10**6))["why"]) == MOST_WORDS
