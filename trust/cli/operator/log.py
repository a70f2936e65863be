"""``log``: the ledger's log as plain files that any web server can serve."""

from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ledger.errors import NotFound
from trust.cli.options import Folder, PlaceFolderOption, find_place
from trust.cli.tables import console
from trust.client.service_shares import ServiceShares
from trust.log.export import export_log
from trust.log.pins import Trust
from trust.log.share_files import CopiedShares, SharesSource
from trust.log.source import FolderLog, LogSource

MOST_NAMED = 10


@click.group()
def log() -> None:
    """The ledger's log as plain files.

    \b
    Example:  musubi log export --place .town/momijidai/places/city ./copy-of-log
    """


@log.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--dir", "service_folder", type=Folder, help="The operator's: the service's folder; it may run or not.")
@PlaceFolderOption
def export(out: Path, service_folder: Path | None, folder: Path | None) -> None:
    """Write the log to the folder OUT, for any web server.

    It is read from the service, by anybody who has a place, or from the service's own folder with --dir. What is
    written is `checkpoint`, `tile/…`, `log.vkey`, the witness policy, and in `shares/…` what the holders signed of
    each answer, so that an audit of the copy can redo the sums. Every file is checked before it is written. Done again,
    it adds what is new; an export never goes back.

    \b
    Example:  musubi log export --place .town/momijidai/places/city public/log
              musubi log export --dir .town/momijidai/service public/log
              python -m http.server --directory public/log 8080
              musubi audit http://127.0.0.1:8080 --trust trust.json
    """
    if service_folder is not None:
        from trust.service.settings import load_settings  # noqa: PLC0415 - whoever has a place needs none of it
        from trust.service.upkeep.own_shares import OwnShares  # noqa: PLC0415 - as above

        settings = load_settings(service_folder)
        log_folder = FolderLog(service_folder / "log")
        try:
            own = OwnShares(settings.database_url)
        except NotFound:
            console.print("There is no database there: the copy carries no shares, and no audit of it redoes a sum.")
            _export(log_folder, settings.pins(), out, CopiedShares(log_folder))
            return
        with own:
            _export(log_folder, settings.pins(), out, own)
        return
    place = find_place(folder)
    with place.log() as source:
        _export(source, place.trust, out, ServiceShares(source))


def _export(source: LogSource, trust: Trust, out: Path, shares: SharesSource) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(32), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("entries checked and copied", total=None)
        done = export_log(
            source, trust, out, lambda now, total: progress.update(task, completed=now, total=total), shares
        )
    if done.files:
        console.print(f"{out} now has {done.size:,} entries of {trust.origin}: {done.size - done.before:,} are new.")
    else:
        console.print(f"{out} has all {done.size:,} entries of {trust.origin} already.")
    copied = done.shares
    if copied is not None and copied.lacking:
        console.print(
            f"The holders' signed shares of {len(copied.lacking):,} answers were not given, or are not the ones that the "
            f"log names: of the questions at {', '.join(map(str, copied.lacking[:MOST_NAMED]))}. An audit of this copy "
            "will say so."
        )
