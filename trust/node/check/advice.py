"""What looks wrong in a holder's file, and what to write in ``node.toml`` about it: sentences for the holder.

Each rests on the file's own values (``trust.node.check.fitting``) or bytes (``trust.node.check.written_form``). Nothing
is changed by itself.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from policies.policy_document import Column
from trust.node.check.fitting import fitter
from trust.node.check.written_form import advise_on_form, beginning_of, end_of, seems_text
from trust.node.check.written_mapping import column_entry
from trust.node.sources.source_file import SourceFile

FEW = 0.01
"""The part of the rows from which on readers that would help are worth a sentence."""
_SHOWN = 12
_WITH_PART = re.compile(r"\s*[+-]?[0-9]+\.[0-9]*[1-9][0-9]*\s*", re.ASCII)


def advise_on_form_of(file: SourceFile) -> list[str]:
    """Return how CSV files seem to be written otherwise than their mapping says, of several the first such one's."""
    if not file.mapping.is_csv:
        return []
    for path in file.paths():
        data = beginning_of(path)
        if not data or not seems_text(data):
            continue
        found = advise_on_form(data, end_of(path), file.mapping.csv)
        if found:
            return [f"{path.name}: {each}" for each in found] if file.mapping.is_many else found
    return []


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"


def advise_on_header(source: str, in_file: Sequence[str], wanted: Sequence[str], said: Sequence[str]) -> list[str]:
    """Return what to write where a wanted name stands in a file's header twice, or the mapping names no view's column.

    ``in_file`` is the header, ``wanted`` the names in it that are read, ``said`` those that the mapping says and no
    view of the policies has.
    """
    twice = [name for name in dict.fromkeys(wanted) if in_file.count(name) > 1]
    found = [
        f'"{name}" stands in the header {in_file.count(name)} times; the first of them is read. To tell them apart, pass over '
        "the header with skip, and give every column a name of its own with names = [ … ]."
        for name in twice
    ]
    return [*found, *(f"[sources.{source}.columns] names {each}, which no view of the policies has." for each in said)]


def advise_on_missing(source: str, name: str, in_file: str, there: Sequence[str]) -> str:
    """Return what to write for a column that the file has not, by the name that was looked for."""
    near = get_close_matches(in_file, there, n=1, cutoff=0.6) or [
        each for each in there if each.strip(" \u3000").casefold() == in_file.strip(" \u3000").casefold()
    ]
    if near:
        entry = column_entry(name, near[0], [], {}).as_string()
        return f'{name}: the file has no "{in_file}", but "{near[0]}". In [sources.{source}.columns]: {name} = {entry}.'
    shown = ", ".join(f'"{each}"' for each in there[:_SHOWN])
    more = f" and {len(there) - _SHOWN:,} more" if len(there) > _SHOWN else ""
    return (
        f'{name}: the file has no "{in_file}"; it has {shown}{more}. Say which it is in [sources.{source}.columns]: '
        f'{name} = "…".'
    )


def advise_on_readers(
    name: str,
    in_file: str,
    column: Column | None,
    rows: Mapping[str, int],
    fitting_now: int,
    linked: Sequence[str],
    zone: ZoneInfo | None,
) -> str | None:
    """Return which readers would make more rows fit a column, None where none would; None as column: the customer's.

    ``rows`` has each text as it stands in the file with its rows, ``fitting_now`` how many of all rows fit.
    """
    of = sum(rows.values())
    if of - fitting_now < max(1, FEW * of):
        return None  # whatever would be tried
    best = fitter(column, linked)(rows, zone)
    more = best.rows - fitting_now
    if not (best.read or best.values) or more < max(1, FEW * best.of):
        return None
    what = "would be of customers who have linked" if column is None else "would be read"
    entry = column_entry(name, in_file, best.read, best.values).as_string()
    return f"{name}: {more:,} more {'row' if more == 1 else 'rows'} {what} with {name} = {entry}."


def advise_on_decimals(name: str, in_file: str, rows: Mapping[str, int]) -> list[str]:
    """Return what to write where a whole number is asked for and some rows have a part of one, which is rounded."""
    parts = {text: many for text, many in rows.items() if _WITH_PART.fullmatch(text)}
    if not parts:
        return []
    digits = max(len(text.rpartition(".")[2].rstrip("0")) for text in parts)
    factor = 10 ** min(digits, 8)
    sentence = (
        f"{name}: {_rows(sum(parts.values()))} decimals, which are rounded. If it is in another unit, have it "
        f"multiplied: {name} = {column_entry(name, in_file, [f'times {factor}'], {}).as_string()}."
    )
    return [sentence]
