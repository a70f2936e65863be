"""``keys``: making and showing key files."""

from pathlib import Path

import click
from nacl.public import PrivateKey

from ledger.notes.ml_dsa import public_bytes
from ledger.notes.note import VerifierKey
from policies.pairwise_keys import public_hex
from trust.audit.witness_folder import change_trusted_keys, trusted_keys
from trust.cli.steward.log_keys import rotate_log
from trust.files.keys import new_key, new_post_quantum_key, read_key, read_post_quantum_key, write_secret


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
        click.echo(public_bytes(new_post_quantum_key(path)).hex())
    elif sealing:
        private = PrivateKey.generate()
        write_secret(path, bytes(private))
        click.echo(bytes(private.public_key).hex())
    else:
        click.echo(public_hex(new_key(path)))


@keys.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--post-quantum", is_flag=True, help="The file holds an ML-DSA-44 key.")
def show(path: Path, *, post_quantum: bool) -> None:
    """Print the public key of a signing key file.

    \b
    Example:  musubi keys show bus_co.key
    """
    if post_quantum:
        click.echo(public_bytes(read_post_quantum_key(path)).hex())
    else:
        click.echo(public_hex(read_key(path)))


@keys.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
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
        click.echo("Changed; start the witness again.", err=True)
    else:
        trusted = trusted_keys(folder)
    for key in trusted:
        click.echo(str(key))


keys.add_command(rotate_log)
