"""A node that is shown two histories stops, and leaves the file that convicts the log."""

import pytest

from ledger.errors import HistoryForked
from tests.kit.parties.lying_service import staged
from trust.files.evidence import check_evidence, read_evidence


def test_a_node_that_sees_a_fork_stops_and_leaves_the_file_that_convicts_the_log() -> None:
    with staged() as stage:
        stage.turn()
        entry = stage.builder.entries[stage.grants[0]]
        stage.builder.entries[stage.grants[0]] = entry.replace(b"commitment", b"commitmemt")
        stage.admit()
        folder = stage.folder
        with pytest.raises(HistoryForked):
            stage.node.run()
        (file,) = (folder / "evidence").iterdir()
        assert check_evidence(read_evidence(file), [stage.builder.log_key]).kind == "split-view"
