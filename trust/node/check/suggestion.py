"""Drafting a source's mapping from a file: which of its columns is which of the policies', and how each is read.

What it rests on are names and values. Everything that was guessed is said, and the holder decides.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from msgspec import Struct, structs

from policies.languages import TITLE_LANGUAGES
from policies.policy_document import Category, Column, Measure, View
from policies.time_zones import time_zone_of
from trust.node.check.fitting import Fit, columns_read, fitter
from trust.node.check.written_form import MOST_TITLE_LINES, beginning_of, guess_form, guess_kind
from trust.node.check.written_mapping import column_entry, written_mapping
from trust.node.sources.csv_file import QuotesDoNotFit
from trust.node.sources.mapping import WITH_TABLES, SourceMapping
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import FileRefused

ROWS = 20_000
"""Rows that a draft looks at."""
ENOUGH = 0.5
"""The part of a column's rows that must fit where names say nothing."""
_OFFSET = re.compile(r"(?:Z|[+-][0-9]{2}:?[0-9]{2})$", re.ASCII)


class Chosen(Struct, frozen=True, kw_only=True):
    """A column of the policies, the file's column that it is taken from, what that rests on, and which fit as well."""

    column: str
    in_file: str
    fit: Fit
    by_name: bool
    others: list[str] = []


class Draft(Struct, frozen=True, kw_only=True):
    """A source's table for ``node.toml`` as text, and a sentence for each thing that was guessed or not found."""

    source: str
    toml: str
    says: list[str]


def draft_mapping(
    source: str,
    path: Path,
    shown_path: str,
    views: Sequence[tuple[str, View]],
    linked: Sequence[str],
    zone: str,
    table: str = "",
) -> Draft:
    """Draft the mapping of one source from a file; ``zone`` is the trust's, for times that say their distance from UTC.

    ``table`` is which one of a database's.

    Raises FileRefused where the file cannot be read at all, with what is wrong.
    """
    says: list[str] = []
    written = _mapping_of(path, table, says)
    columns = _sample(path, written)
    wanted = columns_read(views)
    has_offsets = any(_OFFSET.search(text) for rows in columns.values() for text in list(rows)[:50] if ":" in text)
    time_zone = time_zone_of(zone) if zone and has_offsets else None
    chosen: list[Chosen] = []
    for name in sorted(wanted, key=lambda each: _breadth(wanted[each])):
        found = _choose(name, wanted[name], columns, chosen, linked, time_zone)
        chosen += [found] if found is not None else []
    by_name = {each.column: each for each in chosen}
    for name, column in wanted.items():
        if name in by_name:
            says.append(_said(by_name[name], is_customer=column is None, has_links=bool(linked)))
        else:
            says.append(f"{name}: no column of the file looks like it; say which it is, in [sources.{source}.columns].")
    chosen = [by_name[name] for name in wanted if name in by_name]
    if time_zone is not None:
        says.append(f"zone: some times say their distance from UTC; they are turned to {zone}.")
    entries = {
        each.column: column_entry(each.column, each.in_file, each.fit.read, each.fit.values)
        for each in chosen
        if each.in_file != each.column or each.fit.read or each.fit.values
    }
    mapping = structs.replace(written, file=shown_path, zone=zone if time_zone is not None else "")
    return Draft(source=source, toml=written_mapping(source, mapping, entries), says=says)


def best_source(path: Path, views: Mapping[str, Sequence[tuple[str, View]]], table: str = "") -> str:
    """Return the source whose columns the file's names fit best; the first of several that fit alike.

    Raises FileRefused as ``draft_mapping``.
    """
    there = {_plain(name) for name in SourceFile(path, _mapping_of(path, table, [])).columns()}

    def named(source: str) -> int:
        columns = columns_read(views[source])
        return sum(bool(_names_of(name, column) & there) for name, column in columns.items() if column is not None)

    return max(views, key=named)


def _mapping_of(path: Path, table: str, says: list[str]) -> SourceMapping:
    """Return how a file is written, without its columns."""
    data = beginning_of(path)
    kind = guess_kind(data)
    if kind in WITH_TABLES and not table:
        raise FileRefused("It is a database: say which table of it, with --table.")
    if kind == "xlsx":
        return _mapping_of_sheet(path, says)
    if kind != "csv":
        return SourceMapping(file=path.name, kind=kind, table=table)
    form = guess_form(data)
    if form is None:
        raise FileRefused("It is text in none of the encodings that can be read, or no text.")
    if form.encoding != "utf-8":
        says.append(f"encoding: its bytes are those of {form.encoding.upper()}.")
    if form.delimiter != ",":
        says.append(f"delimiter: most lines are parted by {form.delimiter!r}.")
    if form.skip:
        says.append(f"skip: what stands in the lines above the header ({form.skip:,}) looks like titles.")
    if form.names:
        says.append("names: its first line looks like data. The names are made up: write better ones.")
    return SourceMapping(
        file=path.name,
        kind="csv",
        encoding=form.encoding,
        delimiter=form.delimiter,
        quote=form.quote,
        skip=form.skip,
        names=form.names,
    )


def _mapping_of_sheet(path: Path, says: list[str]) -> SourceMapping:
    """Return how a spreadsheet is written: its header is the first line in which most columns have a name."""
    written = [SourceMapping(file=path.name, kind="xlsx", skip=skip) for skip in range(MOST_TITLE_LINES)]
    named = []
    for each in written:
        try:
            named.append(len(SourceFile(path, each).columns()))
        except FileRefused:  # an empty line is no header
            named.append(0)
    found = written[named.index(max(named))]
    if found.skip:
        says.append(f"skip: what stands in the lines above the header ({found.skip:,}) looks like titles.")
    return found


def _sample(path: Path, mapping: SourceMapping) -> dict[str, Counter[str]]:
    """Return by column the texts of the first rows, each with its number of rows."""
    file = SourceFile(path, mapping)
    names = list(dict.fromkeys(file.columns()))
    found: dict[str, Counter[str]] = {name: Counter() for name in names}
    try:
        part = next(file.read_as_it_stands(names)).slice(0, ROWS)
    except QuotesDoNotFit as error:
        raise FileRefused(error.message, error.line) from None
    for number, name in enumerate(names):
        found[name].update(value for value in part.column(number).to_pylist() if value is not None)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\s\u3000_.\-()]+", "", unicodedata.normalize("NFKC", name)).casefold()


def _names_of(name: str, column: Column | None) -> set[str]:
    names = {_plain(name)}
    if column is not None:
        names |= {_plain(column.title[language]) for language in TITLE_LANGUAGES if language in column.title}
    return names


def _breadth(column: Column | None) -> tuple[int, int]:
    """Return how much fits a column: what little fits is chosen first, for it is the surest."""
    if column is None:
        return (0, 0)
    if isinstance(column, Category):
        return (1, len(column.values))
    return (3 if isinstance(column, Measure) else 2, column.hi - column.lo)


def _choose(
    name: str,
    column: Column | None,
    columns: Mapping[str, Counter[str]],
    chosen: Sequence[Chosen],
    linked: Sequence[str],
    zone: ZoneInfo | None,
) -> Chosen | None:
    """Return the best column of the file: one of its name or title where there is one, otherwise one that fits.

    A column is taken twice only where it is read otherwise, as the hour and the weekday of one time are.
    """
    taken = {(each.in_file, each.fit.read) for each in chosen} | {(each.in_file, ()) for each in chosen}
    names = _names_of(name, column) | (_CUSTOMER_NAMES if column is None else set())
    fit_of = fitter(column, linked)
    best: tuple[tuple[bool, float, int], Chosen] | None = None
    others: list[str] = []
    for place, (in_file, rows) in enumerate(columns.items()):
        fit, plain = fit_of(rows, zone), _plain(in_file)
        is_named = plain in names
        is_like = is_named or any(_is_part(plain, each) for each in names)
        if not is_named and ((in_file, fit.read) in taken or fit.share < ENOUGH or (column is None and not linked)):
            continue
        rank = (is_named or is_like, fit.share, -place)
        others.append(in_file)
        if best is None or rank > best[0]:
            best = rank, Chosen(column=name, in_file=in_file, fit=fit, by_name=is_named)
    if best is None:
        return None
    return structs.replace(best[1], others=[each for each in others if each != best[1].in_file])


def _is_part(one: str, other: str) -> bool:
    return min(len(one), len(other)) > 1 and (one in other or other in one)


_CUSTOMER_NAMES = {
    _plain(name)
    for name in (
        "customer", "customer_id", "customer_no", "member", "member_id", "card_no", "user_id", "resident_id",
        "会員番号", "会員ID", "会員No", "顧客番号", "顧客ID", "顧客コード", "お客様番号", "カード番号", "利用者番号", "住民番号",
    )
}  # fmt: skip


def _said(chosen: Chosen, *, is_customer: bool, has_links: bool) -> str:
    why = "by its name" if chosen.by_name else "by its values"
    how = f", read by {', '.join(chosen.fit.read)}" if chosen.fit.read else ""
    how += ", by the policy's labels" if chosen.fit.values else ""
    if is_customer and not has_links:
        return f'{chosen.column}: "{chosen.in_file}", {why}. Nobody has linked yet, so how it is written is not known.'
    what = "are of customers who have linked" if is_customer else "fit"
    also = "" if chosen.by_name or not chosen.others else f" These fit as well: {', '.join(chosen.others)}."
    return (
        f'{chosen.column}: "{chosen.in_file}", {why}{how}; {chosen.fit.share:.1%} of the rows looked at {what}.{also}'
    )
