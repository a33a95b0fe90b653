"""Requests, their candidates, and the non-personal (NP) features of each candidate.

A request stands just before a user's first touch of an item: an action whose item is not in the user's window. Its
candidates are the items acted on in the days before it (7 for Deskdrop) that are not in the user's window. Everything is computed
from records that arrived strictly before the request's time less the lag, so actions in the same second see nothing of each
other. The window is that of backfill's row for the moment.
"""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from log.config import CONFIG
from log.data import ACTION_TYPES, DAY, ActionLog

ACTIVE_SECONDS = CONFIG.activeDays * DAY
LAG = CONFIG.lagSeconds
TOUCH_HALF_LIVES = CONFIG.touchHalfLivesHours
ACTION_HALF_LIVES = CONFIG.actionHalfLivesHours
SAVE_HALF_LIVES = CONFIG.saveHalfLivesHours
BELOW_BEST = [n for n, h in enumerate(TOUCH_HALF_LIVES) if h in (1, 3, 12)]  # these also enter relative to the request's best
SAVE_KINDS = [1 + ACTION_TYPES.index(t) for t in CONFIG.saveTypes]
FLOOR = 0.01  # counters enter as ln(FLOOR + counter)
HALF_LIVES = np.array(TOUCH_HALF_LIVES + ACTION_HALF_LIVES + SAVE_HALF_LIVES) * 3600.0  # seconds

FEATURES = [
    *[f"touches_{h:g}h" for h in TOUCH_HALF_LIVES],
    *[f"actions_{h:g}h" for h in ACTION_HALF_LIVES],
    *[f"saves_{h:g}h" for h in SAVE_HALF_LIVES],
    "age",
    "since_action",
    "since_touch",
    "no_vector",
    *[f"touches_{TOUCH_HALF_LIVES[n]:g}h_below_best" for n in BELOW_BEST],
    "site_touches_1h",
]


@dataclass(frozen=True)
class Requests:
    """Q requests in global time order, with their candidates end to end (M pairs in all)."""

    user: np.ndarray  # int32 [Q]
    time: np.ndarray  # int64 [Q]
    accepted: np.ndarray  # int64 [Q]: the user's actions that were servable at the request; its window ends there
    action: np.ndarray  # int64 [Q]: the log's action that is the target
    target: np.ndarray  # int64 [Q]: place of the target among the candidates, -1 if it is not there
    bounds: np.ndarray  # int64 [Q + 1]: the candidates of q are bounds[q] to bounds[q + 1]
    candidate: np.ndarray  # int32 [M]: item
    features: np.ndarray  # float32 [M, len(FEATURES)]
    start: np.ndarray | None = None  # int64 [Q]: where the window starts, a place in the user's order as `accepted`


def with_state_at(log: ActionLog, requests: Requests, time: np.ndarray) -> Requests:
    """The same requests by users whose state is as it was servable at other times [Q], for which there are labels."""
    row = log.rows.find(requests.user, time)
    if not log.intact[row].all():
        raise ValueError("a window was changed by a later arrival: choose requests whose states are intact")
    return replace(requests, accepted=log.rows.accepted[row], start=log.rows.sealed[row])


def windows(log: ActionLog) -> tuple[np.ndarray, np.ndarray]:
    """bool [N] first touch, and int64 [N] the row just before each action's time.

    A touch is first if its item is neither in the row's window nor that of an earlier action of the same second.
    """
    row = log.rows.find(log.user, log.time)
    touch = np.zeros(len(log.user), bool)
    tied: set[int] = set()
    for n, r in enumerate(row):
        if n == 0 or row[n - 1] != r:
            tied = set()
            seen = log.rows.windows.item[log.rows.window(r)]
        touch[n] = log.item[n] not in tied and log.item[n] not in seen
        tied.add(log.item[n])
    return touch, row


class Popularity:
    """Decayed counters of each item, and when it was first and last acted on: what everyone does."""

    def __init__(self, log: ActionLog, touch: np.ndarray) -> None:
        self.log, self.touch = log, touch
        self.counters = np.zeros((len(log.items), len(HALF_LIVES)))  # as of `last`
        self.last, self.first, self.last_touch = (np.full(len(log.items), -np.inf) for _ in range(3))
        self.site, self.site_time = 0.0, 0.0

    def add(self, x: int) -> None:
        """Counts an action; one that arrives after newer ones counts as much as it would have by now."""
        i, now = self.log.item[x], self.log.time[x]
        if not np.isfinite(self.last[i]):
            self.last[i] = self.first[i] = now
        elif now >= self.last[i]:
            self.counters[i] *= np.exp2((self.last[i] - now) / HALF_LIVES)
            self.last[i] = now
        self.first[i] = min(self.first[i], now)
        weight = np.exp2((now - self.last[i]) / HALF_LIVES)
        touches, saves = len(TOUCH_HALF_LIVES), len(HALF_LIVES) - len(SAVE_HALF_LIVES)
        self.counters[i, touches:saves] += weight[touches:saves]
        if self.log.kind[x] in SAVE_KINDS:
            self.counters[i, saves:] += weight[saves:]
        if self.touch[x]:
            self.counters[i, :touches] += weight[:touches]
            self.last_touch[i] = max(self.last_touch[i], now)
            if now >= self.site_time:
                self.site, self.site_time = self.site * 2.0 ** ((self.site_time - now) / 3600.0) + 1, now
            else:
                self.site += 2.0 ** ((now - self.site_time) / 3600.0)

    def active(self, now: int) -> np.ndarray:
        """The items acted on in the days before now."""
        return np.flatnonzero(self.last >= now - ACTIVE_SECONDS)

    def features(self, items: np.ndarray, now: int) -> np.ndarray:
        """float32 [items, FEATURES]."""
        logs = np.log(FLOOR + self.counters[items] * np.exp2((self.last[items] - now)[:, None] / HALF_LIVES))
        hours = lambda since: np.log1p(np.maximum(now - since[items], 0) / 3600.0)
        return np.column_stack([
            logs,
            hours(self.first),
            hours(self.last),
            hours(self.last_touch),
            self.first[items] >= now // DAY * DAY,
            *[logs[:, h] - logs[:, h].max() for h in BELOW_BEST],
            np.full(len(items), np.log1p(self.site * np.exp2((self.site_time - now) / 3600.0))),
        ]).astype(np.float32)


def build(log: ActionLog) -> Requests:
    """Streams the log once: an action is counted by the requests whose time less the lag is after its arrival.

    Touches whose window a later arrival has changed are no requests: their window is not a slice of the log.
    """
    touch, row = windows(log)
    popularity = Popularity(log, touch)
    arrivals = np.lexsort((np.arange(len(log.time)), log.time, log.arrival))
    user, time, accepted, start, action, target, candidates, features = ([] for _ in range(8))
    counted = 0
    order = log.by_time()
    for x in order[touch[order]]:
        now, r = int(log.time[x]), row[x]
        while counted < len(arrivals) and log.arrival[arrivals[counted]] < now - LAG:
            popularity.add(arrivals[counted])
            counted += 1
        items = popularity.active(now)
        items = items[~np.isin(items, log.rows.windows.item[log.rows.window(r)])]
        if not len(items) or not log.intact[r]:
            continue
        features.append(popularity.features(items, now))
        found = np.flatnonzero(items == log.item[x])
        user.append(log.user[x]), time.append(now), action.append(x)
        accepted.append(log.rows.accepted[r]), start.append(log.rows.sealed[r])
        target.append(found[0] if len(found) else -1)
        candidates.append(items.astype(np.int32))
    return Requests(
        *(np.array(c) for c in (user, time, accepted, action, target)),
        bounds=np.r_[0, np.cumsum([len(c) for c in candidates])],
        candidate=np.concatenate(candidates),
        features=np.concatenate(features),
        start=np.array(start),
    )
