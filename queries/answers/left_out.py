"""What an answer leaves out besides the noise, as data and in sentences: how many rows, which bounds, and which way.

Everything here follows from the question and its policy; no data is looked at. The *true* number is what the same
question would give of the same residents at the same holders with all their rows, and no value clipped. What each
measure says of it is in its class (``queries.question.measure_forms.AnyMeasure``). A filter that clipping decides
(``queries.question.faithful``; in ledgers of before rules number 4 there may be some) lets nothing be said.
"""

from collections.abc import Callable, Mapping

from msgspec import UNSET, UnsetType

from ledger.entries import Text
from policies.ledger_state import State
from policies.policy_document import Measure, View
from policies.rules import WIDER_QUESTIONS
from queries.question.faithful import is_faithful, known_inside
from queries.question.measure_forms import AnyMeasure, Gettext, Seen
from queries.question.measures import measure_of
from queries.question.tree import Query
from queries.rounds.messages import Bounding, ColumnBounds, MeasureTruth


def bounding_of(query: Query, view: View) -> Bounding:
    """Return what answers to a question that fits its view leave out."""
    measures = [measure_of(asked) for asked in query.measures]
    read = {measure.column for measure in measures} | {condition.column for condition in query.where}
    return Bounding(
        rows_per_resident=view.rows_per_resident,
        holders=len(view.holders),
        columns=[
            ColumnBounds(column=column.name, lo=column.lo, hi=column.hi)
            for column in view.columns
            if isinstance(column, Measure) and column.name in read
        ],
        measures=[_truth(measure, query, view) for measure in measures],
    )


def bounding_by_rules(state: State, query: Query) -> Bounding | UnsetType:
    """Return it as the service says it: from rules number 4 on, for partners of before refuse what they do not know."""
    documents = (record.document for record in state.versions.values())
    asked = ((query.policy, query.version), query.from_[0])
    found = [view for each in documents for view in each.views if ((each.id, each.version), view.name) == asked]
    return UNSET if state.rules < WIDER_QUESTIONS or not found else bounding_of(query, found[0])


def _truth(measure: AnyMeasure, query: Query, view: View) -> MeasureTruth:
    column = view.column(measure.column) if measure.column else None
    low: int | None = None
    high: int | None = None
    for condition in query.where:
        filtered = view.column(condition.column)
        if not isinstance(filtered, Measure):
            continue
        if not is_faithful(condition, filtered):
            return MeasureTruth(measure=measure.name, column="", truth="either", provided=[])
        if column is filtered:
            least, most = known_inside(condition, filtered)
            low = least if low is None else low if least is None else max(low, least)
            high = most if high is None else high if most is None else min(high, most)
    said = measure.direction(view, Seen(all=not query.where and not query.group_by, low=low, high=high))
    return MeasureTruth(
        measure=measure.name,
        column=measure.column if said.provided else "",
        truth=said.truth,
        provided=list(said.provided),
    )


def bounding_sentences(
    bounding: Bounding,
    view: View,
    labels: Mapping[str, str],
    *,
    gettext: Gettext,
    plain: Callable[[Text], str],
    number: Callable[[int], str],
) -> list[str]:
    """Say it in a reader's language: ``labels`` has what each measure of the question is called there.

    ``plain`` gives a text's wording, ``number`` writes a whole number.
    """
    return [
        _rows_said(bounding, view, gettext, plain, number),
        *(_clipping_said(column, view, gettext, plain, number) for column in bounding.columns),
        *_truths_said(bounding, view, labels, gettext, plain, number),
    ]


def _rows_said(
    bounding: Bounding, view: View, gettext: Gettext, plain: Callable[[Text], str], number: Callable[[int], str]
) -> str:
    names = {
        "view": plain(view.title),
        "rows": number(bounding.rows_per_resident),
        "holders": number(bounding.holders),
    }
    if bounding.holders > 1:
        if bounding.rows_per_resident == 1:
            return gettext("%(view)s: of each person, one record at each of %(holders)s holders is used.") % names
        return (
            gettext("%(view)s: of each person, at most %(rows)s records at each of %(holders)s holders are used.")
            % names
        )
    if bounding.rows_per_resident == 1:
        return gettext("%(view)s: of each person, one record is used.") % names
    return gettext("%(view)s: of each person, at most %(rows)s records are used.") % names


def _clipping_said(
    column: ColumnBounds, view: View, gettext: Gettext, plain: Callable[[Text], str], number: Callable[[int], str]
) -> str:
    return gettext(
        "%(column)s is cut to the range %(low)s to %(high)s: what is below counts as %(low)s, what is above as %(high)s."
    ) % _column_names(column.column, view, plain, number)


def _column_names(name: str, view: View, plain: Callable[[Text], str], number: Callable[[int], str]) -> dict[str, str]:
    column = view.column(name)
    if not isinstance(column, Measure):
        return {"column": name, "low": "", "high": ""}
    return {"column": plain(column.title), "low": number(column.lo), "high": number(column.hi)}


def _truths_said(
    bounding: Bounding,
    view: View,
    labels: Mapping[str, str],
    gettext: Gettext,
    plain: Callable[[Text], str],
    number: Callable[[int], str],
) -> list[str]:
    """Say of all measures of which the same is true that it is, in the order of the question."""
    together: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for each in bounding.measures:
        label = labels.get(each.measure, each.measure)
        together.setdefault((each.truth, each.column, tuple(each.provided)), []).append(label)
    said = []
    for (truth, column, provided), names in together.items():
        sentence = {
            "exact": gettext("%(measures)s: apart from the ±, nothing is left out."),
            "at-least": gettext("%(measures)s: apart from the ±, the true number can only be larger."),
            "at-most": gettext("%(measures)s: apart from the ±, the true number can only be smaller."),
            "either": gettext("%(measures)s: apart from the ±, the true number may be larger or smaller."),
        }[truth] % {"measures": gettext(", ").join(names)}
        if provided:
            where = {
                ("none-below",): gettext("That holds where no value of %(column)s is below %(low)s."),
                ("none-above",): gettext("That holds where no value of %(column)s is above %(high)s."),
                ("none-below", "none-above"): gettext(
                    "That holds where no value of %(column)s is below %(low)s or above %(high)s."
                ),
            }[provided] % _column_names(column, view, plain, number)
            sentence = gettext("%(first)s %(second)s") % {"first": sentence, "second": where}
        said.append(sentence)
    return said
