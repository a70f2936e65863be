"""Where a node's bounded views are computed: ``[engine]`` in ``node.toml``.

::

    [engine]
    kind = "postgresql"                     # "duckdb" (the node's own, the default), "postgresql" or "spark"
    dsn_file = "keys/engine.dsn"            # of PostgreSQL: mode 0600; or dsn_env, or dsn where it has no password
    seconds = 600                           # after which a step that goes on is given up

    [engine]
    kind = "spark"
    master = "local[4]"                     # how many of this machine's processors Spark takes; local[*] is all
    memory = "8g"                           # and how much of its memory

Nothing but bounding runs there (``trust.node.data.elsewhere``). Whatever is lacking at the start is said then.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ledger.errors import Malformed
from trust.node.engines.bounding_engine import BoundingEngine
from trust.node.engines.postgresql_bounding import PostgresqlBounding
from trust.node.engines.spark_bounding import SparkBounding
from trust.node.sources.mapping import has_password

SCRATCH = "engine.tmp"
"""What goes to Spark and comes back lies here for as long as that takes; removed at the next start at the latest."""
_MEMORY = re.compile(r"[1-9][0-9]{0,5}[mg]", re.ASCII)
_MASTER = re.compile(r"local\[(\*|[1-9][0-9]{0,3})\]", re.ASCII)


class EngineSetting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a holder may say of the engine; which of it belongs to which kind is checked by ``check_engine``."""

    kind: Literal["duckdb", "postgresql", "spark"] = "duckdb"
    dsn: str = ""
    dsn_file: str = ""
    dsn_env: str = ""
    master: str = ""
    memory: str = ""
    seconds: Annotated[int, Meta(ge=1, le=86_400)] = 600


def check_engine(setting: EngineSetting) -> None:
    """Raise Malformed where it says what its kind does not have, or lacks what its kind needs."""
    addresses = sum(map(bool, (setting.dsn, setting.dsn_file, setting.dsn_env)))
    if setting.kind == "postgresql" and addresses != 1:
        raise Malformed("An engine of kind postgresql has one of: dsn_file, dsn_env, dsn.")
    if setting.kind != "postgresql" and addresses:
        raise Malformed("An engine has a dsn, dsn_file or dsn_env where its kind is postgresql, and else none.")
    if has_password(setting.dsn):
        raise Malformed(
            "The engine's dsn has a password in it, and node.toml is no place for one: put the dsn into a file of mode "
            '0600, and name that: dsn_file = "keys/engine.dsn".'
        )
    is_spark = setting.kind == "spark"
    if setting.master and not (is_spark and _MASTER.fullmatch(setting.master)):
        raise Malformed(
            "An engine's master is how many of this machine's processors Spark takes: master = \"local[4]\"."
        )
    if setting.memory and not (is_spark and _MEMORY.fullmatch(setting.memory)):
        raise Malformed("An engine's memory is how much of this machine's Spark takes: memory = \"8g\".")


def open_engine(setting: EngineSetting, folder: Path) -> BoundingEngine | None:
    """Return the engine that a node's setting names, or None for the node's own; ``folder`` is the node's.

    Nobody is called yet. Raises Malformed where the setting is none, or its software is not installed.
    """
    check_engine(setting)
    if setting.kind == "postgresql":
        file = folder / setting.dsn_file if setting.dsn_file else None
        return PostgresqlBounding(setting.dsn, setting.dsn_env, file, setting.seconds)
    if setting.kind == "spark":
        if find_spec("pyspark") is None:
            raise Malformed("node.toml has views bounded by Spark, which is not here: pip install 'musubi[spark]'.")
        return SparkBounding(folder / SCRATCH, setting.master or "local[*]", setting.memory or "1g", setting.seconds)
    return None
