"""Checks against what makes a number worthless; each raises `Trap` with what is wrong. NumPy alone, no training needed.

The traps are those that were met on real logs: features that know of what comes after the label, targets that repeat the
window, candidates nobody could have been shown, item vectors of the future, a baseline that is a straw man.
"""
from __future__ import annotations

import numpy as np

from features import np_features as npf
from features.np_features import Requests
from features.vectors import ABSENT, RAW, WEIGHTS, RawVersions, user_index
from log.data import DAY, ActionLog
from log.rows import NONE, Rows

SAMPLE = 60  # requests and versions that are computed again by brute force
TOLERANCE = 1e-4


class Trap(AssertionError):
    """A number made with this would be worthless."""


def _hold(holds: np.ndarray | bool, what: str) -> None:
    """Raises Trap where not all hold."""
    holds = np.atleast_1d(holds)
    if not holds.all():
        raise Trap(f"{(~holds).sum()} of {len(holds)} {what}")


def rows_know_only_the_past(rows: Rows, lag: int) -> None:
    """No row knows a record that arrived at or after its label's time less the lag, nor item or user vectors of later."""
    known = rows.newest_arrival != NONE
    _hold(rows.newest_arrival[known] < (rows.time - lag)[known], "rows know a record that was not servable yet")
    _hold(rows.item_version[known] <= rows.time[known], "rows have item vectors of a version after their label")
    _hold(rows.long_term <= rows.time, "rows have a long-term vector of after their label")
    owner = np.repeat(np.arange(len(rows.time)), np.diff(rows.windows.offsets))
    order = np.diff(rows.windows.time_ms) >= 0
    _hold(order[np.diff(owner) == 0], "neighbours in a window are out of order")


def windows_end_at_the_request(log: ActionLog, requests: Requests) -> None:
    """The window holds no action that happened or arrived at or after the request, and ends where its row says."""
    row = log.rows.find(requests.user, requests.time)
    _hold(log.rows.accepted[row] == requests.accepted, "windows do not end where backfill's row does")
    _hold(log.rows.sealed[row] == requests.start, "windows do not begin where backfill's row does")
    begun = requests.accepted > 0
    last = (log.bounds[requests.user] + requests.accepted - 1)[begun]
    _hold(log.arrival[last] < requests.time[begun] - npf.LAG, "windows hold an action of the request's second or later")


def targets_are_unseen(log: ActionLog, requests: Requests) -> None:
    """Most next actions repeat the last item, so the target is an item that is not in the user's window."""
    seen = np.array([
        log.item[a] in log.item[log.bounds[u] + s : log.bounds[u] + n]
        for u, s, n, a in zip(requests.user, requests.start, requests.accepted, requests.action)
    ])
    _hold(~seen, "targets are in the user's window")
    _hold(log.time[requests.action] == requests.time, "targets are not the action at the request's time")
    chosen = np.flatnonzero(requests.target >= 0)
    named = requests.candidate[requests.bounds[chosen] + requests.target[chosen]]
    _hold(named == log.item[requests.action[chosen]], "places of the target name another candidate")


def candidates_could_be_shown(log: ActionLog, requests: Requests, seed: int = 0) -> None:
    """Of a sample: exactly the items with an action in the active days before the request that are not in the window."""
    for q in _sample(len(requests.user), seed):
        now, u = requests.time[q], requests.user[q]
        recent = (log.arrival < now - npf.LAG) & (log.time >= now - npf.ACTIVE_SECONDS)
        window = log.item[log.bounds[u] + requests.start[q] : log.bounds[u] + requests.accepted[q]]
        expected = np.setdiff1d(np.unique(log.item[recent]), window)
        given = requests.candidate[requests.bounds[q] : requests.bounds[q + 1]]
        _hold(len(expected) == len(given) and (expected == np.sort(given)).all(), f"request has other candidates than were active ({q})")


def features_know_only_the_past(log: ActionLog, requests: Requests, seed: int = 1) -> None:
    """Of a sample: the non-personal features again, from the actions before the request alone, without any streaming."""
    touch, _ = npf.windows(log)
    for q in _sample(len(requests.user), seed):
        now, given = int(requests.time[q]), slice(requests.bounds[q], requests.bounds[q + 1])
        before = np.flatnonzero(log.arrival < now - npf.LAG)
        again = npf.Popularity(log, touch)
        for x in before[np.isin(log.item[before], requests.candidate[given])]:
            again.add(x)
        columns = [n for n, name in enumerate(npf.FEATURES) if name != "site_touches_1h"]  # of all items, checked below
        expected = again.features(requests.candidate[given], now)[:, columns]
        worst = np.abs(expected - requests.features[given][:, columns]).max()
        _hold(worst <= TOLERANCE, f"requests have popularity that the past does not explain ({q}, {worst:.2g})")
        site = np.log1p(np.exp2((log.time[before[touch[before]]] - now) / 3600.0).sum())
        _hold(abs(site - requests.features[given][0, -1]) <= TOLERANCE, f"requests have site traffic that the past does not explain ({q})")


def vectors_know_only_the_past(log: ActionLog, raw: RawVersions, seed: int = 2) -> None:
    """Of a sample of versions: the raw vector again, from what arrived before the version was cut."""
    weight = np.array([0, *WEIGHTS.values()])[log.kind]
    for r in _sample(len(raw.item), seed):
        actions = np.flatnonzero((log.item == raw.item[r]) & (log.arrival < raw.day[r] * raw.period))
        expected = np.zeros(RAW, np.int64)
        for x in actions:
            for dimension, sign in user_index(log.users[log.user[x]]):
                expected[dimension] += sign * weight[x]
        _hold((expected == raw.rows[r]).all(), f"versions hold more or less than what came before them ({r})")


def new_items_have_no_vector(log: ActionLog, requests: Requests, raw: RawVersions) -> float:
    """A target nobody had acted on before the version in force has no vector. Returns the share of such targets."""
    chosen = np.flatnonzero(requests.target >= 0)
    target, tick = log.item[requests.action[chosen]], raw.tick(requests.time[chosen])
    first = np.full(len(log.items), np.iinfo(np.int64).max)
    np.minimum.at(first, log.item, log.arrival)
    absent = raw.lookup(target, tick) == ABSENT
    _hold(absent == (first[target] >= tick * raw.period), "targets have a vector before anyone acted on them, or lack one after")
    return float(absent.mean())


def parts_are_apart(requests: Requests, learn: np.ndarray, test: np.ndarray, cut: int) -> None:
    """Training and tuning end before the cut, the test begins at it, and both have their target among the candidates."""
    _hold(requests.time[learn] < cut, "training requests are at or after the cut")
    _hold(requests.time[test] >= cut, "test requests are before the cut")
    _hold(requests.target[np.r_[learn, test]] >= 0, "requests lack their target")


def repeats(log: ActionLog, since: int) -> float:
    """The share of actions at or after `since` on the item of the user's action before: what the targets leave out."""
    again = (log.item[1:] == log.item[:-1]) & (log.user[1:] == log.user[:-1])
    follows = (log.user[1:] == log.user[:-1]) & (log.time[1:] >= since)
    return float(again[follows].mean())


def strangers_do_not_help(low: float, what: str) -> None:
    """With the intent of another user nothing is gained; if it is, the features carry the answer and not the user."""
    _hold(low <= 0, f"{what} gains with a stranger's intent: it does not come from the user")


def not_too_good(mean: float, most: float, what: str) -> None:
    """A figure far above the trials' is a leak until shown otherwise."""
    _hold(mean <= most, f"differences are suspicious: {what} gains {mean:.4f}, more than {most}")


def _sample(count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(count)[:SAMPLE])
