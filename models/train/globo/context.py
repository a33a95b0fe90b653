"""What is known of a user at a request, how old it may be, and when each click becomes visible to others."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from globo.data import DAY, HOUR, ClickLog, Requests, boundaries

NONE = -1  # no item
LOOK_BACK = 32  # newest visible clicks of a user that are looked at
SESSION_ITEMS, HISTORY_ITEMS = 6, 16  # of them: of the request's session, and of earlier ones
TICK = 10 * 60_000  # items are brought up to date this often in the stream
REAL_GAP = 10 * 60_000  # a last click counts from previous + this: most real gaps are shorter, its stamp is not real
PAIR_LAG, USER_LAG = 8, 8  # clicks apart, within a session and across a user's sessions

ITEM_FRESHNESS = ["windows", "hourly", "stream"]
USER_FRESHNESS = ["stream", "hourly", "daily", "none"]


@dataclass(frozen=True)
class Contexts:
    """The visible clicks of each request's user, newest first, NONE where there are no more."""

    session: np.ndarray  # int32 [S, SESSION_ITEMS]
    history: np.ndarray  # int32 [S, HISTORY_ITEMS]
    seen: np.ndarray  # int32 [S, LOOK_BACK]: of the request's session, any number
    gap: np.ndarray  # float32 [S]: ln(1 + seconds) between the newest two visible clicks of the session, else 0
    age: np.ndarray  # float32 [S]: ln(1 + seconds) from the newest visible click to the request, 20 if there is none


def _pack(items: np.ndarray, keep: np.ndarray, width: int) -> np.ndarray:
    """The kept entries of each row moved to the left, cut or filled with NONE to a width."""
    order = np.argsort(~keep, 1, kind="stable")[:, :width]
    return np.take_along_axis(np.where(keep, items, NONE), order, 1)


def contexts(log: ClickLog, requests: Requests, freshness: str) -> Contexts:
    """The user's state as of the request, the last full hour, or the last midnight (UTC - 3 h) before it.

    Clicks at or before the request's in its own session are known in the stream; of other sessions those strictly before.
    """
    user, order = log.user[log.session], np.lexsort((log.session, log.time, log.user[log.session]))
    key = user[order].astype(np.int64) << 42 | log.time[order] - log.time.min()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    if freshness == "stream":
        end = place[requests.click] + 1
    else:
        step, shift = (HOUR, 0) if freshness == "hourly" else (DAY, 3 * HOUR)
        cut = (requests.time - shift) // step * step + shift
        end = np.searchsorted(key, requests.user.astype(np.int64) << 42 | np.maximum(cut - log.time.min(), 0))
    if freshness == "none":
        end = np.zeros_like(end)
    begin = np.searchsorted(key, requests.user.astype(np.int64) << 42)
    at = end[:, None] - 1 - np.arange(LOOK_BACK)
    there = at >= begin[:, None]
    click = order[np.maximum(at, 0)]
    row = np.arange(len(end))[:, None]
    own = log.session[click] == row
    there &= ~own | (click <= requests.click[:, None])
    there &= own | (log.time[click] < requests.time[:, None])
    items = log.item[click]
    mine, newest = _pack(items, there & own, LOOK_BACK), _pack(click, there & own, 2)
    seconds = np.where(newest[:, 1] >= 0, (log.time[newest[:, 0]] - log.time[newest[:, 1]]) / 1000, 0)
    newest = _pack(click, there, 1)[:, 0]
    age = np.where(newest >= 0, np.log1p(np.maximum(requests.time - log.time[newest], 0) / 1000), 20)
    return Contexts(mine[:, :SESSION_ITEMS], _pack(items, there & ~own, HISTORY_ITEMS), mine,
                    np.log1p(seconds).astype(np.float32), age.astype(np.float32))


@dataclass(frozen=True)
class Schedule:
    """Requests of a tick see the clicks whose tick is not after theirs."""

    click: np.ndarray  # int32 [N]: from which tick on it counts
    request: np.ndarray  # int32 [S]
    time: np.ndarray  # int64 [ticks]: the moment up to which decay has gone
    when: np.ndarray  # int64 [N]: the moment a click counts as of


def schedule(log: ClickLog, requests: Requests, freshness: str) -> Schedule:
    """windows: as published, all sessions of earlier windows in full, even clicks after the window's end; hourly and
    stream: clicks that happened before the last hour or tick."""
    begins, imputed = boundaries(log), log.last()
    if freshness == "windows":
        window = log.window[log.session]
        return Schedule(window + 1, requests.window, begins, np.minimum(log.time, begins[window + 1]))
    step = HOUR if freshness == "hourly" else TICK
    visible = np.where(imputed, log.time - 30_000 + REAL_GAP, log.time)
    click, request = (visible - begins[0]) // step + 1, (requests.time - begins[0]) // step
    late = request.max() + 1
    return Schedule(np.minimum(click, late).astype(np.int32), request.astype(np.int32),
                    begins[0] + np.arange(late) * step, visible)


def session_pairs(log: ClickLog) -> tuple[np.ndarray, np.ndarray]:
    """(earlier, later) clicks of a session up to PAIR_LAG apart."""
    n = np.arange(len(log.item))
    pairs = [(n[:-lag][same], n[lag:][same]) for lag in range(1, PAIR_LAG + 1)
             if (same := log.session[lag:] == log.session[:-lag]).any()]
    return tuple(np.concatenate(side) for side in zip(*pairs))


def user_pairs(log: ClickLog) -> tuple[np.ndarray, np.ndarray]:
    """(earlier, later) clicks of a user in two sessions, up to USER_LAG of the user's clicks apart."""
    order = np.lexsort((log.session, log.time, log.user[log.session]))
    user, session = log.user[log.session[order]], log.session[order]
    pairs = []
    for lag in range(1, USER_LAG + 1):
        same = np.flatnonzero((user[lag:] == user[:-lag]) & (session[lag:] != session[:-lag]))
        pairs.append((order[same], order[same + lag]))
    return tuple(np.concatenate(side) for side in zip(*pairs))
