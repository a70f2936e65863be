"""The service as a node's holder asks it what is public: with the pins and the way out of the node's own folder."""

from pathlib import Path

from trust.client.service import ServiceClient
from trust.log.pins import TRUST_FILE, load_trust
from trust.node.settings import NodeSettings


def open_service(folder: Path, settings: NodeSettings) -> ServiceClient:
    """Return a client to be closed by ``with``; raise NotFound or Malformed for the node's ``trust.json``."""
    ca_file = None if settings.ca_file is None else folder / settings.ca_file
    trust = load_trust(folder / TRUST_FILE)
    return ServiceClient(settings.service, trust, ca_file=ca_file, proxy=settings.proxy)
