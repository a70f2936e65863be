"""``resident link``: this device's answer to a holder's link challenge."""

import click

from trust.cli.options import JsonOption
from trust.cli.resident.consents import Device
from trust.cli.terminal import say, say_json, say_plain


@click.command()
@click.argument("challenge")
@JsonOption
@click.pass_obj
def link(device: Device, challenge: str, *, as_json: bool) -> None:
    """Answer a holder's link challenge, so that your rows there can count.

    CHALLENGE is the line that the holder's own site shows you while you are logged in there. Prints the answer: paste
    it into that site. Answer no challenge that came in another way, or your name could be put to somebody else's rows.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 link musubi-link:bus_co:1795338120:4f…
    """
    from policies.consents.attestation import make_link  # noqa: PLC0415
    from policies.consents.link_challenge import read_link_challenge  # noqa: PLC0415

    asked = read_link_challenge(challenge)
    answer = make_link(device.seed, asked.holder, asked.challenge, asked.asked_at)
    if as_json:
        say_json({"holder": asked.holder, "link": answer})
        return
    say("Your answer to '{}'; paste it into that site, within 15 minutes of the challenge:", asked.holder, err=True)
    say_plain(answer)
