"""The ranker: a small MLP over the candidates' features, trained listwise online, window by window, on past windows only."""
from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from globo.data import Requests
from globo.features import Answers

HIDDEN = (32, 16)
BATCH = 128  # requests
LEARNS = 0.5  # share of a window's requests that are learnt from
LEARNING_RATE = 2e-3
DECAY = 0.999  # of the averaged weights that answer, a step
WARM_UP = 8  # windows whose features set the scale of inputs
MISS = 1_000_000


class Ranker(nn.Module):
    """score [Q, C] = MLP(candidate features [Q, C, F], context [Q, G]); inputs are standardised by `scale`."""

    def __init__(self, features: int, context: int) -> None:
        super().__init__()
        self.candidate = nn.Linear(features, HIDDEN[0])
        self.request = nn.Linear(context, HIDDEN[0], bias=False)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(*HIDDEN), nn.ReLU(), nn.Linear(HIDDEN[1], 1))
        for name, width in (("candidate", features), ("request", context)):
            self.register_buffer(f"{name}_mean", torch.zeros(width)), self.register_buffer(f"{name}_deviation", torch.ones(width))

    def scale(self, features: torch.Tensor, context: torch.Tensor) -> None:
        """Sets the standardisation from rows of past requests."""
        for name, x in (("candidate", features.flatten(0, 1)), ("request", context)):
            getattr(self, f"{name}_mean").copy_(x.mean(0)), getattr(self, f"{name}_deviation").copy_(x.std(0) + 0.1)

    def forward(self, features: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        x = self.candidate((features - self.candidate_mean) / self.candidate_deviation)
        return self.rest(x + self.request((context - self.request_mean) / self.request_deviation)[:, None])[..., 0]


@dataclass(frozen=True)
class Inputs:
    """Which columns an arm reads."""

    features: list[int]
    context: list[int]


def ranks(scores: np.ndarray, candidate: np.ndarray, target: np.ndarray) -> np.ndarray:
    """int64 [Q]: the target's rank from 1 among scores [Q, C]; ties count against it; MISS where it is no candidate."""
    hit = (candidate == target[:, None]) & (candidate >= 0)
    mine = np.where(hit, scores, np.inf).min(1)
    return np.where(hit.any(1), ((scores >= mine[:, None]) & (candidate >= 0)).sum(1), MISS)


def run(answers: Answers, requests: Requests, chosen: np.ndarray, inputs: Inputs, seed: int,
        progress=lambda window: None) -> tuple[np.ndarray, Ranker]:
    """Answers the test half of each window's chosen requests with what was learnt from the windows before it, then learns
    from a random share of them all.

    Returns int64 [S] ranks, MISS for what was not asked, and the model after the last window.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = Ranker(len(inputs.features), len(inputs.context))
    served = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    out, steps = np.full(len(requests.target), MISS), 0
    bounds = np.searchsorted(requests.window, np.arange(requests.window.max() + 2))
    warm: list[tuple[torch.Tensor, torch.Tensor]] = []
    for window, (a, b) in enumerate(zip(bounds, bounds[1:])):
        mine = a + np.flatnonzero(chosen[a:b])
        learns = random.random(len(mine)) < LEARNS
        mine, learns = mine[learns | requests.test[mine]], learns[learns | requests.test[mine]]
        if not len(mine):
            continue
        features = torch.from_numpy(answers.features[mine][:, :, inputs.features].astype(np.float32))
        context = torch.from_numpy(answers.context[mine][:, inputs.context].astype(np.float32))
        candidate, target = answers.candidate[mine], requests.target[mine]
        with torch.no_grad():
            for part in np.array_split(np.flatnonzero(requests.test[mine]), 1 + len(mine) // 1_024):
                out[mine[part]] = ranks(served(features[part], context[part]).numpy(), candidate[part], target[part])
        if window <= WARM_UP:
            warm.append((features[candidate.min(1) >= 0], context[candidate.min(1) >= 0]))
            if len(torch.cat([w[1] for w in warm])) > 100:
                for m in (model, served):
                    m.scale(*(torch.cat(side) for side in zip(*warm)))
        hit = (candidate == target[:, None]) & (candidate >= 0)
        absent = torch.from_numpy(candidate < 0)
        rows, label = np.flatnonzero(hit.any(1) & learns), torch.from_numpy(hit.argmax(1))
        for batch in np.array_split(random.permutation(rows), max(1, len(rows) // BATCH)):
            if not len(batch):
                continue
            score = model(features[batch], context[batch]).masked_fill(absent[batch], -1e4)
            loss = nn.functional.cross_entropy(score, label[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            steps += 1
            with torch.no_grad():
                keep = min(DECAY, 1 - 1 / (1 + steps / 10))
                for s, m in zip(served.parameters(), model.parameters()):
                    s.lerp_(m, 1 - keep)
        progress(window)
    return out, served
