"""Candidates and features of requests, made in one pass over the log: a tick's clicks are added, then its requests answered.

All items with a place are scored by a first stage; the best CANDIDATES of them get features. A target that is not among
them, or that nobody has clicked yet, is a miss.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from globo.context import NONE, Contexts, Schedule
from globo.data import DAY, HOUR, SEGMENTS, ClickLog, Requests
from globo.stream import COUNTS, PAIRS, SLOTS, ItemState, steps

COLUMNS = 1_536  # the most popular items, which the first stage scores
CANDIDATES = 64
FLOOR = 1e-5  # probabilities enter as ln(FLOOR + p)
SEGMENT_PRIOR = 20.0  # clicks
POSITION = np.array([1, 0.6, 0.4, 0.3, 0.2, 0.15], np.float32)  # weight of a session's clicks, newest first
AGEING = (0.85 ** np.arange(16)).astype(np.float32)  # the same of earlier sessions'
STAGE_ONE = {1: 0.4, 2: 0.35, 3: 0.25}  # pair matrices and their weights
STAGE_ONE_POPULARITY, STAGE_ONE_HISTORY = 0.3, 0.2  # against 1 for the session

FEATURES = [
    *[f"{k}_{h:g}h" for k, h in COUNTS], "first_seen", "last_seen", *SEGMENTS,
    *[f"last_{k}_{h:g}h" for k, h in PAIRS], *[f"session_{k}_{h:g}h" for k, h in PAIRS], "back_next_24h",
    "history_both_72h", "history_user_48h", "recent_user_48h", "read_before", "stage_one",
]
CONTEXT = ["session_clicks", "history_clicks", "gap", "age", "traffic", *[f"support_{k}_{h:g}h" for k, h in PAIRS],
           "support_history", "hour_sin", "hour_cos"]


@dataclass(frozen=True)
class Answers:
    """Arrays that a pass fills, a row a request (they may be memory-mapped)."""

    candidate: np.ndarray  # int32 [S, CANDIDATES]: item, NONE where there are fewer
    features: np.ndarray  # float16 [S, CANDIDATES, len(FEATURES)]
    context: np.ndarray  # float16 [S, len(CONTEXT)]


def average(state: ItemState, k: int, slots: np.ndarray, weights: np.ndarray, to: np.ndarray, now: int) -> np.ndarray:
    """float32 [Q, C]: the mean over context slots [Q, L] of pair probability k to slots [Q, C], weighted by age rank."""
    out, values = np.zeros(to.shape, np.float32), state.pairs[k].values
    present = slots < SLOTS
    weights = weights * present
    weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)
    for n in range(slots.shape[1]):
        there = np.flatnonzero(present[:, n])
        if len(there):
            scale, _ = state.rows(k, slots[there, n], now)
            out[there] += values[slots[there, n][:, None], to[there]] * (scale * weights[there, n])[:, None]
    return out


def _stage_one(state: ItemState, columns: np.ndarray, session: np.ndarray, history: np.ndarray, popular: np.ndarray,
               now: int) -> np.ndarray:
    """float32 [Q, C]: a fixed mixture of pair probabilities and popularity."""
    slots, inverse = np.unique(np.concatenate([session, history], 1), return_inverse=True)
    inverse = inverse.reshape(len(session), -1)
    block = np.zeros((len(slots), len(columns)), np.float32)
    for k, weight in STAGE_ONE.items():
        scale, _ = state.rows(k, slots, now)
        block += state.pairs[k].values[np.ix_(slots, columns)] * (weight * scale)[:, None]
    block[slots == SLOTS] = 0
    mine, theirs = POSITION * (session < SLOTS), STAGE_ONE_HISTORY * AGEING[: history.shape[1]] * (history < SLOTS)
    weights = np.concatenate([mine / np.maximum(mine.sum(1, keepdims=True), 1e-9), theirs], 1).astype(np.float32)
    scores = np.repeat(STAGE_ONE_POPULARITY * popular[columns][None], len(session), 0)
    for n in range(weights.shape[1]):
        there = np.flatnonzero(weights[:, n])
        scores[there] += block[inverse[there, n]] * weights[there, n, None]
    return scores


def _answer(state: ItemState, users: list[tuple[Contexts, Answers]], requests: Requests, rows: np.ndarray, now: int) -> None:
    """Fills some rows for each knowledge of the users; reads neither targets nor anything of their sessions but that."""
    counts = [c.values * c.factor(now) for c in state.counts]
    shares = [c / max(float(c[:SLOTS].sum()), 1) for c in counts]
    popular = 0.5 * shares[1] + 0.5 * shares[6]
    taken = np.flatnonzero(state.item[:SLOTS] >= 0)
    columns = taken[np.argsort(-(popular[taken] + shares[3][taken]), kind="stable")[:COLUMNS]]
    for _, out in users:
        out.candidate[rows] = NONE
    if not len(columns):
        return
    known = lambda field: np.concatenate([getattr(user, field)[rows] for user, _ in users])
    session, history, seen = (state.slot[known(f)] for f in ("session", "history", "seen"))  # NONE reads the last, nobody's
    scores = _stage_one(state, columns, session, history[:, :3], popular, now)
    column = np.full(SLOTS + 1, NONE)
    column[columns] = np.arange(len(columns))
    q, n = np.nonzero(column[seen] >= 0)
    scores[q, column[seen[q, n]]] = -1  # no session clicks an item twice
    width = min(CANDIDATES, len(columns))
    best = np.argpartition(-scores, width - 1, 1)[:, :width]
    best_scores = np.take_along_axis(scores, best, 1)
    to = columns[best]

    ln = lambda p: np.log(FLOOR + p)
    log_share = [ln(s) for s in shares]
    made = [s[to] for s in log_share]
    hours = lambda since: np.log1p(np.maximum(now - since, 0) / HOUR)
    made += [hours(state.first[state.item])[to], hours(state.last)[to]]
    segment = np.tile(requests.segment[rows], (len(users), 1))
    for k, c in enumerate(state.segments):
        of, factor = segment[:, k], c.factor(now)
        mine = c.values[of[:, None], to] * factor + SEGMENT_PRIOR * shares[3][to]
        total = (c.values.sum(1) * factor + SEGMENT_PRIOR)[of]
        made.append(ln(mine / total[:, None]) - log_share[3][to])
    latest = np.where(session[:, :1] < SLOTS, session[:, :1], history[:, :1])  # of a stale state, the last that is known
    one = np.ones(1, np.float32)
    made += [ln(average(state, k, latest, one, to, now)) for k in range(len(PAIRS))]
    made += [ln(average(state, k, session, POSITION, to, now)) for k in range(len(PAIRS))]
    made.append(ln(state.pairs[1].values[to, latest] * state.rows(1, to, now)[0]))
    made += [ln(average(state, k, history, AGEING, to, now)) for k in (3, 4)]
    made.append(ln(average(state, 4, history[:, :3], AGEING[:3], to, now)))
    made.append((history[:, :, None] == to[:, None, :]).any(1))
    made.append(ln(np.maximum(best_scores, 0)))
    features, candidate = np.stack(made, 2), np.where(best_scores >= 0, state.item[to], NONE)

    phase, same = 2 * np.pi * (now % DAY) / DAY, np.ones(len(session))
    support = [np.log1p(state.rows(k, latest[:, 0], now)[1]) for k in range(len(PAIRS))]
    old = np.log1p((state.sums[3].values[history] * state.sums[3].factor(now)).mean(1))
    context = np.stack([
        np.log1p((known("seen") >= 0).sum(1)), np.log1p((known("history") >= 0).sum(1)), known("gap"), known("age"),
        same * np.log1p(counts[1][:SLOTS].sum()), *support, old, same * np.sin(phase), same * np.cos(phase),
    ], 1)
    for n, (_, out) in enumerate(users):
        part = slice(n * len(rows), (n + 1) * len(rows))
        out.candidate[rows, :width], out.features[rows, :width], out.context[rows] = candidate[part], features[part], context[part]


def answer(log: ClickLog, requests: Requests, plan: Schedule, users: list[tuple[Contexts, Answers]], progress=lambda share: None) -> None:
    """One pass over the log in ticks, the state starting empty; fills the answers to each knowledge of the users."""
    state = ItemState(log, int(plan.time[0]))
    for now, rows in steps(state, log, requests, plan, progress):
        _answer(state, users, requests, rows, now)
