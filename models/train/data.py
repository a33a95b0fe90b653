"""The action log, as the stream's reducer would hold it.

Source: data/deskdrop/actions.csv.gz (see data/deskdrop/clean.py). Times are seconds since the epoch, UTC.

An `ActionLog` is sorted by (user, event time, item bytes, action type bytes), so the actions of one user are one slice and
an action's place in that slice is its place in the reducer's order. `window_start` gives the left edge of the
reducer's window after any number of accepted actions.
"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

DAY = 86_400
CUT = 1_480_550_400  # 2016-12-01T00:00:00Z: nothing at or after it trains or tunes anything

WINDOW = 100  # K: actions that readers are shown
CHUNK = 32  # C: actions sealed together once the window holds K + C

ACTION_TYPES = ["view", "like", "bookmark", "comment", "follow", "unlike", "unbookmark", "unfollow"]
SURFACES = ["web", "android", "ios"]
EVENT_TYPES = {"VIEW": "view", "LIKE": "like", "BOOKMARK": "bookmark", "COMMENT CREATED": "comment", "FOLLOW": "follow"}


def utc(text: str) -> int:
    """Seconds since the epoch of a UTC date such as 2016-11-01."""
    return int(pd.Timestamp(text, tz="UTC").timestamp())


def window_start(accepted: np.ndarray | int) -> np.ndarray | int:
    """How many of `accepted` actions are sealed, hence where the window starts: 32 leave whenever it reaches 132."""
    return np.where(np.asarray(accepted) < WINDOW + CHUNK, 0, (np.asarray(accepted) - WINDOW) // CHUNK * CHUNK)


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

    def position(self) -> np.ndarray:
        """int64 [N]: each action's place among its user's actions, from 0."""
        return np.arange(len(self.user)) - self.bounds[self.user]

    def by_time(self) -> np.ndarray:
        """int64 [N]: action indices in global time order, ties by user then by the reducer's order."""
        return np.lexsort((np.arange(len(self.time)), self.time))


def load(path: Path) -> ActionLog:
    """Reads the log. Actions equal in (user, item, type, time) are one; of its surfaces the greater string stays."""
    frame = pd.read_csv(path, dtype={"contentId": str, "personId": str}, keep_default_na=False)
    frame["kind"] = frame.eventType.map(EVENT_TYPES)
    keys = ["personId", "timestamp", "contentId", "kind"]
    # ids and types are ASCII, so the order of strings is the order of their UTF-8 bytes
    frame = frame.groupby(keys, sort=True, as_index=False).surface.max()
    users, items = sorted(frame.personId.unique()), sorted(frame.contentId.unique())
    user = frame.personId.map({u: n for n, u in enumerate(users)}).to_numpy(np.int32)
    return ActionLog(
        user=user,
        item=frame.contentId.map({i: n for n, i in enumerate(items)}).to_numpy(np.int32),
        time=frame.timestamp.to_numpy(np.int64),
        kind=frame.kind.map({k: n + 1 for n, k in enumerate(ACTION_TYPES)}).to_numpy(np.int32),
        surface=frame.surface.map({s: n + 1 for n, s in enumerate(SURFACES)}).fillna(0).to_numpy(np.int32),
        users=users,
        items=items,
        bounds=np.searchsorted(user, np.arange(len(users) + 1)),
    )
