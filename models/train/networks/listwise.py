"""Ranking over lists of unequal length, kept flat: the lists of a batch end to end, with a list number a score."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from features.np_features import Requests

CLAMP = 30.0  # scores are bounded in the loss so that exp stays finite in float32


@dataclass(frozen=True)
class Lists:
    """The candidates of some requests, end to end (m pairs)."""

    requests: np.ndarray  # int64 [q]
    pairs: np.ndarray  # int64 [m]: rows of Requests.candidate and Requests.features
    of: torch.Tensor  # int64 [m]: which of the q lists
    target: np.ndarray  # int64 [q]: rows of the flat scores


def lists(requests: Requests, chosen: np.ndarray) -> Lists:
    """The lists of the chosen requests, all of which have their target among the candidates."""
    lengths = requests.bounds[chosen + 1] - requests.bounds[chosen]
    of = np.repeat(np.arange(len(chosen)), lengths)
    starts = np.r_[0, np.cumsum(lengths)[:-1]].astype(np.int64)
    pairs = np.arange(lengths.sum()) + (requests.bounds[chosen] - starts)[of]
    return Lists(chosen, pairs, torch.from_numpy(of), starts + requests.target[chosen])


def cross_entropy(scores: torch.Tensor, batch: Lists) -> torch.Tensor:
    """float32 [q]: softmax cross-entropy of each list's target."""
    scores = scores.clamp(-CLAMP, CLAMP)
    total = torch.zeros(len(batch.requests)).index_add(0, batch.of, scores.exp())
    return total.log() - scores[torch.from_numpy(batch.target)]


def ranks(scores: np.ndarray, batch: Lists) -> np.ndarray:
    """float64 [q]: the target's rank from 1; a tie counts half."""
    of = batch.of.numpy()
    target = scores[batch.target][of]
    return 0.5 + np.bincount(of, scores > target) + 0.5 * np.bincount(of, scores == target)
