"""The TransAct-like ranker on top of the hybrid: what the window adds to its own summaries, and what the mask does."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compared import arms
from features import versions
from features.versions import in_force
from features.world import World
from log.data import DAY
from networks import heads, transact
from running.parallel import parallel

VARIANTS = {"transact hybrid": (arms.ARMS["hybrid"], False), "transact hybrid, time-window mask": (arms.ARMS["hybrid"], True),
            "transact realtime only": ([], False)}  # which is on top of NP


@dataclass(frozen=True)
class Trained:
    """Ranks of the second task, and the weights."""

    ranks: dict[str, np.ndarray]
    state: dict
    features: int


def _lookup(w: World) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Item vectors as in members.py: of the request's midnight, or of right after the action if it is of the same day."""
    return lambda item, acted, asked: w.versions.lookup(item, np.maximum(asked // DAY * DAY, in_force(acted + 1, "continuous")))


def _train(w: World, last: dict, deployed: dict, name: str, seed: int) -> Trained:
    arm, masked = VARIANTS[name]
    rows, part = arms.last_block(w), w.first
    learn, saved = arms.subset(w.learn, rows), w.learn_saved[rows]
    table = versions.project(w.versions, last["projection"]).vectors  # one space in training and after; dots come from each member's own
    after = {"base": deployed["base"][part], "columns": {k: v[part] for k, v in deployed["columns"].items() if k in arm}}
    context, context_after = arms.inputs(w, last, arm, learn.pairs), arms.inputs(w, after, arm, w.pairs[part])
    base, base_after = last["base"], after["base"]
    if arm:
        ranker = heads.fit_mean(context, learn.real, saved, seed, base)
        base, base_after = base + heads.predict(ranker, context), base_after + heads.predict(ranker, context_after)

    def lists(chosen: np.ndarray, pairs: np.ndarray, context: np.ndarray, base: np.ndarray) -> transact.Lists:
        candidates = w.versions.lookup(w.requests.candidate[np.maximum(pairs, 0)], w.requests.time[chosen][:, None])
        return transact.Lists(lambda r: table[r], transact.windows(w.log, w.requests, chosen, _lookup(w)), candidates, context, base)

    model = transact.train(lists(learn.requests, learn.pairs, context, base), learn.real, saved, w.requests.time[learn.requests], seed, masked)
    found = transact.predict(model, lists(w.test[part], w.pairs[part], context_after, base_after))
    mine = found[np.arange(len(part)), w.target[part], 1][:, None]
    above, equal = (found[..., 1] > mine) & w.measured, (found[..., 1] == mine) & w.measured
    return Trained({"first-touch": 0.5 + above.sum(1) + 0.5 * equal.sum(1)}, model.state_dict(), context.shape[-1])


def tasks(w: World, last: dict, deployed: list[dict]) -> dict[str, Callable[[], Trained]]:
    """What to run, seed by seed. Columns of the taste must be there (arms.with_taste)."""
    return {f"{name}, seed {s}": (lambda name=name, s=s: _train(w, last, deployed[s], name, s)) for s in arms.SEEDS for name in VARIANTS}


def run(w: World, folder: Path, last: dict, deployed: list[dict], finished: bool = False) -> dict[str, list[Trained]]:
    """variant → its seeds."""
    done = parallel(folder / "transact", tasks(w, last, deployed), finished)
    return {name: [done[k] for s in arms.SEEDS if (k := f"{name}, seed {s}") in done] for name in VARIANTS}
