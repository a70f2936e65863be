"""``resident lost-device``: a new device in a lost one's place."""

import secrets
from pathlib import Path

import click
import msgspec

from ledger.errors import NotFound
from trust.cli.hints import program
from trust.cli.resident.consents import Device
from trust.cli.tables import console
from trust.files.keys import write_secret
from trust.resident.promises import KeptPromise, PromiseFolder
from trust.town.lost_device import link_again, replace_device


@click.command(name="lost-device")
@click.argument("new_seed", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.pass_obj
def lost_device(device: Device, new_seed: Path, *, as_json: bool) -> None:
    """Replace a lost device in a demo town.

    NEW_SEED is the file that is made for the new device. The town's identity provider sees the resident again, and all
    that the old device agreed to ends at once. Then the new device is linked at every holder where the resident is a
    customer. Whoever has the old device can do nothing with it any more: not agree, not take back, not even look.

    Consents are not carried over: agree anew with the new device. If you mind that someone could guess from the times in
    the ledger that both are one person's, wait a few days, and agree to one thing at a time.

    \b
    Example:  musubi resident --town-dir .town/momijidai --person 42 lost-device new-device.seed
    """
    if device.person is None:
        raise NotFound("Say whose device was lost: --person N, in a demo town.")
    _ = device.seed  # says what is wrong with the number
    seed = secrets.token_bytes(32)
    write_secret(new_seed, seed)
    # a crash from here on leaves a seed that is enrolled or not; the command with another file replaces it in turn
    with device.client() as client:
        ended = replace_device(device.layout, client, device.person, seed)
    promises = PromiseFolder(new_seed.with_name(f"{new_seed.name}.promises"))
    for each in ended:
        promises.keep(KeptPromise(promise=each.promise, operator=each.operator))
    holders = link_again(device.layout, device.person, seed)
    if as_json:
        click.echo(msgspec.json.encode({"ended": ended, "linked": holders}).decode())
        return
    console.print("The old device is shut out: it can agree to nothing, take nothing back and see nothing any more.")
    for each in ended:
        console.print(
            f"The consent at {each.grant} has ended; that is in the ledger at {each.revocation}. Receipt checked."
        )
    console.print(f"The new device is linked at: {', '.join(holders) or 'no holder'}.")
    words = f"{program()} resident --town-dir {device.folder} --seed {new_seed}"
    console.print(f"To see your consents with the new device: {words} show", soft_wrap=True)
