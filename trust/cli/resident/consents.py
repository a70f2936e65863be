"""``resident``: what a resident can do, from a key file on their own machine."""

import json
from functools import cached_property
from pathlib import Path

import click

from ledger.errors import NotFound
from policies.languages import DEFAULT_LANGUAGE, NOTICE_LANGUAGES
from queries.rounds.messages import MyConsent
from trust.cli.hints import program
from trust.cli.tables import console
from trust.client.service import ServiceClient
from trust.files.keys import read_secret
from trust.log.pins import Trust, load_trust
from trust.resident.device import grant as sign_grant
from trust.resident.device import revoke as sign_revoke
from trust.resident.promises import PromiseFolder
from trust.town.layout import Layout
from trust.town.play_residents import seed_of


class Device:
    """Where the resident's seed is, and which town it is about. Nothing is read before it is used: help needs no town."""

    def __init__(self, town_dir: Path | None, seed_file: Path | None, person: int | None) -> None:
        self._town_dir = town_dir
        self._seed_file = seed_file
        self.person = person
        """Which resident of a demo town this is, if one was named so."""

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
        if self.person is None:
            raise NotFound("Say whose device this is: --seed FILE, or in a demo town --person N.")
        if not 0 <= self.person < self.layout.place.residents:
            raise NotFound(f"This town's residents are numbered 0 to {self.layout.place.residents - 1}.")
        return seed_of(read_secret(self.layout.people / "seeds.key"), self.person)

    @property
    def promises(self) -> PromiseFolder:
        """What the service promised this resident: beside the seed, or with the demo's people."""
        if self._seed_file is not None:
            return PromiseFolder(self._seed_file.with_name(f"{self._seed_file.name}.promises"))
        _ = self.seed  # says what is missing where nobody was named
        return PromiseFolder(self.layout.people / "promises" / str(self.person))

    @property
    def words(self) -> str:
        """The words of a command line that begin every command of this device."""
        who = f"--seed {self._seed_file}" if self._seed_file is not None else f"--person {self.person}"
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
@click.argument("policy")
@click.option("--holder", "holders", multiple=True, help="Only at these holders; all of the policy's otherwise.")
@click.option("--until", metavar="YYYY-MM-DD", help="One of the policy's last days; its latest otherwise.")
@click.option("--cap", type=int, help="One of the policy's yearly caps, in nano-rho; its largest otherwise.")
@click.option(
    "--language",
    type=click.Choice(NOTICE_LANGUAGES),
    default=DEFAULT_LANGUAGE,
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
            language=language,
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
        done = sign_revoke(client, device.seed, index, device.promises.keep)
        mine = client.my_consents(device.seed)
    ended = next(consent.policy for consent in mine if consent.index == index)
    if as_json:
        click.echo(json.dumps({"index": done.index, "promise": done.promise, "doubt": done.doubt}))
    else:
        console.print(
            f"Your consent has ended. The revocation is in the ledger at index {done.index}. Receipt checked."
        )
        if done.doubt:
            console.print(f"[red]The service's promise is not in order:[/] {done.doubt} Tell the town's stewards.")
        left = in_force(mine, ended)
        if left:
            console.print(f"You agreed to '{ended}' more than once: still in force at {listed(left)}.")
            console.print(f"To take that back too: {device.words} revoke {left[0]}", soft_wrap=True)
