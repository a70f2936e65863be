"""Checking many signatures at once, on all cores.

libsodium runs without Python's global lock, so chunks of signatures spread over threads run truly in parallel.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from ledger import jws
from policies.consent import Signed
from trust.service import metrics

CHUNK = 64
_threads = ThreadPoolExecutor(max_workers=os.cpu_count() or 2, thread_name_prefix="signatures")


def _check(chunk: Sequence[Signed]) -> None:
    for signed_part, signature, key in chunk:
        jws.check(signed_part, signature, key)


async def check_signatures(signatures: Sequence[Signed]) -> None:
    """Raise SignatureInvalid unless every one is good."""
    began = perf_counter()
    loop = asyncio.get_running_loop()
    chunks = [signatures[first : first + CHUNK] for first in range(0, len(signatures), CHUNK)]
    await asyncio.gather(*(loop.run_in_executor(_threads, _check, chunk) for chunk in chunks))
    metrics.signature_seconds.observe(perf_counter() - began)
