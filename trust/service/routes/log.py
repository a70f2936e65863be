"""The log's read path: C2SP tlog-tiles under ``/log``, receipts and single entries. Any static file server could do it.

What is served is what the checkpoint on disk commits to. The sequencer's own count may lag behind that file for a
moment, and a reader who has just fetched the checkpoint must find every tile of it: so the file is asked too.

Tiles and bundles never change: they may be kept for ever. The checkpoint is good for a second. Entry bundles are
compressed for readers who take gzip, as C2SP tlog-tiles recommends.
"""

import asyncio
import gzip

from litestar import Response, get
from litestar.params import FromPath

from ledger.errors import NotFound
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import parse_note
from ledger.notes.receipts import Receipt
from ledger.tlog.tiles import ENTRIES, TILE_WIDTH, Tile, TileReader, hashes_at
from ledger.tlog.tree import prove_inclusion
from trust.service.routes.http import ApiRequest, json_answer, service_of
from trust.service.service import Service

IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
BRIEF = {"Cache-Control": "public, max-age=1"}


@get("/log/checkpoint", sync_to_thread=False)
def checkpoint(request: ApiRequest) -> Response[bytes]:
    """Give the last published checkpoint: a signed note with the witnesses' cosignatures."""
    note = service_of(request).tiles.read_checkpoint()
    if note is None:
        raise NotFound("No checkpoint is published yet; ask again in a moment.")
    return Response(note, media_type="text/plain", headers=BRIEF)  # the framework adds the charset


@get("/log/tile/{path:path}")
async def tile(request: ApiRequest, path: FromPath[str]) -> Response[bytes]:
    """Give a tile of hashes (``<L>/<N>``) or a bundle of entries (``entries/<N>``), full or partial."""
    service = service_of(request)
    wanted = Tile.parse("tile/" + path.lstrip("/"))
    if _reaches(wanted) > hashes_at(wanted.level, service.sequencer.size) and _reaches(wanted) > hashes_at(
        wanted.level, await asyncio.to_thread(_size_on_disk, service)
    ):
        raise NotFound("The published log has no such tile.")  # a file past the checkpoint may be torn
    data = await asyncio.to_thread(service.tiles.read_tile, wanted)
    headers = dict(IMMUTABLE)
    if wanted.level == ENTRIES:
        headers["Vary"] = "Accept-Encoding"
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            data = await asyncio.to_thread(gzip.compress, data, 6, mtime=0)
    return Response(data, media_type="application/octet-stream", headers=headers)


def _reaches(tile: Tile) -> int:
    """Return how many hashes (or entries) of its level a log has that has this tile."""
    return tile.index * TILE_WIDTH + tile.width


def _size_on_disk(service: Service) -> int:
    note = service.tiles.read_checkpoint()
    return 0 if note is None else Checkpoint.parse(parse_note(note).text).size


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header (RFC 9110, section 12.5.3) names gzip, and not only to refuse it."""
    for item in accepted.split(","):
        coding, _, quality = item.replace(" ", "").partition(";q=")
        if coding.lower() == "gzip":
            return quality.strip("0.") != "" or not quality
    return False


@get("/v1/receipts/{index:int}")
async def receipt(request: ApiRequest, index: FromPath[int]) -> Response[bytes]:
    """Give the receipt (C2SP tlog-proof) of one entry, waiting for the checkpoint that covers it."""
    service = service_of(request)
    await service.catch_up_past(index)
    if not 0 <= index < service.store.size:
        raise NotFound("The ledger has no such entry yet.")
    note = await service.sequencer.wait_for(index + 1, service.settings.service.receipt_wait_seconds)
    size = int(note.split(b"\n", 2)[1])
    reader = TileReader(service.tiles.read_tile, size)
    proof = await asyncio.to_thread(prove_inclusion, index, size, reader)
    made = Receipt(index=index, proof=proof, checkpoint=note)
    return Response(made.format(), media_type="text/plain", headers=BRIEF)


@get("/v1/entries/{index:int}")
async def entry(request: ApiRequest, index: FromPath[int]) -> Response[bytes]:
    """Give the exact bytes of one published entry."""
    service = service_of(request)
    await service.catch_up_past(index)
    data = await service.store.entry(index) if 0 <= index < service.sequencer.size else None
    if data is None:
        raise NotFound("The ledger has no such published entry.")
    return Response(data, media_type="application/json", headers=IMMUTABLE)


@get("/v1/trust", sync_to_thread=False)
def trust(request: ApiRequest) -> Response[bytes]:
    """Give what a node or auditor may pin. Get it from someone you trust; this is a convenience."""
    return json_answer(service_of(request).trust)


routes = [checkpoint, tile, receipt, entry, trust]
