"""Trains an encoder with its heads, and the projection of the item vectors where it is not given, on any freshness.

As intent.py does, the loss is listwise on top of a fixed non-personal score. Actions before the midnight of a request enter under
that midnight's version of the item vectors, the day's own actions under the version in force right after each: a stream
that folds users anew at midnight and adds actions as they come.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from features.np_features import Requests
from features.samples import Samples
from features.vectors import ABSENT, RAW
from features.versions import Versions, in_force
from log.data import ACTION_TYPES, CUT, DAY, SURFACES, ActionLog
from networks.encoders import ENCODERS
from networks.intent import DIM, EMBEDDING, GAP_BOUNDS, OUTCOMES, saved

EPOCHS = 3
DAYS_PER_BATCH = 2
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
DROPOUT, HIDE_VECTOR, HIDE_TYPE = 0.2, 0.1, 0.02
PARTS = 4  # of a batch, by the windows' lengths
MASK_SECONDS = DAY  # with the time-window mask, training hides the last U(0, MASK_SECONDS) before a request


@dataclass(frozen=True)
class Sessions:
    """The windows some requests look at, time-major and padded; requests of one user, day and window start share one."""

    rows: np.ndarray  # int64 [T, B]: rows of the versions, ABSENT where the item has no vector or the step is padding
    kinds: np.ndarray  # int64 [T, B]
    surfaces: np.ndarray  # int64 [T, B]
    gaps: np.ndarray  # int64 [T, B]
    times: np.ndarray  # int64 [T, B]; padding is later than everything
    of: np.ndarray  # int64 [q]: which of the B windows
    at: np.ndarray  # int64 [q]: the step just before the request, -1 for an empty window
    next_kind: np.ndarray  # int64 [T, B]: place in ACTION_TYPES of the following action, -100 where it trains nothing


def sessions(log: ActionLog, versions: Versions, requests: Requests, chosen: np.ndarray, freshness: str,
             window: int | None = None) -> Sessions:
    """The windows of the chosen requests; with `window` they are the last so many actions, else the reducer's."""
    accepted, day = requests.accepted[chosen], requests.time[chosen] // DAY
    # a window of another length slides with every request, so requests no longer share one
    start = requests.start[chosen] if window is None else np.maximum(accepted - window, 0)
    keys, of = np.unique(np.stack([requests.user[chosen], start, day], 1), axis=0, return_inverse=True)
    end, first = keys[:, 1].copy(), np.full(len(keys), np.iinfo(np.int64).max)
    np.maximum.at(end, of, accepted)
    np.minimum.at(first, of, accepted)
    step = np.arange(max(1, (end - keys[:, 1]).max()))[:, None]
    real = step < end - keys[:, 1]
    action = np.where(real, log.bounds[keys[:, 0]] + keys[:, 1] + step, 0)
    midnight = in_force(keys[:, 2] * DAY, freshness)
    seen = np.maximum(midnight, in_force(log.time[action] + 1, freshness)) if freshness != "once" else np.broadcast_to(midnight, action.shape)
    gap = 1 + np.searchsorted(GAP_BOUNDS, log.time[action] - log.time[np.maximum(action - 1, 0)], side="right")

    place = keys[:, 1] + step + 1
    size = np.diff(log.bounds)[keys[:, 0]]
    follows = np.minimum(log.bounds[keys[:, 0]] + place, len(log.time) - 1)
    known = (place >= first) & (place <= end) & (place < size) & (log.time[follows] < CUT)
    return Sessions(
        rows=np.where(real, versions.lookup(log.item[action], seen), ABSENT), kinds=np.where(real, log.kind[action], 0),
        surfaces=np.where(real, log.surface[action], 0), gaps=np.where(real & (step > 0), gap, 0),
        times=np.where(real, log.time[action], np.iinfo(np.int64).max), of=of, at=accepted - start - 1,
        next_kind=np.where(known, log.kind[follows] - 1, -100),
    )


class Intent(nn.Module):
    """An encoder between intent.py's embeddings and heads."""

    def __init__(self, encoder: str, projection: np.ndarray | None) -> None:
        super().__init__()
        initial = torch.randn(RAW, DIM) / RAW**0.5 if projection is None else torch.from_numpy(projection)
        self.projection = nn.Parameter(initial, requires_grad=projection is None)
        self.action_types = nn.Embedding(1 + len(ACTION_TYPES), EMBEDDING["action_types"])
        self.surfaces = nn.Embedding(1 + len(SURFACES), EMBEDDING["surfaces"])
        self.gaps = nn.Embedding(2 + len(GAP_BOUNDS), EMBEDDING["gaps"])
        self.encoder = ENCODERS[encoder]()
        self.intent = nn.Linear(self.encoder.hidden, len(OUTCOMES) * DIM)
        self.propensity = nn.Linear(self.encoder.hidden, len(ACTION_TYPES))
        nn.init.normal_(self.intent.weight, std=0.1)
        nn.init.zeros_(self.intent.bias)
        self.bias = nn.Parameter(torch.zeros(3))  # of click, save and pool, for a candidate without a vector
        self.scale = nn.Parameter(torch.tensor(2.0))  # of pool

    def fold(self, items: torch.Tensor, has: torch.Tensor, kinds: torch.Tensor, surfaces: torch.Tensor,
             gaps: torch.Tensor, lengths: np.ndarray) -> torch.Tensor:
        """[T, B, DIM], [T, B] ..., [B] → the hidden state after each action, [T, B, hidden]; zeros in (some) padding."""
        x = torch.cat([items, has[..., None], self.action_types(kinds), self.surfaces(surfaces), self.gaps(gaps)], -1)
        out = []
        order = np.argsort(lengths, kind="stable")
        for part in np.array_split(order, PARTS) if len(order) >= 8 * PARTS else [order]:
            # short windows beside short ones: half of the steps are not padding then, instead of a third
            steps, part = max(1, int(lengths[part].max())), torch.from_numpy(part)
            out.append(F.pad(self.encoder(x[:steps, part], gaps[:steps, part]), (0, 0, 0, 0, 0, len(x) - steps)))
        return torch.cat(out, 1)[:, torch.from_numpy(np.argsort(order))]


@dataclass(frozen=True)
class Scores:
    """What a pass gives; candidates [q, n] are as given, ABSENT where the item has no vector."""

    click: torch.Tensor  # [q, n]
    save: torch.Tensor  # [q, n]
    pool: torch.Tensor  # [q, n]
    missing: torch.Tensor  # [q, n]
    hidden: torch.Tensor  # [T, B, hidden]
    session: Sessions


def forward(model: Intent, session: Sessions, candidates: np.ndarray, embed, time: np.ndarray, mask: np.random.Generator | None = None) -> Scores:
    """Scores candidate rows [q, n] of requests at `time` [q]; `embed` maps rows, none ABSENT, to vectors. `mask` draws the time-window mask."""
    rows, inverse = np.unique(np.r_[candidates.ravel(), session.rows.ravel()], return_inverse=True)
    present = torch.from_numpy((rows != ABSENT).astype(np.float32))[:, None]
    vectors = embed(np.maximum(rows, 0)) * present
    inverse = torch.from_numpy(inverse)
    items = vectors[inverse[candidates.size :]].view(*session.rows.shape, DIM)
    has, kinds = torch.from_numpy((session.rows != ABSENT).astype(np.float32)), torch.from_numpy(session.kinds).long()
    if model.training:
        has = has * (torch.rand_like(has) >= HIDE_VECTOR)
        kinds = kinds * (torch.rand(kinds.shape) >= HIDE_TYPE)
    items = items * has[..., None]
    hidden = model.fold(items, has, kinds, torch.from_numpy(session.surfaces).long(), torch.from_numpy(session.gaps).long(),
                        (session.times < np.iinfo(np.int64).max).sum(0))
    at = session.at
    if mask is not None:
        until = time - (mask.random(len(time)) * MASK_SECONDS).astype(np.int64)
        at = np.minimum(at, (session.times[:, session.of] < until).sum(0) - 1)
    begun = torch.from_numpy((at >= 0).astype(np.float32))
    at, of = torch.from_numpy(np.maximum(at, 0)), torch.from_numpy(session.of)
    intent = model.intent(F.dropout(hidden[at, of], DROPOUT, model.training)).view(-1, len(OUTCOMES), DIM) * begun[:, None, None]
    pool = F.normalize(items.cumsum(0)[at, of], dim=1) * begun[:, None]
    queries = torch.cat([intent, pool[:, None]], 1)  # [q, 3, DIM]
    known, place = torch.unique(inverse[: candidates.size], return_inverse=True)
    dots = (queries.flatten(0, 1) @ vectors[known].T).view(len(queries), 3, -1)
    dots = dots.gather(2, place.view(len(queries), 1, -1).expand(-1, 3, -1))
    missing = torch.from_numpy((candidates == ABSENT).astype(np.float32))
    return Scores(*dots.unbind(1), missing, hidden, session)


def cross_entropy(scores: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """[q, n], bool [q, n] → [q]: the target stands in column 0."""
    return F.cross_entropy(scores.masked_fill(~real, -1e9), torch.zeros(len(scores), dtype=torch.long), reduction="none")


def train(log: ActionLog, versions: Versions, requests: Requests, samples: Samples, base: np.ndarray, freshness: str, seed: int,
          encoder: str = "gru", projection: np.ndarray | None = None, masked: bool = False, window: int | None = None,
          weights: dict[str, float] | None = None, epochs: int = EPOCHS, table: np.ndarray | None = None) -> Intent:
    """Fits to the samples, all before the cut, on top of `base` [q, LENGTH], the non-personal scores.

    With `projection` and its `table` of vectors the item vectors stay as they are.
    """
    weights = {"click": 1.0, "save": 0.5, "pool": 0.5, "type": 0.1} | (weights or {})
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = Intent(encoder, projection)
    time = requests.time[samples.requests]
    assert (time < CUT).all()
    is_saved = saved(log, requests)[samples.requests]
    used = requests.accepted[samples.requests] > 0
    days = [np.flatnonzero((time // DAY == d) & used) for d in np.unique(time[used] // DAY)]

    def embed(rows: np.ndarray) -> torch.Tensor:
        if table is not None:
            return torch.from_numpy(table[rows])
        v = F.normalize(torch.from_numpy(versions.transformed[rows]) @ model.projection, dim=1)
        return v + (torch.round(v * 127) / 127 - v).detach()

    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=epochs * -(-len(days) // DAYS_PER_BATCH), pct_start=0.1)
    for epoch in range(epochs):
        losses, order = [], random.permutation(len(days))
        for n in range(0, len(order), DAYS_PER_BATCH):
            batch = np.concatenate([days[d] for d in order[n : n + DAYS_PER_BATCH]])
            chosen, real = samples.requests[batch], torch.from_numpy(samples.real[batch])
            candidates = versions.lookup(requests.candidate[samples.pairs[batch]], in_force(time[batch], freshness)[:, None])
            out = forward(model, sessions(log, versions, requests, chosen, freshness, window), candidates, embed, time[batch],
                          random if masked else None)
            offset, keep = torch.from_numpy(base[batch]), torch.from_numpy(is_saved[batch].astype(np.float32))
            score = lambda k, dots: cross_entropy(offset + dots + model.bias[k] * out.missing, real)
            loss = {
                "click": score(0, out.click).mean(),
                "save": (score(1, out.save) * keep).sum() / keep.sum().clamp(min=1),
                "pool": score(2, model.scale * out.pool).mean(),
                "type": F.cross_entropy(model.propensity(out.hidden).flatten(0, 1), torch.from_numpy(out.session.next_kind).long().flatten(), ignore_index=-100),
            }
            optimiser.zero_grad()
            sum(weights[k] * v for k, v in loss.items()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append([v.item() for v in loss.values()])
        print(f"{encoder} seed {seed}: epoch {epoch + 1}/{epochs} " + "  ".join(f"{k} {v:.4f}" for k, v in zip(loss, np.mean(losses, 0))), flush=True)
    return model.eval()


def score(model: Intent, log: ActionLog, versions: Versions, requests: Requests, chosen: np.ndarray, pairs: np.ndarray, freshness: str,
          table: np.ndarray, window: int | None = None) -> dict[str, np.ndarray]:
    """click, save, pool and missing of the chosen requests' pairs [q, n] (-1 pads), each float32 [q, n]."""
    out = {k: np.zeros(pairs.shape, np.float32) for k in ("click", "save", "pool", "missing")}
    time = requests.time[chosen]
    with torch.no_grad():
        for part in np.array_split(np.argsort(time, kind="stable"), 1 + len(chosen) // 400):
            rows = versions.lookup(requests.candidate[np.maximum(pairs[part], 0)], in_force(time[part], freshness)[:, None])
            got = forward(model, sessions(log, versions, requests, chosen[part], freshness, window), rows,
                          lambda r: torch.from_numpy(table[r]), time[part])
            for k in out:
                out[k][part] = getattr(got, k).numpy()
    return out
