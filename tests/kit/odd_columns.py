"""Columns of every kind that a file can have, with the odd values of each kind: for what reads a holder's file.

Each kind is a way to make an Arrow column out of small numbers; a number stands for a value, odd ones among them. What
a value is does not depend on the others in the column: so a file without some rows is the same without those rows.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

TEXTS: list[str | None] = [
    "7", "3", "x", "", None, "2.5", "-2.5", "1e3", "9" * 40, "NaN", "true", '5" pipe', "a,b", "two\nlines", "\r", "\x00",
    "\x07", "é", "１２", "0x10", "1_0", " 7 ", "north", "'", '"', "\\", "\ufeff7", "😀", "-0", "+7", "7.", ".5", "1e400",
    "2026-11-30", "2026-11-30T07", "2026-W49", "2026-11", "2026-11-30 07:05:00", "-9223372036854775808", "9223372036854775808",
]  # fmt: skip
BYTES: list[bytes | None] = [
    *(text if text is None else text.encode() for text in TEXTS),
    b"\xff", b"\xc3", b"7\xff", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80" * 20,
]  # fmt: skip
LEAST, MOST = -(2**63), 2**63 - 1
WHOLES = [7, 3, 0, -1, 8, None, LEAST, MOST, LEAST + 1, 2**53, 2**53 + 1, 253_402_300_800, 10**15, 10**18, -719_163]
FLOATS = [7.0, 2.5, -2.5, 3.5, 0.5, -0.0, None, float("nan"), float("inf"), -float("inf"), 1e300, 5e-324, 2.0**53, 2.0**63,
          0.49999999999999994, 13.0, -1e19]  # fmt: skip
Maker = Callable[[Sequence[int]], Any]


def _of(values: Sequence[Any], type_: Any) -> Maker:
    return lambda numbers: pa.array([values[number % len(values)] for number in numbers], type_, from_pandas=False)


def _raw(type_: Any, width: int) -> Maker:
    """Whole numbers seen as another type, so that no calendar or clock need have them."""
    storage = {32: pa.int32(), 64: pa.int64()}[width]
    values = [None if value is None else value % 2**width - 2 ** (width - 1) for value in WHOLES]
    return lambda numbers: pa.array([values[number % len(values)] for number in numbers], storage).view(type_)


def _not_text(type_: Any, binary: Any) -> Maker:
    """Bytes that claim to be text, UTF-8 or not."""

    def make(numbers: Sequence[int]) -> Any:
        raw = pa.array([BYTES[number % len(BYTES)] for number in numbers], binary)
        return pa.Array.from_buffers(type_, len(raw), raw.buffers(), raw.null_count)

    return make


def _decimals(type_: Any, unscaled: Sequence[int | None]) -> Maker:
    width = type_.byte_width

    def make(numbers: Sequence[int]) -> Any:
        chosen = [unscaled[number % len(unscaled)] for number in numbers]
        data = b"".join((value or 0).to_bytes(width, "little", signed=True) for value in chosen)
        valid = pa.array([value is not None for value in chosen], pa.bool_()).buffers()[1]
        return pa.Array.from_buffers(type_, len(chosen), [valid, pa.py_buffer(data)])

    return make


def _halves(numbers: Sequence[int]) -> Any:
    values = [FLOATS[number % len(FLOATS)] for number in numbers]
    with np.errstate(over="ignore", under="ignore"):
        halves = np.array([0.0 if value is None else value for value in values], np.float16)
    return pa.array(halves, pa.float16(), mask=np.array([value is None for value in values], dtype=bool))


def _runs(numbers: Sequence[int]) -> Any:
    values = _of(TEXTS, pa.string())(numbers)
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, len(values) + 1), pa.int32()), values)


def _stored(type_: Any, make: Maker) -> Maker:
    return lambda numbers: pa.ExtensionArray.from_storage(type_, make(numbers))


_SMALL = {bits: [None if v is None else v % 2**bits - 2 ** (bits - 1) for v in WHOLES] for bits in (8, 16, 32, 64)}
_PLUS = {bits: [None if v is None else v % 2**bits for v in WHOLES] for bits in (8, 16, 32, 64)}
COLUMNS: dict[str, Maker] = {
    "null": lambda numbers: pa.nulls(len(numbers)),
    "bool": _of([True, False, None], pa.bool_()),
    **{f"int{bits}": _of(_SMALL[bits], getattr(pa, f"int{bits}")()) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": _of(_PLUS[bits], getattr(pa, f"uint{bits}")()) for bits in (8, 16, 32, 64)},
    "half": _halves,
    "float": _of(FLOATS, pa.float32()),
    "double": _of(FLOATS, pa.float64()),
    "text": _of(TEXTS, pa.string()),
    "text not UTF-8": _not_text(pa.string(), pa.binary()),
    "large text not UTF-8": _not_text(pa.large_string(), pa.large_binary()),
    "text view": _of(TEXTS, pa.string_view()),
    "binary": _of(BYTES, pa.binary()),
    "large binary": _of(BYTES, pa.large_binary()),
    "binary view": _of(BYTES, pa.binary_view()),
    "fixed binary": _of([b"7  ", b"\xff\xff\xff", None, b"x\x00y"], pa.binary(3)),
    "uuid": _stored(pa.uuid(), _of([bytes(16), b"\xff" * 16, None], pa.binary(16))),
    "json": _stored(pa.json_(), _of(TEXTS, pa.string())),
    "bool8": _stored(pa.bool8(), _of([0, 1, -7, None], pa.int8())),
    "dictionary": lambda numbers: _of(TEXTS, pa.string())(numbers).dictionary_encode(),
    "dictionary not UTF-8": lambda numbers: _not_text(pa.string(), pa.binary())(numbers).dictionary_encode(),
    "dictionary of numbers": lambda numbers: _of(WHOLES, pa.int64())(numbers).dictionary_encode(),
    "decimal32": _decimals(pa.decimal32(7, 2), [700, 250, -250, None, 9_999_999, -1, 0, 1300]),
    "decimal64": _decimals(pa.decimal64(18, 3), [7000, 2500, -2500, None, 10**18 - 1, -1, 0]),
    "decimal128": _decimals(pa.decimal128(38, 1), [70, 25, -25, None, 10**38 - 1, -(10**38) + 1, 130]),
    "decimal128 past its digits": _decimals(pa.decimal128(5, 1), [70, 25, None, 10**30, -(2**126)]),
    "decimal256": _decimals(pa.decimal256(76, 2), [700, 250, None, 10**70, -(10**75), 1300]),
    "days": _of([date(2026, 11, 30), date(2026, 11, 29), None, date(1, 1, 1)], pa.date32()),
    "moments": _of([1_796_022_000_000_000, 1_796_083_140_000_000, None, 253_402_300_799_000_000], pa.timestamp("us")),
    "moments with a zone": _of([datetime(2026, 11, 30, 7, tzinfo=UTC), None], pa.timestamp("us", "Asia/Tokyo")),
    "date32": _raw(pa.date32(), 32),
    "date64": _raw(pa.date64(), 64),
    **{f"timestamp {unit}": _raw(pa.timestamp(unit), 64) for unit in ("s", "ms", "us", "ns")},
    **{f"timestamp {unit} Tokyo": _raw(pa.timestamp(unit, "Asia/Tokyo"), 64) for unit in ("ms", "us", "ns")},
    "timestamp of no zone": _raw(pa.timestamp("us", "Nowhere/At_all"), 64),
    "time32": _raw(pa.time32("ms"), 32),
    "time64": _raw(pa.time64("us"), 64),
    "time64 ns": _raw(pa.time64("ns"), 64),
    **{f"duration {unit}": _raw(pa.duration(unit), 64) for unit in ("s", "ms", "us", "ns")},
    "list": _of([[7], [], None, [None, 3]], pa.list_(pa.int64())),
    "large list": _of([["x"], [], None], pa.large_list(pa.string())),
    "fixed list": _of([[1, 2], None, [None, 3]], pa.list_(pa.int64(), 2)),
    "struct": _of([{"a": 7}, None, {"a": None}], pa.struct([("a", pa.int64())])),
    "map": _of([[("a", 7)], None, []], pa.map_(pa.string(), pa.int64())),
}
"""How each kind of column is made of small numbers."""


def text_of(column: Any, place: int) -> str:
    """Return a value of a column as a plain program writes it into a CSV file: anything, "" for a null."""
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    try:
        value = storage[place].as_py()
    except (ValueError, OverflowError, UnicodeDecodeError, pa.ArrowException):
        value = "0x7fffffffffffffff"  # no such moment, or no text: some other odd thing, the same wherever it stands
    return "" if value is None else str(value)
