"""How every DuckDB of a node is set: it fetches nothing, and reads and writes in one folder of the node's alone."""

from pathlib import Path
from typing import Any


def engine_settings(spill: Path) -> dict[str, Any]:
    """Return how every engine of a node is set: nothing is fetched from anywhere, and it spills where it is told.

    No name in a statement is taken for a variable of this program.
    """
    return {
        "temp_directory": str(spill),
        "allow_community_extensions": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        # It trusts a file's time in seconds; a file replaced within one would be read half old, half new.
        "enable_external_file_cache": False,
    }


def shut_in(engine: Any, folder: Path) -> None:
    """Have an engine read and write files in ``folder`` alone, whatever it is told; nothing undoes it."""
    engine.execute(f"SET allowed_directories = [{quoted(f'{folder}/')}]")
    engine.execute("SET enable_external_access = false")


def quoted(text: str) -> str:
    """Return a text as it stands in SQL."""
    return "'" + text.replace("'", "''") + "'"
