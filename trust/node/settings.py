"""A node's own settings: ``node.toml`` in its folder.

::

    alias = "bus_co"                        # this holder among the members
    service = "http://127.0.0.1:8700"       # the only address that the node ever calls
    data_cap_nano_rho = 20000000000         # what may be spent in a calendar year, over all policies and sources
    ca_file = "ca.pem"                      # if the service's certificate is by an authority of your own
    proxy = "http://proxy.example:3128"     # if nothing leaves the office but through it
    metrics = "metrics/musubi.prom"         # if it is to keep its metrics in a file (trust.node.vital_signs)

    [sources]
    rides = "data/rides.parquet"            # a file, relative to this folder; or a table that says more

    [sources.outings]                       # ``trust.node.sources.mapping``
    file = "data/outings.csv"
    encoding = "cp932"

    [local]                                 # if the holder wants its own page, and links from its own site
    port = 8790                             # on this machine alone (``trust.node.local``)

    [engine]                                # if views are to be bounded elsewhere (``trust.node.engines``)
    kind = "postgresql"
    dsn_file = "keys/engine.dsn"

    [split]                                 # if each source is to have its own part of the cap
    rides = 20000000000

A year's cap and its split are kept in the books with the first question that they bind: from then on they can be
lowered here, and what is raised counts from the next year on.

Beside it: ``trust.json`` (the pins), ``keys/node.key`` (signing), ``keys/sealing.key``, ``keys/rows.key`` (chooses
rows), ``keys/link.key`` (link challenges), ``keys/site.key`` (what the holder's own site shows at the local interface),
``links/`` (answered challenges), and, made by the node, ``books.sqlite``, ``snapshots/`` (the last good rows of each
source, and reports on them), ``views.tmp/`` while large views need more room than memory gives, ``engine.tmp/`` while
Spark bounds a view, ``local.tmp/`` while the local interface looks through files, ``local.lock`` (held while that
runs), ``local.ticket`` (the hash of a link to the page, ``trust.node.local.door``), and ``evidence/`` if it is ever
shown two histories (``trust.files.evidence``).
"""

import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ledger.entries import Alias
from ledger.errors import Malformed, NotFound
from trust.node.engines.engine_setting import EngineSetting, check_engine
from trust.node.sources.mapping import SourceMapping, mapping_of

SETTINGS = "node.toml"
BOOKS = "books.sqlite"
LOCK = "node.lock"
LOCAL_LOCK = "local.lock"


class LocalInterface(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a node's local interface listens: an address of this machine's own, which no other can reach."""

    port: Annotated[int, Meta(ge=1, le=65_535)]
    host: str = "127.0.0.1"


class NodeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a holder may set; ``poll_seconds`` is how long the service may hold a poll.

    ``ca_file`` lies in the folder. ``split`` is empty, or names every source.
    """

    alias: Alias
    service: str
    data_cap_nano_rho: int = 20_000_000_000
    poll_seconds: int = 10
    ca_file: str | None = None
    proxy: str | None = None
    metrics: str | None = None
    local: LocalInterface | None = None
    engine: EngineSetting = EngineSetting()
    sources: dict[str, str | SourceMapping]
    split: dict[str, int] = {}

    @property
    def mappings(self) -> dict[str, SourceMapping]:
        """Each source's file and how it is read. Raises Malformed where a mapping is none."""
        return {name: mapping_of(said) for name, said in self.sources.items()}


def load_node_settings(folder: Path) -> NodeSettings:
    """Read ``node.toml``; raise NotFound or Malformed."""
    try:
        settings = msgspec.toml.decode((folder / SETTINGS).read_bytes(), type=NodeSettings)
    except FileNotFoundError:
        raise NotFound(f"There is no node.toml in '{folder.name}'; `musubi up` makes a whole town.") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"node.toml cannot be read: {error}.") from None
    parts = settings.split
    if parts and (set(parts) != set(settings.sources) or min(parts.values()) < 0):
        raise Malformed("node.toml splits the data cap, but not among exactly the sources; give each its part.")
    if sum(parts.values()) > settings.data_cap_nano_rho:
        raise Malformed("node.toml splits more than the data cap among the sources; lower a part, or raise the cap.")
    if settings.local is not None:
        check_loopback(settings.local.host)
    check_engine(settings.engine)
    settings.mappings  # noqa: B018 - a mapping that is none is said before anything begins
    return settings


def check_loopback(host: str) -> None:
    """Raise Malformed for an address that another machine could reach, and for a name, which may come to mean one."""
    try:
        is_own = ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        is_own = False
    if not is_own:
        raise Malformed('The node\'s local interface listens on this machine alone: write host = "127.0.0.1", or none.')
