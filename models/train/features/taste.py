"""A user's taste apart from items: how old, how fresh and how popular what the user took up was, over all of the past.

Each candidate gets the difference of its own non-personal features to the user's mean of them, so that "more popular than what this user
usually takes" is one number; and how many touches the mean is of. Part of the long-term state: made once, daily, hourly or continuously.
"""
from __future__ import annotations

import numpy as np

from features.np_features import FEATURES
from features.versions import in_force
from features.world import BLOCKS, World

TASTES = ["age", "since_action", "since_touch", "touches_1h_below_best", "touches_3h_below_best", "touches_12h_below_best", "actions_72h", "no_vector"]
PRIOR = 5  # touches' worth of everyone's mean


def names(user: str) -> list[str]:
    """The columns of one freshness of the user."""
    return [f"taste {k}/user {user}" for k in [*TASTES, "touches"]]


def means(w: World, chosen: np.ndarray, freshness: str) -> np.ndarray:
    """float32 [q, TASTES + 1]: the mean of the user's targets before the state was made, and the logarithm of their number."""
    r = w.requests
    columns = [FEATURES.index(k) for k in TASTES]
    found = np.flatnonzero(r.target >= 0)
    taken = r.features[(r.bounds[:-1] + r.target)[found]][:, columns].astype(np.float64)
    everyone = taken[r.time[found] < BLOCKS[-2]].mean(0)
    order = np.lexsort((r.time[found], r.user[found]))
    user, time = r.user[found][order], r.time[found][order]
    total = np.concatenate([np.zeros((1, len(columns))), np.cumsum(taken[order], 0)])
    out = np.zeros((len(chosen), len(columns) + 1), np.float32)
    for n, (u, t) in enumerate(zip(r.user[chosen], in_force(r.time[chosen], freshness))):
        a, b = np.searchsorted(user, [u, u + 1])
        b = a + np.searchsorted(time[a:b], t)
        out[n, :-1] = (total[b] - total[a] + PRIOR * everyone) / (b - a + PRIOR)
        out[n, -1] = np.log1p(b - a)
    return out


def columns(w: World, chosen: np.ndarray, pairs: np.ndarray, freshness: str) -> dict[str, np.ndarray]:
    """The columns of the chosen requests' pairs, float32 [q, n]."""
    mine, features = means(w, chosen, freshness), w.requests.features[np.maximum(pairs, 0)]
    made = [features[..., FEATURES.index(k)] - mine[:, n, None] for n, k in enumerate(TASTES)]
    return dict(zip(names(freshness), [*made, np.repeat(mine[:, -1:], pairs.shape[1], 1)]))
