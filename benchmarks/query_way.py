"""A question's whole way through service and four nodes, beyond the nodes' own computing.

A real town (service, witness, four nodes, each a process), a view that lies at all four holders, and fresh questions
one after the other. What is measured is from signing the question to holding both ledger entries with checked receipts;
from that the largest of the nodes' own computing times for that question is taken off, as the nodes report it in their
logs.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from queries.question.tree import Spend
from trust.client.service import ServiceClient
from trust.log.pins import load_trust
from trust.partner.asking import ask, to_query
from trust.town.layout import Layout, lay_out
from trust.town.loader import load_town
from trust.town.processes import running
from trust.town.up import free_ports, settle_in

QUESTIONS = 25
SQL = "SELECT COUNT(DISTINCT resident) AS people FROM everyone.people"


def run(questions: int = QUESTIONS) -> list[dict[str, Any]]:
    """Measure, and return one row."""
    town = load_town(Path(__file__).parent / "four_holders")
    with tempfile.TemporaryDirectory() as folder:
        port, witness_port = free_ports(None)
        layout = lay_out(town, Path(folder), residents=None, port=port, witness_port=witness_port)
        holders = [holder.alias for holder in town.holders]
        with running(layout, holders), ServiceClient(layout.url, load_trust(layout.folder / "trust.json")) as client:
            settle_in(layout, town, client, lambda *_: None)
            _wait_until_caught_up(client, holders)
            query, policy = to_query(SQL, client.policies(), Spend(epsilon="0.05"))
            key = layout.signing_key("city_office")
            whole, own = [], []
            for number in range(questions + 1):
                began = time.perf_counter()
                answered = ask(client, query, policy, "city_office", key, fresh=True)
                if number:  # the first one materialises the views
                    whole.append(time.perf_counter() - began)
                    own.append(_slowest_computing(layout, holders, answered.admit.index))
                time.sleep(0.3)
    beyond = [all_ - computing for all_, computing in zip(whole, own, strict=True)]
    return [
        {
            "name": "a question's way through service and four nodes, seconds beyond the nodes' computing (median)",
            "ratio": statistics.median(beyond),
            "target": "<= 1.0",
            "detail": f"{questions} questions: whole way {statistics.median(whole):.2f} s at the median, "
            f"{max(whole):.2f} s at most; slowest node's computing {statistics.median(own):.3f} s at the median",
        }
    ]


def _wait_until_caught_up(client: ServiceClient, holders: list[str]) -> None:
    while True:
        sizes = client.get("/v1/caught-up", dict[str, int])
        if all(sizes.get(holder, 0) >= sizes["published"] for holder in holders):
            return
        time.sleep(0.1)


def _slowest_computing(layout: Layout, holders: list[str], admit: int) -> float:
    """Return the longest time that a node spent on its vector and noise for one question."""
    slowest = 0.0
    for holder in holders:
        for line in (layout.logs / f"{holder}.log").read_text("utf-8").splitlines():
            if '"event": "computed"' in line:
                said = json.loads(line)
                if said["admit"] == admit:
                    slowest = max(slowest, said["milliseconds"] / 1000)
    return slowest
