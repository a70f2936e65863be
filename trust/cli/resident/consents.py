"""``resident``: what a resident can do, from a place on their own machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from policies.languages import DEFAULT_LANGUAGE, NOTICE_LANGUAGES
from trust.cli.hints import program
from trust.cli.options import JsonOption, PlaceFolderOption, find_place
from trust.cli.tables import console
from trust.client.place import Place
from trust.client.service import ServiceClient
from trust.client.wire import MyConsent
from trust.log.follower import LogFollower
from trust.resident.device import grant as sign_grant
from trust.resident.leaving import own_consents_of
from trust.resident.own_copies import OwnCopies
from trust.resident.promises import PromiseFolder


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
            return ZoneInfo(client.genesis().time_zone)

    def moment(self, at: int) -> str:
        """Write a time (seconds since 1970) for people, as the town's clocks show it."""
        return datetime.fromtimestamp(at, self._time_zone).strftime("%Y-%m-%d %H:%M:%S")

    @contextmanager
    def follower(self) -> Iterator[LogFollower]:
        """Read the ledger from its beginning, and believe what the pins allow."""
        with self.place.log() as log:
            yield LogFollower(log, self.place.trust.log_keys, self.place.trust.witnesses)


def in_force(consents: list[MyConsent], policy: str) -> list[int]:
    """Return the indices of the consents to a policy that have not been ended."""
    return [consent.index for consent in consents if consent.policy == policy and consent.ended_by is None]


def listed(indices: list[int]) -> str:
    """Write ledger indices for people."""
    return ", ".join(map(str, indices))


@click.group()
@PlaceFolderOption
@click.pass_context
def resident(ctx: click.Context, folder: Path | None) -> None:
    """See your consents and their uses; give, take back.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 show
    """
    ctx.obj = Device(folder)


@resident.command()
@click.argument("policy")
@click.option("--holder", "holders", multiple=True, help="Only at these holders; all of the policy's otherwise.")
@click.option("--until", metavar="YYYY-MM-DD", help="One of the policy's last days; its latest otherwise.")
@click.option(
    "--cap", "yearly_cap", type=int, help="One of the policy's yearly caps, in nano-rho; its largest otherwise."
)
@click.option(
    "--language",
    type=click.Choice(NOTICE_LANGUAGES),
    default=DEFAULT_LANGUAGE,
    show_default=True,
    help="The language of the notice that you read.",
)
@JsonOption
@click.pass_obj
def grant(
    device: Device,
    policy: str,
    holders: tuple[str, ...],
    until: str | None,
    yearly_cap: int | None,
    language: str,
    *,
    as_json: bool,
) -> None:
    """Give a consent, signed on this machine.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 grant food_loss
    """
    with device.client() as client:
        before = in_force(device.consents(client), policy)
        index, last_day = sign_grant(
            client,
            device.seed,
            policy,
            holders=list(holders),
            until=until,
            yearly_cap=yearly_cap,
            language=language,
            copies=device.copies,
        )
    if as_json:
        click.echo(json.dumps({"index": index, "until": last_day}))
    else:
        console.print(f"Your consent is in the ledger at index {index}, until {last_day}. Receipt checked.")
        if before:
            console.print(f"You had agreed to '{policy}' before, at {listed(before)}. That stays in force as well.")
        console.print(f"To take it back: {device.words} revoke {index}", soft_wrap=True)
