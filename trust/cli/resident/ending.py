"""``resident revoke``: taking back one consent, or all that were given to a policy."""

import click

from ledger.errors import MusubiError
from policies.languages import SOURCE_LANGUAGE
from trust.cli.options import JsonOption
from trust.cli.resident.consents import Device, listed
from trust.cli.terminal import say, say_json
from trust.client.wire import MyConsent
from trust.resident.device import Ended, standing, stop_policy
from trust.resident.device import revoke as sign_revoke


@click.command()
@click.argument("index", type=int, required=False)
@click.option("--policy", metavar="POLICY", help="All your consents to this policy, of any version.")
@JsonOption
@click.pass_obj
def revoke(device: Device, index: int | None, policy: str | None, *, as_json: bool) -> None:
    """Take back a consent, or all that you gave to a policy. No question admitted after it counts you.

    Name one consent by its INDEX, as `resident show` lists it, or a whole policy.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 revoke --policy food_loss
    """
    if (index is None) == (policy is None):
        raise click.UsageError("Name the consent by its index, as `musubi resident show` lists it, or a --policy.")
    ended: list[Ended] = []
    left: list[MyConsent] = []
    try:
        with device.client() as client:
            device.consents(client)  # says who has left, and whose seed it is not
            if policy is not None:
                for each in stop_policy(client, device.seed, policy, device.promises.keep, device.copies):
                    _tell(device, each, as_json=as_json)
                    ended.append(each)
            elif index is not None:
                ended = [sign_revoke(client, device.seed, index, device.promises.keep, device.copies)]
                _tell(device, ended[0], as_json=as_json)
            left = standing(device.consents(client), ended[0].policy) if ended else []
    except MusubiError:
        if ended and as_json:  # what is done is told, whatever came after it
            say_json(_document(ended, policy))
        raise
    if as_json:
        say_json(_document(ended, policy))
    elif left:
        say(
            "You agreed to '{}' more than once: still in force at {}.",
            ended[0].policy,
            listed([each.index for each in left]),
        )
        say("To take all of it back: {} revoke --policy {}", device.words, ended[0].policy, whole_line=True)


def _tell(device: Device, done: Ended, *, as_json: bool) -> None:
    if as_json:
        return
    title = done.title.get(SOURCE_LANGUAGE, done.policy)
    say(
        "Your consent {} to “{}” at {}, in force since {}, has ended. The revocation is in the ledger at "
        "index {}. Receipt checked.",
        done.grant,
        title,
        ", ".join(done.holders),
        device.moment(done.since),
        done.revoked.index,
        whole_line=True,
    )
    if done.doubt:
        say("[red]The service's promise is not in order:[/] {} Tell the town's stewards.", done.doubt)


def _document(ended: list[Ended], policy: str | None) -> dict[str, object]:
    shown = [_as_json(each) for each in ended]
    return shown[0] if policy is None else {"ended": shown}


def _as_json(done: Ended) -> dict[str, object]:
    said = {"grant": done.grant, "policy": done.policy, "holders": done.holders, "since": done.since}
    return {**said, "index": done.revoked.index, "promise": done.revoked.promise, "doubt": done.doubt}
