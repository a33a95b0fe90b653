"""What turns a user's window into a hidden state: the GRU and its alternatives, all on the same inputs.

Each maps x [T, B, WIDTH] to the hidden state after every action [T, B, hidden], each step from its past only, and starts
from nothing. So one pass serves all requests of a session, and only weights differ between the arms.
"""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from networks.intent import DIM, EMBEDDING, GAP_BOUNDS, HIDDEN

WIDTH = DIM + 1 + sum(EMBEDDING.values())
SESSION_GAP = 1 + sum(b <= 1_800 for b in GAP_BOUNDS)  # a gap of this bucket or more (30 minutes) starts a session
LAYERS, HEADS, FEED_FORWARD, POSITIONS = 2, 2, 128, 132  # of the window transformer; its width is HIDDEN
SESSION_HIDDEN = 40  # of each level of the session GRU


class Gru(nn.Module):
    """The shipped form: one GRU."""

    hidden = HIDDEN

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(WIDTH, HIDDEN)

    def forward(self, x: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        return self.gru(x)[0]


class Linear(nn.Module):
    """A linear recurrence (minGRU, SRU): gate and candidate see the action only.

        z = sigmoid(A x + a), h = z * h + (1 - z) * tanh(B x + b)

    which is a GRU operator with zero recurrent weights, and is written to ONNX as one.
    """

    hidden = HIDDEN

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.candidate = nn.Linear(WIDTH, HIDDEN), nn.Linear(WIDTH, HIDDEN)
        nn.init.constant_(self.gate.bias, 2.0)

    def forward(self, x: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        z, new = torch.sigmoid(self.gate(x)), torch.tanh(self.candidate(x))
        h, out = torch.zeros_like(new[0]), []
        for keep, add in zip(z, (1 - z) * new):
            h = keep * h + add
            out.append(h)
        return torch.stack(out)


class SessionGru(nn.Module):
    """HierTCN-like: a GRU over sessions above a GRU over actions.

    At a session's first action the upper state takes in the lower one, which starts anew; the lower one sees the upper
    state at every action. The state is both, upper first.
    """

    hidden = 2 * SESSION_HIDDEN

    def __init__(self) -> None:
        super().__init__()
        self.session = nn.GRUCell(SESSION_HIDDEN, SESSION_HIDDEN)
        self.action = nn.GRUCell(WIDTH + SESSION_HIDDEN, SESSION_HIDDEN)

    def forward(self, x: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        upper = lower = x.new_zeros(x.shape[1], SESSION_HIDDEN)
        out = []
        for step, new in zip(x, (gaps >= SESSION_GAP)[..., None]):
            upper = torch.where(new, self.session(lower, upper), upper)
            lower = self.action(torch.cat([step, upper], 1), torch.where(new, torch.zeros_like(lower), lower))
            out.append(torch.cat([upper, lower], 1))
        return torch.stack(out)


class Layers(nn.Module):
    """Pre-norm self-attention, [B, T, width] → the same."""

    def __init__(self, width: int, heads: int, feed_forward: int, layers: int) -> None:
        super().__init__()
        self.width, self.heads, self.count = width, heads, layers
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * layers + 1))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(layers))
        self.merge = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.widen = nn.ModuleList(nn.Linear(width, feed_forward) for _ in range(layers))
        self.narrow = nn.ModuleList(nn.Linear(feed_forward, width) for _ in range(layers))

    def forward(self, h: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """`mask` [B, T] tells which steps may be seen; without one each step sees itself and its past."""
        batch, steps, _ = h.shape
        allowed = None if mask is None else mask[:, None, None, :].to(h.dtype).sub(1).mul(1e9)
        for n in range(self.count):
            split = self.qkv[n](self.norms[2 * n](h)).view(batch, steps, 3, self.heads, self.width // self.heads).permute(2, 0, 3, 1, 4)
            seen = F.scaled_dot_product_attention(*split, attn_mask=allowed, is_causal=mask is None)
            h = h + self.merge[n](seen.transpose(1, 2).reshape(batch, steps, self.width))
            h = h + self.narrow[n](F.relu(self.widen[n](self.norms[2 * n + 1](h))))
        return self.norms[-1](h)


class WindowTransformer(nn.Module):
    """SASRec-like: causal self-attention over the window, learned positions."""

    hidden = HIDDEN

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Linear(WIDTH, HIDDEN)
        self.position = nn.Parameter(torch.randn(POSITIONS, HIDDEN) * 0.02)
        self.layers = Layers(HIDDEN, HEADS, FEED_FORWARD, LAYERS)

    def forward(self, x: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        return self.layers((self.input(x) + self.position[: len(x), None]).transpose(0, 1)).transpose(0, 1)


ENCODERS = {"gru": Gru, "linear recurrence": Linear, "session gru": SessionGru, "window transformer": WindowTransformer}
