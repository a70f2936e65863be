"""``audit``: replay a town's whole ledger without trusting anyone, least of all the service."""

import hashlib
import sys
from pathlib import Path

import click
from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from trust.audit.report import AuditReport
from trust.cli.tables import console, nano
from trust.problems import exit_code_of
from trust.trust_file import load_trust


@click.command()
@click.argument("place")
@click.option(
    "--trust",
    "trust_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The pins (trust.json), from someone you trust. Without it the first ones seen are kept.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where what was seen is kept between audits of this place.  [default: in ~/.local/state/musubi]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def audit(place: str, trust_file: Path | None, state: Path | None, *, as_json: bool) -> None:
    """Check everything that a ledger promises.

    PLACE is a service's address, or a folder with a copy of its log. Ends with exit code 0 only if the verdict is ok.

    \b
    Example:  musubi audit http://127.0.0.1:8700 --trust .town/momijidai/trust.json
              musubi audit ./copy-of-log --json
    """
    from trust.audit.auditor import audit as run  # noqa: PLC0415 - the other commands need none of it

    folder = state or Path.home() / ".local/state/musubi" / hashlib.sha256(place.encode()).hexdigest()[:16]
    trust = load_trust(trust_file) if trust_file else None
    columns = (TextColumn("{task.description}"), BarColumn(32), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal) as progress:
        task = progress.add_task("entries checked", total=None)
        report = run(
            place,
            trust=trust,
            state_folder=folder,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if as_json:
        click.echo(report.to_json().decode())
    else:
        _show(report)
    sys.exit(0 if report.is_ok else exit_code_of(report.rule))


def _show(report: AuditReport) -> None:
    if report.is_ok:
        console.print(
            f"[green]Verdict: ok.[/] {report.entries:,} entries of {report.origin} in {report.seconds:.1f} s."
        )
    else:
        console.print(f"[red]Verdict: {report.verdict}[/]")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("checked")
    table.add_column("", justify="right")
    for kind, count in sorted(report.kinds.items()):
        table.add_row(kind, f"{count:,}")
    table.add_row("answers summed again from the holders' signed shares", f"{report.shares_checked:,}")
    for policy, spent in sorted(report.spent.items()):
        table.add_row(f"spent for life under {policy}", nano(spent))
    if report.kinds:
        console.print(table)
    if report.cosigners:
        console.print(f"Cosigned by: {', '.join(sorted(report.cosigners))}")
    if report.open_rounds:
        console.print(f"Still open: the questions at {', '.join(map(str, report.open_rounds))}")
    for note in report.notes:
        console.print(f"Note: {note}")
