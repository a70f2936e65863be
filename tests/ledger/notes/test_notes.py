"""Signed notes and checkpoints: strict reading, printing as its inverse, and whose signature counts."""

from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_open
from nacl.signing import SigningKey

from ledger import ed25519
from ledger.errors import Malformed, MusubiError, SignatureInvalid, TooLarge
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.note import (
    Note,
    NoteSignature,
    VerifierKey,
    format_note,
    parse_note,
    sign_text,
    verify_note,
)

LOG = SigningKey(bytes(32))
OTHER = SigningKey(bytes([1]) * 32)
LOG_KEY = VerifierKey.ed25519("example.town/log", bytes(LOG.verify_key))
OTHER_KEY = VerifierKey.ed25519("other.example", bytes(OTHER.verify_key))

names = st.text(min_size=1, max_size=20).filter(
    lambda name: not any(c.isspace() or c < " " or c == "+" or "\ud800" <= c <= "\udfff" for c in name)
)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=60).map(
    lambda text: text + "\n"
)
signatures = st.builds(
    NoteSignature, name=names, key_id=st.binary(min_size=4, max_size=4), signature=st.binary(min_size=1, max_size=80)
)
checkpoints = st.builds(
    Checkpoint, origin=names, size=st.integers(0, 2**63 - 1), root=st.binary(min_size=32, max_size=32)
)


@given(texts, st.lists(signatures, min_size=1, max_size=20))
def test_a_note_reads_back_as_it_was_written(text: str, lines: list[NoteSignature]) -> None:
    note = Note(text, tuple(lines))
    assert parse_note(format_note(note)) == note


GOOD = format_note(Note("hello\n", (sign_text("hello\n", "example.town/log", LOG),)))


@st.composite
def damaged_notes(draw: st.DrawFn) -> bytes:
    """A good note with a few bytes cut, put in or changed."""
    data = bytearray(GOOD)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2) | st.sampled_from([b"\n", b" ", b"="]))
    return bytes(data)


@given(st.binary(max_size=200) | damaged_notes())
@example(b"\n\n")
@example(b"hello\n\n")
@example(GOOD[:-1])
@example(GOOD + b"\n")
@example(GOOD.replace(b"\n", b"\r\n"))
@example(GOOD.replace(b"hello", b"hel\x00lo"))
@example(GOOD.replace(b"hello", b"hel\xfflo"))
@example(GOOD.replace("— ".encode(), b"- "))
@example(GOOD.replace(b"=\n", b"\n"))
@example(GOOD.replace(b"log ", b"log  "))
@example("hello\n\n— a+b AAAAAAA=\n".encode())
@example("hello\n\n—  AAAAAAA=\n".encode())
@example("hello\n\n— a AAAA\n".encode())
@example("hello\n\n— a AAAAAAB=\n".encode())
def test_any_bytes_are_the_one_form_of_a_note_or_refused(data: bytes) -> None:
    try:
        note = parse_note(data)
    except (Malformed, TooLarge):
        return
    assert format_note(note) == data


@pytest.mark.parametrize(
    "bad",
    [
        GOOD[:-1],
        GOOD + b"\n",
        b"hello\n\n",
        b"hello\n",
        GOOD.replace(b"\n\n", b"\n"),
        GOOD.replace(b"hello", b"hel\tlo"),
        GOOD.replace("— ".encode(), b"- "),
        GOOD.replace(b"log ", b"log  "),
        "hello\n\n— a+b AAAAAAA=\n".encode(),
        "hello\n\n— a AAAA\n".encode(),
        "hello\n\n— a AAAAAAB=\n".encode(),
        "hello\n\n— a\u2003b AAAAAAA=\n".encode(),
    ],
)
def test_these_notes_are_malformed(bad: bytes) -> None:
    with pytest.raises(Malformed):
        parse_note(bad)


def test_a_note_has_at_least_sixteen_and_at_most_a_hundred_signatures() -> None:
    line = sign_text("hello\n", "example.town/log", LOG)
    for count in (16, 100):
        assert len(parse_note(format_note(Note("hello\n", (line,) * count))).signatures) == count
    with pytest.raises(TooLarge):
        format_note(Note("hello\n", (line,) * 101))
    with pytest.raises(TooLarge):
        parse_note(b"x" * 1_000_001)


@pytest.mark.parametrize(
    "note",
    [
        Note("no newline", (NoteSignature("a", bytes(4), bytes(4)),)),
        Note("unsigned\n", ()),
        Note("bell \x07\n", (NoteSignature("a", bytes(4), bytes(4)),)),
        Note("surrogate \ud800\n", (NoteSignature("a", bytes(4), bytes(4)),)),
        Note("a name of two lines\n", (NoteSignature("a\n\nb", bytes(4), bytes(4)),)),
        Note("short\n", (NoteSignature("a", bytes(3), b""),)),
        Note("shifted\n", (NoteSignature("a", bytes(3), bytes(4)),)),
    ],
)
def test_a_note_that_could_not_be_read_back_is_not_written(note: Note) -> None:
    with pytest.raises(Malformed):
        format_note(note)


@given(names, st.binary(min_size=32, max_size=32), st.sampled_from([VerifierKey.ed25519, VerifierKey.cosignature]))
def test_a_verifier_key_reads_back_as_it_was_written(
    name: str, public_key: bytes, make: Callable[[str, bytes], VerifierKey]
) -> None:
    key = make(name, public_key)
    assert VerifierKey.parse(str(key)) == key
    assert key.key_id == sha256(name.encode() + b"\n" + bytes([key.type]) + public_key).digest()[:4]


def written(name: str, type_: int, public_key: bytes) -> str:
    key_id = sha256(name.encode("utf-8", "surrogatepass") + b"\n" + bytes([type_]) + public_key).hexdigest()[:8]
    return f"{name}+{key_id}+{b64encode(bytes([type_]) + public_key).decode()}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b+c",
        str(LOG_KEY).replace("example", "other"),
        str(LOG_KEY).upper(),
        str(LOG_KEY) + "\n",
        str(LOG_KEY)[:-1],
        written("a b", 1, bytes(32)),
        written("\ud800", 1, bytes(32)),
        written("a", 1, bytes(31)),
        written("a", 2, bytes(32)),
        written("a", 5, bytes(1312)),
        written("a", 6, bytes(32)),
        written("a", 1, bytes(1312)),
    ],
)
def test_these_verifier_keys_are_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        VerifierKey.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_verifier_key_or_malformed(text: str) -> None:
    with suppress(Malformed):
        assert str(VerifierKey.parse(text)) == text


def test_only_signatures_by_known_keys_count_and_a_bad_one_among_them_spoils_the_note() -> None:
    text = "hello\n"
    ours, theirs = sign_text(text, LOG_KEY.name, LOG), sign_text(text, OTHER_KEY.name, OTHER)
    note = Note(text, (theirs, ours))
    assert verify_note(note, [LOG_KEY]) == [LOG_KEY]
    assert verify_note(note, [LOG_KEY, OTHER_KEY]) == [LOG_KEY, OTHER_KEY]
    bad = NoteSignature(ours.name, ours.key_id, bytes(64))
    same_name = NoteSignature(ours.name, bytes(4), bytes(64))
    same_id = NoteSignature("someone.else", ours.key_id, bytes(64))
    short = NoteSignature(ours.name, ours.key_id, ours.signature[:63])
    assert verify_note(Note(text, (same_name, same_id, ours)), [LOG_KEY]) == [LOG_KEY]
    for lines in [(bad,), (bad, ours), (ours, bad), (short,), (theirs,), (same_name,), (same_id,)]:
        with pytest.raises(SignatureInvalid):
            verify_note(Note(text, lines), [LOG_KEY])
    with pytest.raises(SignatureInvalid):
        verify_note(Note("hullo\n", (ours,)), [LOG_KEY])


@given(st.sampled_from([chr(code) for code in range(32) if code != 10]), st.data())
def test_no_note_with_a_control_character_anywhere_is_read(control: str, data: st.DataObject) -> None:
    whole = GOOD.decode()
    place = data.draw(st.integers(0, len(whole)))
    with pytest.raises(Malformed):
        parse_note((whole[:place] + control + whole[place:]).encode())


def test_a_line_that_stands_twice_counts_once_and_one_by_an_unknown_algorithm_is_passed_over() -> None:
    """A type that nobody here knows gives another key ID, so such a line is by someone unknown."""
    text = "hello\n"
    ours = sign_text(text, LOG_KEY.name, LOG)
    assert verify_note(Note(text, (ours, ours, ours)), [LOG_KEY]) == [LOG_KEY]
    for type_ in (0, 2, 3, 5, 0x07, 0xF9, 0xFF):
        key_id = sha256(LOG_KEY.name.encode() + b"\n" + bytes([type_]) + LOG_KEY.public_key).digest()[:4]
        foreign = NoteSignature(LOG_KEY.name, key_id, ours.signature)
        assert verify_note(Note(text, (foreign, ours)), [LOG_KEY]) == [LOG_KEY]
        with pytest.raises(SignatureInvalid):
            verify_note(Note(text, (foreign,)), [LOG_KEY])


def test_a_signature_one_byte_short_is_refused_though_the_message_supplies_the_byte() -> None:
    """For libsodium, signature and message are one string, and the cut between them is ours to check."""
    public_key = bytes(LOG.verify_key)
    signature = LOG.sign(b"tail").signature
    short, message = signature[:63], signature[63:] + b"tail"
    assert crypto_sign_open(short + message, public_key) == b"tail"
    with pytest.raises(SignatureInvalid):
        ed25519.check(message, short, public_key)


@given(checkpoints)
def test_a_checkpoint_reads_back_as_it_was_written_and_opens_under_its_logs_key(checkpoint: Checkpoint) -> None:
    assert Checkpoint.parse(checkpoint.text) == checkpoint
    key = VerifierKey.ed25519(checkpoint.origin, bytes(LOG.verify_key))
    data = sign_checkpoint(checkpoint, LOG)
    opened, note = LogKeyHistory.of(key).open(data)
    assert opened == checkpoint
    assert format_note(note) == data
    with pytest.raises(SignatureInvalid):
        LogKeyHistory.of(VerifierKey.ed25519(checkpoint.origin, bytes(OTHER.verify_key))).open(data)


ROOT = b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"a\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        f"a\n01\n{ROOT}\n",
        f"a\n-1\n{ROOT}\n",
        f"a\n+1\n{ROOT}\n",
        f"a\n1 \n{ROOT}\n",
        f"a\n١\n{ROOT}\n",
        f"a\n{2**63}\n{ROOT}\n",
        f"a\n1\n{ROOT[:-4]}\n",
        f"a\n1\n{ROOT[:-2]}B=\n",
        f"a\n1\n{ROOT}\nextension\n",
        f"a\n1\n{ROOT}\n\n",
        f"a b\n1\n{ROOT}\n",
    ],
)
def test_these_checkpoints_are_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        Checkpoint.parse(text)


@given(
    st.text(max_size=80) | st.builds("{}\n{}\n{}\n".format, names, st.text("0123456789", max_size=20), st.just(ROOT))
)
def test_any_text_is_the_one_form_of_a_checkpoint_or_malformed(text: str) -> None:
    with suppress(Malformed):
        assert Checkpoint.parse(text).text == text


@given(st.binary(max_size=100) | damaged_notes())
def test_opening_any_bytes_as_a_checkpoint_gives_a_domain_error(data: bytes) -> None:
    with pytest.raises(MusubiError):
        LogKeyHistory.of(LOG_KEY).open(data)


def test_a_checkpoint_under_the_logs_key_but_with_another_origin_is_refused() -> None:
    text = Checkpoint("another.log", 0, bytes(32)).text
    data = format_note(Note(text, (sign_text(text, LOG_KEY.name, LOG),)))
    with pytest.raises(SignatureInvalid):
        LogKeyHistory.of(LOG_KEY).open(data)
