"""Bringing a whole town up on this machine: laid out once, founded once, residents played once; then just started."""

import socket
from collections.abc import Callable
from pathlib import Path

from ledger.errors import NotPermitted, Unavailable
from policies.rules import NEWEST_RULES
from trust.client.service import ServiceClient
from trust.log.pins import load_trust
from trust.town.document import Town
from trust.town.founding import found_town
from trust.town.layout import HOST, Layout, lay_out
from trust.town.play_residents import play_residents

DEFAULT_PORT = 8700
MOST_PORT = 65_535
Progress = Callable[[str, int, int], None]


def free_ports(port: int | None) -> tuple[int, int]:
    """Return ports for service and witness: the wanted one and the next, or any two that are free.

    Raises Unavailable when a wanted one is taken.
    """
    found = []
    for wanted in (port or 0, port + 1 if port else 0):
        free = _try_port(wanted)
        if free is None:
            raise Unavailable(f"Port {wanted} is taken or not allowed; choose another one with --port.")
        found.append(free)
    return found[0], found[1]


def _try_port(wanted: int) -> int | None:
    """Return the port if it can be had now, any free one for 0, and None otherwise."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def ports_for_pages(holders: list[str], others: tuple[int, int], *, beside: bool) -> dict[str, int]:
    """Return a port for each holder's own page: the next ones ``beside`` the others as far as they are free."""
    found: dict[str, int] = {}
    for number, holder in enumerate(holders, start=max(others) + 1):
        port = _try_port(number) if beside and number <= MOST_PORT else None
        while port is None or port in {*others, *found.values()}:
            port = _try_port(0)
        found[holder] = port
    return found


def prepare(
    town: Town,
    folder: Path,
    *,
    residents: int | None,
    port: int | None,
    rules: int = NEWEST_RULES,
    with_pages: bool = False,
) -> Layout:
    """Return the town's layout, made now if it is not there yet; then its ledger begins with these rules.

    ``with_pages``: each holder's node is to have its own page, at a port behind the others if ``port`` says which.

    Raises NotPermitted where another town is there, or the same with another port or number of residents: those were
    settled, and partly signed, when it was laid out; and where it has no places yet. Raises Unavailable where a port
    that it needs is taken.
    """
    layout = Layout(folder)
    if layout.exists:
        settings = layout.settings
        if not layout.has_places:
            raise NotPermitted(f"An older Musubi laid out the town in '{folder}'; choose another --dir, or begin anew.")
        if layout.town.name != town.name:
            raise NotPermitted(f"In '{folder}' there is the town '{layout.town.name}'; choose another --dir.")
        if (port or settings.port) != settings.port or (residents or settings.residents) != settings.residents:
            raise NotPermitted(
                f"The town in '{folder}' has port {settings.port} and {settings.residents} residents; "
                "leave these options out, or choose another --dir."
            )
        for needed in (settings.port, settings.witness_port):
            if _try_port(needed) is None:
                raise Unavailable(
                    f"Port {needed} is taken: the town in '{folder}' is running already, or another program has its "
                    "port; stop that first."
                )
        return layout
    ports = free_ports(port)
    holders = [holder.alias for holder in town.holders] if with_pages else []
    return lay_out(
        town,
        folder,
        residents=residents,
        port=ports[0],
        witness_port=ports[1],
        rules=rules,
        page_ports=ports_for_pages(holders, ports, beside=port is not None),
    )


def client_of(layout: Layout) -> ServiceClient:
    """Return a client that checks against the town's own pins."""
    return ServiceClient(layout.url, load_trust(layout.folder / "trust.json"))


def settle_in(layout: Layout, town: Town, client: ServiceClient, progress: Progress) -> tuple[int, int]:
    """Found the town and play its residents, unless that was done before; return (residents, consents).

    A town whose residents were being played when it was stopped is not gone on with: lay out a new one.
    """
    if layout.is_settled:
        residents, consents = layout.settled.read_text("ascii").split()
        return int(residents), int(consents)
    if client.policies():
        raise Unavailable("This town was stopped while its residents were signing; remove its folder and begin anew.")
    found_town(layout, town, client)
    counts = play_residents(layout, town, client, progress)
    layout.settled.write_text(f"{counts[0]} {counts[1]}\n", "ascii")
    return counts
