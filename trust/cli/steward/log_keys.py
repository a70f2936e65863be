"""``log-key``: the log changes its key, with the stewards' signatures."""

from pathlib import Path

import click

from ledger.entries import LogKeyBody
from trust.cli.options import File, PlaceOption, read_body, read_signature, signer_of, steward_options
from trust.cli.terminal import say, say_plain
from trust.client import paths
from trust.client.place import Place
from trust.client.wire import LogKeyRequest, Placed


@click.group(name="log-key")
def log_key() -> None:
    """Have the log sign with its next key. It takes the signatures of the stewards' quorum.

    \b
    Example:  musubi log-key publish log-key.json city.jws residents_council.jws --place .town/momijidai/places/city
    """


@log_key.command()
@click.argument("body", type=File)
@steward_options
def sign(body: Path, origin: str | None, steward: str | None, key: Path | None, folder: Path | None) -> None:
    """Sign the log's next key as one steward, offline.

    Prints the signature.

    \b
    Example:  musubi log-key sign log-key.json --place .town/momijidai/places/city > city.jws
              musubi log-key sign log-key.json --log musubi.example/momijidai \\
                --steward city --key city.key > city.jws
    """
    document = read_body(body, LogKeyBody, "log key")
    say_plain(signer_of(origin, steward, key, folder).sign("log-key", document))


@log_key.command()
@click.argument("body", type=File)
@click.argument("signatures", nargs=-1, required=True, type=File)
@PlaceOption
def publish(body: Path, signatures: tuple[Path, ...], place: Place) -> None:
    """Hand in the log's next key with the stewards' signatures. Anybody may.

    The tree that holds this entry is the first that is signed with the new key; the old key is refused for it and for
    every larger one.

    \b
    Example:  musubi log-key publish log-key.json city.jws residents_council.jws --place .town/momijidai/places/city
    """
    document = read_body(body, LogKeyBody, "log key")
    with place.client() as client:
        wanted = LogKeyRequest(log_key=document, signatures=[read_signature(each) for each in signatures])
        index = client.post(paths.LOG_KEYS, wanted, Placed).index
        client.prove(index)
    say("The log signs with its key number {} from index {} on. Receipt checked.", document.number, index)
    say("Now every witness removes the old key: `musubi keys witness --remove`.")
