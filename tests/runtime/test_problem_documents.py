"""Every error is exactly one problem and one exit code, and what a client meets is what the service met."""

import ast
import importlib
import pkgutil
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ledger
from ledger import errors
from ledger.errors import FINDINGS, BudgetExceeded, Hearsay, MusubiError, Told
from ledger.notes.witness_protocol import WitnessRefusal
from trust.runtime.problems import KINDS, PROBLEM_TYPE, error_of, kind_of, problem, told

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, MusubiError)]
LEAVES = [cls for cls in CLASSES if cls not in {MusubiError, Told}]
ROOT = Path(ledger.__file__).parents[1]


def make(cls: type[MusubiError]) -> MusubiError:
    """Return an error of a class, with details where it takes any."""
    if cls is BudgetExceeded:
        return BudgetExceeded("policy/mobility/life", 7, 3)
    return cls("Do this instead.", index=4, rule="some-rule", names=["a", "b"])


def test_every_error_class_has_exactly_one_problem_and_one_exit_code() -> None:
    """No class is missing, none is there twice, and no two share a code or an exit code."""
    assert set(KINDS) == set(LEAVES)
    assert len({cls.code for cls in LEAVES}) == len(LEAVES)
    exits = [kind.exit_code for kind in KINDS.values()]
    assert len(set(exits)) == len(exits)
    assert len({kind.title for kind in KINDS.values()}) == len(KINDS)
    assert all(10 <= code < 126 for code in exits)  # 0, 1, 2 and a shell's own are taken


def below(cls: type[MusubiError]) -> set[type[MusubiError]]:
    """Return all classes below a class."""
    return {cls for child in cls.__subclasses__() for cls in {child} | below(child)}


def test_an_error_that_specialises_one_of_the_tree_is_of_its_kind_alone() -> None:
    """Over every module of the product: one ancestor with a kind, and the same code."""
    for room in ("ledger", "policies", "queries", "trust"):
        for module in pkgutil.walk_packages([str(ROOT / room)], f"{room}."):
            if "__main__" not in module.name and "migrations" not in module.name:
                importlib.import_module(module.name)
    named = {WitnessRefusal, Told, *LEAVES}  # WitnessRefusal is only ever raised as one of its own children
    for cls in below(MusubiError) - named:
        kinds = [ancestor for ancestor in cls.__mro__ if ancestor in KINDS]
        assert len(kinds) == 1, cls
        assert cls.code == kinds[0].code


def test_every_status_is_one_of_http_that_means_an_error() -> None:
    for kind in KINDS.values():
        assert HTTPStatus(kind.status).value in range(400, 600)


def test_the_tree_that_the_docstring_draws_is_the_tree() -> None:
    """Same classes, in the order in which they are written."""
    drawn = re.findall(r"[├└]── (\w+) {2,}\S", str(errors.__doc__))
    assert drawn == [cls.__name__ for cls in LEAVES]


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_an_error_comes_back_from_its_problem_as_it_was(cls: type[MusubiError]) -> None:
    before = make(cls)
    document = problem(before)
    after = error_of(document)
    assert type(after) is cls
    assert (after.message, after.details) == (before.message, before.details)
    assert document["type"] == PROBLEM_TYPE + cls.code
    assert document["status"] == kind_of(before).status
    assert document["detail"] == before.message


def test_a_budgets_refusal_says_what_was_asked_and_what_was_left() -> None:
    document = problem(make(BudgetExceeded))
    assert (document["account"], document["asked"], document["left"]) == ("policy/mobility/life", 7, 3)
    assert document["status"] == 403


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(
    ["code", "detail", "type", "status", "title", "account", "asked", "left", "message", "self", "cls", "index"]
) | st.text(max_size=5)
codes = st.sampled_from([*(cls.code for cls in LEAVES), "error", "", "no-such-code"])


@given(st.dictionaries(names, json_values, max_size=6).map(dict) | json_values, st.none() | codes)
def test_whatever_a_service_answers_an_error_comes_of_it_that_is_no_finding(document: Any, code: str | None) -> None:
    """A client never stumbles over a problem document: not over its fields' names, nor over their types."""
    error = told({**document, "code": code} if isinstance(document, dict) and code is not None else document)
    assert isinstance(error, Hearsay) or (isinstance(error, Told) and not isinstance(error, tuple(FINDINGS)))
    assert problem(error)["status"] == kind_of(error).status or "status" in error.details


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_what_somebody_says_is_of_the_kind_that_they_name_unless_only_a_check_can_find_it(
    cls: type[MusubiError],
) -> None:
    error = told(problem(make(cls)))
    if cls in FINDINGS:
        assert type(error) is Hearsay
        assert (error.details, cls.code in error.message) == ({"said": cls.code}, True)
    else:
        assert isinstance(error, cls)
        assert isinstance(error, Told)
        assert kind_of(error) == KINDS[cls]
        assert (error.message, error.details) == (make(cls).message, make(cls).details)


def raised() -> list[tuple[str, ast.Call]]:
    """Return every call in the product that makes one of our errors."""
    names = {cls.__name__ for cls in CLASSES}
    found = []
    for room in ("ledger", "policies", "queries", "trust"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    if name in names:
                        found.append((f"{path.relative_to(ROOT)}:{node.lineno}", node))
    return found


def test_no_detail_hides_a_member_of_the_problem_document() -> None:
    """RFC 9457 gives type, title, status, detail and instance; ``code`` is ours. No error's detail is called so."""
    calls = raised()
    assert len(calls) > 100
    taken = {"type", "title", "status", "detail", "instance", "code", "message", "self"}
    assert [where for where, call in calls if taken & {keyword.arg for keyword in call.keywords}] == []


def test_no_error_is_raised_that_is_not_of_the_tree_below_the_root() -> None:
    """The root itself has no problem; nobody makes one."""
    roots = [
        where
        for where, call in raised()
        if (getattr(call.func, "id", "") or getattr(call.func, "attr", "")) == "MusubiError"
    ]
    assert roots == []
