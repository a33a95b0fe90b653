"""Labels for `freshet backfill`: every moment at which the pipeline asks what was servable of a user.

One at each action (a request for its item may stand there), one at the hour and at the midnight before it (a state that is made
once an hour or once a day), one at each midnight of the fixtures, and one behind the end of the log. They come from the log itself.
"""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from log.config import CONFIG, DAY, utc

HOUR = 3_600
ACTIONS = {"userId": pa.string(), "itemId": pa.string(), "actionType": pa.string(), "eventTimeMs": pa.int64(),
           "arrivalTimeMs": pa.int64(), "surface": pa.string()}


def actions_table(records: Iterable[dict]) -> pa.Table:
    """The records of user-actions, as `Deployment.actions` gives them."""
    columns: dict[str, list] = {name: [] for name in ACTIONS}
    for record in records:
        for name, value in (record["value"] | {"arrivalTimeMs": record["timestampMs"]}).items():
            if name in columns:
                columns[name].append(value)
    return pa.table(columns, schema=pa.schema(list(ACTIONS.items())))


def labels_table(actions: pa.Table, midnights: list[int]) -> pa.Table:
    """userId, itemId, time (ms, whole seconds), label (1 at an action, else null), purpose."""
    touches, moments = set(), set()
    users = set()
    for user, item, time in zip(*(actions[c].to_pylist() for c in ("userId", "itemId", "eventTimeMs"))):
        second = time // 1000
        touches.add((user, second, item))
        moments |= {(user, second // HOUR * HOUR, "hour"), (user, second // DAY * DAY, "midnight")}
        users.add(user)
    newest = max(actions["arrivalTimeMs"].to_pylist()) // 1000
    moments |= {(user, newest + 1 + CONFIG.lagSeconds, "end") for user in users}
    moments |= {(user, midnight, "fixture") for user in users for midnight in midnights}
    rows = [(u, i, t * 1000, 1.0, "touch") for u, t, i in sorted(touches)]
    rows += [(u, None, t * 1000, None, purpose) for u, t, purpose in sorted(moments)]
    names = ("userId", "itemId", "time", "label", "purpose")
    types = (pa.string(), pa.string(), pa.int64(), pa.float64(), pa.string())
    return pa.table([pa.array(c, t) for c, t in zip(zip(*rows), types)], names=names)


def write(records: Iterable[dict], folder: Path) -> tuple[int, int]:
    """actions.parquet and labels.parquet; how many of each."""
    actions = actions_table(records)
    labels = labels_table(actions, [utc(m) for m in CONFIG.fixtureMidnights])
    pq.write_table(actions, folder / "actions.parquet")
    pq.write_table(labels, folder / "labels.parquet")
    return len(actions), len(labels)
