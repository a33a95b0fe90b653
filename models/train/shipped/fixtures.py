"""Parity fixtures: inputs, and what the training code makes of them, for the TypeScript side to reproduce."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from features import longterm, vectors
from features.np_features import FEATURES
from log import planted
from log.config import CONFIG
from log.data import ACTION_TYPES, DAY, SURFACES, utc
from log.rows import Rows
from networks.intent import GAP_BOUNDS, HIDDEN, IntentModel, Windows, cut_windows
from networks.listwise import lists, ranks
from networks import transact
from networks.ranker import ARMS
from networks.transact import TransAct
from shipped import fusion
from shipped.measure import EXPORTED_DOTS, Results

MIDNIGHTS = [utc(d) for d in CONFIG.fixtureMidnights]
EXPORTED_ARMS = ["np", "np+longterm", "np+intent", "hybrid"]


def numbers(array: np.ndarray | torch.Tensor) -> list:
    """Nested lists of the shortest decimals (9 digits) that give back the same float32; integers stay integers."""
    array = array.detach().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
    if array.ndim:
        return [numbers(x) for x in array]
    return int(array) if np.issubdtype(array.dtype, np.integer) else float(f"{array:.9g}")


def item_vectors(r: Results, count: int = 30) -> dict:
    """Index vectors of some users (ids short, long and not ASCII too) and int8 vectors of some (item, midnight)."""
    random = np.random.default_rng(1)
    users = [*(r.world.log.users[u] for u in random.choice(len(r.world.log.users), 10, replace=False)), "a", "abc", "", "é/世界"]
    rows = random.choice(len(r.world.raw[""].rows), count, replace=False)
    return {
        "murmur2": [{"text": t, "hash": vectors.murmur2(t.encode())} for t in ["", "a", "21", "foobar", "0:é/世界"]],
        "users": [{"userId": u, "index": vectors.user_index(u)} for u in users],
        "items": [
            {"itemId": r.world.log.items[r.world.raw[""].item[n]], "midnightMs": int(r.world.raw[""].day[n]) * DAY * 1000,
             "rawNonZero": int((r.world.raw[""].rows[n] != 0).sum()), "rawAbsSum": int(np.abs(r.world.raw[""].rows[n].astype(int)).sum()),
             "vector": numbers(r.space.quantised[n])}
            for n in sorted(rows)
        ],
    }


def long_term(r: Results, count: int = 20) -> dict:
    """Long-term vectors of some users at midnights on which they have a past."""
    random, out = np.random.default_rng(2), []
    for u in random.permutation(len(r.world.log.users)):
        times = r.world.log.time[r.world.log.bounds[u] : r.world.log.bounds[u + 1]]
        midnight = MIDNIGHTS[len(out) % len(MIDNIGHTS)]
        if (before := int((times < midnight).sum())) < 3:
            continue
        vector = longterm.user_vectors(r.world.log, r.world.raw[""], r.space, np.array([u]), np.array([midnight // DAY]), r.recipe)[0]
        out.append({"userId": r.world.log.users[u], "midnightMs": midnight * 1000, "actions": before, "vector": numbers(vector)})
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
    begun = r.world.test[r.world.requests.accepted[r.world.test] > 0]
    for q in random.choice(begun, real, replace=False):
        end = r.world.requests.accepted[q]
        start = max(r.world.requests.start[q], end - 48)  # the fixture stays small
        w = cut_windows(r.world.log, r.world.raw[""], *(np.array([x]) for x in (r.world.requests.user[q], start, end, r.world.requests.time[q] // DAY)))
        rows = w.rows[:, 0]
        add(zeros, np.where((rows >= 0)[:, None], r.space.quantised[rows], 0), rows >= 0, w.action_types[:, 0],
            w.surfaces[:, 0], w.gaps[:, 0])
    for n in range(drawn):
        steps = [1, 2, 131][n] if n < 3 else int(random.integers(1, 20))
        has = random.random(steps) < 0.8
        quantised = np.where(has[:, None], r.space.quantised[random.integers(0, len(r.world.raw[""].rows), steps)], 0)
        add(zeros if n < 3 else random.normal(0, 0.3, HIDDEN).astype(np.float32), quantised, has,
            random.integers(0, 1 + len(ACTION_TYPES), steps), random.integers(0, 1 + len(SURFACES), steps),
            random.integers(0, 2 + len(GAP_BOUNDS), steps))
    return {"note": "itemVectors are int8: the model's input is q / 127 in float32. Sequences are batch-first.", "sequences": out}


def unroll(r: Results, actions: Path, folder: Path, count: int = 200) -> dict:
    """hidden = fold(zeros, window) of real users at stated midnights, with late actions and undos planted; the awkward users first.

    `actions` is what the labels were made of. The windows come from `freshet backfill` of the altered log.
    """
    columns = pq.read_table(actions).to_pylist()
    log, rows, random, chosen = r.world.log, r.world.log.rows, np.random.default_rng(4), []
    surfaces: dict[tuple, set] = {}
    for c in columns:
        surfaces.setdefault(tuple(c[f] for f in planted.FIELDS), set()).add(c["surface"])
    differing = {key[0] for key, found in surfaces.items() if len(found) > 1}
    for midnight in MIDNIGHTS:
        sealed, merged, tied, other = [], [], [], []
        at = rows.find(np.arange(len(log.users)), np.full(len(log.users), midnight))
        for u in random.permutation(len(log.users)):
            window = rows.window(at[u])
            if not rows.accepted[at[u]]:
                continue
            kind = (sealed if rows.sealed[at[u]] else merged if log.users[u] in differing
                    else tied if (np.diff(rows.windows.time_ms[window]) == 0).any() else other)
            kind.append((log.users[u], midnight))
        share = count // len(MIDNIGHTS)
        picked = sealed[: share // 2] + merged[: share // 4] + tied[: share // 8]
        chosen += picked + other[: share - len(picked)]
    users = {user for user, _ in chosen}
    records = [c for c in columns if c["userId"] in users]
    plan = planted.plan(records)
    found = planted.backfilled(planted.apply(records, plan), chosen, folder)
    at = found.find(np.array([found.users.index(u) for u, _ in chosen]), np.array([m for _, m in chosen]))
    w = _windows(r, found, at, np.array([m for _, m in chosen]) // DAY)
    with torch.no_grad():
        hidden = r.model.fold(torch.from_numpy(r.space.vectors(w.rows)), torch.from_numpy((w.rows >= 0).astype(np.float32)),
                              *(torch.from_numpy(x).long() for x in (w.action_types, w.surfaces, w.gaps)))
    final = hidden[w.lengths - 1, np.arange(len(at))]
    return {
        "note": "Replay the shipped records of these users through the reducer, in order of arrival: those of `planted.late` arrive at "
                "arrivalTimeMs, `planted.undos` are added and arrive as they happen, all others arrive as they happen. What arrived before "
                "midnightMs is in the window; then fold(zeros, window) under the item version of that midnight, made of the unaltered log.",
        "planted": plan,
        "users": [
            {"userId": u, "midnightMs": m * 1000, "accepted": int(found.accepted[n]), "sealed": int(found.sealed[n]), "hidden": numbers(h)}
            for (u, m), n, h in zip(chosen, at, final)
        ],
    }


def _windows(r: Results, rows: Rows, at: np.ndarray, day: np.ndarray) -> Windows:
    """The windows of rows `at` [B] under the item versions of ticks `day` [B], as the model takes them."""
    start, lengths = rows.windows.offsets[at], np.diff(rows.windows.offsets)[at]
    step = np.arange(lengths.max())[:, None]
    real = step < lengths
    place = np.where(real, start + step, 0)
    known = {item: n for n, item in enumerate(r.world.log.items)}
    item = np.array([known[i] for i in rows.items])[rows.windows.item[place]]
    seconds = (rows.windows.time_ms[place] - rows.windows.time_ms[np.maximum(place - 1, 0)]) / 1000
    return Windows(
        rows=np.where(real, r.world.raw[""].lookup(item, day), vectors.ABSENT),
        action_types=np.where(real, rows.windows.kind[place], 0),
        surfaces=np.where(real, rows.windows.surface[place], 0),
        gaps=np.where(real & (step > 0), 1 + np.searchsorted(GAP_BOUNDS, seconds, side="right"), 0),
        lengths=lengths,
    )


def _score(r: Results, arm: str, pairs: np.ndarray) -> np.ndarray:
    """float32 [n]: an exported arm's scores of some pairs."""
    dots = r.dots[pairs][:, [EXPORTED_DOTS.index(d) for d in ARMS[arm]]]
    with torch.no_grad():
        return r.rankers[arm].score(np.concatenate([r.world.requests.features[pairs], dots], 1)).numpy()


def rankers(r: Results, count: int = 50) -> dict:
    """Test requests with all feature columns (arms select theirs, see the card), each arm's scores and target rank."""
    random, out = np.random.default_rng(5), []
    begun = r.world.test[r.world.requests.accepted[r.world.test] > 0]
    for q in np.sort(random.choice(begun, count, replace=False)):
        batch = lists(r.world.requests, np.array([q]))
        scores = {a: _score(r, a, batch.pairs) for a in EXPORTED_ARMS}
        out.append({
            "userId": r.world.log.users[r.world.requests.user[q]],
            "timeMs": int(r.world.requests.time[q]) * 1000,
            "target": r.world.log.items[r.world.log.item[r.world.requests.action[q]]],
            "candidates": [r.world.log.items[i] for i in r.world.requests.candidate[batch.pairs]],
            "features": numbers(np.concatenate([r.world.requests.features[batch.pairs], r.dots[batch.pairs]], 1)),
            "scores": {a: numbers(s) for a, s in scores.items()},
            "rank": {a: float(ranks(s, batch)[0]) for a, s in scores.items()},
        })
    return {"columns": [*FEATURES, *(f"dot_{d}" for d in EXPORTED_DOTS)], "requests": out}


def reference_ranker(r: Results, model: TransAct, count: int = 12, listed: int = 10) -> dict:
    """Test requests with some of their candidates, one without a past; as the model takes them, vectors as int8."""
    random, out = np.random.default_rng(6), []
    past = r.world.requests.accepted[r.world.test]
    picked = np.r_[random.choice(r.world.test[past > transact.LENGTH], count - 3, replace=False),
                   random.choice(r.world.test[(past > 0) & (past < transact.FIRST)], 2, replace=False), r.world.test[past == 0][:1]]
    for q in picked:
        pairs = np.arange(*r.world.requests.bounds[q : q + 2])[:listed]
        given = fusion.given(r, np.array([q]), pairs[None])
        real = given.windows.kinds[0] != transact.PADDING
        of = lambda rows: numbers(np.where((rows >= 0)[:, None], r.space.quantised[rows], 0))
        out.append({
            "itemVectors": of(given.windows.rows[0][real]), "actionTypes": numbers(given.windows.kinds[0][real]), "candidates": of(given.candidates[0]),
            "context": numbers(given.context[0]), "base": numbers(given.base[0]), "scores": numbers(transact.predict(model, given)[0]),
        })
    return {"note": "itemVectors [L][D] and candidates [N][D] are int8: the model's input is q / 127 in float32. Newest action first.", "requests": out}
