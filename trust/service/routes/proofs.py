"""Public proofs for residents (docs/reference/resident-proofs.md): in force or not, every question, stopped, erased."""

from litestar import Response, get
from litestar.params import FromPath, FromQuery

from ledger.errors import Malformed
from trust.client import paths
from trust.service.acts.erased_words import erasure_at
from trust.service.routes.http import ApiRequest, json_answer, service_of
from trust.service.routes.log import BRIEF, IMMUTABLE

MOST = 2**53 - 1
"""The largest number that every JSON reader holds exactly."""


@get(paths.IN_FORCE)
async def in_force(
    request: ApiRequest,
    policy_sha256: FromPath[str],
    size: FromPath[int],
    index: FromPath[int],
    charge: FromQuery[int | None] = None,
) -> Response[bytes]:
    """Prove whether the grant at ``index`` was in force for a policy version at a tree of ``size`` entries."""
    service = service_of(request)
    if charge is not None and not 0 <= charge <= MOST:
        raise Malformed("A charge is a whole number of nano-rho from 0 on.")
    await service.check_published(size - 1)
    published = service.sequencer.size
    answer = json_answer(await service.past_sets.prove(policy_sha256, size, index, charge, published))
    # the next entry decides the moment of the newest size
    answer.headers.update(IMMUTABLE if size < published else BRIEF)
    return answer


@get(paths.USES)
async def uses(
    request: ApiRequest, policy_sha256: FromPath[str], index: FromPath[int], first: FromQuery[int] = 0
) -> Response[bytes]:
    """Prove the same for every question under a policy version at its own index, a page of 100 at a time."""
    service = service_of(request)
    if not 0 <= first <= MOST:
        raise Malformed("A page of questions begins at a place of the ledger.")
    await service.check_published(index)
    return json_answer(await service.past_sets.uses(policy_sha256, index, first, service.sequencer.size))


@get(paths.STOPPED)
async def stopped(request: ApiRequest, index: FromPath[int]) -> Response[bytes]:
    """Give each holder's signed statement that covers the end of a consent at ``index``; name those that lag."""
    service = service_of(request)
    await service.check_published(index)
    return json_answer(await service.caught_up.stopped(index, service.sequencer.size))


@get(paths.CAUGHT_UP)
async def caught_up(request: ApiRequest) -> Response[bytes]:
    """Give the tree size that each holder's node has signed it is caught up with, and the ``published`` one."""
    service = service_of(request)
    return json_answer({**await service.caught_up.sizes(), "published": service.published()})


@get(paths.ERASURE)
async def erasure(request: ApiRequest, index: FromPath[int]) -> Response[bytes]:
    """Say which entry erased a consent's record, with each holder's signed word; null where a node is still to say it.

    For an erasure that an authority ordered, the stewards' approvals are there too.
    """
    return json_answer(await erasure_at(service_of(request).store, index))


routes = [in_force, uses, stopped, caught_up, erasure]
