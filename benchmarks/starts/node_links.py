"""How long a node's start takes for its links: 1,000,000 customers, from the books to the engine.

In four steps: opening the books, which looks at the seal of every row; reading the links; salts and table in the
engine; their digest, by which a snapshot is known to be of these links. (A holder's leaves have seals too, which are
not here.)
"""

import tempfile
import time
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from trust.node.books.books import Books
from trust.node.data.views import ViewStore

LINKS = 1_000_000
TARGET = "<= 3"


def run(links: int = LINKS) -> list[dict[str, Any]]:
    """Measure, and return one row."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as root:
        path = Path(root) / "books.sqlite"
        books = Books(path)
        with books.transaction():
            books.link((sha256(b"%d" % number).hexdigest(), f"{10_000_000 + number}") for number in range(links))
        books.close()
        marks = [(time.perf_counter(), time.process_time())]

        def mark() -> None:
            marks.append((time.perf_counter(), time.process_time()))

        books = Books(path)
        mark()
        store = ViewStore(Path(root), {}, bytes(32))
        marks[-1] = (time.perf_counter(), time.process_time())
        pairs = books.linked(store.linked)
        mark()
        store.set_links(pairs)
        mark()
        given = store._links()  # noqa: SLF001 - what a load asks for at once
        given.digest(given.below)
        mark()
        store.close()
        books.close()
    wall = [after[0] - before[0] for before, after in pairwise(marks)]
    used = [after[1] - before[1] for before, after in pairwise(marks)]
    return [
        {
            "name": f"a node's start with {links:,} links: from the books into the engine, s of the processor",
            "ratio": sum(used[1:]),
            "target": TARGET,
            "detail": f"reading {used[1]:.1f} s, salts and table {used[2]:.1f} s, digest {used[3]:.1f} s; by the clock "
            f"{sum(wall[1:]):.1f} s; before it, the links' seals {used[0]:.1f} s of the processor "
            f"({wall[0]:.1f} s by the clock)",
        }
    ]
