"""Structured logs, one JSON line each, to standard error. No value, key, token, address or customer number is ever given to them."""

import sys

import structlog


def log_to_stderr() -> None:
    """Print log lines as JSON to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
