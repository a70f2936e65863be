"""A policy: what may be asked, of whom, about what, at what price. The stewards' quorum signs it.

Authored as TOML, stored and signed as canonical JSON of exactly these fields. A material change is a new version and
needs new consents. A **view** is where sensitivity is decided, once, by people, and not by each query.

Units: budgets are nano-rho (10^-9 rho of zero-concentrated differential privacy, Bun and Steinke 2016);
``rows_per_resident`` is rows of one resident at one holder; ``reuse`` and ``expires`` are seconds.
"""

import calendar
import hashlib
from datetime import date
from fractions import Fraction
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ledger import canonical
from ledger.entries import Alias, Day, Decimal, Hex32, NanoRho, Text
from ledger.errors import Malformed
from policies.admit_expiry import DEFAULT_EXPIRY_SECONDS, ExpirySeconds
from policies.calendar.calendar_units import EXAMPLES, CalendarUnit, number_in_calendar, text_in_calendar
from policies.languages import BY_TAG, NOTICE_LANGUAGES, TITLE_LANGUAGES
from policies.pairwise_keys import SERVICE

ServiceGroup = Literal["living", "health", "community", "excursion", "sdgs"]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\Z")]
"""The name of a view, column or source."""
Value = Annotated[str, Meta(min_length=1, max_length=80)]
"""One value of a public category."""
Small = Annotated[int, Meta(ge=-(2**31), le=2**31)]
"""An integer bound of a column."""


class Category(Struct, frozen=True, kw_only=True, tag_field="type", tag="category", forbid_unknown_fields=True):
    """A column whose values come from a public list.

    ``other`` (one of ``values``, or "" for none) takes every null and every value outside the list. Without it such
    rows stay in the view, but fall in no group and match no filter on this column. ``labels`` is what people read in
    place of a value, in ja and en; a value without one stands for itself.
    """

    name: Name
    title: Text
    values: Annotated[list[Value], Meta(min_length=1, max_length=512)]
    other: Annotated[str, Meta(max_length=80)] = ""
    labels: dict[str, Text] = {}


class Range(Struct, frozen=True, kw_only=True, tag_field="type", tag="range", forbid_unknown_fields=True):
    """An integer column that may be filtered and grouped by: every integer from ``lo`` to ``hi`` is a public key.

    A null or a value outside the range falls in no group and matches no filter on this column.
    """

    name: Name
    title: Text
    lo: Small
    hi: Small


class Measure(Struct, frozen=True, kw_only=True, tag_field="type", tag="measure", forbid_unknown_fields=True):
    """An integer column that may be summed: values are clipped to ``lo``..``hi``; a null counts as no value."""

    name: Name
    title: Text
    lo: Small
    hi: Small
    unit: Annotated[str, Meta(max_length=20)] = ""
    squares: bool = False


class Time(Struct, frozen=True, kw_only=True, tag_field="type", tag="time", forbid_unknown_fields=True):
    """A column of time that may be filtered and grouped by: every ``unit`` from ``first`` to ``last`` is a public key.

    It is the local time of the holder's file; the engine turns no zone. Bounds are texts in the unit's form
    (``policies.calendar.calendar_units``). A null, and what is outside the bounds or no time, falls in no group and
    matches no filter on this column.
    """

    name: Name
    title: Text
    unit: CalendarUnit
    first: Annotated[str, Meta(max_length=13)]
    last: Annotated[str, Meta(max_length=13)]

    @property
    def lo(self) -> int:
        """The number of the first unit (of a checked document)."""
        return number_in_calendar(self.unit, self.first) or 0

    @property
    def hi(self) -> int:
        """The number of the last unit (of a checked document)."""
        return number_in_calendar(self.unit, self.last) or 0

    def place(self, text: str) -> int | None:
        """Return how many units after the first a text is, negative before it; None where it is not of the unit."""
        number = number_in_calendar(self.unit, text)
        return None if number is None else number - self.lo

    def texts(self) -> tuple[str, ...]:
        """Return every unit from the first to the last."""
        return tuple(text_in_calendar(self.unit, number) for number in range(self.lo, self.hi + 1))


Column = Category | Range | Measure | Time


class View(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bounded table at one or more holders.

    At each holder at most ``rows_per_resident`` rows of a resident are kept, chosen as by a keyed draw, the same every
    time. ``holders_per_resident`` is at how many of the view's holders one resident may count; nothing but the number
    of the view's holders can be enforced by every node alone, so that is the only value taken.

    ``bounding_measures`` allows the measures of what bounding left out: residents with more rows, values that were
    clipped. It is true or left out (so that older documents keep their bytes), and from rules number 4 on.
    """

    name: Name
    title: Text
    holders: Annotated[list[Alias], Meta(min_length=1, max_length=32)]
    source: Name
    resident: Name
    rows_per_resident: Annotated[int, Meta(ge=1, le=1_000)]
    holders_per_resident: Annotated[int, Meta(ge=1, le=32)]
    columns: Annotated[list[Column], Meta(min_length=1, max_length=64)]
    bounding_measures: Literal[True] | UnsetType = UNSET

    def column(self, name: str) -> Column | None:
        """Return the column of that name, if the view has it."""
        return next((column for column in self.columns if column.name == name), None)


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Account caps in nano-rho: for the whole policy per window and for life, and for each partner per window.

    Accounts belong to the policy's id, so a new version resets nothing. ``delta`` is for showing (epsilon, delta).
    """

    delta: Decimal
    window: Literal["day", "month", "year"]
    per_window: NanoRho
    life: NanoRho
    per_partner: NanoRho


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one question may be: ``cells`` in its answer, ``measures``, and nano-rho of one ``charge``."""

    cells: Annotated[int, Meta(ge=1, le=4_096)]
    measures: Annotated[int, Meta(ge=1, le=16)]
    charge: NanoRho


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole document.

    ``yearly_caps`` (``caps`` in the document) is what a resident chooses from: how much of this policy version's
    charges their grant may bear in a calendar year. The account caps, which bind everybody together, are in ``budget``.
    ``notice`` is what a resident reads and agrees to, in all NOTICE_LANGUAGES.
    """

    v: Literal[1] = 1
    id: Alias
    version: Annotated[int, Meta(ge=1, le=10_000)]
    title: Text
    notice: Text
    purpose: Annotated[str, Meta(pattern=r"^https://w3id\.org/dpv#[A-Za-z]+\Z")]
    group: ServiceGroup
    controller: Alias
    holders: Annotated[list[Alias], Meta(min_length=1, max_length=32)]
    partners: Annotated[list[Alias], Meta(min_length=1, max_length=256)]
    until: Annotated[list[Day], Meta(min_length=1, max_length=64)]
    yearly_caps: Annotated[list[NanoRho], Meta(min_length=1, max_length=8)] = field(name="caps")
    views: Annotated[list[View], Meta(min_length=1, max_length=16)]
    budget: Budget
    limits: Limits
    aggregation: Literal["local"]
    reuse: Annotated[int, Meta(ge=0, le=366 * 86_400)]
    expires: ExpirySeconds = DEFAULT_EXPIRY_SECONDS

    def view(self, name: str) -> View | None:
        """Return the view of that name, if the policy has it."""
        return next((view for view in self.views if view.name == name), None)


def check_document(policy: Policy) -> None:
    """Raise Malformed, saying where, unless the document's parts fit each other."""
    for text_name, text in (("title", policy.title), ("notice", policy.notice)):
        for language in TITLE_LANGUAGES:
            if not text.get(language):
                raise Malformed(f"The policy's {text_name} lacks the language '{language}'.")
    for language in NOTICE_LANGUAGES:
        if not policy.notice.get(language):
            raise Malformed(f"The policy's notice lacks {BY_TAG[language].english} ('{language}').")
    _check_distinct("holders", policy.holders)
    if SERVICE in policy.holders:
        raise Malformed("No holder is called 'service': that name gives the resident's key at the service itself.")
    _check_distinct("partners", policy.partners)
    _check_distinct("views", [view.name for view in policy.views])
    if not 0 < Fraction(policy.budget.delta) < 1:
        raise Malformed("The policy's delta is above 0 and below 1.")
    for day in policy.until:
        _check_month_end(day)
    if 0 in policy.yearly_caps or sorted(set(policy.yearly_caps)) != policy.yearly_caps:
        raise Malformed("The policy's caps are positive, distinct and rise.")
    for view in policy.views:
        _check_view(policy, view)


def _check_view(policy: Policy, view: View) -> None:
    _check_distinct(f"view {view.name} holders", view.holders)
    _check_distinct(f"view {view.name} columns", [column.name for column in view.columns])
    if not set(view.holders) <= set(policy.holders):
        raise Malformed(f"The view '{view.name}' names a holder that the policy does not.")
    if view.holders_per_resident != len(view.holders):
        raise Malformed(
            f"The view '{view.name}' says holders_per_resident = {view.holders_per_resident}, but only the number of "
            f"its holders ({len(view.holders)}) can be enforced."
        )
    for column in view.columns:
        if isinstance(column, Category):
            _check_distinct(f"column {column.name} values", column.values)
            if column.other and column.other not in column.values:
                raise Malformed(f"The column '{column.name}' sends other values to one it does not list.")
            if any(char > "\uffff" for value in column.labels for char in value):
                raise Malformed(f"The column '{column.name}' labels a value with a character above U+FFFF.")
            if not set(column.labels) <= set(column.values):
                raise Malformed(f"The column '{column.name}' labels a value that it does not list.")
            if any(not label.get(language) for label in column.labels.values() for language in TITLE_LANGUAGES):
                asked = " or ".join(f"'{language}'" for language in TITLE_LANGUAGES)
                raise Malformed(f"The column '{column.name}' has a label that lacks {asked}.")
            continue
        if isinstance(column, Time):
            _check_time(column)
        if column.lo > column.hi:
            raise Malformed(f"The column '{column.name}' has {_ENDS[type(column)]}.")
        if isinstance(column, Measure) and column.squares:
            raise Malformed(f"The column '{column.name}' asks for squares, which this version does not compute.")


_ENDS = {Range: "lo above hi", Measure: "lo above hi", Time: "its last before its first"}


def _check_time(column: Time) -> None:
    for end in (column.first, column.last):
        if number_in_calendar(column.unit, end) is None:
            raise Malformed(
                f"The column '{column.name}' has a bound that is no {column.unit}, as '{EXAMPLES[column.unit]}' is."
            )


def _check_distinct(what: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise Malformed(f"The policy's {what} repeat.")


def _check_month_end(day: str) -> None:
    try:
        parsed = date.fromisoformat(day)
    except ValueError:
        raise Malformed("A policy's until is a date.") from None
    if parsed.day != calendar.monthrange(parsed.year, parsed.month)[1]:
        raise Malformed("A policy's until is the last day of a month.")


def decode_document(data: bytes) -> Policy:
    """Read a policy's canonical JSON strictly and check it; raise Malformed."""
    policy = canonical.decode(data, Policy, "policy")
    check_document(policy)
    return policy


def decode_narrow_document(data: bytes) -> Policy:
    """Read a policy as ``decode_document`` does, and as software did that knew no time and no ``bounding_measures``."""
    policy = canonical.decode(data, Policy, "policy")
    of_time, measures = place_of_time(policy), place_of_bounding_measures(policy)
    place = f"{of_time}.type" if of_time is not None else measures
    if place is not None:
        raise Malformed(f"The policy is not of its format at `{place}`.")
    check_document(policy)
    return policy


def place_of_time(policy: Policy) -> str | None:
    """Return where the document's first column of time is (``$.views[0].columns[2]``), if it has one."""
    places = (
        f"$.views[{view_place}].columns[{place}]"
        for view_place, view in enumerate(policy.views)
        for place, column in enumerate(view.columns)
        if isinstance(column, Time)
    )
    return next(places, None)


def place_of_bounding_measures(policy: Policy) -> str | None:
    """Return where the first view is (``$.views[1]``) that has ``bounding_measures``, if one has."""
    places = (f"$.views[{n}]" for n, view in enumerate(policy.views) if view.bounding_measures is not UNSET)
    return next(places, None)


def document_sha256(policy: Policy) -> Hex32:
    """Return the hash that consents and questions name the document by."""
    return hashlib.sha256(canonical.encode(policy)).hexdigest()


def notice_sha256(policy: Policy, language: str) -> Hex32:
    """Return the hash of the notice that a resident read in that language; raise Malformed for another language."""
    if language not in policy.notice:
        raise Malformed("The policy has no notice in that language.")
    return hashlib.sha256(policy.notice[language].encode("utf-8")).hexdigest()
