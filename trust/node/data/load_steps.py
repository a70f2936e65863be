"""What of a source is still to be read: everything, the rows of new links, or those of new files, in this order.

A snapshot says of which files, columns and links it was made (``trust.node.data.snapshots.Contents``). Where all that
is there is of it, nothing is read again.
"""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
from msgspec import Struct

from trust.node.data.snapshots import Part, TypedColumn
from trust.node.sources.mapping import SourceMapping
from trust.node.sources.source_file import ColumnKind, SourceFile
from trust.node.sources.source_parts import FileMark
from trust.node.sources.tables.one_table import FileRefused

CHANGED = (
    "A file that was taken in is changed or gone, and append_only in node.toml says that none is. Put it back; or take "
    "append_only away, and all files are read anew."
)


class Links(Struct, frozen=True, kw_only=True):
    """The links there are, all of slots below ``below``; ``from_slot`` gives (customer, slot, salt) from a slot on.

    ``digest`` tells those below a slot from any others (``trust.node.data.link_table``).
    """

    from_slot: Callable[[int], pa.Table]
    digest: Callable[[int], str]
    below: int


class LoadStep(Struct, frozen=True):
    """One pass: over the files from ``first_file`` to before ``after_file``, for links from ``first_slot`` on."""

    first_file: int
    after_file: int
    first_slot: int

    @property
    def is_whole(self) -> bool:
        """Whether all is loaded anew."""
        return self.first_file == 0 and self.first_slot == 0


def steps_to_load(
    parts: Sequence[Part],
    marks: list[FileMark],
    mapping: SourceMapping,
    columns: Sequence[TypedColumn],
    links: Links,
) -> list[LoadStep]:
    """Return what is to be read, in this order; nothing where all is in the parts of the snapshot.

    Raises FileRefused where a source that only grows did not.
    """
    whole = [LoadStep(0, len(marks), 0)]
    if not parts or parts[-1].contents.mapping != mapping.sha256():
        return whole
    last = parts[-1].contents
    if mapping.append_only:
        there = set(marks)
        gone = [mark.name for mark in last.files if mark not in there]
        if gone:
            raise FileRefused(CHANGED, detail=gone[0])
    taken = len(last.files)
    if not taken or last.files != (marks[:taken] if mapping.append_only else marks):
        return whole
    stored = {column.stored for column in columns}
    if any(not stored <= set(part.contents.columns) for part in parts):
        return whole
    if last.below > links.below or last.links != links.digest(last.below):  # the books are others, or lost some
        return whole
    of_new_links = [LoadStep(0, taken, last.below)] if last.below < links.below else []
    of_new_files = [LoadStep(taken, len(marks), 0)] if taken < len(marks) else []
    return of_new_links + of_new_files


def fitting(steps: list[LoadStep], parts: Sequence[Part], names: Sequence[str], source: SourceFile) -> list[LoadStep]:
    """Return the steps, or one of everything where new files have columns of other types than those taken in."""
    last = steps[-1]
    if last.first_file:
        known = parts[-1].contents.kinds
        kinds = said_kinds(source.column_kinds(names, last.first_file, last.after_file))
        if any(known.get(name) != kind for name, kind in kinds.items()):
            return [LoadStep(0, last.after_file, 0)]
    return steps


def said_kinds(kinds: Mapping[str, ColumnKind]) -> dict[str, str]:
    """Return what columns are handed on as, in words that a snapshot keeps."""
    return {name: f"{kind.carried} {kind.type_}" for name, kind in kinds.items()}
