"""The TransAct-like ranker on top of the hybrid's features: what the window adds to its own summaries, and what the mask does."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compared import arms
from features import versions
from features.world import World
from networks import transact
from running.parallel import parallel

VARIANTS = {"transact hybrid": (arms.ARMS["hybrid"], False), "transact hybrid, time-window mask": (arms.ARMS["hybrid"], True),
            "transact realtime only": ([], False)}


@dataclass(frozen=True)
class Trained:
    """Ranks of the second task, and the weights."""

    ranks: dict[str, np.ndarray]
    state: dict
    features: int


def _train(w: World, last: dict, deployed: dict, name: str, seed: int) -> Trained:
    arm, masked = VARIANTS[name]
    rows = arms.last_block(w)
    table = versions.project(w.versions, last["projection"]).vectors  # one space in training and after; dots come from each member's own
    given = arms.inputs(w, last, arm, w.learn.pairs[rows])
    model = transact.train(w, table, rows, given, last["base"], seed, masked)
    chosen, part = w.test[w.first], w.first
    columns = {k: v[part] for k, v in deployed["columns"].items() if k in arm}
    base = deployed["base"][part]
    context = arms.inputs(w, {"base": base, "columns": columns}, arm, w.pairs[part])
    found = transact.scores(w, model, table, chosen, w.pairs[part], context, base)
    mine = found[np.arange(len(part)), w.target[part], 1][:, None]
    above, equal = (found[..., 1] > mine) & w.measured, (found[..., 1] == mine) & w.measured
    return Trained({"first-touch": 0.5 + above.sum(1) + 0.5 * equal.sum(1)}, model.state_dict(), given.shape[-1])


def tasks(w: World, last: dict, deployed: list[dict]) -> dict[str, Callable[[], Trained]]:
    """What to run, seed by seed. Columns of the taste must be there (arms.with_taste)."""
    return {f"{name}, seed {s}": (lambda name=name, s=s: _train(w, last, deployed[s], name, s)) for s in arms.SEEDS for name in VARIANTS}


def run(w: World, folder: Path, last: dict, deployed: list[dict], finished: bool = False) -> dict[str, list[Trained]]:
    """variant → its seeds."""
    done = parallel(folder / "transact", tasks(w, last, deployed), finished)
    return {name: [done[k] for s in arms.SEEDS if (k := f"{name}, seed {s}") in done] for name in VARIANTS}
