"""Options and arguments that several commands share: whose place it is, a steward's signature, files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from nacl.signing import SigningKey

from ledger import canonical
from ledger.errors import Malformed
from policies.governance import Subject, approve
from trust.client.place import Place
from trust.files.keys import read_key

PRIVATE = 0o077
"""The umask of commands that write what is for their own user alone."""
PLACE_VARIABLE = "MUSUBI_PLACE"
File = click.Path(exists=True, dir_okay=False, path_type=Path)
Folder = click.Path(exists=True, file_okay=False, path_type=Path)
PlaceFolder = click.Path(file_okay=False, path_type=Path)
JsonOption = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")

_HELP = f"Your place: a folder that `musubi place init` made.  [default: ${PLACE_VARIABLE}, or the current folder]"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def find_place(folder: Path | None) -> Place:
    """Return the place in a folder, or else in the current one; raise UsageError if none is named and none is here."""
    place = Place(folder if folder is not None else Path())
    if folder is None and not place.is_there:
        raise click.UsageError(
            f"Say which place is yours: --place DIR, or set {PLACE_VARIABLE}, or go into its folder. "
            "`musubi place init` makes one."
        )
    return place


PlaceFolderOption = click.option("--place", "folder", envvar=PLACE_VARIABLE, type=PlaceFolder, help=_HELP)
"""The folder as it was given, or None: for commands that may do without a place."""
PlaceOption = click.option(
    "--place",
    envvar=PLACE_VARIABLE,
    type=PlaceFolder,
    help=_HELP,
    callback=lambda _context, _option, folder: find_place(folder),
)
"""A place, which has to be there."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A steward who signs for one log."""

    origin: str
    alias: str
    key: SigningKey

    def sign(self, subject: Subject, body: object) -> str:
        """Sign one document."""
        return approve(subject, body, log=self.origin, steward=self.alias, key=self.key)


def steward_options(command: _Command) -> _Command:
    """Add the options that say who signs: a steward's place, or each part by itself, where there is no place."""
    for option in (
        PlaceFolderOption,
        click.option("--key", type=File, help="The steward's key file; the place's own otherwise."),
        click.option("--steward", help="The steward's alias; the place's own otherwise."),
        click.option("--log", "origin", help="The origin of the town's log; the place's own otherwise."),
    ):
        command = option(command)
    return command


def signer_of(origin: str | None, steward: str | None, key: Path | None, folder: Path | None) -> Signer:
    """Return who signs; what was not given is taken from the place. Raises UsageError where there is none."""
    if origin is not None and steward is not None and key is not None:
        return Signer(origin, steward, read_key(key))
    place = find_place(folder)
    if key is None and steward is not None and steward != place.alias:
        raise click.UsageError(f"The place is that of '{place.alias}'; for '{steward}' name that steward's --key, too.")
    return Signer(
        place.trust.origin if origin is None else origin,
        place.alias if steward is None else steward,
        place.key if key is None else read_key(key),
    )


def read_body(path: Path, type_: type[Any], what: str) -> Any:
    """Read what stewards sign, one line of canonical JSON; raise Malformed."""
    return canonical.decode(path.read_bytes().removesuffix(b"\n"), type_, what)


def read_signature(path: Path) -> str:
    """Read a steward's signature; raise Malformed where the file holds something else."""
    try:
        return path.read_text("ascii").strip()
    except UnicodeDecodeError:
        raise Malformed(
            f"'{path.name}' is not a signature; `sign`, of the same group of commands, prints one."
        ) from None
