"""The paths of the HTTP interface, each written once: the service's routes and all who call them import it from here.

The order is that of the headings of docs/reference/http-interface.md. A path's parameters stand in it as the service's
router reads them, ``{admit:int}``; ``at`` fills them in. What bodies say is in ``trust.client.wire``.
"""

import re
from typing import Literal
from urllib.parse import urlencode

from trust.log.source import LOG_PREFIX

Step = Literal["countersign", "share", "word"]
"""A step of a round that a node has something to say in."""
_PARAMETER = re.compile(r"\{([a-z0-9_]+):[a-z]+\}")


def at(path: str, **values: str | int) -> str:
    """Return a path with its parameters filled in; values that it has no place for become its query, in their order."""
    places = set(_PARAMETER.findall(path))
    query = {name: value for name, value in values.items() if name not in places}
    filled = _PARAMETER.sub(lambda place: str(values[place[1]]), path)
    return f"{filled}?{urlencode(query)}" if query else filled


# The log

LOG = f"{LOG_PREFIX}/"
CHECKPOINT = f"{LOG}checkpoint"
TILE = LOG + "tile/{path:path}"
RECEIPT = "/v1/receipts/{index:int}"
ENTRY = "/v1/entries/{index:int}"
TRUST = "/v1/trust"
LOG_KEYS = "/v1/log-keys"
POLICIES = "/v1/policies"
POLICY = "/v1/policies/{sha256:str}"

# Proofs for anyone

IN_FORCE = "/v1/log/in-force/{policy_sha256:str}/{size:int}/{index:int}"
USES = "/v1/log/uses/{policy_sha256:str}/{index:int}"
STOPPED = "/v1/log/stopped/{index:int}"
CAUGHT_UP = "/v1/caught-up"
ERASURE = "/v1/erasures/{index:int}"

# For residents and counters

ENROLMENTS = "/v1/enrolments"
LOST_DEVICES = "/v1/lost-devices"
GRANTS = "/v1/grants"
REVOCATIONS = "/v1/revocations"
OWN_CONSENTS = "/v1/residents/consents"
STOPS = "/v1/stops"
ERASURES = "/v1/erasures"
FAREWELL = "/v1/residents/farewell"

# For partners

PREVIEW = "/v1/questions/preview"
QUESTIONS = "/v1/questions"
ROUNDS = "/v1/rounds"
ROUND = "/v1/rounds/{admit:int}"
SHARES = "/v1/rounds/{admit:int}/shares"

# For stewards

MEMBERS = "/v1/members"
RULES = "/v1/rules"
ORDERED_ERASURES = "/v1/erasures/ordered"

# For nodes

NODE = "/v1/node/"
WORK = f"{NODE}work"
LEAVES = f"{NODE}leaves"
ERASED_WORDS = f"{NODE}erased"
RULES_WORD = f"{NODE}rules"


def node_step(step: Step) -> str:
    """Return the path that takes a node's message of one step of a round."""
    return f"{NODE}{step}"


# For operators

HEALTH = "/healthz"
READY = "/readyz"
METRICS = "/metrics"
