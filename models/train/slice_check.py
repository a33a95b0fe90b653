"""A slice of the evaluation once more, by other means: numpy and onnxruntime instead of Freshet's code.

    python slice_check.py MODELS < slice.json

MODELS is a folder like models/. The slice holds what a test took from the real log:

- `users`: records in their order of arrival. The window they leave is rebuilt here from the rules in
  docs/architecture.md (order, duplicates, late and future records, sealing), encoded and folded: `hidden`, `counts`.
- `requests`: a window, a long-term vector, candidates with their non-personal features, and the place of the target.
  Intents, products with the item vectors, each arm's scores and the target's rank are computed here.

Prints both as JSON. Item vectors are int8; the model's input is q x scale.
"""
from __future__ import annotations

import bisect
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

DOTS = ("click", "save")


def session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])


class Window:
    """A user's newest actions as the reducer keeps them."""

    def __init__(self, size: int, chunk: int, max_future_ms: int) -> None:
        self.size, self.chunk, self.max_future_ms = size, chunk, max_future_ms
        self.keys: list[tuple[int, bytes, bytes]] = []
        self.surfaces: dict[tuple[int, bytes, bytes], bytes] = {}
        self.edge: tuple[int, bytes, bytes] | None = None
        self.counts = {"accepted": 0, "duplicate": 0, "late": 0, "future": 0}

    def take(self, item: str, kind: str, event_ms: int, surface: str, arrival_ms: int) -> None:
        outcome = self._outcome((event_ms, item.encode(), kind.encode()), surface.encode(), arrival_ms)
        if outcome == "accepted" or self.counts["accepted"]:  # a rejection creates no user
            self.counts[outcome] += 1

    def _outcome(self, key: tuple[int, bytes, bytes], surface: bytes, arrival_ms: int) -> str:
        if key[0] > arrival_ms + self.max_future_ms:
            return "future"
        if self.edge is not None and key <= self.edge:
            return "late"
        if key in self.surfaces:
            self.surfaces[key] = max(self.surfaces[key], surface)
            return "duplicate"
        bisect.insort(self.keys, key)
        self.surfaces[key] = surface
        if len(self.keys) == self.size + self.chunk:
            sealed, self.keys = self.keys[: self.chunk], self.keys[self.chunk :]
            self.edge = sealed[-1]
            for each in sealed:
                del self.surfaces[each]
        return "accepted"

    def actions(self) -> list[tuple[str, str, int, str]]:
        return [(i.decode(), k.decode(), t, self.surfaces[t, i, k].decode()) for t, i, k in self.keys]


class Intent:
    """The intent model, one row a call."""

    def __init__(self, folder: Path) -> None:
        self.card = json.loads((folder / "card.json").read_text())
        self.session = session(folder / self.card["file"])

    def fold(self, actions: list, vectors: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """hidden [H] and intent [O, D] of a window, oldest action first."""
        card, steps = self.card, len(actions)
        width = card["dims"]["D"]
        items, kinds, times, surfaces = zip(*actions)
        place = lambda names, name: names.index(name) + 1 if name in names else 0
        seconds = np.diff(np.array(times)) / 1000
        gaps = [0, *(1 + np.searchsorted(card["gapBoundsSeconds"], seconds, side="right"))]
        feeds = {
            "hidden": np.zeros((1, card["dims"]["H"]), np.float32),
            "item_vectors": np.stack([vectors.get(i, np.zeros(width, np.float32)) for i in items])[:, None],
            "has_vector": np.array([i in vectors for i in items], np.float32)[:, None],
            "action_types": np.array([place(card["actionTypes"], k) for k in kinds], np.int32)[:, None],
            "surfaces": np.array([place(card["surfaces"], s) for s in surfaces], np.int32)[:, None],
            "gaps": np.array(gaps, np.int32)[:, None],
            "lengths": np.array([steps], np.int32),
        }
        hidden, intent = self.session.run(["hidden_out", "intent"], feeds)
        return hidden[0], intent[0]


def rank(scores: np.ndarray, target: int) -> float:
    """From 1; a tie counts half."""
    return float(0.5 + (scores > scores[target]).sum() + 0.5 * (scores == scores[target]).sum())


class Ranker:
    """The arms of the ranker's card."""

    def __init__(self, folder: Path) -> None:
        self.arms = json.loads((folder / "card.json").read_text())["arms"]
        self.sessions = {arm: session(folder / of["file"]) for arm, of in self.arms.items()}

    def scores(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            arm: self.sessions[arm].run(
                ["score"], {"features": np.stack([columns[name] for name in of["features"]], 1).astype(np.float32)}
            )[0]
            for arm, of in self.arms.items()
        }


def request(case: dict, intent: Intent, ranker: Ranker, vectors: dict[str, np.ndarray], np_names: list[str]) -> dict:
    """Each arm's scores of the candidates, and the target's rank."""
    outcomes = intent.card["outcomes"]
    queries = {f"dot_{name}": None for name in DOTS}
    if case["window"]:
        _, found = intent.fold(case["window"], vectors)
        queries = {f"dot_{name}": found[outcomes.index(name)] for name in DOTS}
    queries["dot_longterm"] = None if case["longTerm"] is None else np.array(case["longTerm"], np.float32)
    columns = dict(zip(np_names, np.array(case["npFeatures"]).T))
    for name, query in queries.items():
        dots = [0.0 if query is None or i not in vectors else float(query @ vectors[i]) for i in case["candidates"]]
        columns[name] = np.array(dots)
    scores = ranker.scores(columns)
    return {
        "scores": {arm: each.tolist() for arm, each in scores.items()},
        "rank": {arm: rank(each, case["target"]) for arm, each in scores.items()},
    }


def main() -> None:
    models, given = Path(sys.argv[1]), json.load(sys.stdin)
    vectors = {
        version: {i: np.array(q, np.float32) * np.float32(given["scale"]) for i, q in rows.items()}
        for version, rows in given["vectors"].items()
    }
    intent, ranker = Intent(models / "intent"), Ranker(models / "ranker")
    users = []
    for user in given["users"]:
        window = Window(**given["window"])
        for record in user["records"]:
            window.take(*record)
        hidden, _ = intent.fold(window.actions(), vectors[user["version"]])
        users.append({"hidden": hidden.tolist(), "counts": window.counts})
    requests = [request(r, intent, ranker, vectors[r["version"]], given["npFeatures"]) for r in given["requests"]]
    json.dump({"users": users, "requests": requests}, sys.stdout)


if __name__ == "__main__":
    main()
