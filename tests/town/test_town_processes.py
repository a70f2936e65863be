"""A town's processes are never nobody's."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from trust.town.layout import Layout
from trust.town.processes import Processes


def test_ctrl_c_right_after_a_process_was_started_still_finds_it_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    layout.logs.mkdir()
    processes = Processes(layout)
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    try:
        monkeypatch.setattr(subprocess, "Popen", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            processes.start("service", "--help")
    finally:
        signal.signal(signal.SIGINT, before)
    assert processes.pid("service") == started[0].pid
    processes.stop_all()
    assert started[0].poll() is not None
