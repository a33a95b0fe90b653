"""Rows of `freshet backfill` as arrays: what was servable of a user at a moment, windows whole and oldest first."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from log.config import CONFIG, utc

NONE = -1
SEQUENCE = CONFIG.freshet.get("scoredSequence", "engagement")
LISTS = ("itemIds", "actionTypes", "eventTimesMs", "surfaces")


@dataclass(frozen=True)
class Windows:
    """Ragged: the actions of row r are offsets[r] to offsets[r + 1], oldest first."""

    offsets: np.ndarray  # int64 [R + 1]
    item: np.ndarray  # int32, index into items
    kind: np.ndarray  # int32, 1 + index into the configuration's actionTypes
    time_ms: np.ndarray  # int64
    surface: np.ndarray  # int32, 1 + index into the configuration's surfaces; 0 is missing or unknown


@dataclass(frozen=True)
class Rows:
    """R rows in the order of (user, time), one for each pair of them."""

    user: np.ndarray  # int32 [R], index into users
    time: np.ndarray  # int64 [R], seconds: of the label
    accepted: np.ndarray  # int64 [R]: the user's actions taken as new; 0: nothing was known
    sealed: np.ndarray  # int64 [R]: of these, those that have left the window
    newest_arrival: np.ndarray  # int64 [R], seconds; NONE: nothing was known
    item_version: np.ndarray  # int64 [R], seconds: midnight of the item vectors in force at the features' version; NONE
    long_term: np.ndarray  # int64 [R], seconds: as of when the long-term vector is; NONE
    windows: Windows
    users: list[str]
    items: list[str]

    def find(self, user: np.ndarray, time: np.ndarray) -> np.ndarray:
        """int64: the rows of users at times, in seconds. Raises KeyError where there was no such label."""
        key = (self.user.astype(np.int64) << 34) | self.time
        wanted = (np.asarray(user, np.int64) << 34) | np.asarray(time, np.int64)
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        if (missing := key[at] != wanted).any():
            raise KeyError(f"{missing.sum()} of {len(wanted)} moments have no label")
        return at

    def window(self, row: int) -> slice:
        """Where the row's actions are in `windows`."""
        return slice(self.windows.offsets[row], self.windows.offsets[row + 1])


def codes(values: pa.Array, order: list[str], first: int) -> np.ndarray:
    """int32: the place of each string in `order`, from `first` on; first - 1 where it is not there."""
    places = {name: first + n for n, name in enumerate(order)}
    encoded = values.dictionary_encode()
    table = np.array([places.get(v, first - 1) for v in encoded.dictionary.to_pylist()], np.int32)
    return table[encoded.indices.to_numpy(zero_copy_only=False)] if len(table) else np.zeros(len(values), np.int32)


def read(folder: Path) -> Rows:
    """A dataset that backfill has made with --whole-window."""
    columns = ["userId", "labelTimeMs", "accepted", "newestArrivalTimeMs", "itemVersion", "longTermAsOfMs", f"{SEQUENCE}_sealed",
               *(f"{SEQUENCE}_{name}" for name in LISTS)]
    table = pq.read_table(folder, columns=columns).combine_chunks()
    column = lambda name: table[name].combine_chunks() if table[name].num_chunks != 1 else table[name].chunk(0)
    integers = lambda name, absent: column(name).fill_null(absent).to_numpy(zero_copy_only=False).astype(np.int64)
    users = sorted(set(column("userId").to_pylist()))
    user, time = codes(column("userId"), users, 0), integers("labelTimeMs", NONE) // 1000
    # Two labels of one user and moment have one row; backfill gave them the same features.
    _, chosen = np.unique((user.astype(np.int64) << 34) | time, return_index=True)

    lists = {name: column(f"{SEQUENCE}_{name}") for name in LISTS}
    starts = lists["itemIds"].offsets.to_numpy().astype(np.int64)
    lengths = np.diff(starts)[chosen]
    offsets = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    # newest first in the row, oldest first here
    place = np.repeat(starts[1:][chosen] - 1, lengths) - (np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths))
    flat = {name: values.values for name, values in lists.items()}
    items = sorted(set(flat["itemIds"].unique().to_pylist()))
    return Rows(
        user=user[chosen],
        time=time[chosen],
        accepted=integers("accepted", 0)[chosen],
        sealed=integers(f"{SEQUENCE}_sealed", 0)[chosen],
        newest_arrival=(integers("newestArrivalTimeMs", NONE * 1000) // 1000)[chosen],
        item_version=_midnights(column("itemVersion"))[chosen],
        long_term=(integers("longTermAsOfMs", NONE * 1000) // 1000)[chosen],
        windows=Windows(
            offsets=offsets,
            item=codes(flat["itemIds"], items, 0)[place],
            kind=codes(flat["actionTypes"], CONFIG.actionTypes, 1)[place],
            time_ms=flat["eventTimesMs"].to_numpy(zero_copy_only=False).astype(np.int64)[place],
            surface=codes(flat["surfaces"], CONFIG.surfaces, 1)[place],
        ),
        users=users,
        items=items,
    )


def _midnights(versions: pa.Array) -> np.ndarray:
    """The versions that `freshet load --daily-vectors` activates are named by their midnight."""
    encoded = versions.dictionary_encode()
    table = np.array([utc(v) for v in encoded.dictionary.to_pylist()] + [NONE], np.int64)
    return table[encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)]
