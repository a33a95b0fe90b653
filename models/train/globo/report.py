"""Metrics of ranks: the mean over windows of each window's mean, with intervals that keep a user's requests together."""
from __future__ import annotations

import numpy as np

from globo.data import Requests

CUTOFF = 20
Z = 1.96  # of a 95 % interval
METRICS = {
    "hr20": lambda rank: (rank <= CUTOFF).astype(np.float64),
    "ndcg20": lambda rank: np.where(rank <= CUTOFF, 1 / np.log2(1 + np.maximum(rank, 1)), 0.0),
}


def weights(requests: Requests, chosen: np.ndarray) -> np.ndarray:
    """float64 [S]: what each chosen request counts, so that every window after the first counts the same; they sum to 1."""
    chosen = chosen & (requests.window > 0)
    count = np.bincount(requests.window[chosen], minlength=requests.window.max() + 1)
    return np.where(chosen, 1 / np.maximum(count, 1)[requests.window], 0) / (count > 0).sum()


def interval(values: np.ndarray, requests: Requests, chosen: np.ndarray) -> tuple[float, float, float]:
    """Mean over windows of values [S] of the chosen requests, with the cluster-robust interval over users."""
    weight = weights(requests, chosen)
    used = weight > 0
    of = requests.window[used]
    mean = np.bincount(of, values[used]) / np.maximum(np.bincount(of), 1)  # of each window
    spread = np.bincount(requests.user[used], weight[used] * (values[used] - mean[of]))
    centre, error = float(weight @ values), float(np.sqrt((spread ** 2).sum()))
    return centre, centre - Z * error, centre + Z * error


def _row(arm: str, metric: str, seeds: list[np.ndarray], requests: Requests, chosen: np.ndarray) -> dict:
    mean, low, high = interval(np.mean(seeds, 0), requests, chosen)
    weight = weights(requests, chosen)
    return {"dataset": "globo-g1", "task": "last-click", "arm": arm, "metric": metric, "mean": round(mean, 4),
            "low": round(low, 4), "high": round(high, 4), "seeds": [round(float(weight @ s), 4) for s in seeds]}


def rows(ranks: dict[str, list[np.ndarray]], differences: list[tuple[str, str]], requests: Requests, chosen: np.ndarray) -> list[dict]:
    """A row an arm and metric from ranks [seed][S]; then a row a difference: per request the mean over seeds."""
    out = [_row(arm, name, [metric(r) for r in seeds], requests, chosen)
           for arm, seeds in ranks.items() for name, metric in METRICS.items()]
    for arm, other in differences:
        if arm not in ranks or other not in ranks:
            continue
        for name, metric in METRICS.items():
            theirs = np.mean([metric(r) for r in ranks[other]], 0)
            out.append(_row(f"{arm} - {other}", name, [metric(r) - theirs for r in ranks[arm]], requests, chosen))
    return out
