"""A TransAct-like reference ranker: the candidate is fused into every token of the window, before the transformer.

    token = linear(action type ‖ item vector ‖ candidate vector)         early fusion
    body  = 2 layers over the last LENGTH actions, newest first, no positions
    score = base + MLP(first FIRST tokens ‖ max over tokens ‖ context)   a head an action type, as heads.py has them

`context` holds the NP features and the dots of the intent and the long-term vector; `base` is the score of a ranker of these alone, so that
what is learned is what the window adds to its summaries. Unlike the published code: the
maximum is over real tokens only; padding is no index that an unknown type could share; the time-window mask may hide
slot 0; and a window may have any length, none included.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from features.np_features import Requests
from features.vectors import ABSENT
from log.data import ACTION_TYPES, DAY, ActionLog
from networks.encoders import Layers
from networks.graphs import Graph
from networks.heads import HEADS
from networks.intent import DIM
from networks.members import cross_entropy

LENGTH = 16  # tokens
WIDTH, ATTENTION_HEADS, FEED_FORWARD, LAYERS = 32, 2, 32, 2
FIRST = 4  # tokens whose output goes on beside the maximum
TYPE_WIDTH = 8
MLP = 32
PADDING = 1 + len(ACTION_TYPES)  # 0 is an unknown type
MASK_SECONDS = DAY
EPOCHS, BATCH, CANDIDATES = 2, 64, 8  # candidates a request in training, the target among them
LEARNING_RATE, WEIGHT_DECAY, SAVE_WEIGHT = 2e-3, 1e-2, 0.5


@dataclass(frozen=True)
class Windows:
    """The last LENGTH actions before each request, newest first, padded at the end."""

    rows: np.ndarray  # int64 [q, LENGTH]: rows of the item vectors, ABSENT where the item has none or the slot is padding
    kinds: np.ndarray  # int64 [q, LENGTH]: PADDING in padding
    times: np.ndarray  # int64 [q, LENGTH]


@dataclass(frozen=True)
class Lists:
    """What the scores of q lists of n candidates are made of."""

    vectors: Callable[[np.ndarray], np.ndarray]  # rows of item vectors → float32 [..., DIM], zeros for ABSENT
    windows: Windows
    candidates: np.ndarray  # int64 [q, n]: rows of item vectors
    context: np.ndarray  # float32 [q, n, F]
    base: np.ndarray  # float32 [q, n, heads]

    def inputs(self, rows: np.ndarray, columns: np.ndarray | slice = slice(None), real: np.ndarray | None = None) -> list[torch.Tensor]:
        """Of some lists and their candidates, as TransAct takes them; `real` hides more slots than padding [len(rows), LENGTH]."""
        kinds = self.windows.kinds[rows]
        return [torch.from_numpy(x) for x in (
            self.vectors(self.windows.rows[rows]), kinds, kinds != PADDING if real is None else real,
            self.vectors(self.candidates[rows][:, columns]), self.context[rows][:, columns], self.base[rows][:, columns])]


def windows(log: ActionLog, requests: Requests, chosen: np.ndarray, lookup: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Windows:
    """`lookup`: the rows of items for actions at some times, as seen by requests at others; all of them broadcast."""
    user, accepted, time = requests.user[chosen], requests.accepted[chosen], requests.time[chosen]
    place = accepted[:, None] - 1 - np.arange(LENGTH)
    real = place >= 0
    action = np.where(real, log.bounds[user][:, None] + place, 0)
    return Windows(np.where(real, lookup(log.item[action], log.time[action], time[:, None]), ABSENT), np.where(real, log.kind[action], PADDING),
                   np.where(real, log.time[action], 0))


def mask_recent(kinds: np.ndarray, times: np.ndarray, time: np.ndarray, hidden_seconds: np.ndarray) -> np.ndarray:
    """bool [q, LENGTH]: real slots that the time-window mask leaves, slot 0 hidden like any other."""
    return (kinds != PADDING) & (times < (time - hidden_seconds)[:, None])


class TransAct(nn.Module):
    """See above; `context` is the number of context features."""

    def __init__(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("deviation", torch.from_numpy(deviation))
        self.kinds = nn.Embedding(PADDING + 1, TYPE_WIDTH, padding_idx=PADDING)
        self.token = nn.Linear(TYPE_WIDTH + DIM, WIDTH)
        self.candidate = nn.Linear(DIM, WIDTH, bias=False)  # with `token`, one linear layer of the concatenation
        self.layers = Layers(WIDTH, ATTENTION_HEADS, FEED_FORWARD, LAYERS)
        self.hidden = nn.Linear((FIRST + 1) * WIDTH + len(mean), MLP)
        self.output = nn.Linear(MLP, len(HEADS))
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, items: torch.Tensor, kinds: torch.Tensor, real: torch.Tensor, candidates: torch.Tensor, context: torch.Tensor,
                base: torch.Tensor) -> torch.Tensor:
        """[B, L, DIM], [B, L], bool [B, L], [B, N, DIM], [B, N, context], [B, N, heads] → [B, N, heads]."""
        batch, count, length = len(items), candidates.shape[1], items.shape[1]
        tokens = self.token(torch.cat([self.kinds(kinds), items], -1))[:, None] + self.candidate(candidates)[:, :, None]
        seen = real[:, None].expand(-1, count, -1).reshape(batch * count, length)
        y = self.layers(tokens.reshape(batch * count, length, WIDTH), seen)
        first, pooled = self.pooled(y, seen)
        x = torch.cat([first.reshape(batch, count, -1), pooled.view(batch, count, -1), (context - self.mean) / self.deviation], -1)
        return base + self.output(torch.relu(self.hidden(x)))

    @staticmethod
    def pooled(y: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The first tokens [B, FIRST, WIDTH], zeros where there is none, and the maximum over real tokens, zeros without any."""
        first = nn.functional.pad(y * real[..., None], (0, 0, 0, FIRST))[:, :FIRST]
        top = nn.functional.pad(y.masked_fill(~real[..., None], -1e9), (0, 0, 0, 1), value=-1e9).amax(1)
        return first, torch.where(real.any(1, keepdim=True), top, 0.0)


def train(given: Lists, real: np.ndarray, saved: np.ndarray, time: np.ndarray, seed: int, masked: bool = False) -> TransAct:
    """Fits to lists whose target comes first; real bool [q, n], saved bool [q], time int64 [q]: that of the requests."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    seen = given.context[real]
    model = TransAct(seen.mean(0, dtype=np.float64).astype(np.float32), np.maximum(seen.std(0, dtype=np.float64), 1e-6).astype(np.float32))
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=EPOCHS * -(-len(real) // BATCH), pct_start=0.1)
    for epoch in range(EPOCHS):
        order, losses = random.permutation(len(real)), []
        for n in range(0, len(order), BATCH):
            batch = order[n : n + BATCH]
            columns = np.r_[0, 1 + random.choice(real.shape[1] - 1, CANDIDATES - 1, replace=False)]
            hidden = random.random(len(batch)) * MASK_SECONDS if masked else np.zeros(len(batch))
            left = mask_recent(given.windows.kinds[batch], given.windows.times[batch], time[batch], hidden)
            scores = model(*given.inputs(batch, columns, left))
            mask, keep = torch.from_numpy(real[batch][:, columns]), torch.from_numpy(saved[batch].astype(np.float32))
            loss = (cross_entropy(scores[..., 0], mask).mean()
                    + SAVE_WEIGHT * (cross_entropy(scores[..., 1], mask) * keep).sum() / keep.sum().clamp(min=1))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"  transact seed {seed}: epoch {epoch + 1}/{EPOCHS}  {np.mean(losses):.4f}", flush=True)
    return model.eval()


def predict(model: TransAct, given: Lists) -> np.ndarray:
    """float32 [q, n, heads]."""
    count = len(given.candidates)
    with torch.no_grad():
        return np.concatenate([model(*given.inputs(n)).numpy() for n in np.array_split(np.arange(count), 1 + count // 32)])


def save(model: TransAct, path: Path) -> None:
    """The graph, for any numbers of requests, actions and candidates; `real` is 1 or 0."""
    g, w = Graph(), {k: v.detach().numpy() for k, v in model.state_dict().items()}
    part = lambda prefix: {k[len(prefix) :]: v for k, v in w.items() if k.startswith(prefix)}
    tokens = g.linear(g.op("Concat", g.op("Gather", g.weight(w["kinds.weight"]), "action_types"), "item_vectors", axis=2), w["token.weight"], w["token.bias"])
    fused = g.op("Add", g.op("Unsqueeze", tokens, g.weight([1])), g.op("Unsqueeze", g.op("MatMul", "candidates", g.weight(w["candidate.weight"].T)), g.weight([2])))
    length, minus = g.op("Shape", "real", start=1, end=2), g.weight([-1])
    x = g.op("Reshape", fused, g.op("Concat", minus, length, g.weight([WIDTH]), axis=0))
    each = g.op("Expand", g.op("Unsqueeze", "real", g.weight([1])), g.op("Concat", g.op("Shape", "candidates", start=0, end=2), length, axis=0))
    real = g.op("Reshape", each, g.op("Concat", minus, length, axis=0))
    column = g.op("Unsqueeze", real, g.weight([2]))
    mask = g.op("Mul", g.op("Sub", g.op("Unsqueeze", real, g.weight([1, 2])), g.weight([1.0])), g.weight([1e9]))
    y = g.transformer(x, part("layers."), LAYERS, ATTENTION_HEADS, WIDTH, mask)
    padded = g.op("Pad", g.op("Mul", y, column), g.weight([0, 0, 0, 0, FIRST, 0]))
    first = g.op("Slice", padded, g.weight([0]), g.weight([FIRST]), g.weight([1]))
    # every row of the maximum gets one more, of the least value, so that an empty window has a maximum too
    least = g.op("Pad", g.op("Where", g.op("Greater", column, g.weight([0.5])), y, g.weight([-1e9])), g.weight([0, 0, 0, 0, 1, 0]), g.scalar(-1e9))
    top = g.op("ReduceMax", least, axes=[1], keepdims=0)
    pooled = g.op("Where", g.op("Greater", top, g.weight([-1e8])), top, g.weight([0.0]))
    outer = g.op("Shape", "candidates", start=0, end=2)
    wide = [g.op("Reshape", v, g.op("Concat", outer, g.weight([n]), axis=0)) for v, n in ((first, FIRST * WIDTH), (pooled, WIDTH))]
    context = g.op("Div", g.op("Sub", "context", g.weight(w["mean"])), g.weight(w["deviation"]))
    hidden = g.op("Relu", g.linear(g.op("Concat", *wide, context, axis=2), w["hidden.weight"], w["hidden.bias"]))
    g.op("Add", "base", g.linear(hidden, w["output.weight"], w["output.bias"]), output="scores")
    f32 = TensorProto.FLOAT
    g.save([("item_vectors", f32, ["B", "L", DIM]), ("action_types", TensorProto.INT32, ["B", "L"]), ("real", f32, ["B", "L"]),
            ("candidates", f32, ["B", "N", DIM]), ("context", f32, ["B", "N", len(w["mean"])]), ("base", f32, ["B", "N", len(HEADS)])],
           [("scores", f32, ["B", "N", len(HEADS)])], "transact", path)
