"""``resident receipt``: files to check without us."""

from pathlib import Path

import click

from trust.cli.options import JsonOption
from trust.cli.resident.consents import Device
from trust.cli.terminal import say, say_json
from trust.files.durable import write_whole
from trust.log.freshness import check_fresh
from trust.pages.verify.page import FILE_NAME, verify_page
from trust.resident.receipts import PUBLIC, save_receipts


@click.command()
@click.argument("index", type=int)
@click.option("--out", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="Into here.")
@click.option("--question", type=int, metavar="N", help="And whether the question at N could count the consent.")
@JsonOption
@click.pass_obj
def receipt(device: Device, index: int, folder: Path, question: int | None, *, as_json: bool) -> None:
    """Save the receipt of an entry, and a page that checks it anywhere, without a network.

    Open musubi-verify.html in a browser and choose the other files. A second receipt into the same folder also shows
    that the ledger has only grown since.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 receipt 1234 --out my-receipts
    """
    with device.client() as client, device.follower() as follower:
        written = save_receipts(client, follower.source, index, folder, question)
        seen = follower.seen
    page = folder / FILE_NAME
    write_whole(page, verify_page().html, PUBLIC)
    digest = verify_page().sha256
    if as_json:
        files = [path.name for path in written]
        say_json({"files": files, "page": page.name, "page_sha256": digest, "as_of": seen.time})
        check_fresh(seen)
        return
    say("Checked, and saved in {}:", folder, whole_line=True)
    for path in written:
        say("  {}", path.name)
    say("To check them anywhere, open {} in a browser and choose these files.", page, whole_line=True)
    say("The page's SHA-256: {}", digest, whole_line=True)
    device.say_as_of(seen)
    check_fresh(seen)
