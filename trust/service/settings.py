"""The service's own settings: ``service.toml`` in its folder.

::

    origin = "musubi.example/momijidai"
    operator = "service"            # the operator's alias among the members
    host = "127.0.0.1"
    port = 8700
    database_url = ""               # "" is SQLite in the folder; or postgresql+asyncpg://…
    record_keys = "record-keys.sqlite"   # the file of the records' keys; no backup of the service holds it
    interval_ms = 200               # at most one checkpoint in this time
    witness_policy = "witnesses.txt"   # a C2SP tlog-policy beside this file

Beside it: ``genesis.json`` (entry 0), ``keys/log.key``, ``keys/operator.key``, ``log/`` (tiles) and the SQLite files.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from ledger import entries as e
from ledger.errors import Malformed, NotFound
from ledger.notes.witness_policy import WitnessPolicy
from trust.log.pins import Trust, pins_of
from trust.runtime.callers.bounds import ProxyHeader

SETTINGS = "service.toml"


class ServiceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may set. Times are milliseconds or seconds as named, sizes bytes."""

    origin: str
    operator: str = "service"
    host: str = "127.0.0.1"
    port: int = 8700
    database_url: str = ""
    record_keys: str = "record-keys.sqlite"
    retention_days: int = 1_095
    interval_ms: int = 200
    witness_policy: str = "witnesses.txt"
    witness_timeout_seconds: int = 5
    max_body_bytes: int = 8 * 1024 * 1024
    max_pending_acts: int = 2_000
    max_open_rounds: int = 200
    max_open_rounds_per_partner: int = 50
    max_refusals_per_day: int = 100
    max_stops_per_hour: int = 200
    max_stops_per_person_a_day: int = 50
    requests_per_minute: int = 6_000
    trusted_proxies: list[str] = []
    proxy_header: ProxyHeader = "x-forwarded-for"
    receipt_wait_seconds: int = 30


class Settings(Struct, frozen=True, kw_only=True):
    """The settings with the folder that they belong to."""

    folder: Path
    service: ServiceSettings

    @property
    def database_url(self) -> str:
        """The database's address: PostgreSQL where one is set, else SQLite in the folder."""
        return self.service.database_url or f"sqlite+aiosqlite:///{self.folder / 'service.sqlite'}"

    @property
    def record_keys(self) -> Path:
        """The file of the records' keys: in the folder, unless the setting names a place elsewhere."""
        return self.folder / self.service.record_keys

    def genesis(self) -> e.Genesis:
        """Read entry 0 of the log; raise NotFound or Malformed."""
        try:
            entry = e.decode((self.folder / "genesis.json").read_bytes().rstrip(b"\n"))
        except FileNotFoundError:
            raise NotFound("There is no genesis.json beside service.toml; the town's founders have it.") from None
        if not isinstance(entry, e.Genesis) or entry.origin != self.service.origin:
            raise Malformed("genesis.json is not the genesis entry of this service's log.")
        return entry

    def witnesses(self) -> WitnessPolicy:
        """Read the tlog-policy that says which witnesses count."""
        return WitnessPolicy.parse(self._witness_policy())

    def _witness_policy(self) -> str:
        return (self.folder / self.service.witness_policy).read_text("utf-8")

    def pins(self) -> Trust:
        """Return what the folder itself pins: for the operator, who trusts it; anybody else has pins from a steward."""
        return pins_of(self.genesis(), self._witness_policy())


def load_settings(folder: Path) -> Settings:
    """Read ``service.toml``; raise NotFound or Malformed."""
    path = folder / SETTINGS
    try:
        return Settings(folder=folder, service=msgspec.toml.decode(path.read_bytes(), type=ServiceSettings))
    except FileNotFoundError:
        raise NotFound(f"There is no service.toml in '{folder.name}'; `musubi up` makes a whole town.") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"service.toml cannot be read: {error}.") from None
