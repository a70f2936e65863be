"""Every parser of bytes that a stranger may send, with good inputs to spoil: for Hypothesis and for atheris alike.

``parsers()`` gives each parser a way to read bytes, a way to write what was read, and good inputs. ``meet`` is the rule
that all of them keep: a value whose bytes are the ones read, or an error of our own tree that says in one sentence what
is wrong. Any other exception is a fault, and so is a forged value.
"""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from ledger import canonical, jws
from ledger import entries as e
from ledger.errors import MusubiError
from ledger.evidence import SplitView, make_split_view
from ledger.hashing import leaf_hash
from ledger.notes import ml_dsa
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.cosignatures import check_cosignature, cosign
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.note import Note, NoteSignature, VerifierKey, cosignature_time, format_note, parse_note
from ledger.notes.receipts import Receipt, check_receipt
from ledger.notes.witness_policy import WitnessPolicy
from ledger.notes.witness_protocol import AddCheckpoint, decide
from ledger.text_forms import from_base64, to_base64, to_number
from ledger.tlog.proofs import check_consistency, inclusion_root, proven_prefix
from ledger.tlog.tiles import ENTRIES, Tile, TileAppender, TileReader, decode_bundle, encode_bundle, split_hashes
from ledger.tlog.tree import Frontier, prove_consistency, prove_inclusion, root_hash
from ledger.tlog.verified_tiles import VerifiedTiles
from policies.consents.promises import BrokenPromise, Promise
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.promise_town import WITNESSES, PromiseTown
from tests.kit.towns.toy_town import ORIGIN, key_of
from trust.files.evidence import check_evidence, parse_evidence
from trust.log.pins import decode_trust
from trust.log.share_files import decode_shares, decode_size
from trust.log.source import FolderLog, cut
from trust.resident.promises import KeptPromise, PromiseCheck

SENTENCE = re.compile(r"[A-Z0-9'][^\n\x00-\x1f]{5,400}[.?]")
ENTRIES_IN_ALL = 600
"""Enough for full tiles, partial ones and a level above."""


@dataclass(frozen=True, slots=True)
class Parser:
    """One parser. ``write`` is the inverse of ``read``, or None where what is read is only checked."""

    name: str
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes] | None
    good: tuple[bytes, ...]


def meet(parser: Parser, data: bytes) -> bool:
    """Let a parser read bytes, and return whether it took them; raise AssertionError where it breaks the rule."""
    try:
        value = parser.read(data)
    except MusubiError as error:
        _check_error(error)
        return False
    if parser.write is not None:
        assert parser.write(value) == data, parser.name
    return True


def _check_error(error: MusubiError) -> None:
    assert SENTENCE.fullmatch(error.message), error.message
    assert all(isinstance(each, str | int | list) for each in error.details.values())


def _text(data: bytes) -> str:
    """Return any bytes as a text, some with lone surrogates: a caller may have decoded them so."""
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: object) -> bytes:
    return str(text).encode("utf-8", "surrogateescape")


@cache
def parsers() -> tuple[Parser, ...]:
    """Return every parser; made once, with fixed keys."""
    town = LogBuilder().town()
    log_key, witness_key = town.log_key, VerifierKey.cosignature("wit_a.example", bytes(key_of("wit_a").verify_key))
    post_quantum = ml_dsa.key_from_seed(bytes(32))
    pq_key = VerifierKey.ml_dsa_44("pq.example", ml_dsa.public_bytes(post_quantum))
    appender = TileAppender()
    files = dict(appender.append([b"%d" % n for n in range(ENTRIES_IN_ALL)]))
    reader = TileReader(files.__getitem__, ENTRIES_IN_ALL)
    checkpoint = Checkpoint(ORIGIN, ENTRIES_IN_ALL, appender.root())
    signed = sign_checkpoint(checkpoint, key_of("log"))
    opened = parse_note(signed)
    lines = [
        cosign(opened.text, "wit_a.example", key_of("wit_a"), 5),
        cosign(opened.text, "pq.example", post_quantum, 6),
    ]
    cosigned = format_note(Note(opened.text, (*opened.signatures, *lines)))
    receipt = Receipt(300, prove_inclusion(300, ENTRIES_IN_ALL, reader), cosigned, b"extra")
    request = AddCheckpoint(77, prove_consistency(77, ENTRIES_IN_ALL, reader), signed)
    stored = Checkpoint(ORIGIN, 77, root_hash(77, reader))
    fork = sign_checkpoint(Checkpoint(ORIGIN, 77, bytes(32)), key_of("log"))
    split = make_split_view(fork, cosigned, [log_key], reader)
    assert split is not None
    promise, broken = _promise()
    policy = town.witness_policy.format().encode()
    trust = canonical.encode(town.trust)
    frontier = Frontier()
    frontier.append([leaf_hash(b"%d" % n) for n in range(77)])
    frontiers = msgspec.json.Decoder(Frontier)

    def check_note(data: bytes) -> None:
        checked, note = LogKeyHistory.of(log_key).open(data)
        for key in (witness_key, pq_key):
            check_cosignature(note, key)
        assert checked == checkpoint, "a forged checkpoint"

    def check_request(data: bytes) -> None:
        assert decide(AddCheckpoint.parse(data), stored, {ORIGIN: [log_key]}) == checkpoint, "a forged extension"

    def check_proofs(data: bytes) -> None:
        """Numbers, then hashes of whatever length, as proofs."""
        old, new = int.from_bytes(data[:3], "big"), int.from_bytes(data[3:6], "big")
        hashes = [data[at : at + 32] for at in range(6, len(data), 32)]
        checks: tuple[Callable[[], object], ...] = (
            lambda: inclusion_root(hashes[0] if hashes else b"", old, new, hashes[1:]),
            lambda: check_consistency(old, new, stored.root, checkpoint.root, hashes),
            lambda: proven_prefix(old, new, hashes),
        )
        for check in checks:
            try:
                check()
            except MusubiError as error:
                _check_error(error)

    def check_tile(data: bytes) -> None:
        """One tile of a log holds these bytes instead of its own: whatever is read is the log's, or refused."""
        which, rest = Tile(0, 1) if data[:1] < b"\x80" else Tile(ENTRIES, 1), data[1:]
        spoilt = files | {which: rest}
        tiles = VerifiedTiles(spoilt.__getitem__, ENTRIES_IN_ALL, checkpoint.root)
        assert tiles.bundle(1) == [b"%d" % n for n in range(256, 512)], "a forged entry"

    return (
        Parser("note", parse_note, format_note, (signed, cosigned)),
        Parser("signed checkpoint", check_note, None, (signed, cosigned)),
        Parser("verifier key", lambda d: VerifierKey.parse(_text(d)), _bytes, _all(log_key, witness_key, pq_key)),
        Parser("signature line", lambda d: NoteSignature.parse(_text(d)), _bytes, _all(*opened.signatures, *lines)),
        Parser("cosignature time", cosignature_time, None, (lines[0].signature, lines[1].signature)),
        Parser(
            "checkpoint text", lambda d: Checkpoint.parse(_text(d)), lambda c: _bytes(c.text), (_bytes(opened.text),)
        ),
        Parser("receipt", Receipt.parse, Receipt.format, (receipt.format(),)),
        Parser(
            "receipt's proof", lambda d: check_receipt(Receipt.parse(d), b"300", log_key), None, (receipt.format(),)
        ),
        Parser("witness request", AddCheckpoint.parse, AddCheckpoint.format, (request.format(),)),
        Parser("witness decision", check_request, None, (request.format(),)),
        Parser("witness policy", _policy, None, (policy, b"# none\n\nquorum none\n")),
        Parser("tile path", lambda d: Tile.parse(_text(d)), lambda t: _bytes(t.path), _paths()),
        Parser("entry bundle", lambda d: decode_bundle(d, 3), encode_bundle, (encode_bundle([b"a", b"", b"c" * 300]),)),
        Parser("hash tile", lambda d: split_hashes(d, Tile(0, 0, 3)), b"".join, (bytes(96),)),
        Parser("cut bundle", lambda d: cut(d, Tile(ENTRIES, 0, 2)), None, (encode_bundle([b"a", b"b", b"c"]),)),
        Parser("verified tile", check_tile, None, (b"\x00" + files[Tile(0, 1)], b"\xff" + files[Tile(ENTRIES, 1)])),
        Parser("proof", check_proofs, None, (b"\0\0\x4d\0\2\x58" + b"".join(request.proof),)),
        Parser("ledger entry", e.decode, e.encode, tuple(dict.fromkeys(town.entries[::3]))),
        Parser("signed message", lambda d: jws.parts(_text(d)), None, (_bytes(promise),)),
        Parser("promise", lambda d: jws.read_unverified(_text(d), Promise), None, (_bytes(promise),)),
        Parser("kept promise", _reader(KeptPromise), canonical.encode, (_kept(promise),)),
        Parser("split view", SplitView.parse, SplitView.format, (split.format(),)),
        Parser("broken promise", BrokenPromise.parse, BrokenPromise.format, (broken.format(),)),
        Parser("evidence", lambda d: check_evidence(parse_evidence(d)), None, (split.format(), broken.format())),
        Parser("trust file", decode_trust, None, (trust,)),
        Parser("signed shares", decode_shares, None, (b'{"members":{"clinic":2},"shares":{"clinic":"a.b.c"}}',)),
        Parser("size of shares", decode_size, None, (b"52\n", b"0\n")),
        Parser("base64", lambda d: from_base64(_text(d), "field"), lambda v: to_base64(v).encode(), (b"", b"AAE=")),
        Parser("number", lambda d: to_number(_text(d), "field"), _bytes, (b"0", b"9223372036854775807")),
        Parser("stored edge", _frontier(frontiers), None, (msgspec.json.encode(frontier),)),
    )


def _all(*values: object) -> tuple[bytes, ...]:
    return tuple(_bytes(value) for value in values)


def _paths() -> tuple[bytes, ...]:
    return tuple(
        tile.path.encode() for tile in (Tile(0, 1_234_067), Tile(1, 67, 5), Tile(ENTRIES, 999), Tile(63, 0, 255))
    )


def _policy(data: bytes) -> None:
    policy = WitnessPolicy.parse(_text(data))
    assert WitnessPolicy.parse(policy.format()) == policy


def _reader(type_: type[Any]) -> Callable[[bytes], Any]:
    return lambda data: canonical.decode(data, type_)


def _frontier(decoder: "msgspec.json.Decoder[Frontier]") -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        try:
            frontier = decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # what our own disk gives is read by msgspec, which raises nothing else
        frontier.root()

    return read


def _kept(promise: str) -> bytes:
    return canonical.encode(KeptPromise(promise=promise, operator=4))


def _promise() -> tuple[str, BrokenPromise]:
    """Return a signed promise, and the evidence that it was broken."""
    with tempfile.TemporaryDirectory() as folder:
        town = PromiseTown(Path(folder))
        promise = town.promise(town.grants[0], len(town.log.entries))
        town.log.append(town.revocation(town.grants[1]))
        town.publish(WITNESSES[0], WITNESSES[1])
        check = PromiseCheck(FolderLog(town.folder / "log"), town.trust, clock=lambda: town.now)
        evidence = check.check(KeptPromise(promise=promise, operator=town.operator))[1]
    assert evidence is not None
    return promise, evidence
