"""The window's encoders and long-term transformers, compared on the same frozen item vectors: score = NP + dot.

No ranker in between, so a difference is the encoder's. Vectors, NP and samples are those of arms.py's deployed members.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compared import pinnerformer
from compared.arms import SEEDS
from features import versions
from features.world import World
from networks import members
from networks.encoders import ENCODERS
from running.parallel import parallel

WINDOWS = [10, 25, 50, 100, 200, 400]
EPOCHS = 2  # the item vectors are there already
FRESHNESS = ["once", "daily", "hourly", "continuous"]
NO_LOSS = {"click": 0.0, "save": 0.0, "pool": 0.0, "type": 0.0}
TRAININGS = {
    **{e: {"encoder": e} for e in ENCODERS},
    "gru, time-window mask": {"masked": True},
    "gru, click loss only": {"weights": NO_LOSS | {"click": 1.0}},
    "gru, without next-type loss": {"weights": {"type": 0.0}},
}


@dataclass(frozen=True)
class Trained:
    """One training's ranks by arm and task, and its weights."""

    ranks: dict[str, dict[str, np.ndarray]]
    state: dict


def _tables(w: World, deployed: dict, int8: bool = True) -> np.ndarray:
    return versions.project(w.versions, deployed["projection"], int8).vectors


def _measure(w: World, model: members.Intent, base: np.ndarray, table: np.ndarray, window: int | None = None) -> dict[str, dict[str, np.ndarray]]:
    """Ranks of the intent (a head a task) and of the window's mean."""
    got = members.score(model, w.log, w.versions, w.requests, w.test, w.pairs, "continuous", table, window)
    bias, scale = model.bias.detach().numpy(), model.scale.item()
    score = {k: base + (scale if k == "pool" else 1) * got[k] + bias[n] * got["missing"] for n, k in enumerate(("click", "save", "pool"))}
    return {"intent": {"next-unseen": w.ranks(score["click"], "next-unseen"), "first-touch": w.ranks(score["save"], "first-touch")},
            "pool": {task: w.ranks(score["pool"], task) for task in ("next-unseen", "first-touch")}}


def _train(w: World, deployed: dict, name: str, seed: int) -> Trained:
    table = _tables(w, deployed)
    options = {"encoder": "gru"} | TRAININGS[name]
    model = members.train(w.log, w.versions, w.requests, w.learn, deployed["learn_base"], "continuous", seed,
                          projection=deployed["projection"], table=table, epochs=EPOCHS, **options)
    got = _measure(w, model, deployed["base"][..., 0], table)
    ranks = {f"np + {name}": got["intent"]}
    if name == "gru":
        ranks["np + pool (direct)"] = got["pool"]
        ranks["np + gru, float vectors"] = _measure(w, model, deployed["base"][..., 0], _tables(w, deployed, False))["intent"]
        for length in WINDOWS:
            short = _measure(w, model, deployed["base"][..., 0], table, length)
            ranks |= {f"np + gru, window {length}": short["intent"], f"np + pool, window {length}": short["pool"]}
    return Trained(ranks, model.state_dict())


def _long_term(w: World, deployed: dict, loss: str, seed: int) -> Trained:
    table = _tables(w, deployed)
    model = pinnerformer.train(w, deployed["learn_base"], table, loss, seed)
    return Trained({f"np + long-term transformer ({loss}), {f}": pinnerformer.ranks(w, model, table, deployed["base"][..., 0], f) for f in FRESHNESS},
                   model.state_dict())


def run(w: World, folder: Path, deployed: list[dict], finished: bool = False) -> dict[str, list[Trained]]:
    """training → its seeds."""
    tasks: dict[str, Callable[[], Trained]] = {}
    for seed in SEEDS:  # seed by seed, so that an interrupted run has whole tables of fewer seeds
        for name in TRAININGS:
            tasks[f"{name}, seed {seed}"] = lambda name=name, seed=seed: _train(w, deployed[seed], name, seed)
        for loss in pinnerformer.LOSSES:
            tasks[f"long-term {loss}, seed {seed}"] = lambda loss=loss, seed=seed: _long_term(w, deployed[seed], loss, seed)
    done = parallel(folder / "encoders", tasks, finished)
    names = [*TRAININGS, *(f"long-term {loss}" for loss in pinnerformer.LOSSES)]
    return {name: [done[k] for s in SEEDS if (k := f"{name}, seed {s}") in done] for name in names}
