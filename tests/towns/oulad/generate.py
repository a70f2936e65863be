"""Set out the records of the Open University Learning Analytics Dataset as a town of three holders.

Run as ``python generate.py OUT --residents N --seed S``. Nothing is made up and nothing is changed: each holder gets
its table as it is, byte for byte. The first N people by identifier are the residents (all 28,785 by default; the other
people's rows stay where they are, and nobody can consent for them). The seed is taken and has no effect.

==============  ======================  =============================================
holder          source                  file
==============  ======================  =============================================
registry        students                students.parquet: 32,593 rows, 28,785 people
results         results                 results.parquet: 173,912 rows, 23,369 people
registrations   registrations           registrations.parquet: 32,593 rows, 28,785
==============  ======================  =============================================

A person's customer number is ``id_student`` at all three, as text. The files are looked for in the folder that the
environment variable MUSUBI_DATA names (or its ``oulad`` folder), else in ``../shared/data/oulad`` beside the
repository. Where they are not, the script ends with code 69 and says so.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

TABLES = {"registry": "students", "results": "results", "registrations": "registrations"}
REPOSITORY = Path(__file__).resolve().parents[3]
EX_UNAVAILABLE = 69


def find_data() -> Path | None:
    """Return the folder that holds all three tables, if there is one; MUSUBI_DATA, where set, is the only place."""
    named = os.environ.get("MUSUBI_DATA")
    places = [Path(named) / "oulad", Path(named)] if named else [REPOSITORY.parent / "shared" / "data" / "oulad"]
    for place in places:
        if all((place / f"{table}.parquet").is_file() for table in TABLES.values()):
            return place
    return None


def customers(path: Path) -> np.ndarray:
    """Return the distinct identifiers in one table, rising."""
    return np.unique(parquet.read_table(path, columns=["id_student"]).column("id_student").to_numpy())


def main() -> int:
    """Copy the tables and write who is who."""
    parser = argparse.ArgumentParser(description="Set out the OULAD records as a town.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--residents", type=int, default=28_785)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.residents < 1:
        parser.error("--residents is at least 1")
    data = find_data()
    if data is None:
        print(
            "The OULAD tables are not on this machine; "
            "set MUSUBI_DATA to the folder that holds oulad/students.parquet and its neighbours.",
            file=sys.stderr,
        )
        return EX_UNAVAILABLE
    known = {}
    for holder, table in TABLES.items():
        (options.out / holder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / f"{table}.parquet", options.out / holder / f"{table}.parquet")
        known[holder] = customers(data / f"{table}.parquet")
    people = np.unique(np.concatenate(list(known.values())))[: options.residents]
    number = people.astype(str)
    columns = {"person": pa.array(np.arange(len(people)))}
    for holder, there in known.items():
        columns[holder] = pa.array(number, pa.string(), mask=~np.isin(people, there))
    parquet.write_table(pa.table(columns), options.out / "residents.parquet", compression="zstd")
    return 0


if __name__ == "__main__":
    sys.exit(main())
