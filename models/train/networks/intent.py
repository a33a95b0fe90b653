"""The intent model: a GRU over the reducer's window, trained together with the item vectors' projection.

All item vectors of a request, of the window and of the candidates, are those of the newest version before it, as in serving:
with daily versions that of the midnight that starts its day. The loss is listwise over the request's candidates, on top of a fixed
non-personal score: intent x item vector learns what this user wants beyond what everyone does now.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from features.np_features import SAVE_KINDS, Requests
from features.vectors import ABSENT, RAW, RawVersions, Space, parts, transform
from log.data import ACTION_TYPES, CUT, DAY, SURFACES, ActionLog
from networks.listwise import Lists, cross_entropy, lists

DIM = 48  # D: item vectors and intents
HIDDEN = 64  # H
OUTCOMES = ["click", "save"]  # next unseen item acted on; the same, of those liked or bookmarked
GAP_BOUNDS = [10, 60, 300, 1_800, 7_200, 43_200, 172_800, 604_800, 2_592_000]  # seconds; bucket = 1 + bounds <= gap
SAVE_HORIZON = DAY  # a touch counts as saved if a like or bookmark of the item follows within this many seconds
EMBEDDING = {"action_types": 8, "surfaces": 4, "gaps": 8}  # widths

EPOCHS = 4
DAYS_PER_BATCH = 2
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
DROPOUT = 0.2  # of the hidden state, before the click and save heads
HIDE_VECTOR = 0.1  # of the window's actions lose their vector in training
HIDE_TYPE = 0.02  # of the window's actions become of unknown type in training
LOSS_WEIGHTS = {"click": 1.0, "save": 0.5, "pool": 0.5, "type": 0.1}


@dataclass(frozen=True)
class Windows:
    """Ragged sequences, time-major and padded: what the ONNX model takes, and what to read from it."""

    rows: np.ndarray  # int64 [T, B]: rows of the item versions, ABSENT where the item has no vector
    action_types: np.ndarray  # int64 [T, B]
    surfaces: np.ndarray  # int64 [T, B]
    gaps: np.ndarray  # int64 [T, B]
    lengths: np.ndarray  # int64 [B]


def cut_windows(log: ActionLog, raw: RawVersions, user: np.ndarray, start: np.ndarray, end: np.ndarray,
                day: np.ndarray) -> Windows:
    """The actions `start` to `end` (places in the user's order, [B]) under the item version of tick `day` [B]."""
    lengths = end - start
    step = np.arange(max(1, lengths.max()))[:, None]
    real = step < lengths
    action = np.where(real, log.bounds[user] + start + step, 0)
    gap = (log.time_ms[action] - log.time_ms[np.maximum(action - 1, 0)]) / 1000
    bucket = 1 + np.searchsorted(GAP_BOUNDS, gap, side="right")
    return Windows(
        rows=np.where(real, raw.lookup(log.item[action], day), ABSENT),
        action_types=np.where(real, log.kind[action], 0),
        surfaces=np.where(real, log.surface[action], 0),
        gaps=np.where(real & (step > 0), bucket, 0),
        lengths=lengths,
    )


class IntentModel(nn.Module):
    """Embeddings, one GRU, three linear heads; and, used in training only, the projection of the item vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Parameter(torch.randn(RAW, DIM) / RAW**0.5)
        self.action_types = nn.Embedding(1 + len(ACTION_TYPES), EMBEDDING["action_types"])
        self.surfaces = nn.Embedding(1 + len(SURFACES), EMBEDDING["surfaces"])
        self.gaps = nn.Embedding(2 + len(GAP_BOUNDS), EMBEDDING["gaps"])
        self.gru = nn.GRU(DIM + 1 + sum(EMBEDDING.values()), HIDDEN)
        self.intent = nn.Linear(HIDDEN, len(OUTCOMES) * DIM)
        self.propensity = nn.Linear(HIDDEN, len(ACTION_TYPES))
        nn.init.normal_(self.intent.weight, std=0.1)
        nn.init.zeros_(self.intent.bias)

    def vectors(self, transformed: torch.Tensor) -> torch.Tensor:
        """[R, RAW] → [R, DIM]: unit vectors rounded to multiples of 1/127, with the gradient of the unrounded ones."""
        v = F.normalize(transformed @ self.projection, dim=1)
        return v + (torch.round(v * 127) / 127 - v).detach()

    def fold(self, item_vectors: torch.Tensor, has_vector: torch.Tensor, action_types: torch.Tensor,
             surfaces: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        """[T, B, DIM], [T, B] ... → the hidden state after each action, [T, B, HIDDEN], from zeros."""
        parts = [item_vectors, has_vector[..., None], self.action_types(action_types), self.surfaces(surfaces),
                 self.gaps(gaps)]
        return self.gru(torch.cat(parts, -1))[0]

    def heads(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, HIDDEN] → intent [B, outcomes, DIM], propensity logits [B, action types]."""
        return self.intent(hidden).view(-1, len(OUTCOMES), DIM), self.propensity(hidden)

    def share_unseen_types(self, seen: np.ndarray) -> None:
        """Action types that the training data lacks get the embedding of the unknown type, which it has."""
        with torch.no_grad():
            for kind in set(range(1 + len(ACTION_TYPES))) - set(seen.tolist()):
                self.action_types.weight[kind] = self.action_types.weight[0]


@dataclass(frozen=True)
class Sessions:
    """The windows that some requests look at. Requests of one user and item version share one, until the reducer seals."""

    windows: Windows
    of: np.ndarray  # int64 [q]: which of the B windows
    at: np.ndarray  # int64 [q]: the step just before the request, -1 if the user had no action
    next_type: np.ndarray  # int64 [T, B]: place in ACTION_TYPES of the following action, -100 where it trains nothing


def sessions(log: ActionLog, raw: RawVersions, requests: Requests, chosen: np.ndarray) -> Sessions:
    """The windows of the chosen requests; `next_type` covers the steps from the first request of each on."""
    accepted, start, day = requests.accepted[chosen], requests.start[chosen], raw.tick(requests.time[chosen])
    keys, of = np.unique(np.stack([requests.user[chosen], start, day], 1), axis=0, return_inverse=True)
    end, first = keys[:, 1].copy(), np.full(len(keys), np.iinfo(np.int64).max)
    np.maximum.at(end, of, accepted)
    np.minimum.at(first, of, accepted)
    windows = cut_windows(log, raw, keys[:, 0], keys[:, 1], end, keys[:, 2])

    place = keys[:, 1] + np.arange(len(windows.rows))[:, None] + 1  # of the following action
    size = (log.bounds[1:] - log.bounds[:-1])[keys[:, 0]]
    follows = np.minimum(log.bounds[keys[:, 0]] + place, len(log.time) - 1)
    known = (place >= first) & (place <= end) & (place < size) & (log.time[follows] < CUT)
    return Sessions(windows, of, accepted - start - 1, np.where(known, log.kind[follows] - 1, -100))


@dataclass(frozen=True)
class Output:
    """What one pass over the lists of some requests gives; scores are flat, as in Lists."""

    click: torch.Tensor  # [m]: intent(click) x item vector
    save: torch.Tensor  # [m]
    pool: torch.Tensor  # [m]: unit mean of the window's vectors x item vector
    missing: torch.Tensor  # [m]: 1 where the candidate has no vector
    intent: torch.Tensor  # [q, outcomes, DIM]; zeros where the window is empty
    hidden: torch.Tensor  # [T, B, HIDDEN]
    sessions: Sessions


def forward(model: IntentModel, log: ActionLog, raw: RawVersions, embed: Callable[[np.ndarray], torch.Tensor],
            requests: Requests, batch: Lists) -> Output:
    """Scores all candidates of the batch's requests; `embed` gives the vectors of raw rows.

    In training mode it hides parts of the windows.
    """
    session = sessions(log, raw, requests, batch.requests)
    window = session.windows
    day = raw.tick(requests.time[batch.requests])
    candidate = raw.lookup(requests.candidate[batch.pairs], day[batch.of.numpy()])
    rows, inverse = np.unique(np.r_[candidate, window.rows.ravel()], return_inverse=True)
    present = torch.from_numpy((rows != ABSENT).astype(np.float32))[:, None]
    vectors = embed(np.maximum(rows, 0)) * present
    items = vectors[torch.from_numpy(inverse[len(candidate) :])].view(*window.rows.shape, DIM)

    has = torch.from_numpy((window.rows != ABSENT).astype(np.float32))
    types = torch.from_numpy(window.action_types).long()
    if model.training:
        has = has * (torch.rand_like(has) >= HIDE_VECTOR)
        types = types * (torch.rand(types.shape) >= HIDE_TYPE)
    items = items * has[..., None]
    hidden = model.fold(items, has, types, torch.from_numpy(window.surfaces).long(), torch.from_numpy(window.gaps).long())

    at, of = torch.from_numpy(np.maximum(session.at, 0)), torch.from_numpy(session.of)
    begun = torch.from_numpy((session.at >= 0).astype(np.float32))
    intent = model.heads(F.dropout(hidden[at, of], DROPOUT, model.training))[0] * begun[:, None, None]
    pool = F.normalize(items.cumsum(0)[at, of], dim=1) * begun[:, None]
    known, place = np.unique(inverse[: len(candidate)], return_inverse=True)
    known, place = torch.from_numpy(known), torch.from_numpy(place)
    dot = lambda queries: (queries @ vectors[known].T)[batch.of, place]  # far cheaper than gathering [m, DIM]
    missing = torch.from_numpy((candidate == ABSENT).astype(np.float32))
    return Output(dot(intent[:, 0]), dot(intent[:, 1]), dot(pool), missing, intent, hidden, session)


def saved(log: ActionLog, requests: Requests) -> np.ndarray:
    """bool [Q]: the user liked or bookmarked the target within SAVE_HORIZON of the request, and before the cut."""
    times: dict[tuple[int, int], list[int]] = {}
    for n in np.flatnonzero(np.isin(log.kind, SAVE_KINDS) & (log.time < CUT)):
        times.setdefault((log.user[n], log.item[n]), []).append(log.time[n])
    touched = zip(requests.user, log.item[requests.action], requests.time)
    return np.array([any(0 <= s - t <= SAVE_HORIZON for s in times.get((u, i), ())) for u, i, t in touched])


def train(log: ActionLog, raw: RawVersions, requests: Requests, chosen: np.ndarray, base: torch.Tensor, seed: int,
          name: str) -> IntentModel:
    """Fits a model to the chosen requests, all before the cut, on top of `base` [M], the non-personal scores."""
    assert (requests.time[chosen] < CUT).all() and (requests.target[chosen] >= 0).all()
    chosen = chosen[requests.accepted[chosen] > 0]
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model, transformed = IntentModel(), torch.from_numpy(np.concatenate([transform(part).astype(np.float32) for part in parts(raw.rows)]))
    embed = lambda rows: model.vectors(transformed[rows])
    scale, missing_bias = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.zeros(3))
    day, is_saved = requests.time[chosen] // DAY, saved(log, requests)
    days = [chosen[day == d] for d in np.unique(day)]
    optimiser = torch.optim.AdamW([*model.parameters(), scale, missing_bias], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * -(-len(days) // DAYS_PER_BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for epoch in range(EPOCHS):
        losses, order = [], random.permutation(len(days))
        for n in range(0, len(order), DAYS_PER_BATCH):
            batch = lists(requests, np.concatenate([days[d] for d in order[n : n + DAYS_PER_BATCH]]))
            out = forward(model, log, raw, embed, requests, batch)
            offset = base[torch.from_numpy(batch.pairs)]
            score = lambda k, dots: cross_entropy(offset + dots + missing_bias[k] * out.missing, batch)
            keep = torch.from_numpy(is_saved[batch.requests].astype(np.float32))
            loss = {
                "click": score(0, out.click).mean(),
                "save": (score(1, out.save) * keep).sum() / keep.sum().clamp(min=1),
                "pool": score(2, scale * out.pool).mean(),
                "type": F.cross_entropy(model.propensity(out.hidden).flatten(0, 1),
                                        torch.from_numpy(out.sessions.next_type).long().flatten(), ignore_index=-100),
            }
            optimiser.zero_grad()
            sum(LOSS_WEIGHTS[k] * v for k, v in loss.items()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append([v.item() for v in loss.values()])
        means = "  ".join(f"{k} {v:.4f}" for k, v in zip(LOSS_WEIGHTS, np.mean(losses, 0)))
        print(f"{name}: epoch {epoch + 1}/{EPOCHS}  {means}", flush=True)
    model.share_unseen_types(np.r_[0, np.unique(log.kind[log.time < CUT])])
    return model.eval()


def score(model: IntentModel, log: ActionLog, raw: RawVersions, space: Space, requests: Requests,
          chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Dots of the chosen requests' flat candidates with click, save and pool, and the intents [q, outcomes, DIM]."""
    embed, parts = lambda rows: torch.from_numpy(space.vectors(rows)), []
    day = requests.time[chosen] // DAY
    with torch.no_grad():
        for d in np.unique(day):
            out = forward(model, log, raw, embed, requests, lists(requests, chosen[day == d]))
            parts.append([x.numpy() for x in (out.click, out.save, out.pool, out.intent)])
    return {k: np.concatenate(p) for k, p in zip(("click", "save", "pool", "intent"), zip(*parts))}
