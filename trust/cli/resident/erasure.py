"""``resident erase`` and ``resident erased``: having one's records destroyed, and seeing that they are."""

import secrets

import click
import msgspec

from ledger.errors import MusubiError
from trust.cli.options import JsonOption
from trust.cli.resident.consents import Device
from trust.cli.tables import console
from trust.client.wire import Erased
from trust.resident.erasure import check_erased, farewell
from trust.resident.erasure import erase as ask_to_erase


@click.command()
@click.argument("indices", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All your consents, and your enrolment.")
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure.")
@JsonOption
@click.pass_obj
def erase(device: Device, indices: tuple[int, ...], *, everything: bool, yes: bool, as_json: bool) -> None:
    """Have the records of your consents destroyed.

    What you signed, and the numbers that tie it to you, are destroyed at the service and at every holder. A consent
    that is still in force ends with that. The public ledger stays as it is: it never held anything about you. This
    cannot be taken back, and afterwards nobody can show any more what you agreed to.

    Consents that you have erased in one sitting stand close together in the ledger. If you mind that someone could
    guess that they are one person's, erase them one at a time, on different days.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 erase 1234
    """
    if bool(indices) == everything:
        raise click.UsageError("Name the consents by their index, as `musubi resident show` lists them, or say --all.")
    erased: list[Erased] = []
    with device.client() as client:
        mine = [consent.index for consent in client.my_consents(device.seed)]
        wanted = list(dict.fromkeys(indices)) or mine
        secrets.SystemRandom().shuffle(wanted)
        if not yes and not as_json:
            listed = ", ".join(map(str, sorted(wanted))) or "none are left"
            click.confirm(f"Destroy the records of your consents ({listed}) for good?", abort=True)
        try:
            for index in wanted:
                erased += ask_to_erase(client, device.seed, index)
            if everything:
                farewell(client, device.seed)
        except MusubiError:
            if erased and not as_json:
                console.print(f"Destroyed before something went wrong: {_listed(erased)}.")
            raise
    if as_json:
        click.echo(msgspec.json.encode({"erased": erased, "forgotten": everything}).decode())
        return
    for each in erased:
        console.print(f"The record at {each.index} is destroyed. The ledger says so at {each.entry}. Receipt checked.")
    if everything:
        console.print("Your enrolment is forgotten. To take part again, enrol as if for the first time.")
    if erased:
        console.print(
            f"Whether the holders have done the same: {device.words} erased {erased[0].index}", soft_wrap=True
        )


@click.command()
@click.argument("index", type=int)
@JsonOption
@click.pass_obj
def erased(device: Device, index: int, *, as_json: bool) -> None:
    """See whether an erased consent is gone at every holder.

    Each holder signs when it has destroyed its part. The ledger and those signatures are checked on this machine. You
    need no seed for this: the erased consent is not yours to anyone any more.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 erased 1234
    """
    with device.client() as client, device.follower() as follower:
        found = check_erased(client, follower, index)
    if as_json:
        shown = {**msgspec.to_builtins(found), "lagging": found.lagging, "done_at": found.done_at}
        click.echo(msgspec.json.encode(shown).decode())
        return
    console.print(f"Erased at the service: the ledger says so at {found.entry}, {device.moment(found.at)}.")
    for holder, at in found.holders.items():
        console.print(f"  {holder}: " + ("has not said so yet" if at is None else f"gone, signed {device.moment(at)}"))
    if found.done_at is None:
        console.print(f"Still waiting for: {', '.join(found.lagging)}. Ask again later.")
    else:
        console.print(f"Erased at every holder at {device.moment(found.done_at)}.")


def _listed(done: list[Erased]) -> str:
    return ", ".join(str(each.index) for each in done)
