"""A folder of files that check without us: for the page that works offline (``/verify``) and for anyone's own tools.

::

    DIR/
      receipt-4711.tlog-proof        the receipt (C2SP tlog-proof); it carries the entry as its extra data
      entry-4711.json                the entry's exact bytes, for tools that do not read extra data
      trust.json                     whom to believe (``trust.log.pins``): a copy of the pins in use here
      log-keys.json                  where the log's key has changed: its history, proven (``trust.log.proven_keys``)
      state-4000.txt                 the checkpoint of the newest receipt that lay there before
      history-4000-to-5000.txt       consistency from that one to the new one, as a witness is asked (C2SP tlog-witness)
      receipt-4890.tlog-proof …      the question asked about, the same way
      in-force-4711-in-4890.json     whether the grant could be counted in it (``queries.answers.uses``)

Everything is checked before it is written. A second receipt into the same folder therefore also shows that the log
still continues the history that the first one saw.
"""

from pathlib import Path

from ledger import canonical
from ledger import entries as e
from ledger.errors import HistoryForked, MusubiError, NotFound, ProofInvalid, QueryInvalid
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.receipts import Receipt
from ledger.notes.witness_protocol import AddCheckpoint
from ledger.second_reads import read_in_turn
from ledger.tlog.proofs import check_consistency
from ledger.tlog.tiles import TileReader
from ledger.tlog.tree import prove_consistency
from queries.answers.uses import InForceAt, check_use
from trust.client import paths
from trust.client.service import Proven, ServiceClient
from trust.files.durable import write_whole
from trust.log.pins import TRUST_FILE, save_trust
from trust.log.proven_keys import ProvenLogKeys, check_log_keys
from trust.log.source import LogSource, past_caches

PUBLIC = 0o644
"""Nothing in these files is secret."""


def save_receipts(
    client: ServiceClient, log: LogSource, index: int, folder: Path, question: int | None = None
) -> list[Path]:
    """Write the files of entry ``index``, and of its use in the question at ``question``; return their paths.

    Raises NotFound for an index that is not published, QueryInvalid where ``question`` is no question under the entry's
    policy, HistoryForked or ProofInvalid where the log does not continue what a receipt in the folder shows, and
    whatever checking a receipt raises. Files written before an error stay; each is whole and true.
    """
    document, keys = client.checked(lambda: _read_keys(client))
    proven = client.prove(index)
    asked = None if question is None else client.prove(question)
    use = None if asked is None else _prove_use(client, proven, asked)
    written = _history(log, keys, proven, folder)
    written += _one(proven, folder)
    if asked is not None and use is not None:
        written += _one(asked, folder)
        written.append(folder / f"in-force-{index}-in-{question}.json")
        write_whole(written[-1], canonical.encode(use), PUBLIC)
    if document.changes:
        written.append(folder / "log-keys.json")
        write_whole(written[-1], canonical.encode(document), PUBLIC)
    written.append(folder / TRUST_FILE)
    save_trust(client.trust, written[-1])
    return written


def _read_keys(client: ServiceClient) -> tuple[ProvenLogKeys, LogKeyHistory]:
    document = client.get(paths.LOG_KEYS, ProvenLogKeys)
    return document, check_log_keys(document, client.trust.log_keys, client.trust.witnesses)


def _one(proven: Proven, folder: Path) -> list[Path]:
    """Write a receipt with its entry inside, and the entry by itself."""
    receipt, entry = folder / f"receipt-{proven.index}.tlog-proof", folder / f"entry-{proven.index}.json"
    whole = Receipt(proven.index, proven.receipt.proof, proven.receipt.checkpoint, proven.data)
    write_whole(receipt, whole.format(), PUBLIC)
    write_whole(entry, proven.data, PUBLIC)
    return [receipt, entry]


def _prove_use(client: ServiceClient, grant: Proven, question: Proven) -> InForceAt:
    given, admit = grant.entry, question.entry
    if not isinstance(admit, e.Admit) or not isinstance(given, e.Grant) or given.policy_sha256 != admit.policy_sha256:
        raise QueryInvalid("The two entries are not a consent and a question under its policy; see `resident uses`.")
    if question.index <= grant.index:
        raise QueryInvalid("The question was let in before the consent was given, so it could not count it.")
    path = paths.at(paths.IN_FORCE, policy_sha256=admit.policy_sha256, size=question.index, index=grant.index)

    def check() -> InForceAt:
        answer = client.get(path, InForceAt)
        check_use(answer, admit, question.index, log=client.trust.origin, index=grant.index)
        return answer

    return client.checked(check)


def _history(log: LogSource, keys: LogKeyHistory, proven: Proven, folder: Path) -> list[Path]:
    """Show that the log continues the newest receipt in the folder; nothing is written where there is none."""
    new, _ = keys.open(proven.receipt.checkpoint)
    older = _newest_before(keys, new, folder)
    if older is None:
        return []
    note, old = older
    if old.size == new.size:
        if old.root != new.root:
            raise HistoryForked(
                "The log signed another history than a receipt in the folder shows; keep both, tell a steward."
            )
        return []
    if not old.size:
        return []

    def prove(way: LogSource) -> list[bytes]:
        proof = prove_consistency(old.size, new.size, TileReader(way.read_tile, new.size))
        check_consistency(old.size, new.size, old.root, new.root, proof)
        return proof

    try:
        proof = read_in_turn([log, *past_caches(log)], prove)
    except ProofInvalid:
        raise ProofInvalid(
            "The log does not continue the history that a receipt in the folder shows; keep the folder, tell a steward."
        ) from None
    written = [folder / f"state-{old.size}.txt", folder / f"history-{old.size}-to-{new.size}.txt"]
    write_whole(written[0], note, PUBLIC)
    write_whole(written[1], AddCheckpoint(old.size, proof, proven.receipt.checkpoint).format(), PUBLIC)
    return written


def _newest_before(keys: LogKeyHistory, new: Checkpoint, folder: Path) -> tuple[bytes, Checkpoint] | None:
    """Return the largest checkpoint among the folder's receipts that the log did sign and that is not above ``new``."""
    found: list[tuple[bytes, Checkpoint]] = []
    for path in sorted(folder.glob("receipt-*.tlog-proof")):
        try:
            note = Receipt.parse(path.read_bytes()).checkpoint
            found.append((note, keys.open(note)[0]))
        except MusubiError:
            continue  # not a receipt of this log: it shows nothing about it
        except OSError:
            raise NotFound("A receipt in the folder cannot be read; check its permissions.") from None
    return max((each for each in found if each[1].size <= new.size), key=lambda each: each[1].size, default=None)
