"""Run by another Python, with another's library: appends the batches that come on standard input, and says how long.

``other_log_append.py aics-tlog|pymerkle|pymerkle-each FOLDER``. A batch is 4 bytes of length and that many bytes: each
entry a big-endian uint16 length and its bytes. The answer is a line: seconds, and the root in hexadecimal.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

Append = Callable[[list[bytes]], bytes]


def tlog(folder: Path) -> Append:
    """Append to tiles with aics-tlog, durably (its default), with a signed checkpoint after each batch."""
    from aics_tlog import Checkpoint, DirectoryTileStore, IncrementalTileWriter, sign_checkpoint
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    store = DirectoryTileStore(folder)
    writer = IncrementalTileWriter(store, size=0)
    origin = "bench.example/log"

    def append(entries: list[bytes]) -> bytes:
        writer.append(entries)
        root = writer.root()
        note = sign_checkpoint(Checkpoint(origin, writer.size, root), key, origin)
        store.write_checkpoint(note.to_bytes())
        return bytes(root)

    return append


def merkle(folder: Path, *, each: bool = False) -> Append:
    """Append to a SQLite database with pymerkle, all in one call or one by one; ask for the root after each batch."""
    from pymerkle import SqliteTree

    folder.mkdir()
    tree = SqliteTree(str(folder / "tree.sqlite"))

    def append(entries: list[bytes]) -> bytes:
        if each:
            for entry in entries:
                tree.append_entry(entry)
        else:
            tree.append_entries(entries)
        return bytes(tree.get_root())

    return append


def main() -> None:
    """Answer batch after batch until standard input ends."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    append = tlog(folder) if kind == "aics-tlog" else merkle(folder, each=kind == "pymerkle-each")
    while length := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(int.from_bytes(length, "big"))
        entries = []
        at = 0
        while at < len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            entries.append(data[at + 2 : end])
            at = end
        start = time.perf_counter()
        root = append(entries)
        print(time.perf_counter() - start, root.hex(), flush=True)


if __name__ == "__main__":
    main()
