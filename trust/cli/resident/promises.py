"""``resident check-promises``: whether the service did what it promised when a consent was taken back."""

import sys

import click
import msgspec

from ledger.errors import ProofInvalid
from trust.cli.hints import program
from trust.cli.options import JsonOption
from trust.cli.resident.consents import Device
from trust.cli.terminal import say, say_json
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
            check = PromiseCheck(log, device.place.trust, open_witnesses=device.place.open_witnesses)
            for kept in promises:
                state, evidence = check.check(kept)
                file = keep_evidence(device.promises.folder / "evidence", evidence) if evidence is not None else ""
                found.append((state, str(file)))
    if as_json:
        rows = [{**msgspec.to_builtins(state), "evidence": file} for state, file in found]
        say_json(rows)
    else:
        _show_promises(found)
        for name in damaged:
            path = device.promises.folder / name
            say("The kept promise {} is damaged: it can be held against nobody.", path, whole_line=True)
    if any(state.state not in ("kept", "open") for state, _ in found):
        sys.exit(exit_code_of(ProofInvalid.code))


def _show_promises(found: list[tuple[PromiseState, str]]) -> None:
    for state, file in found:
        if state.state == "kept":
            say("The end of your consent at {}: [green]Kept.[/] {}", state.grant, state.says, whole_line=True)
        elif state.state == "open":
            say("The end of your consent at {}: Open. {}", state.grant, state.says, whole_line=True)
        else:
            how = state.state.capitalize()
            say("The end of your consent at {}: [red]{}.[/] {}", state.grant, how, state.says, whole_line=True)
        if file:
            say("  This file proves it to everybody: {}", file, whole_line=True)
            say("  {} audit verify-evidence {}", program(), file, whole_line=True)
    if not found:
        say("No promise is kept on this machine: nothing was taken back from here.")
