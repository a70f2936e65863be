"""Values that have no column's type, as cells of a spreadsheet and fields of SQLite have none: each becomes text.

========================  ============================================================================
whole number              its digits
decimal, double           a whole number's digits (13, not 13.0); else the shortest decimal that is it; null for
                          NaN and infinities
text                      itself
bytes                     the text that they are in UTF-8; else null
true, false               ``true``, ``false``
day; day and time; time   ``2026-11-30``; ``2026-11-30 07:00:00``; ``07:00:00``
a length of time          ``30:00:00``: hours, minutes, seconds
nothing, and all else     null
========================  ============================================================================

A double past 2^53 is written with its exponent, for it may be several numbers (``trust.node.sources.kinds``). A text of
no characters, or of more than 131,072, is null. No value raises, and none changes how another one is read.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta

import pyarrow as pa

from trust.node.sources.csv_blocks import shown_bytes, visible_text
from trust.node.sources.csv_file import is_unicode
from trust.node.sources.kinds import LONGEST, decoded, text_of_double
from trust.node.sources.tables.one_table import AT_ONCE, POSITION


def text_of_value(value: object) -> str | None:
    """Return a value as text, or None."""
    text = _said(value)
    return text if text and len(text) <= LONGEST else None


class Unreadable(str):
    """What a spreadsheet shows where it has no value, as ``#N/A``."""

    __slots__ = ()


def unread_value(value: object) -> str | None:
    """Return, of a value that is not read as text, what its holder may be shown of it; None where there is nothing."""
    if value is None or value in ("", b""):
        return None
    return shown_bytes(value) if isinstance(value, bytes) else visible_text(str(value))


def _said(value: object) -> str | None:
    if isinstance(value, str):
        return value if is_unicode(value) and not isinstance(value, Unreadable) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 2**127 else None  # nothing longer is a number here; some would raise
    if isinstance(value, float):
        return text_of_double(value)
    if isinstance(value, bytes):
        return decoded(value)
    return _of_moment(value)


def _of_moment(value: object) -> str | None:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta) and value >= timedelta(0):
        seconds = value.days * 86_400 + value.seconds
        return f"{seconds // 3_600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return None


def parts_of_values(
    rows: Iterable[tuple[int, Sequence[object]]], count: int, *, with_unread: bool = False
) -> Iterator[pa.Table]:
    """Yield rows, each with its position and ``count`` values, as parts of a table of text. There is at least one.

    ``with_unread`` has behind them what stands there where nothing is read.
    """
    names = [*(f"{sign}{number}" for sign in ("cu" if with_unread else "c") for number in range(count)), POSITION]
    columns: list[list[str | None]] = [[] for _ in names[:-1]]
    positions: list[int] = []
    for position, values in rows:
        positions.append(position)
        for number, value in enumerate(values):
            text = text_of_value(value)
            columns[number].append(text)
            if with_unread:
                columns[count + number].append(unread_value(value) if text is None else None)
        if len(positions) == AT_ONCE:
            yield _part(columns, positions, names)
            columns, positions = [[] for _ in names[:-1]], []
    yield _part(columns, positions, names)


def _part(columns: list[list[str | None]], positions: list[int], names: list[str]) -> pa.Table:
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.table([*arrays, pa.array(positions, pa.int64())], names=names)
