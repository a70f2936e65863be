"""Say on this machine what a question would cost and how exact its answer would be; nobody is told, nothing is charged.

    python price_a_question.py URL TRUST SQL EPSILON

URL is a service's address, only to get the policies from. TRUST is a ``trust.json``. The price is the same on every
machine: nodes and auditors work it out again with the same functions.
"""

import sys
from pathlib import Path

from ledger.errors import MusubiError
from queries.price.cost import epsilon_of, half_width
from queries.price.pricing import price
from queries.question.check import make_plan
from trust.client.service import ServiceClient
from trust.log.pins import load_trust
from trust.partner.asking import spend_of, to_query

CONFIDENCE = "0.95"


def main(url: str, trust_file: Path, sql: str, epsilon: str) -> None:
    """Print the price and the intervals; raise QueryInvalid where the policy does not allow the question."""
    with ServiceClient(url, load_trust(trust_file)) as client:
        policies = client.policies()
    query, policy = to_query(sql, policies, spend_of(epsilon, within=None))
    plan = make_plan(query, policy)
    cost = price(plan, query.spend, policy.budget)
    spent = epsilon_of(cost.charge, policy.budget.delta)
    print(f"It would cost {cost.charge} nano-rho: epsilon {spent} at delta {policy.budget.delta}.")
    print(f"Each of its {plan.length} numbers would be the sum over {', '.join(plan.participants)}.")
    for part in cost.noise:
        wide = half_width(part.scale, len(plan.participants), plan.length, CONFIDENCE)
        print(f"{part.primitive}: ± {wide}, for all numbers at once with confidence {CONFIDENCE}.")


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])
    except MusubiError as error:
        sys.exit(f"No price: {error}")
