"""Personal features of candidates: dots of item vectors with what each arm knows of the user.

A column has two freshnesses: of the item vectors and of the user. Both are causal: items know actions before their version was cut,
users their actions before the last full day or hour, or before the request ("stream").
"""
from __future__ import annotations

import numpy as np

from features.longterm import Recipe
from features.np_features import with_state_at
from features.vectors import ABSENT
from features.versions import in_force
from features.world import World
from log.data import DAY
from networks import members
from networks.members import Intent

RECIPE = Recipe.of(120, 1)
INTENTS = ["click", "save", "pool"]
REALTIME = [("daily", "daily"), ("daily", "stream"), ("hourly", "stream"), ("continuous", "daily"), ("continuous", "stream")]
LONG_TERM = [("once", "once"), ("daily", "daily"), ("hourly", "hourly"), ("continuous", "once"), ("continuous", "daily"),
             ("continuous", "hourly"), ("continuous", "continuous")]


def name(kind: str, items: str, user: str) -> str:
    """A column's name, such as click/items daily/user stream."""
    return f"{kind}/items {items}/user {user}"


def user_vectors(w: World, table: np.ndarray, chosen: np.ndarray, freshness: str) -> np.ndarray:
    """float32 [q, D]: the recipe of longterm.py with the user's vector made at every version's time."""
    log, weights = w.log, np.array(RECIPE.weights)
    out = np.zeros((len(chosen), table.shape[1]), np.float32)
    made = in_force(w.requests.time[chosen], freshness)
    for n, (u, t) in enumerate(zip(w.requests.user[chosen], made)):
        a = log.bounds[u]
        b = a + np.searchsorted(log.time[a : log.bounds[u + 1]], t)
        weight = weights[log.kind[a:b]] * np.exp2((log.time[a:b] - t) / (DAY * RECIPE.half_life_days))
        total = weight @ table[w.versions.lookup(log.item[a:b], t)]
        out[n] = total / max(np.linalg.norm(total), 1e-12)
    return out


def candidate_rows(w: World, chosen: np.ndarray, pairs: np.ndarray, freshness: str) -> np.ndarray:
    """int64 [q, n]: rows of the versions, ABSENT where the item has no vector; pads (-1) have some item's."""
    return w.versions.lookup(w.requests.candidate[np.maximum(pairs, 0)], in_force(w.requests.time[chosen], freshness)[:, None])


def dots(table: np.ndarray, rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """float32 [q, n]: vectors of rows [q, n] x queries [q, D]."""
    return np.concatenate([np.einsum("qnd,qd->qn", table[r], x) for r, x in zip(np.array_split(rows, 1 + len(rows) // 2_000),
                                                                               np.array_split(queries, 1 + len(rows) // 2_000))])


def columns(w: World, model: Intent, table: np.ndarray, chosen: np.ndarray, pairs: np.ndarray) -> dict[str, np.ndarray]:
    """Every column of the chosen requests' pairs, float32 [q, n]."""
    out = {}
    for items in ("once", "daily", "hourly", "continuous"):
        out[f"missing/items {items}"] = (candidate_rows(w, chosen, pairs, items) == ABSENT).astype(np.float32)
    for items, user in REALTIME:
        requests = w.requests
        if user != "stream":
            requests = with_state_at(w.log, requests, in_force(requests.time, user))
        got = members.score(model, w.log, w.versions, requests, chosen, pairs, items, table)
        out |= {name(k, items, user): got[k] for k in INTENTS}
    for items, user in LONG_TERM:
        out[name("longterm", items, user)] = dots(table, candidate_rows(w, chosen, pairs, items), user_vectors(w, table, chosen, user))
    last = w.log.bounds[w.requests.user[chosen]] + w.requests.accepted[chosen] - 1
    rows = np.where(w.requests.accepted[chosen] > 0, w.versions.lookup(w.log.item[last], w.requests.time[chosen]), ABSENT)
    out[name("last", "continuous", "stream")] = dots(table, candidate_rows(w, chosen, pairs, "continuous"), table[rows])
    return out
