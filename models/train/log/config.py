"""What differs from one log to the next: a JSON file, named by the environment variable TRAINING_CONFIG.

Read once, when the first module is imported, so that the constants made of it are constants. The default is the shipped
log's, configs/deskdrop.json. A key that is not known, or missing, is refused.
"""
from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path

TRAIN = Path(__file__).resolve().parents[1]
ROOT = TRAIN.parents[1]  # what relative paths in a configuration start from
DAY = 86_400


def utc(text: str) -> int:
    """Seconds since the epoch of a UTC date such as 2016-11-01, or of an ISO 8601 time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp())


@dataclass(frozen=True)
class Config:
    """docs/models.md says what each key means."""

    name: str
    actions: str
    load: list[str]
    freshet: dict
    actionTypes: list[str]
    surfaces: list[str]
    saveTypes: list[str]
    weights: dict[str, int]
    lagSeconds: int
    blocks: list[str]
    cut: str
    testTo: str
    activeDays: float
    touchHalfLivesHours: list[float]
    actionHalfLivesHours: list[float]
    saveHalfLivesHours: list[float]
    longTermHalfLivesDays: list[float]
    longTermSaveWeights: list[float]
    freshness: dict[str, int]
    suspiciousGain: float
    seeds: list[int]
    fixtureMidnights: list[str]
    output: str | None  # where models, cards and fixtures go; null: nowhere, they stay in the work folder

    @staticmethod
    def read(path: Path) -> "Config":
        """Throws ValueError with the key for what is unknown, missing or contradicts another key."""
        content, known = json.loads(path.read_text()), [f.name for f in fields(Config)]
        for key in [*content, *known]:
            if key not in content or key not in known:
                raise ValueError(f"{path}: {key} is {'missing' if key in known else 'not a known key'}")
        config = Config(**content)
        times = [utc(t) for t in (*config.blocks, config.cut, config.testTo)]
        if times != sorted(set(times)):
            raise ValueError(f"{path}: blocks, cut and testTo are not in order")
        if len(config.blocks) < 2:
            raise ValueError(f"{path}: blocks needs two starts at least: rankers see intents of models that did not train on them")
        if list(config.freshness.values()) != sorted(config.freshness.values(), reverse=True):
            raise ValueError(f"{path}: freshness does not end with the freshest")
        for key in ("saveTypes", "weights"):
            if unknown := set(content[key]) - set(config.actionTypes):
                raise ValueError(f"{path}: {key} names {sorted(unknown)}, not in actionTypes")
        return config

    @property
    def work(self) -> Path:
        """Everything in between: log, rows, arrays, trained members. May be deleted."""
        return Path(os.environ.get("TRAINING_WORK", ROOT / ".freshet" / "training")) / self.name

    @property
    def compared(self) -> Path:
        """What report.py keeps: hours of trainings. No stage may have the name, as a stage that is done again empties its folder."""
        return self.work / "compared"

    @property
    def actions_path(self) -> Path:
        """TRAINING_ACTIONS names another place of the same file, for data that lies outside the repository."""
        return ROOT / os.environ.get("TRAINING_ACTIONS", self.actions)

    @property
    def output_path(self) -> Path:
        return ROOT / self.output if self.output else self.work / "models"


CONFIG = Config.read(Path(os.environ.get("TRAINING_CONFIG", TRAIN / "configs" / "deskdrop.json")))
