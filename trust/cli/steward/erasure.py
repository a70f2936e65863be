"""``erase``: records destroyed by an authority's order, with the signatures of the stewards' quorum."""

from pathlib import Path

import click

from ledger.entries import Token
from ledger.errors import Malformed, NotPermitted
from policies.consents.erasure import ErasureOrder
from trust.cli.options import File, JsonOption, PlaceOption, Signer
from trust.cli.terminal import say, say_json, say_plain
from trust.client import paths
from trust.client.place import Place
from trust.client.wire import ErasedRecords, OrderRequest
from trust.resident.erasure import check_erase_entries


@click.command()
@click.argument("index", type=click.IntRange(min=0))
@PlaceOption
@click.option(
    "--signature",
    "signatures",
    multiple=True,
    type=File,
    help="A signature that another steward made, with --print. May be given more than once.",
)
@click.option("--print", "only_print", is_flag=True, help="Print your signature and hand nothing in.")
@JsonOption
def erase(index: int, place: Place, signatures: tuple[Path, ...], *, only_print: bool, as_json: bool) -> None:
    """Have the record of the consent at INDEX destroyed, by order of an authority.

    It takes the signatures of the stewards' quorum: yours, by the key in your place if it is a steward's, and what the
    others printed with --print. Anybody may hand them in. The ledger shows that, and with the reason `authority`; it
    does not show whose record it was. What is destroyed cannot be brought back.

    \b
    Example:  musubi erase 1234 --place .town/momijidai/places/residents_council --print > council.jws
              musubi erase 1234 --place .town/momijidai/places/city --signature council.jws
    """
    order = ErasureOrder(log=place.trust.origin, index=index)
    signer = Signer(place.trust.origin, place.alias, place.key)
    if only_print:
        say_plain(signer.sign("erasure", order))
        return
    signed = [_read(path) for path in signatures]
    with place.client() as client:
        if place.alias in {steward.alias for steward in client.genesis().stewards}:
            signed.insert(0, signer.sign("erasure", order))
        elif not signed:
            raise NotPermitted(f"'{place.alias}' is no steward; hand in what the stewards signed, with --signature.")
        body = OrderRequest(order=order, signatures=list(dict.fromkeys(signed)))
        erased = client.post(paths.ORDERED_ERASURES, body, ErasedRecords).erased
        check_erase_entries(client, index, erased, "authority")
    if as_json:
        say_json({"erased": [{"index": each.index, "entry": each.entry} for each in erased]})
    else:
        entry = erased[0].entry
        say("The record of the consent at {} is destroyed at the service. The ledger says so at {}.", index, entry)
        say("The holders' nodes follow, and sign it: `musubi resident erased` shows who has.")


def _read(path: Path) -> Token:
    try:
        return path.read_text("ascii").strip()
    except UnicodeDecodeError:
        raise Malformed(f"'{path.name}' is not a signature; `musubi erase --print` prints one.") from None
