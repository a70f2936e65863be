"""Ask a question as a partner, wait for the answer, and check it instead of believing it.

    python ask_a_question.py PLACE SQL EPSILON

PLACE is your own folder, as ``musubi place init`` makes one: the service's address, the pins and your signing key. The
question is charged to your budget; ``price_a_question.py`` says beforehand how much.
"""

import sys
from pathlib import Path

from ledger.errors import MusubiError
from trust.client.place import Place
from trust.partner.asking import ask, preview, spend_of, to_query

MOST = 0.5
"""Of what is left in the emptiest account: a question that would cost more is not asked."""


def main(place: Place, sql: str, epsilon: str) -> None:
    """Ask once, and print the answer; raise where it is refused or where the ledger does not prove it."""
    with place.client() as client:
        query, policy = to_query(sql, client.policies(), spend_of(epsilon, within=None))
        offer = preview(client, query, place.alias, place.key)
        left = min(int(account["left"]) for account in offer.accounts)
        if offer.charge > MOST * left:
            sys.exit(f"Too dear: it would cost {offer.charge} nano-rho of the {left} that are left.")
        answered = ask(client, query, policy, place.alias, place.key)
    for cell in answered.cells:
        print(f"{' '.join(map(str, cell.key)):12} {cell.measure} {cell.value} ± {cell.half_width}")
    print(f"Asked at ledger index {answered.admit.index}, {answered.status} at {answered.closing.index}.")
    print(
        f"Charged: {answered.charge} nano-rho." if not answered.reused else "It was out already: nothing was charged."
    )


if __name__ == "__main__":
    try:
        main(Place(Path(sys.argv[1])), sys.argv[2], sys.argv[3])
    except MusubiError as error:
        sys.exit(f"No answer: {error}")
