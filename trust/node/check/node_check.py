"""Looking through all files of a holder's node at once: what its settings, links and the policies say, put together."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from ledger.errors import Malformed, NotFound
from policies.policy_document import Policy, View
from trust.node.books.reading import books_read
from trust.node.check.file_check import Told, check_source
from trust.node.check.findings import SourceFindings
from trust.node.check.suggestion import Draft, best_source, draft_mapping
from trust.node.settings import BOOKS, NodeSettings
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import FileRefused


def views_at(policies: Sequence[Policy], holder: str) -> dict[str, list[tuple[str, View]]]:
    """Return by source the views that a holder has data for, each with its policy's name."""
    found: dict[str, list[tuple[str, View]]] = {}
    for policy in policies:
        for view in policy.views:
            if holder in view.holders:
                found.setdefault(view.source, []).append((policy.id, view))
    return found


def check_files(
    folder: Path, settings: NodeSettings, policies: Sequence[Policy], told: Told = lambda _: None
) -> list[SourceFindings]:
    """Look through each source's file. Nothing is changed, and the node may run meanwhile.

    ``told`` is called with how many rows of all sources have been read so far.
    Raises Malformed for settings that are none, Unavailable where the node's books cannot be read.
    """
    linked = linked_customers(folder)
    views = views_at(policies, settings.alias)
    found: list[SourceFindings] = []
    with tempfile.TemporaryDirectory(prefix="musubi-check-") as spill:  # 0700
        for name, mapping in settings.mappings.items():
            file = SourceFile(folder / mapping.place, mapping)
            before = sum(each.rows for each in found)
            here = lambda rows, before=before: told(before + rows)  # noqa: E731
            found.append(check_source(name, file, views.get(name, []), linked, Path(spill), here))
    return found


def linked_customers(folder: Path) -> list[str]:
    """Return the customers who have linked, as the node's books have them; none where there are no books yet."""
    path = folder / BOOKS
    if not path.exists():
        return []
    with books_read(path) as books:
        return books.customers()


def suggest_mapping(
    folder: Path,
    settings: NodeSettings,
    policies: Sequence[Policy],
    path: Path,
    source: str | None,
    zone: str,
    table: str,
) -> Draft:
    """Draft what ``node.toml`` may say of a file.

    ``source`` is which one it is, None for the one that fits best; ``zone`` the town's, for times that say their
    distance from UTC, and ``table`` which one of a database's.

    Raises NotFound where no policy has a view of that source at this holder, Malformed for a file that cannot be read.
    """
    views = views_at(policies, settings.alias)
    if not views or (source is not None and source not in views):
        known = ", ".join(views) or "none"
        raise NotFound(f"No policy has a view at {settings.alias} over that source; they have: {known}.")
    place = path.resolve()
    shown = place.relative_to(folder.resolve()) if place.is_relative_to(folder.resolve()) else place
    try:
        chosen = source or best_source(path, views, table)
        return draft_mapping(chosen, path, str(shown), views[chosen], linked_customers(folder), zone, table)
    except FileRefused as error:
        raise Malformed(f"{path.name}: {error.in_full}") from None
