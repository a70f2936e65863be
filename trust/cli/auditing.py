"""``audit``: replay a town's whole ledger without trusting anyone, least of all the service."""

from pathlib import Path

import click


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
    default=Path.home() / ".local/state/musubi",
    show_default="~/.local/state/musubi",
    help="Where what was seen is kept between audits.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def audit(place: str, trust_file: Path | None, state: Path, *, as_json: bool) -> None:
    """Check everything the ledger at PLACE promises: a service's address, or a folder with a copy of its log.

    Ends with exit code 0 only if the verdict is ok.

    \b
    Example:  musubi audit http://127.0.0.1:8700 --trust .town/momijidai/trust.json
              musubi audit ./copy-of-log --json
    """
    from trust.audit.command import run_audit  # noqa: PLC0415 - the other commands need none of it

    run_audit(place, trust_file, state, as_json=as_json)
