"""``make bench``: run every benchmark, print the table, and write RESULTS.md. ``make bench ONLY=intake`` runs one."""

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import append, first_words, intake, large_log, memory, other_logs, query_way, replay, single_grant, view
from benchmarks.holders import bounding_engines, mapped_load
from benchmarks.starts import node_links, node_start

ALL: dict[str, Callable[[], Any]] = {
    "append": append.run,
    "other_logs": other_logs.run,
    "large_log": large_log.run,
    "replay": replay.run,
    "intake": intake.run,
    "single_grant": single_grant.run,
    "view": view.run,
    "mapped_load": mapped_load.run,
    "bounding_engines": bounding_engines.run,
    "query_way": query_way.run,
    "memory": memory.run,
    "first_words": first_words.run,
    "node_start": node_start.run,
    "node_links": node_links.run,
}


def main() -> None:
    """Run, print, write."""
    wanted = sys.argv[1:] or list(ALL)
    rows: list[dict[str, Any]] = []
    for name in wanted:
        print(f"… {name}", flush=True)
        began = time.perf_counter()
        found = ALL[name]()
        rows += found if isinstance(found, list) else [found]
        print(f"  {time.perf_counter() - began:.0f} s", flush=True)
    lines = ["| what | figure | target | detail |", "|---|---|---|---|"]
    lines += [
        f"| {row['name']} | {float(row['ratio']):.2f} | {row['target'] or '–'} | {row['detail']} |" for row in rows
    ]
    table = "\n".join(lines)
    print(table)
    if not sys.argv[1:]:
        head = (
            "# What it costs\n\n"
            f"Written by `make bench` on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores, "
            f"Python {platform.python_version()}. Each figure is measured in one run with its yardstick.\n\n"
        )
        (Path(__file__).parent / "RESULTS.md").write_text(head + table + "\n", "utf-8")


if __name__ == "__main__":
    main()
