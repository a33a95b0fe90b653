"""Decayed counts of clicks and of pairs of clicks, updated as the log goes by.

Items hold one of SLOTS places of dense pair matrices; the least popular lose theirs when more are needed. A count of
half-life h holds weights 2^(t/h) from a moving origin, so that an update is an addition and nothing is ever recomputed.
"""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from globo.context import NONE, Schedule, session_pairs, user_pairs
from globo.data import HOUR, SEGMENTS, ClickLog, Requests

SLOTS, SPARE = 6_144, 1_024  # places, and how many are freed together
RENEW = 12 * HOUR  # how often the origin moves
TOGETHER = 1_024  # requests at most that are answered in one call
KAPPA = 3.0  # pairs of nothing, added to a row's sum

COUNTS = [("all", 0.25), ("all", 1), ("all", 3), ("all", 12), ("all", 72), ("next", 1), ("next", 6), ("entry", 1)]  # hours
PAIRS = [("next", 2), ("next", 24), ("both", 6), ("both", 72), ("user", 48)]  # hours
SEGMENT_HALF_LIFE = 6  # hours


class Decayed:
    """float32 sums that halve every half_life hours; `at` is the origin of the stored weights."""

    def __init__(self, shape: tuple[int, ...], half_life: float, at: int) -> None:
        self.values, self.half_life, self.at = np.zeros(shape, np.float32), half_life * HOUR, at

    def weight(self, time: np.ndarray) -> np.ndarray:
        """The stored weight of something that happens at a time."""
        return np.exp2((time - self.at) / self.half_life).astype(np.float32)

    def factor(self, now: int) -> np.float32:
        """What stored values are multiplied with to be read at a time."""
        return np.float32(np.exp2((self.at - now) / self.half_life))

    def renew(self, now: int) -> None:
        """Moves the origin, so that weights stay far from float32's limits."""
        self.values *= self.factor(now)
        self.at = now


class ItemState:
    """All counts; `add` takes clicks and the pairs they close, in any order."""

    def __init__(self, log: ClickLog, at: int, kinds: list[tuple[str, float]] = PAIRS) -> None:
        self.log, self.kinds = log, kinds
        self.slot = np.full(len(log.article) + 1, SLOTS, np.int64)  # the last place, SLOTS, is nobody's
        self.item = np.full(SLOTS + 1, NONE, np.int64)
        self.free = list(range(SLOTS))
        self.first = np.full(len(log.article) + 1, NONE, np.int64)  # [items]: when it was first seen
        self.last = np.zeros(SLOTS + 1, np.int64)  # [SLOTS + 1]: when it was last clicked
        self.counts = [Decayed((SLOTS + 1,), h, at) for _, h in COUNTS]
        self.segments = [Decayed((n, SLOTS + 1), SEGMENT_HALF_LIFE, at) for n in SEGMENTS.values()]
        self.pairs = [Decayed((SLOTS + 1, SLOTS + 1), h, at) for _, h in kinds]
        self.sums = [Decayed((SLOTS + 1,), h, at) for _, h in kinds]
        self.entry = np.zeros(len(log.item), bool)
        self.entry[log.first[:-1]] = True

    def _seat(self, items: np.ndarray, now: int) -> None:
        """Gives items without a place one."""
        new = np.unique(items[self.slot[items] == SLOTS])
        if len(new) > len(self.free):
            popular = sum(c.values * c.factor(now) for c in self.counts[3:5])
            popular[SLOTS] = np.inf
            out = np.argsort(popular, kind="stable")[: max(SPARE, len(new))]
            out = out[self.item[out] >= 0]
            self.slot[self.item[out]], self.item[out] = SLOTS, NONE
            for c in (*self.counts, *self.sums, *self.segments, *self.pairs):
                c.values[..., out] = 0
            for c in self.pairs:
                c.values[out] = 0
            self.free.extend(out.tolist())
        for item in new:
            slot = self.free.pop()
            self.slot[item], self.item[slot], self.last[slot] = slot, item, 0
            if self.first[item] == NONE:
                self.first[item] = now

    def add(self, clicks: np.ndarray, when: np.ndarray, pairs: dict[str, tuple[np.ndarray, np.ndarray]], now: int) -> None:
        """Clicks (log places), the moments of all the log's clicks, and pairs by kind as (earlier, later) log places."""
        log = self.log
        self._seat(log.item[clicks], now)
        slots, entry = self.slot[log.item[clicks]], self.entry[clicks]
        for (kind, _), c in zip(COUNTS, self.counts):
            kept = slice(None) if kind == "all" else entry == (kind == "entry")
            np.add.at(c.values, slots[kept], c.weight(when[clicks][kept]))
        for k, c in enumerate(self.segments):
            np.add.at(c.values, (log.segment[clicks, k], slots), c.weight(when[clicks]))
        np.maximum.at(self.last, slots, when[clicks])
        for (kind, _), c, s in zip(self.kinds, self.pairs, self.sums):
            a, b = (self.slot[log.item[side]] for side in pairs[kind])
            weight = c.weight(when[pairs[kind][1]])
            if kind == "both":  # nearer pairs count more
                weight /= (pairs[kind][1] - pairs[kind][0]) ** 0.5
            kept = (a < SLOTS) & (b < SLOTS) & (a != b)
            a, b, weight = a[kept], b[kept], weight[kept]
            np.add.at(c.values, (a, b), weight), np.add.at(s.values, a, weight)
            if kind == "both":
                np.add.at(c.values, (b, a), weight), np.add.at(s.values, b, weight)

    def renew(self, now: int) -> None:
        """Moves all origins."""
        for c in (*self.counts, *self.segments, *self.pairs, *self.sums):
            c.renew(now)

    def rows(self, k: int, slots: np.ndarray, now: int) -> tuple[np.ndarray, np.ndarray]:
        """(scale, support) of pair matrix k's rows: value x scale is a probability, shrunk where support is small."""
        f = self.pairs[k].factor(now)
        support = self.sums[k].values[slots] * f
        return f / (support + KAPPA), support


class Pairs:
    """The pairs of the log by kind, each ordered by the tick of its later click."""

    def __init__(self, log: ClickLog, plan: Schedule) -> None:
        session, user = session_pairs(log), user_pairs(log)
        following = session[1] - session[0] == 1
        self.sides, self.bounds = {}, {}
        for kind, (a, b) in {"next": (session[0][following], session[1][following]), "both": session, "user": user}.items():
            tick = np.maximum(plan.click[a], plan.click[b])  # an imputed click may become visible after a later session's
            order = np.argsort(tick, kind="stable")
            self.sides[kind] = a[order], b[order]
            self.bounds[kind] = np.searchsorted(tick[order], np.arange(len(plan.time) + 2))

    def of(self, after: int, tick: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The pairs that become visible in ticks after + 1 to tick."""
        cut = lambda kind: slice(self.bounds[kind][after + 1], self.bounds[kind][tick + 1])
        return {kind: (a[cut(kind)], b[cut(kind)]) for kind, (a, b) in self.sides.items()}


def steps(state: ItemState, log: ClickLog, requests: Requests, plan: Schedule, progress) -> Iterator[tuple[int, np.ndarray]]:
    """One pass over the log: adds a tick's clicks to the state, then yields (moment, rows of requests to be answered)."""
    pairs = Pairs(log, plan)
    clicks, rows = np.argsort(plan.click, kind="stable"), np.argsort(plan.request, kind="stable")
    ticks = np.arange(len(plan.time) + 1)
    until = np.searchsorted(plan.click[clicks], ticks, side="right")
    begins = np.searchsorted(plan.request[rows], ticks)
    before, added, renewed = -1, 0, int(plan.time[0])
    for tick, now in enumerate(plan.time.tolist()):
        mine = rows[begins[tick] : begins[tick + 1]]
        if not len(mine):
            continue
        if now - renewed >= RENEW:
            state.renew(now)
            renewed = now
        new = clicks[added : until[tick]]
        if (plan.click[new] > tick).any() or (plan.click[requests.click[mine] + 1] <= tick).any():
            raise AssertionError("a click or a target is visible before its time")
        state.add(new, plan.when, pairs.of(before, tick), now)
        before, added = tick, until[tick]
        for part in np.array_split(mine, 1 + len(mine) // TOGETHER):
            yield now, part
        progress((tick + 1) / len(plan.time))
