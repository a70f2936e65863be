"""What a question costs: noise scales and one exact charge in nano-rho (zero-concentrated DP, Bun and Steinke 2016).

**Privacy argument of the charge** (mode ``local``). Precondition: each primitive's squared sensitivity bounds what one
resident at one holder can move it (``queries.question.sensitivity``). Claim: the whole release, to everyone, is
(charge / 10^9)-zCDP for one resident. Proof: at one holder, the primitives' noised blocks compose to the sum of their
costs; a resident may be at all k of the view's holders, and each adds the whole noise by itself, so k such releases
compose: k times the sum. Sums, means and intervals are post-processing. Every cost is rounded up to whole nano-rho.

The budget of one question is split equally between the primitives that can move at all; a primitive that cannot
(clip bounds 0 to 0) costs nothing and gets the smallest noise.

``price`` searches; ``check_charge`` and ``check_spend``, which nodes and auditors run, never do.
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from functools import lru_cache

from msgspec import UNSET, Struct

from ledger.entries import Noise
from ledger.errors import ProofInvalid, QueryInvalid
from policies.policy_document import Budget
from queries.price.cost import (
    MAX_SCALE,
    MIN_SCALE,
    NANO,
    check_scales,
    decimal_text,
    epsilon_of,
    half_width,
    largest_cost,
    nano_rho,
    round_digits,
    scale_within,
)
from queries.question.check import parse_decimal
from queries.question.measures import measure_of
from queries.question.plan import Plan
from queries.question.tree import Spend, Within

MAX_EPSILON = Decimal(20)
"""A question that asks for more is taken for a mistake."""
MIN_EPSILON = Decimal("0.0001")
MIN_CONFIDENCE = Decimal("0.5")
MAX_CONFIDENCE = Decimal("0.9999")


class Price(Struct, frozen=True, kw_only=True):
    """The noise of each primitive, and the whole question's charge in nano-rho over all participants."""

    noise: tuple[Noise, ...]
    charge: int


def price(plan: Plan, spend: Spend, budget: Budget) -> Price:
    """Find the noise and the exact charge of a checked question; the same on every machine.

    ``epsilon`` is for the whole question, all holders together, at the policy's delta. ``within`` gives its measure
    the asked interval simultaneously with all other numbers of the answer (as ``queries.answers.finish`` shows them),
    and the other primitives the same cost each. Raises QueryInvalid for an amount that is zero, negative, not a
    decimal, or out of reach.
    """
    if (spend.epsilon is UNSET) == (spend.within is UNSET):
        raise QueryInvalid("A question says either 'epsilon' or 'within', exactly one of them.")
    if spend.within is not UNSET:
        share = _share_within(plan, spend.within)
        exact = _scale_within(plan, spend.within)
    else:
        share = _share_of_epsilon(plan, spend.epsilon if spend.epsilon is not UNSET else "", budget.delta)
        exact = {}
    noise = tuple(
        Noise(
            primitive=primitive.name,
            scale=exact.get(primitive.name) or _scale_for(primitive.squared_sensitivity, share),
        )
        for primitive in plan.primitives
    )
    return Price(noise=noise, charge=_cost(plan, noise))


def check_charge(plan: Plan, noise: Sequence[Noise], charge: int) -> None:
    """Raise ProofInvalid unless noise of these scales costs at most ``charge``: one sum, never a search."""
    check_scales(plan, noise)
    if _cost(plan, noise) > charge:
        raise ProofInvalid("The charge is less than what the stated noise costs.")


def check_spend(plan: Plan, spend: Spend, delta: str, noise: Sequence[Noise], charge: int) -> None:
    """Raise ProofInvalid where more is spent than the partner signed for; never a search.

    The charge is what the stated noise costs, up to what two versions of OpenDP may round differently. With
    ``epsilon`` it is worth no more than that. With ``within`` the named measure gets the asked interval and, if it were
    drawn 2% wider, would not; no other primitive costs more than that one. So whoever writes the ``admit`` cannot
    drain a budget by answering more exactly than was asked, or by charging for noise that is not worth it.
    """
    check_scales(plan, noise)
    if charge > _about(_cost(plan, noise)):
        raise ProofInvalid("The charge is more than what the stated noise costs.")
    if spend.epsilon is not UNSET and Decimal(epsilon_of(charge, delta)) > parse_decimal(spend.epsilon, "epsilon"):
        raise ProofInvalid("The charge is more than the partner signed for.")
    if spend.within is not UNSET:
        _check_within(plan, spend.within, noise)


def _about(cost: int) -> int:
    return cost + cost // 1_000 + 1_000


def _check_within(plan: Plan, within: Within, noise: Sequence[Noise]) -> None:
    name, squared = target_of(plan, within)
    scale = Decimal(next(part.scale for part in noise if part.primitive == name))
    others = (len(plan.participants), plan.length, check_confidence(within.confidence))
    wider = f"{scale * Decimal('1.02'):f}"
    if half_width(f"{scale:f}", *others) > within.plus_minus:
        raise ProofInvalid("The noise is more than the interval allows that the partner signed for.")
    if half_width(wider, *others) <= within.plus_minus and scale < MAX_SCALE:
        raise ProofInvalid("The noise is less than the interval needs that the partner signed for.")
    most = _about(nano_rho(squared, f"{scale:f}"))
    for primitive, part in zip(plan.primitives, noise, strict=True):
        if nano_rho(primitive.squared_sensitivity, part.scale) > most:
            raise ProofInvalid("A measure is answered more exactly than the partner signed for.")


def check_confidence(confidence: str) -> str:
    """Return the confidence if it is a decimal from 0.5 to 0.9999; raise QueryInvalid."""
    if not MIN_CONFIDENCE <= parse_decimal(confidence, "confidence") <= MAX_CONFIDENCE:
        raise QueryInvalid(f"The confidence is from {MIN_CONFIDENCE} to {MAX_CONFIDENCE}.")
    return confidence


def _cost(plan: Plan, noise: Sequence[Noise]) -> int:
    one_holder = sum(
        nano_rho(primitive.squared_sensitivity, part.scale)
        for primitive, part in zip(plan.primitives, noise, strict=True)
    )
    return len(plan.participants) * one_holder


def _share_of_epsilon(plan: Plan, epsilon: str, delta: str) -> int:
    asked = parse_decimal(epsilon, "epsilon")
    if not MIN_EPSILON <= asked <= MAX_EPSILON:
        raise QueryInvalid(f"The epsilon is from {MIN_EPSILON} to {MAX_EPSILON}.")
    moving = sum(primitive.squared_sensitivity > 0 for primitive in plan.primitives)
    return largest_cost(decimal_text(asked), delta) // (len(plan.participants) * max(moving, 1))


def target_of(plan: Plan, within: Within) -> tuple[str, int]:
    """Return the name and squared sensitivity of the one primitive behind the measure that ``within`` names."""
    asked = next((asked for asked in plan.measures if asked.as_ == within.measure), None)
    if asked is None:
        raise QueryInvalid("The 'within' names a measure that the question does not ask for.")
    primitive = measure_of(asked).interval(plan.view, plan.cells)
    return primitive.name, primitive.squared_sensitivity


def _scale_within(plan: Plan, within: Within) -> dict[str, str]:
    name, squared = target_of(plan, within)
    if squared == 0:
        raise QueryInvalid("The measure that 'within' names is always 0 in this view; name another.")
    if isinstance(within.plus_minus, bool) or not 1 <= within.plus_minus <= 2**40:
        raise QueryInvalid("The 'plus_minus' is a whole number from 1 to 2^40.")
    confidence = check_confidence(within.confidence)
    scale = scale_within(within.plus_minus, len(plan.participants), plan.length, confidence)
    if scale < MIN_SCALE:
        raise QueryInvalid("The interval is narrower than the smallest noise gives; ask for a wider one.")
    return {name: decimal_text(min(scale, MAX_SCALE))}


def _share_within(plan: Plan, within: Within) -> int:
    name, squared = target_of(plan, within)
    return nano_rho(squared, _scale_within(plan, within)[name])


@lru_cache(maxsize=4096)
def _scale_for(squared_sensitivity: int, share: int) -> str:
    """Return the smallest scale, in 6 significant digits, that costs at most ``share`` nano-rho."""
    if squared_sensitivity == 0:
        return decimal_text(MIN_SCALE)
    if share <= 0:
        raise QueryInvalid("The question spends too little to answer anything; ask for a larger epsilon.")
    with localcontext() as context:
        context.prec = 60
        # cost = d^2 / (2 sigma^2), solved for sigma.
        exact = (Decimal(squared_sensitivity) * NANO / (2 * Decimal(share))).sqrt()
    scale = max(round_digits(exact, up=True), MIN_SCALE)
    while nano_rho(squared_sensitivity, decimal_text(scale)) > share:
        scale = scale + Decimal(1).scaleb(scale.adjusted() - 5)
    if scale > MAX_SCALE:
        raise QueryInvalid("The question spends so little that noise would drown the answer; ask for a larger epsilon.")
    return decimal_text(scale)
