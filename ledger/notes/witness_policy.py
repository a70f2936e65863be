"""Witness policies (C2SP tlog-policy): which logs are believed, and how many of which witnesses must have cosigned.

::

    # Comments and empty lines are passed over. Items are separated by spaces or tabs.
    log example.town/log+2f1a…+AbCd… https://example.town/log
    witness city witness.example/city+77aa…+BDef… https://witness.example
    witness library witness.example/library+01bc…+BG12…
    group either any city library
    quorum either

A group holds when at least k of its members do; ``all`` and ``any`` stand for a k of all and of 1. A group or quorum
names only what stands on lines before it. No name is a member twice, in one group or in two. ``quorum none`` asks for
no witness. Exactly one quorum line. No public key is listed twice as a log or
twice as a witness. Log keys are of type 1 or 6, witness keys of type 4 or 6. Names have no meaning outside the file.

A witness that signs with both an Ed25519 key (4) and a post-quantum one (6) stands on two lines, with one address, and
the two in a group of their own: ``any`` counts it once whichever line is there, which also a reader that cannot check
ML-DSA-44 can tell; ``all`` asks for both, and only then does the quorum outlive Ed25519. In any other group that asks
for two or more it would count twice: such a policy is refused. Lines are one witness's where their keys have one name,
or where they have one address::

    witness city witness.example/city+77aa…+BDef… https://witness.example
    witness city_pq witness.example/city+90c1…+Bq1k… https://witness.example
    group city_either any city city_pq

At most 256 lines of each kind are taken. ``format`` prints the one plain form of a policy: no comments, each k a
number; reading that gives the same policy again.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ledger.errors import Malformed, ProofInvalid, TooLarge
from ledger.notes.cosignatures import check_cosignature, median_time
from ledger.notes.note import TYPE_COSIGNATURE, TYPE_ED25519, TYPE_ML_DSA_44, Note, VerifierKey
from ledger.text_forms import to_number

NO_WITNESS = "none"
MAX_OF_EACH = 256
MAX_POLICY_BYTES = 1_000_000

T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SPACES = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log that is believed, and where it is (or None)."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness that may count, and the prefix to send checkpoints to (or None)."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """Holds when at least ``threshold`` of ``members`` (witnesses or earlier groups) do."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """Logs, witnesses and groups by name in their order, and the name of the quorum (``none`` for no witness).

    Raises Malformed or TooLarge when the parts break a rule in the module's docstring.
    """

    logs: tuple[PolicyLog, ...] = ()
    witnesses: dict[str, PolicyWitness] = field(default_factory=dict)
    groups: dict[str, PolicyGroup] = field(default_factory=dict)
    quorum: str = NO_WITNESS

    def __post_init__(self) -> None:
        if max(len(self.logs), len(self.witnesses), len(self.groups)) > MAX_OF_EACH:
            raise TooLarge("A witness policy has at most 256 logs, 256 witnesses and 256 groups.")
        _check_keys((log.key for log in self.logs), (TYPE_ED25519, TYPE_ML_DSA_44), "log")
        _check_keys((witness.key for witness in self.witnesses.values()), (TYPE_COSIGNATURE, TYPE_ML_DSA_44), "witness")
        known: set[str] = set()
        for name in (*self.witnesses, *self.groups):
            if name == NO_WITNESS or name in known or not _is_item(name):
                raise Malformed("Each witness and group of a policy has a name of its own, other than 'none'.")
            known.add(name)
        for url in (*(log.url for log in self.logs), *(witness.url for witness in self.witnesses.values())):
            if url is not None and not _is_item(url):
                raise Malformed("An address in a witness policy has no spaces or control characters.")
        _check_groups(self.witnesses, self.groups)
        self._check_counted_once()
        if self.quorum != NO_WITNESS and self.quorum not in known:
            raise Malformed("The policy's quorum names no witness or group of it.")

    @property
    def log_keys(self) -> tuple[VerifierKey, ...]:
        """The keys of the logs that are believed."""
        return tuple(log.key for log in self.logs)

    @classmethod
    def parse(cls, text: str) -> "WitnessPolicy":
        """Read a policy file strictly; raise Malformed or TooLarge."""
        if len(text) > MAX_POLICY_BYTES:
            raise TooLarge("The witness policy is larger than 1,000,000 characters.")
        if _CONTROL.search(text) or (text and not text.endswith("\n")):
            raise Malformed("A witness policy is lines ended by newlines, without other control characters than tab.")
        reader = _Reader()
        for line in text.split("\n"):
            items = _SPACES.split(line.strip(" \t"))
            if items[0] and not items[0].startswith("#"):
                reader.read(items)
        if reader.quorum is None:
            raise Malformed("A witness policy has exactly one quorum line; 'quorum none' asks for no witness.")
        return cls(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)

    def format(self) -> str:
        """Return the policy in its plain form: logs, witnesses, groups, quorum."""
        lines = [["log", str(log.key), log.url] for log in self.logs]
        lines += [["witness", name, str(each.key), each.url] for name, each in self.witnesses.items()]
        lines += [["group", name, str(each.threshold), *each.members] for name, each in self.groups.items()]
        lines.append(["quorum", self.quorum])
        return "".join(" ".join(item for item in line if item is not None) + "\n" for line in lines)

    def check(self, note: Note) -> dict[str, int]:
        """Return which witnesses cosigned a checkpoint's note, by their names here, and when (seconds since 1970).

        Where the policy lists logs, one of them must have signed too, under its own origin. Raises ProofInvalid when
        it has not, or when the quorum is not met; SignatureInvalid when a line by a known key does not verify.
        """
        if self.logs and not self._is_signed_by_a_log(note):
            raise ProofInvalid("The checkpoint is not signed by a log of the witness policy.")
        return self.check_quorum(note)

    def check_quorum(self, note: Note) -> dict[str, int]:
        """Return what ``check`` does, for a reader who has checked the log's own signature (``ledger.notes.log_keys``).

        A log's keys change and the file's log lines do not. Raises ProofInvalid or SignatureInvalid.
        """
        times = {name: check_cosignature(note, witness.key) for name, witness in self.witnesses.items()}
        cosigned = {name: time for name, time in times.items() if time is not None}
        if not self.is_quorum(cosigned):
            raise ProofInvalid("The checkpoint is not cosigned by the quorum of witnesses.", cosigned=sorted(cosigned))
        return cosigned

    def is_quorum(self, names: Iterable[str]) -> bool:
        """Return whether these witnesses, by their names here, meet the quorum; ``quorum none`` is always met."""
        holds = set(names)
        # Groups stand after their members, so one pass settles them all.
        for name, group in self.groups.items():
            if sum(member in holds for member in group.members) >= group.threshold:
                holds.add(name)
        return self.quorum == NO_WITNESS or self.quorum in holds

    def witness_of(self) -> dict[str, str]:
        """Return, for each name of a witness line, the name of the first line of the same witness."""
        found: dict[str, str] = {}
        first: dict[str, str] = {}
        for name, witness in self.witnesses.items():
            marks = [f"named {witness.key.name}", *([] if witness.url is None else [f"at {witness.url.rstrip('/')}"])]
            known = [first[mark] for mark in marks if mark in first]
            owner = known[0] if known else name
            for table in (found, first):  # a line that has one's name and another's address makes the two one
                table |= {key: owner for key, each in table.items() if each in known}
            first |= dict.fromkeys(marks, owner)
            found[name] = owner
        return found

    def by_witness(self, times: Mapping[str, int]) -> dict[str, int]:
        """Return times, by names here, once for each witness: by its first name there, the earliest of its times.

        One that signs with two keys at two times says no more than the earlier one.
        """
        witness_of = self.witness_of()
        found: dict[str, tuple[str, int]] = {}
        for name in self.witnesses:
            if name in times:
                first, time = found.get(witness_of[name], (name, times[name]))
                found[witness_of[name]] = (first, min(time, times[name]))
        return dict(found.values())

    def median_of(self, times: Mapping[str, int]) -> int | None:
        """Return the median of times by names here (the lower one of two), each witness once; None of none."""
        return median_time(self.by_witness(times).values())

    def _check_counted_once(self) -> None:
        witnesses: dict[str, set[str]] = {name: {owner} for name, owner in self.witness_of().items()}
        for name, group in self.groups.items():
            each = [witnesses[member] for member in group.members]
            together = set[str]().union(*each)
            if group.threshold > 1 and len(together) > 1 and sum(map(len, each)) > len(together):
                raise Malformed(
                    "A group of the witness policy counts one witness twice: put all its keys into a group of their own."
                )
            witnesses[name] = together

    def _is_signed_by_a_log(self, note: Note) -> bool:
        signed = False
        for key in self.log_keys:
            for line in note.signatures:
                if line.is_by(key):
                    key.check(note.text, line.signature)
                    signed = signed or note.text.partition("\n")[0] == key.name
        return signed


def cosigners_of(note: Note, policy: WitnessPolicy) -> dict[str, int]:
    """Return who cosigned a note, by their names in the policy, and when (seconds since 1970): each witness once.

    One that signs with two keys stands on two lines of the policy; the first that is there names it. Raises
    SignatureInvalid when a line by a known key does not verify.
    """
    times = {name: check_cosignature(note, witness.key) for name, witness in policy.witnesses.items()}
    return policy.by_witness({name: time for name, time in times.items() if time is not None})


class _Reader:
    """Collects the lines of a policy file; what stands on earlier lines is what later ones may name."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: dict[str, PolicyWitness] = {}
        self.groups: dict[str, PolicyGroup] = {}
        self.quorum: str | None = None

    def read(self, items: list[str]) -> None:
        match items:
            case ["log", key, *url] if len(url) <= 1:
                self.logs.append(PolicyLog(VerifierKey.parse(key), *url))
            case ["witness", name, key, *url] if len(url) <= 1:
                self._check_new(name)
                self.witnesses[name] = PolicyWitness(VerifierKey.parse(key), *url)
            case ["group", name, threshold, *members] if members:
                self._check_new(name)
                self._check_known(members)
                self.groups[name] = PolicyGroup(_threshold(threshold, len(members)), tuple(members))
            case ["quorum", name] if self.quorum is None:
                if name != NO_WITNESS:
                    self._check_known([name])
                self.quorum = name
            case _:
                raise Malformed("A line of the witness policy is not a log, witness, group or one quorum line.")

    def _check_new(self, name: str) -> None:
        if name in self.witnesses or name in self.groups:
            raise Malformed("The witness policy gives one name to two witnesses or groups.")

    def _check_known(self, names: list[str]) -> None:
        if not all(name in self.witnesses or name in self.groups for name in names):
            raise Malformed("A line of the witness policy names a witness or group that no earlier line defines.")


def _threshold(text: str, members: int) -> int:
    if text in ("any", "all"):
        return 1 if text == "any" else members
    return to_number(text, "group's threshold")


def _is_item(text: str) -> bool:
    """Whether a text is one item of a line: not empty, without spaces and control characters."""
    return bool(text) and not _SPACES.search(text) and "\n" not in text and not _CONTROL.search(text)


def _check_keys(keys: Iterable[VerifierKey], types: tuple[int, int], what: str) -> None:
    seen: set[bytes] = set()
    for key in keys:
        if key.type not in types:
            raise Malformed(f"A {what}'s key in a witness policy is of type {types[0]} or {types[1]}.")
        if key.public_key in seen:
            raise Malformed(f"The witness policy lists one public key for two {what} lines.")
        seen.add(key.public_key)


def _check_groups(witnesses: dict[str, PolicyWitness], groups: dict[str, PolicyGroup]) -> None:
    defined = set(witnesses)
    taken: set[str] = set()
    for name, group in groups.items():
        if not 1 <= group.threshold <= len(group.members):
            raise Malformed("A group's threshold is between 1 and the number of its members.")
        for member in group.members:
            if member not in defined or member in taken:
                raise Malformed("Each member of a group is defined before it, and is a member only once.")
            taken.add(member)
        defined.add(name)
