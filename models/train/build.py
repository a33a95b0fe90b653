"""Builds everything under models/ from data/deskdrop/actions.csv.gz: python build.py."""
from __future__ import annotations

import time
from pathlib import Path

import data
import export
import pipeline

MODELS = Path(__file__).resolve().parents[1]
ACTIONS = MODELS.parent / "data" / "deskdrop" / "actions.csv.gz"

if __name__ == "__main__":
    started = time.monotonic()
    export.write(pipeline.run(data.load(ACTIONS)), MODELS, ACTIONS)
    print(f"done in {(time.monotonic() - started) / 60:.1f} min")
