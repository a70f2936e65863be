"""``backup`` and ``restore``: of a service, or of a holder's node."""

import asyncio
import os
from pathlib import Path

import click

from ledger.errors import NotFound
from trust.cli.options import PRIVATE, File, Folder, JsonOption
from trust.cli.terminal import say, say_json
from trust.files.backups import read_backup


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--dir", "folder", type=Folder, required=True, help="The folder of a service or of a node.")
@click.option("--signing-keys", is_flag=True, help="Put the secret signing keys into it as well; guard it accordingly.")
@click.option(
    "--record-keys",
    is_flag=True,
    help="Of a service: copy only the records' keys, to the file OUT. Delete it after some days.",
)
def backup(out: Path, folder: Path, *, signing_keys: bool, record_keys: bool) -> None:
    """Take a backup of a service or of a node into the new folder OUT. It may run meanwhile.

    The keys of residents' records are not in a service's backup: so an old backup never gives an erased record back.
    They have a backup of their own, --record-keys, that is kept for a few days only.

    \b
    Example:  musubi backup --dir .town/momijidai/service backups/2026-11-22
              musubi backup --dir .town/momijidai/service --record-keys backups/keys-2026-11-22.sqlite
    """
    os.umask(PRIVATE)
    if (folder / "service.toml").exists():
        from trust.service.upkeep.backup import back_up, back_up_record_keys  # noqa: PLC0415 - a node needs none of it

        if record_keys:
            back_up_record_keys(folder, out)
            say("The records' keys are in {}. Delete this file after some days: see the how-to page.", out)
            return
        made = asyncio.run(back_up(folder, out, signing_keys=signing_keys))
    elif (folder / "node.toml").exists():
        if record_keys:
            raise click.UsageError("A node has no records' keys; leave --record-keys out.")
        from trust.node.backup import back_up as back_up_node  # noqa: PLC0415 - a service needs none of it

        made = back_up_node(folder, out, signing_keys=signing_keys)
    else:
        raise NotFound(f"The folder '{folder}' holds no service.toml and no node.toml.")
    keys = "with its secret signing keys" if signing_keys else "without secret signing keys"
    say("The backup of the {} is in {}, {}.", made.kind, out, keys)


@click.command()
@click.argument("source", metavar="BACKUP", type=Folder)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    help="Where the log's newest entries are: a service's address, or a folder that `musubi log export` wrote.",
)
@click.option("--database-url", help="An empty PostgreSQL database, instead of the one in the backup's settings.")
@click.option(
    "--record-keys",
    type=File,
    help="A backup of the records' keys; otherwise the file that is in DIR serves, if one is.",
)
@JsonOption
def restore(
    source: Path,
    folder: Path,
    mirrors: tuple[str, ...],
    database_url: str | None,
    record_keys: Path | None,
    *,
    as_json: bool,
) -> None:
    """Restore a backup of a service or of a node into DIR.

    A service's log never goes back: the witnesses are asked how far it was, mirrors give what the backup lacks, and
    what ended or was erased since ends and is erased again. Where the newest tree cannot be had, nothing is restored.

    \b
    Example:  musubi restore backups/2026-11-22 service --mirror /mnt/mirror/log
    """
    os.umask(PRIVATE)
    made = read_backup(source)
    if made.kind == "node":
        from trust.node.backup import restore as restore_node  # noqa: PLC0415 - a service needs none of it

        restore_node(source, folder)
        if not as_json:
            say("The node is in {}. It takes part in new questions only. Put its keys into keys/.", folder)
        return
    from trust.service.upkeep.restore import restore as restore_service  # noqa: PLC0415 - a node needs none of it

    done = asyncio.run(
        restore_service(source, folder, mirrors=list(mirrors), database_url=database_url, record_keys=record_keys)
    )
    if as_json:
        say_json(done)
        return
    say("The service is in {}: {:,} entries; the backup had {:,}.", folder, done.size, done.backed_up)
    say("Witnesses that agree: {}.", ", ".join(done.witnesses) or "none is asked for")
    say("{:,} records that the backup brought back were erased since, and are destroyed again.", done.erased)
    if done.lost_records:
        listed = ", ".join(map(str, done.lost_records[:20])) + (" …" if len(done.lost_records) > 20 else "")
        say("{:,} consents in force have no record in the backup: {}.", len(done.lost_records), listed)
        say(
            "They stay in force. Their residents take them back from the devices that gave them; whoever has no "
            "such device any more, through the stewards: `musubi erase`.",
            whole_line=True,
        )
    if done.unreadable:
        say("{:,} records cannot be read: their keys are not here.", done.unreadable)
    if not (folder / "keys" / "log.key").exists():
        say("Put the signing keys into keys/ before you start the service.")
