"""The commands of Freshet that the pipeline calls: the log, its reducer and its rows are never made in Python."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from log.config import CONFIG, ROOT

NODE = os.environ.get("NODE", str(ROOT / "node_modules" / ".bin" / "node"))


class Deployment:
    """An embedded log in a folder of its own, under the configuration's `freshet` keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "freshet.config.json"

    def create(self) -> None:
        """Throws what was in the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        keys = {"actionTypes": CONFIG.actionTypes, **CONFIG.freshet, "dataDir": str(self.folder / "data")}
        self.config.write_text(json.dumps(keys, indent=2) + "\n")

    def load(self, actions: Path, arguments: list[str], daily_vectors: bool = True) -> dict:
        """`freshet load`; with versions of item and user vectors that are activated at each midnight of the log."""
        result = json.loads(self._run("load", str(actions), *arguments, *["--daily-vectors"] * daily_vectors, "--json"))
        if result["rejected"]:
            print(f"  rows that cannot be read: {result['rejected']}, see {result['sideFile']}", flush=True)
        return result

    def actions(self) -> Iterator[dict]:
        """Each record of user-actions that is an action, with partition, offset and timestampMs."""
        with self._open("read", "user-actions", "--limit=1000000000", "--json") as process:
            for line in process.stdout:
                record = json.loads(line)
                if record["key"] is not None and record["value"] is not None and "freshet-control" not in record["headers"]:
                    yield record
        if process.returncode:
            raise RuntimeError(f"freshet read failed with exit code {process.returncode}")

    def backfill(self, labels: Path, out: Path, lag_seconds: int) -> dict:
        """`freshet backfill` of a Parquet file of labels, windows whole. The dataset's card."""
        shutil.rmtree(out, ignore_errors=True)
        card = json.loads(self._run("backfill", str(labels), f"--out={out}", f"--lag={lag_seconds}s" if lag_seconds else "--lag=0", "--whole-window",
                                    "--strict", "--keep=purpose", "--json"))
        gaps = [gap for part in card["log"] for gap in part["gaps"]]
        if gaps:
            raise RuntimeError(f"stretches of the log cannot be read, so rows know less than was servable: {gaps}")
        return card

    def write_scores(self, model: Path) -> None:
        """`freshet model scores --write`: how the model's scores are distributed, into its card."""
        self._run("model", "scores", f"--model={model}", "--write")

    def _arguments(self, *arguments: str) -> list[str]:
        return [NODE, str(ROOT / "bin" / "freshet.js"), *arguments, f"--config={self.config}"]

    def _run(self, *arguments: str) -> str:
        return subprocess.run(self._arguments(*arguments), check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout

    def _open(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(self._arguments(*arguments), stdout=subprocess.PIPE, text=True, cwd=ROOT)
