"""``node link``: linking a customer by hand, or from a program of the holder's own."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trust.cli.options import File, Folder, JsonOption
from trust.cli.terminal import say, say_json, say_plain

if TYPE_CHECKING:
    from trust.node.local.site_links import SiteLinks

NodeFolder = click.option("--dir", "folder", type=Folder, required=True, help="The node's folder, with node.toml.")
CustomerFile = click.option(
    "--customer-file",
    type=File,
    help="The customer number, in a file of one line; standard input otherwise, for a command line everybody can read.",
)


@click.group("node link")
def link() -> None:
    """Link a customer of the holder's with a resident's device.

    \b
    Example:  musubi node link challenge --dir node --customer-file customer.txt
    """


@link.command()
@NodeFolder
@CustomerFile
@JsonOption
def challenge(folder: Path, customer_file: Path | None, *, as_json: bool) -> None:
    """Make a challenge for a customer who stands before you, or is logged in.

    The customer's device answers it with `musubi resident link`. It is good for 15 minutes.

    \b
    Example:  musubi node link challenge --dir node --customer-file customer.txt
    """
    links = _links(folder)
    made = links.challenge(_customer(customer_file))
    if as_json:
        say_json({"challenge": made.text, "expires_at": links.expires_at(made)})
    else:
        say_plain(made.text)


@link.command()
@click.argument("answer", type=File)
@NodeFolder
@CustomerFile
@JsonOption
def take(answer: Path, folder: Path, customer_file: Path | None, *, as_json: bool) -> None:
    """Take what a customer's device answered: the file ANSWER.

    \b
    Example:  musubi node link take answer.jws --dir node --customer-file customer.txt
    """
    from trust.node.local.site_links import LOOK_AGAIN_SECONDS, TAKEN_IN_SECONDS  # noqa: PLC0415

    handed = _links(folder).hand_in(_customer(customer_file), answer.read_text("ascii", "replace").strip())
    end = time.monotonic() + TAKEN_IN_SECONDS
    while not handed.is_taken_in() and time.monotonic() < end:
        time.sleep(LOOK_AGAIN_SECONDS)
    handed.check()
    _say_standing(is_linked=True, as_json=as_json)


@link.command()
@NodeFolder
@CustomerFile
@JsonOption
def status(folder: Path, customer_file: Path | None, *, as_json: bool) -> None:
    """Say whether a customer is linked.

    \b
    Example:  musubi node link status --dir node --customer-file customer.txt
    """
    _say_standing(is_linked=_links(folder).is_linked(_customer(customer_file)), as_json=as_json)


@link.command()
@NodeFolder
def secret(folder: Path) -> None:
    """Make the secret that the holder's own site shows at the node's local interface.

    It is in a file of the node's folder, mode 0600. Put what is in it into your site's settings. To change it, delete
    the file and make a new one: the old one is good no longer then.

    \b
    Example:  musubi node link secret --dir node
    """
    import secrets  # noqa: PLC0415

    from trust.files.keys import write_secret  # noqa: PLC0415
    from trust.node.local.door import SITE_KEY  # noqa: PLC0415
    from trust.node.settings import load_node_settings  # noqa: PLC0415

    load_node_settings(folder)
    path = folder / "keys" / SITE_KEY
    write_secret(path, secrets.token_bytes(32))
    say("The site's secret is in {}.", path, whole_line=True)


def _links(folder: Path) -> "SiteLinks":
    from trust.node.local.site_links import SiteLinks  # noqa: PLC0415
    from trust.node.settings import load_node_settings  # noqa: PLC0415

    return SiteLinks(folder, load_node_settings(folder).alias)


def _customer(path: Path | None) -> str:
    said = sys.stdin.buffer.read() if path is None else path.read_bytes()
    try:
        customer = said.decode("utf-8").strip("\r\n")
    except UnicodeDecodeError:
        raise click.UsageError("The customer number has to be in UTF-8.") from None
    if not customer or "\n" in customer:
        raise click.UsageError("Say which customer: one line, with the customer number alone.")
    return customer


def _say_standing(*, is_linked: bool, as_json: bool) -> None:
    if as_json:
        say_json({"linked": is_linked})
    elif is_linked:
        say("Linked.")
    else:
        say("Not linked.")
