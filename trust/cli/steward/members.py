"""``member``: an organisation joins, changes its keys, or leaves, with the stewards' signatures."""

from pathlib import Path
from typing import Any

import click
import msgspec

from ledger import canonical
from ledger.entries import MemberBody
from ledger.errors import Malformed, NotFound
from policies.governance import approve
from trust.cli.steward.policy import read_signature
from trust.cli.tables import console
from trust.client.service import ServiceClient
from trust.files.keys import read_key
from trust.log.pins import load_trust
from trust.town.layout import Layout

File = click.Path(exists=True, dir_okay=False, path_type=Path)
TownDir = click.option(
    "--town-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="The folder of a running town.",
)


def read_body(path: Path, type_: type[Any], what: str) -> Any:
    """Read what stewards sign, one line of canonical JSON; raise Malformed."""
    return canonical.decode(path.read_bytes().removesuffix(b"\n"), type_, what)


@click.group()
def member() -> None:
    """Have an organisation join, change its keys, or leave. It takes the signatures of the stewards' quorum.

    \b
    Example:  musubi member change bus_co --key NEW_PUBLIC_KEY --town-dir .town/momijidai > bus_co.json
    """


@member.command()
@click.argument("alias")
@click.option("--key", metavar="HEX", help="The new public signing key, as `musubi keys new` prints it.")
@click.option("--sealing-key", metavar="HEX", help="The new public receiving key, as `musubi keys new --sealing` does.")
@click.option("--leave", is_flag=True, help="The organisation leaves.")
@TownDir
def change(alias: str, key: str | None, sealing_key: str | None, town_dir: Path, *, leave: bool) -> None:
    """Write down a change to a member, for the stewards to sign.

    Prints what stands in the ledger now, with the next number and what is to change.

    \b
    Example:  musubi member change bus_co --key NEW_PUBLIC_KEY --town-dir .town/momijidai > bus_co.json
    """
    with ServiceClient(Layout(town_dir).url, load_trust(town_dir / "trust.json")) as client:
        members = client.members()
    if alias not in members:
        raise NotFound(f"There is no member '{alias}' in this town; there are: {', '.join(sorted(members))}.")
    if not (key or sealing_key or leave):
        raise click.UsageError("Say what changes: --key, --sealing-key or --leave.")
    now = members[alias]
    body = msgspec.structs.replace(
        now,
        number=now.number + 1,
        status="left" if leave else now.status,
        key=key or now.key,
        sealing_key=sealing_key or now.sealing_key,
    )
    try:
        click.echo(canonical.encode(msgspec.convert(msgspec.to_builtins(body), MemberBody)))
    except msgspec.ValidationError:
        raise Malformed("A public key is 64 hexadecimal digits, as `musubi keys new` prints it.") from None


@member.command()
@click.argument("body", type=File)
@click.option("--log", "origin", required=True, help="The origin of the town's log.")
@click.option("--steward", required=True, help="The steward's alias.")
@click.option("--key", type=File, required=True, help="The steward's key file.")
def sign(body: Path, origin: str, steward: str, key: Path) -> None:
    """Sign a member, or a change to one, as one steward, offline.

    Prints the signature.

    \b
    Example:  musubi member sign bus_co.json --log musubi.example/momijidai \\
                --steward city --key city.key > city.jws
    """
    document = read_body(body, MemberBody, "member")
    click.echo(approve("member", document, log=origin, steward=steward, key=read_key(key)))


@member.command()
@click.argument("body", type=File)
@click.argument("signatures", nargs=-1, required=True, type=File)
@TownDir
def register(body: Path, signatures: tuple[Path, ...], town_dir: Path) -> None:
    """Hand in a member with the stewards' signatures. Anybody may.

    From its entry on, the old keys are refused.

    \b
    Example:  musubi member register bus_co.json city.jws residents_council.jws --town-dir .town/momijidai
    """
    document = read_body(body, MemberBody, "member")
    with ServiceClient(Layout(town_dir).url, load_trust(town_dir / "trust.json")) as client:
        wanted = {"member": document, "signatures": [read_signature(each) for each in signatures]}
        index = client.post("/v1/members", wanted, dict[str, int])["index"]
        client.prove(index)
    console.print(f"{document.alias}, number {document.number}, is in the ledger at index {index}. Receipt checked.")
