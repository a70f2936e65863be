"""``log``: the ledger's log as plain files that any web server can serve."""

from pathlib import Path

import click

from trust.cli.options import Folder, PlaceFolderOption, find_place
from trust.cli.terminal import progress_bar, say
from trust.log.export import export_log
from trust.log.pins import Trust
from trust.log.source import FolderLog, LogSource


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
    written is `checkpoint`, `tile/…`, `log.vkey` and the witness policy. Every file is checked before it is written.
    Done again, it adds what is new; an export never goes back.

    \b
    Example:  musubi log export --place .town/momijidai/places/city public/log
              musubi log export --dir .town/momijidai/service public/log
              python -m http.server --directory public/log 8080
              musubi audit http://127.0.0.1:8080 --trust trust.json
    """
    if service_folder is not None:
        from trust.service.settings import load_settings  # noqa: PLC0415 - whoever has a place needs none of it

        _export(FolderLog(service_folder / "log"), load_settings(service_folder).pins(), out)
        return
    place = find_place(folder)
    with place.log() as source:
        _export(source, place.trust, out)


def _export(source: LogSource, trust: Trust, out: Path) -> None:
    with progress_bar("entries checked and copied") as progress:
        done = export_log(source, trust, out, progress)
    if done.files:
        say("{} now has {:,} entries of {}: {:,} are new.", out, done.size, trust.origin, done.size - done.before)
    else:
        say("{} has all {:,} entries of {} already.", out, done.size, trust.origin)
