"""Structured logs, one JSON line each, to standard error.

No value, key, token, client's address or customer number is ever given to them. Words of others (a refusal by the
service, a name) are words: what would act on a terminal is written out (``trust.runtime.foreign_text``). A line that
cannot be written (the disk that the log is on is full, whoever read it has gone) is lost, and nothing else: a process
has better things to do than to die of it.
"""

import json
import sys
from contextlib import suppress
from typing import Any, TextIO

import structlog

from ledger.errors import MusubiError
from trust.runtime.foreign_text import visible_json

MOST_WORDS = 500
"""How many characters of a sentence are logged."""


class _MayFail:
    """A stream whose failures are nobody's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Have it written out, if it can be."""
        with suppress(OSError, ValueError):
            self._stream.flush()


def _one_line(event: Any, **options: Any) -> str:
    """Return an event as JSON that any terminal may show, and that standard error's encoding can say."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return visible_json(json.dumps(event, ensure_ascii=False, **options), encoding)


def reason_of(error: MusubiError) -> dict[str, str]:
    """Return why something was not done, for a log line: the error's stable code, and its sentence.

    A sentence holds no value, key or identifier (``ledger.errors``). One of somebody else's is cut to a line's length.
    """
    return {"code": error.code, "why": error.message[:MOST_WORDS]}


def log_to_stderr() -> None:
    """Print log lines as JSON to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_one_line),
        ],
        logger_factory=structlog.PrintLoggerFactory(_MayFail(sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
