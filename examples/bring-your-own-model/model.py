"""An intent model of your own: a linear recurrence whose gates depend on the action alone (a minimal GRU)."""
import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan


class LinearRecurrence(nn.Module):
    """H numbers a user. Every gate and candidate of a call is one matrix product; only `step` goes action by action."""

    def __init__(self, hidden: int, dimension: int, outcomes: int, types: int, surfaces: int, gap_bounds: int) -> None:
        super().__init__()
        self.outcomes = outcomes
        self.types = nn.Embedding(types + 1, 8)  # 0: unknown
        self.surfaces = nn.Embedding(surfaces + 1, 4)  # 0: missing or unknown
        self.gaps = nn.Embedding(gap_bounds + 2, 4)  # 0: the first action of a window
        self.gate = nn.Linear(dimension + 1 + 16, hidden)
        self.candidate = nn.Linear(dimension + 1 + 16, hidden)
        self.intent = nn.Linear(hidden, outcomes * dimension)
        self.propensity = nn.Linear(hidden, types)

    def forward(
        self, hidden: Tensor, item_vectors: Tensor, has_vector: Tensor, action_types: Tensor, surfaces: Tensor,
        gaps: Tensor, lengths: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """hidden [B, H], item_vectors [T, B, D], the others [T, B], lengths [B] -> [B, H], [B, O, D], [B, A]"""
        known = [self.types(action_types), self.surfaces(surfaces), self.gaps(gaps)]
        x = torch.cat([item_vectors, has_vector[..., None], *known], -1)
        # Past a row's length the gate is closed: padding changes nothing.
        within = torch.arange(x.shape[0], dtype=torch.int32)[:, None] < lengths
        gate = torch.sigmoid(self.gate(x)) * within[..., None].float()

        def step(h: Tensor, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            gate, candidate = inputs
            h = h + gate * (candidate - h)
            return h, h.clone()

        h, _ = scan(step, hidden, (gate, self.candidate(x)), dim=0)
        return h, self.intent(h).unflatten(-1, (self.outcomes, -1)), self.propensity(h)
