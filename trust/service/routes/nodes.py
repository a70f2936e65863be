"""For the holders' nodes. Nodes call, the service only answers: a firm opens no port."""

from litestar import Response, post
from sqlalchemy import select

from ledger.errors import Malformed
from policies.consents.bundle import disclose
from queries.rounds.messages import HeldLeaf, LeavesAnswer, LeavesWanted, Work, WorkAnswer
from trust.service.database import tables as t
from trust.service.keys.records import open_record
from trust.service.routes.http import ApiRequest, from_node, json_answer, read_token, service_of, signed_answer
from trust.service.service import Service

MAX_LEAVES = 2_048


@post("/v1/node/work", status_code=200)
async def work(request: ApiRequest) -> Response[str]:
    """Hold a node's poll until there is news for it: a larger published tree, or a task."""
    service = service_of(request)
    poll: Work = await from_node(service, await read_token(request), Work)
    await service.catch_up_past(poll.known - 1)  # it may have learnt of a larger tree from another process
    await service.caught_up.note(poll.from_, poll.caught_up, service.sequencer.size)

    def news() -> WorkAnswer | None:
        tasks = service.rounds.tasks(poll.from_, service.sequencer.size)
        if not tasks and service.sequencer.size <= poll.known:
            return None
        return _answer(service, poll, tasks)

    answer = await service.bell.until(news, poll.wait)
    return signed_answer(service, answer or _answer(service, poll, []))


def _answer(service: Service, poll: Work, tasks: list) -> WorkAnswer:  # type: ignore[type-arg]
    return WorkAnswer(
        from_=service.operator,
        log=service.store.state.log,
        nonce=poll.nonce,
        size=service.sequencer.size,
        tasks=tasks,
    )


@post("/v1/node/leaves", status_code=200)
async def leaves(request: ApiRequest) -> Response[str]:
    """Give a node its own leaves, and no one else's, of the grants in a range of indices."""
    service = service_of(request)
    wanted: LeavesWanted = await from_node(service, await read_token(request), LeavesWanted)
    if not 0 <= wanted.last - wanted.first < MAX_LEAVES:
        raise Malformed(f"A node asks for at most {MAX_LEAVES} places of the ledger at once.")
    await service.catch_up_past(wanted.last)
    positions = {
        bytes.fromhex(sha256): record.document.holders.index(wanted.from_) + 1
        for sha256, record in service.store.state.versions.items()
        if wanted.from_ in record.document.holders
    }
    query = (
        select(t.grants.c.index.label("place"), t.grants.c.policy_sha256, t.records.c.sealed)
        .join(t.records, t.records.c.index == t.grants.c.index)
        .where(t.grants.c.index.between(wanted.first, min(wanted.last, service.sequencer.size - 1)))
        .where(t.grants.c.policy_sha256.in_(list(positions)))
        .order_by(t.grants.c.index)
    )
    async with service.databases.reader.connect() as connection:
        rows = (await connection.execute(query)).all()
    keys = await service.keys.find(row.place for row in rows)
    held = [
        HeldLeaf(
            index=row.place,
            leaf=disclose(open_record(keys[row.place], bytes(row.sealed)), positions[bytes(row.policy_sha256)]),
        )
        for row in rows
        if row.place in keys  # erased since the rows were read, or lost
    ]
    answer = LeavesAnswer(from_=service.operator, log=service.store.state.log, nonce=wanted.nonce, leaves=held)
    return signed_answer(service, answer)


@post("/v1/node/countersign", status_code=200)
async def countersign(request: ApiRequest) -> Response[bytes]:
    """Take a node's countersignature of an ``admit``."""
    return json_answer({"closed_by": await service_of(request).rounds.take("countersign", await read_token(request))})


@post("/v1/node/share", status_code=200)
async def share(request: ApiRequest) -> Response[bytes]:
    """Take a node's noised share."""
    return json_answer({"closed_by": await service_of(request).rounds.take("share", await read_token(request))})


@post("/v1/node/word", status_code=200)
async def word(request: ApiRequest) -> Response[bytes]:
    """Take a node's word that no share left it."""
    return json_answer({"closed_by": await service_of(request).rounds.take("word", await read_token(request))})


routes = [work, leaves, countersign, share, word]
