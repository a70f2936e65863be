"""``log``: the ledger's log as plain files that any web server can serve."""

from pathlib import Path

import click

from ledger.errors import NotFound
from trust.cli.options import Folder, PlaceFolderOption, find_place
from trust.cli.terminal import progress_bar, say
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
            say("There is no database there: the copy carries no shares, and no audit of it redoes a sum.")
            _export(log_folder, settings.pins(), out, CopiedShares(log_folder))
            return
        with own:
            _export(log_folder, settings.pins(), out, own)
        return
    place = find_place(folder)
    with place.log() as source:
        _export(source, place.trust, out, ServiceShares(source))


def _export(source: LogSource, trust: Trust, out: Path, shares: SharesSource) -> None:
    with progress_bar("entries checked and copied") as progress:
        done = export_log(source, trust, out, progress, shares)
    if done.files:
        say("{} now has {:,} entries of {}: {:,} are new.", out, done.size, trust.origin, done.size - done.before)
    else:
        say("{} has all {:,} entries of {} already.", out, done.size, trust.origin)
    copied = done.shares
    if copied is not None and copied.lacking:
        say(
            "The holders' signed shares of {:,} answers were not given, or are not the ones that the log names: of the "
            "questions at {}. An audit of this copy will say so.",
            len(copied.lacking),
            ", ".join(map(str, copied.lacking[:MOST_NAMED])),
        )
