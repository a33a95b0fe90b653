"""The action log, as the stream's reducer holds it: made of backfill's rows, so there is no second reducer here.

An `ActionLog` is sorted by (user, event time, item bytes, action type bytes), so the actions of one user are one slice and
an action's place in that slice is its place in the reducer's order. What was servable of a user at a moment, the window
above all, is in `rows`. Times are seconds since the epoch, UTC, where the name does not say milliseconds.
"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from log import rows as backfilled
from log.config import CONFIG, DAY, utc
from log.rows import Rows, codes

__all__ = ["ACTION_TYPES", "CHUNK", "CUT", "DAY", "SURFACES", "WINDOW", "ActionLog", "load", "of_rows", "read", "sha256", "starts", "utc",
           "window_start"]

CUT = utc(CONFIG.cut)  # nothing at or after it trains or tunes anything
ACTION_TYPES = CONFIG.actionTypes
SURFACES = CONFIG.surfaces

_scored = next((s for s in CONFIG.freshet.get("sequences", []) if s["name"] == backfilled.SEQUENCE), {})
WINDOW = _scored.get("windowSize", 100)  # K: actions that readers are shown
CHUNK = _scored.get("sealSize", 32)  # C: actions sealed together once the window holds K + C


def sha256(path: Path) -> str:
    """The hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class ActionLog:
    """Deduplicated actions, columns of length N, sorted by (user, time, item bytes, type bytes)."""

    user: np.ndarray  # int32, index into users
    item: np.ndarray  # int32, index into items
    time: np.ndarray  # int64, seconds
    kind: np.ndarray  # int32, 1 + index into ACTION_TYPES; 0 is an unknown type
    surface: np.ndarray  # int32, 1 + index into SURFACES; 0 is missing or unknown
    users: list[str]
    items: list[str]
    bounds: np.ndarray  # int64 [users + 1]: the actions of user u are bounds[u] to bounds[u + 1]
    time_ms: np.ndarray  # int64
    arrival: np.ndarray  # int64, seconds: when the log had it, never before `time`
    rows: Rows  # indices of users and items are the log's
    intact: np.ndarray  # bool [rows]: the row's window is a slice of this log; false where a later arrival changed it

    def position(self) -> np.ndarray:
        """int64 [N]: each action's place among its user's actions, from 0."""
        return np.arange(len(self.user)) - self.bounds[self.user]

    def by_time(self) -> np.ndarray:
        """int64 [N]: action indices in global time order, ties by user then by the reducer's order."""
        return np.lexsort((np.arange(len(self.time)), self.time))


def of_rows(rows: Rows, arrivals: dict[str, np.ndarray]) -> ActionLog:
    """Lays the windows of each user over one another: a later row overwrites an earlier one where both know an action.

    `arrivals` are the records of the log: user, item, kind, time_ms, arrival (seconds). Raises ValueError where the rows
    leave an action out.
    """
    counts = np.zeros(len(rows.users), np.int64)
    np.maximum.at(counts, rows.user, rows.accepted)
    bounds = np.r_[0, np.cumsum(counts)]
    lengths = np.diff(rows.windows.offsets)
    row = np.repeat(np.arange(len(rows.user)), lengths)
    place = (bounds[rows.user] + rows.sealed)[row] + np.arange(len(row)) - rows.windows.offsets[:-1][row]
    known = np.zeros(bounds[-1], bool)
    known[place] = True
    if not known.all():
        raise ValueError(f"{(~known).sum()} of {len(known)} actions are in no row's window: more labels are needed")
    columns, same = {}, np.ones(len(place), bool)
    for name in ("item", "kind", "time_ms", "surface"):
        seen = getattr(rows.windows, name)
        column = np.zeros(len(known), seen.dtype)
        column[place] = seen
        columns[name] = column
        same &= column[place] == seen
    user = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    time = columns["time_ms"] // 1000
    return ActionLog(
        user=user, item=columns["item"], time=time, kind=columns["kind"], surface=columns["surface"], users=rows.users,
        items=rows.items, bounds=bounds, time_ms=columns["time_ms"],
        arrival=np.maximum(_first_arrival(user, columns, arrivals), time), rows=rows,
        intact=np.bincount(row[~same], minlength=len(rows.user)) == 0,
    )


def _first_arrival(user: np.ndarray, columns: dict[str, np.ndarray], arrivals: dict[str, np.ndarray]) -> np.ndarray:
    """int64 [N]: of the records that are this action, when the first of them came."""
    keys = lambda c, u: np.stack([u, c["item"], c["kind"], c["time_ms"]], 1).astype(np.int64)
    both = np.concatenate([keys(columns, user), keys(arrivals, arrivals["user"])])
    _, number = np.unique(both, axis=0, return_inverse=True)
    first = np.full(number.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, number[len(user) :], arrivals["arrival"])
    found = first[number[: len(user)]]
    if (absent := found == np.iinfo(np.int64).max).any():
        raise ValueError(f"{absent.sum()} actions of the rows are not in the log that the labels were made of")
    return found


def read(rows: Path, actions: Path) -> ActionLog:
    """The log of a dataset of rows and of the actions that its labels were made of."""
    made, table = backfilled.read(rows), pq.read_table(actions).combine_chunks()
    column = lambda name: table[name].combine_chunks() if table[name].num_chunks != 1 else table[name].chunk(0)
    return of_rows(made, {
        "user": codes(column("userId"), made.users, 0),
        "item": codes(column("itemId"), made.items, 0),
        "kind": codes(column("actionType"), CONFIG.actionTypes, 1),
        "time_ms": column("eventTimeMs").to_numpy(),
        "arrival": column("arrivalTimeMs").to_numpy() // 1000,
    })


def load(path: Path = CONFIG.actions_path) -> ActionLog:
    """The log of the configuration. Raises FileNotFoundError where its rows are not made yet, or of another file."""
    folder, made_of = CONFIG.work / "rows" / "dataset", CONFIG.work / "log" / "actions.sha256"
    if not made_of.exists() or made_of.read_text() != sha256(path) or not (folder / "_card.json").exists():
        raise FileNotFoundError(f"there are no rows of {path}: run models/train/run.sh --until=rows")
    return read(folder, CONFIG.work / "labels" / "actions.parquet")


def window_start(accepted: np.ndarray | int) -> np.ndarray | int:
    """Where a window starts after so many actions that came in order: read off the rows, not computed.

    Raises KeyError for a number that no row of the log has.
    """
    starts = np.load(CONFIG.work / "rows" / "starts.npy")
    found = starts[np.minimum(accepted, len(starts) - 1)]
    if (np.asarray(found) == backfilled.NONE).any() or np.max(accepted) >= len(starts):
        raise KeyError("no row has a user with so many actions")
    return found


def starts(log: ActionLog) -> np.ndarray:
    """int64 [most actions + 1]: how many actions are sealed after so many, as the rows say; NONE where none does.

    Raises ValueError where two rows differ, as they may where actions came late.
    """
    table = np.full(log.rows.accepted.max() + 1, backfilled.NONE)
    table[log.rows.accepted] = log.rows.sealed
    if (table[log.rows.accepted] != log.rows.sealed).any():
        raise ValueError("where a window starts does not follow from the number of actions alone: use the rows")
    return table
