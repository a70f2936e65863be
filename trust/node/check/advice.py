"""What looks wrong in a holder's file, and what to write in node.toml about it: guesses, and what each rests on.

A guess is tried on the file's own values: what a reader turns into a linked customer, a category's value or a number
that was none before is worth a sentence. Nothing is changed by itself.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from trust.node.sources.csv_file import CsvForm
from trust.node.sources.readers import read_in_order, reader_of

LOOKED_AT = 1_000_000
"""Bytes from the beginning of a file that its encoding is guessed from."""
CHAINS: tuple[tuple[str, ...], ...] = (
    ("strip",),
    ("nfkc", "strip"),
    ("excel",),
    ("whole",),
    ("number",),
    ("hour",),
)
"""What is tried for a column, the plainest first."""


def guess_form(path: Path, said: CsvForm) -> list[str]:
    """Return what to write where a CSV file seems to be written otherwise than is said of it."""
    try:
        with path.open("rb") as file:
            data = file.read(LOOKED_AT)
    except OSError:
        return []
    advice = []
    encoding = _encoding(data)
    if encoding is not None and encoding != said.encoding:
        advice.append(
            f'The file looks like {encoding.upper()}, and is read as {said.encoding.upper()}: encoding = "{encoding}".'
        )
    header = data.decode(encoding or "utf-8", "replace").splitlines()[said.skip : said.skip + 1]
    for sign, written in (("\t", "\\t"), (";", ";"), ("|", "|")):
        if header and said.delimiter not in header[0] and sign in header[0]:
            advice.append(f'The header has no "{said.delimiter}", but "{written}": delimiter = "{written}".')
    return advice


def _encoding(data: bytes) -> str | None:
    """Return the encoding that all of the data is of; None where it is of none of ours."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for name in ("utf-8", "cp932"):
        try:
            data[: data.rfind(b"\n") + 1 or len(data)].decode(name)
        except UnicodeDecodeError:
            continue
        return name
    return None


def guess_readers(
    values: Sequence[str | None], is_good: Callable[[str], bool], widths: Sequence[int] = ()
) -> tuple[tuple[str, ...], int] | None:
    """Return the readers that make the most of a column's values good, and how many more they make good than none do.

    ``widths`` are lengths to which digits may have had zeros before them. None where no readers help.
    """
    column = pa.array(values, pa.large_string())
    before = _count(column, is_good)
    padded = [(*chain, f"zero-pad {width}") for width in widths if width for chain in ((), ("whole",))]
    best: tuple[tuple[str, ...], int] | None = None
    for chain in (*CHAINS, *padded):
        read = read_in_order(column, [reader_of(words, None) for words in chain])
        more = _count(read, is_good) - before
        if more > (best[1] if best else 0):
            best = chain, more
    return best


def _count(column: Any, is_good: Callable[[str], bool]) -> int:
    return sum(value is not None and is_good(value) for value in column.to_pylist())
