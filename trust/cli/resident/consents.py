"""``resident``: what a resident can do, from a place on their own machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from policies.time_zones import time_zone_of
from trust.cli.hints import program
from trust.cli.lazy_group import LazyGroup
from trust.cli.options import PlaceFolderOption, find_place
from trust.cli.terminal import say, say_json
from trust.client.last_view import view_of
from trust.client.place import Place
from trust.client.service import ServiceClient
from trust.client.wire import MyConsent
from trust.log.follower import LogFollower
from trust.log.seen_checkpoint import SeenCheckpoint
from trust.resident.leaving import LeftTheTown, own_consents_of
from trust.resident.own_copies import OwnCopies
from trust.resident.promises import PromiseFolder

COMMANDS = {
    "check-promises": (
        "trust.cli.resident.promises:check_promises",
        "Check whether the service did what it promised when you took a consent back.",
    ),
    "erase": ("trust.cli.resident.erasure:erase", "Have the records of your consents destroyed."),
    "erased": ("trust.cli.resident.erasure:erased", "See whether an erased consent is gone at every holder."),
    "grant": ("trust.cli.resident.agreeing:grant", "Read a policy's notice and agree to it, signed on this machine."),
    "in-force": (
        "trust.cli.resident.proofs:in_force",
        "Prove whether your consent at INDEX was in force as of then: when the ledger had N entries.",
    ),
    "link": ("trust.cli.resident.linking:link", "Answer a holder's link challenge, so that your rows there can count."),
    "lost-device": ("trust.cli.resident.lost_device:lost_device", "Put this place in a lost device's place."),
    "receipt": (
        "trust.cli.resident.receipts:receipt",
        "Save the receipt of an entry, and a page that checks it anywhere, without a network.",
    ),
    "revoke": ("trust.cli.resident.ending:revoke", "Take back a consent, or all that you gave to a policy."),
    "show": (
        "trust.cli.resident.proofs:show",
        "Show your consents, and whether those that ended have stopped at every holder.",
    ),
    "stopped": (
        "trust.cli.resident.proofs:stopped",
        "Show whether every holder has confirmed that your consent has ended.",
    ),
    "uses": (
        "trust.cli.resident.proofs:uses",
        "Show every question that could count you, each with its proof checked here.",
    ),
}


class Device:
    """The resident's place. Nothing is looked for before it is used: help needs no place."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @cached_property
    def place(self) -> Place:
        """The place that was named, or the current folder's; raises UsageError where there is none."""
        return find_place(self._folder)

    @property
    def seed(self) -> bytes:
        """The resident's seed."""
        return self.place.seed

    @property
    def promises(self) -> PromiseFolder:
        """What the service promised this resident."""
        return PromiseFolder(self.place.promises)

    @property
    def copies(self) -> OwnCopies:
        """What this device keeps of its own."""
        return OwnCopies(self.place.own_copies)

    def consents(self, client: ServiceClient) -> list[MyConsent]:
        """Return one's own consents; raise LeftTheTown where their owner has left, NotEnrolled for another key."""
        return own_consents_of(client, self.seed, self.copies)

    @property
    def words(self) -> str:
        """The words of a command line that begin every command of this device."""
        return f"{program()} resident" + ("" if self._folder is None else f" --place {self._folder}")

    def client(self) -> ServiceClient:
        """Return a client for the service."""
        return self.place.client()

    @cached_property
    def _time_zone(self) -> ZoneInfo:
        """The town's time zone, as the pinned genesis entry names it."""
        with self.client() as client:
            return time_zone_of(client.genesis().time_zone)

    def moment(self, at: int) -> str:
        """Write a time (seconds since 1970) for people, as the town's clocks show it."""
        return datetime.fromtimestamp(at, self._time_zone).strftime("%Y-%m-%d %H:%M:%S")

    @contextmanager
    def follower(self) -> Iterator[LogFollower]:
        """Read the ledger as the pins allow, never less of it than this device has seen; raises OldView."""
        with view_of(self.place) as follower:
            yield follower

    def say_as_of(self, seen: SeenCheckpoint) -> None:
        """Say of when what is shown is."""
        if seen.time is None:
            say("As of the ledger's first {} entries; no witness says of when that is.", seen.checkpoint.size)
        else:
            say("As of {}, when the ledger had {} entries.", self.moment(seen.time), seen.checkpoint.size)


def listed(indices: list[int]) -> str:
    """Write ledger indices for people."""
    return ", ".join(map(str, indices))


def say_left(left: LeftTheTown, document: object, *, as_json: bool) -> None:
    """Say that there is nothing any more of whoever has left the town, to machines as the document that says so."""
    if as_json:
        say_json(document)
    else:
        say("{}", left.message, whole_line=True)


@click.group(cls=LazyGroup, listed=COMMANDS)
@PlaceFolderOption
@click.pass_context
def resident(ctx: click.Context, folder: Path | None) -> None:
    """See your consents and their uses; give, take back.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 show
    """
    ctx.obj = Device(folder)
