"""``resident erase`` and ``resident erased``: having one's records destroyed, and seeing that they are."""

import secrets
from collections.abc import Iterator
from contextlib import suppress

import click
import msgspec

from ledger.entries import Hex32
from ledger.errors import AlreadyEnded, MusubiError, NotFound
from trust.cli.options import JsonOption
from trust.cli.resident.consents import Device, say_left
from trust.cli.terminal import question, say, say_json
from trust.client.service import ServiceClient
from trust.client.wire import Erased
from trust.resident.device import revoke, unlisted_copies
from trust.resident.erasure import check_erased, farewell
from trust.resident.erasure import erase as ask_to_erase
from trust.resident.leaving import LeftTheTown
from trust.runtime.clock import system_clock


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
        try:
            own = {consent.index: consent.consent for consent in device.consents(client)}
        except LeftTheTown as left:  # the answer to the farewell was lost, or it is said twice
            if not everything:
                raise
            say_left(left, {"erased": [], "forgotten": True}, as_json=as_json)
            return
        wanted = list(dict.fromkeys(indices)) or [*own, *unshown(client, device)]
        if not yes and not as_json:
            listed = ", ".join(map(str, sorted(wanted))) or "none are left"
            click.confirm(question("Destroy the records of your consents ({}) for good?", listed), abort=True)
        try:
            for gone in destroy(client, device, own, wanted):
                erased += gone
            if everything:
                device.copies.note_leaving(device.place.public_key, system_clock())
                farewell(client, device.seed)
        except MusubiError:
            _tell_destroyed(erased, as_json=as_json)
            raise
    if as_json:
        say_json({"erased": erased, "forgotten": everything})
        return
    for each in erased:
        say("The record at {} is destroyed. The ledger says so at {}. Receipt checked.", each.index, each.entry)
    if everything:
        say("Your enrolment is forgotten. To take part again, enrol as if for the first time.")
    if erased:
        say("Whether the holders have done the same: {} erased {}", device.words, erased[0].index, whole_line=True)


def destroy(client: ServiceClient, device: Device, own: dict[int, Hex32], wanted: list[int]) -> Iterator[list[Erased]]:
    """Have records destroyed, in no order, and the device's own copies with them; yield what is gone, one by one."""
    for index in [each for each in wanted if each not in own]:
        own |= take_back_unshown(client, device, index)
    secrets.SystemRandom().shuffle(wanted)
    for index in wanted:
        yield ask_to_erase(client, device.seed, index)
        if index in own:
            device.copies.forget(own[index])


def unshown(client: ServiceClient, device: Device) -> list[int]:
    """Return the consents that only this device knows of any more: whoever leaves leaves with these too."""
    return [index for index, _ in unlisted_copies(client, device.seed, device.copies)]


def take_back_unshown(client: ServiceClient, device: Device, index: int) -> dict[int, Hex32]:
    """End a consent that the service has lost, so that it knows again whose it is; return it by its index."""
    with suppress(AlreadyEnded, NotFound):  # what is none of one's own is told when it is to be erased
        revoke(client, device.seed, index, device.promises.keep, device.copies)
    return {each.index: each.consent for each in device.consents(client) if each.index == index}


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
        say_json(shown)
        return
    say("Erased at the service: the ledger says so at {}, {}.", found.entry, device.moment(found.at))
    for holder, at in found.holders.items():
        say("  {}: {}", holder, "has not said so yet" if at is None else f"gone, signed {device.moment(at)}")
    if found.done_at is None:
        say("Still waiting for: {}. Ask again later.", ", ".join(found.lagging))
    else:
        say("Erased at every holder at {}.", device.moment(found.done_at))


def _tell_destroyed(erased: list[Erased], *, as_json: bool) -> None:
    """Say what was destroyed before something went wrong."""
    if erased and as_json:
        say_json({"erased": erased, "forgotten": False})
    elif erased:
        say("Destroyed before something went wrong: {}.", ", ".join(str(each.index) for each in erased))
