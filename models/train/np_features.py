"""Requests, their candidates, and the non-personal (NP) features of each candidate.

A request stands just before a user's first touch of an item: an action whose item is not in the user's window. Its
candidates are the items acted on in the 7 days before it that are not in the user's window. Everything is computed from
records with a time strictly before the request's, so actions in the same second see nothing of each other.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data import DAY, ActionLog, window_start

ACTIVE_SECONDS = 7 * DAY
TOUCH_HALF_LIVES = [0.5, 1, 3, 12, 48, 168]  # hours
ACTION_HALF_LIVES = [1, 12, 72]  # hours
SAVE_HALF_LIVES = [24]  # hours
FLOOR = 0.01  # counters enter as ln(FLOOR + counter)

FEATURES = [
    *[f"touches_{h:g}h" for h in TOUCH_HALF_LIVES],
    *[f"actions_{h:g}h" for h in ACTION_HALF_LIVES],
    *[f"saves_{h:g}h" for h in SAVE_HALF_LIVES],
    "age",
    "since_action",
    "since_touch",
    "no_vector",
    *[f"touches_{h:g}h_below_best" for h in (1, 3, 12)],
    "site_touches_1h",
]


@dataclass(frozen=True)
class Requests:
    """Q requests in global time order, with their candidates end to end (M pairs in all)."""

    user: np.ndarray  # int32 [Q]
    time: np.ndarray  # int64 [Q]
    accepted: np.ndarray  # int64 [Q]: the user's actions strictly before the request; its window ends there
    action: np.ndarray  # int64 [Q]: the log's action that is the target
    target: np.ndarray  # int64 [Q]: place of the target among the candidates, -1 if it is not there
    bounds: np.ndarray  # int64 [Q + 1]: the candidates of q are bounds[q] to bounds[q + 1]
    candidate: np.ndarray  # int32 [M]: item
    features: np.ndarray  # float32 [M, len(FEATURES)]


def windows(log: ActionLog) -> tuple[np.ndarray, np.ndarray]:
    """bool [N] first touch, and int64 [N] the user's number of actions strictly before each action's time."""
    touch, before = np.zeros(len(log.user), bool), np.zeros(len(log.user), np.int64)
    for u in range(len(log.users)):
        a, b = log.bounds[u], log.bounds[u + 1]
        before[a:b] = np.searchsorted(log.time[a:b], log.time[a:b])
        for n, start in enumerate(window_start(np.arange(b - a))):
            touch[a + n] = log.item[a + n] not in log.item[a + start : a + n]
    return touch, before


def build(log: ActionLog) -> Requests:
    """Streams the log once in time order; counters take an action only after all requests of its second."""
    touch, before = windows(log)
    order = log.by_time()
    half_lives = np.array(TOUCH_HALF_LIVES + ACTION_HALF_LIVES + SAVE_HALF_LIVES) * 3600.0
    touches, saves = len(TOUCH_HALF_LIVES), len(SAVE_HALF_LIVES)
    n_items = len(log.items)
    counters = np.zeros((n_items, len(half_lives)))  # as of `last`
    last, first, last_touch = (np.full(n_items, -np.inf) for _ in range(3))
    site, site_time = 0.0, 0.0
    user, time, accepted, action, target, candidates, rows = [], [], [], [], [], [], []

    at = 0
    while at < len(order):
        now = int(log.time[order[at]])
        end = at
        while end < len(order) and log.time[order[end]] == now:
            end += 1
        tied = order[at:end]
        active = np.flatnonzero(last >= now - ACTIVE_SECONDS)
        for x in tied[touch[tied]]:
            u, n = log.user[x], before[x]
            window = log.item[log.bounds[u] + window_start(n) : log.bounds[u] + n]
            items = active[~np.isin(active, window)]
            if not len(items):
                continue
            decayed = counters[items] * np.exp2((last[items] - now)[:, None] / half_lives)
            logs = np.log(FLOOR + decayed)
            hours = lambda since: np.log1p((now - since[items]) / 3600.0)
            rows.append(np.column_stack([
                logs,
                hours(first),
                hours(last),
                hours(last_touch),
                first[items] >= now // DAY * DAY,
                *[logs[:, h] - logs[:, h].max() for h in (1, 2, 3)],
                np.full(len(items), np.log1p(site * np.exp2((site_time - now) / 3600.0))),
            ]).astype(np.float32))
            found = np.flatnonzero(items == log.item[x])
            user.append(u), time.append(now), accepted.append(n), action.append(x)
            target.append(found[0] if len(found) else -1)
            candidates.append(items.astype(np.int32))
        for x in tied:
            i = log.item[x]
            if np.isfinite(last[i]):
                counters[i] *= np.exp2((last[i] - now) / half_lives)
            last[i], first[i] = now, min(first[i], now) if np.isfinite(first[i]) else now
            counters[i, touches:-saves] += 1
            counters[i, -saves:] += log.kind[x] in (2, 3)
            if touch[x]:
                counters[i, :touches] += 1
                last_touch[i] = now
                site = site * 2.0 ** ((site_time - now) / 3600.0) + 1
                site_time = now
        at = end
    return Requests(
        *(np.array(c) for c in (user, time, accepted, action, target)),
        bounds=np.r_[0, np.cumsum([len(c) for c in candidates])],
        candidate=np.concatenate(candidates),
        features=np.concatenate(rows),
    )
