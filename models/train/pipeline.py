"""Everything that is trained and measured, in order; nothing is written here.

Rankers must see intents as they will be served, made by a model that did not train on the request. So the time
before the cut is three blocks, and each block's intents come from a model trained on the other two. The last block's
model knows only earlier data: it also tunes the long-term vector and the join. The deployed model trains on
all three. Trainings are independent and run in worker processes of one thread each.
"""
from __future__ import annotations

import multiprocessing
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import evaluate
import intent
import longterm
import np_features
import ranker
import vectors
from data import CUT, DAY, ActionLog, utc
from listwise import lists, ranks
from np_features import Requests

BLOCKS = [utc("2016-04-01"), utc("2016-06-15"), utc("2016-10-01"), CUT]
SEEDS = [0, 1, 2]
HALF_LIVES = [7, 15, 30, 60, 120]  # days, of the long-term vector
SAVE_WEIGHTS = [1, 2, 4]
WORKERS = 2
LEAK_CHECK = "np+intent of strangers"


@dataclass(frozen=True)
class Member:
    """An intent model, its space, and what it gives the requests it did not train on (flat, in their lists' order)."""

    state: dict[str, np.ndarray]
    space: vectors.Space
    base: np.ndarray  # float32 [m]: non-personal scores of a ranker trained on the same requests
    scores: dict[str, np.ndarray]  # click, save, pool [m]; intent [q, outcomes, D]
    midnight: dict[str, np.ndarray]  # the same, the window being cut at the midnight before the request


@dataclass(frozen=True)
class Results:
    """What export.py writes."""

    log: ActionLog
    raw: vectors.RawVersions
    requests: Requests
    test: np.ndarray  # int64 [q]: the requests measured
    model: intent.IntentModel  # seed 0
    space: vectors.Space  # seed 0
    recipe: longterm.Recipe
    tuning: list[dict]  # every long-term recipe tried
    join: dict[str, float]
    dots: np.ndarray  # float32 [M, ranker.DOTS]: test rows from seed 0
    rankers: dict[str, ranker.Ranker]  # seed 0
    ranks: dict[str, list[np.ndarray]]  # arm → [seed][q]
    quality: dict


_shared: dict = {}  # what forked workers read


def _train_member(task: tuple[str, np.ndarray, np.ndarray, int]) -> Member:
    """Task: name, the requests to train on, the requests to score, seed."""
    name, learn, apply, seed = task
    torch.set_num_threads(1)
    log, raw, requests = (_shared[k] for k in ("log", "raw", "requests"))
    base_ranker = ranker.fit(requests, _shared["dots"], "np", learn, seed)
    base = np.zeros(len(requests.candidate), np.float32)
    for chosen in (learn, apply):
        pairs = lists(requests, chosen).pairs
        base[pairs] = ranker.predict(base_ranker, requests, _shared["dots"], pairs)
    model = intent.train(log, raw, requests, learn, torch.from_numpy(base), seed, name)
    space = vectors.project(raw, model.projection.detach().numpy())
    midnight = replace(requests, accepted=_shared["accepted_midnight"])
    return Member(
        {k: v.numpy() for k, v in model.state_dict().items()}, space, base[lists(requests, apply).pairs],
        intent.score(model, log, raw, space, requests, apply), intent.score(model, log, raw, space, midnight, apply),
    )


def _fit_arm(task: tuple[str, int, bool]) -> tuple[ranker.Ranker, np.ndarray]:
    """Task: arm, seed, whether intents are a stranger's. Returns the ranker and its ranks of the test's targets."""
    arm, seed, strangers = task
    torch.set_num_threads(1)
    requests, learn, test = (_shared[k] for k in ("requests", "learn", "test"))
    dots = _shared["stranger_dots"] if strangers else _shared["dots"]
    batch = lists(requests, test)
    if not strangers:
        dots[batch.pairs] = _shared["test_dots"][seed]
    fitted = ranker.fit(requests, dots, arm, learn, seed)
    found = ranks(ranker.predict(fitted, requests, dots, batch.pairs), batch)
    print(f"ranker {arm}{' (strangers)' if strangers else ''}, seed {seed}: MRR {np.mean(1 / found):.4f}", flush=True)
    return fitted, found


def _work(work, tasks: list, folder: Path, first: int) -> None:
    """One worker: every WORKERS-th task from `first` on, its result in a file named by the task's number."""
    for n in range(first, len(tasks), WORKERS):
        (folder / str(n)).write_bytes(pickle.dumps(work(tasks[n])))


def _parallel(work, tasks: list) -> list:
    """Runs independent tasks in forked processes, which read `_shared` without copying it."""
    with TemporaryDirectory() as name:
        folder, context = Path(name), multiprocessing.get_context("fork")
        workers = [context.Process(target=_work, args=(work, tasks, folder, n)) for n in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            if worker.exitcode:
                raise RuntimeError(f"a worker of {work.__name__} failed, see above")
        return [pickle.loads((folder / str(n)).read_bytes()) for n in range(len(tasks))]


def _longterm_dots(member: Member, chosen: np.ndarray, recipe: longterm.Recipe) -> np.ndarray:
    """float32 [m]: long-term vector of the day x vector of the candidate."""
    log, raw, requests = (_shared[k] for k in ("log", "raw", "requests"))
    days = requests.time[chosen] // DAY
    keys, of = np.unique(np.stack([requests.user[chosen], days], 1), axis=0, return_inverse=True)
    users = longterm.user_vectors(log, raw, member.space, keys[:, 0], keys[:, 1], recipe)
    return _dots(member, chosen, users[of])


def _dots(member: Member, chosen: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """float32 [m]: queries [q, D] x the vectors of each request's candidates."""
    requests, rows = _shared["requests"], _shared["candidate_rows"]
    return np.concatenate([
        member.space.vectors(rows[requests.bounds[q] : requests.bounds[q + 1]]) @ query for q, query in zip(chosen, queries)
    ])


def _stranger_dots(member: Member, chosen: np.ndarray) -> np.ndarray:
    """float32 [m, 2]: click and save dots with the intent of a random other user's request of the same period."""
    random, user = np.random.default_rng(0), _shared["requests"].user[chosen]
    other = random.permutation(len(chosen))
    while (same := user[other] == user).any():
        other[same] = random.integers(0, len(chosen), same.sum())
    return np.stack([_dots(member, chosen, member.scores["intent"][other, o]) for o in range(len(intent.OUTCOMES))], 1)


def _tune(member: Member, chosen: np.ndarray) -> tuple[longterm.Recipe, list[dict]]:
    """The long-term recipe with the lowest listwise loss on top of the non-personal score, on the last block."""
    requests, tried = _shared["requests"], []
    batch = lists(requests, chosen)
    missing = _shared["candidate_rows"][batch.pairs] == vectors.ABSENT
    for half_life in HALF_LIVES:
        for weight in SAVE_WEIGHTS:
            dot = _longterm_dots(member, chosen, longterm.Recipe.of(half_life, weight))
            _, loss = ranker.fit_weights(np.stack([dot, missing], 1), member.base, batch)
            tried.append({"halfLifeDays": half_life, "saveWeight": weight, "loss": round(loss, 5)})
    best = min(tried, key=lambda t: t["loss"])
    print(f"long-term vector: {best}", flush=True)
    return longterm.Recipe.of(best["halfLifeDays"], best["saveWeight"]), tried


def _columns(member: Member, long_term: np.ndarray) -> np.ndarray:
    """float32 [m, ranker.DOTS]."""
    s, m = member.scores, member.midnight
    return np.stack([s["click"], s["save"], long_term, s["pool"], m["click"], m["save"]], 1)


def run(log: ActionLog) -> Results:
    """Trains and measures; about twenty minutes on two cores."""
    torch.set_num_threads(1)
    raw, requests = vectors.accumulate(log), np_features.build(log)
    print(f"{len(log.time)} actions, {len(raw.rows)} item versions, {len(requests.user)} requests, "
          f"{len(requests.candidate)} candidates", flush=True)
    days = requests.time // DAY
    found = requests.target >= 0
    blocks = [np.flatnonzero(found & (requests.time >= a) & (requests.time < b)) for a, b in zip(BLOCKS, BLOCKS[1:])]
    learn, test = np.concatenate(blocks), np.flatnonzero(found & (requests.time >= CUT))
    midnights = [np.searchsorted(log.time[log.bounds[u] : log.bounds[u + 1]], d * DAY) for u, d in zip(requests.user, days)]
    dots = np.zeros((len(requests.candidate), len(ranker.DOTS)), np.float32)
    _shared.update(
        log=log, raw=raw, requests=requests, dots=dots, learn=learn, test=test, accepted_midnight=np.array(midnights),
        candidate_rows=raw.lookup(requests.candidate, np.repeat(days, np.diff(requests.bounds))),
    )

    without = lambda n: np.concatenate([b for m, b in enumerate(blocks) if m != n])
    tasks = [(f"seed {s}", learn, test, s) for s in SEEDS]
    tasks += [(f"without block {n}", without(n), block, 0) for n, block in enumerate(blocks)]
    members = _parallel(_train_member, tasks)
    deployed, folds = members[: len(SEEDS)], members[len(SEEDS) :]

    recipe, tuning = _tune(folds[-1], blocks[-1])
    stranger_dots = np.zeros_like(dots)
    for member, chosen in [*zip(folds, blocks), (deployed[0], test)]:
        pairs = lists(requests, chosen).pairs
        dots[pairs] = _columns(member, _longterm_dots(member, chosen, recipe))
        stranger_dots[pairs, :2] = _stranger_dots(member, chosen)
    _shared["stranger_dots"] = stranger_dots
    _shared["test_dots"] = [_columns(m, _longterm_dots(m, test, recipe)) for m in deployed]

    last = lists(requests, blocks[-1])
    missing = _shared["candidate_rows"][last.pairs] == vectors.ABSENT
    join = {}
    for name, used in {"realtime": ["click"], "longTerm": ["longterm"], "both": ["click", "longterm"]}.items():
        columns = [dots[last.pairs, ranker.DOTS.index(d)] for d in used]
        weights, loss = ranker.fit_weights(np.stack([*columns, missing], 1), np.zeros(len(missing)), last)
        join[name] = {**{d: float(w) for d, w in zip([*used, "noVector"], weights)}, "loss": loss}

    arms = [(arm, seed, False) for seed in SEEDS for arm in ranker.ARMS] + [("np+intent", s, True) for s in SEEDS]
    fitted = dict(zip(arms, _parallel(_fit_arm, arms)))
    found_ranks = {arm: [fitted[arm, s, False][1] for s in SEEDS] for arm in ranker.ARMS}
    found_ranks[LEAK_CHECK] = [fitted["np+intent", s, True][1] for s in SEEDS]
    dots[lists(requests, test).pairs] = _shared["test_dots"][0]

    model = intent.IntentModel()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in deployed[0].state.items()})
    results = Results(log, raw, requests, test, model.eval(), deployed[0].space, recipe, tuning, join, dots,
                      {arm: fitted[arm, 0, False][0] for arm in ranker.ARMS}, found_ranks, {})
    return replace(results, quality=_quality(results))


def _quality(r: Results) -> dict:
    """models/quality.json."""
    requests, test = r.requests, r.test
    every = np.flatnonzero(requests.time >= CUT)
    target_rows = _shared["candidate_rows"][lists(requests, test).pairs[lists(requests, test).target]]
    pairs = [("np+intent", "np"), ("np+longterm", "np"), ("np+pool", "np"), ("hybrid", "np"), ("hybrid", "np+longterm"),
             ("hybrid", "np+intent"), ("np+intent", "np+longterm"), ("np+intent", "np+pool"), ("np+intent@midnight", "np"),
             ("np+intent", "np+intent@midnight"), (LEAK_CHECK, "np")]
    joined = lists(requests, test)
    missing = _shared["candidate_rows"][joined.pairs] == vectors.ABSENT
    joins = {}
    for name, weights in r.join.items():
        columns = [*(k for k in weights if k in ranker.DOTS)]
        scores = sum(weights[k] * r.dots[joined.pairs, ranker.DOTS.index(k)] for k in columns) + weights["noVector"] * missing
        joins[name] = round(float(np.mean(1 / ranks(scores, joined))), 4)
    return {
        "split": {"cut": "2016-12-01T00:00:00Z", "trainFrom": "2016-04-01", "testTo": "2017-02-28",
                  "blocks": ["2016-04-01", "2016-06-15", "2016-10-01", "2016-12-01"]},
        "requests": len(test),
        "users": len(np.unique(requests.user[test])),
        "seeds": SEEDS,
        "candidatesPerRequest": round(float(np.diff(requests.bounds)[test].mean()), 1),
        "targetShares": {
            "notAmongCandidates": round(1 - len(test) / len(every), 4),
            "withoutVector": round(float((target_rows == vectors.ABSENT).mean()), 4),
            "userWithoutActions": round(float((requests.accepted[test] == 0).mean()), 4),
        },
        "arms": evaluate.summary(r.ranks),
        "differences": [d for a, b in pairs for d in evaluate.difference(r.ranks, a, b, requests.user[test])],
        "joinWithoutNp": {"mrr": joins, "note": "dots only, seed 0, weights fitted before the cut"},
    }
