"""What is trained, and on what; measure.py measures it.

Rankers must see intents as they will be served, made by a model that did not train on the request. So the time
before the cut is blocks, and each block's intents come from a model trained on the others. The last block's
model knows only earlier data: it also tunes the long-term vector and the join. The deployed model trains on
all. Trainings are independent and run in worker processes of one thread each.
"""
from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from evaluation import traps
from features import vectors
from features.np_features import LAG, Requests, build, with_state_at
from log.config import CONFIG
from log.data import CUT, DAY, ActionLog, utc
from log.labels import HOUR
from networks import intent, ranker
from networks.listwise import lists
from running.parallel import parallel

BLOCKS = [*(utc(b) for b in CONFIG.blocks), CUT]
SEEDS = CONFIG.seeds
PERIODS = {"": DAY, **{v: p for v, p in zip(ranker.FRESH, CONFIG.freshness.values())}}
TRAINED_ON = {"": "", **{v: ranker.FRESHEST[0] for v in ranker.FRESH}}  # of each item freshness, that of its model


@dataclass(frozen=True)
class World:
    """What all trainings read."""

    log: ActionLog
    requests: Requests
    raw: dict[str, vectors.RawVersions]  # by item freshness, as in PERIODS
    blocks: list[np.ndarray]  # int64: requests of each block before the cut whose target is among the candidates
    test: np.ndarray  # int64 [q]: those at or after it
    facts: dict[str, float]  # shares that every reader of a number should know

    @property
    def learn(self) -> np.ndarray:
        return np.concatenate(self.blocks)

    def rows(self, chosen: np.ndarray, freshness: str = "") -> np.ndarray:
        """int64 [m]: rows of the chosen requests' flat candidates."""
        raw, batch = self.raw[freshness], lists(self.requests, chosen)
        return raw.lookup(self.requests.candidate[batch.pairs], raw.tick(self.requests.time[chosen])[batch.of.numpy()])


@dataclass(frozen=True)
class Member:
    """An intent model, and what it gives the requests it did not train on (flat, in their lists' order)."""

    state: dict[str, np.ndarray]
    base: np.ndarray  # float32 [m]: non-personal scores of a ranker trained on the same requests
    scores: dict[str, dict[str, np.ndarray]]  # variant → click, save, pool [m]; intent [q, outcomes, D]


def requests(log: ActionLog) -> Requests:
    """The requests, checked."""
    traps.rows_know_only_the_past(log.rows, LAG)
    out = build(log)
    for check in (traps.windows_end_at_the_request, traps.targets_are_unseen, traps.candidates_could_be_shown,
                  traps.features_know_only_the_past):
        check(log, out)
        print(f"  holds: {check.__name__.replace('_', ' ')}", flush=True)
    changed = 1 - log.intact[log.rows.find(log.user, log.time)].mean()
    print(f"  {len(log.time)} actions of {len(log.users)} users, {len(out.user)} requests, {len(out.candidate)} candidates; "
          f"{changed:.1%} of actions are no request, as a later arrival changed their window", flush=True)
    return out


def world(log: ActionLog, requests: Requests) -> World:
    """Item versions and time blocks, checked."""
    raw = {name: vectors.accumulate(log, period) for name, period in PERIODS.items()}
    found, facts = requests.target >= 0, {"repeatsOfTheLastItem": traps.repeats(log, CUT)}
    blocks = [np.flatnonzero(found & (requests.time >= a) & (requests.time < b)) for a, b in zip(BLOCKS, BLOCKS[1:])]
    test = np.flatnonzero(found & (requests.time >= CUT) & (requests.time < utc(CONFIG.testTo) + DAY))
    out = World(log, requests, raw, blocks, test, facts)
    traps.parts_are_apart(requests, out.learn, test, CUT)
    for name, versions in raw.items():
        traps.vectors_know_only_the_past(log, versions)
        traps.new_items_have_no_vector(log, requests, versions)
        facts[f"targetsWithoutVector{name}"] = float((versions.lookup(
            log.item[requests.action[test]], versions.tick(requests.time[test])) == vectors.ABSENT).mean())
        print(f"  {len(versions.rows)} rows of item vectors{name or ', daily'}: "
              f"{facts[f'targetsWithoutVector{name}']:.1%} of the test's targets have none", flush=True)
    print(f"  {facts['repeatsOfTheLastItem']:.1%} of actions after the cut repeat the user's last item", flush=True)
    return out


def train(w: World, folder: Path) -> None:
    """A member a file: every seed on all blocks, and one model a block on the others; for each item freshness that trains."""
    without = lambda n: np.concatenate([b for m, b in enumerate(w.blocks) if m != n])
    parts = [(f"seed {s}", w.learn, w.test, s) for s in SEEDS]
    parts += [(f"without block {n}", without(n), block, SEEDS[0]) for n, block in enumerate(w.blocks)]
    parallel(folder, {
        f"{part[0]}{freshness}": partial(_train_member, w, folder, *part, freshness)
        for freshness in dict.fromkeys(TRAINED_ON.values()) for part in parts
    })


def _base(w: World, kept: Path, learn: np.ndarray, apply: np.ndarray, seed: int) -> np.ndarray:
    """float32 [M]: non-personal scores of the requests to train on and to score; the same for every item freshness."""
    if kept.exists():
        return np.load(kept)
    none = np.zeros((len(w.requests.candidate), 0), np.float32)
    base_ranker = ranker.fit(w.requests, none, "np", learn, seed)
    base = np.zeros(len(w.requests.candidate), np.float32)
    for chosen in (learn, apply):
        pairs = lists(w.requests, chosen).pairs
        base[pairs] = ranker.predict(base_ranker, w.requests, none, pairs)
    part = kept.with_suffix(".part.npy")
    np.save(part, base)
    part.rename(kept)
    return base


def _train_member(w: World, folder: Path, name: str, learn: np.ndarray, apply: np.ndarray, seed: int, freshness: str) -> Member:
    """Trained on the requests `learn`, with scores of the requests `apply`."""
    base = _base(w, folder / f"{name}.npy", learn, apply, seed)
    model = intent.train(w.log, w.raw[freshness], w.requests, learn, torch.from_numpy(base), seed, f"{name}{freshness}")
    scores = {}
    for variant in [v for v in ranker.VARIANTS if TRAINED_ON.get(v, "") == freshness]:
        raw = w.raw[variant if variant in PERIODS else ""]
        space = vectors.project(raw, model.projection.detach().numpy(), rounded=variant != "@float")
        state = {"@midnight": DAY, "@hour": HOUR}.get(variant)
        asked = w.requests
        if state:
            asked = with_state_at(w.log, asked, asked.time // state * state)
        scores[variant] = intent.score(model, w.log, raw, space, asked, apply)
    return Member({k: v.numpy() for k, v in model.state_dict().items()}, base[lists(w.requests, apply).pairs], scores)
