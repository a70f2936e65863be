"""``log``: the ledger's log as plain files that any web server can serve."""

from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trust.cli.tables import console
from trust.log.export import export_log
from trust.log.pins import load_trust
from trust.log.source import open_log
from trust.town.layout import Layout


@click.group()
def log() -> None:
    """The ledger's log as plain files.

    \b
    Example:  musubi log export --town-dir .town/momijidai ./copy-of-log
    """


@log.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--town-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="The folder of a town; the service may run or not.",
)
def export(out: Path, town_dir: Path) -> None:
    """Write the log to the folder OUT, for any web server.

    That is `checkpoint`, `tile/…`, `log.vkey` and the witness policy. Every file is checked before it is written. Done
    again, it adds what is new; an export never goes back.

    \b
    Example:  musubi log export --town-dir .town/momijidai public/log
              python -m http.server --directory public/log 8080
              musubi audit http://127.0.0.1:8080 --trust trust.json
    """
    trust = load_trust(town_dir / "trust.json")
    source = open_log(str(Layout(town_dir).service / "log"))
    columns = (TextColumn("{task.description}"), BarColumn(32), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("entries checked and copied", total=None)
        done = export_log(source, trust, out, lambda now, total: progress.update(task, completed=now, total=total))
    if done.files:
        console.print(f"{out} now has {done.size:,} entries of {trust.origin}: {done.size - done.before:,} are new.")
    else:
        console.print(f"{out} has all {done.size:,} entries of {trust.origin} already.")
