"""What is published, given out: tiles, receipts, and the log's keys with their proofs.

What is given is what the checkpoint on disk commits to. The sequencer's own count may lag behind that file for a
moment, and a reader who has just fetched the checkpoint must find every tile of it: so the file is asked too.
"""

import asyncio

from msgspec import Raw

from ledger.errors import NotFound, Unavailable
from ledger.hashing import leaf_hash
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import parse_note
from ledger.notes.receipts import Receipt
from ledger.tlog.tiles import TILE_WIDTH, Tile, TileReader, hashes_at
from ledger.tlog.tree import prove_inclusion
from trust.log.proven_keys import ProvenChange, ProvenLogKeys
from trust.log.tile_folder import TileFolder
from trust.service.store.store import Store


async def read_published_tile(folder: TileFolder, tile: Tile, known: int, coming: int) -> bytes:
    """Return a tile's bytes; ``known`` is the published size as this process knows it, ``coming`` the ledger's.

    A file past the checkpoint may be torn, and is not given. Raises NotFound where the ledger does not reach so far,
    and Unavailable where it does and that is not published yet, or is not on our disk any more.
    """
    reaches = tile.index * TILE_WIDTH + tile.width
    if reaches > hashes_at(tile.level, known) and reaches > hashes_at(
        tile.level, await asyncio.to_thread(_size_on_disk, folder)
    ):
        if reaches > hashes_at(tile.level, coming):
            raise NotFound("The log has no such tile.")
        raise Unavailable("That tile of the log is not published yet; ask again in a moment.")
    try:
        return await asyncio.to_thread(folder.read_tile, tile)
    except NotFound:  # our disk has lost it: that is no word about the log
        raise Unavailable(
            "A published file of the log is missing here; the operator mends it: `musubi fsck`."
        ) from None


def _size_on_disk(folder: TileFolder) -> int:
    note = folder.read_checkpoint()
    return 0 if note is None else _size_of(note)


def _size_of(note: bytes) -> int:
    return Checkpoint.parse(parse_note(note).text).size


async def receipt_of(folder: TileFolder, index: int, note: bytes) -> Receipt:
    """Return the receipt of the entry at ``index`` under a published checkpoint that covers it."""
    size = _size_of(note)
    proof = await asyncio.to_thread(prove_inclusion, index, size, TileReader(folder.read_tile, size))
    return Receipt(index=index, proof=proof, checkpoint=note)


async def entry_of(store: Store, folder: TileFolder, index: int, size: int) -> bytes:
    """Return the bytes of a published entry, of ``size`` that there are; raise Unavailable where they are damaged."""
    data = await store.entry(index)
    reader = TileReader(folder.read_tile, size)
    (meant,) = await asyncio.to_thread(reader.read_hashes, [(0, index)])
    if data is None or leaf_hash(data) != meant:
        raise Unavailable("That entry is damaged here; the operator mends it with `musubi fsck`.")
    return data


async def prove_log_keys(store: Store, folder: TileFolder, note: bytes) -> ProvenLogKeys:
    """Return the genesis entry, and each change of the log's keys under a published checkpoint, with its receipt."""
    size, keys = _size_of(note), store.state.log_keys
    indices = [index for index, _ in keys.changes[1:] if index < size] if keys is not None else []
    changes = [
        ProvenChange(
            index=index,
            entry=Raw(await entry_of(store, folder, index, size)),
            receipt=(await receipt_of(folder, index, note)).format().decode(),
        )
        for index in indices
    ]
    return ProvenLogKeys(genesis=Raw(await entry_of(store, folder, 0, size)), changes=changes)
