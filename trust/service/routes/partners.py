"""For partner firms: asking, previewing, watching a round."""

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from queries.rounds.messages import AskAnswer
from trust.client import paths
from trust.service.acts.ask import ask, preview
from trust.service.routes.http import ApiRequest, json_answer, read_token, service_of, signed_answer

MAX_WAIT_SECONDS = 30


@post(paths.QUESTIONS, status_code=200)
async def questions(request: ApiRequest) -> Response[str]:
    """Ask: the body is a signed question. Answers with the ``admit`` index, or with why not."""
    service = service_of(request)
    options = service.settings.service
    admitted = await ask(
        service.store,
        await read_token(request),
        max_open=options.max_open_rounds,
        max_open_each=options.max_open_rounds_per_partner,
        max_refusals=options.max_refusals_per_day,
        accounts=service.accounts,
    )
    answer = AskAnswer(
        from_=service.operator,
        log=service.store.state.log,
        query_sha256=admitted.query_sha256,
        admit=admitted.admit,
        reused=admitted.reused,
        bounding=admitted.bounding,
    )
    return signed_answer(service, answer)


@post(paths.PREVIEW, status_code=200)
async def previews(request: ApiRequest) -> Response[str]:
    """Price a signed question: free, blind to data, nothing written."""
    service = service_of(request)
    token = await read_token(request)
    return signed_answer(service, await preview(service.store, token, service.operator, service.accounts))


@get(paths.ROUNDS, sync_to_thread=False)
def open_rounds(request: ApiRequest) -> Response[bytes]:
    """Give the ``admit`` indices of all published questions that are still open."""
    service = service_of(request)
    return json_answer(service.rounds.open_below(service.published()))


@get(paths.ROUND)
async def watch(request: ApiRequest, admit: FromPath[int], wait: FromQuery[int] = 0) -> Response[bytes]:
    """Say where a question's round stands, waiting up to ``wait`` seconds for its end.

    ``closed_by`` is the published ``release``, ``refund`` or ``lost`` entry, or null while the round is open.
    """
    service = service_of(request)
    await service.catch_up_past(admit)
    status = await service.rounds.status(admit, min(max(wait, 0), MAX_WAIT_SECONDS))
    if status.closed_by is not None:
        await service.wait_published(status.closed_by)
    return json_answer(status)


@get(paths.SHARES)
async def shares(request: ApiRequest, admit: FromPath[int]) -> Response[bytes]:
    """Give the signed shares of a question whose answer is published, so that anyone can redo the sum."""
    service = service_of(request)
    await service.catch_up()
    return json_answer(await service.rounds.shares(admit, service.published()))


routes = [questions, previews, open_rounds, watch, shares]
