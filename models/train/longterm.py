"""The long-term user vector: a decayed, weighted sum of the vectors of everything the user ever did, made each midnight.

    u(d) = normalise(sum over the user's actions before midnight d of weight(type) x 2^(-age / half-life) x v(item, d))

with age to the midnight and v under the version of that same midnight. It lives in the item vectors' space.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data import DAY, ActionLog
from vectors import RawVersions, Space


@dataclass(frozen=True)
class Recipe:
    """What is tuned before the cut."""

    half_life_days: float
    weights: tuple[float, ...]  # for kinds 0 (unknown) to 8, see data.ACTION_TYPES

    @staticmethod
    def of(half_life_days: float, save_weight: float) -> "Recipe":
        """Views weigh 1; likes, bookmarks, comments and follows `save_weight`; undos and unknown types 0."""
        return Recipe(half_life_days, (0.0, 1.0, *[save_weight] * 4, 0.0, 0.0, 0.0))


def user_vectors(log: ActionLog, raw: RawVersions, space: Space, user: np.ndarray, day: np.ndarray,
                 recipe: Recipe) -> np.ndarray:
    """float32 [n, D]: the vectors of users `user` [n] made at midnights `day` [n]; zeros for a user without actions."""
    out = np.zeros((len(user), space.quantised.shape[1]), np.float32)
    weights = np.array(recipe.weights)
    for n, (u, d) in enumerate(zip(user, day)):
        a = log.bounds[u]
        b = a + np.searchsorted(log.time[a : log.bounds[u + 1]], d * DAY)
        if a == b:
            continue
        age = (d * DAY - log.time[a:b]) / DAY
        weight = weights[log.kind[a:b]] * np.exp2(-age / recipe.half_life_days)
        total = weight @ space.vectors(raw.lookup(log.item[a:b], d)).astype(np.float64)
        out[n] = total / max(np.linalg.norm(total), 1e-12)
    return out
