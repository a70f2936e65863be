"""A node's own settings: ``node.toml`` in its folder.

::

    alias = "bus_co"                        # this holder among the members
    service = "http://127.0.0.1:8700"       # the only address that the node ever calls
    data_cap_nano_rho = 20000000000         # what each source may spend in a calendar year, over all policies
    ca_file = "ca.pem"                      # if the service's certificate is by an authority of your own
    proxy = "http://proxy.example:3128"     # if nothing leaves the office but through it

    [sources]
    rides = "data/rides.parquet"            # Parquet or CSV, relative to this folder

Beside it: ``trust.json`` (the pins), ``keys/node.key`` (signing), ``keys/sealing.key``, ``keys/rows.key`` (chooses
rows), ``keys/link.key`` (link challenges), ``links/`` (answered challenges from the holder's own website), and, made
by the node, ``books.sqlite``, ``views.tmp/`` while large views need more room than memory gives, and ``evidence/`` if
it is ever shown two histories (``trust.files.evidence``).
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from ledger.entries import Alias
from ledger.errors import Malformed, NotFound

SETTINGS = "node.toml"
BOOKS = "books.sqlite"


class NodeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a holder may set; ``poll_seconds`` is how long the service may hold a poll.

    ``ca_file`` lies in the folder.
    """

    alias: Alias
    service: str
    data_cap_nano_rho: int = 20_000_000_000
    poll_seconds: int = 10
    ca_file: str | None = None
    proxy: str | None = None
    sources: dict[str, str]


def load_node_settings(folder: Path) -> NodeSettings:
    """Read ``node.toml``; raise NotFound or Malformed."""
    try:
        return msgspec.toml.decode((folder / SETTINGS).read_bytes(), type=NodeSettings)
    except FileNotFoundError:
        raise NotFound(f"There is no node.toml in '{folder.name}'; `musubi up` makes a whole town.") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"node.toml cannot be read: {error}.") from None
