"""``resident show``, ``uses``, ``in-force`` and ``stopped``: what there is to see, with proofs checked right here."""

from pathlib import Path

import click

from ledger import entries as e
from ledger.errors import MusubiError, NotFound, ProofInvalid
from policies.languages import SOURCE_LANGUAGE
from trust.cli.options import JsonOption
from trust.cli.resident.consents import Device, listed, say_left
from trust.cli.terminal import Sheet, nano, progress_bar, say, say_json, show_table
from trust.client.service import ServiceClient
from trust.client.wire import MyConsent
from trust.files.durable import write_whole
from trust.log.follower import LogFollower
from trust.log.freshness import check_fresh
from trust.resident.device import unlisted_copies
from trust.resident.leaving import LeftTheTown
from trust.resident.stopped import AttestedStop, HolderAt, StoppedAt, check_attested, check_stopped
from trust.resident.uses import BAD_PROOFS, Use, check_as_of, find_uses, named_holders


@click.command()
@JsonOption
@click.pass_obj
def show(device: Device, *, as_json: bool) -> None:
    """Show your consents, and whether those that ended have stopped at every holder.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 show
    """
    with device.client() as client:
        try:
            mine = device.consents(client)
        except LeftTheTown as left:
            say_left(left, [], as_json=as_json)
            return
        if as_json:
            say_json(mine)
            return
        titles = {policy.id: policy.title.get(SOURCE_LANGUAGE, policy.id) for policy in client.policies().values()}
        with device.follower() as follower:
            states = [_state_of(device, client, follower, consent, mine) for consent in mine]
            seen = follower.seen
        stops = [check_attested(client, consent) for consent in mine if consent.attested is not None]
        unlisted = unlisted_copies(client, device.seed, device.copies)
    table = Sheet(collapse_padding=True)
    for column in ("index", "what for", "at", "until", "state"):
        table.add_column(column)
    for consent, state in zip(mine, states, strict=True):
        table.add_row(
            str(consent.index),
            titles.get(consent.policy, consent.policy),
            ", ".join(consent.holders),
            consent.until,
            state,
        )
    if mine:
        show_table(table)
    else:
        say("You have given no consent. Nothing of yours is used.")
    for stop in stops:
        say("Consent {}: {}", stop.grant, _who_stopped(device, stop), whole_line=True)
    for index, copy in unlisted:
        say(
            "Consent {} to '{}' is kept by this device, and the service does not show it any more. It may still "
            "count you. To take it back: {} revoke {}",
            index,
            copy.general.policy,
            device.words,
            index,
            whole_line=True,
        )
    for name in device.copies.damaged():
        say("The copy {} in {} is damaged: it is as good as lost.", name, device.copies.folder, whole_line=True)
    lost = [str(consent.index) for consent in mine if consent.record == "lost"]
    if lost:
        say(
            "The service has lost what you signed at index {}: all holders of the policy are shown there. You "
            "can take it back all the same.",
            ", ".join(lost),
        )
    device.say_as_of(seen)
    check_fresh(seen)


@click.command()
@click.option("--all", "show_all", is_flag=True, help="Show the questions as well that were proven not to count you.")
@JsonOption
@click.pass_obj
def uses(device: Device, *, show_all: bool, as_json: bool) -> None:
    """Show every question that could count you, each with its proof checked here.

    This machine reads the ledger from your first consent on, so that no question is left out. It says as of when; where
    that is more than five minutes ago, or less than was seen before, it ends with `old-view` (exit code 33).

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 uses
    """
    with (
        device.client() as client,
        device.follower() as follower,
        progress_bar("entries read", hidden=as_json) as progress,
    ):
        found = find_uses(client, follower, lambda: device.consents(client), progress, device.copies)
        seen = follower.seen
        titles = {policy.id: policy.title.get(SOURCE_LANGUAGE, policy.id) for policy in client.policies().values()}
    faults = [use for use in found if use.fault]
    shown = [use for use in found if show_all or use.counted or use.fault]
    if as_json:
        say_json(shown)
    else:
        _print_uses(device, found, shown, titles)
        device.say_as_of(seen)
    if faults:
        raise ProofInvalid(
            f"{len(faults)} of {len(found)} questions have no good proof; tell the town's stewards.",
            questions=[str(use.admit) for use in faults],
        )
    check_fresh(seen)


def _print_uses(device: Device, found: list[Use], shown: list[Use], titles: dict[str, str]) -> None:
    if not found:
        say("No question has been asked under a policy that you agreed to.")
        return
    table = Sheet(collapse_padding=True)
    table.add_column("question", no_wrap=True)
    table.add_column("when", no_wrap=True)
    for column in ("who asked", "what for", "you in it?", "ended"):
        table.add_column(column, overflow="fold")
    for use in shown:
        ended = use.ended if use.closed_by is None else f"{use.ended} at {use.closed_by}"
        when = device.moment(use.at)[:-3]
        table.add_row(str(use.admit), when, use.by, titles.get(use.policy, use.policy), _in_it(use), ended)
    if shown:
        show_table(table)
    good = [use for use in found if not use.fault]
    others = sum(not use.counted for use in good)
    say("Proofs checked: {} of {} questions. {} could not count you.", len(good), len(found), others, whole_line=True)
    _say_unnamed(found)
    for use in found:
        if use.fault:
            say("[bold]Warning[/], question {}: {}", use.admit, use.fault, whole_line=True)


def _in_it(use: Use) -> str:
    if use.fault and not use.counted:
        return "not proven"
    if use.counted and use.grants == use.said_unnamed:
        return "no, says the service"
    return "yes" if use.counted else "no"


def _say_unnamed(found: list[Use]) -> None:
    """Say, once for each consent and set of holders, which questions cannot have counted the resident for that."""
    together: dict[tuple[int, str, bool], list[int]] = {}
    for use in found:
        for grants, is_proven in ((use.unnamed, True), (use.said_unnamed, False)):
            for grant in grants:
                together.setdefault((grant, ", ".join(use.holders), is_proven), []).append(use.admit)
    for (grant, holders, is_proven), questions in together.items():
        _say_cannot(grant, holders, questions, is_proven=is_proven)


def _say_cannot(grant: int, holders: str, questions: list[int], *, is_proven: bool) -> None:
    say(
        "Cannot have counted you, as your consent {} names none of the holders that were asked ({}): question {}.",
        grant,
        holders,
        listed(questions),
        whole_line=True,
    )
    if not is_proven:
        say("So the service says; this device has no copy of that consent to check it by.")


@click.command("in-force")
@click.argument("index", type=int)
@click.option("--size", type=int, required=True, metavar="N", help="As of the ledger's first N entries.")
@JsonOption
@click.pass_obj
def in_force(device: Device, index: int, size: int, *, as_json: bool) -> None:
    """Prove whether your consent at INDEX was in force as of then: when the ledger had N entries.

    Where N is a question's own place, its entry holds the proof's root. Elsewhere this machine replays the ledger.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 in-force 1234 --size 5000
    """
    with (
        device.client() as client,
        device.follower() as follower,
        progress_bar("entries read", hidden=as_json) as progress,
    ):
        mine = {consent.index: consent for consent in device.consents(client)}
        if index not in mine:
            raise NotFound("None of your consents is at that place of the ledger; `musubi resident show` lists them.")
        found = check_as_of(client, follower, mine[index].policy_sha256, index, size, progress)
        given = client.prove(index).entry
    if as_json:
        say_json({"in_force": found.in_force, "answer": found.answer})
        return
    when = device.moment(found.answer.at)
    say(
        "As of entry {} ({}), for a question of {}: your consent {} {} be counted.",
        size,
        when,
        nano(found.answer.charge),
        index,
        "could" if found.in_force else "could not",
        whole_line=True,
    )
    how = "the question's own entry" if found.admit else "a replay of the ledger on this machine"
    say("Proof checked against {}.", how)
    if found.in_force and found.admit and isinstance(given, e.Grant):
        named = named_holders(given, device.copies)
        if (frozenset(mine[index].holders) if named is None else named).isdisjoint(found.holders):
            _say_cannot(index, ", ".join(found.holders), [size], is_proven=named is not None)


@click.command()
@click.argument("index", type=int)
@click.option("--save", type=click.Path(path_type=Path), help="Write the receipt with the holders' signatures here.")
@JsonOption
@click.pass_obj
def stopped(device: Device, index: int, save: Path | None, *, as_json: bool) -> None:
    """Show whether every holder has confirmed that your consent has ended. INDEX is the consent's or its end's.

    Each holder's signature is checked here, against its key in the ledger. A holder that has not confirmed is named.

    \b
    Example:  musubi resident --place .town/momijidai/residents/42 stopped 1234
    """
    with device.client() as client, device.follower() as follower:
        mine = device.consents(client)
        end, grant = _end_of(mine, index)
        found = check_stopped(client, follower, end, grant, mine)
        seen = follower.seen
    if save is not None:
        write_whole(save, found.receipt)
    if as_json:
        holders = [
            {"holder": each.holder, "stopped_at": each.stopped_at, "heard": each.heard} for each in found.holders
        ]
        said: dict[str, object] = {
            "index": found.index,
            "grant": found.grant,
            "at": found.at,
            "stopped_at": found.stopped_at,
        }
        said |= {"still_in_force": found.still_in_force}
        say_json({**said, "holders": holders, "as_of": seen.time})
        check_fresh(seen)
        return
    table = Sheet(collapse_padding=True)
    for column in ("holder", "stopped"):
        table.add_column(column, overflow="fold")
    for holder in found.holders:
        table.add_row(holder.title.get(SOURCE_LANGUAGE, holder.holder), _state(device, holder, found.at))
    say("Your consent {} ended at {}, on {}.", found.grant, found.index, device.moment(found.at))
    show_table(table)
    say("{}", _summary(device, found), whole_line=True)
    if save is not None:
        say("The receipt with all signatures is in {}.", save, whole_line=True)
    device.say_as_of(seen)
    check_fresh(seen)


def _end_of(mine: list[MyConsent], index: int) -> tuple[int, int | None]:
    """Return where a consent of one's own ended, and its own index; any other index is taken for an end itself."""
    for consent in mine:
        if consent.index == index:
            if consent.ended_by is None:
                raise NotFound("This consent is in force: nothing has ended it. `musubi resident revoke` does.")
            return consent.ended_by, index
    return index, None


def _state(device: Device, holder: HolderAt, ended: int) -> str:
    if holder.stopped_at is not None:
        return f"{device.moment(holder.stopped_at)}, {max(0, holder.stopped_at - ended)} s after"
    if holder.has_left:
        return "has left the town and takes part in no question any more"
    heard = device.moment(holder.heard) if holder.heard is not None else "never"
    return f"has not confirmed yet, last heard {heard}"


def _summary(device: Device, found: StoppedAt) -> str:
    """Say in one line where the end of a consent has come to."""
    if found.still_in_force:
        return (
            f"This is not the end of it: you agreed to the same more than once, and your consent {listed(found.still_in_force)} "
            "still counts you. `musubi resident revoke --policy` takes back all of it."
        )
    if found.stopped_at is not None:
        return f"Stopped at every holder at {device.moment(found.stopped_at)}. That is final. Signatures checked."
    lagging = [each.holder for each in found.holders if each.stopped_at is None and not each.has_left]
    return (
        f"Not stopped everywhere yet: {', '.join(lagging)} has not confirmed. No new question counts you all the same."
    )


def _who_stopped(device: Device, stop: AttestedStop) -> str:
    """Say who ended a consent in the resident's place, and whether that was checked."""
    if stop.doubt:
        return f"the service says that '{stop.by}' stopped it for you, and that is not shown: {stop.doubt}"
    return (
        f"'{stop.by}' stopped it for you on {device.moment(stop.at)}. Its signature was checked. If you did not want that, "
        "tell it and the town's stewards, and agree anew."
    )


def _state_of(
    device: Device, client: ServiceClient, follower: LogFollower, consent: MyConsent, mine: list[MyConsent]
) -> str:
    """Return a consent's state for the list of consents: in force, ended, or stopped everywhere."""
    if consent.ended_by is None:
        return "in force"
    try:
        found = check_stopped(client, follower, consent.ended_by, consent.index, mine)
    except BAD_PROOFS as error:
        return f"ended at {consent.ended_by}; the proof that it stopped is wrong: {error.message}"
    except MusubiError:
        return f"ended at {consent.ended_by}; whether it stopped everywhere cannot be asked now"
    if found.still_in_force:
        return f"ended at {consent.ended_by}; you are still counted by {listed(found.still_in_force)}"
    if found.stopped_at is not None:
        return f"ended at {consent.ended_by}; stopped everywhere since {device.moment(found.stopped_at)}"
    lagging = [each.holder for each in found.holders if each.stopped_at is None and not each.has_left]
    return f"ended at {consent.ended_by}; not confirmed yet by {', '.join(lagging)}"
