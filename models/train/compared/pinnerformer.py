"""The long-term vector by a causal transformer (PinnerFormer-like), with three losses: next action, all action, dense all action.

    next   the vector after an action predicts the user's next first touch
    all    one vector a user and step of training predicts all first touches of the 28 days after it
    dense  the vector after any action predicts a first touch drawn from the 28 days after it

All losses are listwise among what was active at the touch, on top of the non-personal score. The sequence is cut into overlapping segments, so
that each position knows at least the STRIDE actions before it; an action enters with its item's vector right after it.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from compared.columns import candidate_rows, dots
from features.versions import in_force
from features.world import World
from log.data import ACTION_TYPES, CUT, DAY, SURFACES
from networks.intent import DIM, EMBEDDING, GAP_BOUNDS
from networks.members import cross_entropy

LENGTH, STRIDE = 256, 128
WIDTH, LAYERS, HEADS = 64, 2, 2
HORIZON = 28 * DAY
LOSSES = ["next", "all", "dense"]
EPOCHS, BATCH_USERS = 6, 24
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 2e-3, 1e-2, 0.2


@dataclass(frozen=True)
class Segments:
    """S segments of users' sequences, padded at the end; position p of a user is read in segment max(0, p // STRIDE - 1)."""

    rows: np.ndarray  # int64 [S, LENGTH]
    kinds: np.ndarray  # int64 [S, LENGTH]
    surfaces: np.ndarray  # int64 [S, LENGTH]
    gaps: np.ndarray  # int64 [S, LENGTH]
    first: np.ndarray  # int64 [users + 1]: the segments of user u are first[u] to first[u + 1]


def segments(w: World) -> Segments:
    """All users' sequences; causal, so that one table serves every time."""
    log, sizes = w.log, np.diff(w.log.bounds)
    counts = np.maximum(1, -(-sizes // STRIDE) - 1)
    first = np.r_[0, np.cumsum(counts)]
    user = np.repeat(np.arange(len(sizes)), counts)
    start = (np.arange(len(user)) - first[user]) * STRIDE
    place = start[:, None] + np.arange(LENGTH)
    real = place < sizes[user][:, None]
    action = np.where(real, log.bounds[user][:, None] + place, 0)
    gap = 1 + np.searchsorted(GAP_BOUNDS, log.time[action] - log.time[np.maximum(action - 1, 0)], side="right")
    return Segments(np.where(real, w.versions.lookup(log.item[action], log.time[action] + 1), -1), np.where(real, log.kind[action], 0),
                    np.where(real, log.surface[action], 0), np.where(real & (place > 0), gap, 0), first)


class LongTerm(nn.Module):
    """[S, LENGTH] of everything → vectors [S, LENGTH, DIM], each from its past."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = nn.Embedding(1 + len(ACTION_TYPES), EMBEDDING["action_types"])
        self.surfaces = nn.Embedding(1 + len(SURFACES), EMBEDDING["surfaces"])
        self.gaps = nn.Embedding(2 + len(GAP_BOUNDS), EMBEDDING["gaps"])
        self.input = nn.Linear(DIM + sum(EMBEDDING.values()), WIDTH)
        self.position = nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, DROPOUT, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.output = nn.Linear(WIDTH, DIM)
        nn.init.normal_(self.output.weight, std=0.1)
        nn.init.zeros_(self.output.bias)
        self.register_buffer("causal", torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), 1), persistent=False)

    def forward(self, items: torch.Tensor, kinds: torch.Tensor, surfaces: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        x = self.input(torch.cat([items, self.kinds(kinds), self.surfaces(surfaces), self.gaps(gaps)], -1)) + self.position[: items.shape[1]]
        return self.output(self.layers(x, mask=self.causal[: items.shape[1], : items.shape[1]], is_causal=True))


def _encode(model: LongTerm, s: Segments, chosen: np.ndarray, table: np.ndarray) -> torch.Tensor:
    length = max(1, int((s.kinds[chosen] > 0).sum(1).max()))
    return model(torch.from_numpy(table[s.rows[chosen, :length]]), *(torch.from_numpy(x[chosen, :length]).long() for x in (s.kinds, s.surfaces, s.gaps)))


def _positions(w: World, user: int, wanted: np.ndarray, time: np.ndarray, loss: str, random: np.random.Generator) -> np.ndarray:
    """The position each request of one user is predicted from, -1 for none: `wanted` are the actions before it, `time` its time."""
    if loss == "next":
        return wanted - 1
    log = w.log
    times = log.time[log.bounds[user] : log.bounds[user + 1]]
    earliest = np.searchsorted(times, time - HORIZON)
    if loss == "dense":
        return np.where(wanted > earliest, earliest + (random.random(len(wanted)) * (wanted - earliest)).astype(np.int64), -1)
    one = random.integers(0, max(1, wanted.max()))
    return np.where((one < wanted) & (one >= earliest), one, -1)


def train(w: World, base: np.ndarray, table: np.ndarray, loss: str, seed: int) -> LongTerm:
    """Fits to the learning samples, all before the cut, on top of `base` [q, n]."""
    torch.manual_seed(seed)
    random, model, s = np.random.default_rng(seed), LongTerm(), segments(w)
    user, accepted, time = (x[w.learn.requests] for x in (w.requests.user, w.requests.accepted, w.requests.time))
    assert (time < CUT).all()
    groups = [np.flatnonzero(user == u) for u in np.unique(user)]
    rows = candidate_rows(w, w.learn.requests, w.learn.pairs, "continuous")
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    epochs = EPOCHS * (4 if loss == "all" else 1)  # it has one position a user and step, and is cheap
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=epochs * -(-len(groups) // BATCH_USERS), pct_start=0.1)
    model.train()
    for epoch in range(epochs):
        order, losses = random.permutation(len(groups)), []
        for n in range(0, len(order), BATCH_USERS):
            batch = [groups[g] for g in order[n : n + BATCH_USERS]]
            at = np.concatenate([_positions(w, user[g[0]], accepted[g], time[g], loss, random) for g in batch])
            chosen = np.concatenate(batch)[at >= 0]
            at = at[at >= 0]
            if len(at):
                segment = np.maximum(0, at // STRIDE - 1)
                used, of = np.unique(s.first[user[chosen]] + segment, return_inverse=True)
                queries = _encode(model, s, used, table)[torch.from_numpy(of), torch.from_numpy(at - segment * STRIDE)]
                score = torch.einsum("qnd,qd->qn", torch.from_numpy(table[rows[chosen]]), queries)
                value = cross_entropy(torch.from_numpy(base[chosen]) + score, torch.from_numpy(w.learn.real[chosen])).mean()
                optimiser.zero_grad()
                value.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                losses.append(value.item())
            schedule.step()
        print(f"long-term {loss} seed {seed}: epoch {epoch + 1}/{epochs}  {np.mean(losses):.4f}", flush=True)
    return model.eval()


def user_vectors(w: World, model: LongTerm, table: np.ndarray, chosen: np.ndarray, freshness: str) -> np.ndarray:
    """float32 [q, DIM]: the vector after the user's last action before the version in force was cut; zeros without one."""
    s, log, user = segments(w), w.log, w.requests.user[chosen]
    made = in_force(w.requests.time[chosen], freshness)
    at = np.array([np.searchsorted(log.time[log.bounds[u] : log.bounds[u + 1]], t) for u, t in zip(user, made)]) - 1
    segment = np.maximum(0, at // STRIDE - 1)
    used, of = np.unique(s.first[user] + segment, return_inverse=True)
    with torch.no_grad():
        vectors = [_encode(model, s, part, table) for part in np.array_split(used, 1 + len(used) // 64)]
    out = np.zeros((len(chosen), DIM), np.float32)
    ends = np.cumsum([len(v) for v in vectors])
    for n in np.flatnonzero(at >= 0):
        part = np.searchsorted(ends, of[n], side="right")
        out[n] = vectors[part][of[n] - (ends[part] - len(vectors[part])), at[n] - segment[n] * STRIDE].numpy()
    return out


def ranks(w: World, model: LongTerm, table: np.ndarray, base: np.ndarray, freshness: str) -> dict[str, np.ndarray]:
    """Ranks of both tasks by NP + vector x item vector, item vectors continuous."""
    score = base + dots(table, candidate_rows(w, w.test, w.pairs, "continuous"), user_vectors(w, model, table, w.test, freshness))
    return {task: w.ranks(score, task) for task in ("next-unseen", "first-touch")}
