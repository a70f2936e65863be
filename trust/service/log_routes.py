"""The log's read path: C2SP tlog-tiles under ``/log``, receipts and single entries. Any static file server could do it."""

import asyncio

from litestar import Response, get
from litestar.params import FromPath

from ledger.errors import NotFound
from ledger.receipts import Receipt
from ledger.tiles import Tile, TileReader, tile_at
from ledger.tree import prove_inclusion
from trust.service.requests import ApiRequest, json_answer, service_of

IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
BRIEF = {"Cache-Control": "public, max-age=1"}


@get("/log/checkpoint", sync_to_thread=False)
def checkpoint(request: ApiRequest) -> Response[bytes]:
    """Give the last published checkpoint: a signed note with the witnesses' cosignatures."""
    note = service_of(request).tiles.read_checkpoint()
    if note is None:
        raise NotFound("No checkpoint is published yet; ask again in a moment.")
    return Response(note, media_type="text/plain", headers=BRIEF)


@get("/log/tile/{path:path}", sync_to_thread=False)
def tile(request: ApiRequest, path: FromPath[str]) -> Response[bytes]:
    """Give a tile of hashes (``<L>/<N>``) or a bundle of entries (``entries/<N>``), full or partial."""
    wanted = Tile.parse("tile/" + path.lstrip("/"))
    published = service_of(request).sequencer.size
    if wanted.width > tile_at(wanted.level, wanted.index, published).width:
        raise NotFound("The published log has no such tile.")  # a file past the checkpoint may be torn
    return Response(
        service_of(request).tiles.read_tile(wanted), media_type="application/octet-stream", headers=IMMUTABLE
    )


@get("/v1/receipts/{index:int}")
async def receipt(request: ApiRequest, index: FromPath[int]) -> Response[bytes]:
    """Give the receipt (C2SP tlog-proof) of one entry, waiting for the checkpoint that covers it."""
    service = service_of(request)
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
    data = await service.store.entry(index) if 0 <= index < service.sequencer.size else None
    if data is None:
        raise NotFound("The ledger has no such published entry.")
    return Response(data, media_type="application/json", headers=IMMUTABLE)


@get("/v1/trust", sync_to_thread=False)
def trust(request: ApiRequest) -> Response[bytes]:
    """Give what a node or auditor may pin. Get it from someone you trust; this is a convenience."""
    return json_answer(service_of(request).trust)


routes = [checkpoint, tile, receipt, entry, trust]
