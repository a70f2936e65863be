"""The log's read path: C2SP tlog-tiles under ``/log``, receipts, entries, what the ledger says of keys and policies.

Tiles, bundles and entries never change: they may be kept for ever. The checkpoint is good for a second. Entry bundles
are compressed for readers who take gzip, as C2SP tlog-tiles recommends.
"""

from litestar import Response, get
from litestar.params import FromPath
from msgspec import Raw

from ledger import canonical
from ledger.errors import NotFound, Unavailable
from ledger.tlog.tiles import ENTRIES, Tile
from trust.client import paths
from trust.client.wire import PublishedPolicy
from trust.service.publish.published import entry_of, prove_log_keys, read_published_tile, receipt_of
from trust.service.routes.http import ApiRequest, json_answer, service_of

IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
BRIEF = {"Cache-Control": "public, max-age=1"}


@get(paths.CHECKPOINT, sync_to_thread=False)
def checkpoint(request: ApiRequest) -> Response[bytes]:
    """Give the last published checkpoint: a signed note with the witnesses' cosignatures."""
    note = service_of(request).tiles.read_checkpoint()
    if note is None:
        raise Unavailable("No checkpoint is published yet; ask again in a moment.")
    return Response(note, media_type="text/plain", headers=BRIEF)  # the framework adds the charset


@get(paths.TILE)
async def tile(request: ApiRequest, path: FromPath[str]) -> Response[bytes]:
    """Give a tile of hashes (``<L>/<N>``) or a bundle of entries (``entries/<N>``), full or partial."""
    service = service_of(request)
    wanted = Tile.parse("tile/" + path.lstrip("/"))
    data = await read_published_tile(service.tiles, wanted, service.sequencer.size, service.store.size)
    headers = dict(IMMUTABLE)
    if wanted.level == ENTRIES:
        headers["Vary"] = "Accept-Encoding"
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            data = await service.bundles.of(data)
    return Response(data, media_type="application/octet-stream", headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header (RFC 9110, section 12.5.3) names gzip, and not only to refuse it."""
    for item in accepted.split(","):
        coding, _, quality = item.replace(" ", "").partition(";q=")
        if coding.lower() == "gzip":
            return quality.strip("0.") != "" or not quality
    return False


@get(paths.RECEIPT)
async def receipt(request: ApiRequest, index: FromPath[int]) -> Response[bytes]:
    """Give the receipt (C2SP tlog-proof) of one entry, waiting for the checkpoint that covers it."""
    service = service_of(request)
    await service.catch_up_past(index)
    if not 0 <= index < service.store.size:
        raise NotFound("The ledger has no such entry yet.")
    made = await receipt_of(service.tiles, index, await service.wait_published(index))
    return Response(made.format(), media_type="text/plain", headers=BRIEF)


@get(paths.ENTRY)
async def entry(request: ApiRequest, index: FromPath[int]) -> Response[bytes]:
    """Give the exact bytes of one published entry."""
    service = service_of(request)
    await service.check_published(index)
    size = service.sequencer.size
    if not 0 <= index < size:
        raise NotFound("The ledger has no such published entry.")
    data = await entry_of(service.store, service.tiles, index, size)
    return Response(data, media_type="application/json", headers=IMMUTABLE)


@get(paths.TRUST, sync_to_thread=False)
def trust(request: ApiRequest) -> Response[bytes]:
    """Give what a node or auditor may pin. Get it from someone you trust; this is a convenience."""
    return json_answer(service_of(request).trust)


@get(paths.LOG_KEYS)
async def log_keys(request: ApiRequest) -> Response[bytes]:
    """Give every published change of the log's keys with its proof (``trust.log.proven_keys``)."""
    service = service_of(request)
    return json_answer(await prove_log_keys(service.store, service.tiles, await service.wait_published(0)))


@get(paths.POLICIES, sync_to_thread=False)
def current_policies(request: ApiRequest) -> Response[bytes]:
    """Give the current policy documents with their hashes; the ledger has them too."""
    records = service_of(request).store.state.policies.values()
    return json_answer(
        [
            PublishedPolicy(index=each.index, sha256=each.sha256, policy=Raw(canonical.encode(each.document)))
            for each in records
        ]
    )


@get(paths.POLICY, sync_to_thread=False)
def policy_by_hash(request: ApiRequest, sha256: FromPath[str]) -> Response[bytes]:
    """Give one policy document, of any version, by the hash that consents and questions name."""
    record = service_of(request).store.state.versions.get(sha256)
    if record is None:
        raise NotFound("The ledger has no policy document with that hash.")
    return json_answer(record.document)


routes = [
    checkpoint,
    tile,
    receipt,
    entry,
    trust,
    log_keys,
    current_policies,
    policy_by_hash,
]
