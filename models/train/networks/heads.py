"""The reference MLP of every arm: features of a candidate → a score a head, trained listwise on lists of equal length.

The save head is the click head plus a correction, so that the few saved requests only have to teach the difference.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import nn

from networks.members import cross_entropy

LAYERS = (32, 16)
EPOCHS = 6  # of one net by itself
NETS = 8  # whose mean ranks for an arm: one alone moves HIT@3 by as much as arms differ
NETS_EPOCHS = 10  # of each of them; chosen on the last block before the cut, by rankers fitted to the block before it
BATCH = 128  # requests
LEARNING_RATE = 6e-3  # peak of a one-cycle schedule
WEIGHT_DECAY = 1e-4
HEADS = ["click", "save"]
SAVE_WEIGHT = 0.5


class Net(nn.Module):
    """[..., F] → [..., heads], after (features - mean) / deviation."""

    def __init__(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("deviation", torch.from_numpy(deviation))
        self.body = nn.Sequential(nn.Linear(len(mean), LAYERS[0]), nn.ReLU(), nn.Linear(*LAYERS), nn.ReLU())
        self.head = nn.Linear(LAYERS[1], len(HEADS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        click, more = self.head(self.body((x - self.mean) / self.deviation)).unbind(-1)
        return torch.stack([click, click + more], -1)


class Mean(nn.Module):
    """The mean of what nets of the same inputs say."""

    def __init__(self, nets: list[Net]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([net(x) for net in self.nets]).mean(0)


def fit_mean(x: np.ndarray, real: np.ndarray, saved: np.ndarray, seed: int, offset: np.ndarray, nets: int = NETS) -> Mean:
    """Nets that differ in where they start and in the order of what they see. Arguments as of `fit`."""
    return Mean([fit(x, real, saved, seed * nets + n, offset, NETS_EPOCHS) for n in range(nets)])


def fit(
    x: np.ndarray, real: np.ndarray, saved: np.ndarray, seed: int, offset: np.ndarray | None = None, epochs: int = EPOCHS,
) -> Net:
    """x float32 [q, n, F] with the target in column 0; real bool [q, n]; saved bool [q]; offset float32 [q, n, heads] is added to the scores."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    seen = x[real]
    net = Net(seen.mean(0, dtype=np.float64).astype(np.float32), np.maximum(seen.std(0, dtype=np.float64), 1e-6).astype(np.float32))
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=epochs * -(-len(x) // BATCH))
    for _ in range(epochs):
        order = random.permutation(len(x))
        for n in range(0, len(order), BATCH):
            batch = order[n : n + BATCH]
            scores, mask, keep = net(torch.from_numpy(x[batch])), torch.from_numpy(real[batch]), torch.from_numpy(saved[batch].astype(np.float32))
            if offset is not None:
                scores = scores + torch.from_numpy(offset[batch])
            save = cross_entropy(scores[..., 1], mask)
            loss = cross_entropy(scores[..., 0], mask).mean() + SAVE_WEIGHT * (save * keep).sum() / keep.sum().clamp(min=1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def predict(net: nn.Module, x: np.ndarray) -> np.ndarray:
    """float32 [q, n, heads]."""
    with torch.no_grad():
        return np.concatenate([net(torch.from_numpy(part)).numpy() for part in np.array_split(x, 1 + len(x) // 2_000)])
