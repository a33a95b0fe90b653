"""Non-learned rankings: popularity and decayed co-visitation, all items with a place scored, no item of the session."""
from __future__ import annotations

import numpy as np

from globo.context import Contexts, Schedule
from globo.data import ClickLog, Requests
from globo.features import POSITION
from globo.rank import MISS
from globo.stream import COUNTS, SLOTS, ItemState, steps

CO_VISITATION = [("both", 24), ("both", 96)]  # half-lives in hours; the validation half chooses
TIE_BREAK = 1e-3  # weight of popularity against co-visitation
RECENT_WINDOWS = 2


def _popularity_rank(score: np.ndarray, target: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """int64 [Q]: the rank of targets by scores of items [I], without each row's seen items; ties count half, 0 is a miss."""
    ordered, mine = np.sort(score), score[target]
    above = len(score) - np.searchsorted(ordered, mine, side="right")
    level = np.searchsorted(ordered, mine, side="right") - np.searchsorted(ordered, mine)
    theirs = np.where(seen >= 0, score[seen], -1)
    above = above - (theirs > mine[:, None]).sum(1)
    return np.where(mine > 0, above + (level + 1) // 2, MISS)


def recent(log: ClickLog, requests: Requests, user: Contexts | None) -> np.ndarray:
    """int64 [S]: ranks by clicks in the last RECENT_WINDOWS; with `user`, without what its session has clicked."""
    out, of = np.full(len(requests.target), MISS), log.window[log.session]
    windows = np.arange(of.max() + 2)
    rows, clicks = np.searchsorted(requests.window, windows), np.searchsorted(of, windows)
    for window in range(1, len(windows) - 1):
        mine = slice(rows[window], rows[window + 1])
        past = slice(clicks[max(window - RECENT_WINDOWS, 0)], clicks[window])
        score = np.bincount(log.item[past], minlength=len(log.article)).astype(np.float32)
        seen = user.seen[mine] if user else np.full((mine.stop - mine.start, 1), -1)
        out[mine] = _popularity_rank(score, requests.target[mine], seen)
    return out


def counted(log: ClickLog, requests: Requests, user: Contexts, plan: Schedule, progress=lambda share: None) -> dict[str, np.ndarray]:
    """int64 [S] ranks an arm: popularity at each half-life of COUNTS, and co-visitation at each of CO_VISITATION."""
    state = ItemState(log, int(plan.time[0]), CO_VISITATION)
    out = {f"{k} {h:g} h": np.full(len(requests.target), MISS) for k, h in (*COUNTS, *CO_VISITATION)}
    for now, part in steps(state, log, requests, plan, progress):
        target, seen, session = (state.slot[x] for x in (requests.target[part], user.seen[part], user.session[part]))
        seen = np.where(seen < SLOTS, seen, -1)
        shares = [c.values * c.factor(now) for c in state.counts]
        for (k, h), share in zip(COUNTS, shares):
            out[f"{k} {h:g} h"][part] = _popularity_rank(share, target, seen)
        weights = POSITION * (session < SLOTS)
        weights = (weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)).astype(np.float32)
        for n, (k, h) in enumerate(CO_VISITATION):
            slots, inverse = np.unique(session, return_inverse=True)
            inverse = inverse.reshape(session.shape)
            block = state.pairs[n].values[slots] * state.rows(n, slots, now)[0][:, None]
            score = np.repeat(shares[3][None] * np.float32(TIE_BREAK / max(float(shares[3].sum()), 1)), len(part), 0)
            for m in range(session.shape[1]):
                there = np.flatnonzero(weights[:, m])
                score[there] += block[inverse[there, m]] * weights[there, m, None]
            rows, at = np.nonzero(seen >= 0)
            score[rows, seen[rows, at]] = -1
            mine = score[np.arange(len(part)), target]
            out[f"{k} {h:g} h"][part] = np.where((target < SLOTS) & (mine > 0), (score >= mine[:, None]).sum(1), MISS)
    return out
