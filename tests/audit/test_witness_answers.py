"""A witness answers as C2SP tlog-witness says, and no two of its answers contradict each other."""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from nacl.signing import SigningKey

from ledger.errors import Malformed, NotFound, NotPermitted, SignatureInvalid, Unavailable
from ledger.hashing import EMPTY_ROOT
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.cosignatures import check_cosignature
from ledger.notes.note import Note, NoteSignature, VerifierKey, format_note, parse_note, sign_text
from ledger.notes.witness_protocol import AddCheckpoint, SizeConflict, UntrustedSignature, WitnessRefusal
from ledger.tlog.tiles import Tile, TileAppender, TileReader
from ledger.tlog.tree import prove_consistency
from trust.audit.witness import Witness, create_witness, open_witness
from trust.audit.witness_folder import make_witness
from trust.files.evidence import check_evidence, read_evidence

ORIGIN = "log.example/town"
KEY = SigningKey(bytes(range(32)))
LOG_KEY = VerifierKey.ed25519(ORIGIN, bytes(KEY.verify_key))
PATH = hashlib.sha256(ORIGIN.encode()).hexdigest()


class Log:
    """A log in memory that can prove its growth; ``salt`` makes another history."""

    def __init__(self, salt: bytes = b"") -> None:
        self._salt = salt
        self._appender = TileAppender()
        self._files: dict[Tile, bytes] = {}
        self.checkpoints = {0: Checkpoint(ORIGIN, 0, EMPTY_ROOT)}

    def grow(self, count: int) -> Checkpoint:
        """Add entries; return the checkpoint of the new size, unsigned."""
        begin = self._appender.size
        self._files |= dict(self._appender.append([self._salt + b"%d" % i for i in range(begin, begin + count)]))
        made = Checkpoint(ORIGIN, self._appender.size, self._appender.root())
        self.checkpoints[made.size] = made
        return made

    def request(self, old: int, new: int, key: SigningKey = KEY) -> bytes:
        """Return the body that asks to cosign size ``new`` after ``old``."""
        proof = (
            prove_consistency(old, new, TileReader(self._files.__getitem__, self._appender.size)) if old < new else []
        )
        return AddCheckpoint(old, proof, sign_checkpoint(self.checkpoints[new], key)).format()


@pytest.fixture
def log() -> Log:
    made = Log()
    made.grow(3)
    made.grow(4)
    return made


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient[Any]]:
    make_witness(tmp_path, "wit.example/one", [LOG_KEY])
    with TestClient(create_witness(tmp_path)) as opened:
        yield opened


def post(client: TestClient[Any], body: bytes) -> tuple[int, str]:
    answer = client.post("/add-checkpoint", content=body)
    return answer.status_code, answer.text


def witness_key(client: TestClient[Any]) -> VerifierKey:
    witness: Witness = client.app.state.witness
    return witness.verifier


def test_200_is_a_cosignature_line_that_verifies_and_can_be_fetched(client: TestClient[Any], log: Log) -> None:
    assert client.get(f"/{PATH}/checkpoint").status_code == 404
    for old, new in ((0, 3), (3, 7), (7, 7)):
        status, text = post(client, log.request(old, new))
        assert status == 200
        line = NoteSignature.parse(text.removesuffix("\n"))
        assert check_cosignature(Note(log.checkpoints[new].text, (line,)), witness_key(client)) is not None
        answer = client.get(f"/{PATH}/checkpoint")
        note = parse_note(answer.content)
        assert (answer.status_code, note.text) == (200, log.checkpoints[new].text)
        assert note.signatures[-1] == line
        assert note.signatures[0].is_by(LOG_KEY)


@pytest.mark.parametrize(
    "body",
    [b"", b"old 0\n", b"old x\n\n", b"old 00\n\n", b"\xff\xfe", b"old 0\nnot base64\n\n", b"old 0\n\nno note\n"],
)
def test_400_for_what_is_malformed(client: TestClient[Any], body: bytes) -> None:
    assert post(client, body)[0] == 400


def test_400_for_64_proof_lines_and_for_an_old_size_above_the_checkpoints(client: TestClient[Any], log: Log) -> None:
    _, _, checkpoint = log.request(3, 7).partition(b"\n\n")
    hashes = b"".join(b"A" * 43 + b"=\n" for _ in range(64))
    assert post(client, b"old 3\n" + hashes + b"\n" + checkpoint)[0] == 400
    assert post(client, b"old 8\n\n" + checkpoint)[0] == 400


def test_403_for_a_checkpoint_that_the_log_did_not_sign(client: TestClient[Any], log: Log) -> None:
    assert post(client, log.request(0, 3, SigningKey(bytes(32))))[0] == 403
    spoilt = log.request(0, 3).replace(log.checkpoints[3].text.encode(), log.checkpoints[7].text.encode())
    assert post(client, spoilt)[0] == 403


def test_404_for_a_log_that_it_does_not_know(client: TestClient[Any]) -> None:
    other = sign_checkpoint(Checkpoint("other.example/log", 0, EMPTY_ROOT), KEY)
    assert post(client, AddCheckpoint(0, [], other).format())[0] == 404


def test_409_names_the_stored_size_in_its_own_media_type(client: TestClient[Any], log: Log) -> None:
    assert post(client, log.request(0, 7))[0] == 200
    for old, new in ((0, 7), (3, 7), (0, 3)):
        answer = client.post("/add-checkpoint", content=log.request(old, new))
        assert (answer.status_code, answer.text) == (409, "7\n")
        assert answer.headers["content-type"] == "text/x.tlog.size"


def test_422_for_a_proof_that_does_not_verify_or_is_not_due(client: TestClient[Any], log: Log) -> None:
    fork = Log(b"fork")
    fork.grow(3)
    fork.grow(4)
    good = AddCheckpoint.parse(log.request(3, 7))
    assert post(client, AddCheckpoint(0, good.proof, good.checkpoint).format())[0] == 422  # a proof from size 0
    false_empty = sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), KEY)
    assert post(client, AddCheckpoint(0, [], false_empty).format())[0] == 422  # size 0 with another root
    assert post(client, log.request(0, 3))[0] == 200
    assert post(client, AddCheckpoint(3, [], good.checkpoint).format())[0] == 422  # no proof
    assert post(client, fork.request(3, 7))[0] == 422  # another history's proof
    assert post(client, fork.request(3, 3))[0] == 422  # equal sizes, different roots
    assert post(client, log.request(3, 7))[0] == 200  # and nothing of it changed the state


def test_a_checkpoint_that_contradicts_the_stored_one_leaves_a_file_that_convicts_the_log(
    client: TestClient[Any], log: Log
) -> None:
    """Of a larger one, the log's own proof tells what its history is; a proof of nothing contradicts nothing."""
    fork = Log(b"fork")
    fork.grow(3)
    fork.grow(4)
    witness: Witness = client.app.state.witness
    assert post(client, log.request(0, 3))[0] == 200
    good = AddCheckpoint.parse(log.request(3, 7))
    for proof in ([], good.proof[:-1], [*good.proof[:-1], bytes(32)]):
        assert post(client, AddCheckpoint(3, proof, good.checkpoint).format())[0] == 422
        assert post(client, AddCheckpoint(3, proof, fork_checkpoint(fork, 7)).format())[0] == 422
    assert witness.evidence() == []
    for size, says in ((3, "two different trees of the same size, 3"), (7, "a tree of 3 entries and a tree of 7")):
        for _ in range(2):  # the same evidence is kept once
            assert post(client, fork.request(3, size))[0] == 422
        convicted = [check_evidence(read_evidence(path), [LOG_KEY]).says for path in witness.evidence()]
        assert sum(says in each for each in convicted) == 1
    assert len(witness.evidence()) == 2
    assert post(client, log.request(3, 7))[0] == 200  # and nothing of it changed the state


@pytest.mark.parametrize("old", [0, 1, 2])
def test_a_fork_of_one_size_is_kept_also_where_the_log_asks_from_another_size(
    client: TestClient[Any], log: Log, old: int
) -> None:
    """The 409 must come first, and tells the log not to ask again; both signatures are here already."""
    fork = Log(b"fork ")
    fork.grow(1)
    fork.grow(1)
    fork.grow(1)
    witness: Witness = client.app.state.witness
    assert post(client, log.request(0, 3))[0] == 200
    assert post(client, log.request(0, 3))[0] == 409
    assert post(client, log.request(0, 7))[0] == 409
    assert witness.evidence() == []
    assert post(client, fork.request(old, 3)) == (409, "3\n")
    (file,) = witness.evidence()
    assert "two different trees of the same size, 3" in check_evidence(read_evidence(file), [LOG_KEY]).says


def fork_checkpoint(log: Log, size: int) -> bytes:
    return sign_checkpoint(log.checkpoints[size], KEY)


def test_a_body_above_the_limit_is_not_read(client: TestClient[Any]) -> None:
    assert client.post("/add-checkpoint", content=b"x" * 1_000_001).status_code == 413


def test_the_checkpoint_of_size_0_is_cosigned_as_the_empty_tree(client: TestClient[Any], log: Log) -> None:
    assert post(client, log.request(0, 0))[0] == 200
    assert post(client, log.request(0, 3))[0] == 200


def test_it_remembers_over_a_restart(tmp_path: Path, log: Log) -> None:
    make_witness(tmp_path, "wit.example/one", [LOG_KEY])
    first = open_witness(tmp_path)
    first.add_checkpoint(log.request(0, 7))
    key = first.verifier
    first.close()
    second = open_witness(tmp_path)
    assert second.verifier == key
    with pytest.raises(SizeConflict):
        second.add_checkpoint(log.request(0, 7))
    assert parse_note(second.latest(PATH)).text == log.checkpoints[7].text
    second.close()


def test_of_many_racing_requests_from_one_size_exactly_one_is_cosigned(tmp_path: Path) -> None:
    make_witness(tmp_path, "wit.example/one", [LOG_KEY])
    witness = open_witness(tmp_path)
    log = Log()
    sizes = [log.grow(2).size for _ in range(9)]
    witness.add_checkpoint(log.request(0, sizes[0]))
    assert sorted(race(witness, [log.request(sizes[0], size) for size in sizes[1:]])) == [False] * 7 + [True]
    witness.close()


def race(witness: Witness, bodies: list[bytes]) -> list[bool]:
    """Send all requests at one moment, each from a thread of its own; return which were cosigned."""
    barrier = threading.Barrier(len(bodies))
    outcomes: list[bool] = []

    def send(body: bytes) -> None:
        barrier.wait()
        try:
            witness.add_checkpoint(body)
        except SizeConflict:
            outcomes.append(False)
        else:
            outcomes.append(True)

    threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_two_racing_first_requests_get_one_cosignature(tmp_path: Path) -> None:
    """Size 0 is consistent with everything, so only the stored state can tell the two apart."""
    make_witness(tmp_path, "wit.example/one", [LOG_KEY])
    witness = open_witness(tmp_path)
    logs = [Log(b"%d" % n) for n in range(8)]
    for log in logs:
        log.grow(3)
    assert sorted(race(witness, [log.request(0, 3) for log in logs])) == [False] * 7 + [True]
    witness.close()


def test_two_processes_on_one_database_do_not_pass_each_other(tmp_path: Path) -> None:
    make_witness(tmp_path, "wit.example/one", [LOG_KEY])
    one, two = open_witness(tmp_path), open_witness(tmp_path)
    log, fork = Log(), Log(b"fork")
    log.grow(3)
    fork.grow(3)
    one.add_checkpoint(log.request(0, 3))
    with pytest.raises(SizeConflict):
        two.add_checkpoint(fork.request(0, 3))
    one.close()
    two.close()


def test_a_disk_that_does_not_take_the_state_gives_503_and_no_cosignature(tmp_path: Path, log: Log) -> None:
    make_witness(tmp_path, "wit.example/one", [LOG_KEY])
    with TestClient(create_witness(tmp_path)) as client:
        witness: Witness = client.app.state.witness
        witness._database.execute("PRAGMA query_only=ON")
        status, text = post(client, log.request(0, 3))
        assert status == 503
        assert ORIGIN not in text
        witness._database.execute("PRAGMA query_only=OFF")
        assert client.get(f"/{PATH}/checkpoint").status_code == 404
        assert post(client, log.request(0, 3))[0] == 200


def test_its_database_is_durable_at_each_commit(tmp_path: Path) -> None:
    make_witness(tmp_path, "wit.example/one", [LOG_KEY])
    witness = open_witness(tmp_path)
    assert witness._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert witness._database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    witness.close()


def test_its_folder_is_read_strictly(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_witness(tmp_path)
    make_witness(tmp_path, "wit.example/one", [LOG_KEY])
    with pytest.raises(NotPermitted):
        make_witness(tmp_path, "wit.example/one", [LOG_KEY])
    config = (tmp_path / "witness.toml").read_text()
    for bad in ("", "name = 3\n", config + "more = 1\n", config.replace("name", "nome"), config * 2, "\0"):
        (tmp_path / "witness.toml").write_text(bad)
        with pytest.raises(Malformed):
            open_witness(tmp_path)
    (tmp_path / "witness.toml").write_text(config)
    (tmp_path / "witness.key").chmod(0o644)
    with pytest.raises(NotPermitted):
        open_witness(tmp_path)
    (tmp_path / "witness.key").chmod(0o600)
    (tmp_path / "witness.sqlite").write_bytes(b"not a database, and long enough to be one" * 100)
    with pytest.raises(Unavailable):
        open_witness(tmp_path)


def _bodies() -> st.SearchStrategy[bytes]:
    log = Log()
    log.grow(3)
    log.grow(4)
    good = [log.request(0, 3), log.request(3, 7), log.request(0, 7), log.request(0, 0)]

    def spoil(body: bytes, place: int, put: bytes, cut: int) -> bytes:
        place %= len(body) + 1
        return body[:place] + put + body[place + cut :]

    spoilt = st.builds(spoil, st.sampled_from(good), st.integers(0, 1_000), st.binary(max_size=6), st.integers(0, 40))
    return st.binary(max_size=400) | st.sampled_from(good) | spoilt


@settings(max_examples=300, deadline=None)
@given(bodies=st.lists(_bodies(), max_size=6))
@example(bodies=[])
def test_whatever_is_sent_only_extensions_of_the_one_history_are_cosigned(bodies: list[bytes]) -> None:
    """Fuzzing: every answer is one of the protocol's, and the stored state only ever grows along one history."""
    witness = Witness(":memory:", "wit.example/one", SigningKey(bytes(32)), [LOG_KEY])
    honest = Log()
    honest.grow(3)
    honest.grow(4)
    size = 0
    statuses: set[int] = set()
    for body in bodies:
        try:
            line = witness.add_checkpoint(body)
        except WitnessRefusal as refusal:
            statuses.add(refusal.status)
            continue
        stored = parse_note(witness.latest(PATH)).text
        checkpoint = Checkpoint.parse(stored)
        assert checkpoint == honest.checkpoints[checkpoint.size]
        assert checkpoint.size >= size
        size = checkpoint.size
        signature = NoteSignature.parse(line.decode().removesuffix("\n"))
        assert check_cosignature(Note(stored, (signature,)), witness.verifier) is not None
    assert statuses <= {400, 403, 404, 409, 422}
    witness.close()


def test_a_failed_commit_leaves_the_old_state(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    make_witness(tmp_path, "wit.example/one", [LOG_KEY])
    witness = open_witness(tmp_path)
    witness.add_checkpoint(log.request(0, 3))

    class Full:
        """A database whose disk is full at the commit."""

        def __init__(self, inner: sqlite3.Connection) -> None:
            self._inner = inner

        @property
        def in_transaction(self) -> bool:
            return self._inner.in_transaction

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql == "COMMIT":
                raise sqlite3.OperationalError("database or disk is full")
            return self._inner.execute(sql, *args)

    inner = witness._database
    monkeypatch.setattr(witness, "_database", Full(inner))
    with pytest.raises(Unavailable):
        witness.add_checkpoint(log.request(3, 7))
    monkeypatch.setattr(witness, "_database", inner)
    assert parse_note(witness.latest(PATH)).text == log.checkpoints[3].text
    witness.add_checkpoint(log.request(3, 7))
    witness.close()


def test_one_witness_keeps_several_logs_apart(tmp_path: Path) -> None:
    """Each origin has its own size, its own keys and its own address for readers."""
    keys = {f"log.example/{name}": SigningKey(name.encode() * 32) for name in "abc"}
    make_witness(
        tmp_path,
        "wit.example/one",
        [VerifierKey.ed25519(origin, bytes(key.verify_key)) for origin, key in keys.items()],
    )
    witness = open_witness(tmp_path)
    for size, (origin, key) in enumerate(keys.items(), 3):
        appender = TileAppender()
        appender.append([origin.encode()] * size)
        note = sign_checkpoint(Checkpoint(origin, size, appender.root()), key)
        witness.add_checkpoint(AddCheckpoint(0, [], note).format())
        for other in keys.values():
            if other is not key:  # another log's key, under this origin
                forged = sign_checkpoint(Checkpoint(origin, size, appender.root()), other)
                with pytest.raises(UntrustedSignature):
                    witness.add_checkpoint(AddCheckpoint(size, [], forged).format())
    for size, origin in enumerate(keys, 3):
        stored = parse_note(witness.latest(hashlib.sha256(origin.encode()).hexdigest()))
        assert Checkpoint.parse(stored.text).size == size
        with pytest.raises(SizeConflict):
            witness.add_checkpoint(AddCheckpoint(0, [], format_note(stored)).format())
    witness.close()


def test_another_logs_checkpoint_with_extension_lines_is_cosigned_as_a_whole(client: TestClient[Any], log: Log) -> None:
    """The format allows them, so a witness for any log takes them; what is signed is all the text."""
    plain = log.checkpoints[3].text
    for text, status in ((plain + "Timestamp: 1\n", 200), (plain + "\n", 400), (plain + "one\n\ntwo\n", 400)):
        note = format_note(Note(text, (sign_text(text, ORIGIN, KEY),)))
        answer = client.post("/add-checkpoint", content=b"old 0\n\n" + note)
        assert answer.status_code == status, text
        if status == 200:
            line = NoteSignature.parse(answer.text.splitlines()[0])
            assert check_cosignature(Note(text, (line,)), witness_key(client)) is not None
            with pytest.raises(SignatureInvalid):
                check_cosignature(Note(plain, (line,)), witness_key(client))
            assert parse_note(client.get(f"/{PATH}/checkpoint").content).text == text
    assert post(client, log.request(3, 7))[0] == 200  # and the plain ones go on from it
