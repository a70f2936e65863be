"""Coverage-guided fuzzing of every parser, with atheris (libFuzzer).

::

    pip install atheris
    python tests/fuzz/fuzz_parsers.py -max_total_time=300

The first byte of an input chooses the parser. Good inputs are where it begins; arguments are libFuzzer's. It ends with
a trace and exit code 77 at the first input that a parser neither takes nor refuses in one sentence.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["ledger", "policies", "trust"]):
    from tests.fuzz.hostile_inputs import meet, parsers


def one_input(data: bytes) -> None:
    """Let one parser read the rest of the bytes."""
    known = parsers()
    if data:
        meet(known[data[0] % len(known)], data[1:])


def main() -> None:
    """Write the good inputs as the first corpus, and fuzz."""
    with tempfile.TemporaryDirectory() as folder:
        for number, parser in enumerate(parsers()):
            for place, good in enumerate(parser.good):
                (Path(folder) / f"{number}-{place}").write_bytes(bytes([number]) + good)
        atheris.Setup([*sys.argv, "-max_len=20000", folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
