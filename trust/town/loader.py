"""A ready-made town: a folder that says who takes part, under which policies, and where the data comes from.

::

    momijidai/
      town.toml             who takes part, and what the demo does
      policies/<id>.toml    one policy each (``policies.policy_document``); the file is named for the policy's id
      generate.py           makes or fetches the holders' data
      README.md             what the data is like

``town.toml``, every field of which is read strictly (an unknown or missing one is refused)::

    name = "momijidai"                    # the town's alias
    origin = "musubi.example/momijidai"   # the origin of its log (C2SP tlog-checkpoint)
    time_zone = "Asia/Tokyo"              # IANA name; `until` dates are days there
    residents = 5000                      # how many, unless told otherwise
    seed = 1                              # for the generator
    quorum = 2                            # how many stewards must sign
    [title]                               # of the town; every title has at least ja and en
    ja = "もみじ台"
    en = "Momijidai"

    [[steward]]                           # at least `quorum` of them
    alias = "city"
    title = { ja = "もみじ市", en = "City of Momiji" }

    [[member]]                            # any number; exactly one is the operator, at least one each of the others
    alias = "bus_co"
    roles = ["holder", "partner"]         # of: holder, partner, identity, operator
    title = { ja = "もみじ交通", en = "Momiji Bus" }
    sources = ["rides"]                   # a holder's tables, at least one; nobody else has any

    [[consent]]                           # at most one for each policy; without one, nobody consents to it
    policy = "mobility_demand"
    share = "0.85"                        # of those who are a customer at one of the policy's holders; 0 to 1

    [demo]
    revoke = 25                           # how many residents withdraw

    [[demo.question]]
    as = "bus_co"                         # the partner who asks
    title = { ja = "…", en = "…" }        # why it is asked
    sql = "SELECT ward, COUNT(*) AS rides FROM mobility_demand.rides GROUP BY ward"
    epsilon = "0.5"

    [demo.over_budget]                    # one more question, which costs more than its account holds
    as = "bus_co"
    …

The generator is run as ``python generate.py OUT --residents N --seed S``. It writes

- ``OUT/<holder>/<source>.parquet`` or ``….csv`` for every source of every holder, one of the two, read as
  ``trust.node.sources`` says of a file with nothing said in node.toml: that holder's own data, and the only part that
  the holder's node sees. The column a view calls ``resident`` holds the holder's customer number.
- ``OUT/residents.parquet``: for the town runner, which plays the residents and the holders' counters, and for nobody
  else. Column ``person`` counts from 0; one column per holder holds that person's customer number there as text, or
  null where the person is no customer. The holders' columns stand in any order.

It ends with exit code 0; or with 69 (``EX_UNAVAILABLE`` of sysexits.h) when the data it needs is not on this machine,
and then the last line of its standard error is one sentence that says what to do.
"""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pyarrow as pa
from pyarrow import parquet

from ledger.errors import Malformed, MusubiError, Unavailable
from policies.policy_document import Policy, check_document
from trust.town.document import Town, TownFile, check_demo, check_members, check_policy

T = TypeVar("T")

SECONDS_TO_GENERATE = 900
"""How long a generator may run: a million residents take about a minute."""
SOURCE_ENDINGS = (".parquet", ".csv")
"""What a generator may write a holder's source as."""
_DATA_MISSING = 69


def load_town(folder: Path) -> Town:
    """Read a town's folder strictly.

    Raises Malformed, in one sentence that names the file and the place, when something is missing, unknown, of the
    wrong type, or does not fit the rest.
    """
    settings = _read(folder / "town.toml", TownFile)
    with _naming("town.toml"):
        check_members(settings)
    policies = []
    for path in sorted((folder / "policies").glob("*.toml")):
        place = f"policies/{path.name}"
        policy = _read(path, Policy, place)
        with _naming(place):
            check_document(policy)
            check_policy(policy, path.stem, settings)
        policies.append(policy)
    if not policies:
        raise Malformed(f"The town has no policies/*.toml in {folder}.")
    with _naming("town.toml"):
        check_demo(settings, {policy.id for policy in policies})
    if not (folder / "generate.py").is_file():
        raise Malformed(f"The town lacks generate.py in {folder}.")
    return Town(**msgspec.structs.asdict(settings), folder=folder, policies=tuple(policies))


def generate(town: Town, out: Path, residents: int | None = None) -> None:
    """Run the town's generator into ``out`` (made if absent) and check that what it wrote is as promised.

    ``residents`` stands in place of the town's own number. Raises Unavailable when the data is not on this machine or
    the generator fails, Malformed when a file or column is missing.
    """
    script = town.folder.resolve() / "generate.py"
    count = town.residents if residents is None else residents
    out.mkdir(parents=True, exist_ok=True)
    arguments = [str(out.resolve()), "--residents", str(count), "--seed", str(town.seed)]
    try:
        # The script is the town's own, named by whoever runs the town; its arguments are a path and two numbers.
        done = subprocess.run(  # noqa: S603
            [sys.executable, str(script), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=SECONDS_TO_GENERATE,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"The town's generate.py did not end within {SECONDS_TO_GENERATE} seconds.") from None
    if done.returncode == _DATA_MISSING and done.stderr.strip():
        raise Unavailable(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        # Its words may repeat a value of the data, so they are not passed on.
        raise Unavailable(f"The town's generate.py ended with code {done.returncode}; run it by hand to see why.")
    for holder in town.holders:
        for source in holder.sources:
            source_path(out, holder.alias, source)
    read_residents(town, out)


def source_path(out: Path, holder: str, source: str) -> Path:
    """Return where the generator put one source of one holder; raise Malformed where it did not, or put two there."""
    there = [path for ending in SOURCE_ENDINGS if (path := out / holder / f"{source}{ending}").is_file()]
    if len(there) != 1:
        what = "wrote both" if there else "did not write"
        names = (" and " if there else " or ").join(f"{holder}/{source}{ending}" for ending in SOURCE_ENDINGS)
        raise Malformed(f"The town's generate.py {what} {names}; it writes one of them.")
    return there[0]


def read_residents(town: Town, out: Path) -> list[dict[str, str]]:
    """Return, for each person in order, the customer numbers by holder; a holder where there is none is left out.

    Raises Malformed when ``residents.parquet`` is missing or not as this module's docstring says.
    """
    try:
        table = parquet.read_table(out / "residents.parquet")
    except (OSError, pa.ArrowException):
        raise Malformed("The town's residents.parquet is missing or not Parquet; run its generate.py again.") from None
    holders = [holder.alias for holder in town.holders]
    if sorted(table.column_names) != sorted(["person", *holders]):
        raise Malformed("The town's residents.parquet has other columns than person and one per holder.")
    if table.column("person").to_pylist() != list(range(table.num_rows)):
        raise Malformed("The town's residents.parquet does not count person from 0.")
    if any(table.schema.field(holder).type != pa.string() for holder in holders):
        raise Malformed("The town's residents.parquet holds customer numbers that are not text.")
    numbers = [table.column(holder).to_pylist() for holder in holders]
    for holder, column in zip(holders, numbers, strict=True):
        given = [number for number in column if number is not None]
        if len(set(given)) != len(given):
            raise Malformed(f"The town's residents.parquet gives two people one customer number at '{holder}'.")
    return [
        {holder: number for holder, number in zip(holders, row, strict=True) if number is not None}
        for row in zip(*numbers, strict=True)
    ]


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Put the file's name before the sentence of an error raised inside."""
    try:
        yield
    except MusubiError as error:
        raise Malformed(f"{place}: {error.message}") from None


def _read(path: Path, type_: type[T], place: str = "town.toml") -> T:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), type_)
    except OSError:
        raise Malformed(f"{place} is missing or cannot be read in {path.parent}.") from None
    except UnicodeDecodeError:
        raise Malformed(f"{place} is not UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise Malformed(f"{place} is not TOML: {error}.") from None
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        raise Malformed(f"{place}{', ' + where.strip('`') if where else ''}: {what}.") from None
