"""``erase``: records destroyed by an authority's order, with the signatures of the stewards' quorum."""

import json
from pathlib import Path
from typing import Any

import click

from ledger.entries import Token
from ledger.errors import Malformed
from policies.consents.erasure import ErasureOrder
from policies.governance import approve
from trust.cli.tables import console
from trust.client.service import ServiceClient
from trust.log.pins import load_trust
from trust.resident.erasure import Erased, check_erase_entries
from trust.town.layout import Layout


@click.command()
@click.argument("index", type=click.IntRange(min=0))
@click.option(
    "--town-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="A folder with the town's trust.json; a steward's key is taken from its stewards/ALIAS.key.",
)
@click.option("--as", "stewards", multiple=True, metavar="STEWARD", help="Sign the order as this steward.")
@click.option(
    "--signature",
    "signatures",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A signature that a steward made elsewhere, with --print.",
)
@click.option("--print", "only_print", is_flag=True, help="Print the signatures and hand nothing in.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def erase(
    index: int,
    town_dir: Path,
    stewards: tuple[str, ...],
    signatures: tuple[Path, ...],
    *,
    only_print: bool,
    as_json: bool,
) -> None:
    """Have the record of the consent at INDEX destroyed, by order of an authority.

    It takes the signatures of the stewards' quorum. The ledger shows that, and with the reason `authority`; it does
    not show whose record it was. What is destroyed cannot be brought back.

    \b
    Example:  musubi erase 1234 --town-dir .town/momijidai --as city --as residents_council
    """
    if not stewards and not signatures:
        raise click.UsageError("Name the stewards who sign: --as STEWARD, or --signature FILE for what they signed.")
    trust = load_trust(town_dir / "trust.json")
    order = ErasureOrder(log=trust.origin, index=index)
    layout = Layout(town_dir)
    own = [
        approve("erasure", order, log=trust.origin, steward=alias, key=layout.steward_key(alias)) for alias in stewards
    ]
    if only_print:
        click.echo("\n".join(own))
        return
    body: dict[str, Any] = {"order": order, "signatures": own + [_read(path) for path in signatures]}
    with ServiceClient(layout.url, trust) as client:
        erased = client.post("/v1/erasures/ordered", body, dict[str, list[Erased]])["erased"]
        check_erase_entries(client, index, erased, "authority")
    if as_json:
        click.echo(json.dumps({"erased": [{"index": each.index, "entry": each.entry} for each in erased]}))
    else:
        entry = erased[0].entry
        console.print(
            f"The record of the consent at {index} is destroyed at the service. The ledger says so at {entry}."
        )
        console.print("The holders' nodes follow, and sign it: `musubi resident erased` shows who has.")


def _read(path: Path) -> Token:
    try:
        return path.read_text("ascii").strip()
    except UnicodeDecodeError:
        raise Malformed(f"'{path.name}' is not a signature; `musubi erase --print` prints one.") from None
