"""The question language: a typed tree, as canonical JSON.

::

    {"v":1,"policy":"mobility_demand","version":3,"from":["rides"],
     "where":[{"column":"hour","between":[7,9]}],"group_by":["ward"],
     "measures":[{"as":"rides","count":"rows"},{"as":"riders","count":"residents"},
                 {"as":"fare","sum":"fare"},{"as":"mean_fare","mean":"fare"},
                 {"as":"fares","histogram":"fare","edges":[0,200,400]}],
     "spend":{"epsilon":"0.2"}}

or ``"spend":{"within":{"measure":"rides","plus_minus":50,"confidence":"0.95"}}``. A filter has exactly one of
``between`` (both ends count), ``in`` and ``equals``, of whole numbers or, for a category or time, of texts; a measure
the form of exactly one class in ``queries.question.measures``. The hash of these bytes is the key for signing, caching
and budgets.
"""

import hashlib
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ledger import canonical
from ledger.entries import Alias, Decimal, Hex32
from policies.policy_document import Name
from queries.question.columns import Int, Label
from queries.question.measure_forms import MeasureAsked


class Filter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A condition on one column of the view; a null matches none."""

    column: Name
    between: tuple[str | Int, str | Int] | UnsetType = UNSET
    in_: Annotated[list[str | Int], Meta(min_length=1, max_length=512)] | UnsetType = field(name="in", default=UNSET)
    equals: str | Int | UnsetType = UNSET


class Within(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Spend as little as gives ``measure`` an interval of at most ± ``plus_minus`` in all cells at once."""

    measure: Label
    plus_minus: Annotated[int, Meta(ge=1, le=2**40)]
    confidence: Decimal


class Spend(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much privacy to spend: an ``epsilon`` at the policy's delta, or what an accuracy needs. Exactly one."""

    epsilon: Decimal | UnsetType = UNSET
    within: Within | UnsetType = UNSET


class Query(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole question. All fields are always written, so that it has one canonical form."""

    v: Literal[1] = 1
    policy: Alias
    version: Annotated[int, Meta(ge=1, le=10_000)]
    from_: Annotated[list[Name], Meta(min_length=1, max_length=2)] = field(name="from")
    where: Annotated[list[Filter], Meta(max_length=16)]
    group_by: Annotated[list[Name], Meta(max_length=2)]
    measures: Annotated[list[MeasureAsked], Meta(min_length=1, max_length=16)]
    spend: Spend


def encode_query(query: Query) -> bytes:
    """Return the canonical bytes."""
    return canonical.encode(query)


def decode_query(data: bytes) -> Query:
    """Read canonical bytes strictly; raise Malformed."""
    return canonical.decode(data, Query, "query")


def query_sha256(query: Query) -> Hex32:
    """Return the hash that keys signing, caching and budgets."""
    return hashlib.sha256(canonical.encode(query)).hexdigest()
