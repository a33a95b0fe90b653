"""What each model costs: parameters, arithmetic, actions a second, bytes a user."""
from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch

from compared import pinnerformer
from compared.encoder_arms import Trained
from features.np_features import FEATURES
from log.config import ROOT
from log.data import ACTION_TYPES, WINDOW
from networks import encoders, graphs, heads, members, transact
from networks.encoders import ENCODERS, FEED_FORWARD, LAYERS, SESSION_HIDDEN, WIDTH
from networks.intent import DIM, HIDDEN, OUTCOMES


def _parameters(model: torch.nn.Module) -> int:
    """Without the projection, which is the item vectors' own."""
    return sum(p.numel() for k, p in model.named_parameters() if k != "projection")


def _transformer(width: int, feed_forward: int, layers: int, tokens: int) -> float:
    """FLOP of `layers` over `tokens`: the linear maps, and both products of the attention."""
    return layers * tokens * 2 * (4 * width**2 + 2 * width * feed_forward + 2 * tokens * width)


def flop(encoder: str) -> float:
    """FLOP an action: one step, or the whole window of WINDOW tokens. The heads come once a call and row, see head_flop."""
    if encoder == "session gru":
        return 6 * SESSION_HIDDEN * (2 * SESSION_HIDDEN + WIDTH + SESSION_HIDDEN + SESSION_HIDDEN)
    if encoder == "window transformer":
        return WINDOW * 2 * WIDTH * HIDDEN + _transformer(HIDDEN, FEED_FORWARD, LAYERS, WINDOW)
    # a linear recurrence needs a third less and nothing recurrent; the GRU operator it is run by computes all of it
    return 4 * HIDDEN * WIDTH if encoder == "linear recurrence" else 6 * HIDDEN * (WIDTH + HIDDEN)


def head_flop(hidden: int) -> float:
    """FLOP of intents and propensities of one hidden state."""
    return 2 * hidden * (len(OUTCOMES) * DIM + len(ACTION_TYPES))


def export(trained: dict[str, list[Trained]], folder: Path) -> dict[str, float]:
    """An ONNX file an encoder, of its first seed (random weights if it was not trained); each one's batch_variance."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in ENCODERS:
        torch.manual_seed(0)
        model = members.Intent(name, np.zeros((1024, DIM), np.float32)).eval()
        if trained.get(name):
            model.load_state_dict(trained[name][0].state)
        path, recurrent = folder / f"{name.replace(' ', '-')}.onnx", name != "window transformer"
        (graphs.save_recurrent if recurrent else graphs.save_window_transformer)(model, path)
        found[name] = graphs.batch_variance(path, model.encoder.hidden if recurrent else None)
    return found


def bench(folder: Path) -> dict | None:
    """bench/models.ts on the exported files, all in one run; None without Node.js."""
    node = shutil.which("node", path=f"{ROOT}/node_modules/.bin") or shutil.which("node")
    if node is None:
        return None
    done = subprocess.run([node, str(ROOT / "bench" / "models.ts"), str(folder)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def speed(measured: dict | None, encoder: str) -> tuple[int | None, int | None]:
    """The most actions a second of one core over all batches, and that batch's rows."""
    rows = [r for r in (measured or {"results": []})["results"] if r["model"] == encoder.replace(" ", "-")]
    best = max(rows, key=lambda r: r["actionsPerCpuSecond"], default=None)
    return (best["actionsPerCpuSecond"], best["rows"]) if best else (None, None)


def table(measured: dict | None, context: int) -> list[dict]:
    """The report's costs; `context` is the number of the ranker's features. Bytes a user are those of the state an action changes."""
    found = []
    for name, kind in ENCODERS.items():
        model = members.Intent(name, np.zeros((1, DIM), np.float32))
        actions, rows = speed(measured, name)
        # a window is 100 actions of item (4 bytes as a number), type, surface and time
        state = WINDOW * (4 + 1 + 1 + 8) if kind is encoders.WindowTransformer else 4 * kind.hidden
        found.append({"arm": name, "parameters": _parameters(model), "mflop": round(flop(name) / 1e6, 4), "mflopHeads": round(head_flop(kind.hidden) / 1e6, 4), "actionsPerSecond": actions,
                      "rowsPerCall": rows, "bytesPerUser": state})
    width = transact.WIDTH
    ranker = transact.TransAct(np.zeros(context, np.float32), np.ones(context, np.float32))
    inner = ((transact.FIRST + 1) * width + context) * transact.MLP
    per = _transformer(width, transact.FEED_FORWARD, transact.LAYERS, transact.LENGTH) + 2 * inner
    mlp = 2 * (context * heads.LAYERS[0] + heads.LAYERS[0] * heads.LAYERS[1] + heads.LAYERS[1] * 2)
    net = heads.Net(np.zeros(context, np.float32), np.ones(context, np.float32))
    long_term = pinnerformer.LongTerm()
    found += [
        {"arm": "transact ranker (a candidate, beside the hybrid's)", "parameters": _parameters(ranker), "mflop": round(per / 1e6, 4), "actionsPerSecond": None, "bytesPerUser": 0},
        {"arm": "hybrid ranker (a candidate)", "parameters": heads.NETS * _parameters(net), "mflop": round(heads.NETS * mlp / 1e6, 4), "actionsPerSecond": None, "bytesPerUser": 0},
        {"arm": "long-term transformer (256 actions)", "parameters": _parameters(long_term),
         "mflop": round(_transformer(pinnerformer.WIDTH, 2 * pinnerformer.WIDTH, pinnerformer.LAYERS, pinnerformer.LENGTH) / 1e6, 2),
         "actionsPerSecond": None, "bytesPerUser": 4 * DIM},
        {"arm": "np", "parameters": _parameters(heads.Net(np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32))),
         "mflop": round(2 * (len(FEATURES) * heads.LAYERS[0] + heads.LAYERS[0] * heads.LAYERS[1] + heads.LAYERS[1] * 2) / 1e6, 4),
         "actionsPerSecond": None, "bytesPerUser": 0},
    ]
    return found
