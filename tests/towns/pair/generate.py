"""Make two holders' tables of the same people under unrelated customer numbers: each lives in a ward and has an age."""

import argparse
import random
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

HOLDERS = ("east", "west")


def main() -> None:
    """Write ``OUT/<holder>/people.parquet`` and ``OUT/residents.parquet``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--residents", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    source = random.Random(arguments.seed)
    people = range(arguments.residents)
    residents = {"person": pa.array(people, pa.int64())}
    for holder in HOLDERS:
        numbers = [f"{holder[0]}{number}" for number in source.sample(range(10**9), len(people))]
        residents[holder] = pa.array(numbers, pa.string())
        rows = {
            "customer_no": numbers,
            "ward": [source.choice(("hill", "shore")) for _ in people],
            "age": [source.randint(18, 99) for _ in people],
        }
        (arguments.out / holder).mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table(rows), arguments.out / holder / "people.parquet")
    parquet.write_table(pa.table(residents), arguments.out / "residents.parquet")


if __name__ == "__main__":
    main()
