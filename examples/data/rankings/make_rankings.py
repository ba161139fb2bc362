"""Write the rows of rankings.jsonl as a Parquet file, by pyarrow, which the trainer needs too."""

import argparse
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
SCHEMA = pa.schema(
    {"prompt": pa.string(), "responses": pa.list_(pa.string()), "scores": pa.list_(pa.int32())}
)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE / "data")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    lines = (HERE / "rankings.jsonl").read_text(encoding="utf-8").splitlines()
    table = pa.Table.from_pylist([json.loads(line) for line in lines], schema=SCHEMA)
    pq.write_table(table, folder / "rankings.parquet")


if __name__ == "__main__":
    main()
