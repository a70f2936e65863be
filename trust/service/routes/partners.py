"""For partner firms and stewards: asking, previewing, watching a round; members and policies."""

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery
from sqlalchemy import select

from ledger.errors import NotFound
from queries.rounds.messages import AskAnswer
from trust.service.acts.ask import ask, preview
from trust.service.acts.govern import MemberRequest, PolicyRequest, publish_policy, register_member
from trust.service.database import tables as t
from trust.service.routes.http import ApiRequest, json_answer, read_json, read_token, service_of, signed_answer

MAX_WAIT_SECONDS = 30


@post("/v1/questions", status_code=200)
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
    )
    answer = AskAnswer(
        from_=service.operator,
        log=service.store.state.log,
        query_sha256=admitted.query_sha256,
        admit=admitted.admit,
        reused=admitted.reused,
    )
    return signed_answer(service, answer)


@post("/v1/questions/preview", status_code=200)
async def previews(request: ApiRequest) -> Response[str]:
    """Price a signed question: free, blind to data, nothing written."""
    service = service_of(request)
    return signed_answer(service, preview(service.store, await read_token(request), service.operator))


@get("/v1/rounds", sync_to_thread=False)
def open_rounds(request: ApiRequest) -> Response[bytes]:
    """Give the ``admit`` indices of all published questions that are still open."""
    service = service_of(request)
    return json_answer([index for index in service.store.state.rounds if index < service.sequencer.size])


@get("/v1/caught-up")
async def caught_up(request: ApiRequest) -> Response[bytes]:
    """Give the tree size that each holder's node has signed it is caught up with, and the ``published`` one."""
    service = service_of(request)
    async with service.databases.reader.connect() as connection:
        rows = await connection.execute(select(t.caught_up.c.holder, t.caught_up.c.size))
        sizes = {row.holder: row.size for row in rows}
    return json_answer({**sizes, "published": service.sequencer.size})


@get("/v1/rounds/{admit:int}")
async def watch(request: ApiRequest, admit: FromPath[int], wait: FromQuery[int] = 0) -> Response[bytes]:
    """Say where a question's round stands, waiting up to ``wait`` seconds for its end.

    ``closed_by`` is the published ``release`` or ``refund`` entry, or null while the round is open.
    """
    service = service_of(request)
    await service.catch_up_past(admit)
    if not 0 <= admit < service.store.size:
        raise NotFound("The ledger has no such question.")
    opened = service.store.state.rounds.get(admit)
    waiting_for: list[str] = []
    if opened is not None:
        await service.bell.until(
            lambda: (admit not in service.store.state.rounds) or None, min(max(wait, 0), MAX_WAIT_SECONDS)
        )
        if admit in service.store.state.rounds:
            waiting_for = service.rounds.waiting_for(admit)
    query = select(t.rounds.c.closed_by, t.rounds.c.released).where(t.rounds.c.admit == admit)
    async with service.databases.reader.connect() as connection:
        row = (await connection.execute(query)).first()
    if row is None:
        raise NotFound("The ledger has no such question.")
    if row.closed_by is not None:
        await service.sequencer.wait_for(row.closed_by + 1, service.settings.service.receipt_wait_seconds)
    status = "open" if row.closed_by is None else "released" if row.released else "refunded"
    return json_answer({"status": status, "closed_by": row.closed_by, "waiting_for": waiting_for})


@get("/v1/rounds/{admit:int}/shares")
async def shares(request: ApiRequest, admit: FromPath[int]) -> Response[bytes]:
    """Give the signed shares of a question whose answer is published, so that anyone can redo the sum."""
    service = service_of(request)
    await service.catch_up()
    if not 0 <= admit < service.store.size:
        raise NotFound("No answered question is at that place of the ledger.")
    query = (
        select(t.messages.c.holder, t.messages.c.token)
        .join(t.rounds, t.rounds.c.admit == t.messages.c.admit)
        .where(t.messages.c.admit == admit, t.messages.c.step == "share", t.rounds.c.released)
        .where(t.rounds.c.closed_by < service.sequencer.size)
    )
    async with service.databases.reader.connect() as connection:
        found = {row.holder: row.token for row in await connection.execute(query)}
    if not found:
        raise NotFound("No answered question is at that place of the ledger.")
    return json_answer({"shares": found})


@post("/v1/members", status_code=200)
async def members(request: ApiRequest) -> Response[bytes]:
    """Register an organisation that the stewards' quorum signed."""
    wanted, _ = await read_json(request, MemberRequest, "member")
    service = service_of(request)
    index = await register_member(service.store, wanted)
    return json_answer({"index": index})


@post("/v1/policies", status_code=200)
async def policies(request: ApiRequest) -> Response[bytes]:
    """Publish a policy version that the stewards' quorum signed."""
    wanted, _ = await read_json(request, PolicyRequest, "policy")
    index = await publish_policy(service_of(request).store, wanted)
    return json_answer({"index": index})


@get("/v1/policies", sync_to_thread=False)
def current_policies(request: ApiRequest) -> Response[bytes]:
    """Give the current policy documents with their hashes; the ledger has them too."""
    state = service_of(request).store.state
    found = [
        {"index": record.index, "sha256": record.sha256, "policy": record.document}
        for record in state.policies.values()
    ]
    return json_answer(found)


@get("/v1/policies/{sha256:str}", sync_to_thread=False)
def policy_by_hash(request: ApiRequest, sha256: FromPath[str]) -> Response[bytes]:
    """Give one policy document, of any version, by the hash that consents and questions name."""
    record = service_of(request).store.state.versions.get(sha256)
    if record is None:
        raise NotFound("The ledger has no policy document with that hash.")
    return json_answer(record.document)


routes = [
    policy_by_hash,
    questions,
    previews,
    open_rounds,
    caught_up,
    watch,
    shares,
    members,
    policies,
    current_policies,
]
