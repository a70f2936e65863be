"""``resident check-promises``: whether the service did what it promised when a consent was taken back."""

import sys

import click
import msgspec

from ledger.errors import ProofInvalid
from trust.cli.hints import program
from trust.cli.options import JsonOption
from trust.cli.resident.consents import Device
from trust.cli.tables import console
from trust.files.evidence import keep_evidence
from trust.resident.promises import PromiseCheck, PromiseState
from trust.runtime.problems import exit_code_of


@click.command("check-promises")
@JsonOption
@click.pass_obj
def check_promises(device: Device, *, as_json: bool) -> None:
    """Check whether the service did what it promised when you took a consent back.

    Each promise is kept on this machine. One that was broken gives a file that everybody can check, without you and
    without the service. Ends with exit code 0 if every promise was kept, or has still time.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 check-promises
    """
    promises, damaged = device.promises.all(), device.promises.damaged()
    found: list[tuple[PromiseState, str]] = []
    if promises:
        with device.place.log() as log:
            check = PromiseCheck(log, device.place.trust)
            for kept in promises:
                state, evidence = check.check(kept)
                file = keep_evidence(device.promises.folder / "evidence", evidence) if evidence is not None else ""
                found.append((state, str(file)))
    if as_json:
        rows = [{**msgspec.to_builtins(state), "evidence": file} for state, file in found]
        click.echo(msgspec.json.encode(rows).decode())
    else:
        _show_promises(found)
        for name in damaged:
            path = device.promises.folder / name
            console.print(f"The kept promise {path} is damaged: it can be held against nobody.", soft_wrap=True)
    if any(state.state not in ("kept", "open") for state, _ in found):
        sys.exit(exit_code_of(ProofInvalid.code))


def _show_promises(found: list[tuple[PromiseState, str]]) -> None:
    for state, file in found:
        mark = "[green]Kept.[/]" if state.state == "kept" else f"[red]{state.state.capitalize()}.[/]"
        mark = "Open." if state.state == "open" else mark
        console.print(f"The end of your consent at {state.grant}: {mark} {state.says}", soft_wrap=True)
        if file:
            console.print(f"  This file proves it to everybody: {file}", soft_wrap=True)
            console.print(f"  {program()} audit verify-evidence {file}", soft_wrap=True)
    if not found:
        console.print("No promise is kept on this machine: nothing was taken back from here.")
