"""``serve``, ``node`` and ``witness``: the long-running processes, each in its own folder."""

import os
import signal
from pathlib import Path

import click

from trust.cli.options import PRIVATE, Folder
from trust.runtime.json_lines import log_to_stderr


@click.command()
@click.option("--dir", "folder", type=Folder, required=True, help="The service's folder, with service.toml.")
@click.option("--port", type=int, help="The port to listen at, where it is not the one of service.toml.")
def serve(folder: Path, port: int | None) -> None:
    """Run the service.

    Several may run on one folder where its database is PostgreSQL, each at a port of its own.

    \b
    Example:  musubi serve --dir .town/momijidai/service
    """
    from trust.runtime.serving import serve as serve_app  # noqa: PLC0415
    from trust.service.app import create_app  # noqa: PLC0415 - the other commands need none of it
    from trust.service.capacity import bounds_of  # noqa: PLC0415
    from trust.service.service import Service  # noqa: PLC0415
    from trust.service.settings import load_settings  # noqa: PLC0415

    os.umask(PRIVATE)
    log_to_stderr()
    settings = load_settings(folder)
    options = settings.service
    serve_app(create_app(Service(settings)), options.host, port or options.port, bounds_of(options))


@click.command()
@click.option("--dir", "folder", type=Folder, required=True, help="The node's folder, with node.toml.")
@click.option("--local-port", type=int, help="Offer the holder's page and linking on this machine, at this port.")
def node(folder: Path, local_port: int | None) -> None:
    """Run a holder's node, next to its data. It calls the service and opens no port.

    Where node.toml has a table [local], or --local-port is given, `musubi node local` runs beside it, as long as it.

    \b
    Example:  musubi node --dir .town/momijidai/nodes/bus_co
    """
    from trust.files.sole_process import sole_process  # noqa: PLC0415
    from trust.node.local.companion import companion  # noqa: PLC0415
    from trust.node.process import Node  # noqa: PLC0415 - it brings DuckDB, which nothing else needs
    from trust.node.settings import LOCK, load_node_settings  # noqa: PLC0415

    os.umask(PRIVATE)
    log_to_stderr()
    settings = load_node_settings(folder)  # says what is wrong with a folder before a lock is put into it
    with sole_process(folder / LOCK, "node"):  # before its books are opened: that changes them
        running = Node(folder)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: running.stop())
        with companion(folder, local_port, wanted=settings.local is not None or local_port is not None):
            running.run()


@click.command()
@click.option("--dir", "folder", type=Folder, required=True, help="The witness's folder, with witness.toml.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=8701, show_default=True, help="The port to listen at.")
def witness(folder: Path, host: str, port: int) -> None:
    """Run a witness (C2SP tlog-witness).

    It cosigns only what grows from what it cosigned before.

    \b
    Example:  musubi witness --dir .town/momijidai/witness --port 8701
    """
    from trust.audit.witness import run_witness  # noqa: PLC0415

    os.umask(PRIVATE)
    log_to_stderr()
    run_witness(folder, host, port)
