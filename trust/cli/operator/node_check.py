"""``node check``: what becomes of a holder's own files, shown to the holder, on its own machine."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from ledger.errors import Malformed, NotFound
from policies.policy_document import Policy, check_document
from trust.cli.operator.node_record import checked_as_json, show_own_record
from trust.cli.options import File, Folder, JsonOption
from trust.cli.terminal import Sheet, progress_bar, say, say_json, sentence, show_table
from trust.node.check.findings import SourceFindings, UnevenRows, ViewFindings, Why, tenths_of
from trust.node.check.node_check import check_files, suggest_mapping
from trust.node.check.public_service import open_service
from trust.node.check.suggestion import Draft
from trust.node.settings import NodeSettings, load_node_settings
from trust.node.sources.tables.one_table import RowPlace, places_by_file

BAR = 30
"""The bar of all rows, in characters."""


WHY: dict[Why, str] = {
    "no customer": "they have no customer",
    "customer not read": "what stands there as their customer is not read",
    "not linked": "their customers have not linked",
}


@click.command("node check")
@click.option("--dir", "folder", type=Folder, required=True, help="The node's folder, with node.toml.")
@click.option(
    "--policy", "files", type=File, multiple=True, help="A policy to look by, in place of those that the service shows."
)
@click.option("--suggest", "suggested", type=File, help="Draft the table of node.toml for this file instead.")
@click.option("--source", help="With --suggest: which source the file is; the one that fits it best otherwise.")
@click.option("--table", default="", help="With --suggest: which table of a database.")
@click.option("--zone", default="Asia/Tokyo", show_default=True, help="With --suggest: the town's time zone.")
@JsonOption
def check(
    folder: Path,
    files: tuple[Path, ...],
    suggested: Path | None,
    source: str | None,
    table: str,
    zone: str,
    as_json: bool,
) -> None:
    """Show what a node makes of its files: rows, customers, and each value that is not read.

    It is for the holder alone. Nothing that it finds leaves this machine, and it changes nothing; the node may run.

    \b
    Example:  musubi node check --dir .town/momijidai/nodes/bus_co
              musubi node check --dir node --policy mobility_demand.toml
              musubi node check --dir node --suggest data/乗車実績.csv
    """
    settings = load_node_settings(folder)
    policies = [_read(path) for path in files] if files else _published(folder, settings)
    if suggested is not None:
        draft = suggest_mapping(folder, settings, policies, suggested, source, zone, table)
        if as_json:
            say_json(msgspec.to_builtins(draft))
        else:
            _show_draft(draft)
        return
    with progress_bar("rows read", hidden=as_json, with_total=False) as progress:
        found = check_files(folder, settings, policies, lambda rows: progress(rows, None))
    if as_json:
        say_json(checked_as_json(folder, settings, found))
        return
    for each in found:
        show_source(each)
    show_own_record(folder, settings, found)


def _read(path: Path) -> Policy:
    try:
        document = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Policy)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Malformed(f"{path.name}: {error}.") from None
    check_document(document)
    return document


def _published(folder: Path, settings: NodeSettings) -> list[Policy]:
    with open_service(folder, settings) as client:
        policies = list(client.policies().values())
    if not policies:
        raise NotFound("The service shows no policy yet; give one with --policy.")
    return policies


def _show_draft(draft: Draft) -> None:
    say("[bold]What was guessed[/] for the source {}:", draft.source)
    for guess in draft.says:
        say("  {}", guess)
    say("")
    say("[bold]For node.toml[/], in place of what it says of {} now; then look with `musubi node check`:", draft.source)
    say("")
    for line in draft.toml.splitlines():
        say("{}", line, whole_line=True)  # a line that is broken is no TOML any more


def show_source(source: SourceFindings) -> None:
    """Print what was found in one source's file."""
    say("[bold]{}[/]: {}", source.source, source.file)
    if source.refused:
        where = f" (line {source.line:,})" if source.line is not None else ""
        say("  [red]It is not taken in.[/] {}{}", source.refused, where)
        for advice in source.advice:
            say("  [yellow]{}[/]", advice)
        return
    say("  {:,} rows of {:,} customers.", source.rows, source.customers)
    if source.linked:
        say("  {:,} of {:,} linked customers are in this file.", source.linked_here, source.linked)
    else:
        say("  Nobody has linked yet.")
    for left in source.left_out:
        more = " …" if left.rows > len(left.places) else ""
        say("  {:,} rows count for nobody: {}. {}", left.rows, WHY[left.why], f"In {places_said(left.places)}{more}")
    for copies in source.copies:
        how = "are the same, byte by byte" if copies.of_bytes else "have the same rows, in the columns that are read"
        say(
            "  [yellow]These files {}, so that each such row counts more than once: {}.[/]",
            how,
            ", ".join(copies.files),
        )
    for uneven in source.uneven:
        _show_uneven(uneven)
    for advice in source.advice:
        say("  [yellow]{}[/]", advice)
    for view in source.views:
        _show_view(view)


def _show_uneven(uneven: UnevenRows) -> None:
    fields = "more fields than the header" if uneven.are_longer else "fewer fields than the header"
    place = places_said([uneven.first])
    if uneven.are_longer:
        say(
            '  [yellow]{:,} rows have {}, the first of them in {}: what is behind is cut off. Is there a "{}" within a value '
            "that is not in quotes, as in 1,200? Write such values in quotes.[/]",
            uneven.rows,
            fields,
            place,
            uneven.delimiter,
        )
    else:
        say(
            "  [yellow]{:,} rows have {}, the first of them in {}: what lacks is empty. Is there a line's end within a value "
            "that is not in quotes, or a field left out, so that others stand in its place?[/]",
            uneven.rows,
            fields,
            place,
        )


def places_said(places: Sequence[RowPlace]) -> str:
    """Return where rows are: lines or rows, by file where there are several."""
    said = []
    for file, unit, numbers in places_by_file(places):
        shown = ", ".join(f"{number:,}" for number in numbers)
        said.append(f"{f'{file}: ' if file else ''}{unit}{'s' * (len(numbers) > 1)} {shown}")
    return "; ".join(said)


def _show_view(view: ViewFindings) -> None:
    say("")
    say("  [bold]{}[/] of {}: of each person at most {:,} rows count.", view.view, view.policy, view.rows_per_resident)
    table = Sheet()
    table.add_column("column")
    table.add_column("in the file")
    for heading in ("empty", "not read", "outside", "clipped"):
        table.add_column(heading, justify="right")
    table.add_column("the commonest that are not read, outside or clipped")
    for column in view.columns:
        if column.missing:
            table.add_row(column.column, sentence("[yellow]not there[/]"))
            continue
        numbers = (column.null, column.unread, column.outside, column.clipped)
        commonest = ", ".join(
            f"{f'not {each.not_in}: ' * bool(each.not_in)}'{each.value}' {each.rows:,} ×" for each in column.examples
        )
        table.add_row(
            column.column, column.in_file, *(f"{number:,}" if number else "" for number in numbers), commonest
        )
    show_table(table)
    kept = Sheet()
    kept.add_column("at most", justify="right")
    kept.add_column("rows kept", justify="right")
    kept.add_column()
    for each in view.keeps:
        bar = "█" * (BAR * each.rows // max(view.rows, 1))
        now = " (as it is)" if each.rows_per_resident == view.rows_per_resident else ""
        kept.add_row(f"{each.rows_per_resident:,}{now}", f"{tenths_of(each.rows, view.rows)}%", bar)
    show_table(kept)
