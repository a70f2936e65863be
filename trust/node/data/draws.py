"""Which of a resident's rows stay, drawn for each resident rather than for each row: the quick way to a bounded view.

What is drawn is what ``trust.node.data.bounding`` says, to the last row. There each row gets a priority, and a window
sorts all rows of the file by it. But a resident's priorities follow from the key and how many rows there are, and from
nothing in them: so the R least are found for each resident in one small table, and told to the engine as the bits of
one whole number, bit r for row r. The engine then joins rows to residents, and looks at a bit.

A resident with more rows than a number has bits is left to the window.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count

import numpy as np
import pyarrow as pa

from trust.node.data.bounding import BITS, MODULUS, OVER_LIMIT, SALT, SLOT

MOST_ROWS = 63
"""Of a resident whose rows are drawn here: a whole number of 64 bits has a sign."""
_CELLS = 65_536
"""Priorities that one thread has in hand: they fit into a processor's own memory."""
_WIDTH = 31
"""Bits of a remainder: 2^31 is 1 more than the modulus, so what stands above them is added to what stands below."""


def counts_of(batches: Iterable[pa.RecordBatch], salts: np.ndarray) -> np.ndarray:
    """Return how many rows each slot has, of (slot, salt); those of another salt than ``salts`` has are nobody's."""
    counts = np.zeros(len(salts), np.int64)
    for batch in batches:
        slots, salt = batch.column(SLOT).to_numpy(), batch.column(SALT).to_numpy()
        known = slots < len(salts)
        if not known.all():
            slots, salt = slots[known], salt[known]
        counts += np.bincount(slots[salts[slots] == salt], minlength=len(salts))
    return counts


def draws_of(counts: np.ndarray, salts: np.ndarray, most: int, key: tuple[int, int]) -> pa.Table:
    """Return of each resident with 1 to ``MOST_ROWS`` rows: slot, salt, the bits of ``most`` rows, whether there are more.

    ``key`` is the (a, b) of ``trust.node.data.bounding``.
    """
    drawn = (counts > 0) & (counts <= MOST_ROWS)
    bits = (np.int64(1) << np.minimum(counts, MOST_ROWS)) - 1
    with ThreadPoolExecutor(cpu_count() or 1, "draws") as threads:

        def draw(who: np.ndarray) -> None:
            bits[who] = _bits(salts[who], int(counts[who[0]]), most, key)

        for _ in threads.map(draw, _alike(np.where(drawn, counts, 0), most)):
            pass
    slots = np.flatnonzero(drawn)
    return pa.table(
        {
            SLOT: pa.array(slots, pa.int32()),
            SALT: pa.array(salts[slots], pa.int32()),
            BITS: bits[slots],
            OVER_LIMIT: counts[slots] > most,
        }
    )


def _alike(counts: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield slots with equally many rows, more than ``most``, as many as one thread takes in hand."""
    for count in np.unique(counts[counts > most]):
        slots = np.flatnonzero(counts == count)
        for first in range(0, len(slots), _CELLS // int(count)):
            yield slots[first : first + _CELLS // int(count)]


def _bits(salts: np.ndarray, count: int, most: int, key: tuple[int, int]) -> np.ndarray:
    """Return the bits of the ``most`` rows of ``count`` with the least priorities, for residents with these salts."""
    multiplier, offset = (np.int64(number) for number in key)
    own = _remainder(_remainder(salts * multiplier) + offset)[:, None]
    numbers = np.arange(count, dtype=np.int64)
    first = _remainder(_remainder(numbers * multiplier)[None, :] + own)
    priorities = _fifth_power(_remainder(_fifth_power(first) + own))
    last = np.partition(priorities, most - 1, axis=1)[:, most - 1 : most]
    return np.bitwise_or.reduce((priorities <= last).astype(np.int64) << numbers, axis=1)


def _fifth_power(number: np.ndarray) -> np.ndarray:
    square = _remainder(number * number)
    return _remainder(_remainder(square * square) * number)


def _remainder(number: np.ndarray) -> np.ndarray:
    """Return a number from 0 to below 2^62 modulo 2^31 - 1."""
    number = (number & MODULUS) + (number >> _WIDTH)
    number = (number & MODULUS) + (number >> _WIDTH)
    return np.where(number >= MODULUS, number - MODULUS, number)
