"""Rows of the report from ranks: a mean with an interval that resamples users, and differences of arms as `A - B`."""
from __future__ import annotations

import numpy as np

from evaluation import evaluate
from features.world import World

DATASET = "deskdrop"
TASKS = {"next-unseen": "next unseen item", "first-touch": "first touch"}
METRICS = {
    "next-unseen": {"mrr": lambda rank, size: 1 / rank, "recall10": lambda rank, size: (rank <= 10).astype(float),
                    "ndcg10": lambda rank, size: np.where(rank <= 10, 1 / np.log2(1 + rank), 0.0)},
    "first-touch": {"hit3": lambda rank, size: (rank <= 3).astype(float), "auc": lambda rank, size: (size - rank) / np.maximum(size - 1, 1)},
}


class Rows:
    """Collects rows; arms are given as ranks [seed][task][request]."""

    def __init__(self, w: World) -> None:
        self.w, self.rows, self.ranks = w, [], {}

    def _values(self, arm: str, task: str, metric: str) -> list[np.ndarray]:
        size = self.w.sizes(task)
        return [METRICS[task][metric](seed[task], size) for seed in self.ranks[arm] if task in seed]

    def _row(self, arm: str, task: str, metric: str, seeds: list[np.ndarray]) -> None:
        mean, low, high = evaluate.interval(np.mean(seeds, 0), self.w.user(task))
        self.rows.append({"dataset": DATASET, "task": TASKS[task], "arm": arm, "metric": metric, "mean": round(mean, 4), "low": round(low, 4),
                          "high": round(high, 4), "seeds": [round(float(s.mean()), 4) for s in seeds]})

    def add(self, arm: str, ranks: list[dict[str, np.ndarray]]) -> None:
        """An arm of one or more seeds; nothing if there is none."""
        if not ranks:
            return
        self.ranks[arm] = ranks
        for task in METRICS:
            for metric in METRICS[task] if task in ranks[0] else ():
                self._row(arm, task, metric, self._values(arm, task, metric))

    def difference(self, arm: str, other: str) -> None:
        """arm - other in every metric both have, over the seeds both have."""
        for task in METRICS:
            for metric in METRICS[task]:
                if self.find(f"{arm} - {other}", task, metric):
                    continue
                if arm in self.ranks and other in self.ranks and (pairs := list(zip(self._values(arm, task, metric), self._values(other, task, metric)))):
                    self._row(f"{arm} - {other}", task, metric, [a - b for a, b in pairs])

    def find(self, arm: str, task: str, metric: str) -> dict | None:
        """A row, or None."""
        return next((r for r in self.rows if (r["arm"], r["task"], r["metric"]) == (arm, TASKS[task], metric)), None)


def shipped(quality: dict) -> list[dict]:
    """The rows that the committed models' cards quote, from models/quality.json; the bounds of an arm are those of its seeds."""
    place = {"dataset": DATASET, "task": "next unseen item, shipped models"}
    rows = []
    for entry in (*quality["arms"], quality["reference"]):
        for metric, of in entry.items():
            if isinstance(of, dict) and "seeds" in of:
                rows.append({**place, "arm": entry["arm"], "metric": metric, "mean": of["mean"], "low": min(of["seeds"]), "high": max(of["seeds"]), "seeds": of["seeds"]})
    difference = lambda d, seeds: {**place, **{k: d[k] for k in ("arm", "metric", "mean", "low", "high")}, "seeds": seeds}
    return (rows + [difference(d, len(quality["seeds"])) for d in quality["differences"]]
            + [difference(d, [d["mean"]]) for d in quality["reference"]["differences"]])
