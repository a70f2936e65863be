"""The page that checks receipts, opened from a disk in Chromium: it says of real files what holds and what not."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from playwright.sync_api import Browser, Page, Route

from ledger import canonical
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.receipts import Receipt
from ledger.notes.witness_protocol import AddCheckpoint
from ledger.tlog.tree import merkle_root
from policies.languages import LANGUAGES, PAGE_LANGUAGES
from tests.kit.logs.small_trees import merkle_path
from tests.kit.machine.chromium import new_context, violations
from tests.pages.device.verify_cases import ENTRIES as SAMPLES
from tests.pages.device.verify_cases import (
    LOG,
    LOG_KEY,
    NEW_LOG,
    NEWEST_LOG,
    ORIGIN,
    POLICY,
    POLICY_SHA256,
    TIME,
    ChangedLog,
    World,
    admit,
    consistency_path,
    in_force_proof,
)
from tests.service.pages.town_sample import sample_town
from trust.pages.verify import page as page_module
from trust.pages.verify.page import verify_page
from trust.service.pages.routes import page_routes
from trust.service.pages.town.model import TownPage

VERIFY = verify_page()
GRANT = {
    "at": TIME,
    "cap": 5,
    "commitment": "00" * 32,
    "consent": "11" * 32,
    "kind": "grant",
    "policy": "mobility_demand",
    "policy_sha256": POLICY_SHA256,
    "until": "2027-11-30",
    "v": 1,
    "version": 3,
}
TRUST = canonical.encode(
    {"genesis_sha256": "5f" * 32, "log_key": str(LOG_KEY), "origin": ORIGIN, "v": 1, "witness_policy": POLICY}
)
NOW = TIME + 3_600
"""What the reader's clock says."""
HOLDS, FAILS, UNTOLD = "Holds", "Does not hold", "Not checked"


@dataclass
class Visitor:
    """Someone with the page open from a disk, and a folder of files to choose from."""

    page: Page
    folder: Path

    def choose(self, **files: bytes) -> None:
        """Choose files by name, and wait for what the page says."""
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        self.page.set_input_files("#files", [str(self.folder / name) for name in files])
        # By a locator: an expression to wait for would be evaluated in the page, whose policy forbids that.
        self.page.locator("#chosen li").nth(len(files) - 1).wait_for(state="attached")

    @property
    def findings(self) -> list[str]:
        """Each finding: its state, then what it says."""
        return [
            " ".join(text.replace("In detail", "").split()) for text in self.page.locator(".finding").all_inner_texts()
        ]

    @property
    def verdict(self) -> str:
        """What the page says of everything together."""
        return self.page.inner_text("#verdict")

    def states(self) -> set[str]:
        """Return the findings' states."""
        return {re.sub(r"^\W*", "", text) for text in self.page.locator(".state").all_inner_texts()}


Opener = Callable[..., Visitor]
pytestmark = pytest.mark.slow  # each test opens the page in a browser


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Open the page as a file. Anything that it would load, and anything the browser complains of, fails the test."""
    (tmp_path / "musubi-verify.html").write_bytes(VERIFY.html)
    address = (tmp_path / "musubi-verify.html").as_uri()
    asked: list[str] = []
    contexts = []

    def open_(language: str = "en", width: int = 900, scheme: str = "light", now: int = NOW) -> Visitor:
        context = new_context(
            browser,
            viewport={"width": width, "height": 1000},
            color_scheme="dark" if scheme == "dark" else "light",
            locale={"fr": "fr-FR", **{row.tag: row.formats.replace("_", "-") for row in LANGUAGES}}[language],
            timezone_id="Asia/Tokyo",
        )
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(f"Date.now = () => {now * 1_000};")
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: asked.append(message.text))
        page.on("pageerror", lambda error: asked.append(str(error)))
        page.goto(address)
        return Visitor(page, tmp_path)

    yield open_
    for context in contexts:
        context.close()
    assert {each for each in asked if each != address and not each.startswith("data:")} == set()


def entry_receipt(index: int, entry: dict[str, object] | bytes, *, size: int = 21, extra: bool = True) -> bytes:
    """Return the receipt of an entry in the log of samples, where it stands instead of a sample."""
    data = entry if isinstance(entry, bytes) else canonical.encode(entry)
    leaves = [hashlib.sha256(b"\0" + (data if n == index else SAMPLES[n])).digest() for n in range(size)]
    note = World(size, merkle_root(leaves)).note("city", "library")
    return Receipt(index, merkle_path(leaves, index), note, data if extra else None).format()


def test_a_receipt_that_carries_its_entry_holds_and_says_who_signed_and_when(open_page: Opener) -> None:
    visitor = open_page()
    visitor.choose(receipt=entry_receipt(13, GRANT), trust=TRUST + b"\n")
    assert visitor.verdict == "Everything holds."
    assert visitor.findings == [
        (
            "✓ Holds Entry number 13 is in the record, exactly as in your file. It is a consent to the agreement "
            "“mobility_demand” (version 3), until 30 November 2027."
        ),
        "✓ Holds The record signed its state of 21 entries with its own key.",
        (
            "✓ Holds Enough independent witnesses confirmed the state of 21 entries: "
            "city: 21 September 2026 at 23:13:20 GMT+9 library: 21 September 2026 at 23:13:20 GMT+9"
        ),
    ]
    assert visitor.page.evaluate("document.activeElement.id") == "results-title"
    visitor.page.get_by_text("In detail").first.click()
    assert '"consent":"1111' in visitor.page.locator(".finding dd").nth(1).inner_text()


def test_the_same_in_japanese(open_page: Opener) -> None:
    visitor = open_page("ja")
    visitor.choose(receipt=entry_receipt(13, GRANT), trust=TRUST)
    assert visitor.page.locator("html").get_attribute("lang") == "ja"
    assert visitor.page.title() == "受領証を自分で確かめる"
    assert visitor.verdict == "すべて合っています。"
    assert "期限は 2027年11月30日 です。" in visitor.findings[0]
    assert not re.search(r"[A-Za-z]{9,}", visitor.page.inner_text("#results").replace("mobility_demand", ""))


def test_the_language_can_be_changed_with_the_results_kept(open_page: Opener) -> None:
    visitor = open_page("fr")
    assert visitor.page.locator("html").get_attribute("lang") == "ja"
    visitor.choose(receipt=entry_receipt(13, GRANT), trust=TRUST)
    visitor.page.get_by_role("button", name="English").click()
    assert visitor.verdict == "Everything holds."
    assert visitor.page.get_by_role("button", name="English").get_attribute("aria-pressed") == "true"
    assert visitor.page.inner_text("h1") == "Check a receipt yourself"


GOOD = entry_receipt(13, GRANT)
ENTRY = canonical.encode(GRANT)


@pytest.mark.parametrize(
    ("files", "state", "words"),
    [
        ({"r": GOOD}, UNTOLD, "Nothing can be checked without the trust file"),
        ({"t": TRUST}, UNTOLD, "Choose a receipt as well"),
        ({"r": entry_receipt(13, GRANT, extra=False), "t": TRUST}, UNTOLD, "Choose that entry's file as well"),
        ({"e": ENTRY, "t": TRUST}, UNTOLD, "You chose an entry that none of the receipts is for"),
        ({"r": entry_receipt(13, GRANT, extra=False), "e": ENTRY, "t": TRUST}, HOLDS, "exactly as in your file"),
        ({"r": GOOD.replace(b"index 13", b"index 12"), "t": TRUST}, FAILS, "None of the chosen entries is entry"),
        ({"r": GOOD.replace(b"\n21\n", b"\n22\n"), "t": TRUST}, FAILS, "not signed with the record's own key"),
        ({"r": GOOD[: GOOD.index(b"\xe2\x80\x94 city")], "t": TRUST}, FAILS, "Too few of the witnesses"),
        ({"r": GOOD.replace(b"index 13", b"index 013"), "t": TRUST}, FAILS, "A receipt is damaged"),
        ({"r": GOOD, "t": TRUST[:-3]}, FAILS, "The file that says whom to believe is damaged"),
        ({"r": GOOD, "t": TRUST, "u": TRUST.replace(b"5f", b"6f")}, FAILS, "two different trust files"),
        ({"r": GOOD, "p": POLICY.encode()}, HOLDS, "Enough independent witnesses"),
        ({"r": GOOD, "k": f"{LOG_KEY}\n".encode()}, UNTOLD, "the record's word alone"),
        ({"c": World().note("city", "school"), "t": TRUST}, HOLDS, "The record signed its state of 21 entries"),
        ({"n": b"hello", "t": TRUST}, FAILS, "not one that this page knows"),
        ({"n": b"c2sp.org/tlog-proof@v1" + bytes(2_000_000), "t": TRUST}, FAILS, "is too large"),
        ({"n": b"", "t": TRUST}, FAILS, "not one that this page knows"),
    ],
)
def test_whatever_is_chosen_the_page_says_plainly_what_of_it_holds(
    open_page: Opener, files: dict[str, bytes], state: str, words: str
) -> None:
    visitor = open_page()
    visitor.choose(**files)
    assert any(state in finding and words in finding for finding in visitor.findings), visitor.findings
    assert visitor.verdict.startswith("Something does not hold") == (FAILS in visitor.states())
    assert (visitor.verdict == "Everything holds.") == (visitor.states() == {HOLDS})


def test_a_history_shows_that_the_record_only_grew_and_a_forked_one_that_it_lied(open_page: Opener) -> None:
    older, newer = World(11).receipt(3), World(21).receipt(13)
    entries = {"e": SAMPLES[3], "f": SAMPLES[13]}
    history = AddCheckpoint(11, consistency_path(11, 21), World(21).note("city", "library")).format()
    visitor = open_page()
    visitor.choose(a=older, b=newer, t=TRUST, **entries)
    assert any("cannot be told without a proof of growth" in finding for finding in visitor.findings)
    visitor.choose(h=history)
    visitor.page.get_by_text("From 11 to 21 entries the record only grew").wait_for()
    assert visitor.states() == {HOLDS}
    visitor.choose(h=AddCheckpoint(11, consistency_path(12, 21), World(21).note("city", "library")).format())
    visitor.page.get_by_text("The proof that the record only grew does not hold").wait_for()
    visitor.page.get_by_role("button", name="Take all away").click()
    assert not visitor.page.locator("#results").is_visible()
    visitor.choose(a=newer, f=SAMPLES[13], c=sign_checkpoint(Checkpoint(ORIGIN, 21, bytes(32)), LOG), t=TRUST)
    visitor.page.get_by_text("The record signed two different stories of the same length").wait_for()


PLACE = 3 * 4096 - 5
"""The index of the question that the in-force proofs are about."""


def receipts_in_one_tree(entries: dict[int, bytes], size: int = PLACE + 1) -> dict[int, bytes]:
    """Return receipts of entries far apart in one cosigned tree, whose other subtrees are anything."""
    known = {(0, index): hashlib.sha256(b"\0" + data).digest() for index, data in entries.items()}
    paths: dict[int, list[bytes]] = {index: [] for index in entries}
    level, width = 0, size
    while width > 1:
        for index in entries:
            beside = (index >> level) ^ 1
            if beside < width:
                anything = hashlib.sha256(f"{level} {beside}".encode()).digest()
                paths[index].append(known.setdefault((level, beside), anything))
        for number in {index >> level >> 1 for index in entries}:
            left, right = known[level, 2 * number], known.get((level, 2 * number + 1))
            whole = left if right is None else hashlib.sha256(b"\1" + left + right).digest()
            known[level + 1, number] = whole
        level, width = level + 1, -(-width // 2)
    note = World(size, known[level, 0]).note("city", "library")
    return {index: Receipt(index, paths[index], note, data).format() for index, data in entries.items()}


def of_use(index: int) -> bytes:
    """Return the in-force proof about the consent at an index."""
    return canonical.encode(in_force_proof(index))


def test_an_in_force_proof_says_whether_a_consent_could_be_counted_in_a_proven_question(open_page: Opener) -> None:
    ours, another = canonical.encode(GRANT), canonical.encode({**GRANT, "consent": "12" * 32})
    receipts = receipts_in_one_tree({4097: another, 4098: ours, PLACE: admit()})
    visitor = open_page()
    visitor.choose(p=of_use(4098), t=TRUST)
    assert any("Choose that question's receipt and entry as well" in finding for finding in visitor.findings)
    visitor.choose(r=receipts[PLACE], g=receipts[4098])
    visitor.page.get_by_text("number 4,098 could be counted in the question that is entry number 12,283").wait_for()
    assert visitor.states() == {HOLDS}
    visitor.choose(q=of_use(4097), h=receipts[4097])
    visitor.page.get_by_text("number 4,097 was not counted in the question").wait_for()
    assert visitor.states() == {HOLDS}
    visitor.choose(q=of_use(4097).replace(b'"charge":1000', b'"charge":1001'))
    visitor.page.get_by_text("The proof about a consent in a question does not hold").wait_for()


@pytest.mark.parametrize("language", PAGE_LANGUAGES)
def test_a_proof_about_another_consent_than_those_chosen_never_lets_everything_hold(
    open_page: Opener, language: str
) -> None:
    """It is a good proof, and says that a consent was not counted: somebody else's."""
    receipts = receipts_in_one_tree({4098: canonical.encode(GRANT), PLACE: admit()})
    says = {
        "en": ("None of the consents that you chose is that one", "Whose consent entry number 4,097 is cannot be told"),
        "ja": ("選ばれた同意の中に、その同意はありません", "4,097番の同意がどなたのものかは"),
    }[language]
    visitor = open_page(language)
    visitor.choose(q=of_use(4097), r=receipts[PLACE], t=TRUST)
    visitor.page.get_by_text(says[1]).wait_for()
    assert visitor.verdict not in ("Everything holds.", "すべて合っています。")
    visitor.choose(g=receipts[4098])
    visitor.page.get_by_text(says[0]).wait_for()
    assert visitor.page.locator("#verdict.fails").is_visible()


@pytest.mark.parametrize("end", ["revoke", "erase"])
def test_a_consent_that_was_counted_after_its_proven_end_is_found(open_page: Opener, end: str) -> None:
    ended = {
        "revoke": {"at": TIME, "commitment": "00" * 32, "grant": 4098, "kind": "revoke", "reason": "self", "v": 1},
        "erase": {"at": TIME, "index": 4098, "kind": "erase", "reason": "requested", "v": 1},
    }[end]
    receipts = receipts_in_one_tree({4098: canonical.encode(GRANT), 5000: canonical.encode(ended), PLACE: admit()})
    visitor = open_page()
    visitor.choose(q=of_use(4098), t=TRUST, **{f"r{n}": receipt for n, receipt in receipts.items()})
    visitor.page.get_by_text("although entry number 5,000 had ended it before").wait_for()
    assert visitor.verdict.startswith("Something does not hold")


@pytest.mark.parametrize("language", PAGE_LANGUAGES)
@pytest.mark.parametrize("ahead", [600, 601, 4 * 365 * 86_400])
def test_a_cosignature_of_a_time_that_is_still_to_come_never_lets_everything_hold(
    open_page: Opener, language: str, ahead: int
) -> None:
    says = {"en": "at a time that is still to come", "ja": "まだ来ていない時刻に"}[language]
    late = World(21).note("city", time=NOW + ahead).split(b"\n")[-2] + b"\n"
    visitor = open_page(language)
    visitor.choose(r=World(21).receipt(13, checkpoint=World(21).note("library") + late), e=SAMPLES[13], t=TRUST)
    is_refused = ahead > 600
    assert any(says in finding for finding in visitor.findings) == is_refused
    assert visitor.page.locator("#verdict.fails").is_visible() == is_refused


def test_a_change_of_the_key_that_is_confirmed_at_a_time_to_come_is_none(open_page: Opener) -> None:
    log = ChangedLog()
    first = log.receipt(1, 3, log.note(3, NEW_LOG), log.entries[1])
    visitor = open_page(now=TIME - 3_600)
    visitor.choose(r=first, t=log.trust, k=log.document(*log.changes))
    visitor.page.get_by_text("The history of the record's key is not what the stewards").wait_for()


@pytest.mark.parametrize(("later", "holds"), [(60, True), (61, False), (4 * 365 * 86_400, False)])
def test_an_entry_of_a_later_time_than_its_witnesses_say_does_not_hold(
    open_page: Opener, later: int, *, holds: bool
) -> None:
    visitor = open_page()
    visitor.choose(receipt=entry_receipt(13, GRANT | {"at": TIME + later}), trust=TRUST)
    assert (visitor.verdict == "Everything holds.") == holds
    assert any("bears a time that had not come yet" in finding for finding in visitor.findings) != holds
    visitor.page.get_by_role("button", name="Take all away").click()
    visitor.choose(receipt=entry_receipt(13, GRANT | {"at": NOW + later}), key=f"{LOG_KEY}\n".encode())
    assert any("bears a time that had not come yet" in finding for finding in visitor.findings) != holds


def test_two_entries_at_one_place_are_two_stories_also_in_trees_of_two_sizes(open_page: Opener) -> None:
    visitor = open_page()
    other = entry_receipt(13, GRANT | {"cap": 6}, size=20)
    visitor.choose(a=entry_receipt(13, GRANT), b=other, t=TRUST)
    visitor.page.get_by_text("The record shows two different entries as entry number 13").wait_for()
    assert visitor.verdict.startswith("Something does not hold")


def test_a_receipt_by_a_later_key_of_the_record_holds_once_the_stewards_word_for_it_is_there(open_page: Opener) -> None:
    log = ChangedLog()
    first = log.receipt(1, 3, log.note(3, NEW_LOG), log.entries[1])
    later = log.receipt(4, 5, log.note(5, NEWEST_LOG, post_quantum=True), log.entries[4])
    visitor = open_page()
    visitor.choose(r=first, t=log.trust)
    assert any("Perhaps the record's key was changed by its stewards" in finding for finding in visitor.findings)
    visitor.choose(k=log.document(*log.changes))
    visitor.page.get_by_text("The stewards signed every change of the record's key").wait_for()
    assert visitor.states() == {HOLDS}
    visitor.choose(s=later)
    visitor.page.get_by_text("browsers cannot check those yet").wait_for()
    assert visitor.states() == {HOLDS, "Note", UNTOLD}  # between the two receipts there is no proof of growth


def test_a_copy_of_the_page_can_be_dropped_to_learn_its_sha256(open_page: Opener) -> None:
    visitor = open_page()
    visitor.choose(copy=VERIFY.html)
    visitor.page.get_by_text("In detail").click()
    assert visitor.page.locator(".finding dd").inner_text() == VERIFY.sha256


def test_files_can_be_dropped_and_the_keyboard_reaches_everything(open_page: Opener) -> None:
    visitor = open_page()
    page = visitor.page
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText.trim() || document.activeElement.id"))
    assert reached == ["日本語", "English", "files", "Which files?"]
    page.evaluate(
        """([receipt, trust]) => {
            const dropped = new DataTransfer();
            for (const [name, data] of [["r", receipt], ["t", trust]]) {
                dropped.items.add(new File([Uint8Array.from(data)], name));
            }
            document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
        }""",
        [list(GOOD), list(TRUST)],
    )
    page.get_by_text("Everything holds.").wait_for()


@pytest.mark.parametrize("language", PAGE_LANGUAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_and_nothing_is_too_wide_or_too_small(open_page: Opener, language: str, scheme: str) -> None:
    visitor = open_page(language, 320, scheme)
    page = visitor.page
    assert violations(page) == []
    visitor.choose(r=GOOD, t=TRUST, n=b"hello", c=World(11).note("city", "school"))
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    page.locator("#results .fails").first.wait_for()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    smallest = (
        "Math.min(...[...document.querySelectorAll('body *')].map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert page.evaluate(smallest) >= 16
    heights = page.evaluate(
        "[...document.querySelectorAll('button, summary, .pick')].map(e => e.getBoundingClientRect().height)"
    )
    assert min(heights) >= 44


@pytest.mark.parametrize("allowed", [False, True])
def test_the_page_cannot_reach_the_network(browser: Browser, *, allowed: bool) -> None:
    """With its policy weakened the same attempts do go out, so the policy is what stops them."""
    page = new_context(browser).new_page()
    reached: list[str] = []
    body = VERIFY.html
    if allowed:
        body = body.replace(b"connect-src &#39;none&#39;", b"connect-src *").replace(b"img-src data:", b"img-src *")

    def answer(route: Route) -> None:
        reached.append(route.request.url)
        route.fulfill(body=body, content_type="text/html", headers={"Access-Control-Allow-Origin": "*"})

    page.route("**/*", answer)
    page.goto("http://localhost:8000/verify")
    page.evaluate(
        """async () => {
            await fetch("https://elsewhere.example/fetched").catch(() => {});
            await new Promise((done) => {
                const image = new Image();
                image.onload = image.onerror = done;
                image.src = "https://elsewhere.example/image";
            });
        }"""
    )
    page.close()
    assert len(reached) == (3 if allowed else 1)


@pytest.fixture
def client() -> Iterator[TestClient[Litestar]]:
    async def gather() -> TownPage:
        return sample_town()

    with TestClient(Litestar([page_routes(gather)])) as client:
        yield client


def test_the_service_gives_the_same_bytes_to_look_at_and_to_save(client: TestClient[Litestar]) -> None:
    shown, saved = client.get("/verify?lang=en"), client.get("/verify/musubi-verify.html")
    assert shown.content == saved.content == VERIFY.html
    assert hashlib.sha256(shown.content).hexdigest() == VERIFY.sha256
    assert saved.headers["content-disposition"] == 'attachment; filename="musubi-verify.html"'
    assert "content-disposition" not in shown.headers
    for answer in (shown, saved):
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-security-policy"] == f"{VERIFY.policy}; frame-ancestors 'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get(answer.url.path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert 'href="/verify?lang=en"' in client.get("/?lang=en").text


def test_the_page_is_made_alike_every_time_and_loads_nothing() -> None:
    assert page_module._build() == (VERIFY.html, VERIFY.policy)
    text = VERIFY.html.decode()
    assert not re.search(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"(?!data:)", text)
    scripts = sorted(Path(page_module.__file__).parent.glob("*.js"))
    marked = {message for path in scripts for message in re.findall(r'N_\("([^"]+)"\)', path.read_text("utf-8"))}
    assert len(marked) > 60
    assert {message for message in marked if f'"{message}":' not in text} == set()
