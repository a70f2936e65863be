"""``audit``: replay a town's whole ledger without trusting anyone, least of all the service; and check evidence."""

import hashlib
import sys
from pathlib import Path

import click
import msgspec
from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ledger.errors import SignatureInvalid
from ledger.evidence import read_log_keys
from trust.audit.report import AuditReport
from trust.cli.hints import program
from trust.cli.options import File, JsonOption
from trust.cli.tables import console, nano
from trust.files.evidence import check_evidence, read_evidence
from trust.log.pins import load_trust
from trust.runtime.problems import exit_code_of


@click.command()
@click.argument("log")
@click.option(
    "--trust",
    "trust_file",
    type=File,
    help="The pins (trust.json), from someone you trust. Without it the first ones seen are kept.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where what was seen is kept between audits of this log.  [default: in ~/.local/state/musubi]",
)
@click.option(
    "--compare",
    "compare_with",
    multiple=True,
    metavar="WHERE",
    help="Hold what you see against what others see: a mirror's or witness's address, a copy's folder, or a file with"
    " a checkpoint or evidence. May be given more than once.",
)
@JsonOption
def audit(
    log: str, trust_file: Path | None, state: Path | None, compare_with: tuple[str, ...], *, as_json: bool
) -> None:
    """Check everything that a ledger promises.

    LOG is a service's address, or a folder with a copy of its log. Ends with exit code 0 only if the verdict is ok.
    Where the log has signed two histories, a file that convicts it is written; anyone can check that file with
    `musubi audit verify-evidence FILE`.

    \b
    Example:  musubi audit http://127.0.0.1:8700 --trust .town/momijidai/trust.json
              musubi audit http://127.0.0.1:8700 --compare http://127.0.0.1:8701
              musubi audit ./copy-of-log --json
    """
    from trust.audit.auditor import audit as run  # noqa: PLC0415 - the other commands need none of it

    folder = state or Path.home() / ".local/state/musubi" / hashlib.sha256(log.encode()).hexdigest()[:16]
    trust = load_trust(trust_file) if trust_file else None
    columns = (TextColumn("{task.description}"), BarColumn(32), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal) as progress:
        task = progress.add_task("entries checked", total=None)
        report = run(
            log,
            trust=trust,
            state_folder=folder,
            compare_with=compare_with,
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
    for algorithm, names in report.algorithms.items():
        console.print(f"Vouched for by {algorithm}: {', '.join(names)}")
    for provider, stops in report.attested_stops.items():
        console.print(f"Ended by '{provider}' for residents without a key: {stops} consents")
    if report.open_rounds:
        console.print(f"Still open: the questions at {', '.join(map(str, report.open_rounds))}")
    for comparison in report.compared:
        console.print(f"Compared with {comparison.place}: {comparison.says}", soft_wrap=True)
    for file in report.evidence:
        console.print(f"Evidence that convicts the log, for everybody to check: {file}", soft_wrap=True)
        console.print(f"  {program()} audit verify-evidence {file}", soft_wrap=True)
    for note in report.notes:
        console.print(f"Note: {note}", soft_wrap=True)


@click.command("audit verify-evidence")
@click.argument("file", type=File)
@click.option(
    "--log-key",
    "log_keys",
    multiple=True,
    metavar="VKEY",
    help="The log's verifier key, from someone you trust; more than once if it has changed.",
)
@click.option(
    "--trust",
    "trust_file",
    type=File,
    help="Or the town's pins (trust.json), from someone you trust: they name the log's key and the witnesses.",
)
@JsonOption
def verify_evidence(file: Path, log_keys: tuple[str, ...], trust_file: Path | None, *, as_json: bool) -> None:
    """Check a file that should convict a log, or its operator, on its own.

    Needs nothing but the file: no network, no service. Exit code 0 means that it convicts. 23: it is well-formed and
    signed, and shows no fault. 12: it is not signed by that log. 10 and 11: it is no evidence at all.

    Without --log-key or --trust, the log's key is taken from the file, and what is convicted is the log with that key:
    compare it with the one that your town's stewards gave you. That a promise's time has passed is believed
    only of your own town's witnesses: that needs --trust.

    \b
    Example:  musubi audit verify-evidence split-view-5f0c….json --trust .town/momijidai/trust.json
    """
    evidence = read_evidence(file)
    trusted = read_log_keys(log_keys) if log_keys else []
    witnesses = None
    if trust_file is not None:
        trust = load_trust(trust_file)
        trusted, witnesses = [*trusted, trust.verifier], trust.witnesses
    try:
        conviction = check_evidence(evidence, trusted, witnesses)
    except SignatureInvalid as error:
        if trust_file is not None:  # it names only the key that the log began with
            error.message += " If your town's log has changed its key, name the present one as well, with --log-key."
        raise
    if as_json:
        click.echo(msgspec.json.encode(conviction).decode())
        return
    console.print(f"[red]It convicts.[/] {conviction.says}", soft_wrap=True)
    for key in conviction.log_keys:
        whose = "your own pins name" if conviction.pinned else "the FILE ITSELF names; compare it with your own"
        console.print(f"Shown against the log {conviction.origin}, whose key is {key}, as {whose}.", soft_wrap=True)
