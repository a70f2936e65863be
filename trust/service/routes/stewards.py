"""For stewards: what their quorum signed is handed in here; and the members as they stand."""

from litestar import Response, get, post

from trust.client import paths
from trust.client.wire import (
    ErasedRecords,
    LogKeyRequest,
    MemberRequest,
    OrderRequest,
    Placed,
    PolicyRequest,
    RulesRequest,
)
from trust.service.acts.change_rules import change_rules, rules_read
from trust.service.acts.erase import erase_ordered
from trust.service.acts.govern import change_log_key, publish_policy, register_member
from trust.service.routes.http import ApiRequest, json_answer, read_json, service_of


@post(paths.MEMBERS, status_code=200)
async def members(request: ApiRequest) -> Response[bytes]:
    """Register an organisation that the stewards' quorum signed."""
    wanted = await read_json(request, MemberRequest, "member")
    return json_answer(Placed(index=await register_member(service_of(request).store, wanted)))


@get(paths.MEMBERS, sync_to_thread=False)
def current_members(request: ApiRequest) -> Response[bytes]:
    """Give the members as they stand, by alias; the ledger has them too."""
    state = service_of(request).store.state
    return json_answer([body for _, body in sorted(state.members.items())])


@post(paths.POLICIES, status_code=200)
async def policies(request: ApiRequest) -> Response[bytes]:
    """Publish a policy version that the stewards' quorum signed."""
    wanted = await read_json(request, PolicyRequest, "policy")
    return json_answer(Placed(index=await publish_policy(service_of(request).store, wanted)))


@post(paths.LOG_KEYS, status_code=200)
async def next_log_key(request: ApiRequest) -> Response[bytes]:
    """Have the log sign with its next key, which the stewards' quorum signed, from the tree that holds the entry."""
    wanted = await read_json(request, LogKeyRequest, "log key")
    service = service_of(request)
    return json_answer(Placed(index=await change_log_key(service.store, wanted, service.log_signer)))


@post(paths.ORDERED_ERASURES, status_code=200)
async def ordered_erasures(request: ApiRequest) -> Response[bytes]:
    """Destroy the record of one consent by an authority's order that the stewards' quorum signed."""
    wanted = await read_json(request, OrderRequest, "order")
    return json_answer(ErasedRecords(erased=await erase_ordered(service_of(request).store, wanted)))


@post(paths.RULES, status_code=200)
async def next_rules(request: ApiRequest) -> Response[bytes]:
    """Have the entries to come judged by other rules, signed by the quorum, read by every holder's node."""
    wanted = await read_json(request, RulesRequest, "rules")
    return json_answer(Placed(index=await change_rules(service_of(request).store, wanted)))


@get(paths.RULES)
async def current_rules(request: ApiRequest) -> Response[bytes]:
    """Say by which rules the ledger goes, and up to which each holder's node reads them."""
    return json_answer(await rules_read(service_of(request).store))


routes = [members, current_members, policies, next_log_key, next_rules, current_rules, ordered_erasures]
