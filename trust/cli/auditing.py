"""``audit``: replay a town's whole ledger without trusting anyone, least of all the service; and check evidence."""

import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from ledger.errors import SignatureInvalid
from ledger.evidence import read_log_keys
from trust.audit.report import AuditReport
from trust.cli.hints import program
from trust.cli.options import File, JsonOption
from trust.cli.terminal import Sheet, nano, progress_bar, say, say_json, show_table
from trust.files.evidence import check_evidence, read_evidence
from trust.log.freshness import FRESH_SECONDS, say_age
from trust.log.pins import load_trust
from trust.runtime.clock import system_clock
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
    with progress_bar("entries checked", hidden=as_json, with_total=False) as progress:
        report = run(
            log,
            trust=trust,
            state_folder=folder,
            compare_with=compare_with,
            progress=progress,
        )
    if as_json:
        say_json(report.to_json())
    else:
        _show(report)
    sys.exit(0 if report.is_ok else exit_code_of(report.rule))


def _show(report: AuditReport) -> None:
    if report.is_ok:
        old, as_of = _say_as_of(report)
        say(
            "[green]Verdict: ok{}.[/] {:,} entries of {} in {:.1f} s{}.",
            old,
            report.entries,
            report.origin,
            report.seconds,
            as_of,
        )
    else:
        say("[red]Verdict: {}[/]", report.verdict)
    table = Sheet()
    table.add_column("checked")
    table.add_column("", justify="right")
    for kind, count in sorted(report.kinds.items()):
        table.add_row(kind, f"{count:,}")
    table.add_row("answers summed again from the holders' signed shares", f"{report.shares_checked:,}")
    for policy, spent in sorted(report.spent.items()):
        table.add_row(f"spent for life under {policy}", nano(spent))
    if report.kinds:
        show_table(table)
    if report.cosigners:
        say("Cosigned by: {}", ", ".join(sorted(report.cosigners)))
    for algorithm, names in report.algorithms.items():
        say("Vouched for by {}: {}", algorithm, ", ".join(names))
    for provider, stops in report.attested_stops.items():
        say("Ended by '{}' for residents without a key: {} consents", provider, stops)
    if report.open_rounds:
        say("Still open: the questions at {}", ", ".join(map(str, report.open_rounds)))
    for comparison in report.compared:
        say("Compared with {}: {}", comparison.place, comparison.says, whole_line=True)
    for file in report.evidence:
        say("Evidence that convicts the log, for everybody to check: {}", file, whole_line=True)
        say("  {} audit verify-evidence {}", program(), file, whole_line=True)
    for note in report.notes:
        say("Note: {}", note, whole_line=True)


def _say_as_of(report: AuditReport) -> tuple[str, str]:
    """Say of when the audited state is: beside the verdict where that is long ago, else at the end."""
    if report.as_of is None:
        return "", "; no witness says as of when"
    as_of = f" as of {datetime.fromtimestamp(report.as_of, UTC):%Y-%m-%d %H:%M:%S} UTC"
    age = system_clock() - report.as_of
    return (f"{as_of}, {say_age(age)} ago", "") if age > FRESH_SECONDS else ("", f",{as_of}")


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
        say_json(conviction)
        return
    say("[red]It convicts.[/] {}", conviction.says, whole_line=True)
    for key in conviction.log_keys:
        whose = "your own pins name" if conviction.pinned else "the FILE ITSELF names; compare it with your own"
        say("Shown against the log {}, whose key is {}, as {}.", conviction.origin, key, whose, whole_line=True)
