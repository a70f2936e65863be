"""A place: the folder of one member, steward or resident, with all that its owner needs to call a service.

::

    DIR/                 mode 0700
      place.toml         where the service is, the way to it, and whose place this is
      trust.json         what is pinned (trust.log.pins)
      signing.key        a member's or steward's own signing key, or
      seed.key           a resident's own 32-byte seed
      promises/          what the service promised this resident (trust.resident.promises)
      ca.pem             the authority's certificates, if the service has its certificate from one of the office's own

``place.toml``::

    service = "https://musubi.city.example"   # http or https
    alias = "bus_co"                          # among members or stewards; left out at a resident's
    ca_file = "ca.pem"                        # in this folder; left out where the system's authorities count
    proxy = "http://proxy.city.example:3128"  # left out where the environment's counts, if it names one

A place needs nothing outside itself, so it can be moved to another machine. It holds one owner's secret and nobody
else's; whoever has the folder can act as that owner.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import httpx
import msgspec
from msgspec import Struct
from nacl.signing import SigningKey

from ledger.entries import Alias
from ledger.errors import Malformed, MusubiError, NotFound, NotPermitted, Unavailable
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from trust.client.addresses import check_proxy_address, check_service_address
from trust.client.service import ServiceClient
from trust.files.durable import HALF_WRITTEN, sync_folder, write_whole
from trust.files.keys import read_key, read_secret, write_secret
from trust.log.pins import TRUST_FILE, Trust, load_trust, save_trust
from trust.log.source import TIMEOUT_SECONDS, HttpLog
from trust.runtime.authorities import trusted_authorities
from trust.runtime.http_clients import open_async_http, open_http

SETTINGS = "place.toml"
UNFINISHED = "place.unfinished"
"""The settings while the place is being made: they get their name last."""
SIGNING_KEY = "signing.key"
SEED = "seed.key"
CA_FILE = "ca.pem"
MAX_SETTINGS_BYTES = 10_000


class PlaceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``place.toml``. Without an alias the place is a resident's."""

    service: str
    alias: str | None = None
    ca_file: str | None = None
    proxy: str | None = None


class Place:
    """One place. Each part is read when it is first needed, and not before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_there(self) -> bool:
        """Whether the folder is a place."""
        return (self.folder / SETTINGS).is_file()

    @cached_property
    def settings(self) -> PlaceSettings:
        """Read ``place.toml``; raises NotFound, Malformed, Unavailable, or NotPermitted where others may change it."""
        try:
            with (self.folder / SETTINGS).open("rb") as file:
                data = file.read(MAX_SETTINGS_BYTES)
            self._check_owned()
        except (FileNotFoundError, NotADirectoryError):
            unfinished = (self.folder / UNFINISHED).exists()
            raise NotFound(
                f"The making of the place in '{self.folder}' was broken off; run `musubi place init` on it again."
                if unfinished
                else f"'{self.folder}' is no place: it has no {SETTINGS}. Make one with `musubi place init`."
            ) from None
        except OSError:
            raise Unavailable(f"The {SETTINGS} in '{self.folder}' cannot be read; check its permissions.") from None
        try:
            return _check(_decode(data))
        except Malformed as error:
            raise Malformed(f"The {SETTINGS} in '{self.folder}' cannot be used. {error.message}") from None

    @property
    def service(self) -> str:
        """The service's address."""
        return self.settings.service.rstrip("/")

    @cached_property
    def trust(self) -> Trust:
        """The pins; raises what ``load_trust`` does."""
        _ = self.settings  # where there is no place, that is what is to be said
        return load_trust(self.folder / TRUST_FILE)

    @property
    def is_resident(self) -> bool:
        """Whether this is a resident's place."""
        return self.settings.alias is None

    @property
    def alias(self) -> str:
        """The alias of a member or steward; raises NotPermitted at a resident's place."""
        if self.settings.alias is None:
            raise NotPermitted("This place is a resident's; the command needs the place of a member or a steward.")
        return self.settings.alias

    @cached_property
    def key(self) -> SigningKey:
        """A member's or steward's signing key; raises NotPermitted at a resident's, and what ``read_key`` does."""
        _ = self.alias
        self._check_kept(SIGNING_KEY, "a new key counts only once the stewards have registered it")
        return read_key(self.folder / SIGNING_KEY)

    @cached_property
    def seed(self) -> bytes:
        """A resident's seed; raises NotPermitted at another's place, and what ``read_secret`` does."""
        if not self.is_resident:
            raise NotPermitted(f"This place is that of '{self.alias}'; the command needs a resident's place.")
        if not (self.folder / SEED).exists() and (self.folder / SIGNING_KEY).exists():
            raise Malformed(
                f"The {SETTINGS} in '{self.folder}' names no alias, as at a resident's, but the folder holds a member's "
                f'or steward\'s {SIGNING_KEY}; bring the line back: alias = "…".'
            )
        self._check_kept(SEED, "where it is lost, the identity office replaces the lost device")
        return read_secret(self.folder / SEED)

    @property
    def public_key(self) -> str:
        """The key that the others know its owner by, in hexadecimal.

        A member's or steward's is registered by the stewards; a resident's is the one for the service, which the
        identity provider attests.
        """
        return public_hex(pairwise_key(self.seed, SERVICE) if self.is_resident else self.key)

    @property
    def own_copies(self) -> Path:
        """Where a resident's own copies of consents are kept; raises NotPermitted at another's place."""
        return self.promises.parent / "own-copies"

    @property
    def promises(self) -> Path:
        """Where a resident's promises are kept; raises NotPermitted at another's place."""
        if not self.is_resident:
            raise NotPermitted(f"This place is that of '{self.alias}'; the command needs a resident's place.")
        return self.folder / "promises"

    def _check_kept(self, name: str, otherwise: str) -> None:
        if not (self.folder / name).exists():
            raise NotFound(f"There is no {name} in '{self.folder}'; bring your copy of it back: {otherwise}.")

    def _check_owned(self) -> None:
        """Refuse what others could have changed: whom to call, and what is pinned."""
        for path in (self.folder, *(self.folder / name for name in (SETTINGS, TRUST_FILE, CA_FILE))):
            if path.exists() and path.stat().st_mode & 0o022:
                raise NotPermitted(
                    f"Others may change '{path}'; look whether it is as it was, and run chmod go-w on it."
                )

    @property
    def _ca_file(self) -> Path | None:
        return None if self.settings.ca_file is None else self.folder / self.settings.ca_file

    def client(self) -> ServiceClient:
        """Return a client for the service, which checks against the pins."""
        return ServiceClient(self.service, self.trust, ca_file=self._ca_file, proxy=self.settings.proxy)

    def open_witnesses(self, seconds: float) -> httpx.AsyncClient:
        """Return a client for the town's witnesses, by the same way."""
        return open_async_http(seconds=seconds, ca_file=self._ca_file, proxy=self.settings.proxy)

    @contextmanager
    def log(self) -> Iterator[HttpLog]:
        """Read the service's log, by the same way."""
        http = open_http(self.service, seconds=TIMEOUT_SECONDS, ca_file=self._ca_file, proxy=self.settings.proxy)
        with http:
            yield HttpLog(self.service, http)


def make_place(
    folder: Path,
    *,
    service: str,
    trust: Trust,
    secret: bytes,
    alias: str | None,
    authorities: bytes | None = None,
    proxy: str | None = None,
) -> Place:
    """Make a place in a new or empty folder: a member's or steward's with an alias, a resident's without.

    ``secret`` is the signing key or the seed, 32 bytes; ``authorities`` what ``ca.pem`` is to hold. Raises Malformed
    where an address, the alias or the authorities are none, NotPermitted where the folder holds something, and
    Unavailable. A crash leaves a folder that nothing takes for a place, and in which one can be made again.
    """
    settings = _check(
        PlaceSettings(service=service, alias=alias, ca_file=None if authorities is None else CA_FILE, proxy=proxy)
    )
    # What JSON writes as text is text in TOML too, once no control character is in it, and no sign is half of a pair.
    values = msgspec.to_builtins(settings).items()
    lines = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values)
    _clear_unfinished(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)  # an empty folder may have been there, open to others
    write_whole(folder / UNFINISHED, lines.encode())
    try:
        if authorities is not None:
            write_whole(folder / CA_FILE, authorities)
            trusted_authorities(folder / CA_FILE)
        save_trust(trust, folder / TRUST_FILE)
        write_secret(folder / (SEED if alias is None else SIGNING_KEY), secret)
        (folder / UNFINISHED).rename(folder / SETTINGS)
        sync_folder(folder)
    except (MusubiError, OSError):
        _clear_unfinished(folder)
        raise
    return Place(folder)


def _clear_unfinished(folder: Path) -> None:
    """Make a folder empty in which the making of a place was broken off: nobody was told of that secret yet.

    Raises NotPermitted where it holds anything else, and leaves that alone.
    """
    if not folder.exists():
        return
    left = [path for path in folder.iterdir() if not path.name.startswith(HALF_WRITTEN)]
    names = {path.name for path in left}
    if names and not {UNFINISHED} <= names <= {UNFINISHED, TRUST_FILE, CA_FILE, SIGNING_KEY, SEED}:
        raise NotPermitted(f"The folder '{folder}' is not empty; choose another one for the new place.")
    for path in (*folder.glob(f"{HALF_WRITTEN}*"), *left):
        if path.name != UNFINISHED:
            path.unlink()
    (folder / UNFINISHED).unlink(missing_ok=True)  # last: a crash leaves the mark as long as anything is left


def _check(settings: PlaceSettings) -> PlaceSettings:
    """Return settings that can be used; raise Malformed."""
    check_service_address(settings.service)
    if settings.proxy is not None:
        check_proxy_address(settings.proxy)
    try:
        msgspec.convert(settings.alias, Alias | None)
    except msgspec.ValidationError:
        raise Malformed(
            "The alias is none: it begins with a small letter, and small letters, digits and '_' may follow, 32 in all."
        ) from None
    if settings.ca_file is not None and settings.ca_file != Path(settings.ca_file).name:
        raise Malformed("The file 'ca_file' lies in the place's own folder; name it without a folder.")
    return settings


def _decode(data: bytes) -> PlaceSettings:
    """Read ``place.toml``'s bytes; raise Malformed with a sentence for people."""
    try:
        return msgspec.toml.decode(data, type=PlaceSettings)
    except UnicodeDecodeError:
        raise Malformed("It is no text in UTF-8.") from None
    except msgspec.ValidationError as error:
        said = str(error)
        if named := re.search(r"unknown field `(.*)`", said):
            raise Malformed(f"It has a line '{named[1]}' that no place knows; take it out.") from None
        if named := re.search(r"missing required field `(\w+)`", said):
            raise Malformed(f"It has no line '{named[1]}'; bring it back.") from None
        name = (re.search(r"\$\.(\w+)", said) or ["", "a line"])[1]
        raise Malformed(f"What it says of '{name}' is no text in quotation marks.") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"It is no TOML: {error}.") from None
