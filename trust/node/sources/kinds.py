"""What each type of column is read as: text for a category or a customer number, a whole number for a range or measure.

A column of time is read as the number of its hour, day, week or month (``trust.node.sources.times``).

Every Arrow type, and so every type that a Parquet file can have, is in ``KINDS``; a CSV file's columns are all text.
Reading has two steps, and both are total: whatever a value is, it is read by its row here or is null by itself, and no
value changes how another one is read.

1. ``carry`` turns a column into one of the few types of ``CARRIED``, in Arrow. What the engine would raise on, or die
   of, is null from then on: text that is not UTF-8, a moment that no calendar has.
2. ``as_text``, ``as_whole`` and ``as_time`` are SQL expressions over what is carried.

**Rounding.** .5 is rounded away from zero: 2.5 is 3, and -2.5 is -3, in a double, in a decimal and in text alike. It is
exact: a double is rounded as the number that it is (0.49999999999999994 is 0), a text by its decimal digits.
"""

import math
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from policies.calendar.calendar_units import CalendarUnit
from trust.node.sources.times import OF_DATE, OF_MOMENT, OF_TEXT

DECIMAL_DIGITS = 38
LONGEST = 131_072
"""Characters of a value that is read by itself, and not by its column's type; a longer one is null."""
EXACT = 2**53
"""Below it a double tells all whole numbers apart."""
_WIDE = Context(prec=2 * DECIMAL_DIGITS)
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""The years 1 to 9999, in days since 1970."""
_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


class Carried(Struct, frozen=True):
    """One type that values are handed to the engine in, with ``{}`` in each SQL expression for the column."""

    as_text: str
    as_whole: str
    as_time: dict[CalendarUnit, str] = {}
    """By unit; what is not here is null."""

    def sql(self, read_as: str, column: str) -> str:
        """Return SQL for a column read as ``text``, ``whole``, or the number of a unit of time."""
        if read_as in {"text", "whole"}:
            return (self.as_text if read_as == "text" else self.as_whole).format(column)
        return next((sql for unit, sql in self.as_time.items() if unit == read_as), NULL_WHOLE).format(column)


NULL_TEXT = "CAST(NULL AS VARCHAR)"
NULL_WHOLE = "CAST(NULL AS BIGINT)"
CARRIED: dict[str, Carried] = {
    "text": Carried("{}", "TRY_CAST({} AS BIGINT)", OF_TEXT),
    "whole number": Carried("CAST({} AS VARCHAR)", "TRY_CAST({} AS BIGINT)"),
    "long whole number": Carried("CAST({} AS VARCHAR)", "TRY_CAST({} AS BIGINT)"),
    "truth": Carried("CAST({} AS VARCHAR)", "CAST({} AS BIGINT)"),
    "double": Carried(
        "CASE WHEN NOT isfinite({0}) THEN NULL WHEN {0} = floor({0}) AND abs({0}) < 9007199254740992"
        " THEN CAST(CAST({0} AS BIGINT) AS VARCHAR) ELSE CAST({0} AS VARCHAR) END",
        "TRY_CAST(round({}) AS BIGINT)",
    ),
    "decimal": Carried(
        "regexp_replace(CAST({} AS VARCHAR), '[.]0*$|([.][0-9]*[1-9])0+$', '\\1')", "TRY_CAST({} AS BIGINT)"
    ),
    "day": Carried("CAST({} AS VARCHAR)", NULL_WHOLE, OF_DATE),
    "moment": Carried("CAST({} AS VARCHAR)", NULL_WHOLE, OF_MOMENT),
    "moment in UTC": Carried("CAST({} AS VARCHAR)", NULL_WHOLE),
    "clock": Carried("CAST({} AS VARCHAR)", NULL_WHOLE),
    "nothing": Carried(NULL_TEXT, NULL_WHOLE),
}
"""What the columns of a file are handed to the engine as."""


class ReadRule(Struct, frozen=True):
    """How one Arrow type is read: what it is carried as, and the words for it in the reference."""

    carried: str
    carry: Callable[[Any], Any]
    text: str
    whole: str
    time: str = "null"


def rule_of_type(type_: Any) -> ReadRule:
    """Return how a column of an Arrow type is read."""
    while True:
        if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
            type_ = type_.value_type
        elif isinstance(type_, pa.UuidType):
            return UUID
        elif isinstance(type_, pa.BaseExtensionType):
            type_ = type_.storage_type
        elif pa.types.is_timestamp(type_) and type_.tz is not None:
            return IN_UTC
        else:
            return KINDS.get(type_.id, _NOTHING)


def carry(column: Any) -> Any:
    """Return a column (an Arrow array) as it is handed to the engine. Raises nothing that follows from a value."""
    while True:
        if isinstance(column, pa.ChunkedArray):
            column = as_one(column)
        elif pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        elif pa.types.is_run_end_encoded(column.type):
            column = pc.run_end_decode(column)
        elif isinstance(column.type, pa.UuidType):
            return UUID.carry(column.storage)
        elif isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        else:
            return rule_of_type(column.type).carry(column)


def as_one(column: Any) -> Any:
    """Return a chunked column as one array; where it has one chunk, that is not copied."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def text_of(column: Any) -> Any:
    """Return a column as text for readers: numbers by their digits, a moment with a zone in UTC, with a Z behind it.

    No decimal and no second has zeros behind its last digit: 13.00 is 13.
    """
    carried = carry(column)
    type_ = column.type
    if pa.types.is_floating(carried.type):
        return pa.array([text_of_double(value) for value in carried.to_pylist()], pa.large_string())
    if pa.types.is_boolean(carried.type) or pa.types.is_null(carried.type):
        return carried.cast(pa.string()).cast(pa.large_string())
    text = carried.cast(pa.large_string())
    if pa.types.is_decimal(carried.type) or pa.types.is_temporal(carried.type):
        text = pc.replace_substring_regex(text, r"\.0*$|(\.[0-9]*[1-9])0+$", r"\1")
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        return pc.binary_join_element_wise(text, pa.scalar("Z", text.type), pa.scalar("", text.type))
    return text


def text_of_double(value: float | None) -> str | None:
    """Return a double as text: a whole number's digits, else the shortest decimal that is it; None for NaN and such.

    Past ``EXACT`` it has a form that no whole number has: two long customer numbers may be one double, and written out
    it would be a third one, and somebody else's.
    """
    if value is None or not math.isfinite(value):
        return None
    if not value.is_integer():
        return repr(value)
    return str(int(value)) if abs(value) < EXACT else f"{value:.16E}"


def _as_it_is(column: Any) -> Any:
    return column


def _nothing(column: Any) -> Any:
    return pa.nulls(len(column), pa.string())


def _utf_8(column: Any) -> Any:
    """Return text; what is not UTF-8 is null by itself."""
    raw = column.cast(pa.large_binary())
    text = pa.Array.from_buffers(pa.large_string(), len(raw), raw.buffers(), raw.null_count, raw.offset)
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array([decoded(value) for value in raw.to_pylist()], pa.large_string())
    return text


def decoded(value: bytes | None) -> str | None:
    """Return the text that bytes are in UTF-8, or None."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _uuid(column: Any) -> Any:
    values = (None if value is None else value.hex() for value in column.to_pylist())
    texts = [v and f"{v[:8]}-{v[8:12]}-{v[12:16]}-{v[16:20]}-{v[20:]}" for v in values]
    return pa.array(texts, pa.large_string())


def _double(column: Any) -> Any:
    return column.cast(pa.float32()) if pa.types.is_float16(column.type) else column


def _decimal(column: Any) -> Any:
    """Return a decimal of at most 38 digits; a value of more digits, or of more than its column has, is null.

    (A file may hold such a one, and the engine would make of it whatever its low bits are.)
    """
    type_ = column.type
    scale = max(0, min(type_.scale, DECIMAL_DIGITS))
    digits = min(DECIMAL_DIGITS, type_.precision + max(0, -type_.scale))
    if not pa.types.is_decimal128(type_) or scale != type_.scale:
        most = 10**digits
        fits = [value if value is not None and _fits(value, 10**scale, most) else None for value in column.to_pylist()]
        return pa.array(fits, pa.decimal128(DECIMAL_DIGITS, scale))
    wide = pa.Array.from_buffers(
        pa.decimal128(DECIMAL_DIGITS, scale), len(column), column.buffers(), column.null_count, column.offset
    )
    most = pa.scalar(Decimal(10**digits - 1).scaleb(-scale, _WIDE), wide.type)
    least = pa.scalar(Decimal(1 - 10**digits).scaleb(-scale, _WIDE), wide.type)
    is_one = pc.and_(pc.less_equal(wide, most), pc.greater_equal(wide, least))
    return pc.if_else(is_one, wide, pa.scalar(None, wide.type))


def _fits(value: Decimal, quantum: int, most: int) -> bool:
    numerator, denominator = value.as_integer_ratio()
    return abs(numerator) * quantum < most * denominator and numerator * quantum % denominator == 0


def _day(column: Any) -> Any:
    if pa.types.is_date64(column.type):
        days = pc.divide(column.cast(pa.int64()), _PER_DAY["ms"])
    else:
        days = column.cast(pa.int32()).cast(pa.int64())
    return _between(days, FIRST_DAY, LAST_DAY).cast(pa.int32()).cast(pa.date32())


def _moment(column: Any) -> Any:
    unit = column.type.unit
    first, after = FIRST_DAY * _PER_DAY[unit], (LAST_DAY + 1) * _PER_DAY[unit]
    whole = _between(column.cast(pa.int64()), max(first, -(2**63) + 1), min(after - 1, 2**63 - 1))
    return whole.cast(pa.timestamp(unit)).cast(pa.timestamp("us"), safe=False)


def _clock(column: Any) -> Any:
    unit = column.type.unit
    whole = column.cast(pa.int32() if pa.types.is_time32(column.type) else pa.int64()).cast(pa.int64())
    whole = _between(whole, 0, _PER_DAY[unit] - 1)
    if unit in ("s", "ms"):
        return pc.multiply(whole, _PER_DAY["us"] // _PER_DAY[unit]).cast(pa.time64("us"))
    return whole.cast(pa.time64(unit)).cast(pa.time64("us"), safe=False)


def _between(whole: Any, low: int, high: int) -> Any:
    is_one = pc.and_(pc.greater_equal(whole, low), pc.less_equal(whole, high))
    return pc.if_else(is_one, whole, pa.scalar(None, whole.type))


def _number(column: Any) -> Any:
    return column.cast(pa.int64())


_NOTHING = ReadRule("nothing", _nothing, "null", "null")
UUID = ReadRule("text", _uuid, "its 36 characters", "null")
"""The extension type for a UUID; every other extension type is read as what it is stored in."""
_WHOLE = ReadRule("whole number", _as_it_is, "its digits", "itself, where it fits 64 bits with a sign")
_TEXT = ReadRule(
    "text",
    _utf_8,
    "itself; null where it is not UTF-8",
    "the decimal number it is, rounded; else null",
    "what it says in the unit's form, or as `2026-10-01` or `2026-10-01 07:05:00`; else null",
)
_DOUBLE = ReadRule(
    "double",
    _double,
    "a whole number's digits (13, not 13.0); else the shortest decimal that is it; null for NaN and infinities",
    "rounded; null for NaN, infinities and what is too large",
)
_DECIMAL = ReadRule(
    "decimal",
    _decimal,
    "its digits without zeros at the end (13, 2.5); null past its own digits, or 38",
    "rounded; null if too large",
)

_DATE = ReadRule("day", _day, "2026-11-30; null outside the years 1 to 9999", "null", "its day, week or month; no hour")
IN_UTC = ReadRule("moment in UTC", _moment, "2026-11-30 07:00:00, in UTC; null outside the years 1 to 9999", "null")
"""A moment with a zone: whose day is which hangs on the town's zone, and so on a mapping that names it."""

KINDS: dict[int, ReadRule] = {
    **{getattr(pa.lib, f"Type_{sign}INT{bits}"): _WHOLE for sign in ("", "U") for bits in (8, 16, 32)},
    pa.lib.Type_INT64: _WHOLE,
    pa.lib.Type_UINT64: ReadRule("long whole number", _as_it_is, "its digits", _WHOLE.whole),
    **{getattr(pa.lib, f"Type_{name}STRING"): _TEXT for name in ("", "LARGE_")},
    **{getattr(pa.lib, f"Type_{name}BINARY"): _TEXT for name in ("", "LARGE_", "FIXED_SIZE_")},
    pa.lib.Type_STRING_VIEW: _TEXT,
    pa.lib.Type_BINARY_VIEW: _TEXT,
    pa.lib.Type_BOOL: ReadRule("truth", _as_it_is, "true or false", "1 or 0"),
    **{getattr(pa.lib, f"Type_{name}"): _DOUBLE for name in ("HALF_FLOAT", "FLOAT", "DOUBLE")},
    **{getattr(pa.lib, f"Type_DECIMAL{bits}"): _DECIMAL for bits in (32, 64, 128, 256)},
    **{
        getattr(pa.lib, f"Type_DATE{bits}"): _DATE
        for bits in (32, 64)
    },
    pa.lib.Type_TIMESTAMP: ReadRule(
        "moment", _moment, "2026-11-30 07:00:00; null outside the years 1 to 9999", "null", "its hour, day, week or month"
    ),
    **{
        getattr(pa.lib, f"Type_TIME{bits}"): ReadRule("clock", _clock, "07:00:00; null where no clock shows it", "null")
        for bits in (32, 64)
    },
    pa.lib.Type_DURATION: ReadRule("whole number", _number, "its number, in the file's unit", "the same"),
    **{
        getattr(pa.lib, f"Type_{name}"): _NOTHING
        for name in (
            "NA", "LIST", "LARGE_LIST", "LIST_VIEW", "LARGE_LIST_VIEW", "FIXED_SIZE_LIST", "STRUCT", "MAP",
            "SPARSE_UNION", "DENSE_UNION", "INTERVAL_MONTHS", "INTERVAL_DAY_TIME", "INTERVAL_MONTH_DAY_NANO",
        )
    },
}  # fmt: skip
"""How each Arrow type is read, by its id. A dictionary and a run-end-encoded column are read as their values are."""
