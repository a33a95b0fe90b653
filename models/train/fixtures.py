"""Parity fixtures: inputs, and what the training code makes of them, for the TypeScript side to reproduce."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

import longterm
import vectors
from data import ACTION_TYPES, CHUNK, DAY, SURFACES, WINDOW, utc, window_start
from intent import GAP_BOUNDS, HIDDEN, IntentModel, cut_windows
from listwise import lists, ranks
from np_features import FEATURES
from pipeline import Results
from ranker import DOTS, predict

MIDNIGHTS = [utc(d) for d in ("2016-07-01", "2016-10-01", "2016-12-15", "2017-02-15")]
EXPORTED_ARMS = ["np", "np+longterm", "np+intent", "hybrid"]
EXPORTED_DOTS = ["click", "save", "longterm"]


def numbers(array: np.ndarray | torch.Tensor) -> list:
    """Nested lists of the shortest decimals (9 digits) that give back the same float32; integers stay integers."""
    array = array.detach().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
    if array.ndim:
        return [numbers(x) for x in array]
    return int(array) if np.issubdtype(array.dtype, np.integer) else float(f"{array:.9g}")


def item_vectors(r: Results, count: int = 30) -> dict:
    """Index vectors of some users (ids short, long and not ASCII too) and int8 vectors of some (item, midnight)."""
    random = np.random.default_rng(1)
    users = [*(r.log.users[u] for u in random.choice(len(r.log.users), 10, replace=False)), "a", "abc", "", "é/世界"]
    rows = random.choice(len(r.raw.rows), count, replace=False)
    return {
        "murmur2": [{"text": t, "hash": vectors.murmur2(t.encode())} for t in ["", "a", "21", "foobar", "0:é/世界"]],
        "users": [{"userId": u, "index": vectors.user_index(u)} for u in users],
        "items": [
            {"itemId": r.log.items[r.raw.item[n]], "midnightMs": int(r.raw.day[n]) * DAY * 1000,
             "rawNonZero": int((r.raw.rows[n] != 0).sum()), "rawAbsSum": int(np.abs(r.raw.rows[n].astype(int)).sum()),
             "vector": numbers(r.space.quantised[n])}
            for n in sorted(rows)
        ],
    }


def long_term(r: Results, count: int = 20) -> dict:
    """Long-term vectors of some users at midnights on which they have a past."""
    random, out = np.random.default_rng(2), []
    for u in random.permutation(len(r.log.users)):
        times = r.log.time[r.log.bounds[u] : r.log.bounds[u + 1]]
        midnight = MIDNIGHTS[len(out) % len(MIDNIGHTS)]
        if (before := int((times < midnight).sum())) < 3:
            continue
        vector = longterm.user_vectors(r.log, r.raw, r.space, np.array([u]), np.array([midnight // DAY]), r.recipe)[0]
        out.append({"userId": r.log.users[u], "midnightMs": midnight * 1000, "actions": before, "vector": numbers(vector)})
        if len(out) == count:
            break
    return {"users": out}


def _outputs(model: IntentModel, hidden: np.ndarray, vectors_: np.ndarray, has: np.ndarray, types: np.ndarray,
             surfaces: np.ndarray, gaps: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One sequence in PyTorch: hidden [HIDDEN], vectors [T, DIM], [T] ... → hidden, intent, propensity."""
    tokens = lambda x: torch.from_numpy(x).long()[:, None]
    with torch.no_grad():
        x = torch.cat([torch.from_numpy(vectors_)[:, None], torch.from_numpy(has)[:, None, None],
                       model.action_types(tokens(types)), model.surfaces(tokens(surfaces)), model.gaps(tokens(gaps))], -1)
        final = model.gru(x, torch.from_numpy(hidden)[None, None])[1][0]
        intent, propensity = model.heads(final)
    return final[0], intent[0], propensity[0]


def intent(r: Results, real: int = 30, drawn: int = 30) -> dict:
    """Ragged sequences: windows of real test users from zeros, and random ones that use every code and a given hidden."""
    random, out = np.random.default_rng(3), []

    def add(hidden: np.ndarray, quantised: np.ndarray, has: np.ndarray, types: np.ndarray, surfaces: np.ndarray,
            gaps: np.ndarray) -> None:
        unit = quantised.astype(np.float32) / np.float32(127)
        names = ("hiddenOut", "intent", "propensity")
        result = _outputs(r.model, hidden, unit, has.astype(np.float32), types, surfaces, gaps)
        out.append({"hidden": numbers(hidden), "itemVectors": numbers(quantised), "hasVector": numbers(has.astype(int)),
                    "actionTypes": numbers(types), "surfaces": numbers(surfaces), "gaps": numbers(gaps),
                    **dict(zip(names, map(numbers, result)))})

    zeros = np.zeros(HIDDEN, np.float32)
    begun = r.test[r.requests.accepted[r.test] > 0]
    for q in random.choice(begun, real, replace=False):
        end = r.requests.accepted[q]
        start = max(window_start(end), end - 48)  # the fixture stays small
        w = cut_windows(r.log, r.raw, *(np.array([x]) for x in (r.requests.user[q], start, end, r.requests.time[q] // DAY)))
        rows = w.rows[:, 0]
        add(zeros, np.where((rows >= 0)[:, None], r.space.quantised[rows], 0), rows >= 0, w.action_types[:, 0],
            w.surfaces[:, 0], w.gaps[:, 0])
    for n in range(drawn):
        steps = [1, 2, 131][n] if n < 3 else int(random.integers(1, 20))
        has = random.random(steps) < 0.8
        quantised = np.where(has[:, None], r.space.quantised[random.integers(0, len(r.raw.rows), steps)], 0)
        add(zeros if n < 3 else random.normal(0, 0.3, HIDDEN).astype(np.float32), quantised, has,
            random.integers(0, 1 + len(ACTION_TYPES), steps), random.integers(0, 1 + len(SURFACES), steps),
            random.integers(0, 2 + len(GAP_BOUNDS), steps))
    return {"note": "itemVectors are int8: the model's input is q / 127 in float32. Sequences are batch-first.", "sequences": out}


def unroll(r: Results, actions: Path, count: int = 200) -> dict:
    """hidden = fold(zeros, window) of real users at stated midnights; the awkward users first."""
    raw = pd.read_csv(actions, dtype=str, keep_default_na=False)
    twice = raw.groupby(["personId", "timestamp", "contentId", "eventType"]).surface.agg(["size", "nunique"])
    differing = set(twice[twice["nunique"] > 1].index.get_level_values("personId"))
    random, chosen = np.random.default_rng(4), []
    for m, midnight in enumerate(MIDNIGHTS):
        sealed, merged, tied, other = [], [], [], []
        for u in random.permutation(len(r.log.users)):
            times = r.log.time[r.log.bounds[u] : r.log.bounds[u + 1]]
            times = times[times < midnight]
            if not len(times):
                continue
            kind = (sealed if len(times) >= WINDOW + CHUNK else merged if r.log.users[u] in differing
                    else tied if (np.diff(times) == 0).any() else other)
            kind.append((u, len(times)))
        share = count // len(MIDNIGHTS)
        picked = sealed[: share // 2] + merged[: share // 4] + tied[: share // 8]
        chosen += [(u, n, midnight) for u, n in picked + other[: share - len(picked)]]
    user, accepted, midnight = (np.array(x) for x in zip(*chosen))
    start = window_start(accepted)
    w = cut_windows(r.log, r.raw, user, start, accepted, midnight // DAY)
    with torch.no_grad():
        hidden = r.model.fold(torch.from_numpy(r.space.vectors(w.rows)), torch.from_numpy((w.rows >= 0).astype(np.float32)),
                              *(torch.from_numpy(x).long() for x in (w.action_types, w.surfaces, w.gaps)))
    final = hidden[w.lengths - 1, np.arange(len(user))]
    return {
        "note": "Replay each user's actions with eventTime < midnightMs through the reducer, then fold(zeros, window) "
                "under the item version of that midnight.",
        "users": [
            {"userId": r.log.users[u], "midnightMs": int(m) * 1000, "accepted": int(n), "sealed": int(s), "hidden": numbers(h)}
            for u, m, n, s, h in zip(user, midnight, accepted, start, final)
        ],
    }


def rankers(r: Results, count: int = 50) -> dict:
    """Test requests with all feature columns (arms select theirs, see the card), each arm's scores and target rank."""
    random, out = np.random.default_rng(5), []
    begun = r.test[r.requests.accepted[r.test] > 0]
    for q in np.sort(random.choice(begun, count, replace=False)):
        batch = lists(r.requests, np.array([q]))
        columns = [DOTS.index(d) for d in EXPORTED_DOTS]
        scores = {a: predict(r.rankers[a], r.requests, r.dots, batch.pairs) for a in EXPORTED_ARMS}
        out.append({
            "userId": r.log.users[r.requests.user[q]],
            "timeMs": int(r.requests.time[q]) * 1000,
            "target": r.log.items[r.log.item[r.requests.action[q]]],
            "candidates": [r.log.items[i] for i in r.requests.candidate[batch.pairs]],
            "features": numbers(np.concatenate([r.requests.features[batch.pairs], r.dots[batch.pairs][:, columns]], 1)),
            "scores": {a: numbers(s) for a, s in scores.items()},
            "rank": {a: float(ranks(s, batch)[0]) for a, s in scores.items()},
        })
    return {"columns": [*FEATURES, *(f"dot_{d}" for d in EXPORTED_DOTS)], "requests": out}
