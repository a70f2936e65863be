"""``resident lost-device``: a new device in a lost one's place."""

from pathlib import Path

import click

from ledger.errors import Malformed
from trust.cli.options import File, JsonOption
from trust.cli.resident.consents import Device
from trust.cli.terminal import say, say_json
from trust.resident.lost_device import replace_device
from trust.resident.promises import KeptPromise


@click.command(name="lost-device")
@click.argument("attestation", type=File)
@JsonOption
@click.pass_obj
def lost_device(device: Device, attestation: Path, *, as_json: bool) -> None:
    """Put this place in a lost device's place.

    ATTESTATION is the file that the identity provider gives you when it has seen you again: it says that your device is
    lost, and that this place's key is your new one. All that the old device agreed to ends at once. Whoever has it can
    do nothing with it any more: not agree, not take back, not even look.

    Consents are not carried over: agree anew. If you mind that someone could guess from the times in the ledger that
    both are one person's, wait a few days, and agree to one thing at a time.

    \b
    Example:  musubi resident --place new-device lost-device attestation.jws
    """
    with device.client() as client:
        ended = replace_device(client, device.seed, _read(attestation))
    for each in ended:
        device.promises.keep(KeptPromise.of(each.revoked))
    if as_json:
        told = [
            {
                "grant": each.grant,
                "revocation": each.revoked.index,
                "operator": each.revoked.operator,
                "promise": each.revoked.promise,
            }
            for each in ended
        ]
        say_json({"ended": told})
        return
    say("The old device is shut out: it can agree to nothing, take nothing back and see nothing any more.")
    for each in ended:
        say(
            "The consent at {} has ended; that is in the ledger at {}. Receipt checked.", each.grant, each.revoked.index
        )
    say("Now link this device at the holders where you are a customer, on their own websites.")
    say("To see your consents: {} show", device.words, whole_line=True)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except UnicodeDecodeError:
        raise Malformed(f"'{path.name}' is no attestation; ask the identity provider for it anew.") from None
