"""The one place where noise is drawn: a holder's exact vector goes in, and a private one comes out.

No other module calls an OpenDP measurement, and the pure rooms draw nothing at random at all; a test holds both. What
noise of a scale costs, and why, is in ``queries.price.cost``, which prices the very mechanism that is called here.
"""

from collections.abc import Callable, Sequence

from ledger.entries import Noise
from ledger.errors import ProofInvalid
from queries.price.cost import check_scales, gaussian
from queries.question.plan import Plan

_I64 = 2**63 - 1


def make_measurement(plan: Plan, noise: Sequence[Noise]) -> Callable[[Sequence[int]], list[int]]:
    """Return the function with which a holder noises its exact vector: discrete Gaussian, each primitive at its scale.

    Each call draws fresh noise, so a holder calls it once for each ``admit`` and stores the result. There is no seed.
    Numbers outside 64 bits are first clipped to them: no view's bounds lead there, and clipping brings two vectors no
    further apart. Raises ProofInvalid for noise that does not fit the plan or a vector of another length.
    """
    check_scales(plan, noise)
    blocks = [
        (plan.cells * primitive.width, gaussian(float(part.scale)))
        for primitive, part in zip(plan.primitives, noise, strict=True)
    ]

    def measure(vector: Sequence[int]) -> list[int]:
        if len(vector) != plan.length:
            raise ProofInvalid("The vector is not of the length that the question's plan says.")
        noised: list[int] = []
        for length, mechanism in blocks:
            block = vector[len(noised) : len(noised) + length]
            noised += mechanism([min(max(number, -_I64), _I64) for number in block])
        return noised

    return measure
