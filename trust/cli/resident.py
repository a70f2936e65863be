"""``resident``: what a resident can do, from a key file on their own machine."""

import json
from datetime import datetime
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec
from rich import box
from rich.table import Table

from ledger.errors import NotFound
from queries.messages import MyConsent
from trust.cli.hints import program
from trust.cli.tables import console
from trust.key_files import read_secret
from trust.log_follower import LogFollower
from trust.log_source import HttpLog
from trust.resident_device import grant as sign_grant
from trust.resident_device import revoke as sign_revoke
from trust.resident_device import uses as find_uses
from trust.service_client import ServiceClient
from trust.town.layout import Layout
from trust.town.play_residents import seed_of
from trust.trust_file import Trust, load_trust


class Device:
    """Where the resident's seed is, and which town it is about. Nothing is read before it is used: help needs no town."""

    def __init__(self, town_dir: Path | None, seed_file: Path | None, person: int | None) -> None:
        self._town_dir = town_dir
        self._seed_file = seed_file
        self._person = person

    @property
    def folder(self) -> Path:
        """The town's folder."""
        if self._town_dir is None:
            raise click.UsageError("Missing option '--town-dir', before the command's name.")
        return self._town_dir

    @cached_property
    def layout(self) -> Layout:
        """Where everything of the town lies."""
        return Layout(self.folder)

    @cached_property
    def trust(self) -> Trust:
        """The town's pins."""
        return load_trust(self.folder / "trust.json")

    @cached_property
    def seed(self) -> bytes:
        """The resident's seed; raises NotFound where nobody was named."""
        if self._seed_file is not None:
            return read_secret(self._seed_file)
        if self._person is None:
            raise NotFound("Say whose device this is: --seed FILE, or in a demo town --person N.")
        if not 0 <= self._person < self.layout.place.residents:
            raise NotFound(f"This town's residents are numbered 0 to {self.layout.place.residents - 1}.")
        return seed_of(read_secret(self.layout.people / "seeds.key"), self._person)

    @property
    def words(self) -> str:
        """The words of a command line that begin every command of this device."""
        who = f"--seed {self._seed_file}" if self._seed_file is not None else f"--person {self._person}"
        return f"{program()} resident --town-dir {self.folder} {who}"

    def client(self) -> ServiceClient:
        """Return a client for the town's service."""
        return ServiceClient(self.layout.url, self.trust)


def in_force(consents: list[MyConsent], policy: str) -> list[int]:
    """Return the indices of the consents to a policy that have not been ended."""
    return [consent.index for consent in consents if consent.policy == policy and consent.ended_by is None]


def listed(indices: list[int]) -> str:
    """Write ledger indices for people."""
    return ", ".join(map(str, indices))


@click.group()
@click.option(
    "--town-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of a running town, as `musubi up` prints it.  [required]",
)
@click.option(
    "--seed",
    "seed_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file with the resident's 32-byte seed.",
)
@click.option("--person", type=int, help="In a demo town: be resident number N.")
@click.pass_context
def resident(ctx: click.Context, town_dir: Path | None, seed_file: Path | None, person: int | None) -> None:
    """See your consents and their uses; give, take back.

    \b
    Example:  musubi resident --town-dir .town/momijidai --person 42 show
    """
    ctx.obj = Device(town_dir, seed_file, person)


@resident.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.pass_obj
def show(device: Device, *, as_json: bool) -> None:
    """Show your consents.

    \b
    Example:  musubi resident --town-dir .town/momijidai --person 42 show
    """
    with device.client() as client:
        mine = client.my_consents(device.seed)
        titles = {policy.id: policy.title.get("en", policy.id) for policy in client.policies().values()}
    if as_json:
        click.echo(msgspec.json.encode(mine).decode())
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("index", "what for", "at", "until", "state"):
        table.add_column(column)
    for consent in mine:
        state = "in force" if consent.ended_by is None else f"ended at {consent.ended_by}"
        table.add_row(
            str(consent.index),
            titles.get(consent.policy, consent.policy),
            ", ".join(consent.holders),
            consent.until,
            state,
        )
    console.print(table if mine else "You have given no consent. Nothing of yours is used.")


@resident.command()
@click.argument("policy")
@click.option("--holder", "holders", multiple=True, help="Only at these holders; all of the policy's otherwise.")
@click.option("--until", metavar="YYYY-MM-DD", help="One of the policy's last days; its latest otherwise.")
@click.option("--cap", type=int, help="One of the policy's yearly caps, in nano-rho; its largest otherwise.")
@click.option(
    "--language",
    type=click.Choice(["ja", "en", "ja-easy"]),
    default="ja",
    show_default=True,
    help="The language of the notice that you read.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.pass_obj
def grant(
    device: Device,
    policy: str,
    holders: tuple[str, ...],
    until: str | None,
    cap: int | None,
    language: str,
    *,
    as_json: bool,
) -> None:
    """Give a consent, signed on this machine.

    \b
    Example:  musubi resident --town-dir .town/momijidai --person 42 grant food_loss
    """
    with device.client() as client:
        before = in_force(client.my_consents(device.seed), policy)
        index, last_day = sign_grant(
            client,
            device.seed,
            policy,
            holders=list(holders),
            until=until,
            cap=cap,
            language=language,  # type: ignore[arg-type]
        )
    if as_json:
        click.echo(json.dumps({"index": index, "until": last_day}))
    else:
        console.print(f"Your consent is in the ledger at index {index}, until {last_day}. Receipt checked.")
        if before:
            console.print(f"You had agreed to '{policy}' before, at {listed(before)}. That stays in force as well.")
        console.print(f"To take it back: {device.words} revoke {index}", soft_wrap=True)


@resident.command()
@click.argument("index", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.pass_obj
def revoke(device: Device, index: int, *, as_json: bool) -> None:
    """Take a consent back. No question admitted after it counts you.

    \b
    Example:  musubi resident --town-dir .town/momijidai --person 42 revoke 1234
    """
    with device.client() as client:
        at, promise = sign_revoke(client, device.seed, index)
        mine = client.my_consents(device.seed)
    ended = next(consent.policy for consent in mine if consent.index == index)
    if as_json:
        click.echo(json.dumps({"index": at, "promise": promise}))
    else:
        console.print(f"Your consent has ended. The revocation is in the ledger at index {at}. Receipt checked.")
        left = in_force(mine, ended)
        if left:
            console.print(f"You agreed to '{ended}' more than once: still in force at {listed(left)}.")
            console.print(f"To take that back too: {device.words} revoke {left[0]}", soft_wrap=True)


@resident.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.pass_obj
def uses(device: Device, *, as_json: bool) -> None:
    """Show every question that could have counted you.

    They are found by reading the whole ledger on this machine.

    \b
    Example:  musubi resident --town-dir .town/momijidai --person 42 uses
    """
    with device.client() as client:
        mine = client.my_consents(device.seed)
        titles = {policy.id: policy.title.get("en", policy.id) for policy in client.policies().values()}
    log = HttpLog(device.layout.url)
    try:
        found = find_uses(LogFollower(log, device.trust.log_keys, device.trust.witnesses), mine)
    finally:
        log.close()
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    zone = ZoneInfo(device.layout.town.time_zone)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("question", no_wrap=True)
    table.add_column("when", no_wrap=True)
    for column in ("who asked", "what for", "you in it?", "ended"):
        table.add_column(column, overflow="fold")
    for use in found:
        when = datetime.fromtimestamp(use.at, zone).strftime("%Y-%m-%d %H:%M")
        counted = "yes" if use.counted else "no"
        table.add_row(str(use.admit), when, use.by, titles.get(use.policy, use.policy), counted, use.ended)
    console.print(table if found else "No question has been asked under a policy that you agreed to.")
