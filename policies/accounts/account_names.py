"""The names of the budget accounts that a question is charged to.

They are built here and nowhere else; nothing parses one.

====================================  ===================  ===========================================
account                               its account cap      kept by
====================================  ===================  ===========================================
``policy/<id>/<window>``              ``per_window``       the ledger (``policies.accounts.budgets``)
``policy/<id>/life``                  ``life``             the ledger
``partner/<alias>/<id>/<window>``     ``per_partner``      the ledger
``data/<year>``                       the node's data cap  each node, over all policies and all its sources
``data/<source>/<year>``              the source's part    each node, where it splits its cap among its sources
====================================  ===================  ===========================================

A window is a label such as ``2026-11-21``, ``2026-11`` or ``2026`` (``policies.accounts.budgets.window_of``).
"""


def policy_account(policy: str, window: str) -> str:
    """Return the account of a whole policy in one window; ``policy`` is its id, for the versions share it."""
    return f"policy/{policy}/{window}"


def life_account(policy: str) -> str:
    """Return the account of a whole policy for ever."""
    return f"policy/{policy}/life"


def partner_account(partner: str, policy: str, window: str) -> str:
    """Return the account of one partner under one policy in one window."""
    return f"partner/{partner}/{policy}/{window}"


def data_account(year: str) -> str:
    """Return the account that a holder's own node keeps of all its data in one calendar year."""
    return f"data/{year}"


def source_account(source: str, year: str) -> str:
    """Return the account that a holder's own node keeps of one of its sources in one calendar year."""
    return f"data/{source}/{year}"
