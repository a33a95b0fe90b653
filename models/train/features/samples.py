"""Both tasks' requests, and lists of equal length to train on: the target and a draw of the other candidates."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.np_features import FEATURES, FLOOR, SAVE_KINDS, Requests
from log.data import CUT, ActionLog

LENGTH = 48  # of a training list
NEGATIVES = 99  # of a first touch's list when measured


@dataclass(frozen=True)
class Samples:
    """q lists of LENGTH pairs."""

    requests: np.ndarray  # int64 [q]
    pairs: np.ndarray  # int64 [q, LENGTH]: rows of Requests.candidate; the target comes first
    real: np.ndarray  # bool [q, LENGTH]: false where a request has fewer candidates


def draw(requests: Requests, chosen: np.ndarray, seed: int) -> Samples:
    """Negatives are drawn alike from all candidates, so scores stay log-odds against the same alternatives."""
    random = np.random.default_rng(seed)
    pairs, real = np.zeros((len(chosen), LENGTH), np.int64), np.zeros((len(chosen), LENGTH), bool)
    for n, q in enumerate(chosen):
        a, b, target = requests.bounds[q], requests.bounds[q + 1], requests.bounds[q] + requests.target[q]
        others = np.arange(a, b - 1)
        others += others >= target
        if len(others) > LENGTH - 1:
            others = random.choice(others, LENGTH - 1, replace=False)
        pairs[n, 0], pairs[n, 1 : 1 + len(others)], real[n, : 1 + len(others)] = target, others, True
    return Samples(chosen, pairs, real)


def saved_later(log: ActionLog, requests: Requests, known_before: int) -> np.ndarray:
    """bool [Q]: the user liked or bookmarked the item touched, at the request's time or later but before `known_before`."""
    times: dict[tuple[int, int], int] = {}
    for n in np.flatnonzero(np.isin(log.kind, SAVE_KINDS) & (log.time < known_before)):
        key = (log.user[n], log.item[n])
        times[key] = max(times.get(key, 0), log.time[n])
    return np.array([times.get((u, i), -1) >= t for u, i, t in zip(requests.user, log.item[requests.action], requests.time)])


def unseen_ever(log: ActionLog, requests: Requests) -> np.ndarray:
    """bool [M]: the user never acted on the candidate before the request, in the window or earlier."""
    first: dict[tuple[int, int], int] = {}
    for n in log.by_time()[::-1]:
        first[log.user[n], log.item[n]] = log.time[n]
    out = np.ones(len(requests.candidate), bool)
    for q, (u, t) in enumerate(zip(requests.user, requests.time)):
        a, b = requests.bounds[q], requests.bounds[q + 1]
        out[a:b] = [first.get((u, i), t) >= t for i in requests.candidate[a:b]]
    return out


def first_touch(log: ActionLog, requests: Requests, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The second task, after the cut: its requests [q], and which pairs are measured, bool [M].

    A request counts if the user acts on the item for the first time ever and later likes or bookmarks it. Beside it stand NEGATIVES items active in the
    last 7 days that the user never acted on, drawn without replacement by their actions decayed over 72 h.
    """
    unseen, random = unseen_ever(log, requests), np.random.default_rng(seed)
    later = saved_later(log, requests, np.iinfo(np.int64).max)
    candidates = np.flatnonzero((requests.time >= CUT) & (requests.target >= 0) & later)
    chosen = candidates[unseen[(requests.bounds[:-1] + requests.target)[candidates]]]
    weight = np.exp(requests.features[:, FEATURES.index("actions_72h")]) - FLOOR
    measured = np.zeros(len(requests.candidate), bool)
    for q in chosen:
        target = requests.bounds[q] + requests.target[q]
        pool = np.arange(requests.bounds[q], requests.bounds[q + 1])
        pool = pool[unseen[pool] & (pool != target)]
        key = np.log(np.maximum(weight[pool], 1e-9)) + random.gumbel(size=len(pool))
        measured[pool[np.argsort(-key)[:NEGATIVES]]] = True
        measured[target] = True
    return chosen, measured
