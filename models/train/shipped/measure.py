"""From trained members to rankers, ranks and the quality report. Raises traps.Trap where a number shows a leak."""
from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from evaluation import evaluate, traps
from features import longterm, vectors
from log.config import CONFIG
from log.data import CUT, DAY, utc
from networks import intent, ranker
from networks.listwise import lists, ranks
from running.parallel import parallel
from shipped.pipeline import PERIODS, SEEDS, TRAINED_ON, Member, World

EXPORTED_DOTS = ["click", "save", "longterm"]
LEAK_CHECK = "np+intent of strangers"


@dataclass(frozen=True)
class Results:
    """What export.py writes."""

    world: World | None
    model: intent.IntentModel  # first seed
    space: vectors.Space
    recipe: longterm.Recipe
    tuning: list[dict]  # every long-term recipe tried
    join: dict[str, float]
    dots: np.ndarray  # float32 [M, EXPORTED_DOTS]: test rows from the first seed
    rankers: dict[str, ranker.Ranker]  # first seed
    ranks: dict[str, list[np.ndarray]]  # arm → [seed][q]
    quality: dict


def members(folder: Path) -> dict[str, Member]:
    """By name, as `train` wrote them."""
    return {path.stem: pickle.loads(path.read_bytes()) for path in folder.glob("*.pkl")}


def space_of(member: Member, raw: vectors.RawVersions) -> vectors.Space:
    return vectors.project(raw, member.state["projection"])


class Evaluation:
    """From members to ranks; `run` does it all."""

    def __init__(self, w: World, trained: dict[str, Member]) -> None:
        self.world = w
        self.deployed = [{v: trained[f"seed {s}{v}"] for v in set(TRAINED_ON.values())} for s in SEEDS]
        self.folds = [{v: trained[f"without block {n}{v}"] for v in set(TRAINED_ON.values())} for n in range(len(w.blocks))]

    def run(self, folder: Path) -> Results:
        w = self.world
        recipe, tuning = self._tune()
        dots = np.zeros((len(w.requests.candidate), len(ranker.DOTS)), np.float32)
        strangers = np.zeros_like(dots)
        for member, chosen in [*zip(self.folds, w.blocks), (self.deployed[0], w.test)]:
            pairs = lists(w.requests, chosen).pairs
            dots[pairs] = self._columns(member, chosen, recipe)
            strangers[pairs, :2] = self._stranger_dots(member[""], chosen)
        test_dots = [dots[lists(w.requests, w.test).pairs]] + [self._columns(m, w.test, recipe) for m in self.deployed[1:]]
        join = self._fit_join(dots)
        arms = [(arm, n, False) for n in range(len(SEEDS)) for arm in ranker.ARMS]
        arms += [("np+intent", n, True) for n in range(len(SEEDS))]
        kept = parallel(folder, {_name(*a): partial(_fit_arm, w, *a, strangers if a[2] else dots, test_dots) for a in arms})
        fitted = {a: kept[_name(*a)] for a in arms}
        found = {arm: [fitted[arm, n, False][1] for n in range(len(SEEDS))] for arm in ranker.ARMS}
        found[LEAK_CHECK] = [fitted["np+intent", n, True][1] for n in range(len(SEEDS))]
        model = intent.IntentModel()
        model.load_state_dict({k: torch.from_numpy(v) for k, v in self.deployed[0][""].state.items()})
        exported = dots[:, [ranker.DOTS.index(d) for d in EXPORTED_DOTS]]
        results = Results(w, model.eval(), space_of(self.deployed[0][""], w.raw[""]), recipe, tuning, join, exported,
                          {arm: fitted[arm, 0, False][0] for arm in ranker.ARMS}, found, {})
        return replace(results, quality=_quality(results))

    def _longterm_dots(self, member: dict[str, Member], chosen: np.ndarray, recipe: longterm.Recipe, freshness: str = "") -> np.ndarray:
        """float32 [m]: long-term vector of the version's time x vector of the candidate."""
        w, raw = self.world, self.world.raw[freshness]
        space = space_of(member[TRAINED_ON[freshness]], raw)
        ticks = raw.tick(w.requests.time[chosen])
        keys, of = np.unique(np.stack([w.requests.user[chosen], ticks], 1), axis=0, return_inverse=True)
        users = longterm.user_vectors(w.log, raw, space, keys[:, 0], keys[:, 1], recipe)
        return self._dots(space, chosen, users[of], freshness)

    def _dots(self, space: vectors.Space, chosen: np.ndarray, queries: np.ndarray, freshness: str = "") -> np.ndarray:
        """float32 [m]: queries [q, D] x the vectors of each request's candidates."""
        w = self.world
        rows = np.split(w.rows(chosen, freshness), np.cumsum(np.diff(w.requests.bounds)[chosen])[:-1])
        return np.concatenate([space.vectors(r) @ query for r, query in zip(rows, queries)])

    def _stranger_dots(self, member: Member, chosen: np.ndarray) -> np.ndarray:
        """float32 [m, 2]: click and save dots with the intent of a random other user's request of the same period."""
        random, user = np.random.default_rng(0), self.world.requests.user[chosen]
        space = space_of(member, self.world.raw[""])
        other = random.permutation(len(chosen))
        while (same := user[other] == user).any():
            other[same] = random.integers(0, len(chosen), same.sum())
        intents = member.scores[""]["intent"][other]
        return np.stack([self._dots(space, chosen, intents[:, o]) for o in range(len(intent.OUTCOMES))], 1)

    def _tune(self) -> tuple[longterm.Recipe, list[dict]]:
        """The long-term recipe with the lowest listwise loss on top of the non-personal score, on the last block."""
        w, member, tried = self.world, self.folds[-1], []
        batch, missing = lists(w.requests, w.blocks[-1]), w.rows(w.blocks[-1]) == vectors.ABSENT
        for half_life in CONFIG.longTermHalfLivesDays:
            for weight in CONFIG.longTermSaveWeights:
                dot = self._longterm_dots(member, w.blocks[-1], longterm.Recipe.of(half_life, weight))
                _, loss = ranker.fit_weights(np.stack([dot, missing], 1), member[""].base, batch)
                tried.append({"halfLifeDays": half_life, "saveWeight": weight, "loss": round(loss, 5)})
        best = min(tried, key=lambda t: t["loss"])
        print(f"  long-term vector: {best}", flush=True)
        return longterm.Recipe.of(best["halfLifeDays"], best["saveWeight"]), tried

    def _columns(self, member: dict[str, Member], chosen: np.ndarray, recipe: longterm.Recipe) -> np.ndarray:
        """float32 [m, ranker.DOTS]."""
        columns = {}
        for v in ranker.VARIANTS:
            scores = member[TRAINED_ON.get(v, "")].scores[v]
            columns |= {f"{name}{v}": scores[name] for name in ("click", "save", "pool")}
            if f"longterm{v}" in ranker.DOTS:
                columns[f"longterm{v}"] = self._longterm_dots(member, chosen, recipe, v)
        return np.stack([columns[name] for name in ranker.DOTS], 1)

    def _fit_join(self, dots: np.ndarray) -> dict:
        """Weights of the join without popularity, on the last block."""
        w, join = self.world, {}
        last, missing = lists(w.requests, w.blocks[-1]), w.rows(w.blocks[-1]) == vectors.ABSENT
        for name, used in {"realtime": ["click"], "longTerm": ["longterm"], "both": ["click", "longterm"]}.items():
            columns = [dots[last.pairs, ranker.DOTS.index(d)] for d in used]
            weights, loss = ranker.fit_weights(np.stack([*columns, missing], 1), np.zeros(len(missing)), last)
            join[name] = {**{d: float(w_) for d, w_ in zip([*used, "noVector"], weights)}, "loss": loss}
        return join


def _name(arm: str, seed: int, strangers: bool) -> str:
    return f"{arm} {seed}{' strangers' if strangers else ''}"


def _fit_arm(
    w: World, arm: str, seed: int, strangers: bool, dots: np.ndarray, test_dots: list[np.ndarray],
) -> tuple[ranker.Ranker, np.ndarray]:
    """The ranker and its ranks of the test's targets. `seed` is a number of SEEDS; intents are a stranger's if `strangers`."""
    batch = lists(w.requests, w.test)
    if not strangers:
        dots[batch.pairs] = test_dots[seed]
    fitted = ranker.fit(w.requests, dots, arm, w.learn, SEEDS[seed])
    found = ranks(ranker.predict(fitted, w.requests, dots, batch.pairs), batch)
    print(f"  ranker {arm}{' (strangers)' if strangers else ''}, seed {SEEDS[seed]}: MRR {np.mean(1 / found):.4f}", flush=True)
    return fitted, found


def _quality(r: Results) -> dict:
    """models/quality.json. Raises Trap where a difference shows a leak."""
    w, test = r.world, r.world.test
    requests = w.requests
    every = np.flatnonzero((requests.time >= CUT) & (requests.time < utc(CONFIG.testTo) + DAY))
    pairs = [("np+intent", "np"), ("np+longterm", "np"), ("np+pool", "np"), ("hybrid", "np"), ("hybrid", "np+longterm"),
             ("hybrid", "np+intent"), ("np+intent", "np+longterm"), ("np+intent", "np+pool"), ("np+intent@midnight", "np"),
             ("np+intent", "np+intent@midnight"), ("np+intent", "np+intent@hour"), ("np+intent", "np+intent@float"), (LEAK_CHECK, "np")]
    for v in ranker.FRESH:
        pairs += [(f"np+intent{v}", "np"), (f"np+intent{v}", "np+intent")]
    for v in ranker.FRESHEST:
        pairs += [(f"{arm}{v}", "np") for arm in ("np+longterm", "np+pool", "hybrid")]
        pairs += [(f"hybrid{v}", f"np+longterm{v}"), (f"np+intent{v}", f"np+pool{v}"), (f"np+intent{v}", f"np+longterm{v}")]
    differences = [d for a, b in pairs for d in evaluate.difference(r.ranks, a, b, requests.user[test])]
    mrr = {d["arm"]: d for d in differences if d["metric"] == "mrr"}
    traps.strangers_do_not_help(mrr[f"{LEAK_CHECK} - np"]["low"], LEAK_CHECK)
    for name, d in mrr.items():
        traps.not_too_good(d["mean"], CONFIG.suspiciousGain, name)
    joined, missing, joins = lists(requests, test), w.rows(test) == vectors.ABSENT, {}
    for name, weights in r.join.items():
        columns = [*(k for k in weights if k in EXPORTED_DOTS)]
        scores = sum(weights[k] * r.dots[joined.pairs, EXPORTED_DOTS.index(k)] for k in columns) + weights["noVector"] * missing
        joins[name] = round(float(np.mean(1 / ranks(scores, joined))), 4)
    return {
        "split": {"cut": f"{CONFIG.cut}T00:00:00Z", "trainFrom": CONFIG.blocks[0], "testTo": CONFIG.testTo,
                  "blocks": [*CONFIG.blocks, CONFIG.cut]},
        "requests": len(test),
        "users": len(np.unique(requests.user[test])),
        "seeds": SEEDS,
        "candidatesPerRequest": round(float(np.diff(requests.bounds)[test].mean()), 1),
        "targetShares": {
            "notAmongCandidates": round(1 - len(test) / len(every), 4),
            "withoutVector": round(w.facts["targetsWithoutVector"], 4),
            **{f"withoutVector{v}": round(w.facts[f"targetsWithoutVector{v}"], 4) for v in ranker.FRESH},
            "userWithoutActions": round(float((requests.accepted[test] == 0).mean()), 4),
            "repeatsOfTheLastItem": round(w.facts["repeatsOfTheLastItem"], 4),
        },
        "arms": evaluate.summary(r.ranks),
        "differences": differences,
        "joinWithoutNp": {"mrr": joins, "note": "dots only, first seed, weights fitted before the cut"},
    }
