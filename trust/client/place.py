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
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from nacl.signing import SigningKey

from ledger.entries import Alias
from ledger.errors import Malformed, NotFound, NotPermitted, Unavailable
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from trust.client.http import open_http
from trust.client.service import ServiceClient
from trust.files.durable import write_whole
from trust.files.keys import read_key, read_secret, write_secret
from trust.log.pins import TRUST_FILE, Trust, load_trust, save_trust
from trust.log.source import TIMEOUT_SECONDS, HttpLog

SETTINGS = "place.toml"
SIGNING_KEY = "signing.key"
SEED = "seed.key"
CA_FILE = "ca.pem"
MAX_SETTINGS_BYTES = 10_000

Address = Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?\Z", max_length=500)]
"""An address, http or https; a path may follow the host."""


class PlaceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``place.toml``. Without an alias the place is a resident's."""

    service: Address
    alias: Alias | None = None
    ca_file: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    proxy: Address | None = None


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
        """Read ``place.toml``; raises NotFound, Malformed or Unavailable."""
        try:
            with (self.folder / SETTINGS).open("rb") as file:
                data = file.read(MAX_SETTINGS_BYTES)
            return msgspec.toml.decode(data, type=PlaceSettings)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(
                f"'{self.folder}' is no place: it has no {SETTINGS}. Make one with `musubi place init`."
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed(f"The {SETTINGS} in '{self.folder}' cannot be read: {error}.") from None
        except OSError:
            raise Unavailable(f"The {SETTINGS} in '{self.folder}' cannot be read; check its permissions.") from None

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
        return read_key(self.folder / SIGNING_KEY)

    @cached_property
    def seed(self) -> bytes:
        """A resident's seed; raises NotPermitted at another's place, and what ``read_secret`` does."""
        if not self.is_resident:
            raise NotPermitted(f"This place is that of '{self.alias}'; the command needs a resident's place.")
        return read_secret(self.folder / SEED)

    @property
    def public_key(self) -> str:
        """The key that the others know its owner by, in hexadecimal.

        A member's or steward's is registered by the stewards; a resident's is the one for the service, which the
        identity provider attests.
        """
        return public_hex(pairwise_key(self.seed, SERVICE) if self.is_resident else self.key)

    @property
    def promises(self) -> Path:
        """Where a resident's promises are kept; raises NotPermitted at another's place."""
        if not self.is_resident:
            raise NotPermitted(f"This place is that of '{self.alias}'; the command needs a resident's place.")
        return self.folder / "promises"

    @property
    def _ca_file(self) -> Path | None:
        return None if self.settings.ca_file is None else self.folder / self.settings.ca_file

    def client(self) -> ServiceClient:
        """Return a client for the service, which checks against the pins."""
        return ServiceClient(self.service, self.trust, ca_file=self._ca_file, proxy=self.settings.proxy)

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
    where an address or the alias is none, NotPermitted where the folder holds something, and Unavailable. A crash
    leaves a folder without ``place.toml``, which nothing takes for a place.
    """
    settings = PlaceSettings(
        service=_checked(service, Address, f"The service's address {_ADDRESS}"),
        alias=None if alias is None else _checked(alias, Alias, f"The alias '{alias}' is none: {_ALIAS}"),
        ca_file=None if authorities is None else CA_FILE,
        proxy=None if proxy is None else _checked(proxy, Address, f"The proxy's address {_ADDRESS}"),
    )
    if folder.exists() and any(folder.iterdir()):
        raise NotPermitted(f"The folder '{folder}' is not empty; choose another one for the new place.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)  # an empty folder may have been there, open to others
    save_trust(trust, folder / TRUST_FILE)
    if authorities is not None:
        write_whole(folder / CA_FILE, authorities)
    write_secret(folder / (SEED if alias is None else SIGNING_KEY), secret)
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in msgspec.to_builtins(settings).items()
    ]
    write_whole(folder / SETTINGS, "".join(lines).encode())
    return Place(folder)


_ADDRESS = "has to begin with http:// or https://, and to have no spaces in it."
_ALIAS = "it begins with a small letter, and small letters, digits and '_' may follow, 32 in all."


def _checked(value: str, type_: Any, sentence: str) -> str:
    try:
        return str(msgspec.convert(value, type_))
    except msgspec.ValidationError:
        raise Malformed(sentence) from None
