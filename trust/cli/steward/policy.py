"""``policy``: checking, signing and publishing policy documents."""

import hashlib
import tomllib
from pathlib import Path

import click
import msgspec
from msgspec import Raw

from ledger import canonical
from ledger.errors import Malformed, NotFound
from policies.policy_document import Policy, check_document, document_sha256, place_of_time
from policies.rules import WIDER_QUESTIONS
from trust.cli.options import File, JsonOption, PlaceOption, read_signature, signer_of, steward_options
from trust.cli.terminal import say, say_json, say_plain
from trust.client import paths
from trust.client.place import Place
from trust.client.wire import Placed, PolicyRequest

PolicyFile = click.Path(dir_okay=False, path_type=Path)


def read_policy(path: Path) -> Policy:
    """Read a policy authored as TOML and check it; raise NotFound or Malformed."""
    try:
        document = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Policy)
    except FileNotFoundError:
        raise NotFound(f"There is no file '{path}'.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Malformed(f"{path.name}: {error}.") from None
    check_document(document)
    return document


@click.group()
def policy() -> None:
    """Check, sign and publish policies. A policy enters the ledger with the signatures of the stewards' quorum.

    \b
    Example:  musubi policy check towns/momijidai/policies/mobility_demand.toml
    """


@policy.command()
@click.argument("path", type=PolicyFile)
def check(path: Path) -> None:
    """Check a policy file and print its hash.

    Consents and questions name a policy by that hash.

    \b
    Example:  musubi policy check towns/momijidai/policies/mobility_demand.toml
    """
    document = read_policy(path)
    say("{} version {} is well-formed.", document.id, document.version)
    for view in document.views:
        places = " and ".join(view.holders)
        say("  view {} at {}: at most {} rows of a resident", view.name, places, view.rows_per_resident)
    if place_of_time(document) is not None:
        say("  It has a column of time: the ledger must go by rules number {} or newer.", WIDER_QUESTIONS)
    say_plain(document_sha256(document))


@policy.command()
@click.argument("path", type=PolicyFile)
@steward_options
def sign(path: Path, origin: str | None, steward: str | None, key: Path | None, folder: Path | None) -> None:
    """Sign a policy as one steward, offline.

    Prints the signature.

    \b
    Example:  musubi policy sign p.toml --place .town/momijidai/places/city > city.jws
              musubi policy sign p.toml --log musubi.example/momijidai \\
                --steward city --key city.key > city.jws
    """
    document = read_policy(path)
    say_plain(signer_of(origin, steward, key, folder).sign("policy", document))


@policy.command()
@click.argument("path", type=PolicyFile)
@click.argument("signatures", nargs=-1, required=True, type=File)
@PlaceOption
@JsonOption
def publish(path: Path, signatures: tuple[Path, ...], place: Place, *, as_json: bool) -> None:
    """Publish a policy with the stewards' signatures. Anybody may.

    A change to a policy is a new version and needs new consents.

    \b
    Example:  musubi policy publish p.toml city.jws residents_council.jws \\
                --place .town/momijidai/places/city
    """
    document = read_policy(path)
    body = PolicyRequest(
        policy=Raw(canonical.encode(document)), signatures=[read_signature(signature) for signature in signatures]
    )
    with place.client() as client:
        index = client.post(paths.POLICIES, body, Placed).index
        client.prove(index)
    digest = hashlib.sha256(canonical.encode(document)).hexdigest()
    if as_json:
        say_json({"index": index, "sha256": digest})
    else:
        say("{} version {} is in the ledger at index {}.", document.id, document.version, index)
