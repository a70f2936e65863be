"""``play``: in a demo town, the offices that have people and programs of their own in a real one."""

from pathlib import Path

import click

from trust.cli.hints import program
from trust.cli.options import Folder, PlaceFolder
from trust.cli.terminal import say, say_plain
from trust.client.place import Place
from trust.files.keys import read_secret
from trust.town.layout import Layout
from trust.town.lost_device import attest_lost_device, link_again
from trust.town.play_residents import subject_of
from trust.town.resident_places import resident_place

TownDir = click.option("--dir", "folder", type=Folder, required=True, help="Where the demo town lies.")


@click.group()
def play() -> None:
    """In a demo town: play the offices that a resident goes to.

    In a real town they have people and programs of their own.

    \b
    Example:  musubi play identity 5 new-device --dir .town/momijidai > attestation.jws
    """


@play.command()
@click.argument("person", type=int)
@click.argument("place", type=PlaceFolder)
@TownDir
def identity(person: int, place: Path, folder: Path) -> None:
    """Be the identity provider, who sees resident number PERSON again after a device was lost.

    PLACE is the resident's new place. Prints the attestation, to be handed in with `musubi resident lost-device`.

    \b
    Example:  musubi play identity 5 new-device --dir .town/momijidai > attestation.jws
    """
    layout = Layout(folder)
    resident_place(layout, person)  # says what is wrong with the number
    say_plain(attest_lost_device(layout, person, Place(place).public_key))


@play.command()
@click.argument("person", type=int)
@TownDir
def subject(person: int, folder: Path) -> None:
    """Look into the identity provider's own register: print its name for resident number PERSON.

    \b
    Example:  musubi play subject 5 --dir .town/momijidai
    """
    layout = Layout(folder)
    resident_place(layout, person)
    say_plain(subject_of(read_secret(layout.people / "seeds.key"), person))


@play.command()
@click.argument("person", type=int)
@click.argument("place", type=PlaceFolder)
@TownDir
def holders(person: int, place: Path, folder: Path) -> None:
    """Be resident number PERSON, who logs in at each holder's website and links a new device there.

    PLACE is the resident's new place.

    \b
    Example:  musubi play holders 5 new-device --dir .town/momijidai
    """
    layout = Layout(folder)
    resident_place(layout, person)
    linked = link_again(layout, person, Place(place))
    say("Linked at: {}.", ", ".join(linked) or "no holder; this resident is a customer of none")


@play.command()
@click.argument("person", type=int)
@TownDir
def resident(person: int, folder: Path) -> None:
    """Lay out the place of resident number PERSON. The first hundred have theirs.

    \b
    Example:  musubi play resident 4711 --dir .town/momijidai
    """
    made = resident_place(Layout(folder), person)
    say("To be this resident: {} resident --place {} show", program(), made.folder, whole_line=True)
