"""What the town's public page shows. The service fills it; the templates only read it. Units: ``trust.pages.cards``."""

from msgspec import Struct

from ledger.entries import Text
from trust.pages.cards import PolicyCard, QuestionCard, RefusalCard


class Cosigner(Struct, frozen=True, kw_only=True):
    """A witness that signed the checkpoint, and when."""

    name: str
    time: int


class CheckpointCard(Struct, frozen=True, kw_only=True):
    """The latest published checkpoint: ``root`` is hexadecimal, ``url`` its address ("" leaves the link out)."""

    size: int
    root: str
    cosigners: tuple[Cosigner, ...]
    published_at: int
    url: str = ""


class HolderCard(Struct, frozen=True, kw_only=True):
    """How far a holder's node has caught up: with the first ``size`` entries, as it said ``seconds_ago`` (None: never).

    ``is_lagging`` where entries wait for it longer than they should, or nothing was heard of it.
    """

    title: Text
    size: int
    seconds_ago: int | None
    is_lagging: bool


class TownPage(Struct, frozen=True, kw_only=True):
    """The whole page. ``checkpoint`` is None before the first one; ``time_zone`` is the genesis entry's IANA name."""

    title: Text
    origin: str
    time_zone: str
    entries_total: int
    in_force_total: int
    checkpoint: CheckpointCard | None
    holders: tuple[HolderCard, ...]
    policies: tuple[PolicyCard, ...]
    questions: tuple[QuestionCard, ...]
    refusals: tuple[RefusalCard, ...]
