"""``rules``: by which numbered set of rules the ledger goes, and going on by the next ones."""

from pathlib import Path

import click

from ledger.entries import RulesBody
from policies.rules import NEWEST_RULES
from trust.cli.options import File, JsonOption, PlaceOption, read_signature, signer_of, steward_options
from trust.cli.terminal import say, say_json, say_plain
from trust.client import paths
from trust.client.place import Place
from trust.client.wire import Placed, RulesAnswer, RulesRequest

Number = click.IntRange(2, 10_000)


@click.group()
def rules() -> None:
    """See by which rules the ledger goes, and have it go on by newer ones.

    First every holder upgrades its node, then the service is upgraded, then the stewards sign.

    \b
    Example:  musubi rules show --place .town/momijidai/places/city
    """


@rules.command()
@PlaceOption
@JsonOption
def show(place: Place, *, as_json: bool) -> None:
    """Show by which rules the ledger goes, and which ones the service and each holder's node read.

    \b
    Example:  musubi rules show --place .town/momijidai/places/city
    """
    with place.client() as client:
        found = client.get(paths.RULES, RulesAnswer)
    if as_json:
        say_json(found)
        return
    say("The ledger goes by rules number {}.", found.number)
    say("The service reads them up to {}, this Musubi up to {}.", found.newest, NEWEST_RULES)
    for holder, number in sorted(found.holders.items()):
        say("The node of '{}' reads them up to {}.", holder, number)


@rules.command()
@click.argument("number", type=Number)
@steward_options
def sign(number: int, origin: str | None, steward: str | None, key: Path | None, folder: Path | None) -> None:
    """Sign, as one steward and offline, that the ledger goes on by rules NUMBER.

    Prints the signature. What each number changes stands in docs/reference/ledger-entries.md.

    \b
    Example:  musubi rules sign 2 --place .town/momijidai/places/city > city.jws
              musubi rules sign 2 --log musubi.example/momijidai --steward city --key city.key > city.jws
    """
    say_plain(signer_of(origin, steward, key, folder).sign("rules", RulesBody(number=number)))


@rules.command()
@click.argument("number", type=Number)
@click.argument("signatures", nargs=-1, required=True, type=File)
@PlaceOption
def publish(number: int, signatures: tuple[Path, ...], place: Place) -> None:
    """Hand in rules NUMBER with the stewards' signatures. Anybody may.

    It is refused until every holder's node has said that it reads them. Entries from there on are judged by them; who
    runs an older Musubi is told to upgrade.

    \b
    Example:  musubi rules publish 2 city.jws residents_council.jws --place .town/momijidai/places/city
    """
    with place.client() as client:
        wanted = RulesRequest(rules=RulesBody(number=number), signatures=[read_signature(each) for each in signatures])
        index = client.post(paths.RULES, wanted, Placed).index
        client.prove(index)
    say("The ledger goes by rules number {} from index {} on. Receipt checked.", number, index)
