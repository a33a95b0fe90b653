"""What was written, served: the shipped models in the stream against what training computed. Differences are skew.

The log is loaded once more, with the vectors of the new recipes; `freshet backfill` gives what ranking would have been given at
some moments, and training computes the same from its own arrays.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from features import longterm, vectors
from log.config import CONFIG, DAY, utc
from log.data import ActionLog
from log.freshet import Deployment
from networks.intent import OUTCOMES, IntentModel, cut_windows

MOMENTS = 2_000
TOLERANCE = 1e-5


def compare(log: ActionLog, raw: vectors.RawVersions, space: vectors.Space, model: IntentModel, recipe: longterm.Recipe,
            deployment: Deployment, folder: Path) -> dict[str, float]:
    """The largest difference of intents and of long-term vectors. Raises ValueError where it is more than the tolerance."""
    chosen = np.sort(np.random.default_rng(6).permutation(len(log.user))[:MOMENTS])
    names = [log.users[u] for u in log.user[chosen]]
    labels = {"userId": names, "time": pa.array(log.time[chosen] * 1000), "purpose": ["served"] * len(chosen)}
    pq.write_table(pa.table(labels), folder / "labels.parquet")
    deployment.backfill(folder / "labels.parquet", folder / "rows", CONFIG.lagSeconds)
    number = {name: n for n, name in enumerate(log.users)}
    rows = [r for r in pq.read_table(folder / "rows").to_pylist() if r["version"] is not None]
    user = np.array([number[r["userId"]] for r in rows])
    at = log.rows.find(user, np.array([r["labelTimeMs"] // 1000 for r in rows]))
    # rows of a user made before the first version have none in force
    day = np.array([utc(r["itemVersion"]) // DAY if r["itemVersion"] else 0 for r in rows])
    w = cut_windows(log, raw, user, log.rows.sealed[at], log.rows.accepted[at], day)
    with torch.no_grad():
        hidden = model.fold(torch.from_numpy(space.vectors(w.rows)), torch.from_numpy((w.rows >= 0).astype(np.float32)),
                            *(torch.from_numpy(x).long() for x in (w.action_types, w.surfaces, w.gaps)))
        intents = model.heads(hidden[w.lengths - 1, np.arange(len(rows))])[0].numpy()
    served = np.array([[r[f"intent_{o}"] for o in OUTCOMES] for r in rows], np.float32)
    known = [n for n, r in enumerate(rows) if r["longTerm"] is not None]
    as_of = np.array([rows[n]["longTermAsOfMs"] // 1000 // DAY for n in known])
    expected = longterm.user_vectors(log, raw, space, user[known], as_of, recipe)
    worst = {"intent": float(np.abs(served - intents).max()),
             "longTerm": float(np.abs(np.array([rows[n]["longTerm"] for n in known], np.float32) - expected).max())}
    print(f"  {len(rows)} moments of {len(set(user.tolist()))} users as served: largest difference {worst}", flush=True)
    if max(worst.values()) > TOLERANCE:
        raise ValueError(f"what is served is not what was trained: {worst}")
    return worst
