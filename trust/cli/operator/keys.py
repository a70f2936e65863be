"""``keys``: making and showing key files."""

import os
from pathlib import Path

import click
from nacl.public import PrivateKey

from ledger import canonical
from ledger.errors import NotPermitted
from ledger.notes.log_keys import LogKeyHistory, LogKeys
from ledger.notes.ml_dsa import public_bytes
from ledger.notes.note import VerifierKey
from policies.log_key_changes import make_log_key_body
from policies.pairwise_keys import public_hex
from trust.audit.witness_folder import change_trusted_keys, trusted_keys
from trust.cli.options import PRIVATE, Folder
from trust.cli.terminal import say, say_plain
from trust.files.keys import new_key, new_post_quantum_key, read_key, read_post_quantum_key, write_secret
from trust.log.follower import LogFollower
from trust.log.pins import Trust
from trust.log.source import FolderLog


@click.group()
def keys() -> None:
    """Make and show an organisation's keys.

    \b
    Example:  musubi keys new bus_co.key
    """


@keys.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--sealing", is_flag=True, help="Make an X25519 key for receiving instead of an Ed25519 key for signing.")
@click.option("--post-quantum", is_flag=True, help="Make an ML-DSA-44 key, for a log or a witness.")
def new(path: Path, *, sealing: bool, post_quantum: bool) -> None:
    """Make a new key file and print its public key.

    The file has mode 0600; an old one is never overwritten.

    \b
    Example:  musubi keys new bus_co.key
    """
    if sealing and post_quantum:
        raise click.UsageError("A key is for receiving or for signing: choose one of --sealing and --post-quantum.")
    if post_quantum:
        say_plain(public_bytes(new_post_quantum_key(path)).hex())
    elif sealing:
        private = PrivateKey.generate()
        write_secret(path, bytes(private))
        say_plain(bytes(private.public_key).hex())
    else:
        say_plain(public_hex(new_key(path)))


@keys.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--post-quantum", is_flag=True, help="The file holds an ML-DSA-44 key.")
def show(path: Path, *, post_quantum: bool) -> None:
    """Print the public key of a signing key file.

    \b
    Example:  musubi keys show bus_co.key
    """
    if post_quantum:
        say_plain(public_bytes(read_post_quantum_key(path)).hex())
    else:
        say_plain(public_hex(read_key(path)))


@keys.command()
@click.option(
    "--dir",
    "folder",
    type=Folder,
    required=True,
    help="The witness's folder, with witness.toml.",
)
@click.option("--add", "added", metavar="VKEY", multiple=True, help="Trust this key of a log as well.")
@click.option("--remove", "removed", metavar="VKEY", multiple=True, help="Trust this key no longer.")
def witness(folder: Path, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
    """Show or change which keys of logs a witness trusts.

    A change acts when the witness is started again. When a log changes its key: add the next one first; remove the old
    one once the log signs with the next, so that a thief of the old one gets no cosignature.

    \b
    Example:  musubi keys witness --dir .town/momijidai/witness
    """
    if added or removed:
        add, remove = ([VerifierKey.parse(text) for text in texts] for texts in (added, removed))
        trusted = change_trusted_keys(folder, add=add, remove=remove)
        say("Changed; start the witness again.", err=True)
    else:
        trusted = trusted_keys(folder)
    for key in trusted:
        say_plain(str(key))


@keys.command(name="rotate-log")
@click.argument("body", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--dir", "folder", type=Folder, required=True, help="The service's folder, with service.toml.")
def rotate_log(body: Path, folder: Path) -> None:
    """Make the log's next keys, for the operator.

    They are put into the service's folder, where they wait; the service may run. BODY is the file that is written for
    the stewards to sign. Before it is handed in, every witness must trust the keys that are printed, or nothing is
    published any more. Run it again to write the same file anew.

    \b
    Example:  musubi keys rotate-log log-key.json --dir .town/momijidai/service
    """
    from trust.service.settings import load_settings  # noqa: PLC0415 - the other commands need none of it

    if body.exists():
        raise NotPermitted(f"The file '{body}' is there already; name another one.")
    os.umask(PRIVATE)
    trust = load_settings(folder).pins()
    number = len(_read_keys(trust, FolderLog(folder / "log")).changes) + 1
    plain, post_quantum = folder / "keys" / f"log-{number}.key", folder / "keys" / f"log-{number}.pq.key"
    key = read_key(plain) if plain.exists() else new_key(plain)
    key_pq = read_post_quantum_key(post_quantum) if post_quantum.exists() else new_post_quantum_key(post_quantum)
    # a crash between these leaves keys that nobody has signed for; the next run takes them up
    made = LogKeys(
        VerifierKey.ed25519(trust.origin, bytes(key.verify_key)),
        VerifierKey.ml_dsa_44(trust.origin, public_bytes(key_pq)),
    )
    body.write_bytes(canonical.encode(make_log_key_body(number, made)) + b"\n")
    for each in made.all:
        say_plain(str(each))


def _read_keys(trust: Trust, log: FolderLog) -> LogKeyHistory:
    """Return the keys that the log has had so far, from its own entries."""
    follower = LogFollower(log, trust.log_keys, trust.witnesses)
    for _ in follower.follow():
        pass
    return follower.history
