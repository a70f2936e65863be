"""``member``: an organisation joins, changes its keys, or leaves, with the stewards' signatures."""

from pathlib import Path

import click
import msgspec

from ledger import canonical
from ledger.entries import MemberBody
from ledger.errors import Malformed, NotFound
from trust.cli.options import File, PlaceOption, read_body, read_signature, signer_of, steward_options
from trust.cli.terminal import say, say_document, say_plain
from trust.client import paths
from trust.client.place import Place
from trust.client.wire import MemberRequest, Placed


@click.group()
def member() -> None:
    """Have an organisation join, change its keys, or leave. It takes the signatures of the stewards' quorum.

    \b
    Example:  musubi member change bus_co --key NEW_PUBLIC_KEY --place .town/momijidai/places/bus_co > bus_co.json
    """


@member.command()
@click.argument("alias")
@click.option("--key", metavar="HEX", help="The new public signing key, as `musubi keys new` prints it.")
@click.option("--sealing-key", metavar="HEX", help="The new public receiving key, as `musubi keys new --sealing` does.")
@click.option("--leave", is_flag=True, help="The organisation leaves.")
@PlaceOption
def change(alias: str, key: str | None, sealing_key: str | None, place: Place, *, leave: bool) -> None:
    """Write down a change to a member, for the stewards to sign.

    Prints what stands in the ledger now, with the next number and what is to change.

    \b
    Example:  musubi member change bus_co --key NEW_PUBLIC_KEY --place .town/momijidai/places/bus_co > bus_co.json
    """
    with place.client() as client:
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
        say_document(canonical.encode(msgspec.convert(msgspec.to_builtins(body), MemberBody)))
    except msgspec.ValidationError:
        raise Malformed("A public key is 64 hexadecimal digits, as `musubi keys new` prints it.") from None


@member.command()
@click.argument("body", type=File)
@steward_options
def sign(body: Path, origin: str | None, steward: str | None, key: Path | None, folder: Path | None) -> None:
    """Sign a member, or a change to one, as one steward, offline.

    Prints the signature.

    \b
    Example:  musubi member sign bus_co.json --place .town/momijidai/places/city > city.jws
              musubi member sign bus_co.json --log musubi.example/momijidai \\
                --steward city --key city.key > city.jws
    """
    document = read_body(body, MemberBody, "member")
    say_plain(signer_of(origin, steward, key, folder).sign("member", document))


@member.command()
@click.argument("body", type=File)
@click.argument("signatures", nargs=-1, required=True, type=File)
@PlaceOption
def register(body: Path, signatures: tuple[Path, ...], place: Place) -> None:
    """Hand in a member with the stewards' signatures. Anybody may.

    From its entry on, the old keys are refused.

    \b
    Example:  musubi member register bus_co.json city.jws residents_council.jws --place .town/momijidai/places/city
    """
    document = read_body(body, MemberBody, "member")
    with place.client() as client:
        wanted = MemberRequest(member=document, signatures=[read_signature(each) for each in signatures])
        index = client.post(paths.MEMBERS, wanted, Placed).index
        client.prove(index)
    say("{}, number {}, is in the ledger at index {}. Receipt checked.", document.alias, document.number, index)
