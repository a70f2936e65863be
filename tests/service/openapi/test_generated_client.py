"""A client that somebody else's generator makes from the document is whole, and does the main acts in a town."""

import importlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from ledger import canonical, jws
from policies.policy_document import document_sha256
from tests.docs.docs_pages import REPO, blocks
from tests.kit.towns.running import (
    Resident,
    Running,
    Town,
    lay_out,
    payload_of,
    query,
    question,
    run,
)
from tests.kit.towns.toy_town import HOLDERS, MOBILITY

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
PAGE = REPO / "docs" / "reference" / "http-interface.md"
(MADE_BY,) = [block.text for block in blocks(PAGE) if "openapi-python-client" in block.text]
CONFIG = MADE_BY.partition("<<'END'\n")[2].partition("END\n")[0]
NAME = "generated_musubi"


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return lay_out(tmp_path / "town")


@pytest.fixture
async def running(town: Town) -> AsyncIterator[Running]:
    async with run(town) as running:
        await running.found()
        yield running


@pytest.fixture
async def client(running: Running, tmp_path: Path) -> AsyncIterator[Any]:
    """The package of a fresh client, whose requests go to the running service."""
    (tmp_path / "config.yml").write_text(CONFIG)
    (tmp_path / "openapi.json").write_bytes((await running.client.get("/openapi/openapi.json")).content)
    program = str(Path(sys.executable).parent / "openapi-python-client")
    where = ["--path", "openapi.json", "--config", "config.yml", "--output-path", NAME, "--meta", "none"]
    done = await anyio.run_process([program, "generate", *where], cwd=tmp_path, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    assert "WARNING" not in said
    sys.path.insert(0, str(tmp_path))
    try:
        yield importlib.import_module(NAME)
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]


def operations(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation with the name of the module that is made for it."""
    document = json.loads((folder / "openapi.json").read_text())
    for by_method in document["paths"].values():
        for operation in by_method.values():
            yield f"{NAME}.api.{operation['tags'][0]}.{operation['operationId']}", operation


def sent_by_httpx(value: Any) -> bytes:
    return httpx.Request("POST", "http://service", json=value).content


async def test_every_operation_has_a_module_whose_json_is_canonical_as_it_is_sent(client: Any, tmp_path: Path) -> None:
    found = list(operations(tmp_path))
    assert len(found) > 40
    models = importlib.import_module(f"{NAME}.models")
    bodies = 0
    for name, operation in found:
        importlib.import_module(name)
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None:
            model = getattr(models, content["schema"]["$ref"].rpartition("/")[2])
            made = model.from_dict(content["example"])
            assert sent_by_httpx(made.to_dict()) == canonical.encode(content["example"]), name
            bodies += 1
    assert bodies > 8


async def test_a_generated_client_enrols_grants_looks_asks_and_stops(client: Any, running: Running, town: Town) -> None:
    api, models, types = (importlib.import_module(f"{NAME}.{part}") for part in ("api", "models", "types"))
    at = client.Client("http://service").set_async_httpx_client(running.client)

    async def call(name: str, **how: Any) -> Any:
        module = importlib.import_module(f"{api.__name__}.{name}")
        answer = await module.asyncio_detailed(client=at, **how)
        assert answer.status_code < 300, answer.content
        return answer.parsed

    def token(text: str) -> Any:
        return types.File(payload=text.encode())

    (published,) = [each for each in await call("log.current_policies") if each.policy.id == MOBILITY.id]
    assert published.sha256 == document_sha256(MOBILITY)
    aki = Resident()
    enrolments = models.EnrolmentRequests.from_dict({"enrolments": [aki.enrolment(town)]})
    assert (await call("residents.enrolments", body=enrolments)).enrolled == 1
    bundle = aki.consent()
    as_json = json.loads(canonical.encode({"bundles": [bundle]}))
    (grant,) = (await call("residents.grants", body=models.GrantRequest.from_dict(as_json))).indices
    (mine,) = await call("residents.consents", body=token(jws.sign(aki.mine(), aki.key)))
    assert mine.index == grant
    offer = await call("partners.previews", body=token(question(town, query())))
    assert payload_of(offer.decode())["charge"] > 0
    admitted = await call("partners.questions", body=token(question(town, query())))
    admit = payload_of(admitted.decode())["admit"]
    assert (await call("partners.watch", admit=admit, wait=0)).to_dict()
    revocation = json.loads(canonical.encode(aki.revocation(bundle, grant)))
    stopped = await call("residents.revocations", body=models.RevokeRequest.from_dict(revocation))
    assert stopped.index > grant


async def test_a_generated_client_reads_each_problem_as_the_one_that_it_is(
    client: Any, running: Running, town: Town
) -> None:
    types = importlib.import_module(f"{NAME}.types")
    questions = importlib.import_module(f"{NAME}.api.partners.questions")
    at = client.Client("http://service").set_async_httpx_client(running.client)
    stranger = Resident()
    for asked, problem in [
        (question(town, query(), now=1_700_000_000), "ProblemClockSkew"),
        (question(town, query(), key=stranger.key), "ProblemSignatureInvalid"),
        (question(town, query(version=9)), "ProblemPolicyNotCurrent"),
        (question(town, query(), by=HOLDERS[0]), "ProblemNotPermitted"),
        (question(town, query(group_by=["shoe"])), "ProblemQueryInvalid"),
        ("no token", "ProblemMalformed"),
    ]:
        answer = await questions.asyncio_detailed(client=at, body=types.File(payload=asked.encode()))
        assert type(answer.parsed).__name__ == problem, answer.content
