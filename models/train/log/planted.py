"""Real users' actions with trouble planted: some arrive late, some are undone. The stream must end where training does.

The log's own ties and duplicates stay. The altered actions go through `freshet load` and `freshet backfill` like any log.
"""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from log import rows
from log.config import CONFIG
from log.freshet import Deployment

LATE_SHARE = 0.05  # of a user's actions
LATE_SECONDS = (60, 3 * 86_400)  # after their event
UNDO_SHARE = 0.3  # of the actions that some type undoes
UNDO_SECONDS = (1, 3_600)
FIELDS = ("userId", "itemId", "actionType", "eventTimeMs")


def plan(records: list[dict], seed: int = 0) -> dict[str, list[dict]]:
    """`late`: actions with the arrivalTimeMs they get; `undos`: actions to add, arriving as they happen. By action key."""
    random, late, undos = np.random.default_rng(seed), [], []
    undone = {t.removeprefix("un"): t for t in CONFIG.actionTypes if t.removeprefix("un") in CONFIG.actionTypes and t.startswith("un")}
    for key in sorted({tuple(r[f] for f in FIELDS) for r in records}):
        record = dict(zip(FIELDS, key))
        if random.random() < LATE_SHARE:
            late.append(record | {"arrivalTimeMs": record["eventTimeMs"] + 1000 * int(random.integers(*LATE_SECONDS))})
        if record["actionType"] in undone and random.random() < UNDO_SHARE:
            undos.append(record | {"actionType": undone[record["actionType"]],
                                   "eventTimeMs": record["eventTimeMs"] + 1000 * int(random.integers(*UNDO_SECONDS))})
    return {"late": late, "undos": undos}


def apply(records: list[dict], planted: dict[str, list[dict]]) -> list[dict]:
    """The records in their new order of arrival, ties as they stood, undos behind them."""
    late = {tuple(r[f] for f in FIELDS): r["arrivalTimeMs"] for r in planted["late"]}
    arrived = [r | {"arrivalTimeMs": late.get(tuple(r[f] for f in FIELDS), r["arrivalTimeMs"])} for r in records]
    arrived += [r | {"arrivalTimeMs": r["eventTimeMs"], "surface": None} for r in planted["undos"]]
    return sorted(arrived, key=lambda r: r["arrivalTimeMs"])


def backfilled(records: list[dict], moments: list[tuple[str, int]], folder: Path) -> rows.Rows:
    """Rows of users at times (seconds), of a log that holds the records alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "actions.ndjson").write_text("".join(json.dumps(r) + "\n" for r in records))
    users, times = zip(*sorted(set(moments)))
    pq.write_table(pa.table({"userId": list(users), "time": pa.array([t * 1000 for t in times], pa.int64()),
                             "purpose": ["unroll"] * len(users)}), folder / "labels.parquet")
    deployment = Deployment(folder / "deployment")
    deployment.create()
    deployment.load(folder / "actions.ndjson", ["--format=ndjson", "--map=eventTime=eventTimeMs,arrivalTime=arrivalTimeMs"],
                    daily_vectors=False)
    deployment.backfill(folder / "labels.parquet", folder / "rows", 0)
    return rows.read(folder / "rows")
