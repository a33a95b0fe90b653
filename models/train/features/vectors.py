"""Causal item vectors: an integer random-indexing accumulator, a learned projection, int8.

The raw vector of an item is a sum over its actions of weight(type) x index(user), with index(user) a sparse ternary vector
from Kafka's murmur2: one pass over the log and integer adds. A version is cut at each midnight UTC, or more often, and knows
only what arrived strictly before it. All versions share one space, because the projection is learned once, before the cut.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from log.config import CONFIG
from log.data import ACTION_TYPES, DAY, ActionLog

RAW = 1024  # dimensions of the accumulator
NONZEROS = 8  # k: murmur2 draws a user
WEIGHTS = {t: CONFIG.weights.get(t, 0) for t in ACTION_TYPES}
ABSENT = -1  # "no vector": no action before the version


def murmur2(data: bytes) -> int:
    """org.apache.kafka.common.utils.Utils.murmur2, as an unsigned 32-bit integer."""
    m, mask, length = 0x5BD1E995, 0xFFFFFFFF, len(data)
    h = (0x9747B28C ^ length) & mask
    for at in range(0, length - length % 4, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    tail = data[length - length % 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def user_index(user: str) -> list[tuple[int, int]]:
    """A user's index vector as NONZEROS pairs (dimension, sign); equal dimensions add up."""
    hashes = [murmur2(f"{j}:{user}".encode()) for j in range(NONZEROS)]
    return [((h & 0x7FFFFFFF) % RAW, -1 if h >> 31 else 1) for h in hashes]


@dataclass(frozen=True)
class RawVersions:
    """Raw vectors of every (item, tick) at which they changed; the row of any other tick is the one before.

    Ticks count periods since the epoch: days where the period is one, then a tick is a midnight.
    """

    rows: np.ndarray  # int16 [R, RAW], ordered by item, then day
    item: np.ndarray  # int32 [R]
    day: np.ndarray  # int64 [R]: ticks; the row holds from this one on
    period: int = DAY  # seconds; 1 is continuous: all that arrived before the second of the request

    def tick(self, time: np.ndarray | int) -> np.ndarray | int:
        """The newest version at a time, seconds."""
        return time // self.period

    def lookup(self, item: np.ndarray, day: np.ndarray | int) -> np.ndarray:
        """int64: for each item the row under the version of tick `day`, or ABSENT."""
        key = self.item.astype(np.int64) << 32 | self.day
        at = np.searchsorted(key, (np.asarray(item, np.int64) << 32) | day, side="right") - 1
        return np.where((at >= 0) & (self.item[at] == item), at, ABSENT)


def accumulate(log: ActionLog, period: int = DAY) -> RawVersions:
    """One pass over the log, a version every `period` seconds."""
    index = np.zeros((len(log.users), RAW), np.int16)
    for n, user in enumerate(log.users):
        for dimension, sign in user_index(user):
            index[n, dimension] += sign
    weight = np.array([0, *WEIGHTS.values()], np.int16)[log.kind]
    order = np.lexsort((log.arrival, log.item))
    item, day = log.item[order], log.arrival[order] // period + 1
    starts = np.flatnonzero(np.r_[True, (item[1:] != item[:-1]) | (day[1:] != day[:-1])])
    rows = np.zeros((len(starts), RAW), np.int16)
    for n, (a, b) in enumerate(zip(starts, np.r_[starts[1:], len(order)])):
        actions = order[a:b]
        rows[n] = (weight[actions, None] * index[log.user[actions]]).sum(0)
        if n and item[a] == item[a - 1]:
            rows[n] += rows[n - 1]
    return RawVersions(rows, item[starts], day[starts], period)


def transform(rows: np.ndarray) -> np.ndarray:
    """float64 [R, RAW]: signed square root, which damps the heaviest users of an item."""
    return np.sign(rows) * np.sqrt(np.abs(rows, dtype=np.float64))


def parts(rows: np.ndarray, size: int = 8_192) -> list[np.ndarray]:
    """The same rows in parts: what is computed of all of them at once takes gigabytes where versions are continuous."""
    return [rows[at : at + size] for at in range(0, max(1, len(rows)), size)]


@dataclass(frozen=True)
class Space:
    """The int8 vectors of all raw rows: q = round half away from zero of 127 x unit vector."""

    projection: np.ndarray  # float32 [RAW, D]
    quantised: np.ndarray  # int8 [R, D]; float32 where it is measured what rounding costs

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """float32 [..., D]: q / 127, zeros where the row is ABSENT."""
        return np.where((rows != ABSENT)[..., None], self.quantised[rows], 0).astype(np.float32) / np.float32(127)


def project(raw: RawVersions, projection: np.ndarray, rounded: bool = True) -> Space:
    """Projects in float64, so that any order of the additions rounds to the same int8."""
    x = np.concatenate([transform(part) @ projection.astype(np.float64) for part in parts(raw.rows)])
    x *= 127 / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    if not rounded:
        return Space(projection, x.astype(np.float32))
    return Space(projection, np.clip(np.sign(x) * np.floor(np.abs(x) + 0.5), -127, 127).astype(np.int8))
