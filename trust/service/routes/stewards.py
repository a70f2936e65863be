"""Keys in public: the log's key history with its proofs, its next change, and the members as they stand."""

import asyncio

from litestar import Response, get, post
from msgspec import Raw

from ledger.notes.receipts import Receipt
from ledger.tlog.tiles import TileReader
from ledger.tlog.tree import prove_inclusion
from trust.log.proven_keys import ProvenChange, ProvenLogKeys
from trust.service.acts.govern import LogKeyRequest, change_log_key
from trust.service.routes.http import ApiRequest, json_answer, read_json, service_of
from trust.service.service import Service


@get("/v1/log-keys")
async def log_keys(request: ApiRequest) -> Response[bytes]:
    """Give every published change of the log's keys with its proof (``trust.log.proven_keys``)."""
    service = service_of(request)
    note = await service.sequencer.wait_for(1, service.settings.service.receipt_wait_seconds)
    size = int(note.split(b"\n", 2)[1])
    keys = service.store.state.log_keys
    indices = [index for index, _ in keys.changes[1:] if index < size] if keys is not None else []
    changes = [await _prove(service, index, size, note) for index in indices]
    return json_answer(ProvenLogKeys(genesis=Raw(await service.store.entry(0) or b""), changes=changes))


async def _prove(service: Service, index: int, size: int, note: bytes) -> ProvenChange:
    reader = TileReader(service.tiles.read_tile, size)
    proof = await asyncio.to_thread(prove_inclusion, index, size, reader)
    receipt = Receipt(index=index, proof=proof, checkpoint=note).format().decode()
    return ProvenChange(index=index, entry=Raw(await service.store.entry(index) or b""), receipt=receipt)


@post("/v1/log-keys", status_code=200)
async def next_log_key(request: ApiRequest) -> Response[bytes]:
    """Have the log sign with its next key, which the stewards' quorum signed; it signs the tree that holds the entry."""
    wanted, _ = await read_json(request, LogKeyRequest, "log key")
    service = service_of(request)
    return json_answer({"index": await change_log_key(service.store, wanted, service.log_signer)})


@get("/v1/members", sync_to_thread=False)
def current_members(request: ApiRequest) -> Response[bytes]:
    """Give the members as they stand, by alias; the ledger has them too."""
    state = service_of(request).store.state
    return json_answer([body for _, body in sorted(state.members.items())])


routes = [log_keys, next_log_key, current_members]
