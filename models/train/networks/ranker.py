"""The reference rankers: one small MLP an arm, all with the same non-personal features, trained listwise."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from features.np_features import FEATURES, Requests
from log.config import CONFIG
from log.data import CUT
from networks.listwise import cross_entropy, lists

LAYERS = (32, 16)
EPOCHS = 6
BATCH = 128  # requests
LEARNING_RATE = 6e-3  # peak of a one-cycle schedule
WEIGHT_DECAY = 1e-4

FRESH = [f"@items-{name}" for name in CONFIG.freshness]  # item vectors more often than daily, by a model trained on the freshest
FRESHEST = FRESH[-1:]  # the configuration names the freshest last
VARIANTS = ["", "@midnight", "@hour", "@float", *FRESH]  # of the user's state, of the vectors' rounding, of item vectors
# personal features, [M, len(DOTS)]
DOTS = [*(f"{o}{v}" for v in VARIANTS for o in ("click", "save")), *(f"{p}{v}" for v in ("", *FRESHEST) for p in ("longterm", "pool"))]
ARMS = {
    "np": [],
    "np+pool": ["pool"],
    "np+longterm": ["longterm"],
    "np+intent": ["click", "save"],
    "hybrid": ["click", "save", "longterm"],
    **{f"np+intent{v}": [f"click{v}", f"save{v}"] for v in VARIANTS[1:]},
    **{arm: names for v in FRESHEST for arm, names in {
        f"np+longterm{v}": [f"longterm{v}"], f"np+pool{v}": [f"pool{v}"], f"hybrid{v}": [f"click{v}", f"save{v}", f"longterm{v}"],
    }.items()},
}


@dataclass(frozen=True)
class Ranker:
    """score = MLP((features - mean) / deviation), features being FEATURES and then the arm's dots."""

    arm: str
    mean: np.ndarray  # float32 [F]
    deviation: np.ndarray  # float32 [F]
    net: nn.Sequential

    def score(self, x: np.ndarray) -> torch.Tensor:
        """float32 [n, F] → [n]."""
        return self.net(torch.from_numpy((x - self.mean) / self.deviation))[:, 0]


def inputs(requests: Requests, dots: np.ndarray, arm: str, pairs: np.ndarray) -> np.ndarray:
    """float32 [n, F]: the arm's features of some pairs."""
    return np.concatenate([requests.features[pairs], dots[pairs][:, [DOTS.index(d) for d in ARMS[arm]]]], 1)


def fit(requests: Requests, dots: np.ndarray, arm: str, chosen: np.ndarray, seed: int) -> Ranker:
    """Trains an arm on the chosen requests, all before the cut."""
    assert (requests.time[chosen] < CUT).all()
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    seen = inputs(requests, dots, arm, lists(requests, chosen).pairs)
    width = len(FEATURES) + len(ARMS[arm])
    net = nn.Sequential(nn.Linear(width, LAYERS[0]), nn.ReLU(), nn.Linear(*LAYERS), nn.ReLU(), nn.Linear(LAYERS[1], 1))
    ranker = Ranker(arm, seen.mean(0, dtype=np.float64).astype(np.float32),
                    seen.std(0, dtype=np.float64).astype(np.float32), net)
    del seen
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * -(-len(chosen) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        order = random.permutation(chosen)
        for n in range(0, len(order), BATCH):
            batch = lists(requests, order[n : n + BATCH])
            loss = cross_entropy(ranker.score(inputs(requests, dots, arm, batch.pairs)), batch).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return ranker


def predict(ranker: Ranker, requests: Requests, dots: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """float32 [n]: the scores of some pairs."""
    with torch.no_grad():
        parts = [ranker.score(inputs(requests, dots, ranker.arm, p)).numpy() for p in np.array_split(pairs, 1 + len(pairs) // 500_000)]
    return np.concatenate(parts)


def fit_weights(columns: np.ndarray, offset: np.ndarray, batch) -> tuple[np.ndarray, float]:
    """Listwise logistic regression of flat scores offset [m] + columns [m, k] x weights: the weights and the mean loss."""
    x, base = torch.from_numpy(columns.astype(np.float32)), torch.from_numpy(offset.astype(np.float32))
    weights = torch.zeros(x.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(base + x @ weights, batch).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weights.detach().numpy(), closure().item()
