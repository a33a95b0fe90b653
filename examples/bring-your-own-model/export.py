"""Writes a model's folder for Freshet: ONNX file, card and parity fixture. Needs requirements.txt.

    python export.py OUT

Replace the constants and `trained` by what your training has, and the card's `quality`, `data`, `script` and `trainedOn` by the
truth: without them Freshet does not load a model. This example's weights are random.
"""
from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from model import LinearRecurrence

SPACE, DIMENSION = "deskdrop-ri48-1", 48  # of the item vectors that will be activated
OUTCOMES = ["click", "save"]
HIDDEN = 16
TYPES = ["view", "like", "bookmark", "comment", "follow", "unlike", "unbookmark", "unfollow"]
SURFACES = ["web", "android", "ios"]
GAP_BOUNDS_SECONDS = [10, 60, 300, 1800, 7200, 43200, 172800, 604800, 2592000]

INPUTS = ["hidden", "item_vectors", "has_vector", "action_types", "surfaces", "gaps", "lengths"]
OUTPUTS = ["hidden_out", "intent", "propensity"]


def trained() -> LinearRecurrence:
    torch.manual_seed(0)
    return LinearRecurrence(HIDDEN, DIMENSION, len(OUTCOMES), len(TYPES), len(SURFACES), len(GAP_BOUNDS_SECONDS)).eval()


def drawn_inputs(steps: int, rows: int = 1, carried: bool = False) -> dict[str, torch.Tensor]:
    """Item vectors are int8, the model's input is q / 127. Take real windows if you have them."""
    drawn = lambda count: torch.randint(0, count, (steps, rows), dtype=torch.int32)
    has_vector = (torch.rand(steps, rows) < 0.8).float()
    return {
        "hidden": torch.randn(rows, HIDDEN) * 0.3 if carried else torch.zeros(rows, HIDDEN),
        "item_vectors": torch.randint(-127, 128, (steps, rows, DIMENSION)) * has_vector[..., None] / 127,
        "has_vector": has_vector,
        "action_types": drawn(len(TYPES) + 1),
        "surfaces": drawn(len(SURFACES) + 1),
        "gaps": drawn(len(GAP_BOUNDS_SECONDS) + 2),
        "lengths": torch.full((rows,), steps, dtype=torch.int32),
    }


def export(model: LinearRecurrence, file: Path) -> None:
    """T and B stay open: Freshet calls with 16, 64 and 256 rows and any number of steps."""
    rows, steps = torch.export.Dim("B"), torch.export.Dim("T")
    shapes = {name: {0: rows} if name in ("hidden", "lengths") else {0: steps, 1: rows} for name in INPUTS}
    program = torch.onnx.export(
        model, (), kwargs=drawn_inputs(steps=3, rows=2), dynamic_shapes=shapes, input_names=INPUTS,
        output_names=OUTPUTS, opset_version=18, dynamo=True,
    )
    ClearMetadataAndDocStringPass()(program.model)  # they name files of the machine that exports
    program.save(file, external_data=False)


@torch.no_grad()
def parity(model: LinearRecurrence) -> dict:
    """What PyTorch gives: Freshet must get the same within 1e-5, wherever the model runs."""
    sequences = []
    for n, steps in enumerate([1, 2, 3, 5, 8, 12]):
        row = drawn_inputs(steps, carried=n % 2 == 1)
        hidden_out, intent, propensity = model(**row)
        flat = {name: row[name][:, 0].tolist() for name in ("has_vector", "action_types", "surfaces", "gaps")}
        sequences.append({
            "hidden": row["hidden"][0].tolist(),
            "itemVectors": (row["item_vectors"][:, 0] * 127).round().int().tolist(),
            "hasVector": [int(flag) for flag in flat["has_vector"]],
            "actionTypes": flat["action_types"],
            "surfaces": flat["surfaces"],
            "gaps": flat["gaps"],
            "hiddenOut": hidden_out[0].tolist(),
            "intent": intent[0].tolist(),
            "propensity": propensity[0].tolist(),
        })
    return {"sequences": sequences}


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    model = trained()
    export(model, out / "intent.onnx")
    (out / "parity.json").write_text(json.dumps(parity(model)))
    card = {
        "name": "linear-recurrence",
        "file": "intent.onnx",
        "sha256": hashlib.sha256((out / "intent.onnx").read_bytes()).hexdigest(),
        "itemVectorSpace": SPACE,
        "dims": {"H": HIDDEN, "D": DIMENSION, "O": len(OUTCOMES), "A": len(TYPES)},
        "inputs": [{"name": name} for name in INPUTS],
        "outputs": [{"name": name} for name in OUTPUTS],
        "outcomes": OUTCOMES,
        "actionTypes": TYPES,
        "surfaces": SURFACES,
        "gapBoundsSeconds": GAP_BOUNDS_SECONDS,
        "parity": {"file": "parity.json"},
        "quality": {
            "what": "not measured: the weights are random",
            "differences": [{"arm": "np+intent - np", "metric": "mrr", "mean": 0, "low": 0, "high": 0}],
        },
        "data": {"file": "none: the weights are random", "sha256": "0" * 64},
        "script": "examples/bring-your-own-model/export.py",
        "trainedOn": {"fromInclusive": "2016-04-01T00:00:00Z", "toExclusive": "2016-12-01T00:00:00Z"},
    }
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
