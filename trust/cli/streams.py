"""Standard output and error that outlast whoever reads them.

A question was charged, a consent has ended, and then the line that says so cannot be written: the pipe is closed, the
disk is full, or ``LANG`` knows no ``ε``. None of these may stop a command in the middle. What an encoding does not know
is written as an escape; from the first failure on nothing more is written, and the command goes on to its end. Then, if
what it said is lost and nobody chose that by closing a pipe, it says so with an exit code of its own.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, TextIO, cast


class _Lasting(io.BufferedIOBase):
    """Bytes to a stream, until it fails."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self.failed: OSError | None = None

    def _always(self) -> bool:
        return True

    writable = _always

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        if self.failed is None:
            try:
                self._stream.buffer.write(data)
                self._stream.buffer.flush()
            except OSError as error:
                self.failed = error
                self._give_up()
        return memoryview(data).nbytes

    def _give_up(self) -> None:
        """Send what is still buffered nowhere, or Python fails with it once more at its end (docs of ``signal``)."""
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class Output:
    """What became of standard output: ``is_lost`` once something could not be written that somebody waited for."""

    def __init__(self, out: _Lasting | None) -> None:
        self._out = out

    @property
    def is_lost(self) -> bool:
        """Whether a write failed for another reason than that the reader had gone."""
        failed = None if self._out is None else self._out.failed
        return failed is not None and failed.errno != errno.EPIPE

    @property
    def reason(self) -> str:
        """Why a write failed, in the system's words."""
        failed = None if self._out is None else self._out.failed
        return "" if failed is None or failed.strerror is None else failed.strerror.lower()


@contextmanager
def lasting_output() -> Iterator[Output]:
    """Put streams that never fail in the place of standard output and error for as long as a command runs."""
    before = sys.stdout, sys.stderr
    sys.stdout.flush() if sys.stdout is not None else None
    (out, below), (err, _) = map(_lasting, before)
    sys.stdout, sys.stderr = out, err
    try:
        yield Output(below)
    finally:
        for stream in (out, err):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream: TextIO | None) -> tuple[TextIO | None, _Lasting | None]:
    if not isinstance(stream, io.TextIOWrapper):  # closed from the beginning, or a test's
        return stream, None
    below = _Lasting(stream)
    made = io.TextIOWrapper(
        cast("BinaryIO", below),
        encoding=stream.encoding,
        errors="backslashreplace",
        newline="",
        line_buffering=stream.line_buffering,
    )
    return made, below
