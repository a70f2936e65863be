"""Evidence on disk: files that convict a log or its operator on their own, made here and checked here.

There are two kinds, told apart by ``kind``: ``split-view`` (``ledger.evidence``) and ``broken-promise``
(``policies.consents.promises``); each module's docstring is its format. A file is named for its kind and the hash of
its bytes, so the same evidence is kept once, and one file never overwrites another.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ledger import canonical
from ledger.errors import NotFound, Unavailable
from ledger.evidence import MAX_EVIDENCE_BYTES, Conviction, SplitView, check_split_view, line_of
from ledger.notes.note import VerifierKey
from ledger.notes.witness_policy import WitnessPolicy
from policies.consents.promises import BrokenPromise, check_broken_promise
from trust.files.durable import write_whole

Evidence = SplitView | BrokenPromise


def parse_evidence(data: bytes) -> Evidence:
    """Read evidence of either kind strictly, without checking what it shows; raise Malformed or TooLarge."""
    return canonical.decode(line_of(data), Evidence, "evidence")  # type: ignore[arg-type]


def check_evidence(
    evidence: Evidence, trusted: Sequence[VerifierKey] = (), witnesses: WitnessPolicy | None = None
) -> Conviction:
    """Return what the evidence convicts of; raise an error that says why where it does not.

    ``trusted`` and ``witnesses`` are the reader's own pins. Without keys, the file's own are taken, and that is said.
    Without witnesses nothing convicts that needs their clocks.
    Raises Malformed, TooLarge, SignatureInvalid, NotPermitted or ProofInvalid.
    """
    if isinstance(evidence, SplitView):
        return check_split_view(evidence, trusted)
    return check_broken_promise(evidence, trusted, witnesses)


def read_evidence(path: Path) -> Evidence:
    """Read a file of evidence; raise NotFound, Malformed, TooLarge, or Unavailable where it cannot be read."""
    try:
        with path.open("rb") as file:
            return parse_evidence(file.read(MAX_EVIDENCE_BYTES + 1))
    except FileNotFoundError:
        raise NotFound("There is no file of evidence there.") from None
    except OSError:
        raise Unavailable("The file of evidence cannot be read; check its permissions.") from None


def keep_evidence(folder: Path, evidence: Evidence) -> Path:
    """Write evidence into a folder, whole or not at all; return its file. It is there to be shown to everybody.

    Raises Unavailable where the disk does not take it.
    """
    data = evidence.format()
    kind = str(evidence.__struct_config__.tag)
    path = folder / f"{kind}-{hashlib.sha256(data).hexdigest()[:16]}.json"
    write_whole(path, data, mode=0o644)
    return path
