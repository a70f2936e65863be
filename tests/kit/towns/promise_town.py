"""A hand-made town whose operator promises revocations, keeps them or lies; real witnesses over real HTTP.

``PromiseTown`` has a log by ``tests.kit.logs.log_builder``, three real witnesses with a clock that the test sets, and a
service that answers a resident's device: it takes a revocation, signs its promise, and appends what it is told to
append.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ledger import canonical, jws
from ledger import entries as e
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.note import Note, NoteSignature, format_note, parse_note
from ledger.notes.receipts import Receipt
from ledger.notes.witness_policy import PolicyGroup, WitnessPolicy
from ledger.notes.witness_protocol import AddCheckpoint, SizeConflict
from ledger.tlog.tiles import Tile, TileAppender, TileReader
from ledger.tlog.tree import prove_consistency, prove_inclusion
from policies.consents.bundle import commitment
from policies.consents.promises import PROMISE_SECONDS, Promise
from policies.policy_document import document_sha256
from tests.kit.logs.log_builder import LogBuilder, consent_id
from tests.kit.machine.web import Answer, web_server
from tests.kit.parties.witnesses import answers_of
from tests.kit.towns.toy_town import OPERATOR, ORIGIN, key_of, scarce
from trust.audit.witness import Witness
from trust.client.wire import MyConsent, RevokeRequest
from trust.log.pins import Trust, save_trust
from trust.log.tile_folder import TileFolder

WITNESSES = ("wit_a", "wit_b", "wit_c")


class PromiseTown:
    """The town. ``now`` is the witnesses' time."""

    def __init__(self, folder: Path, quorum: int = 2) -> None:
        self.folder = folder
        self.log = LogBuilder(witnesses=WITNESSES, quorum=quorum)
        self.operator = self.log.found(operator=True) - 1
        self.grants = [self.log.grant(number) for number in range(8)]
        self.now = self.log.at
        self.witnesses = {
            name: Witness(":memory:", f"{name}.example", key_of(name), [self.log.log_key], clock=lambda: self.now)
            for name in WITNESSES
        }
        self.urls: dict[str, str] = {}

    # The log.

    @property
    def trust(self) -> Trust:
        """The town's pins, with the witnesses' addresses where they are served."""
        policy = self.log.witness_policy
        known = {name: replace(each, url=self.urls.get(name)) for name, each in policy.witnesses.items()}
        return msgspec.structs.replace(self.log.trust, witness_policy=replace(policy, witnesses=known).format())

    def publish(self, *witnesses: str) -> bytes:
        """Let these witnesses (all, unless told) cosign all entries; write the log to its folder; return the note."""
        appender = TileAppender()
        files = dict(appender.append(self.log.entries))
        note = sign_checkpoint(Checkpoint(ORIGIN, appender.size, appender.root()), key_of("log"))
        lines = [self._cosign(name, note, appender.size, files) for name in witnesses or WITNESSES]
        opened = parse_note(note)
        note = format_note(Note(opened.text, (*opened.signatures, *lines)))
        folder = TileFolder(self.folder / "log")
        folder.write_tiles(list(files.items()))
        folder.write_checkpoint(note)
        save_trust(self.trust, self.folder / "trust.json")
        return note

    def _cosign(self, name: str, note: bytes, size: int, files: dict[Tile, bytes]) -> NoteSignature:
        witness, old = self.witnesses[name], 0
        while True:
            proof = prove_consistency(old, size, TileReader(files.__getitem__, size)) if old else []
            try:
                line = witness.add_checkpoint(AddCheckpoint(old, proof, note).format())
            except SizeConflict as conflict:
                old = conflict.size
            else:
                return NoteSignature.parse(line.decode().removesuffix("\n"))

    @contextmanager
    def witnesses_served(self) -> Iterator[None]:
        """Let the witnesses be asked over HTTP."""
        with ExitStack() as servers:
            for name, witness in self.witnesses.items():
                self.urls[name] = servers.enter_context(web_server(answers_of(witness)))
            yield

    # The operator's word.

    def promise(self, grant: int, index: int, key: str = OPERATOR, **changes: Any) -> str:
        """Sign the promise that the revocation of ``grant`` that the builder makes will stand at ``index``."""
        at = self.now
        said = Promise(
            log=ORIGIN,
            grant=grant,
            commitment=e.decode(self.revocation(grant)).commitment,  # type: ignore[union-attr]
            index=index,
            promised_at=at,
            by=at + PROMISE_SECONDS,
        )
        return jws.sign(msgspec.structs.replace(said, **changes), key_of(key))

    @staticmethod
    def revocation(grant: int) -> bytes:
        """Return the entry that keeps such a promise."""
        other = LogBuilder()
        other.state.at = 0
        made = e.Revoke(at=other.now(), grant=grant, reason="withdrawn", commitment=f"{grant:064x}")
        return e.encode(made)

    # The service, as a resident's device meets it.

    @contextmanager
    def service(self, act: Callable[["PromiseTown", RevokeRequest], int]) -> Iterator[str]:
        """Serve the device of a resident with one consent, ``grants[3]``; ``act`` does what the operator really does.

        It is told the revocation and returns the index that the operator promises.
        """

        def answer(method: str, path: str, body: bytes) -> Answer:
            found = self._answer(path, body, act)
            return found if found is not None else (404, json.dumps({"code": "not-found", "detail": "No."}).encode())

        with web_server(answer) as url:
            yield url

    def _answer(self, path: str, body: bytes, act: Callable[["PromiseTown", RevokeRequest], int]) -> Answer | None:
        policy = scarce()
        if path.startswith("/log/"):
            file = self.folder / path.removeprefix("/")
            return (200, file.read_bytes()) if file.is_file() else None
        if path == "/v1/residents/consents":
            mine = MyConsent(
                index=self.grants[3],
                consent=consent_id(3),
                policy=policy.id,
                version=1,
                policy_sha256=document_sha256(policy),
                until="2028-03-31",
                yearly_cap=policy.yearly_caps[-1],
                holders=["bus_co"],
                ended_by=None,
            )
            return 200, msgspec.json.encode([mine])
        if path.startswith("/v1/policies/"):
            return 200, canonical.encode(policy)
        if path == "/v1/revocations":
            wanted = canonical.decode(body, RevokeRequest)
            committed = commitment(wanted.bundle)
            index = act(self, wanted)
            token = self.promise(wanted.grant, index, commitment=committed)
            return 200, canonical.encode({"index": index, "operator": self.operator, "promise": token})
        for prefix in ("/v1/receipts/", "/v1/entries/"):
            if path.startswith(prefix) and int(path.removeprefix(prefix)) < len(self.log.entries):
                return 200, self._proven(prefix, int(path.removeprefix(prefix)))
        return None

    def _proven(self, prefix: str, index: int) -> bytes:
        if prefix == "/v1/entries/":
            return self.log.entries[index]
        appender = TileAppender()
        files = dict(appender.append(self.log.entries))
        note = (self.folder / "log" / "checkpoint").read_bytes()
        proof = prove_inclusion(index, appender.size, TileReader(files.__getitem__, appender.size))
        return Receipt(index, proof, note).format()


def quorum_policy(log: LogBuilder, threshold: int) -> WitnessPolicy:
    """Return the builder's policy with another threshold."""
    policy = log.witness_policy
    return replace(policy, groups={"quorum": PolicyGroup(threshold, tuple(policy.witnesses))})
