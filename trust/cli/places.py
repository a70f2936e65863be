"""``place``: making the folder of one member, steward or resident, and showing what it is."""

import secrets
from pathlib import Path

import click

from ledger.errors import MusubiError
from trust.cli.hints import program
from trust.cli.options import File, JsonOption, PlaceOption
from trust.cli.terminal import say, say_json, say_plain
from trust.client.addresses import without_password
from trust.client.place import Place, make_place
from trust.files.keys import read_secret
from trust.log.pins import load_trust


@click.group()
def place() -> None:
    """Make your place: a folder with the service's address, what you pin, and your own key.

    \b
    Example:  musubi place init --url https://musubi.city.example --pins trust.json --as bus_co bus_co
    """


@place.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--url", required=True, help="The service's address, http or https.")
@click.option("--pins", type=File, required=True, help="The town's pins (trust.json), from someone you trust.")
@click.option("--as", "alias", metavar="ALIAS", help="A member's or steward's place, under this alias.")
@click.option("--resident", is_flag=True, help="Or a resident's place.")
@click.option("--key", type=File, help="A signing key that you have; it is copied. A new one is made otherwise.")
@click.option("--seed", type=File, help="A resident's seed that you have; it is copied. A new one is made otherwise.")
@click.option("--ca-file", type=File, help="Your authority's certificates (PEM): only they count, then.")
@click.option("--proxy", metavar="URL", help="The proxy to go through; the environment's otherwise, if it names one.")
def init(
    folder: Path,
    url: str,
    pins: Path,
    alias: str | None,
    key: Path | None,
    seed: Path | None,
    ca_file: Path | None,
    proxy: str | None,
    *,
    resident: bool,
) -> None:
    """Make a place in the new or empty folder DIR.

    The last line that is printed is your public key. A member or steward has it registered by the stewards; a resident
    shows it to the identity provider. The secret key is in the folder alone: keep a copy where only you can get at it.

    \b
    Example:  musubi place init --url https://musubi.city.example --pins trust.json --as bus_co bus_co
              musubi place init --url https://musubi.city.example --pins trust.json --resident my-place
    """
    if (alias is not None) == resident:
        raise click.UsageError("Say whose place it is: --as ALIAS for a member or steward, or --resident.")
    if resident and key is not None:
        raise click.UsageError("A resident has a seed and no key; use --seed.")
    if not resident and seed is not None:
        raise click.UsageError("Only a resident has a seed; use --key.")
    given = seed or key
    secret = read_secret(given) if given is not None else secrets.token_bytes(32)
    made = make_place(
        folder,
        service=url,
        trust=load_trust(pins),
        secret=secret,
        alias=alias,
        authorities=None if ca_file is None else ca_file.read_bytes(),
        proxy=proxy,
    )
    say("The place is made: {}. Whoever has this folder can act in your name.", folder, whole_line=True)
    say("To see it, and whether the service answers: {} place show --place {}", program(), folder, whole_line=True)
    if resident:
        say("Your public key, to show to the identity provider:")
    else:
        say("The public key of '{}', for the stewards to register:", alias)
    say_plain(made.public_key)


@place.command()
@PlaceOption
@JsonOption
def show(place: Place, *, as_json: bool) -> None:
    """Show what a place is, and whether its service answers. Never a secret.

    Ends with exit code 0 only if the service answers, with the log that is pinned.

    \b
    Example:  musubi place show --place .town/momijidai/places/bus_co
    """
    settings, trust, public = place.settings, place.trust, place.public_key
    answer, fault = "", None
    try:
        answer = _asked(place)
    except MusubiError as error:
        fault = error
    if as_json:
        shown = {"service": place.service, "log": trust.origin, "alias": settings.alias, "public_key": public}
        say_json({**shown, "answers": fault is None, "standing": answer})
    else:
        way = "" if settings.proxy is None else f", through the proxy {without_password(settings.proxy)}"
        way += "" if settings.ca_file is None else f", by the certificates in {settings.ca_file}"
        for name, value in (
            ("Whose", "a resident's" if settings.alias is None else settings.alias),
            ("Public key", public),
            ("Log", trust.origin),
            ("Service", place.service + way),
            *((("Answers", f"yes; {answer}"),) if fault is None else (("Answers", "no"),)),
        ):
            say("{:<12}{}", name, value, whole_line=True)
    if fault is not None:
        raise fault


def _asked(place: Place) -> str:
    """Ask the service for the pinned log and for what the owner is in it; return that as a few words."""
    with place.client() as client:
        genesis = client.genesis()
        if place.is_resident:
            return "its log is the pinned one"
        for steward in genesis.stewards:
            if steward.alias == place.alias:
                own = steward.key == place.public_key
                return f"'{place.alias}' is a steward, with {'this key' if own else 'another key than this'}"
        member = client.members().get(place.alias)
    if member is None:
        return f"'{place.alias}' is not registered yet"
    if member.status != "active":
        return f"'{place.alias}' has left the town"
    if member.key != place.public_key:
        return f"'{place.alias}' is registered with another key than this"
    return f"'{place.alias}' is registered with this key ({', '.join(member.roles)})"
