"""A mapping, or one column of it, as it is written in ``node.toml``."""

from collections.abc import Mapping, Sequence

import tomlkit
from tomlkit.items import Item

from trust.node.sources.mapping import SourceMapping

_PLAIN = SourceMapping()


def column_entry(column: str, in_file: str, read: Sequence[str], values: Mapping[str, str]) -> Item:
    """Return what stands behind ``column =``: the file's column, by which readers it is read, and texts for values."""
    if not read and not values:
        return tomlkit.item(in_file)
    row = tomlkit.inline_table()
    if in_file != column:
        row["from"] = in_file
    if read:
        row["read"] = list(read)
    if values:
        table = tomlkit.inline_table()
        table.update(values)
        row["values"] = table
    return row


def written_mapping(source: str, mapping: SourceMapping, columns: Mapping[str, Item]) -> str:
    """Return the table ``[sources.<source>]``: what of a mapping is not plain, and each column's entry."""
    table = tomlkit.table()
    table["file"] = mapping.file
    if SourceMapping(file=mapping.file).kind_of_file != mapping.kind_of_file:
        table["kind"] = mapping.kind_of_file
    for name in ("table", "encoding", "delimiter", "quote", "skip", "names", "zone"):
        if getattr(mapping, name) != getattr(_PLAIN, name):
            table[name] = getattr(mapping, name)
    if columns:
        table["columns"] = tomlkit.table()
        table["columns"].update(columns)
    document = tomlkit.document()
    document["sources"] = tomlkit.table(is_super_table=True)
    document["sources"][source] = table
    return tomlkit.dumps(document)
