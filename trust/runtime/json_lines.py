"""Structured logs, one JSON line each, to standard error.

No value, key, token, address or customer number is ever given to them. A line that cannot be written (the disk that the
log is on is full, whoever read it has gone) is lost, and nothing else: a process has better things to do than to die of
it.
"""

import sys
from contextlib import suppress
from typing import TextIO

import structlog


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


def log_to_stderr() -> None:
    """Print log lines as JSON to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(_MayFail(sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
