"""``resident grant``: agreeing to a policy after reading its notice.

What a consent covers is chosen by whoever gives it: nothing that is left out is taken for the widest there is. On a
terminal the command lists the choices and asks; elsewhere it says which ones are missing, and signs nothing.
"""

import sys

import click

from ledger.errors import NotPermitted, PolicyNotCurrent
from policies.languages import DEFAULT_LANGUAGE, NOTICE_LANGUAGES, fallbacks
from policies.policy_document import Policy
from trust.cli.options import JsonOption
from trust.cli.resident.consents import Device, listed
from trust.cli.terminal import nano, say, say_foreign, say_json
from trust.resident.device import standing
from trust.resident.giving import check_choices, current
from trust.resident.giving import grant as sign_grant
from trust.runtime.clock import system_clock


@click.command()
@click.argument("policy")
@click.option("--holder", "holders", multiple=True, help="At this holder of the policy; may be given several times.")
@click.option("--until", metavar="YYYY-MM-DD", help="One of the policy's last days.")
@click.option("--cap", "yearly_cap", type=int, help="One of the policy's yearly caps, in nano-rho.")
@click.option(
    "--language",
    type=click.Choice(NOTICE_LANGUAGES),
    default=DEFAULT_LANGUAGE,
    show_default=True,
    help="The language of the notice that you read.",
)
@click.option("--yes", is_flag=True, help="You have read the notice and agree: do not ask.")
@JsonOption
@click.pass_obj
def grant(
    device: Device,
    policy: str,
    holders: tuple[str, ...],
    until: str | None,
    yearly_cap: int | None,
    language: str,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Read a policy's notice and agree to it, signed on this machine. It replaces what you agreed to before.

    Asks for what is not said here: at which holders, until when, and how much may be drawn from your data a year.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 grant food_loss --language en
              musubi resident --place .town/momijidai/residents/42 grant food_loss --holder food_app \\
                --until 2027-11-30 --cap 50000000 --yes
    """
    can_ask = sys.stdin.isatty()
    with device.client() as client:
        document = current(client, policy)
        check_choices(document, list(holders), [until] if until else [], [] if yearly_cap is None else [yearly_cap])
        before = [consent.index for consent in standing(client.my_consents(device.seed), policy)]
        shown_at = system_clock()
        _show_notice(document, language, err=as_json)
        days = _days(device, document)
        _refuse_silence(document, days, holders, until, yearly_cap, yes=yes, can_ask=can_ask)
        chosen = list(holders) or _ask_holders(document)
        last_day = until or _ask_choice("Until which day?", days)
        cap = yearly_cap if yearly_cap is not None else int(_ask_choice("Yearly cap, in nano-rho?", _caps(document)))
        _show_choice(chosen, last_day, cap, before, err=as_json)
        if not yes and not click.confirm("Do you agree, and sign?", default=False, err=True):
            raise NotPermitted("You did not agree: nothing was signed.")
        given = sign_grant(
            client,
            device.seed,
            document,
            holders=chosen,
            until=last_day,
            yearly_cap=cap,
            language=language,
            shown_at=shown_at,
            keep=device.promises.keep,
            copies=device.copies,
        )
    if as_json:
        said = {"index": given.index, "until": last_day, "replaced": given.replaced, "doubt": given.doubt}
        say_json(said)
        return
    say("Your consent is in the ledger at index {}, until {}. Receipt checked.", given.index, last_day)
    if given.replaced:
        say("It takes the place of the one at {}, which has ended.", listed(given.replaced))
    if given.doubt:
        say("[red]The service's promise is not in order:[/] {} Tell the town's stewards.", given.doubt)
    say("To take it back: {} revoke {}", device.words, given.index, whole_line=True)


def _days(device: Device, document: Policy) -> list[str]:
    """Return the policy's last days that are still to come, by the town's calendar, the nearest first."""
    today = device.moment(system_clock())[:10]
    days = sorted(day for day in document.until if day >= today)
    if not days:
        raise PolicyNotCurrent(f"The policy '{document.id}' has ended: its last day is past.")
    return days


def _caps(document: Policy) -> list[str]:
    return [str(cap) for cap in sorted(document.yearly_caps)]


def _refuse_silence(
    document: Policy,
    days: list[str],
    holders: tuple[str, ...],
    until: str | None,
    yearly_cap: int | None,
    *,
    yes: bool,
    can_ask: bool,
) -> None:
    """Raise UsageError where something is left to ask, and there is nobody to be asked."""
    missing = [
        f"{option} ({', '.join(choices)})"
        for option, said, choices in (
            ("--holder", bool(holders), list(document.holders)),
            ("--until", until is not None, days),
            ("--cap", yearly_cap is not None, _caps(document)),
        )
        if not said
    ]
    if can_ask:
        return
    if missing:
        raise click.UsageError(f"Say what you agree to: {'; '.join(missing)}. On a terminal this command asks.")
    if not yes:
        raise click.UsageError("This is no terminal, so nobody can be asked: if the notice was read, say --yes.")


def _text(text: dict[str, str], language: str) -> str:
    return next((text[tag] for tag in fallbacks(language) if tag in text), next(iter(text.values()), ""))


def _show_notice(document: Policy, language: str, *, err: bool) -> None:
    """Show the notice, word for word as its hash is signed, wrapped to the terminal's width."""
    say_foreign(_text(document.title, language), bold=True, err=err)
    say_foreign(document.notice[language], err=err)
    say("", err=err)


def _show_choice(holders: list[str], until: str, cap: int, before: list[int], *, err: bool) -> None:
    say("At: {}. Until {}. At most {} a year.", ", ".join(holders), until, nano(cap), err=err)
    if before:
        say("It takes the place of what you agreed to before, at {}.", listed(before), err=err)


def _ask_holders(document: Policy) -> list[str]:
    """Ask at which holders; none is chosen beforehand."""
    say("Holders: {}", ", ".join(document.holders), err=True)

    def read(answer: str) -> list[str]:
        chosen = answer.replace(",", " ").split()
        if not chosen or not set(chosen) <= set(document.holders):
            raise click.UsageError(f"Choose one or more of: {', '.join(document.holders)}.")
        return [holder for holder in document.holders if holder in chosen]

    found: list[str] = click.prompt("At which of them, by name?", value_proc=read, err=True)
    return found


def _ask_choice(question: str, choices: list[str]) -> str:
    """Ask for one of some choices, which begin with the narrowest; that one is proposed."""
    answer: str = click.prompt(question, type=click.Choice(choices), default=choices[0], err=True)
    return answer
