"""``identity``: what an identity provider does, from its own place with its own key."""

import re

import click

from ledger.errors import Malformed, MusubiError
from trust.cli.options import JsonOption, PlaceOption
from trust.cli.terminal import say, say_json
from trust.client.place import Place
from trust.identity.stopping import StoppedFor, stop_for
from trust.resident.promises import KeptPromise, doubt_of

SUBJECT = re.compile(r"[A-Za-z0-9_-]{8,128}")


@click.group()
def identity() -> None:
    """Be an identity provider: do for residents what needs no key of theirs.

    \b
    Example:  musubi identity stop 1234 --subject - --place .town/momijidai/places/city_id
    """


@identity.command()
@click.argument("grants", type=int, nargs=-1, required=True)
@click.option("--subject", required=True, help="Your own name for the person, as you attested it; - reads it.")
@PlaceOption
@JsonOption
def stop(grants: tuple[int, ...], subject: str, place: Place, *, as_json: bool) -> None:
    """End consents for a person whom you enrolled, and who is with you now without a device.

    GRANTS are where the consents stand in the ledger: the person's receipts say so. The ledger will show that you
    ended them, and everybody can count how many you end. The person is shown each, with your name. You are limited in
    how many you may end in an hour, also by attempts that are refused.

    \b
    Example:  musubi identity stop 1234 --subject - --place .town/momijidai/places/city_id
    """
    person = click.open_file("-").readline().strip() if subject == "-" else subject
    if SUBJECT.fullmatch(person) is None:
        raise Malformed("That is no name that you attested: 8 to 128 letters, digits, '-' and '_'.")
    told: list[dict[str, object]] = []
    try:
        with place.client() as client:
            for grant in dict.fromkeys(grants):
                done = stop_for(client, place.alias, place.key, person, grant)
                doubt = doubt_of(client, KeptPromise.of(done.revoked), done.entry, done.revoked.index)
                told.append(_tell(done, doubt, as_json=as_json))
    except MusubiError:
        if told and as_json:  # what is done is told, whatever came after it
            say_json({"stopped": told})
        raise
    if as_json:
        say_json({"stopped": told})


def _tell(done: StoppedFor, doubt: str, *, as_json: bool) -> dict[str, object]:
    if not as_json:
        say(
            "The consent {} to '{}' has ended. The ledger says at index {} that you ended it for the person. "
            "Receipt checked.",
            done.grant,
            done.policy,
            done.revoked.index,
            whole_line=True,
        )
        if doubt:
            say("[red]The service's promise is not in order:[/] {} Tell the town's stewards.", doubt)
    said = {"grant": done.grant, "policy": done.policy, "index": done.revoked.index}
    return {**said, "promise": done.revoked.promise, "doubt": doubt}
