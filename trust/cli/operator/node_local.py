"""``node local`` and ``node page``: the node's interface on its holder's own machine, and a link to the page there."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog

from ledger.errors import NotPermitted, Unavailable
from trust.cli.options import PRIVATE, Folder
from trust.cli.terminal import say
from trust.runtime.clock import system_clock
from trust.runtime.json_lines import log_to_stderr

if TYPE_CHECKING:
    from trust.node.settings import LocalInterface, NodeSettings

logger = structlog.get_logger()
NICE = 10
"""How much it stands back where the node itself has work to do."""


@click.command("node local")
@click.option("--dir", "folder", type=Folder, required=True, help="The node's folder, with node.toml.")
@click.option("--port", type=int, help="The port to listen at, where it is not the one of node.toml.")
@click.option("--with-node", is_flag=True, help="End when standard input does, as where a node has started it.")
def local(folder: Path, port: int | None, *, with_node: bool) -> None:
    """Offer the holder's page, and linking for the holder's own site, on this machine alone.

    `musubi node` runs it by itself where node.toml has a table [local]. At a terminal it prints a link to the page.

    \b
    Example:  musubi node local --dir node --port 8790
    """
    from trust.node.local.app import create_local_app, run_local  # noqa: PLC0415
    from trust.node.local.door import page_link  # noqa: PLC0415
    from trust.node.settings import load_node_settings  # noqa: PLC0415

    os.umask(PRIVATE)
    os.nice(NICE)
    log_to_stderr()
    settings = load_node_settings(folder)
    listens = _interface(settings, port)
    app = create_local_app(folder, settings, listens)
    if with_node:
        threading.Thread(target=_end_with_input, daemon=True).start()
    if sys.stdout is not None and sys.stdout.isatty():  # elsewhere it would stay in a file, or in a journal
        _say_link(page_link(listens, app.door.new_ticket()))
    logger.info("local-opened", port=listens.port, page="musubi node page")
    run_local(app, listens)


@click.command("node page")
@click.option("--dir", "folder", type=Folder, required=True, help="The node's folder, with node.toml.")
@click.option("--port", type=int, help="The port that it listens at, where it is not the one of node.toml.")
def page(folder: Path, port: int | None) -> None:
    """Print a link to the holder's page, good once.

    Whoever opens it sees the page: it is for the holder, on this machine, within a quarter of an hour. It needs the
    local interface to run: at the address of one that does not, another program could take the link.

    \b
    Example:  musubi node page --dir node
    """
    from trust.files.sole_process import is_at_work  # noqa: PLC0415
    from trust.node.local.door import leave_ticket, page_link  # noqa: PLC0415
    from trust.node.settings import LOCAL_LOCK, load_node_settings  # noqa: PLC0415

    listens = _interface(load_node_settings(folder), port)
    if not is_at_work(folder / LOCAL_LOCK):
        raise Unavailable(
            "The node's local interface does not run, and another program could stand at its address. Start the node, "
            "or wait a few seconds if it has just begun; its log says what hinders."
        )
    _say_link(page_link(listens, leave_ticket(folder, system_clock())))


def _interface(settings: "NodeSettings", port: int | None) -> "LocalInterface":
    from trust.node.settings import LocalInterface  # noqa: PLC0415

    if port is not None:
        return (
            LocalInterface(port=port) if settings.local is None else LocalInterface(port=port, host=settings.local.host)
        )
    if settings.local is None:
        raise NotPermitted(
            "The node has no local interface: write a table [local] with a port into node.toml, or say --port."
        )
    return settings.local


def _say_link(link: str) -> None:
    say("The holder's page, good once within 15 minutes, on this machine:")
    say("{}", link, whole_line=True)


def _end_with_input() -> None:
    """Stop in order once whoever started this process has gone."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
