"""The places of a demo town's residents, so that whoever explores it can be any of them."""

import shutil

from ledger.errors import NotFound
from trust.client.place import Place, make_place
from trust.files.keys import read_secret
from trust.log.pins import load_trust
from trust.town.layout import Layout
from trust.town.play_residents import seed_of

FIRST = 100
"""How many residents have their places laid out beforehand."""


def resident_place(layout: Layout, person: int) -> Place:
    """Return the place of one resident, made now if it is not there yet; raise NotFound if the town has no such one."""
    residents = layout.settings.residents
    if not 0 <= person < residents:
        raise NotFound(f"This town's residents are numbered 0 to {residents - 1}.")
    place = Place(layout.resident_folder(person))
    if place.is_there:
        return place
    shutil.rmtree(place.folder, ignore_errors=True)  # what a crash left of it
    return make_place(
        place.folder,
        service=layout.url,
        trust=load_trust(layout.folder / "trust.json"),
        secret=seed_of(read_secret(layout.people / "seeds.key"), person),
        alias=None,
    )


def lay_out_residents(layout: Layout) -> None:
    """Make the places of the first hundred residents, those that are not there yet."""
    for person in range(min(FIRST, layout.settings.residents)):
        resident_place(layout, person)
