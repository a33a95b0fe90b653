"""A log of a few actions, with the rows that backfill would give for it: windows that nothing has left yet."""
from __future__ import annotations

import numpy as np

from log import data
from log.data import ActionLog
from log.rows import NONE, Rows, Windows

DAY = 86_400
START = 17_000 * DAY  # a midnight


def rows_of(actions: list[tuple[str, str, int]], arrivals: list[int] | None = None) -> Rows:
    """(user, item, seconds after START) of views, all different, each with its arrival (default: as it happens)."""
    arrivals = arrivals if arrivals is not None else [time for _, _, time in actions]
    users, items = sorted({u for u, _, _ in actions}), sorted({i for _, i, _ in actions})
    end = max(arrivals) + 1
    moments = sorted({(u, t) for u, _, t in actions} | {(u, end) for u in users})
    windows = [sorted((t, i) for (v, i, t), a in zip(actions, arrivals) if v == u and a < at) for u, at in moments]
    newest = [max([a for (v, _, _), a in zip(actions, arrivals) if v == u and a < at], default=None) for u, at in moments]
    flat = [each for window in windows for each in window]
    return Rows(
        user=np.array([users.index(u) for u, _ in moments], np.int32), time=np.array([START + t for _, t in moments]),
        accepted=np.array([len(w) for w in windows]), sealed=np.zeros(len(windows), np.int64),
        newest_arrival=np.array([NONE if n is None else START + n for n in newest]),
        item_version=np.full(len(windows), NONE), long_term=np.full(len(windows), NONE),
        windows=Windows(
            offsets=np.r_[0, np.cumsum([len(w) for w in windows])], item=np.array([items.index(i) for _, i in flat], np.int32),
            kind=np.ones(len(flat), np.int32), time_ms=np.array([1000 * (START + t) for t, _ in flat], np.int64),
            surface=np.zeros(len(flat), np.int32),
        ),
        users=users, items=items,
    )


def log_of(actions: list[tuple[str, str, int]], arrivals: list[int] | None = None) -> ActionLog:
    """The same as a log."""
    rows, came = rows_of(actions, arrivals), arrivals or [time for _, _, time in actions]
    return data.of_rows(rows, {
        "user": np.array([rows.users.index(u) for u, _, _ in actions]), "item": np.array([rows.items.index(i) for _, i, _ in actions]),
        "kind": np.ones(len(actions), np.int64), "time_ms": np.array([1000 * (START + t) for _, _, t in actions]),
        "arrival": np.array([START + a for a in came]),
    })


def busy_log(seed: int = 0, count: int = 400) -> ActionLog:
    """Many users and items over some days, with ties."""
    random = np.random.default_rng(seed)
    drawn = {(f"u{random.integers(12)}", f"i{random.integers(25):02d}", int(random.integers(4 * DAY) // 60 * 60)) for _ in range(count)}
    return log_of(sorted(drawn, key=lambda a: a[2]))
