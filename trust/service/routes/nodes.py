"""For the holders' nodes. Nodes call, the service only answers: a firm opens no port."""

from litestar import Response, post
from msgspec import UNSET

from ledger.errors import Malformed
from queries.rounds.messages import LeavesAnswer, LeavesWanted, Task, Work, WorkAnswer
from trust.client import paths
from trust.client.paths import Step
from trust.client.wire import ErasedWords, StepTaken, WordsTaken
from trust.service.acts.change_rules import take_rules_word
from trust.service.acts.erased_words import take_erased_words
from trust.service.rounds.leaves import MAX_LEAVES, leaves_of
from trust.service.rounds.readiness import note_ready
from trust.service.routes.http import (
    ApiRequest,
    from_node,
    json_answer,
    read_json,
    read_token,
    service_of,
    signed_answer,
)
from trust.service.service import Service


@post(paths.WORK, status_code=200)
async def work(request: ApiRequest) -> Response[str]:
    """Hold a node's poll until there is news for it: a larger published tree, or a task."""
    service = service_of(request)
    poll: Work = await from_node(service, await read_token(request), Work)
    await service.catch_up_past(poll.known - 1)  # it may have learnt of a larger tree from another process
    await service.caught_up.note(poll.from_, poll.caught_up, service.published())
    if poll.not_ready is not UNSET:
        await note_ready(service.store, poll.from_, sorted(set(poll.not_ready)))

    def news() -> WorkAnswer | None:
        tasks = service.rounds.tasks(poll.from_, service.sequencer.size)
        if not tasks and service.sequencer.size <= poll.known:
            return None
        return _answer(service, poll, tasks)

    answer = await service.bell.until(news, poll.wait)
    return signed_answer(service, answer or _answer(service, poll, []))


def _answer(service: Service, poll: Work, tasks: list[Task]) -> WorkAnswer:
    return WorkAnswer(
        from_=service.operator,
        log=service.store.state.log,
        nonce=poll.nonce,
        size=service.sequencer.size,
        tasks=tasks,
    )


@post(paths.LEAVES, status_code=200)
async def leaves(request: ApiRequest) -> Response[str]:
    """Give a node its own leaves, and no one else's, of the grants in a range of indices."""
    service = service_of(request)
    wanted: LeavesWanted = await from_node(service, await read_token(request), LeavesWanted)
    if not 0 <= wanted.last - wanted.first < MAX_LEAVES:
        raise Malformed(f"A node asks for at most {MAX_LEAVES} places of the ledger at once.")
    await service.catch_up_past(wanted.last)
    last = min(wanted.last, service.published() - 1)
    held = await leaves_of(service.store, wanted.from_, wanted.first, last)
    answer = LeavesAnswer(from_=service.operator, log=service.store.state.log, nonce=wanted.nonce, leaves=held)
    return signed_answer(service, answer)


async def _take(request: ApiRequest, step: Step) -> Response[bytes]:
    closed_by = await service_of(request).rounds.take(step, await read_token(request))
    return json_answer(StepTaken(closed_by=closed_by))


@post(paths.node_step("countersign"), status_code=200)
async def countersign(request: ApiRequest) -> Response[bytes]:
    """Take a node's countersignature of an ``admit``."""
    return await _take(request, "countersign")


@post(paths.node_step("share"), status_code=200)
async def share(request: ApiRequest) -> Response[bytes]:
    """Take a node's noised share."""
    return await _take(request, "share")


@post(paths.node_step("word"), status_code=200)
async def word(request: ApiRequest) -> Response[bytes]:
    """Take a node's word that no share left it."""
    return await _take(request, "word")


@post(paths.ERASED_WORDS, status_code=200)
async def erased_words(request: ApiRequest) -> Response[bytes]:
    """Take a node's signed words that erased consents are gone from it. Saying the same again is fine."""
    wanted = await read_json(request, ErasedWords, "list of words")
    return json_answer(WordsTaken(new=await take_erased_words(service_of(request).store, wanted.words)))


@post(paths.RULES_WORD, status_code=204)
async def rules_word(request: ApiRequest) -> None:
    """Take a node's signed word on up to which number it reads the rules."""
    await take_rules_word(service_of(request).store, await read_token(request))


routes = [work, leaves, countersign, share, word, erased_words, rules_word]
