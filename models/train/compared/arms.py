"""All arms of both Deskdrop tasks, in order; every stage's results are kept in a folder, so a rerun goes on where it was.

Rankers must see intents as they are served, by a model that did not train on the request. So they are fitted to the last block before the cut, as
scored by NP and intent models of the blocks before it, and measured on what models of all blocks give after the cut. An arm's score
is NP's plus a correction by small MLPs of the NP features and the arm's columns; the arm "np" has that correction too.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np

from compared.columns import INTENTS, columns, name
from features import taste, versions
from features.samples import Samples
from features.world import BLOCKS, World
from networks import heads, members
from running.parallel import parallel

SEEDS = [0, 1, 2]


def realtime(items: str, user: str = "stream") -> list[str]:
    """The columns of the intent and the window's mean."""
    return [*(name(k, items, user) for k in INTENTS), f"missing/items {items}"]


def long_term(items: str, user: str) -> list[str]:
    """The columns of the long-term state: the vector, and the user's taste in kinds of items."""
    return [name("longterm", items, user), f"missing/items {items}", *taste.names(user)]


def hybrid(items: str, user: str) -> list[str]:
    """Both, the long-term state as fresh as `user` says."""
    return [*realtime(items), *(c for c in long_term(items, user) if not c.startswith("missing"))]


ARMS = {
    "np": [],
    "hybrid": hybrid("continuous", "continuous"),
    "realtime only": realtime("continuous"),
    "long-term daily": long_term("daily", "daily"),
    "hybrid, long-term daily": hybrid("continuous", "daily"),
    "hybrid, items daily": hybrid("daily", "daily"),
    "realtime only, items daily": realtime("daily"),
    "long-term continuous": long_term("continuous", "continuous"),
    "long-term daily, items continuous": long_term("continuous", "daily"),
    "long-term once": long_term("once", "once"),
    "realtime at midnight, items continuous": realtime("continuous", "daily"),
    "realtime at midnight, items daily": realtime("daily", "daily"),
    "hybrid without taste": [c for c in hybrid("continuous", "continuous") if not c.startswith("taste")],
    "long-term hourly": long_term("hourly", "hourly"),
    "realtime only, items hourly": realtime("hourly"),
    "hybrid, items hourly": hybrid("hourly", "hourly"),
    "long-term once, items continuous": long_term("continuous", "once"),
    "long-term hourly, items continuous": long_term("continuous", "hourly"),
    "long-term daily without taste": long_term("daily", "daily")[:2],
    "np + taste": taste.names("continuous"),
    "np + average pool": [name("pool", "continuous", "stream")],
    "np + average pool, items daily": [name("pool", "daily", "stream"), "missing/items daily"],
    "np + last item": [name("last", "continuous", "stream")],
}


ONE_NET = "hybrid, one net"  # to compare with rankers that are one net


def subset(s: Samples, keep: np.ndarray) -> Samples:
    """The samples of some rows."""
    return Samples(s.requests[keep], s.pairs[keep], s.real[keep])


def member(w: World, keep: np.ndarray, chosen: np.ndarray, pairs: np.ndarray, seed: int) -> dict:
    """Trains NP and an intent model on the kept samples; scores the given pairs."""
    features, learn = w.requests.features, subset(w.learn, keep)
    net = heads.fit(features[learn.pairs], learn.real, w.learn_saved[keep], seed)
    base = heads.predict(net, features[learn.pairs])[..., 0]
    model = members.train(w.log, w.versions, w.requests, learn, base, "continuous", seed)
    projection = model.projection.detach().numpy()
    table = versions.project(w.versions, projection).vectors
    return {"projection": projection, "state": model.state_dict(), "learn_base": base,
            "base": heads.predict(net, features[np.maximum(pairs, 0)]), "columns": columns(w, model, table, chosen, pairs)}


def members_of(w: World, folder: Path, finished: bool = False) -> tuple[dict, list[dict]]:
    """The member of the earlier blocks, which scored the last one, and the deployed ones, one a seed (those there are, if `finished`)."""
    last, every = last_block(w), np.arange(len(w.block))
    tasks = {"last block": lambda: member(w, np.setdiff1d(every, last), w.learn.requests[last], w.learn.pairs[last], 0)}
    tasks |= {f"seed {s}": (lambda s=s: member(w, every, w.test, w.pairs, s)) for s in SEEDS}
    done = parallel(folder / "members", tasks, finished)
    return done["last block"], [done[f"seed {s}"] for s in SEEDS if f"seed {s}" in done]


def last_block(w: World) -> np.ndarray:
    """int64: the learning samples that rankers are fitted to."""
    return np.flatnonzero(w.block == len(BLOCKS) - 2)


def inputs(w: World, given: dict, arm: list[str], pairs: np.ndarray) -> np.ndarray:
    """float32 [q, n, F]: NP features, NP's scores, then the arm's columns."""
    return np.concatenate([w.requests.features[np.maximum(pairs, 0)], given["base"], *(given["columns"][k][..., None] for k in arm)], -1)


def rank(w: World, arm: list[str], last: dict, deployed: dict, seed: int, nets: int = heads.NETS) -> dict[str, np.ndarray]:
    """Fits an arm's ranker, a mean of nets; the ranks of both tasks, each by its head."""
    rows = last_block(w)
    learn = subset(w.learn, rows)
    ranker = heads.fit_mean(inputs(w, last, arm, learn.pairs), learn.real, w.learn_saved[rows], seed, last["base"], nets)
    scores = heads.predict(ranker, inputs(w, deployed, arm, w.pairs)) + deployed["base"]
    return {"next-unseen": w.ranks(scores[..., 0], "next-unseen"), "first-touch": w.ranks(scores[..., 1], "first-touch")}


def with_taste(w: World, last: dict, deployed: list[dict]) -> None:
    """Adds the columns that no model makes."""
    rows = last_block(w)
    for freshness in versions.FRESHNESS:
        last["columns"] |= taste.columns(w, w.learn.requests[rows], w.learn.pairs[rows], freshness)
        after = taste.columns(w, w.test, w.pairs, freshness)
        for one in deployed:
            one["columns"] |= after


def ranked(w: World, folder: Path, last: dict, deployed: list[dict], finished: bool = False) -> dict[str, list[dict[str, np.ndarray]]]:
    """arm → a seed's ranks of each task."""
    tasks = {f"{arm}, seed {s}": (lambda arm=arm, s=s: rank(w, ARMS[arm], last, deployed[s], s)) for s in SEEDS for arm in ARMS}
    tasks |= {f"{ONE_NET}, seed {s}": (lambda s=s: rank(w, ARMS["hybrid"], last, deployed[s], s, 1)) for s in SEEDS}
    done = parallel(folder / "arms", tasks, finished)
    return {arm: [done[k] for s in SEEDS if (k := f"{arm}, seed {s}") in done] for arm in [*ARMS, ONE_NET]}
