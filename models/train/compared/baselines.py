"""Arms that train nothing: rolling popularity, tuned on the last block before the cut, and single signals."""
from __future__ import annotations

import numpy as np

from compared.arms import last_block
from compared.columns import name
from features.np_features import ACTION_HALF_LIVES, FEATURES, SAVE_HALF_LIVES, TOUCH_HALF_LIVES
from features.world import World

COUNTERS = [*(f"touches_{h:g}h" for h in TOUCH_HALF_LIVES), *(f"actions_{h:g}h" for h in ACTION_HALF_LIVES), *(f"saves_{h:g}h" for h in SAVE_HALF_LIVES)]
IN_WINDOW = "item is in the window"


def tuned(w: World) -> dict[str, str]:
    """For each task the counter with the best metric on the learning lists of the last block."""
    rows = last_block(w)
    features, real = w.requests.features[w.learn.pairs[rows]], w.learn.real[rows]
    found = {}
    for counter in COUNTERS:
        score = features[..., FEATURES.index(counter)]
        mine = score[:, :1]
        rank = 0.5 + ((score > mine) & real).sum(1) + 0.5 * ((score == mine) & real).sum(1)
        found[counter] = {"next-unseen": np.mean(1 / rank), "first-touch": np.mean(rank[w.learn_saved[rows]] <= 3)}
    return {task: max(COUNTERS, key=lambda c: found[c][task]) for task in ("next-unseen", "first-touch")}


def ranks(w: World, deployed: list[dict]) -> dict[str, list[dict[str, np.ndarray]]]:
    """arm → seeds (one where nothing depends on it)."""
    features, chosen = w.requests.features[np.maximum(w.pairs, 0)], tuned(w)
    both = lambda score: {task: w.ranks(score, task) for task in ("next-unseen", "first-touch")}
    popularity = {task: w.ranks(features[..., FEATURES.index(counter)], task) for task, counter in chosen.items()}
    # a request stands before the first touch, so no candidate is in the window, and all tie
    window = both(np.zeros(w.pairs.shape, np.float32))
    dot = lambda kind: [both(d["columns"][name(kind, "continuous", "stream")]) for d in deployed]
    return {"tuned popularity": [popularity], IN_WINDOW: [window], "last-item neighbours alone": dot("last"), "average pool alone": dot("pool")}
