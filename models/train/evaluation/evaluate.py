"""Ranks, their means, and intervals that resample users."""
from __future__ import annotations

import numpy as np

DRAWS = 2_000  # bootstrap samples
CONFIDENCE = 0.95


def reciprocal(rank: np.ndarray) -> np.ndarray:
    """1 / rank: its mean is MRR."""
    return 1 / rank


def recall10(rank: np.ndarray) -> np.ndarray:
    """1 for a target among the first ten."""
    return (rank <= 10).astype(np.float64)


def ndcg10(rank: np.ndarray) -> np.ndarray:
    """One relevant item: 1 / log2(1 + rank) among the first ten, else 0."""
    return np.where(rank <= 10, 1 / np.log2(1 + rank), 0.0)


METRICS = {"mrr": reciprocal, "recall10": recall10, "ndcg10": ndcg10}


def interval(differences: np.ndarray, user: np.ndarray) -> tuple[float, float, float]:
    """Mean of per-request differences with the bootstrap interval over users (a user's requests stay together)."""
    users, of = np.unique(user, return_inverse=True)
    total, count = np.bincount(of, differences), np.bincount(of)
    draw = np.random.default_rng(0).integers(0, len(users), (DRAWS, len(users)))
    means = total[draw].sum(1) / count[draw].sum(1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(differences.mean()), float(low), float(high)


def summary(ranks: dict[str, list[np.ndarray]]) -> list[dict]:
    """An entry an arm from its ranks [seed][request]: the mean over seeds, and the seeds, of each metric."""
    out = []
    for arm, seeds in ranks.items():
        entry = {"arm": arm}
        for metric, value in METRICS.items():
            means = [float(value(r).mean()) for r in seeds]
            entry[metric] = {"mean": round(float(np.mean(means)), 4), "seeds": [round(m, 4) for m in means]}
        out.append(entry)
    return out


def difference(ranks: dict[str, list[np.ndarray]], arm: str, other: str, user: np.ndarray) -> list[dict]:
    """arm - other for each metric: per request the mean over seeds, then the interval over users."""
    out = []
    for metric, value in METRICS.items():
        mine, theirs = (np.mean([value(r) for r in ranks[a]], 0) for a in (arm, other))
        mean, low, high = interval(mine - theirs, user)
        out.append({"arm": f"{arm} - {other}", "metric": metric, "mean": round(mean, 4), "low": round(low, 4),
                    "high": round(high, 4), "relative": round(mean / float(theirs.mean()), 4)})
    return out
