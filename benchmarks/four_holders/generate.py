"""Make four holders' tables of the same people under unrelated customer numbers."""

import argparse
import random
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

HOLDERS = ("north", "east", "south", "west")


def main() -> None:
    """Write ``OUT/<holder>/people.parquet`` and ``OUT/residents.parquet``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--residents", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    source = random.Random(arguments.seed)
    people = range(arguments.residents)
    table = {"person": pa.array(people, pa.int64())}
    for holder in HOLDERS:
        numbers = [f"{holder[0]}{number}" for number in source.sample(range(10**9), len(people))]
        table[holder] = pa.array(numbers, pa.string())
        (arguments.out / holder).mkdir(parents=True, exist_ok=True)
        ages = [source.randint(18, 99) for _ in people]
        parquet.write_table(pa.table({"customer_no": numbers, "age": ages}), arguments.out / holder / "people.parquet")
    parquet.write_table(pa.table(table), arguments.out / "residents.parquet")


if __name__ == "__main__":
    main()
