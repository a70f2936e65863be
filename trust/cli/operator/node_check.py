"""``node check``: what becomes of a holder's own files, shown to the holder, on its own machine."""

import tomllib
from pathlib import Path

import click
import msgspec

from ledger import canonical
from ledger.errors import Malformed
from policies.policy_document import Policy, check_document
from trust.cli.operator.node_record import checked_as_json, show_own_record
from trust.cli.options import File, Folder, JsonOption
from trust.cli.terminal import Sheet, say, say_json, show_table
from trust.client import paths
from trust.client.http import call
from trust.client.wire import PublishedPolicy
from trust.node.check.findings import SourceFindings, ViewFindings
from trust.node.check.node_check import check_files
from trust.node.settings import NodeSettings, load_node_settings
from trust.runtime.http_clients import open_http

SECONDS = 15


@click.command("check")
@click.option("--dir", "folder", type=Folder, required=True, help="The node's folder, with node.toml.")
@click.option(
    "--policy", "files", type=File, multiple=True, help="A policy to look by, in place of those that the service shows."
)
@JsonOption
def check(folder: Path, files: tuple[Path, ...], as_json: bool) -> None:
    """Show what a node makes of its files: rows, customers, and each value that is not read.

    It is for the holder alone. Nothing that it finds leaves this machine, and it changes nothing; the node may run.

    \b
    Example:  musubi node check --dir .town/momijidai/nodes/bus_co
              musubi node check --dir node --policy mobility_demand.toml
    """
    settings = load_node_settings(folder)
    policies = [_read(path) for path in files] if files else _published(folder, settings)
    found = check_files(folder, settings, policies)
    if as_json:
        say_json(checked_as_json(folder, settings, found))
        return
    for source in found:
        _show(source)
    show_own_record(folder, settings, found)


def _read(path: Path) -> Policy:
    try:
        document = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Policy)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Malformed(f"{path.name}: {error}.") from None
    check_document(document)
    return document


def _published(folder: Path, settings: NodeSettings) -> list[Policy]:
    ca_file = None if settings.ca_file is None else folder / settings.ca_file
    with open_http(settings.service, seconds=SECONDS, ca_file=ca_file, proxy=settings.proxy) as http:
        said = canonical.decode(call(http, "GET", paths.POLICIES).content, list[PublishedPolicy], "answer")
    return [canonical.decode(bytes(each.policy), Policy, "policy") for each in said]


def _show(source: SourceFindings) -> None:
    say("[bold]{}[/]: {}", source.source, source.file)
    if source.refused:
        where = f" (line {source.line:,})" if source.line is not None else ""
        say("  [red]It is not taken in.[/] {}{}", source.refused, where)
        return
    say("  {:,} rows of {:,} customers.", source.rows, source.customers)
    say("  {:,} of {:,} linked customers are in this file.", source.linked_here, source.linked)
    for left in source.left_out:
        say("  {:,} rows: {} (lines {} …).", left.rows, left.why, ", ".join(f"{line:,}" for line in left.lines))
    for sentence in source.advice:
        say("  [yellow]{}[/]", sentence)
    for view in source.views:
        _show_view(view, source.rows)


def _show_view(view: ViewFindings, rows: int) -> None:
    say("  View {} of {}: at most {:,} rows of one person.", view.view, view.policy, view.rows_per_resident)
    table = Sheet()
    for heading in ("column", "in the file", "empty", "not read", "outside", "clipped", "the commonest of these"):
        table.add_column(heading)
    for column in view.columns:
        if column.missing:
            table.add_row(column.column, "not there")
            continue
        numbers = (column.null, column.unread, column.outside, column.clipped)
        commonest = ", ".join(f"'{each.value}' {each.rows:,} ×" for each in column.examples)
        table.add_row(column.column, column.in_file, *(f"{number:,}" for number in numbers), commonest)
    show_table(table)
    kept = ", ".join(f"R = {each.rows_per_resident}: {each.rows / max(rows, 1):.1%}" for each in view.keeps)
    say("  Of all rows it would keep: {}.", kept)
