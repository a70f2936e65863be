"""``fsck``: is a service's stored log whole, and mending it where it is not."""

import sys
from pathlib import Path

import click

from ledger.errors import ProofInvalid
from trust.cli.options import Folder, JsonOption
from trust.cli.terminal import Sheet, progress_bar, say, say_json, show_table
from trust.runtime.problems import exit_code_of

WORDS = {
    "missing": "is missing",
    "altered": "is not what was signed",
    "older": "is older than what was signed",
    "uncosigned": "lacks today's quorum of witnesses, and no better one is left",
    "unreadable": "cannot be read",
    "unknown": "cannot be judged: too little is left",
}
MOST_LINES = 200


@click.command()
@click.option(
    "--dir",
    "folder",
    type=Folder,
    required=True,
    help="The service's folder, with service.toml.",
)
@click.option("--mirror", help="Another copy of the log: an address, or a folder such as an export.")
@click.option("--repair", is_flag=True, help="Write again what can be told for certain. Stop the service before.")
@JsonOption
def fsck(folder: Path, mirror: str | None, *, repair: bool, as_json: bool) -> None:
    """Check that a service's stored log is whole.

    Holds the database, the tiles and the checkpoint against the signed tree, and names everything that is missing or
    altered. Ends with exit code 0 only if nothing is wrong (any more). It signs nothing.

    \b
    Example:  musubi fsck --dir .town/momijidai/service
              musubi fsck --dir .town/momijidai/service --repair --mirror https://mirror.example/log
    """
    from trust.service.settings import load_settings  # noqa: PLC0415
    from trust.service.upkeep.fsck.check import fsck as run  # noqa: PLC0415 - the other commands need none of it

    with progress_bar("entries checked", hidden=as_json) as progress:
        report = run(
            load_settings(folder),
            mirror=mirror,
            repair=repair,
            progress=progress,
        )
    if as_json:
        say_json(report.to_json())
    else:
        table = Sheet(show_header=False)
        for finding in report.findings[:MOST_LINES]:
            table.add_row(finding.resource, WORDS[finding.fault], "repaired" if finding.repaired else "")
        if report.findings:
            show_table(table)
        if len(report.findings) > MOST_LINES:
            say("… and {:,} more; --json names them all.", len(report.findings) - MOST_LINES)
        for note in report.notes:
            say("Note: {}", note)
        _conclude(report.is_whole, len(report.findings), report.size, report.files, report.rows)
    sys.exit(0 if report.is_whole else exit_code_of(ProofInvalid.code))


def _conclude(is_whole: bool, findings: int, size: int, files: int, rows: int) -> None:
    held = f"{files:,} files and {rows:,} rows were held against the signed tree of {size:,} entries."
    if not findings:
        say("[green]Whole.[/] {}", held)
    elif is_whole:
        say("[green]Whole again.[/] {} {:,} were wrong and are repaired.", held, findings)
    else:
        say("[red]Not whole.[/] {} Repair with --repair, and give another copy with --mirror.", held)
