"""Destroying records, by their residents, by the stewards' order, and what holders' nodes say of it afterwards."""

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from msgspec import Meta, Struct
from sqlalchemy import select

from ledger import jws
from ledger.entries import Token
from ledger.errors import NotFound, SignatureInvalid
from policies.consents.erasure import Farewell
from trust.service.acts.erase import OrderRequest, erase_ordered, erase_own, farewell, take_erased_words
from trust.service.database import tables as t
from trust.service.routes.http import ApiRequest, json_answer, read_json, read_token, service_of

MAX_WORDS = 256


class ErasedWords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several words of one node, each signed by itself."""

    words: Annotated[list[Token], Meta(min_length=1, max_length=MAX_WORDS)]


@post("/v1/erasures", status_code=200)
async def erasures(request: ApiRequest) -> Response[bytes]:
    """Destroy the record of one consent: the body is signed with the resident's key at the service.

    Answers, once the record's key is gone, with each erased index and its ``erase`` entry.
    """
    return json_answer({"erased": await erase_own(service_of(request).store, await read_token(request))})


@post("/v1/erasures/ordered", status_code=200)
async def ordered_erasures(request: ApiRequest) -> Response[bytes]:
    """Destroy the record of one consent by an authority's order that the stewards' quorum signed."""
    wanted, _ = await read_json(request, OrderRequest, "order")
    return json_answer({"erased": await erase_ordered(service_of(request).store, wanted)})


@get("/v1/erasures/{index:int}")
async def erasure(request: ApiRequest, index: FromPath[int]) -> Response[bytes]:
    """Say which entry erased a consent's record, and give each holder's signed word; null where a node is still to say it.

    For an erasure that an authority ordered, the stewards' approvals are there too.
    """
    service = service_of(request)
    query = (
        select(t.erasures.c.entry, t.erasures.c.approvals, t.grants.c.policy_sha256)
        .join(t.grants, t.grants.c.index == t.erasures.c.index)
        .where(t.erasures.c.index == index)
    )
    words = select(t.erased_words.c.holder, t.erased_words.c.token).where(t.erased_words.c.index == index)
    async with service.databases.reader.connect() as connection:
        row = (await connection.execute(query)).first() if 0 <= index < service.store.size else None
        if row is None:
            raise NotFound("No consent at that place of the ledger was erased.")
        said = {each.holder: each.token for each in await connection.execute(words)}
    holders = service.store.state.versions[bytes(row.policy_sha256).hex()].document.holders
    return json_answer(
        {
            "index": index,
            "entry": row.entry,
            "holders": {holder: said.get(holder) for holder in holders},
            "approvals": msgspec.json.decode(row.approvals) if row.approvals else [],
        }
    )


@post("/v1/residents/farewell", status_code=200)
async def farewells(request: ApiRequest) -> Response[bytes]:
    """Forget an enrolment, once all its consents are erased; the request is signed with the key at the service."""
    service = service_of(request)
    token = await read_token(request)
    claimed = jws.read_unverified(token, Farewell, "farewell")
    said = jws.verify(token, bytes.fromhex(claimed.key), Farewell, "farewell")
    if said.log != service.store.state.log:
        raise SignatureInvalid("The request was signed for another town's ledger.")
    async with service.databases.reader.connect() as connection:
        enrolled = select(t.residents.c.id).where(t.residents.c.key == bytes.fromhex(said.key))
        if (await connection.execute(enrolled)).first() is None:
            raise NotFound("No resident is enrolled with this key.")
    await service.nonces.check(said.nonce, said.at)
    await farewell(service.store, said)
    return json_answer({"forgotten": True})


@post("/v1/node/erased", status_code=200)
async def erased_words(request: ApiRequest) -> Response[bytes]:
    """Take a node's signed words that erased consents are gone from it. Saying the same again is fine."""
    wanted, _ = await read_json(request, ErasedWords, "list of words")
    return json_answer({"new": await take_erased_words(service_of(request).store, wanted.words)})


routes = [erasures, ordered_erasures, erasure, farewells, erased_words]
