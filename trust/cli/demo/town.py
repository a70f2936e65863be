"""``up`` and ``demo``: a whole town on this machine."""

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from ledger.errors import MusubiError
from policies.languages import DEFAULT_LANGUAGE, SOURCE_LANGUAGE
from trust.cli.demo.story import Story
from trust.cli.hints import program
from trust.cli.options import PRIVATE, Folder
from trust.cli.terminal import busy, headline, progress_bar, say
from trust.town.document import Town
from trust.town.layout import Layout
from trust.town.loader import load_town
from trust.town.processes import Processes, running
from trust.town.resident_places import FIRST, lay_out_residents
from trust.town.up import DEFAULT_PORT, client_of, prepare, settle_in

Port = click.IntRange(1, 65_534)
"""The witness gets the next one."""
Residents = click.IntRange(min=1)
PERSON = 42
"""The resident that the hints take, where the town has so many."""


@click.command()
@click.argument("town", type=Folder)
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the town's folders are, or are made.  [default: .town/<name>]",
)
@click.option("--port", type=Port, help=f"The service's port; the witness gets the next.  [default: {DEFAULT_PORT}]")
@click.option("--residents", type=Residents, help="How many residents; the town's own number otherwise.")
def up(town: Path, folder: Path | None, port: int | None, residents: int | None) -> None:
    """Run a whole town on this machine.

    That is a service, the holders' nodes and a witness. Ctrl-C stops all; the same command brings the town up again.

    \b
    Example:  musubi up towns/momijidai
              musubi up tests/towns/oulad --residents 1000
    """
    os.umask(PRIVATE)
    loaded = load_town(town)
    say("Bringing up {} ({}) …", loaded.title[SOURCE_LANGUAGE], loaded.title[DEFAULT_LANGUAGE])
    where = folder or Path(".town") / loaded.name
    fresh = not Layout(where).exists
    wanted = port or (DEFAULT_PORT if fresh else None)
    layout = prepare(loaded, where, residents=residents, port=wanted, with_pages=True)
    stop = stop_on_signal()
    with running(layout, [holder.alias for holder in loaded.holders]) as processes, client_of(layout) as client:
        bar = progress_bar(
            "residents enrolled and signed", hidden=layout.is_settled, with_total=False, stays=True, always=True
        )
        with bar as progress:
            settle_in(layout, loaded, client, lambda _, done, total: progress(done, total))
        lay_out_residents(layout)
        show_addresses(layout)
        stay_up(stop, processes)


@click.command()
@click.option("--town", type=Folder, default=Path("towns/momijidai"), show_default=True, help="The town's folder.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="An empty or new folder for it; a fresh temporary one otherwise.",
)
@click.option("--stay", type=click.IntRange(0, 1), default=1, show_default=True, help="1 keeps the town up at the end.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write what happened here.")
@click.option("--residents", type=Residents, help="How many residents; the town's own number otherwise.")
@click.option("--port", type=Port, help="The service's port; any free one otherwise.")
def demo(
    town: Path, folder: Path | None, stay: int, json_file: Path | None, residents: int | None, port: int | None
) -> None:
    """Tell Musubi's story with a real town.

    Consents, questions, revocation, budgets, a crash and an audit. It ends with exit code 0 only if every step really
    did what it says.

    \b
    Example:  musubi demo --stay 0 --json report.json
    """
    os.umask(PRIVATE)
    loaded = load_town(town)
    headline("[bold]Musubi[/] — {} {}", loaded.title[SOURCE_LANGUAGE], loaded.title[DEFAULT_LANGUAGE])
    say("A city, its firms and its residents share answers, not data.")
    with folder_for(folder) as where:
        tell(loaded, where, residents=residents, port=port, json_file=json_file, stay=bool(stay))


@contextmanager
def folder_for(folder: Path | None) -> Iterator[Path]:
    """Give the folder, or a temporary one that is removed in the end, unless an error sends people to its logs."""
    if folder is not None:
        yield folder
        return
    where = Path(tempfile.mkdtemp(prefix="musubi-"))
    try:
        yield where
    except MusubiError:
        raise
    except BaseException:
        shutil.rmtree(where, ignore_errors=True)
        raise
    shutil.rmtree(where, ignore_errors=True)


def tell(
    loaded: Town, where: Path, *, residents: int | None, port: int | None, json_file: Path | None, stay: bool
) -> None:
    """Run a town and tell the story; raise what a step of it raises."""
    with busy("Making the town's data and keys …"):
        layout = prepare(loaded, where, residents=residents, port=port, with_pages=True)
    holders = [holder.alias for holder in loaded.holders]
    stop = stop_on_signal()
    with running(layout, holders) as processes, client_of(layout) as client:
        say("Running: 1 service, {} holders' nodes ({}), 1 witness.", len(holders), ", ".join(holders))
        story = Story(layout, loaded, client, processes)
        story.residents_sign()
        story.partners_ask()
        story.residents_revoke()
        story.over_budget()
        story.node_killed()
        story.audit()
        if json_file is not None:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(story.report)) + b"\n")
        total = sum(story.report.seconds.values())
        say("\n[green]Every step did what it says[/] ({:.0f} s).", total)
        if stay:
            lay_out_residents(layout)
            show_addresses(layout)
            stay_up(stop, processes)


def stop_on_signal() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set, instead of raising in the middle of something."""
    stop = threading.Event()

    def handler(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGTERM, handler)
    return stop


def stay_up(stop: threading.Event, processes: Processes) -> None:
    """Keep the town up until told to stop; say so and end if one of its processes has ended."""
    try:
        while not stop.wait(1.0):
            dead = processes.dead()
            if dead:
                processes.check_alive(dead[0])
    except KeyboardInterrupt:
        pass
    say("Stopping …")


def show_addresses(layout: Layout) -> None:
    """Print where to look and what to try."""
    say("\nThe town's page     {}/", layout.url)
    say("The ledger          {}/log/checkpoint", layout.url)
    say("The interface       {}/interface", layout.url)
    for holder in list(layout.settings.page_ports)[:1]:  # the others' open in the same way
        say("A holder's page     {} node page --dir {}", program(), layout.node(holder), whole_line=True)
    say("The town's folder   {}", layout.folder)
    say("Places to act from  {}/places/: {}", layout.folder, ", ".join(layout.aliases), whole_line=True)
    last = min(FIRST, layout.settings.residents) - 1
    say("                    {}/residents/: the numbers 0 to {}", layout.folder, last, whole_line=True)
    musubi = program()
    resident = layout.resident_folder(min(PERSON, layout.settings.residents - 1))
    say("\nTry, in another terminal in this folder:")
    say("  {} audit {} --trust {}/trust.json", musubi, layout.url, layout.folder, whole_line=True)
    say("  {} resident --place {} show", musubi, resident, whole_line=True)
    question = layout.town.questions[0]
    place = layout.place(question.as_).folder
    say("  {} place show --place {}", musubi, place, whole_line=True)
    say('  {} ask --place {} --epsilon {} "{}"', musubi, place, question.epsilon, question.sql, whole_line=True)
    say("Ctrl-C stops everything.")
