"""In a real Chromium the module ``verify.js`` says of every receipt, proof and signature what Python says of it."""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Route

from ledger.notes import ml_dsa
from ledger.notes.cosignatures import cosign
from ledger.notes.note import VerifierKey
from tests.kit.machine.chromium import new_context
from tests.pages.device.verify_cases import ENTRIES, INDEX, POLICY, TIME, Case, World, all_cases, judge, receipt_case
from trust.pages import static_files
from trust.pages.static_files import STATIC_FILES

DEVICE = Path(static_files.__file__).parent / "device"
SITE = "http://localhost:8000"
JUDGE = (Path(__file__).parent / "verify_judge.js").read_text("utf-8")

Judge = Callable[[list[Case]], list[Any]]


def _judge(browser: Browser, files: dict[str, bytes]) -> Iterator[Judge]:
    """Run cases in an empty page of a browser that reaches nothing but these files under ``/static``."""

    def serve(route: Route) -> None:
        body = files[route.request.url.removeprefix(f"{SITE}/static/")]
        route.fulfill(body=body, content_type="text/javascript")

    page = new_context(browser).new_page()
    page.route("**/*", lambda route: route.abort())
    page.route(f"{SITE}/", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page.route(f"{SITE}/static/*.js", serve)
    page.goto(f"{SITE}/")
    yield lambda cases: page.evaluate(JUDGE, cases)
    page.close()


@pytest.fixture(scope="module")
def browser_judge(browser: Browser) -> Iterator[Judge]:
    """Run cases with the one file that is served."""
    yield from _judge(browser, {"verify.js": STATIC_FILES["verify.js"]})


@pytest.fixture(scope="module")
def one_by_one_judge(browser: Browser) -> Iterator[Judge]:
    """Run cases with the modules that the file is put together from, each loaded by the browser itself."""
    yield from _judge(browser, {path.name: path.read_bytes() for path in DEVICE.glob("*.js")})


@pytest.mark.slow
def test_every_made_case_gets_pythons_verdict_of_the_one_file_and_of_its_modules_one_by_one(
    browser_judge: Judge, one_by_one_judge: Judge
) -> None:
    """What a module uses it imports: put together, it would find another module's names without."""
    cases = all_cases()
    expected = {name: judge(case) for name, case in cases.items()}
    found = dict(zip(cases, browser_judge(list(cases.values())), strict=True))
    assert one_by_one_judge(list(cases.values())) == list(found.values())
    assert {name: (found[name], expected[name]) for name in cases if found[name] != expected[name]} == {}
    codes = {verdict for verdict in expected.values() if isinstance(verdict, str) and not verdict.isdecimal()}
    assert codes == {"malformed", "too-large", "signature-invalid", "proof-invalid", "history-forked", "not-permitted"}
    assert all(isinstance(expected[name], list) for name in expected if name.startswith("good"))


def test_every_published_merkle_proof_gets_the_verdict_of_its_case(browser_judge: Judge, shared_data: Path) -> None:
    cases, wanted = [], []
    for file in sorted((shared_data / "vectors/merkle/inclusion").rglob("*.json")):
        case = json.loads(file.read_text())
        cases.append(
            {
                "check": "inclusion",
                "leaf": _hex(case["leafHash"]),
                "index": str(case["leafIdx"]),
                "size": str(case["treeSize"]),
                "proof": [_hex(each) for each in case["proof"] or []],
                "root": _hex(case["root"]),
            }
        )
        wanted.append("proof-invalid" if case["wantErr"] else True)
    for file in sorted((shared_data / "vectors/merkle/consistency").rglob("*.json")):
        case = json.loads(file.read_text())
        cases.append(
            {
                "check": "consistency",
                "old": str(case["size1"]),
                "size": str(case["size2"]),
                "proof": [_hex(each) for each in case["proof"] or []],
                "old_root": _hex(case["root1"]),
                "root": _hex(case["root2"]),
            }
        )
        wanted.append("proof-invalid" if case["wantErr"] else True)
    assert len(cases) > 170
    assert browser_judge(cases) == wanted == [judge(case) for case in cases]


def _hex(base64: str | None) -> str:
    return b64decode(base64 or "").hex()


def test_every_edge_case_of_ed25519_gets_pythons_verdict(browser_judge: Judge, shared_data: Path) -> None:
    vectors = json.loads((shared_data / "vectors/ed25519/ed25519vectors.json").read_text())
    cases = [
        {"check": "ed25519", "message": v["msg"].encode().hex(), "signature": v["sig"], "key": v["key"]}
        for v in vectors
    ]
    expected = [judge(case) for case in cases]
    assert browser_judge(cases) == expected
    assert len(cases) == 914
    assert {True, "signature-invalid"} == set(expected)


@pytest.mark.parametrize(("group", "verdict"), [("any", ["city", "library"]), ("all", "proof-invalid")])
def test_a_post_quantum_witness_is_passed_over_and_never_counts(
    browser_judge: Judge, group: str, verdict: list[str] | str
) -> None:
    """WebCrypto has no ML-DSA: where the quorum needs it, the browser says no although Python says yes."""
    key = ml_dsa.key_from_seed(bytes([5]) * 32)
    verifier = VerifierKey.ml_dsa_44("city.example/w", ml_dsa.public_bytes(key))
    world = World()
    line = cosign(world.checkpoint.text, verifier.name, key, TIME)
    policy = POLICY.replace("group two", f"witness city_pq {verifier}\ngroup either {group} city city_pq\ngroup two")
    policy = policy.replace("2 city library", "2 either library")
    case = receipt_case(world.receipt(checkpoint=world.note("city", "library") + f"{line}\n".encode()), policy=policy)
    found = browser_judge([case])[0]
    assert (found if isinstance(found, str) else list(found[2])) == verdict
    assert list(judge(case)[2]) == ["city", "library", "city_pq"]


PARTS = [
    b"\n",
    b"\n\n",
    b" ",
    b"0",
    b"=",
    b"A",
    b"+",
    b"\xe2\x80\x94 ",
    b"\x00",
    b"\xff",
    b"index 13\n",
    b"extra QQ==\n",
]


@st.composite
def damaged(draw: st.DrawFn) -> Case:
    """A receipt with lines moved, doubled or gone, and bytes changed; perhaps another entry or policy."""
    signers = draw(st.sampled_from([("city", "library"), ("city",), ("city", "library", "school")]))
    world = World(draw(st.sampled_from([14, 16, 21])))
    data = world.receipt(draw(st.sampled_from([INDEX, 12])), checkpoint=world.note(*signers))
    lines = data.split(b"\n")
    for _ in range(draw(st.integers(0, 2))):
        at, to = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        change = draw(st.sampled_from(["move", "copy", "drop"]))
        line = lines[at] if change == "copy" else lines.pop(at)
        if change != "drop":
            lines.insert(to, line)
        if not lines:
            break
    damage = bytearray(b"\n".join(lines))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(damage)))
        damage[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2) | st.sampled_from(PARTS))
    entry = draw(st.sampled_from([ENTRIES[INDEX], ENTRIES[INDEX], ENTRIES[12]]))
    return receipt_case(bytes(damage), entry=entry, policy=draw(st.sampled_from([POLICY, POLICY, None])))


@settings(max_examples=300)
@given(damaged())
def test_however_a_receipt_is_damaged_browser_and_python_agree(browser_judge: Judge, case: Case) -> None:
    assert browser_judge([case]) == [judge(case)]
