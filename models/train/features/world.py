"""What all arms share: the log, both tasks' lists, the versions, the time blocks. Built once and kept in a file."""
from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features import np_features, samples, versions
from features.np_features import Requests
from features.samples import Samples
from log.config import CONFIG
from log.data import CUT, ActionLog, load, utc

BLOCKS = [*map(utc, CONFIG.blocks), CUT]


@dataclass(frozen=True)
class World:
    """`learn` are samples before the cut. The test lists are padded: pairs -1, `real` false."""

    log: ActionLog
    requests: Requests
    versions: versions.Versions
    learn: Samples
    learn_saved: np.ndarray  # bool [q]: liked or bookmarked later, as known at the cut
    block: np.ndarray  # int64 [q]: the block of each learning request
    test: np.ndarray  # int64 [t]: requests of the first task (next unseen item)
    pairs: np.ndarray  # int64 [t, n]
    target: np.ndarray  # int64 [t]: column of the target
    first: np.ndarray  # int64 [f]: rows of `test` that are requests of the second task (first touch)
    measured: np.ndarray  # bool [f, n]: which columns the second task ranks
    excluded: dict[str, int]  # how many requests of each task have their item not among the candidates

    @property
    def real(self) -> np.ndarray:
        """bool [t, n]."""
        return self.pairs >= 0

    def user(self, task: str) -> np.ndarray:
        """The users of a task's requests, to cluster by."""
        rows = self.test if task == "next-unseen" else self.test[self.first]
        return self.requests.user[rows]

    def ranks(self, scores: np.ndarray, task: str) -> np.ndarray:
        """float64: the target's rank from 1 in scores [t, n]; a tie counts half."""
        rows, ranked = (np.arange(len(self.test)), self.real) if task == "next-unseen" else (self.first, self.measured)
        mine = scores[rows, self.target[rows]][:, None]
        above, equal = (scores[rows] > mine) & ranked, (scores[rows] == mine) & ranked
        return 0.5 + above.sum(1) + 0.5 * equal.sum(1)

    def sizes(self, task: str) -> np.ndarray:
        """int64: the length of each list of a task."""
        return (self.real if task == "next-unseen" else self.measured).sum(1)


def _build() -> World:
    log = load()
    requests = np_features.build(log)
    found = requests.target >= 0
    chosen = np.flatnonzero(found & (requests.time >= BLOCKS[0]) & (requests.time < CUT))
    test = np.flatnonzero(found & (requests.time >= CUT))
    sizes = np.diff(requests.bounds)[test]
    column = np.arange(sizes.max())
    pairs = np.where(column < sizes[:, None], requests.bounds[test][:, None] + column, -1)
    first, flat = samples.first_touch(log, requests)
    rows = np.searchsorted(test, first)
    late = requests.time >= CUT
    later = samples.saved_later(log, requests, np.iinfo(np.int64).max)
    excluded = {"next-unseen": int((late & ~found).sum()), "first-touch": int((late & ~found & later).sum())}
    return World(log, requests, versions.accumulate(log), samples.draw(requests, chosen, 0),
                 samples.saved_later(log, requests, CUT)[chosen], np.searchsorted(BLOCKS, requests.time[chosen], side="right") - 1,
                 test, pairs, requests.target[test], rows, flat[np.maximum(pairs[rows], 0)] & (pairs[rows] >= 0), excluded)


def world(folder: Path) -> World:
    """Reads it from the folder, or builds it there (about a minute), from the rows that `run.sh --until=rows` made."""
    path = folder / "world.pkl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(_build(), 5))
    return pickle.loads(path.read_bytes())
