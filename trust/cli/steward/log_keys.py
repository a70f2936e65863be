"""``log-key``: the log changes its key, with the stewards' signatures."""

import os
from pathlib import Path

import click

from ledger import canonical
from ledger.entries import LogKeyBody
from ledger.errors import NotPermitted
from ledger.notes.log_keys import LogKeys
from ledger.notes.ml_dsa import public_bytes
from ledger.notes.note import VerifierKey
from policies.governance import approve
from policies.log_key_changes import make_log_key_body
from trust.cli.operator.processes import PRIVATE
from trust.cli.steward.members import File, TownDir, read_body
from trust.cli.steward.policy import read_signature
from trust.cli.tables import console
from trust.client.service import ServiceClient
from trust.files.keys import new_key, new_post_quantum_key, read_key, read_post_quantum_key
from trust.log.pins import load_trust
from trust.town.layout import Layout


@click.command(name="rotate-log")
@click.argument("body", type=click.Path(dir_okay=False, path_type=Path))
@TownDir
def rotate_log(body: Path, town_dir: Path) -> None:
    """Make the log's next keys, for the operator.

    They are put into the service's folder, where they wait. BODY is the file that is written for the stewards to sign.
    Before it is handed in, every witness must trust the keys that are printed, or nothing is published any more. Run it
    again to write the same file anew.

    \b
    Example:  musubi keys rotate-log log-key.json --town-dir .town/momijidai
    """
    if body.exists():
        raise NotPermitted(f"The file '{body}' is there already; name another one.")
    os.umask(PRIVATE)
    trust, layout = load_trust(town_dir / "trust.json"), Layout(town_dir)
    with ServiceClient(layout.url, trust) as client:
        number = len(client.log_keys().changes) + 1
    folder = layout.service / "keys"
    plain, post_quantum = folder / f"log-{number}.key", folder / f"log-{number}.pq.key"
    key = read_key(plain) if plain.exists() else new_key(plain)
    key_pq = read_post_quantum_key(post_quantum) if post_quantum.exists() else new_post_quantum_key(post_quantum)
    # a crash between these leaves keys that nobody has signed for; the next run takes them up
    keys = LogKeys(
        VerifierKey.ed25519(trust.origin, bytes(key.verify_key)),
        VerifierKey.ml_dsa_44(trust.origin, public_bytes(key_pq)),
    )
    body.write_bytes(canonical.encode(make_log_key_body(number, keys)) + b"\n")
    for each in keys.all:
        click.echo(str(each))


@click.group(name="log-key")
def log_key() -> None:
    """Have the log sign with its next key. It takes the signatures of the stewards' quorum.

    \b
    Example:  musubi log-key publish log-key.json city.jws residents_council.jws --town-dir .town/momijidai
    """


@log_key.command()
@click.argument("body", type=File)
@click.option("--log", "origin", required=True, help="The origin of the town's log.")
@click.option("--steward", required=True, help="The steward's alias.")
@click.option("--key", type=File, required=True, help="The steward's key file.")
def sign(body: Path, origin: str, steward: str, key: Path) -> None:
    """Sign the log's next key as one steward, offline.

    Prints the signature.

    \b
    Example:  musubi log-key sign log-key.json --log musubi.example/momijidai \\
                --steward city --key city.key > city.jws
    """
    document = read_body(body, LogKeyBody, "log key")
    click.echo(approve("log-key", document, log=origin, steward=steward, key=read_key(key)))


@log_key.command()
@click.argument("body", type=File)
@click.argument("signatures", nargs=-1, required=True, type=File)
@TownDir
def publish(body: Path, signatures: tuple[Path, ...], town_dir: Path) -> None:
    """Hand in the log's next key with the stewards' signatures. Anybody may.

    The tree that holds this entry is the first that is signed with the new key; the old key is refused for it and for
    every larger one.

    \b
    Example:  musubi log-key publish log-key.json city.jws residents_council.jws --town-dir .town/momijidai
    """
    document = read_body(body, LogKeyBody, "log key")
    with ServiceClient(Layout(town_dir).url, load_trust(town_dir / "trust.json")) as client:
        wanted = {"log_key": document, "signatures": [read_signature(each) for each in signatures]}
        index = client.post("/v1/log-keys", wanted, dict[str, int])["index"]
        client.prove(index)
    console.print(f"The log signs with its key number {document.number} from index {index} on. Receipt checked.")
    console.print("Now every witness removes the old key: `musubi keys witness --remove`.")
