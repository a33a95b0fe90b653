"""ONNX graphs of the encoders and the transformer ranker, written node by node, and the proof that a batch's cut does not change a bit.

Recurrent encoders keep the intent model's seven inputs and three outputs (docs/models.md), whatever their hidden width. The window
transformer has no state: it takes the same inputs without `hidden` and gives `intent` and `propensity`.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from log.data import ACTION_TYPES, SURFACES
from networks.encoders import HEADS, LAYERS, SESSION_GAP, SESSION_HIDDEN, WIDTH, Gru, Linear, SessionGru
from networks.intent import DIM, GAP_BOUNDS, HIDDEN, OUTCOMES
from networks.members import Intent
from networks.onnx_models import BATCH_SHAPES, _save, session

F32, I32 = TensorProto.FLOAT, TensorProto.INT32


class Graph:
    """Nodes and weights in the order they are made; every method gives the name of its output."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.weights: dict[str, np.ndarray] = {}

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def weight(self, value) -> str:
        value = np.asarray(value)
        name = f"w{len(self.weights)}"
        self.weights[name] = value.astype(np.int64) if value.dtype.kind in "iu" else value.astype(np.float32)
        return name

    def scalar(self, value) -> str:
        """A weight of no dimensions, which onnx_models._save would give one."""
        return self.op("Squeeze", self.weight([value]))

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray, output: str | None = None) -> str:
        """[..., in] → [..., out] with PyTorch's weight [out, in]."""
        return self.op("Add", self.op("MatMul", x, self.weight(weight.T)), self.weight(bias), output=output)

    def transformer(self, x: str, w: dict[str, np.ndarray], layers: int, heads: int, width: int, mask: str) -> str:
        """Pre-norm layers over x [B, T, width] with `mask` added to the attention's logits; weights as in encoders.Layers."""
        norm = lambda x, n: self.op("LayerNormalization", x, self.weight(w[f"norms.{n}.weight"]), self.weight(w[f"norms.{n}.bias"]), epsilon=1e-5)
        split, merged, part = self.weight([0, 0, heads, width // heads]), self.weight([0, 0, width]), width // heads
        for n in range(layers):
            x_norm = norm(x, 2 * n)
            q, k, v = (self.op("Reshape", self.linear(x_norm, weight, bias), split)  # [B, T, heads, part]
                       for weight, bias in zip(np.split(w[f"qkv.{n}.weight"], 3), np.split(w[f"qkv.{n}.bias"], 3)))
            logits = self.op("MatMul", self.op("Transpose", q, perm=[0, 2, 1, 3]), self.op("Transpose", k, perm=[0, 2, 3, 1]))
            share = self.op("Softmax", self.op("Add", self.op("Mul", logits, self.weight([part**-0.5])), mask), axis=-1)
            seen = self.op("Transpose", self.op("MatMul", share, self.op("Transpose", v, perm=[0, 2, 1, 3])), perm=[0, 2, 1, 3])
            x = self.op("Add", x, self.linear(self.op("Reshape", seen, merged), w[f"merge.{n}.weight"], w[f"merge.{n}.bias"]))
            wide = self.op("Relu", self.linear(norm(x, 2 * n + 1), w[f"widen.{n}.weight"], w[f"widen.{n}.bias"]))
            x = self.op("Add", x, self.linear(wide, w[f"narrow.{n}.weight"], w[f"narrow.{n}.bias"]))
        return norm(x, 2 * layers)

    def save(self, inputs: list, outputs: list, name: str, path: Path) -> None:
        value = helper.make_tensor_value_info
        _save(self.nodes, [value(*i) for i in inputs], [value(*o) for o in outputs], self.weights, name, path)


def _part(state: dict, prefix: str) -> dict[str, np.ndarray]:
    return {k[len(prefix) :]: v.detach().numpy() for k, v in state.items() if k.startswith(prefix)}


def _gates(x: np.ndarray) -> np.ndarray:
    """PyTorch orders the gates reset, update, new; ONNX update, reset, hidden."""
    reset, update, new = np.split(x, 3)
    return np.concatenate([update, reset, new])


def _inputs(g: Graph, w: dict[str, np.ndarray]) -> str:
    """x [T, B, WIDTH] from the contract's inputs."""
    tables = [g.op("Gather", g.weight(w[f"{k}.weight"]), k) for k in ("action_types", "surfaces", "gaps")]
    return g.op("Concat", "item_vectors", g.op("Unsqueeze", "has_vector", g.weight([2])), *tables, axis=2)


STEPS = [("item_vectors", F32, ["T", "B", DIM]), ("has_vector", F32, ["T", "B"]), *((k, I32, ["T", "B"]) for k in ("action_types", "surfaces", "gaps")),
         ("lengths", I32, ["B"])]
HEAD_OUTPUTS = [("intent", F32, ["B", len(OUTCOMES), DIM]), ("propensity", F32, ["B", len(ACTION_TYPES)])]


def _heads(g: Graph, w: dict[str, np.ndarray], hidden: str) -> None:
    flat = g.op("Gemm", hidden, g.weight(w["intent.weight"]), g.weight(w["intent.bias"]), transB=1)
    g.op("Reshape", flat, g.weight([-1, len(OUTCOMES), DIM]), output="intent")
    g.op("Gemm", hidden, g.weight(w["propensity.weight"]), g.weight(w["propensity.bias"]), transB=1, output="propensity")


def _operator(encoder: Gru | Linear) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W, R and B of the GRU operator; a linear recurrence has no reset gate and nothing recurrent."""
    w = {k: v.detach().numpy() for k, v in encoder.state_dict().items()}
    if isinstance(encoder, Gru):
        return (_gates(w["gru.weight_ih_l0"])[None], _gates(w["gru.weight_hh_l0"])[None],
                np.concatenate([_gates(w["gru.bias_ih_l0"]), _gates(w["gru.bias_hh_l0"])])[None])
    none = np.zeros((HIDDEN, WIDTH))
    bias = np.concatenate([w["gate.bias"], none[:, 0], w["candidate.bias"], np.zeros(3 * HIDDEN)])
    return np.concatenate([w["gate.weight"], none, w["candidate.weight"]])[None], np.zeros((1, 3 * HIDDEN, HIDDEN)), bias[None]


def _session_scan(g: Graph, encoder: SessionGru, x: str) -> str:
    """A Scan whose body is two GRU operators of one step; gives the state [B, 2 x SESSION_HIDDEN]."""
    w = {k: v.detach().numpy() for k, v in encoder.state_dict().items()}
    names = {level: [g.weight(v) for v in (_gates(w[f"{level}.weight_ih"])[None], _gates(w[f"{level}.weight_hh"])[None],
                                           np.concatenate([_gates(w[f"{level}.bias_ih"]), _gates(w[f"{level}.bias_hh"])])[None])]
             for level in ("session", "action")}
    zero, first, node = g.weight([0.0]), g.weight([0]), helper.make_node

    def step(level: str, given: str, state: str, output: str) -> list:
        """One step of a level's GRU, [B, in] and [B, S] → [B, S]."""
        return [node("Unsqueeze", [given, first], [f"{output}_x"]), node("Unsqueeze", [state, first], [f"{output}_h"]),
                node("GRU", [f"{output}_x", *names[level], "", f"{output}_h"], ["", f"{output}_y"], hidden_size=SESSION_HIDDEN, linear_before_reset=1),
                node("Squeeze", [f"{output}_y", first], [output])]

    body = helper.make_graph([
        *step("session", "lower", "upper", "taken"), node("Where", ["new", "taken", "upper"], ["above"]),
        node("Where", ["new", zero, "lower"], ["below"]), node("Concat", ["x", "above"], ["seen"], axis=1),
        *step("action", "seen", "below", "moved"), node("Where", ["active", "above", "upper"], ["upper_out"]), node("Where", ["active", "moved", "lower"], ["lower_out"]),
    ], "step", [*(helper.make_tensor_value_info(k, F32, ["B", SESSION_HIDDEN]) for k in ("upper", "lower")), helper.make_tensor_value_info("x", F32, ["B", WIDTH]),
                *(helper.make_tensor_value_info(k, TensorProto.BOOL, ["B", 1]) for k in ("new", "active"))],
        [helper.make_tensor_value_info(k, F32, ["B", SESSION_HIDDEN]) for k in ("upper_out", "lower_out")])
    bound = g.weight([SESSION_GAP])
    new = g.op("Unsqueeze", g.op("GreaterOrEqual", g.op("Cast", "gaps", to=TensorProto.INT64), bound), g.weight([2]))
    steps = g.op("Range", g.scalar(0), g.op("Squeeze", g.op("Shape", "has_vector", start=0, end=1)), g.scalar(1))
    active = g.op("Less", g.op("Unsqueeze", steps, g.weight([1])), g.op("Unsqueeze", g.op("Cast", "lengths", to=TensorProto.INT64), first))
    both = [f"both{n}" for n in range(4)]
    g.nodes.append(node("Split", ["hidden"], both[:2], axis=1))
    g.nodes.append(node("Scan", [*both[:2], x, new, g.op("Unsqueeze", active, g.weight([2]))], both[2:], body=body, num_scan_inputs=3))
    return g.op("Concat", *both[2:], axis=1, output="hidden_out")


def save_recurrent(model: Intent, path: Path) -> None:
    """Any recurrent encoder behind the contract of docs/models.md."""
    g, w = Graph(), {k: v.detach().numpy() for k, v in model.state_dict().items()}
    x = _inputs(g, w)
    if isinstance(model.encoder, SessionGru):
        hidden = _session_scan(g, model.encoder, x)
    else:
        weights = [g.weight(v) for v in _operator(model.encoder)]
        g.nodes.append(helper.make_node("GRU", [x, *weights, "lengths", g.op("Unsqueeze", "hidden", g.weight([0]))], ["", "final"],
                                        hidden_size=HIDDEN, linear_before_reset=1))
        hidden = g.op("Squeeze", "final", g.weight([0]), output="hidden_out")
    _heads(g, w, hidden)
    width = model.encoder.hidden
    g.save([("hidden", F32, ["B", width]), *STEPS], [("hidden_out", F32, ["B", width]), *HEAD_OUTPUTS], "intent", path)


def save_window_transformer(model: Intent, path: Path) -> None:
    """The whole window, for every action anew."""
    g, w = Graph(), {k: v.detach().numpy() for k, v in model.state_dict().items()}
    e = _part(model.state_dict(), "encoder.")
    steps = g.op("Shape", "has_vector", start=0, end=1)
    position = g.op("Slice", g.weight(e["position"]), g.weight([0]), steps, g.weight([0]))
    x = g.op("Add", g.op("Transpose", g.linear(_inputs(g, w), e["input.weight"], e["input.bias"]), perm=[1, 0, 2]), position)
    mask = np.triu(np.full((len(e["position"]),) * 2, -1e9), 1)
    causal = g.op("Slice", g.weight(mask), g.weight([0, 0]), g.op("Concat", steps, steps, axis=0), g.weight([0, 1]))
    hidden = g.transformer(x, _part(model.state_dict(), "encoder.layers."), LAYERS, HEADS, HIDDEN, causal)
    last = g.op("Unsqueeze", g.op("Sub", g.op("Cast", "lengths", to=TensorProto.INT64), g.weight([1])), g.weight([1]))
    _heads(g, w, g.op("GatherND", hidden, last, batch_dims=1))
    g.save(STEPS, HEAD_OUTPUTS, "window-transformer", path)


def random_steps(rows: int, steps: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of all but `hidden`, with random lengths."""
    random = np.random.default_rng(seed)
    choose = lambda n: random.integers(0, n, (steps, rows)).astype(np.int32)
    return {"item_vectors": (random.integers(-60, 61, (steps, rows, DIM)) / 127).astype(np.float32), "has_vector": choose(2).astype(np.float32),
            "action_types": choose(1 + len(ACTION_TYPES)), "surfaces": choose(1 + len(SURFACES)), "gaps": choose(2 + len(GAP_BOUNDS)),
            "lengths": random.integers(1, steps + 1, rows).astype(np.int32)}


def batch_variance(path: Path, hidden: int | None, steps: int = 24) -> float:
    """The greatest difference over all positions in calls of BATCH_SHAPES rows, more padding, and (with a hidden state) step by step; 0 is invariance."""
    run, rows, worst = session(path).run, max(BATCH_SHAPES), 0.0
    feed = random_steps(rows, steps)
    if hidden:
        feed["hidden"] = np.random.default_rng(1).normal(0, 0.3, (rows, hidden)).astype(np.float32)
    by_row = ("hidden", "lengths")
    differ = lambda a, b: max(float(np.abs(x - y).max()) for x, y in zip(a, b))
    whole = run(None, feed)
    for shape in BATCH_SHAPES:
        for shift in range(0, rows, 7):
            order = (np.arange(shape) + shift) % rows
            worst = max(worst, differ(run(None, {k: v[order] if k in by_row else v[:, order] for k, v in feed.items()}), [x[order] for x in whole]))
    padded = {k: v if k in by_row else np.concatenate([v, np.ones_like(v[:9])]) for k, v in feed.items()}
    worst = max(worst, differ(run(None, padded), whole))
    if hidden:
        state, last = feed["hidden"], None
        for step in range(steps):
            one = {k: v if k in by_row else v[step : step + 1] for k, v in feed.items()} | {"hidden": state, "lengths": np.ones(rows, np.int32)}
            out = run(None, one)
            active = feed["lengths"] > step
            last = out if last is None else [np.where(active.reshape(-1, *[1] * (x.ndim - 1)), x, y) for x, y in zip(out, last)]
            state = last[0]
        worst = max(worst, differ(last, whole))
    return worst
