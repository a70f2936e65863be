"""What the recipes of docs/contributing.md ask for is not forgotten: what is listed twice is listed alike."""

import ast
import asyncio
import re
from pathlib import Path
from typing import get_args

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from ledger import entries as e
from queries.question.measures import MEASURES, measure_of
from tests.docs.docs_pages import REPO, table_rows
from tests.kit.questions import ALL_MEASURES, make_policy, plan_of
from trust.node.data import compute
from trust.service.database import tables as t
from trust.service.database.engine import Databases

QUESTIONS = REPO / "docs" / "reference" / "question-language.md"
KINDS = {kind.__name__: str(kind.__struct_config__.tag) for kind in get_args(e.AnyEntry)}


def test_every_measure_is_played_in_the_tests_and_is_on_its_page() -> None:
    assert {type(measure_of(asked)) for asked in ALL_MEASURES} == set(MEASURES)
    rows = " ".join(row[0] for row in table_rows(QUESTIONS, "SQL"))
    assert [kind.function for kind in MEASURES if f"`{kind.function}(" not in rows] == []


def test_every_primitive_is_computed_by_the_node() -> None:
    plan = plan_of(make_policy(), *ALL_MEASURES)
    assert {primitive.kind for primitive in plan.primitives if not primitive.edges} == set(compute._TOTALS)


def test_every_kind_of_entry_is_applied_by_the_replay() -> None:
    module = ast.parse((REPO / "policies" / "replay.py").read_text("utf-8"))
    step = next(node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "step")
    patterns = [node.cls for node in ast.walk(step) if isinstance(node, ast.MatchClass)]
    assert {pattern.attr for pattern in patterns if isinstance(pattern, ast.Attribute)} == set(KINDS)


def test_the_page_that_checks_receipts_has_words_for_every_kind_of_entry() -> None:
    module = (REPO / "trust" / "pages" / "verify" / "examination.js").read_text("utf-8")
    words = re.search(r"^const ENTRY_WORDS = .*?^\}\);$", module, re.MULTILINE | re.DOTALL)
    assert words is not None
    assert set(re.findall(r'^  "?([a-z-]+)"?: N_\(', words[0], re.MULTILINE)) == set(KINDS.values())


def test_the_migrations_make_exactly_the_tables_that_the_code_has(tmp_path: Path) -> None:
    path = tmp_path / "service.sqlite"

    async def migrate() -> None:
        databases = Databases(f"sqlite+aiosqlite:///{path}")
        await databases.migrate()
        await databases.close()

    asyncio.run(migrate())
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, t.metadata) == []
    engine.dispose()
