"""The shipped reference ranker: TransAct-like, on top of the hybrid's score, with daily item vectors as the stream has them.

Fitted to the last block before the cut. Unlike the hybrid's, its item vectors are of the deployed space, whose projection has seen that block:
there is one space to serve. The test tells what that costs.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from evaluation import evaluate
from features import samples
from log.data import CUT
from networks import ranker, transact
from networks.listwise import lists, ranks
from networks.transact import Lists, TransAct
from shipped.measure import EXPORTED_DOTS, Results

BASE = "hybrid"
ARM = "transact"
SEED = 0
_TOGETHER = 64  # requests measured at a time


@dataclass(frozen=True)
class Fusion:
    """What the export writes."""

    state: dict
    arm: dict  # its metrics, as evaluate.summary has them
    differences: list[dict]  # from the hybrid of the same seed, by metric


def given(r: Results, chosen: np.ndarray, pairs: np.ndarray) -> Lists:
    """Requests [q] with the pairs [q, n]."""
    w, raw = r.world, r.world.raw[""]
    lookup = lambda item, acted, asked: raw.lookup(item, np.broadcast_to(raw.tick(asked), item.shape))
    context = np.concatenate([w.requests.features[pairs], r.dots[pairs]], -1)
    with torch.no_grad():
        base = r.rankers[BASE].score(context.reshape(-1, context.shape[-1])).numpy().reshape(pairs.shape)
    candidates = raw.lookup(w.requests.candidate[pairs], np.broadcast_to(raw.tick(w.requests.time[chosen])[:, None], pairs.shape))
    return Lists(r.space.vectors, transact.windows(w.log, w.requests, chosen, lookup), candidates, context, np.stack([base, base], -1))


def model_of(fusion: Fusion) -> TransAct:
    """In PyTorch."""
    model = TransAct(fusion.state["mean"].numpy(), fusion.state["deviation"].numpy())
    model.load_state_dict(fusion.state)
    return model.eval()


def whole(r: Results, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Parts of the chosen requests [q], with all of their candidates [q, n] padded by the first pair of all, and which are real."""
    for part in np.array_split(chosen, 1 + len(chosen) // _TOGETHER):
        batch = lists(r.world.requests, part)
        of = batch.of.numpy()
        place = np.arange(len(of)) - np.searchsorted(of, of)
        pairs, real = np.zeros((len(part), place.max() + 1), np.int64), np.zeros((len(part), place.max() + 1), bool)
        pairs[of, place], real[of, place] = batch.pairs, True
        yield part, pairs, real


def _ranks(r: Results, model: TransAct) -> np.ndarray:
    """float64 [q]: of the test's targets, by the click head."""
    found = []
    for part, pairs, real in whole(r, r.world.test):
        scores = transact.predict(model, given(r, part, pairs))[..., 0]
        found.append(ranks(scores[real], lists(r.world.requests, part)))
    return np.concatenate(found)


def fit(r: Results) -> Fusion:
    """Trains and measures it."""
    assert EXPORTED_DOTS == ranker.ARMS[BASE], "the dots at hand are those of the ranker below"
    w, chosen = r.world, r.world.blocks[-1]
    drawn, saved = samples.draw(w.requests, chosen, SEED), samples.saved_later(w.log, w.requests, CUT)[chosen]
    model = transact.train(given(r, chosen, drawn.pairs), drawn.real, saved, w.requests.time[chosen], SEED)
    found = {ARM: [_ranks(r, model)], BASE: [r.ranks[BASE][0]]}
    differences = evaluate.difference(found, ARM, BASE, w.requests.user[w.test])
    arm = evaluate.summary({ARM: found[ARM]})[0]
    of = differences[0]
    print(f"  {ARM}: MRR {arm['mrr']['mean']:.4f}, {of['mean']:+.4f} [{of['low']:+.4f}, {of['high']:+.4f}] from {BASE}", flush=True)
    return Fusion(model.state_dict(), arm, differences)
