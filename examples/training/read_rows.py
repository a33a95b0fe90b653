"""Reads a dataset that `freshet backfill` has made, in three ways; prints what each of them holds as one line of JSON.

    python read_rows.py FOLDER
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow.parquet as pq


def by_pyarrow(folder: Path) -> list[dict]:
    """All parts as one table; names that begin with an underscore are passed over."""
    return pq.read_table(folder).to_pylist()


def by_pandas(folder: Path) -> list[dict]:
    """Types of Arrow keep 64-bit integers whole where some are missing."""
    frame = pd.read_parquet(folder, dtype_backend="pyarrow").astype(object)
    return [
        {name: plain(value) for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def plain(value: object) -> object:
    """Lists as lists, what is missing as None."""
    if isinstance(value, (list, bytes, str)):
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    return None if pd.isna(value) else value


def by_polars(folder: Path) -> list[dict]:
    return pl.scan_parquet(folder / "part-*.parquet").collect().to_dicts()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for read in (by_pyarrow, by_pandas, by_polars):
        rows = read(folder)
        print(json.dumps({"by": read.__name__, "rows": rows}, default=lambda value: value.hex()))
