"""``ask``: a partner's question in SQL."""

from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from ledger.errors import MusubiError
from policies.policy_document import View
from queries.answers.left_out import bounding_of
from queries.question.check import make_plan
from queries.rounds.messages import Bounding
from trust.cli.options import JsonOption, PlaceOption
from trust.cli.tables import accounts_of, answer_table, bounding_lines, budget_table
from trust.cli.terminal import nano, say, say_json, show_table
from trust.client.last_view import view_of
from trust.client.place import Place
from trust.log.freshness import check_fresh
from trust.partner.asking import Answered, preview, spend_of, to_query, with_bounding
from trust.partner.asking import ask as ask_service


@click.command()
@click.argument("sql")
@PlaceOption
@click.option("--epsilon", help="How much privacy to spend, at the policy's delta.")
@click.option("--within", metavar="MEASURE=±X", help="Or: spend what it takes for this accuracy in every cell at once.")
@click.option("--confidence", default="0.95", show_default=True, help="How surely --within holds.")
@click.option("--preview", "only_price", is_flag=True, help="Show the price and stop; nothing is charged.")
@click.option("--fresh", is_flag=True, help="Pay for a new answer even where one is out already.")
@JsonOption
def ask(
    sql: str,
    place: Place,
    epsilon: str | None,
    within: str | None,
    confidence: str,
    *,
    only_price: bool,
    fresh: bool,
    as_json: bool,
) -> None:
    """Ask a question in SQL; the price comes first.

    The answer is checked here: its noise, its price, its sum, and its place in the ledger.

    \b
    Example:  musubi ask --place .town/momijidai/places/bus_co --epsilon 0.5 \\
                'SELECT ward, COUNT(*) AS rides FROM mobility_demand.rides GROUP BY ward'
    """
    partner, key = place.alias, place.key
    with place.client() as client:
        spend = spend_of(epsilon, within, confidence)
        query, policy = to_query(sql, client.policies(), spend)
        offer = preview(client, query, partner, key)
        if only_price:
            view = make_plan(query, policy).view
            if as_json:
                say_json(with_bounding(offer, query, view))
            else:
                say("It would cost {} (ε {} at δ {}).", nano(offer.charge), offer.epsilon, policy.budget.delta)
                say_in_force(offer.in_force)
                say_left_out(bounding_of(query, view), view)
                show_table(budget_table(offer, policy.budget.delta))
                short = [f"'{account}'" for account, left, _ in accounts_of(offer) if left < offer.charge]
                if short:
                    say("It would be refused: less than that is left in {}.", " and ".join(short))
            return
        if not as_json:
            say("Price: {} (ε {} at δ {}).", nano(offer.charge), offer.epsilon, policy.budget.delta)
            say_in_force(offer.in_force)
        answered = ask_service(
            client,
            query,
            policy,
            partner,
            key,
            fresh=fresh,
            waiting=lambda holders: None if as_json else say("Waiting for {} …", ", ".join(holders)),
        )
        if as_json:
            say_json(answer_document(sql, answered))
            check_view(place, answered, quiet=True)
            return
        show_answer(answered)  # before anything else may fail: it is paid for
        try:
            after = preview(client, query, partner, key)
            left = budget_table(after, policy.budget.delta)
        except MusubiError as error:
            say("What is left now cannot be shown: {}", error.message, whole_line=True)
        else:
            say("Left now:")
            show_table(left)
        check_view(place, answered, quiet=False)


def check_view(place: Place, answered: Answered, *, quiet: bool) -> None:
    """Say as of when the ledger was read; raise OldView where less is shown than this place or a witness has seen."""
    with view_of(place, answered.closing.index + 1) as follower:
        seen = follower.seen
    if not quiet and seen.time is not None:
        when = datetime.fromtimestamp(seen.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        say("As of {}, when the ledger had {} entries.", when, seen.checkpoint.size, whole_line=True)
    check_fresh(seen)


def say_in_force(in_force: int) -> None:
    """Say how many consents an answer counts: no more is known, as nobody sees which of them a holder links."""
    say("It counts at most {:,} consents to this policy.", in_force)


def say_left_out(bounding: Bounding, view: View) -> None:
    """Say what an answer leaves out on purpose."""
    say("What the policy leaves out on purpose:")
    for line in bounding_lines(bounding, view):
        say("  {}", line, whole_line=True)


def show_answer(answered: Answered) -> None:
    """Print an answer with what proves it."""
    if answered.status == "refunded":
        say("A holder stepped out before anything was sent. The charge was given back; ask again.")
        return
    if answered.status == "lost":
        say(
            "There is no answer, and there will be none: not every holder answered within a day after the "
            "question expired. What may have left a holder counts, so the charge stands. Who sent its part, who "
            "stepped out and who was silent is in the ledger at index {}.",
            answered.closing.index,
        )
        return
    show_table(answer_table(answered.query, answered.cells))
    say_left_out(answered.bounding, answered.view)
    if answered.reused:
        say("This answer was out already: no charge. (--fresh pays for a new one.)")
    say(
        "± holds for all numbers at once with 95% confidence. It covers the noise, not what is left out.\nReceipt: question at ledger index {}, answer at {}; both checked against the log's key "
        "and its witnesses.",
        answered.admit.index,
        answered.closing.index,
    )


def number(text: str) -> int | float | None:
    """Return a cell's decimal text as a JSON number."""
    return None if text == "" else int(text) if text.lstrip("-").isdigit() else float(text)


def answer_document(sql: str, answered: Answered) -> dict[str, Any]:
    """Return an answer for machines."""
    return {
        "sql": sql,
        "status": answered.status,
        "reused": answered.reused,
        "charge_nano_rho": answered.charge,
        "epsilon_charged": float(answered.epsilon),
        "admit": answered.admit.index,
        "closed_by": answered.closing.index,
        "bounding": msgspec.to_builtins(answered.bounding),
        "cells": [
            {
                "key": list(cell.key),
                "measure": cell.measure,
                "value": number(cell.value),
                "half_width": number(cell.half_width),
            }
            for cell in answered.cells
        ],
    }
