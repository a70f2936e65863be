"""The town page shows what happened, in both languages, and never trusts a word that somebody else wrote."""

import html
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from policies.languages import PAGE_LANGUAGES
from tests.service.pages.town_sample import HALLS, MOBILITY, NOW, RIDES, empty_town, many_cells, question, sample_town
from trust.pages.cards import ShownCell, Spending
from trust.pages.translations import load_language
from trust.runtime.foreign_text import is_hidden
from trust.service.pages.town.model import Cosigner, TownPage
from trust.service.pages.town.render import render_town

HOSTILE = "</text></svg><script>alert(1)</script><img src=x onerror='alert(2)'>\"&%(x)s{{ 7*7 }}"
VOID = {"meta", "link", "img", "line", "rect", "circle", "br", "wbr"}


class Outline(HTMLParser):
    """Reads a page back: which elements there are, that they close in order, their ids, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element and its attributes."""
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that closes itself."""
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Hold the closing tag against the innermost open one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Gather the text."""
        self.text += data


@pytest.mark.parametrize("language", PAGE_LANGUAGES)
@pytest.mark.parametrize("town", [sample_town, empty_town])
def test_the_page_is_well_formed_with_unique_ids_and_no_script_or_style_of_its_own(language: str, town: object) -> None:
    outline = Outline(render_town(town(), language))  # type: ignore[operator]
    assert len(set(outline.ids)) == len(outline.ids)
    assert not {"script", "style", "iframe", "form"} & set(outline.tags)
    assert not [name for name in outline.attributes if name == "style" or name.startswith("on")]
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)


@pytest.mark.parametrize("language", PAGE_LANGUAGES)
def test_every_answers_numbers_stand_in_a_table_beside_the_chart(language: str) -> None:
    outline, speech = Outline(render_town(sample_town(), language)), load_language(language)
    for value, half_width in (
        ("1284", "71"),
        ("-4", "29"),
        ("269640", "14200"),
        ("210.0", "18.4"),
        ("655", "44"),
        ("2481", "20"),
    ):
        shown = f"{speech.decimal(value)} ± {speech.decimal(half_width)}"
        assert len(re.findall(rf"(?<![\d,.-]){re.escape(shown)}", outline.text)) >= 2, shown
    assert outline.tags.count("table") == 6
    assert outline.tags.count("desc") == 9


def test_the_japanese_page_says_who_asked_why_what_and_what_is_left() -> None:
    text = Outline(render_town(sample_town(), "ja")).text
    for shown in (
        "もみじ台町役場 交通政策課",
        "移動をもっと便利にするため（バスの使われ方と、おでかけのしやすさ）",
        "地区ごとの記録の件数、人数、運賃の合計、運賃の平均",
        "時刻が 7 から 9 まで",
        "のこり 58%",
        "プライバシーの枠の残りを超えてしまう質問でした。",
        "kita-audit.example/w1",
    ):
        assert shown in text, shown


@pytest.mark.parametrize(
    ("language", "says"),
    [
        (
            "ja",
            [
                "バスの乗車：お一人につき20件までを使います。",
                "運賃は0から500までにそろえます。それより小さい値は0、大きい値は500として数えます。",
                "記録の件数、人数：±のほかには、本当の数がこれより大きいことはあっても、小さいことはありません。",
                "運賃の合計：±のほかには、本当の数がこれより大きいことはあっても、小さいことはありません。ただし、運賃に0より小さい値がないときに限ります。",
                "運賃の平均：±のほかにも、本当の数がこれより大きいことも、小さいこともあります。",
                "いま質問すると、数に入るのは多くてもこの件数です。",
            ],
        ),
        (
            "en",
            [
                "Bus rides: of each person, at most 20 records are used.",
                "Fare is cut to the range 0 to 500: what is below counts as 0, what is above as 500.",
                "Number of records, number of people: apart from the ±, the true number can only be larger.",
                "Total fare: apart from the ±, the true number can only be larger. That holds where no value of fare is below 0.",
                "Average fare: apart from the ±, the true number may be larger or smaller.",
                "A question asked now counts at most as many.",
            ],
        ),
    ],
)
def test_each_answer_says_what_the_agreement_leaves_out_and_each_agreement_how_many_count_at_most(
    language: str, says: list[str]
) -> None:
    text = Outline(render_town(sample_town(), language)).text
    for sentence in says:
        assert sentence in text, sentence


def test_the_english_page_is_english_and_marks_what_stays_japanese() -> None:
    page = render_town(sample_town(), "en")
    assert '<html lang="en" dir="ltr">' in page
    assert "Number of records, for each ward and time of day" in Outline(page).text
    assert '<span lang="ja">もみじ台東</span>' in page
    apart = re.sub(r"<(svg|pre|li|dd|span|figure|desc|title|th|a)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"[ぁ-んァ-ン一-龥]", apart)


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_town_where_nothing_happened_yet_says_so_in_plain_words(language: str) -> None:
    text = Outline(render_town(empty_town(), language)).text
    for ja, en in (
        ("取り決めがまだないので", "There is no agreement yet"),
        ("まだ質問はありません", "Nothing has been asked yet"),
        ("お断りした質問はありません", "No question has been refused"),
        ("まだ公開されていません", "has not been published yet"),
    ):
        assert {"ja": ja, "en": en}[language] in text


def _hostile_town(words: str = HOSTILE) -> TownPage:
    town = sample_town()
    text = {"ja": words, "en": words}
    view = replace(RIDES, title=text, columns=[replace(column, title=text) for column in RIDES.columns])
    asked = town.questions[1]
    cells = (
        ShownCell(key=(words,), measure="rides", value="5", half_width="3"),
        ShownCell(key=(words,), measure=words, value="5", half_width="3"),
    )
    assert town.checkpoint is not None
    return replace(
        town,
        title=text,
        origin=words,
        checkpoint=replace(town.checkpoint, root=words, cosigners=(Cosigner(name=words, time=NOW),)),
        policies=(replace(town.policies[0], title=text, holders=(text,), purpose="https://w3id.org/dpv#" + words),),
        questions=(replace(asked, by=text, policy=text, views=(view,), cells=cells),),
        refusals=(replace(town.refusals[0], by=text, policy=text, account=words),),
    )


@pytest.mark.parametrize("language", PAGE_LANGUAGES)
def test_hostile_titles_names_and_keys_come_out_as_text_and_nothing_else(language: str) -> None:
    page = render_town(_hostile_town(), language)
    outline = Outline(page)
    assert "script" not in outline.tags
    assert "onerror" not in outline.attributes
    assert outline.tags.count("img") == 1
    assert "<script" not in page
    assert HOSTILE in outline.text
    assert "49" not in outline.text


TURNING = [
    "\u202egnp.exe",
    "\u2066",
    "\u2067x",
    "\u2069",
    "\u200f",
    "\u200b",
    "\x9b2J",
    "\x85",
    "\u2028",
    "\u00ad",
    "\U000e0041",
    "שלום",
    "سلام 7",
    "<b>",
]


@given(st.lists(st.sampled_from(TURNING), min_size=1, max_size=4).map("".join), st.sampled_from(PAGE_LANGUAGES))
def test_nothing_of_others_hides_on_the_page_or_turns_what_stands_beside_it(words: str, language: str) -> None:
    page = html.unescape(render_town(_hostile_town(words), language))
    assert [each for each in page if is_hidden(each) and each not in "\n\u2068\u2069"] == []
    depth = 0
    for each in page:
        depth += {"\u2068": 1, "\u2069": -1}.get(each, 0)
        assert depth in {0, 1}
    assert depth == 0
    turned = any(unicodedata.bidirectional(each) in {"R", "AL"} for each in words if each.isalpha())
    assert turned == ("\u2068" in page)


def test_a_text_in_neither_language_is_shown_and_marked_with_its_own() -> None:
    page = render_town(replace(sample_town(), title={"fr": "Fiducie"}), "ja")
    assert '<span lang="fr">Fiducie</span>' in page


def test_a_chart_of_many_cells_starts_folded_and_a_chart_of_few_does_not() -> None:
    def folded(count: int) -> bool:
        page = render_town(replace(sample_town(), questions=(many_cells(count),)), "en")
        assert page.count('class="point"') == count
        return "<figure>" not in page

    assert not folded(24)
    assert folded(25)
    assert folded(100)


def test_hundreds_of_numbers_are_a_table_and_no_chart() -> None:
    page = render_town(replace(sample_town(), questions=(many_cells(300),)), "ja")
    assert "数が多すぎて、図にできません" in page
    assert page.count('<td class="number">') == 300
    assert '<svg class="chart"' not in page


def test_a_number_that_could_not_be_worked_out_is_a_dash_and_is_not_drawn() -> None:
    cells = [
        ShownCell(key=("集会所",), measure="visits", value="", half_width=""),
        ShownCell(key=("緑が丘",), measure="visits", value="7", half_width="2"),
    ]
    asked = question(5, HALLS, sample_town().questions[3].query, cells)
    page = render_town(replace(sample_town(), questions=(asked,)), "ja")
    assert page.count('class="point"') == 1
    assert '<td class="number">—</td>' in page
    none_known = replace(asked, cells=tuple(cells[:1]))
    assert "数を出せませんでした" in render_town(replace(sample_town(), questions=(none_known,)), "ja")


@pytest.mark.parametrize(
    ("spent", "cap", "percent"),
    [(0, 10, 0), (1, 10**9, 1), (10**9 - 1, 10**9, 100), (5, 10, 50), (10, 10, 100), (11, 10, 100), (0, 0, 100)],
)
def test_a_bar_never_shows_more_left_than_there_is(spent: int, cap: int, percent: int) -> None:
    assert Spending(spent=spent, cap=cap, epsilon_spent="0", epsilon_cap="1").percent_spent == percent


def test_a_question_without_an_answer_shows_no_chart() -> None:
    running, refunded = sample_town().questions[0], sample_town().questions[-1]
    page = render_town(replace(sample_town(), questions=(running, refunded)), "ja")
    assert "計算しています" in page
    assert "ε 0.2 をもどしました" in page
    assert '<svg class="chart"' not in page


def test_a_purpose_without_a_label_is_shown_by_its_own_name() -> None:
    card = replace(sample_town().policies[0], purpose="https://w3id.org/dpv#OptimisationForConsumer", title=MOBILITY)
    assert "Optimisation For Consumer" in render_town(replace(sample_town(), policies=(card,)), "en")
