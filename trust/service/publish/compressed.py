"""Compressed bundles of entries, kept for the next reader: whoever reads the log needs no credentials.

A bundle is compressed once and kept, the least recently wanted going first; one is compressed at a time. They are kept
by the hash of what was read: a file that was damaged and is mended is another one.
"""

import asyncio
import gzip
import hashlib
from collections import OrderedDict

KEPT_BYTES = 16 * 1024 * 1024
LEVEL = 6


class CompressedBundles:
    """What was compressed of late. For one event loop."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._compressing = asyncio.Lock()
        self.made = 0
        """How many were compressed since the start."""

    async def of(self, data: bytes) -> bytes:
        """Return ``data`` as a gzip member, always the same."""
        key = hashlib.sha256(data).digest()
        if key not in self._kept:
            async with self._compressing:
                if key not in self._kept:
                    return await self._make(key, data)
        self._kept.move_to_end(key)
        return self._kept[key]

    async def _make(self, key: bytes, data: bytes) -> bytes:
        made = self._kept[key] = await asyncio.to_thread(gzip.compress, data, LEVEL, mtime=0)
        self.made += 1
        self._bytes += len(made)
        while self._bytes > self._most:
            self._bytes -= len(self._kept.popitem(last=False)[1])
        return made
