"""For residents and their counters: enrolment, consents, revocations, and seeing one's own."""

from typing import Annotated

from litestar import Response, post
from litestar.params import HeaderParameter
from sqlalchemy import select

from ledger import jws
from ledger.errors import SignatureInvalid
from policies.consents.consent import General
from queries.rounds.messages import Mine, MyConsent
from trust.service.acts.enrol import EnrolmentRequest, EnrolmentRequests, enrol, refuse_lost
from trust.service.acts.grant import grant
from trust.service.acts.lost_device import replace_device
from trust.service.acts.revoke import RevokeRequest, revoke
from trust.service.database import tables as t
from trust.service.keys.records import open_record
from trust.service.routes.http import ApiRequest, json_answer, read_json, read_token, service_of
from trust.service.store.idempotency import check_key

IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key")]


@post("/v1/enrolments", status_code=200)
async def enrolments(request: ApiRequest) -> Response[bytes]:
    """Enrol residents whom an identity provider has attested; all or none."""
    wanted, _ = await read_json(request, EnrolmentRequests, "enrolment")
    return json_answer({"enrolled": await enrol(service_of(request).store, wanted.enrolments)})


@post("/v1/lost-devices", status_code=200)
async def lost_devices(request: ApiRequest) -> Response[bytes]:
    """Enrol the new device of a person whose old one is lost, and end everything that the old one agreed to."""
    wanted, _ = await read_json(request, EnrolmentRequest, "enrolment")
    service = service_of(request)
    return json_answer(await replace_device(service.store, wanted, service.operator, service.operator_signer))


@post("/v1/grants", status_code=200)
async def grants(request: ApiRequest, idempotency_key: IdempotencyKey = None) -> Response[bytes]:
    """Take signed consents in; answer with their ledger indices once a published checkpoint covers them."""
    service = service_of(request)
    indices = await grant(service.store, service.workers, await request.body(), check_key(idempotency_key))
    await service.sequencer.wait_for(max(indices) + 1, service.settings.service.receipt_wait_seconds)
    return json_answer({"indices": indices})


@post("/v1/revocations", status_code=200)
async def revocations(request: ApiRequest) -> Response[bytes]:
    """End one consent; answer at once with the index and the service's signed promise."""
    wanted, _ = await read_json(request, RevokeRequest, "revocation")
    service = service_of(request)
    revoked = await revoke(service.store, wanted, service.operator, service.operator_signer)
    return json_answer(revoked)


@post("/v1/residents/consents", status_code=200)
async def consents(request: ApiRequest) -> Response[bytes]:
    """Show a resident their own consents; the request is signed with the key at the service."""
    service = service_of(request)
    token = await read_token(request)
    claimed = jws.read_unverified(token, Mine)
    mine = jws.verify(token, bytes.fromhex(claimed.key), Mine)
    if mine.log != service.store.state.log:
        raise SignatureInvalid("The request was signed for another town's ledger.")
    enrolled = select(t.residents.c.id).where(t.residents.c.key == bytes.fromhex(mine.key))
    async with service.databases.reader.connect() as connection:
        if (await connection.execute(enrolled)).first() is None:
            await refuse_lost(connection, [bytes.fromhex(mine.key)])
            return json_answer([])  # anyone can make keys: theirs must not push others' nonces out of memory
    await service.nonces.check(mine.nonce, mine.at)
    query = (
        select(t.grants.c.index.label("place"), t.grants.c.ended_by, t.records.c.sealed)
        .join(t.residents, t.residents.c.id == t.grants.c.resident)
        .join(t.records, t.records.c.index == t.grants.c.index)
        .where(t.residents.c.key == bytes.fromhex(mine.key))
        .order_by(t.grants.c.index)
        .limit(1_000)
    )
    async with service.databases.reader.connect() as connection:
        rows = (await connection.execute(query)).all()
    keys = await service.keys.find(row.place for row in rows)
    found = []
    for row in rows:
        if row.place not in keys:  # erased since the rows were read, or lost
            continue
        bundle = open_record(keys[row.place], bytes(row.sealed))
        general = jws.read_unverified(bundle.leaves[0].body, General)
        found.append(
            MyConsent(
                index=row.place,
                consent=general.consent,
                policy=general.policy,
                version=general.version,
                policy_sha256=general.policy_sha256,
                until=general.until,
                cap=general.cap,
                holders=general.holders,
                ended_by=row.ended_by,
            )
        )
    return json_answer(found)


routes = [enrolments, lost_devices, grants, revocations, consents]
