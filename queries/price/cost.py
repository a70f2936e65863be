"""What noise costs, by OpenDP: the discrete Gaussian mechanism's zCDP cost, the conversion for people, half widths.

Nothing is drawn here.

**Privacy argument of the mechanism.** Precondition: two neighbouring integer vectors (one resident at one holder) of a
primitive are within L2 distance d = sqrt(``squared_sensitivity``) (``queries.question.sensitivity``). Claim: adding
independent discrete Gaussian noise of parameter sigma to every number costs d^2 / (2 sigma^2) of rho-zCDP.
Source: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (2020), theorem 14 with its
multivariate corollary. OpenDP's ``make_gaussian`` samples exactly and its ``map`` rounds the cost up.

Floats occur only inside OpenDP and in handing numbers to it, always rounded against ourselves: d up, delta down,
costs up to whole nano-rho.
"""

import math
import re
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Any

import opendp.prelude as dp

from ledger.entries import Noise
from ledger.errors import ProofInvalid, QueryInvalid
from queries.question.plan import Plan

dp.enable_features("contrib")

NANO = 10**9
MIN_SCALE = Decimal(1)
"""No noise is smaller. At sigma of at least 1/2 the sum of several holders' noise is as good as one discrete Gaussian
(Kairouz, Liu, Steinke 2021), which the intervals use; at 1 it is so to 6 parts in 10,000 of every probability."""
MAX_SCALE = Decimal(10**12)
"""No noise is larger, so that every noised number stays exact in JSON and far inside 64 bits."""
EPSILON_PLACES = Decimal("0.0001")

_PROFILE_LIMIT = 1_000 * NANO
_SCALE = re.compile(r"[1-9][0-9]{0,12}(\.[0-9]{1,12})?", re.ASCII)
_DELTA = re.compile(r"0\.[0-9]{1,12}", re.ASCII)
_VECTORS = dp.vector_domain(dp.atom_domain(T="i64"))
_L2 = dp.l2_distance(T=float)


@lru_cache(maxsize=4096)
def nano_rho(squared_sensitivity: int, scale: str) -> int:
    """Return ceil(10^9 map(sensitivity)) of discrete Gaussian noise at ``scale``: the cost at one holder."""
    if squared_sensitivity == 0:
        return 0
    rho = gaussian(float(scale)).map(root_up(squared_sensitivity))
    return math.ceil(Fraction(rho) * NANO)


def root_up(square: int | Fraction) -> float:
    """Return a float that is at least the square root, and the next one or two above it at most."""
    root = math.sqrt(square)
    while Fraction(root) ** 2 < square:
        root = math.nextafter(root, math.inf)
    return root


def gaussian(scale: float) -> Any:
    """Return OpenDP's discrete Gaussian mechanism on integer vectors. Here only its ``map`` is asked, which is pure.

    Calling it draws noise, which is done in ``trust.node.rounds.noise`` alone.
    """
    return dp.m.make_gaussian(_VECTORS, _L2, scale=scale)


@lru_cache(maxsize=1)
def _approximate() -> Any:
    # Noise of scale 1 has cost d^2 / 2 at distance d, so d = sqrt(2 rho) stands for any rho.
    return dp.c.make_zCDP_to_approxDP(gaussian(1.0))


def _profile(nano: int) -> Any:
    return _approximate().map(root_up(Fraction(2 * nano, NANO)))


def _down(number: Decimal) -> float:
    value = float(number)
    return value if Fraction(value) <= Fraction(number) else math.nextafter(value, 0.0)


def check_delta(delta: str) -> None:
    """Raise QueryInvalid unless ``delta`` is a plain decimal above 0 and below 1."""
    if _DELTA.fullmatch(delta) is None or Decimal(delta) == 0:
        raise QueryInvalid("The policy's delta is not between 0 and 1, so no epsilon can be stated.")


@lru_cache(maxsize=4096)
def epsilon_of(nano: int, delta: str) -> str:
    """Return the epsilon at ``delta`` of a cost in nano-rho, rounded up to 4 decimals: what people are shown.

    Source: OpenDP's conversion from zCDP to approximate DP (the optimised form of Canonne, Kamath, Steinke 2020,
    corollary 13). Where that overflows (rho above 1,000) the looser rho + 2 sqrt(rho ln(1/delta)) of Bun and Steinke
    2016, proposition 1.3. Raises QueryInvalid unless 0 < delta < 1.
    """
    check_delta(delta)
    if nano == 0:
        return "0"
    if nano > _PROFILE_LIMIT:
        with localcontext() as context:
            context.prec = 60
            rho = Decimal(nano) / NANO
            epsilon = rho + 2 * (rho * -Decimal(delta).ln()).sqrt()
    else:
        epsilon = Decimal(_profile(nano).epsilon(_down(Decimal(delta))))
    return f"{epsilon.quantize(EPSILON_PLACES, rounding=ROUND_CEILING).normalize():f}"


@lru_cache(maxsize=4096)
def largest_cost(epsilon: str, delta: str) -> int:
    """Return the largest cost in nano-rho whose ``epsilon_of`` is at most ``epsilon``; 0 where none is.

    Exact in whole nano-rho up to the float search inside OpenDP: bisection on the cost by delta(epsilon), which is
    quick, and then by the very function that the checker will use. Decimals of epsilon past the fourth are not spent.
    """
    check_delta(delta)
    asked = Decimal(epsilon).quantize(EPSILON_PLACES, rounding=ROUND_FLOOR)
    limit = _down(Decimal(delta))
    low, high = 0, NANO
    while _profile(high).delta(float(asked)) <= limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _profile(middle).delta(float(asked)) <= limit:
            low = middle
        else:
            high = middle
    while low and Decimal(epsilon_of(low, delta)) > asked:
        low -= 1 + (low >> 32)
    return max(low, 0)


@lru_cache(maxsize=4096)
def is_worth_more(nano: int, epsilon: str, delta: str) -> bool:
    """Return whether a cost in nano-rho is worth more than ``epsilon`` (to 4 decimals) at ``delta``.

    One evaluation of OpenDP's delta(epsilon), as ``largest_cost`` makes at each of its steps: exactly the costs above
    what that finds are worth more, but for its own last steps down. Raises QueryInvalid unless 0 < delta < 1.
    """
    check_delta(delta)
    if nano > _PROFILE_LIMIT:
        return True  # rho above 1,000: an epsilon that no question may ask for
    asked = Decimal(epsilon).quantize(EPSILON_PLACES, rounding=ROUND_FLOOR)
    return bool(_profile(nano).delta(float(asked)) > _down(Decimal(delta)))


@lru_cache(maxsize=4096)
def half_width(scale: str, holders: int, numbers: int, confidence: str) -> int:
    """Return h so that, with probability ``confidence``, all of ``numbers`` noised numbers are within h of the truth.

    Each number carries the sum of ``holders`` independent discrete Gaussians of ``scale``.

    Why it holds. By the union bound each number may fail with probability a = (1 - confidence) / numbers. The sum of k
    discrete Gaussians of parameter sigma >= 1/2 has every probability within a factor e^t of the discrete Gaussian of
    parameter sqrt(k) sigma, t = 10 sum_{j<k} exp(-2 pi^2 sigma^2 j / (j + 1)) (Kairouz, Liu, Steinke, "The Distributed
    Discrete Gaussian Mechanism", 2021, theorem 9 and its scalar form); at sigma >= 1 and k <= 32, t < 0.0006, so
    0.999 a covers it. For a discrete Gaussian X and continuous N of the same parameter,
    P(X >= m) <= P(N >= m - 1) (Canonne, Kamath, Steinke 2020, proposition 25), so P(|X| > h) <= P(|N| >= h): h is the
    continuous accuracy, rounded up. OpenDP's own discrete accuracy gives h + 1 ("below h + 1"), but takes time in
    proportion to the scale; a test holds one against the other.
    """
    spread = root_up(Fraction(scale) ** 2 * holders)
    # One part in 10^9 covers the rounding of the inverse error function.
    return math.ceil(Fraction(spread) * Fraction(_deviations(numbers, confidence)) * Fraction(NANO + 1, NANO))


@lru_cache(maxsize=4096)
def scale_within(plus_minus: int, holders: int, numbers: int, confidence: str) -> Decimal:
    """Return the largest scale, in 6 significant digits, whose ``half_width`` is at most ``plus_minus``; may be < 1."""
    scale = round_digits(Decimal(plus_minus / (_deviations(numbers, confidence) * math.sqrt(holders))), up=False)
    while half_width(decimal_text(scale), holders, numbers, confidence) > plus_minus:
        scale -= Decimal(1).scaleb(scale.adjusted() - 5)
    return scale


@lru_cache(maxsize=4096)
def _deviations(numbers: int, confidence: str) -> float:
    alpha = (1 - Fraction(confidence)) / numbers * Fraction(999, 1000)
    return float(dp.gaussian_scale_to_accuracy(scale=1.0, alpha=float(alpha)))


def round_digits(number: Decimal, *, up: bool) -> Decimal:
    """Round a positive number to 6 significant digits."""
    quantum = Decimal(1).scaleb(number.adjusted() - 5)
    return number.quantize(quantum, rounding=ROUND_CEILING if up else ROUND_FLOOR)


def decimal_text(number: Decimal) -> str:
    """Return the plain decimal text without exponent or trailing zeros: ``28.2843``."""
    return f"{number.normalize():f}"


def check_scales(plan: Plan, noise: Sequence[Noise]) -> None:
    """Raise ProofInvalid unless ``noise`` names the plan's primitives in order, each with an allowed scale."""
    if [part.primitive for part in noise] != [primitive.name for primitive in plan.primitives]:
        raise ProofInvalid("The stated noise is not for the primitives of the question.")
    for part in noise:
        if _SCALE.fullmatch(part.scale) is None or not MIN_SCALE <= Decimal(part.scale) <= MAX_SCALE:
            raise ProofInvalid("The stated noise has a scale outside the allowed range.")
