"""What an audit found, for people and, as JSON, for machines."""

from msgspec import Struct, field

from ledger import canonical
from trust.audit.comparison import Comparison

OK = "ok"


class AuditReport(Struct, kw_only=True):
    """The outcome of one audit. ``verdict`` is ``"ok"``, or the sentence that names the first thing wrong.

    Amounts are nano-rho, times are seconds since 1970, ``milliseconds`` is how long the audit took.
    """

    verdict: str = OK
    entries: int = 0
    """How many entries were read, checked and applied; up to the fault, if there is one."""
    first_fault: int | None = None
    """The ledger index that the fault is at, where it is at one."""
    rule: str = ""
    """The stable code of the error behind the verdict (``ledger.errors``)."""
    findings: list[str] = field(default_factory=list)
    """Entries that are wrong and change nothing, the first thousand of them; the first of all is the verdict."""
    kinds: dict[str, int] = field(default_factory=dict)
    """How many entries of each kind were checked."""
    open_rounds: list[int] = field(default_factory=list)
    """The ``admit`` entries that are not closed yet."""
    origin: str = ""
    size: int = 0
    root: str = ""
    cosigners: dict[str, int] = field(default_factory=dict)
    """Who cosigned the checkpoint, and when."""
    as_of: int | None = None
    """When the witnesses confirmed that checkpoint (the median), or None where none says."""
    algorithms: dict[str, list[str]] = field(default_factory=dict)
    """Which signature algorithms vouch for the checkpoint, and whose: ``log``, or a witness of the policy."""
    spent: dict[str, int] = field(default_factory=dict)
    """What each policy has spent for life."""
    reserved: dict[str, int] = field(default_factory=dict)
    """What each policy's open rounds hold back."""
    attested_stops: dict[str, int] = field(default_factory=dict)
    """How many consents each identity provider has ended for residents who had no key at hand."""
    shares_checked: int = 0
    """How many answers were summed up again from the holders' signed shares."""
    compared: list[Comparison] = field(default_factory=list)
    """The other views of the log that this one was held against, up to the first that contradicts it."""
    evidence: list[str] = field(default_factory=list)
    """Files that convict the log on their own: ``musubi audit verify-evidence FILE``."""
    milliseconds: int = 0
    notes: list[str] = field(default_factory=list)
    """What the reader must know besides: what was not checked, and whether the pins were believed on first use."""

    @property
    def is_ok(self) -> bool:
        """Whether nothing wrong was found."""
        return self.verdict == OK

    @property
    def seconds(self) -> float:
        """How long the audit took."""
        return self.milliseconds / 1_000

    def to_json(self) -> bytes:
        """Return the report as canonical JSON."""
        return canonical.encode(self)
