"""The ONNX graphs, written node by node from trained weights, and the proof that a batch's cut does not change a bit."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from log.data import ACTION_TYPES, SURFACES
from networks.intent import DIM, GAP_BOUNDS, HIDDEN, OUTCOMES, IntentModel
from networks.ranker import Ranker

OPSET = 17
IR_VERSION = 9
BATCH_SHAPES = (16, 64, 256)  # rows a call at serving time


def _save(nodes: list, inputs: list, outputs: list, weights: dict[str, np.ndarray], name: str, path: Path) -> None:
    """Checks and writes a model; weights keep their dtype (float32 or int64)."""
    initializers = [numpy_helper.from_array(np.ascontiguousarray(w), k) for k, w in weights.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def save_intent(model: IntentModel, path: Path) -> None:
    """One GRU operator; only copies (Gather, Unsqueeze, Concat) before it, two Gemm on [B, H] after it."""
    w = {k: v.detach().numpy() for k, v in model.state_dict().items()}

    def gates(x: np.ndarray) -> np.ndarray:
        """PyTorch orders the gates reset, update, new; ONNX update, reset, hidden."""
        reset, update, new = np.split(x, 3)
        return np.concatenate([update, reset, new])

    weights = {
        "action_type_embedding": w["action_types.weight"],
        "surface_embedding": w["surfaces.weight"],
        "gap_embedding": w["gaps.weight"],
        "gru_W": gates(w["gru.weight_ih_l0"])[None],
        "gru_R": gates(w["gru.weight_hh_l0"])[None],
        "gru_B": np.concatenate([gates(w["gru.bias_ih_l0"]), gates(w["gru.bias_hh_l0"])])[None],
        "intent_W": w["intent.weight"],
        "intent_b": w["intent.bias"],
        "propensity_W": w["propensity.weight"],
        "propensity_b": w["propensity.bias"],
        "first_axis": np.array([0]),
        "last_axis": np.array([2]),
        "intent_shape": np.array([-1, len(OUTCOMES), DIM]),
    }
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["has_vector", "last_axis"], ["has_column"]),
        node("Gather", ["action_type_embedding", "action_types"], ["type_columns"]),
        node("Gather", ["surface_embedding", "surfaces"], ["surface_columns"]),
        node("Gather", ["gap_embedding", "gaps"], ["gap_columns"]),
        node("Concat", ["item_vectors", "has_column", "type_columns", "surface_columns", "gap_columns"], ["x"], axis=2),
        node("Unsqueeze", ["hidden", "first_axis"], ["initial"]),
        node("GRU", ["x", "gru_W", "gru_R", "gru_B", "lengths", "initial"], ["", "final"], hidden_size=HIDDEN,
             linear_before_reset=1),
        node("Squeeze", ["final", "first_axis"], ["hidden_out"]),
        node("Gemm", ["hidden_out", "intent_W", "intent_b"], ["intent_flat"], transB=1),
        node("Reshape", ["intent_flat", "intent_shape"], ["intent"]),
        node("Gemm", ["hidden_out", "propensity_W", "propensity_b"], ["propensity"], transB=1),
    ]
    value, f32, i32 = helper.make_tensor_value_info, TensorProto.FLOAT, TensorProto.INT32
    inputs = [value("hidden", f32, ["B", HIDDEN]), value("item_vectors", f32, ["T", "B", DIM]),
              value("has_vector", f32, ["T", "B"]), *(value(k, i32, ["T", "B"]) for k in ("action_types", "surfaces", "gaps")),
              value("lengths", i32, ["B"])]
    outputs = [value("hidden_out", f32, ["B", HIDDEN]), value("intent", f32, ["B", len(OUTCOMES), DIM]),
               value("propensity", f32, ["B", len(ACTION_TYPES)])]
    _save(nodes, inputs, outputs, weights, "intent", path)


def save_ranker(ranker: Ranker, path: Path) -> None:
    """features [N, F], not normalised, → score [N]."""
    first, second, third = (layer for layer in ranker.net if hasattr(layer, "weight"))
    weights = {"mean": ranker.mean, "deviation": ranker.deviation, "last_axis": np.array([1])}
    nodes = [helper.make_node("Sub", ["features", "mean"], ["centred"]),
             helper.make_node("Div", ["centred", "deviation"], ["x0"])]
    for n, layer in enumerate((first, second, third)):
        weights |= {f"W{n}": layer.weight.detach().numpy(), f"b{n}": layer.bias.detach().numpy()}
        nodes.append(helper.make_node("Gemm", [f"x{n}", f"W{n}", f"b{n}"], [f"y{n}"], transB=1))
        nodes.append(helper.make_node("Relu", [f"y{n}"], [f"x{n + 1}"]))
    nodes[-1] = helper.make_node("Squeeze", ["y2", "last_axis"], ["score"])
    value = helper.make_tensor_value_info
    _save(nodes, [value("features", TensorProto.FLOAT, ["N", len(ranker.mean)])], [value("score", TensorProto.FLOAT, ["N"])],
          weights, "ranker", path)


def session(path: Path) -> onnxruntime.InferenceSession:
    """One thread on the CPU, as at serving time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def prove_batch_invariance(path: Path, seed: int = 0) -> None:
    """Raises unless every position of every batch shape, extra padding, and stepwise folding give the same bits."""
    run, random, longest = session(path).run, np.random.default_rng(seed), 24
    rows = max(BATCH_SHAPES)
    feed = {
        "hidden": random.normal(0, 0.3, (rows, HIDDEN)).astype(np.float32),
        "item_vectors": (random.integers(-60, 61, (longest, rows, DIM)) / 127).astype(np.float32),
        "has_vector": random.integers(0, 2, (longest, rows)).astype(np.float32),
        "action_types": random.integers(0, 1 + len(ACTION_TYPES), (longest, rows)).astype(np.int32),
        "surfaces": random.integers(0, 1 + len(SURFACES), (longest, rows)).astype(np.int32),
        "gaps": random.integers(0, 2 + len(GAP_BOUNDS), (longest, rows)).astype(np.int32),
        "lengths": random.integers(1, longest + 1, rows).astype(np.int32),
    }

    def pick(order: np.ndarray, steps: int | slice = slice(None)) -> dict[str, np.ndarray]:
        """The rows in another order, optionally only some steps."""
        return {k: v[order] if k in ("hidden", "lengths") else v[:, order][steps] for k, v in feed.items()}

    def same(a: list[np.ndarray], b: list[np.ndarray], what: str) -> None:
        if not all(x.tobytes() == y.tobytes() for x, y in zip(a, b)):
            raise AssertionError(f"{path.name} is not batch-invariant: {what}")

    whole = run(None, feed)
    for shape in BATCH_SHAPES:
        for shift in range(rows if shape < rows else shape):
            order = (np.arange(shape) + shift) % rows
            same(run(None, pick(order)), [x[order] for x in whole], f"{shape} rows, shifted by {shift}")
    padded = {k: np.concatenate([v, np.ones_like(v[:9])]) if k not in ("hidden", "lengths") else v for k, v in feed.items()}
    same(run(None, padded), whole, "padding")

    for shape in BATCH_SHAPES:
        order = np.arange(shape)
        hidden, last = feed["hidden"][order], None
        for step in range(longest):
            one = pick(order, slice(step, step + 1)) | {"hidden": hidden, "lengths": np.ones(shape, np.int32)}
            out = run(None, one)
            active = feed["lengths"][order] > step
            last = out if last is None else [np.where(active.reshape(-1, *[1] * (x.ndim - 1)), x, y) for x, y in zip(out, last)]
            hidden = last[0]
        same(last, [x[order] for x in whole], f"stepwise, {shape} rows")
