"""Item vectors as fresh as one likes: the raw vector of every item after every second in which it changed.

A `Freshness` is how often versions are cut: at the cut of the time split once, each midnight, each hour, or each second
("continuous": an upper bound, no log is that fresh). A request sees the version in force at its time, and a version
knows only actions that arrived strictly before it is cut.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features import vectors
from features.vectors import ABSENT
from log.data import CUT, DAY, ActionLog

HOUR = 3_600
FRESHNESS = {"once": 0, "daily": DAY, "hourly": HOUR, "continuous": 1}  # seconds between versions; 0: one, at CUT


def in_force(time: np.ndarray, freshness: str) -> np.ndarray:
    """int64: when the version that is in force at `time` was cut. Before CUT, "once" is daily, as in training."""
    seconds, time = FRESHNESS[freshness], np.asarray(time, np.int64)
    return np.minimum(time // DAY * DAY, CUT) if seconds == 0 else time // seconds * seconds


@dataclass(frozen=True)
class Versions:
    """R rows; the row of an item holds from its second until the item's next row."""

    transformed: np.ndarray  # float32 [R, RAW]: signed square roots of the raw vectors
    key: np.ndarray  # int64 [R], ascending: item << 32 | the first second that sees the row

    def lookup(self, item: np.ndarray, time: np.ndarray | int) -> np.ndarray:
        """int64: the row that knows the item's actions that arrived strictly before `time`, or ABSENT."""
        wanted = (np.asarray(item, np.int64) << 32) | np.asarray(time, np.int64)
        at = np.searchsorted(self.key, wanted, side="right") - 1
        return np.where((at >= 0) & (self.key[at] >> 32 == item), at, ABSENT)


def accumulate(log: ActionLog) -> Versions:
    """One pass over the log; actions of one second make one row."""
    raw = vectors.accumulate(log, period=1)
    transformed = np.concatenate([vectors.transform(part).astype(np.float32) for part in vectors.parts(raw.rows)])
    return Versions(transformed, raw.item.astype(np.int64) << 32 | raw.day)


@dataclass(frozen=True)
class Table:
    """The vectors of all rows in one space."""

    vectors: np.ndarray  # float32 [R + 1, D]; the last row, ABSENT's, is zeros


def project(versions: Versions, projection: np.ndarray, int8: bool = True) -> Table:
    """Unit vectors, as multiples of 1/127 if int8, else as they are."""
    x = versions.transformed @ projection
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    if int8:
        x = np.clip(np.sign(x) * np.floor(np.abs(127 * x) + 0.5), -127, 127) / np.float32(127)
    return Table(np.concatenate([x, np.zeros((1, x.shape[1]))]).astype(np.float32))
