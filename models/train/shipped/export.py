"""Writes models/: ONNX files, vectors, cards and fixtures; checks what it wrote."""
from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from features import np_features as npf, vectors
from log.config import CONFIG
from log.data import ACTION_TYPES, CHUNK, SURFACES, WINDOW, sha256
from networks import heads, intent, onnx_models, transact
from networks.ranker import ARMS, EPOCHS, LAYERS
from shipped import fixtures, fusion
from shipped.fusion import Fusion
from shipped.measure import Results

SPACE = f"{CONFIG.name}-ri{intent.DIM}-1"  # another projection is another space and needs another model
TOLERANCE = 1e-5
BYTES_MAX = 5_000_000  # of all that is committed
TRAINED_FROM, TRAINED_TO = f"{CONFIG.blocks[0]}T00:00:00Z", f"{CONFIG.cut}T00:00:00Z"


def _write(path: Path, content: dict, indent: int | None = None) -> None:
    """JSON, gzipped (with no time stamp, so that equal content is equal bytes) if the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, indent=indent, separators=None if indent else (",", ":")) + "\n"
    data = text.encode()
    path.write_bytes(gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)


def _difference(r: Results, arm: str, metric: str = "mrr") -> dict:
    return next(d for d in r.quality["differences"] if d["arm"] == arm and d["metric"] == metric)


def _vouched(r: Results, *differences: str, of: str = "") -> dict:
    """What a card says of quality."""
    what = f"next unseen item among those active in the last {CONFIG.activeDays:g} days, after {CONFIG.cut}; 95% intervals over users"
    return {"what": f"{what}, {of}" if of else what, "differences": [_difference(r, d) for d in differences]}


def _provenance(actions: Path, script: str) -> dict:
    return {
        "data": {"file": CONFIG.actions, "sha256": sha256(actions)},
        "script": f"models/train/{script}, run by models/train/run.sh",
        "trainedOn": {"fromInclusive": TRAINED_FROM, "toExclusive": TRAINED_TO},
    }


def item_vectors(r: Results, folder: Path, actions: Path) -> None:
    """projection.f32, its card and fixture."""
    folder.mkdir(parents=True, exist_ok=True)
    projection = folder / "projection.f32"
    projection.write_bytes(r.space.projection.astype("<f4").tobytes())
    _write(folder / "parity.json", fixtures.item_vectors(r))
    _write(folder / "card.json", {
        "name": "item-vectors",
        "space": SPACE,
        "dim": intent.DIM,
        "versions": "one a day, activated at midnight UTC; uses only actions with eventTime < that midnight",
        "steps": [
            f"raw[{vectors.RAW}] int32 = sum over the item's deduplicated actions of weight(actionType) x index(userId)",
            "index(userId): for j in 0..k-1, h = murmur2(utf8(decimal j + ':' + userId)) as 32 bits; dimension = "
            f"(h & 0x7fffffff) % {vectors.RAW}; sign = -1 if h's top bit is 1, else +1; equal dimensions add up",
            "x[i] = sign(raw[i]) x sqrt(|raw[i]|), float64",
            "y[d] = sum over i of x[i] x projection[i][d], float64 (projection widened from float32)",
            "q[d] = clamp(round half away from zero(127 x y[d] / ||y||), -127, 127), int8; models read q / 127 in float32",
        ],
        "k": vectors.NONZEROS,
        "rawDim": vectors.RAW,
        "weights": vectors.WEIGHTS,
        "hash": {"name": "murmur2 of org.apache.kafka.common.utils.Utils", "seed": "0x9747b28c", "m": "0x5bd1e995", "r": 24},
        "missing": "an item without an action before the midnight has no vector",
        "projection": {"file": projection.name, "layout": f"float32 little-endian, row-major [{vectors.RAW}][{intent.DIM}]",
                       "sha256": sha256(projection),
                       "learned": "together with the intent model, listwise, on requests before the cut only"},
        "quality": _vouched(r, "np+pool - np", "np+longterm - np", "np+intent - np", of="of what is made of these vectors"),
        "parity": {"file": "parity.json"},
        **_provenance(actions, "features/vectors.py"),
    }, indent=2)


def long_term(r: Results, folder: Path, actions: Path) -> None:
    """Card and fixture of the long-term user vector."""
    _write(folder / "parity.json", fixtures.long_term(r))
    _write(folder / "card.json", {
        "name": "long-term",
        "space": SPACE,
        "dim": intent.DIM,
        "formula": "u = normalise(sum over the user's deduplicated actions with eventTime < midnight of weight(actionType) x "
                   "2^(-(midnight - eventTime) / halfLife) x q(item, version of the midnight) / 127); sum in float64, stored float32",
        "halfLifeDays": r.recipe.half_life_days,
        "weights": dict(zip(ACTION_TYPES, r.recipe.weights[1:])),
        "missing": "a user without actions before the midnight has no vector",
        "tuning": {"on": f"requests of {CONFIG.blocks[-1]} until {CONFIG.cut}, projection trained before them; listwise loss beside NP",
                   "tried": r.tuning},
        "quality": _vouched(r, "np+longterm - np"),
        "parity": {"file": "parity.json"},
        **_provenance(actions, "features/longterm.py"),
    }, indent=2)


def intent_model(r: Results, folder: Path, actions: Path, work: Path) -> None:
    """intent.onnx, its card and fixtures; raises if ONNX and torch differ or a batch's cut changes a bit."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "intent.onnx"
    onnx_models.save_intent(r.model, path)
    onnx_models.prove_batch_invariance(path)
    parity = fixtures.intent(r)
    _write(folder / "parity.json", parity)
    worst = _compare_intent(path, parity["sequences"])
    _write(folder / "unroll.json.gz", {"space": SPACE, **fixtures.unroll(r, CONFIG.work / "labels" / "actions.parquet", work / "unroll")})
    width = intent.DIM + 1 + sum(intent.EMBEDDING.values())
    step, heads = 6 * intent.HIDDEN * (width + intent.HIDDEN), 2 * intent.HIDDEN * (len(intent.OUTCOMES) * intent.DIM + len(ACTION_TYPES))
    t, b = "T", "B"
    _write(folder / "card.json", {
        "name": "intent",
        "file": path.name,
        "sha256": sha256(path),
        "itemVectorSpace": SPACE,
        "dims": {"H": intent.HIDDEN, "D": intent.DIM, "O": len(intent.OUTCOMES), "A": len(ACTION_TYPES)},
        "inputs": [
            {"name": "hidden", "type": "float32", "shape": [b, intent.HIDDEN], "meaning": "zeros, or an earlier hidden_out"},
            {"name": "item_vectors", "type": "float32", "shape": [t, b, intent.DIM],
             "meaning": "q / 127 under the version active now, not at each action's time; zeros where the item has none"},
            {"name": "has_vector", "type": "float32", "shape": [t, b], "meaning": "1 or 0"},
            {"name": "action_types", "type": "int32", "shape": [t, b], "meaning": "0 unknown, else 1 + place in actionTypes"},
            {"name": "surfaces", "type": "int32", "shape": [t, b], "meaning": "0 missing or unknown, else 1 + place in surfaces"},
            {"name": "gaps", "type": "int32", "shape": [t, b],
             "meaning": "0 for the first action in the window, else 1 + how many of gapBoundsSeconds are <= the seconds since the previous"},
            {"name": "lengths", "type": "int32", "shape": [b], "meaning": "at least 1"},
        ],
        "outputs": [
            {"name": "hidden_out", "type": "float32", "shape": [b, intent.HIDDEN]},
            {"name": "intent", "type": "float32", "shape": [b, len(intent.OUTCOMES), intent.DIM],
             "meaning": "not of unit length: intent x item vector is a log-odds on top of a non-personal score"},
            {"name": "propensity", "type": "float32", "shape": [b, len(ACTION_TYPES)],
             "meaning": "logits (softmax) of the next action's type"},
        ],
        "outcomes": intent.OUTCOMES,
        "outcomeMeaning": {"click": "the next item outside the window that the user acts on",
                           "save": "the same, of those liked or bookmarked within a day of it"},
        "actionTypes": ACTION_TYPES,
        "unseenActionTypes": f"{_unseen(r)} are absent from the data and share the embedding of unknown types",
        "surfaces": SURFACES,
        "gapBoundsSeconds": intent.GAP_BOUNDS,
        "window": {"K": WINDOW, "C": CHUNK},
        "megaflopPerAction": round(step / 1e6, 4),
        "megaflopPerCallRow": round(heads / 1e6, 4),
        "batchInvariance": {"rows": list(onnx_models.BATCH_SHAPES),
                            "proved": "every position, padding, and stepwise against ragged: equal bits at export"},
        "parity": {"file": "parity.json", "tolerance": TOLERANCE, "worstAtExport": worst, "unroll": "unroll.json.gz"},
        "quality": {
            **_vouched(r, "np+intent - np", "hybrid - np", "hybrid - np+longterm", "hybrid - np+intent"),
            "arms": {a["arm"]: a["mrr"]["mean"] for a in r.quality["arms"]},
        },
        **_provenance(actions, "networks/intent.py"),
    }, indent=2)


def _unseen(r: Results) -> str:
    """Action types that no training action has."""
    seen = set(r.world.log.kind.tolist())
    return ", ".join(t for n, t in enumerate(ACTION_TYPES) if n + 1 not in seen) or "none"


def _compare_intent(path: Path, sequences: list[dict]) -> float:
    """The largest difference between onnxruntime and the fixture's PyTorch outputs."""
    run, worst = onnx_models.session(path).run, 0.0
    for s in sequences:
        tokens = lambda k, dtype: np.array(s[k], dtype)[:, None]
        out = run(None, {
            "hidden": np.array([s["hidden"]], np.float32),
            "item_vectors": tokens("itemVectors", np.float32) / np.float32(127),
            "has_vector": tokens("hasVector", np.float32),
            "action_types": tokens("actionTypes", np.int32),
            "surfaces": tokens("surfaces", np.int32),
            "gaps": tokens("gaps", np.int32),
            "lengths": np.array([len(s["gaps"])], np.int32),
        })
        worst = max(worst, *(float(np.abs(o[0] - np.array(s[k])).max()) for o, k in zip(out, ("hiddenOut", "intent", "propensity"))))
    assert worst <= TOLERANCE, worst
    return worst


def _feature_definitions() -> list[dict]:
    """Every ranker feature, in the order of the columns."""
    decayed = lambda what, h: f"ln({npf.FLOOR} + sum over {what} before t of 2^(-(t - eventTime) / {h:g} h))"
    out = [{"name": f"touches_{h:g}h", "formula": decayed("the item's first touches", h)} for h in npf.TOUCH_HALF_LIVES]
    out += [{"name": f"actions_{h:g}h", "formula": decayed("the item's actions", h)} for h in npf.ACTION_HALF_LIVES]
    out += [{"name": f"saves_{h:g}h", "formula": decayed(f"the item's {' and '.join(f'{t}s' for t in CONFIG.saveTypes)}", h)} for h in npf.SAVE_HALF_LIVES]
    out += [
        {"name": "age", "formula": "ln(1 + hours from the item's first action ever to t)"},
        {"name": "since_action", "formula": "ln(1 + hours from the item's newest action before t to t)"},
        {"name": "since_touch", "formula": "ln(1 + hours from the item's newest first touch before t to t)"},
        {"name": "no_vector", "formula": "1 if the item's first action is at or after the midnight UTC that starts t's day, else 0"},
    ]
    out += [{"name": f"touches_{h:g}h_below_best", "formula": f"touches_{h:g}h - its maximum over the request's candidates"} for h in (npf.TOUCH_HALF_LIVES[n] for n in npf.BELOW_BEST)]
    out.append({"name": "site_touches_1h", "formula": "ln(1 + sum over first touches of any item before t of 2^(-(t - eventTime) / 1 h))"})
    assert [f["name"] for f in out] == npf.FEATURES
    dot = "0 if the user has no action before {} or the item has no vector, else {} x item vector (q / 127) of the day's version"
    return out + [
        {"name": "dot_click", "formula": dot.format("t", "intent[click] of the user's window before t")},
        {"name": "dot_save", "formula": dot.format("t", "intent[save] of the user's window before t")},
        {"name": "dot_longterm", "formula": dot.format("the midnight that starts t's day", "the user's long-term vector of that midnight")},
    ]


def rankers(r: Results, folder: Path, actions: Path) -> None:
    """The four arms, one card, one fixture; raises if ONNX and torch differ."""
    folder.mkdir(parents=True, exist_ok=True)
    definitions, arms = _feature_definitions(), {}
    names = [d["name"] for d in definitions]
    parity = fixtures.rankers(r)
    for arm in fixtures.EXPORTED_ARMS:
        path, fitted = folder / f"{arm}.onnx", r.rankers[arm]
        onnx_models.save_ranker(fitted, path)
        columns = [*range(len(npf.FEATURES)), *(names.index(f"dot_{d}") for d in ARMS[arm])]
        run, worst = onnx_models.session(path).run, 0.0
        for q in parity["requests"]:
            got = run(None, {"features": np.array(q["features"], np.float32)[:, columns]})[0]
            worst = max(worst, float(np.abs(got - np.array(q["scores"][arm])).max()))
        assert worst <= TOLERANCE * 10, worst
        arms[arm] = {"file": path.name, "sha256": sha256(path), "features": [names[c] for c in columns],
                     "mean": fixtures.numbers(fitted.mean), "deviation": fixtures.numbers(fitted.deviation),
                     "worstAtExport": worst}
    _write(folder / "parity.json.gz", parity)
    _write(folder / "card.json", {
        "name": "ranker",
        "input": {"name": "features", "type": "float32", "shape": ["N", "F"],
                  "meaning": "as defined here and not normalised: (x - mean) / deviation is in the graph"},
        "output": {"name": "score", "type": "float32", "shape": ["N"], "meaning": "softmax over the request's candidates"},
        "model": f"MLP {LAYERS[0]}-{LAYERS[1]}-1, ReLU; listwise softmax; {EPOCHS} epochs; seed 0",
        "request": {
            "time": "t: everything uses records with eventTime < t only; actions of the same second see nothing of each other",
            "candidates": f"items with an action in [t - {CONFIG.activeDays:g} days, t) that are not in the user's window",
            "window": "the raw window (up to K + C - 1 actions) that the reducer holds after the user's actions before t",
            "firstTouch": "an accepted action whose item is not in its user's window at that moment, in the reducer's order",
            "duplicates": "an action equal in (user, item, type, time) to an earlier one counts nowhere",
        },
        "features": definitions,
        "arms": arms,
        "join": {
            "what": "score = realtime x (intent[click] x v) + longTerm x (long-term vector x v), plus noVector for items that have none; "
                    "no non-personal features; softmax over candidates",
            "weights": {"realtime": round(r.join["both"]["click"], 4), "longTerm": round(r.join["both"]["longterm"], 4),
                        "noVector": round(r.join["both"]["noVector"], 4)},
            "fittedOn": f"requests of {CONFIG.blocks[-1]} until {CONFIG.cut}, intents and vectors from a model trained before them",
            "testMrr": r.quality["joinWithoutNp"]["mrr"],
        },
        "quality": _vouched(r, "np+longterm - np", "np+intent - np", "hybrid - np"),
        "parity": {"file": "parity.json.gz", "tolerance": TOLERANCE * 10},
        **_provenance(actions, "networks/ranker.py"),
    }, indent=2)


def reference_ranker(r: Results, fused: Fusion, folder: Path, actions: Path) -> None:
    """transact.onnx, its card and fixture; raises if ONNX and torch differ."""
    folder.mkdir(parents=True, exist_ok=True)
    path, model = folder / "transact.onnx", fusion.model_of(fused)
    transact.save(model, path)
    parity = fixtures.reference_ranker(r, model)
    run, worst = onnx_models.session(path).run, 0.0
    for q in parity["requests"]:
        length = len(q["actionTypes"])
        slots = max(length, 1)
        items, kinds = np.zeros((1, slots, intent.DIM), np.float32), np.full((1, slots), transact.PADDING, np.int32)
        if length:
            items[0], kinds[0] = np.array(q["itemVectors"], np.float32) / np.float32(127), q["actionTypes"]
        got = run(None, {
            "item_vectors": items, "action_types": kinds, "real": (kinds != transact.PADDING).astype(np.float32),
            "candidates": np.array([q["candidates"]], np.float32) / np.float32(127),
            "context": np.array([q["context"]], np.float32), "base": np.array([q["base"]], np.float32),
        })[0]
        worst = max(worst, float(np.abs(got[0] - np.array(q["scores"])).max()))
    assert worst <= TOLERANCE, worst
    _write(folder / "parity.json.gz", parity)
    b, n, length, heads_ = "B", "N", "L", len(heads.HEADS)
    definitions = [d["name"] for d in _feature_definitions()]
    _write(folder / "card.json", {
        "name": "transact",
        "file": path.name,
        "sha256": sha256(path),
        "itemVectorSpace": SPACE,
        "inputs": [
            {"name": "item_vectors", "type": "float32", "shape": [b, length, intent.DIM],
             "meaning": "of the window's newest actions, newest first: q / 127 under the version active now; zeros where the item has none, and in padding"},
            {"name": "action_types", "type": "int32", "shape": [b, length], "meaning": "0 unknown, else 1 + place in actionTypes; in padding 1 + their number"},
            {"name": "real", "type": "float32", "shape": [b, length], "meaning": "1, in padding 0; L is at least 1, so an empty window is padding"},
            {"name": "candidates", "type": "float32", "shape": [b, n, intent.DIM], "meaning": "q / 127; zeros where the item has none"},
            {"name": "context", "type": "float32", "shape": [b, n, len(definitions)], "meaning": "the features of the ranker's card, not normalised"},
            {"name": "base", "type": "float32", "shape": [b, n, heads_], "meaning": f"the score of ranker/{fusion.BASE}.onnx, for each head"},
        ],
        "outputs": [{"name": "scores", "type": "float32", "shape": [b, n, heads_], "meaning": "a head an outcome; softmax over the request's candidates"}],
        "heads": heads.HEADS,
        "headMeaning": {"click": "the next item outside the window that the user acts on", "save": "the same, of those liked or bookmarked later"},
        "dims": {"L": transact.LENGTH, "D": intent.DIM},
        "actionTypes": ACTION_TYPES,
        "features": definitions,
        "base": {"arm": fusion.BASE, "sha256": sha256(folder.parent / "ranker" / f"{fusion.BASE}.onnx")},
        "model": f"{transact.LAYERS} layers of width {transact.WIDTH}, {transact.ATTENTION_HEADS} heads, each token with the candidate; the first {transact.FIRST} "
                 f"tokens, the maximum over tokens and the context → MLP {transact.MLP}; {transact.EPOCHS} epochs on the last block before the cut; seed {fusion.SEED}",
        "quality": {"what": f"next unseen item among those active in the last {CONFIG.activeDays:g} days, after {CONFIG.cut}, click head; 95% intervals over users",
                    "mrr": fused.arm["mrr"]["mean"], "differences": fused.differences},
        "parity": {"file": "parity.json.gz", "tolerance": TOLERANCE, "worstAtExport": worst},
        **_provenance(actions, "networks/transact.py"),
    }, indent=2)


def write(r: Results, fused: Fusion, models: Path, actions: Path, work: Path) -> None:
    """The models with cards and fixtures; `work` is a folder for what the fixtures need on the way."""
    item_vectors(r, models / "item-vectors", actions)
    long_term(r, models / "long-term", actions)
    intent_model(r, models / "intent", actions, work)
    rankers(r, models / "ranker", actions)
    reference_ranker(r, fused, models / "transact", actions)
    total = sum(p.stat().st_size for p in models.rglob("*") if p.is_file() and "train" not in p.relative_to(models).parts)
    print(f"  wrote {models}: {total / 1e6:.2f} MB", flush=True)
    if total > BYTES_MAX:
        raise ValueError(f"models take {total / 1e6:.2f} MB, more than {BYTES_MAX / 1e6:g}")
