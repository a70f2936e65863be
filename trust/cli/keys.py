"""``keys``: making and showing key files."""

from pathlib import Path

import click
from nacl.public import PrivateKey

from policies.keys import public_hex
from trust.key_files import new_key, read_key, write_secret


@click.group()
def keys() -> None:
    """Make and show an organisation's keys.

    \b
    Example:  musubi keys new bus_co.key
    """


@keys.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--sealing", is_flag=True, help="Make an X25519 key for receiving instead of an Ed25519 key for signing.")
def new(path: Path, *, sealing: bool) -> None:
    """Make a new key file and print its public key.

    The file has mode 0600; an old one is never overwritten.

    \b
    Example:  musubi keys new bus_co.key
    """
    if sealing:
        private = PrivateKey.generate()
        write_secret(path, bytes(private))
        click.echo(bytes(private.public_key).hex())
    else:
        click.echo(public_hex(new_key(path)))


@keys.command()
@click.argument("path", type=click.Path(path_type=Path))
def show(path: Path) -> None:
    """Print the public key of a signing key file.

    \b
    Example:  musubi keys show bus_co.key
    """
    click.echo(public_hex(read_key(path)))
