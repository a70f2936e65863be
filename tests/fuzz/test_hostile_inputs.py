"""Whatever bytes come, each parser gives the value that they are the one form of, or one clear sentence."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.hostile_inputs import Parser, meet, parsers
from tests.kit.waiting import PATIENCE

TOKENS = [
    *(bytes([byte]) for byte in (0, 7, 9, 10, 13, 27, 32, 34, 43, 45, 48, 61, 92, 123, 125, 127, 128, 0xC0, 0xFF)),
    *(b"\n\n", b"\r\n", b"  ", b"==", b"-1", b"+1", b"00", b"9223372036854775808", b"1" * 400, b"\\ud800", b'"v":2,'),
    *("— ".encode(), "\u2028".encode(), "\u3000".encode(), "١".encode(), b"\xed\xa0\x80", b"x000/", b".p/256", b"../"),
    *(b"old 1\n", b"index 1\n", b"extra AA==\n", b"quorum none\n", b"A" * 43 + b"=\n", b"[" * 3_000, b"null", b"1.0"),
]


@st.composite
def spoilt(draw: st.DrawFn, good: tuple[bytes, ...]) -> bytes:
    """A good input after a few blows: cuts, doublings, swapped lines, control characters, parts of another input."""
    data = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.sampled_from([0, 1, 2, 4, 32, 33, 44, 200, 10_000])))
        part = data[begin:end]
        match draw(st.integers(0, 6)):
            case 0:
                data = data[:begin] + data[end:]
            case 1:
                data = data[:end] + part + data[end:]
            case 2:
                data = data[:begin] + draw(st.sampled_from(TOKENS)) + data[end:]
            case 3 if data:
                place = min(begin, len(data) - 1)
                data = data[:place] + bytes([data[place] ^ (1 << draw(st.integers(0, 7)))]) + data[place + 1 :]
            case 4:
                lines = data.split(b"\n")
                one, two = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
                lines[one], lines[two] = lines[two], lines[one]
                data = b"\n".join(lines)
            case 5:
                other = draw(st.sampled_from(good))
                data = data[:begin] + other[draw(st.integers(0, len(other))) :]
            case _:
                line = draw(st.sampled_from(data.split(b"\n")))
                data = data.replace(line, line * draw(st.integers(0, 3)) + draw(st.sampled_from([b"", b" ", b"\n"])), 1)
    return data


@pytest.mark.parametrize("parser", parsers(), ids=lambda parser: parser.name)
def test_good_inputs_are_taken(parser: Parser) -> None:
    assert all(meet(parser, data) for data in parser.good)


@pytest.mark.parametrize("parser", parsers(), ids=lambda parser: parser.name)
def test_an_input_cut_anywhere_or_with_more_behind_it_is_another_or_none(parser: Parser) -> None:
    for good in parser.good:
        for end in {*range(0, len(good), max(1, len(good) // 150)), *range(max(0, len(good) - 70), len(good))}:
            meet(parser, good[:end])
            meet(parser, good[end:])
        for more in (b"\n", b" ", b"\0", b"=", b"A", good):
            meet(parser, good + more)
            meet(parser, more + good)


@settings(max_examples=80)
@given(data=st.data())
@pytest.mark.parametrize("parser", parsers(), ids=lambda parser: parser.name)
def test_any_bytes_are_the_one_form_of_a_value_or_refused_in_one_sentence(parser: Parser, data: st.DataObject) -> None:
    meet(parser, data.draw(spoilt(parser.good) | st.binary(max_size=300)))


@pytest.mark.parametrize("parser", parsers(), ids=lambda parser: parser.name)
@pytest.mark.parametrize("opens", [b"[", b'{"x":'], ids=["lists", "objects"])
def test_what_is_nested_deeper_than_any_reader_goes_breaks_none(parser: Parser, opens: bytes) -> None:
    """By itself, and under a name that the parser passes over."""
    closes = {b"[": b"]", b'{"x":': b"}"}[opens]
    deep = opens * 100_000 + b"1" + closes * 100_000
    for data in (deep, opens * 100_000, b'{"x":' + deep + b',"shares":{},"v":1}'):
        meet(parser, data)


def huge(good: bytes) -> list[bytes]:
    """Inputs as large as parsers take, made to cost time: one thing over and over, with a good head or tail."""
    pieces = [
        b"\n",
        b"\n\n",
        b" ",
        b"+",
        b"=",
        b"A",
        b"9",
        b"\xff",
        b"[",
        b'{"',
        "— a AAAA\n".encode(),
        b"\x00\x00",
        b"x000/",
    ]
    return [
        head + piece * (7_000_000 // len(piece)) + tail for piece in pieces for head, tail in ((b"", good), (good, b""))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("parser", parsers(), ids=lambda parser: parser.name)
def test_seven_million_bytes_of_anything_are_refused_or_read_in_time(parser: Parser) -> None:
    """A parser whose time grew with the square of the size would take hours: the test's own time limit is the check."""
    for data in huge(parser.good[0]):
        meet(parser, data)


def test_a_second_of_coverage_guided_fuzzing_finds_nothing(tmp_path: Path) -> None:
    """The same parsers under atheris, where it is installed; for longer, run the script by hand."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install atheris (it has wheels for few Pythons)")
    script = Path(__file__).with_name("fuzz_parsers.py")
    done = subprocess.run(
        [sys.executable, script, "-max_total_time=1", f"-artifact_prefix={tmp_path}/"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(script.parents[2])},
    )
    assert done.returncode == 0, done.stderr[-4_000:]
