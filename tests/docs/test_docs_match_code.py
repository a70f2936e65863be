"""What the documentation says of names, codes, fields and paths is what the code has."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import pytest
from litestar import Litestar

from ledger import entries as e
from policies.consents.attestation import Attestation, Enrolment, Link
from policies.consents.consent import General, SubGrant
from policies.consents.revocation import Revocation
from policies.policy_document import Budget, Category, Limits, Measure, Policy, Range, Time, View
from queries.rounds.messages import Mine, Question
from tests.docs.docs_pages import PAGES, REPO, anchors, blocks, code_words, headings, links, name_of, table_rows
from tests.kit.commands import commands_of
from tests.kit.towns.running import lay_out
from trust.audit.report import AuditReport
from trust.cli import main
from trust.cli.demo.report import DemoReport
from trust.client.place import PlaceSettings
from trust.node.settings import NodeSettings
from trust.node.vital_signs import VitalSigns
from trust.runtime.problems import KINDS
from trust.service import metrics
from trust.service.app import create_app
from trust.service.pages.routes import page_routes
from trust.service.routes import health, log, nodes, partners, proofs, residents, stewards
from trust.service.service import Service
from trust.service.settings import ServiceSettings, load_settings
from trust.service.upkeep.fsck.report import FsckReport

DOCS = REPO / "docs"
REFERENCE = DOCS / "reference"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_heading_that_are_there(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_is_on_the_map() -> None:
    linked = {(DOCS / link).resolve() for link in links(DOCS / "README.md")}
    pages = {page for page in DOCS.rglob("*.md") if page != DOCS / "README.md"}
    assert {name_of(page) for page in pages - linked} == set()


def test_decisions_are_short_and_say_context_decision_and_consequences() -> None:
    pages = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert [text for level, text in headings(page) if level == 2] == ["Context", "Decision", "Consequences"]
        assert len(page.read_text("utf-8").splitlines()) < 40


def test_the_japanese_readme_has_the_same_shape_and_commands_as_the_english_one() -> None:
    english, japanese = REPO / "README.md", REPO / "README.ja.md"
    assert [level for level, _ in headings(japanese)] == [level for level, _ in headings(english)]
    assert [(b.language, b.text) for b in blocks(japanese)] == [(b.language, b.text) for b in blocks(english)]
    theirs = [link.replace(".ja.", ".") for link in links(japanese)]
    assert sorted(set(theirs) - {"README.md"}) == sorted(set(links(english)) - {"README.ja.md"})


def test_each_picture_of_the_flow_tells_what_it_shows() -> None:
    for name in ("flow.svg", "flow.ja.svg"):
        text = (DOCS / "pictures" / name).read_text("utf-8")
        assert 'role="img"' in text
        assert re.search(r"<title[^>]*>[^<]{10,}</title>", text)
        assert re.search(r"<desc[^>]*>[^<]{50,}</desc>", text)


def test_the_table_of_exit_codes_is_the_codes_own() -> None:
    rows = table_rows(REFERENCE / "command-line.md", "Exit codes")
    written = {code_words(row[1])[0]: (int(row[2]), int(row[0])) for row in rows if row[1]}
    assert written == {error.code: (kind.status, kind.exit_code) for error, kind in KINDS.items()}


def _commands(command: click.Command, name: str) -> list[str]:
    if isinstance(command, click.Group):
        return [found for sub in commands_of(command).values() for found in _commands(sub, f"{name} {sub.name}")]
    return [name]


def test_every_command_is_in_the_table_of_commands() -> None:
    rows = table_rows(REFERENCE / "command-line.md", "Commands")
    written = [code_words(row[0])[0] for row in rows]
    for command in _commands(main, "musubi"):
        assert any(line == command or line.startswith(f"{command} ") for line in written), command
    assert len(written) == len(_commands(main, "musubi"))


def test_every_option_in_the_table_is_an_option_of_its_commands() -> None:
    options: dict[str, set[str]] = {}

    def walk(command: click.Command, name: str) -> None:
        options[name] = {opt for parameter in command.params for opt in parameter.opts}
        for sub in commands_of(command).values() if isinstance(command, click.Group) else ():
            walk(sub, f"{name} {sub.name}".strip())

    walk(main, "")
    for_machines = set()
    for row in table_rows(REFERENCE / "command-line.md", "Options worth knowing"):
        option = code_words(row[0])[0].split()[0]
        for command in code_words(row[1]):
            assert option in options[command], (option, command)
        for_machines |= set(code_words(row[1])) if option == "--json" else set()
    assert for_machines == {command for command, own in options.items() if "--json" in own}


def test_every_make_target_is_in_the_table_of_targets() -> None:
    makefile = (REPO / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    written = {code_words(row[0])[0].split()[1] for row in table_rows(REFERENCE / "command-line.md", "Make targets")}
    assert targets - {"help", "lint"} <= written <= targets


async def _no_page() -> Any:
    raise NotImplementedError


def _paths_of(handlers: Sequence[Any]) -> set[tuple[str, str]]:
    """Return method and path of some handlers, as the HTTP page writes them."""
    routes = Litestar(list(handlers), openapi_config=None).routes
    pairs = {(method, route.path) for route in routes for method in getattr(route, "methods", ())}
    return {(method, re.sub(r":\w+}", "}", path)) for method, path in pairs if method != "OPTIONS"}


def _paths_on_page(heading: str) -> set[tuple[str, str]]:
    """Return method and path of the rows under a heading of the HTTP page; a tile's two forms are one path."""
    rows = table_rows(REFERENCE / "http-interface.md", heading)
    pairs = (code_words(row[0])[0].split() for row in rows)
    return {(method, re.sub("^/log/tile/.*", "/log/tile/{path}", path)) for method, path in pairs}


AUDIENCES: dict[str, list[Any]] = {
    "The log: static files in all but name": log.routes,
    "Proofs for anyone": proofs.routes,
    "For residents and counters": residents.routes,
    "For partners": partners.routes,
    "For stewards": stewards.routes,
    "For nodes": nodes.routes,
    "Pages for everybody": [page_routes(_no_page)],
    "For operators: health": health.routes,
}


@pytest.mark.parametrize("heading", AUDIENCES)
def test_each_file_of_routes_has_exactly_the_paths_under_its_heading(heading: str) -> None:
    code = {(method, path) for method, path in _paths_of(AUDIENCES[heading]) if not path.startswith("/static/")}
    assert _paths_on_page(heading) == code


def test_every_table_of_paths_is_an_audiences_and_the_service_has_no_other_path(tmp_path: Path) -> None:
    page = REFERENCE / "http-interface.md"
    assert {heading for _, heading in headings(page)[1:] if table_rows(page, heading)} == set(AUDIENCES)
    served = _paths_of([route for routes in AUDIENCES.values() for route in routes])
    app = create_app(Service(load_settings(lay_out(tmp_path).service)))
    found = {(method, route.path) for route in app.routes for method in getattr(route, "methods", ())}
    assert served == {
        (method, re.sub(r":\w+}", "}", path))
        for method, path in found
        if method != "OPTIONS" and not path.startswith("/openapi")
    }
    tiles = [row for row in table_rows(page, "The log: static files in all but name") if "/log/tile/" in row[0]]
    assert len(tiles) == 2


def test_the_table_of_metrics_is_the_registrys_own() -> None:
    written = {code_words(row[0])[0] for row in table_rows(REFERENCE / "metrics.md", "Metrics and health")}
    assert written == {metric.name for metric in metrics.registry.collect()}


def test_the_table_of_a_nodes_metrics_is_its_registrys_own(tmp_path: Path) -> None:
    settings = NodeSettings(alias="bus_co", service="http://127.0.0.1:8700", sources={})
    signs = VitalSigns(settings, tmp_path, lambda: 0, lambda: 0.0)
    written = {code_words(row[0])[0] for row in table_rows(REFERENCE / "metrics.md", "A node's metrics")}
    assert written == {metric.name for metric in signs.registry.collect()}


def test_the_table_of_entry_kinds_has_every_kind_and_field() -> None:
    written = {
        code_words(row[0])[0]: set(code_words(row[2])) for row in table_rows(REFERENCE / "ledger-entries.md", "Kinds")
    }
    kinds = {str(kind.__struct_config__.tag): kind for kind in get_args(e.AnyEntry)}
    assert written == {tag: set(kind.__struct_encode_fields__) - {"v", "at"} for tag, kind in kinds.items()}


@pytest.mark.parametrize(
    ("heading", "kinds"),
    [
        ("Top level", [Policy]),
        ("`[budget]`", [Budget]),
        ("`[[views]]`", [View]),
    ],
)
def test_the_policy_page_names_every_field(heading: str, kinds: list[type[msgspec.Struct]]) -> None:
    rows = table_rows(REFERENCE / "policy-document.md", heading)
    written = {word for row in rows for word in code_words(row[0])}
    assert written == {field for kind in kinds for field in kind.__struct_encode_fields__} - {"v"}


def test_the_policy_page_names_every_field_of_columns_and_limits() -> None:
    rows = table_rows(REFERENCE / "policy-document.md", "`[[views.columns]]`")
    written = {code_words(row[0])[0]: set(code_words(row[1])) for row in rows}
    kinds = {str(kind.__struct_config__.tag): kind for kind in (Category, Range, Measure, Time)}
    assert written == {tag: set(kind.__struct_fields__) for tag, kind in kinds.items()}
    text = (REFERENCE / "policy-document.md").read_text("utf-8")
    assert all(f"`{field}`" in text for field in Limits.__struct_fields__)


@pytest.mark.parametrize(
    ("heading", "kind"), [("service.toml", ServiceSettings), ("node.toml", NodeSettings), ("place.toml", PlaceSettings)]
)
def test_the_settings_page_names_every_setting(heading: str, kind: type[msgspec.Struct]) -> None:
    rows = table_rows(REFERENCE / "settings-files.md", heading)
    written = {word.strip("[]") for row in rows for word in code_words(row[0]) if not word.endswith(".key")}
    assert written == set(kind.__struct_fields__)


def test_the_settings_page_shows_the_services_own_defaults() -> None:
    block = next(b for b in blocks(REFERENCE / "settings-files.md") if b.file == "service.toml")
    shown = msgspec.toml.decode(block.text.encode(), type=ServiceSettings)
    assert shown == ServiceSettings(origin=shown.origin)


def test_the_reports_page_names_every_field() -> None:
    page = REFERENCE / "reports.md"
    kinds = (("The demo's report", DemoReport), ("The audit report", AuditReport), ("The fsck report", FsckReport))
    for heading, kind in kinds:
        written = {word for row in table_rows(page, heading) for word in code_words(row[0])}
        assert written - {"is_whole"} == set(kind.__struct_fields__)


def test_the_tests_that_the_promises_name_are_there() -> None:
    text = (DOCS / "explanation" / "promises.md").read_text("utf-8")
    named = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", text)
    assert len(named) >= 14
    for test, link in named:
        source = (DOCS / "explanation" / link).resolve().read_text("utf-8")
        assert re.search(rf"^\s*(?:async )?def {test}\(|^{test} = |^class {test}\b", source, re.MULTILINE), test


def test_the_documentation_names_no_file_that_git_does_not_have() -> None:
    """Paths in prose such as ``queries/question/sensitivity.py`` are in the repository."""
    known = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout.split()
    for page in PAGES:
        for word in code_words(page.read_text("utf-8")):
            if re.fullmatch(r"(ledger|policies|queries|trust|tests|towns)/[\w./]+\.(py|toml|md)", word):
                assert word in known, (name_of(page), word)


MESSAGES: dict[str, type[msgspec.Struct]] = {
    "Attestation": Attestation,
    "Enrolment": Enrolment,
    "Link": Link,
    "The general part": General,
    "A holder's part": SubGrant,
    "Revocation": Revocation,
    "Mine": Mine,
    "Question": Question,
}


@pytest.mark.parametrize("heading", MESSAGES)
def test_a_message_is_documented_field_by_field(heading: str) -> None:
    rows = table_rows(DOCS / "how-to" / "write-a-client.md", heading)
    fields = msgspec.structs.fields(MESSAGES[heading])
    assert [code_words(row[0]) for row in rows] == [[each.encode_name] for each in fields]
    general = {
        name
        for row in table_rows(DOCS / "how-to" / "write-a-client.md", "The general part")
        for name in code_words(row[0])
    }
    for row, field in zip(rows, fields, strict=True):
        as_there = row[1] == "as in the general part"
        assert field.encode_name in general or not as_there
        may_lack = field.default is msgspec.UNSET and field.name != "shown_at"  # left out under rules number 1 alone
        assert may_lack == ("may be left out" in row[1]) or as_there
