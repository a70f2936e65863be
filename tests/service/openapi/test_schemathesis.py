"""The service, a real process, held against its own description by schemathesis, by data of it and by broken data."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.docs_pages import REPO
from tests.kit.amounts import LONG, amount
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import process_of
from tests.kit.towns.running import Resident, lay_out, query, question
from tests.service.openapi.signing_hooks import COUNTS, SEED, write_opened
from trust.service.routes.openapi.document import template_of
from trust.service.routes.openapi.operations import OPERATIONS

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
PHASES = "examples,coverage,fuzzing" if LONG else "examples,fuzzing"
"""What the limits of each schema give is thousands of requests, for once in a while."""
EXAMPLES = amount(1, 120)
"""How many cases of each kind are drawn for each operation, besides those that the schemas' limits give."""


async def test_the_service_is_as_it_describes_itself(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    witness_port, port = free_port(), free_port()
    town = lay_out(
        tmp_path / "town",
        witness_url=f"http://127.0.0.1:{witness_port}",
        requests_per_minute=10_000_000,
        max_refusals_per_day=10_000,
    )
    async with process_of(town, port, witness_port) as service:
        await service.start()
        await service.found()
        aki = Resident(seed=SEED)
        await service.enrol(aki)
        await service.grant(aki.consent())
        await service.ask(question(town, query()))
        write_opened((await service.client.get("/openapi/openapi.json")).json(), tmp_path / "openapi.json")
        done = attack(tmp_path, port)
        (tmp_path / "said.txt").write_text(done.stdout + done.stderr)
        assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:] + f"all of it: {tmp_path / 'said.txt'}"
        sent = [json.loads(line) for line in (tmp_path / "counts.jsonl").read_text().splitlines()]
        operations = set(OPERATIONS)
        assert {each["operation"] for each in sent} == {f"{method} {template_of(path)}" for method, path in operations}
        by_status = Counter(each["status"] for each in sent)
        record_property("requests by status", {"all": len(sent), **dict(sorted(by_status.items()))})
        assert 500 not in by_status
        assert (await service.client.get("/readyz")).is_success


CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 409, 413, 422]
"""
"""What is not of its schema may be too large, or say of another thing what is not so."""


def attack(folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Run schemathesis against the service."""
    (folder / "schemathesis.toml").write_text(CONFIG)
    arguments = [
        "--config-file",
        str(folder / "schemathesis.toml"),
        "run",
        str(folder / "openapi.json"),
        "--url",
        f"http://127.0.0.1:{port}",
        "--no-color",
    ]
    arguments += ["--phases", PHASES, "--mode", "all", "--max-examples", str(EXAMPLES)]
    arguments += ["--seed", "1", "--generation-deterministic", "--no-shrink"]
    arguments += ["--checks", "all", "--exclude-checks", "positive_data_acceptance,ignored_auth,use_after_free"]
    arguments += ["--continue-on-failure", "--warnings", "off", "--workers", "1"]
    return subprocess.run(
        [str(Path(sys.executable).parent / "schemathesis"), *arguments],
        cwd=REPO,
        env={
            **os.environ,
            COUNTS: str(folder / "counts.jsonl"),
            "SCHEMATHESIS_HOOKS": "tests.service.openapi.signing_hooks",
            "PYTHONPATH": str(REPO),
        },
        capture_output=True,
        text=True,
        check=False,
    )
