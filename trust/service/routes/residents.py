"""For residents and their counters: enrolment, consents, revocations, seeing one's own, having records destroyed."""

from typing import Annotated

from litestar import Response, post
from litestar.params import HeaderParameter

from trust.client import paths
from trust.client.wire import (
    Enrolled,
    EnrolmentRequest,
    EnrolmentRequests,
    ErasedRecords,
    Forgotten,
    RevokeRequest,
)
from trust.service.acts.enrol import enrol
from trust.service.acts.erase import erase_own, farewell
from trust.service.acts.grant import grant
from trust.service.acts.lost_device import replace_device
from trust.service.acts.own_consents import own_consents
from trust.service.acts.revoke import revoke
from trust.service.acts.stops.attested import stop
from trust.service.acts.stops.stop_limits import StopLimits
from trust.service.routes.http import ApiRequest, json_answer, read_json, read_token, service_of
from trust.service.store.idempotency import check_key

IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key")]


@post(paths.ENROLMENTS, status_code=200)
async def enrolments(request: ApiRequest) -> Response[bytes]:
    """Enrol residents whom an identity provider has attested; all or none."""
    wanted = await read_json(request, EnrolmentRequests, "enrolment")
    return json_answer(Enrolled(enrolled=await enrol(service_of(request).store, wanted.enrolments)))


@post(paths.LOST_DEVICES, status_code=200)
async def lost_devices(request: ApiRequest) -> Response[bytes]:
    """Enrol the new device of a person whose old one is lost, and end everything that the old one agreed to."""
    wanted = await read_json(request, EnrolmentRequest, "enrolment")
    service = service_of(request)
    return json_answer(await replace_device(service.store, wanted, service.operator, service.operator_signer))


@post(paths.GRANTS, status_code=200)
async def grants(request: ApiRequest, idempotency_key: IdempotencyKey = None) -> Response[bytes]:
    """Take signed consents in; answer with their ledger indices once a published checkpoint covers them.

    One that replaces others comes alone, with their revocations; the answer has the promises for these, too.
    """
    service = service_of(request)
    granted = await grant(
        service.store,
        service.workers,
        await request.body(),
        check_key(idempotency_key),
        service.operator,
        service.operator_signer,
    )
    await service.wait_published(max(granted.indices))
    return json_answer(granted)


@post(paths.REVOCATIONS, status_code=200)
async def revocations(request: ApiRequest) -> Response[bytes]:
    """End one consent; answer at once with the index and the service's signed promise."""
    wanted = await read_json(request, RevokeRequest, "revocation")
    service = service_of(request)
    return json_answer(await revoke(service.store, wanted, service.operator, service.operator_signer))


@post(paths.STOPS, status_code=200)
async def stops(request: ApiRequest) -> Response[bytes]:
    """End one consent by the signed word of the identity provider that knows the resident; answers as a revocation."""
    service = service_of(request)
    token = await read_token(request)
    options = service.settings.service
    limits = StopLimits(per_hour=options.max_stops_per_hour, per_person_a_day=options.max_stops_per_person_a_day)
    return json_answer(await stop(service.store, token, limits, service.operator, service.operator_signer))


@post(paths.OWN_CONSENTS, status_code=200)
async def consents(request: ApiRequest) -> Response[bytes]:
    """Show a resident their own consents; the request is signed with the key at the service."""
    service = service_of(request)
    token = await read_token(request)
    return json_answer(await own_consents(service.store, service.nonces, token, service.accounts))


@post(paths.ERASURES, status_code=200)
async def erasures(request: ApiRequest) -> Response[bytes]:
    """Destroy the record of one consent: the body is signed with the resident's key at the service.

    Answers, once the record's key is gone, with each erased index and its ``erase`` entry.
    """
    erased = await erase_own(service_of(request).store, await read_token(request))
    return json_answer(ErasedRecords(erased=erased))


@post(paths.FAREWELL, status_code=200)
async def farewells(request: ApiRequest) -> Response[bytes]:
    """Forget an enrolment, once all its consents are erased; the request is signed with the key at the service."""
    service = service_of(request)
    await farewell(service.store, service.nonces, await read_token(request))
    return json_answer(Forgotten(forgotten=True))


routes = [enrolments, lost_devices, grants, revocations, stops, consents, erasures, farewells]
