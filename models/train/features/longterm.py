"""The long-term user vector: a decayed, weighted sum of the vectors of everything the user ever did, made each midnight.

    u(d) = normalise(sum over the user's actions before midnight d of weight(type) x 2^(-age / half-life) x v(item, d))

with age to the midnight and v under the version of that same midnight. It lives in the item vectors' space.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.vectors import WEIGHTS, RawVersions, Space
from log.data import DAY, ActionLog


@dataclass(frozen=True)
class Recipe:
    """What is tuned before the cut."""

    half_life_days: float
    weights: tuple[float, ...]  # for kind 0 (unknown) and each of data.ACTION_TYPES

    @staticmethod
    def of(half_life_days: float, save_weight: float) -> "Recipe":
        """What weighs 1 in the item vectors weighs 1, what weighs more `save_weight`; undos and unknown types 0."""
        return Recipe(half_life_days, (0.0, *(float(save_weight if w > 1 else w) for w in WEIGHTS.values())))


def user_vectors(log: ActionLog, raw: RawVersions, space: Space, user: np.ndarray, day: np.ndarray,
                 recipe: Recipe) -> np.ndarray:
    """float32 [n, D]: the vectors of users `user` [n] made at ticks `day` [n] of `raw`; zeros for a user without actions."""
    out = np.zeros((len(user), space.quantised.shape[1]), np.float32)
    weights = np.array(recipe.weights)
    for n, (u, d) in enumerate(zip(user, day)):
        a = log.bounds[u]
        now = d * raw.period
        b = a + np.searchsorted(log.time[a : log.bounds[u + 1]], now)
        if a == b:
            continue
        age = (now - log.time[a:b]) / DAY
        weight = weights[log.kind[a:b]] * np.exp2(-age / recipe.half_life_days) * (log.arrival[a:b] < now)
        total = weight @ space.vectors(raw.lookup(log.item[a:b], d)).astype(np.float64)
        out[n] = total / max(np.linalg.norm(total), 1e-12)
    return out
