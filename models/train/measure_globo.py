"""The evaluation on Globo G1: python measure_globo.py --globo=DIR --out=FILE [--work=DIR] [--seeds=3].

Stages write to the work folder and are left out where their result is there already: delete the folder to start anew.
The data may be used for research only: nothing that is written may be committed but the numbers of FILE.
"""
from __future__ import annotations

import argparse
import json
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

import globo.baselines
import globo.rank
import globo.report
from globo.context import NONE, contexts, schedule
from globo.data import ClickLog, Requests, load, requests
from globo.features import CANDIDATES, CONTEXT, FEATURES, Answers, answer
from globo.stream import COUNTS

MODEL = "in-stream model"
PERSONAL = [f for f in FEATURES if f.startswith(("history", "recent_user", "read_before"))]


EVERY = 8  # the comparison of freshness answers every EVERY-th user; all users' clicks count


@dataclass(frozen=True)
class Arm:
    """A ranker: how fresh items and users are, of each n-th user, and the features it goes without."""

    name: str
    items: str = "windows"
    user: str = "stream"
    every: int = 1
    without: tuple[str, ...] = ()

    def chosen(self, asked: Requests) -> np.ndarray:
        """bool [S]: the requests that it answers and learns from."""
        return asked.user % self.every == 0


HISTORY = tuple(f for f in (*FEATURES, *CONTEXT) if f.startswith(("history", "recent_user", "read_before", "support_history")))
MODEL = Arm("in-stream model")
SESSION_ONLY = Arm("in-stream model, session only", without=HISTORY)
PAST_HOURS = Arm("items of past windows, user in-stream", every=EVERY)
FRESH, HOURLY, DAILY = (Arm(f"items in-stream, user {label}", "stream", user, EVERY)
                        for user, label in (("stream", "in-stream"), ("hourly", "hourly"), ("daily", "daily")))
STRICT = Arm("items hourly, user in-stream", "hourly", "stream", EVERY)
ARMS = [MODEL, FRESH, HOURLY, DAILY, PAST_HOURS, STRICT, SESSION_ONLY]
DIFFERENCES = [(FRESH, HOURLY), (FRESH, DAILY), (HOURLY, DAILY), (FRESH, STRICT), (PAST_HOURS, STRICT), (FRESH, PAST_HOURS)]
POPULARITY, CO_VISITATION = "recent popularity", "decayed co-visitation"
TUNED = "popularity, half-life tuned"
PUBLISHED_FIGURES = [  # Transformers4Rec, RecSys 2021, Table 2, "G1 news": hr20, ndcg20
    {"arm": arm, "hr20": hr, "ndcg20": ndcg} for arm, hr, ndcg in (
        ("V-SkNN", 0.6601, 0.3511), ("STAN", 0.6681, 0.3570), ("VSTAN", 0.6668, 0.3586), ("GRU4Rec, sliding window", 0.5183, 0.2666),
        ("GRU (CLM)", 0.6632, 0.3549), ("GPT-2 (CLM)", 0.6620, 0.3560), ("XLNet (RTD), item id only", 0.6611, 0.3609),
        ("XLNet (MLM), side features and SOHE", 0.6721, 0.3675))
]


class Work:
    """The folder of intermediate results."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        """Progress, with minutes since the start and CPU minutes."""
        print(f"{(time.monotonic() - self.started) / 60:5.1f} min, CPU {time.process_time() / 60:5.1f}: {text}", flush=True)

    def kept(self, name: str, make: Callable):
        """The pickled result of a stage, made at most once."""
        path = self.folder / f"{name}.pkl"
        if not path.exists():
            self.say(name)
            began = time.process_time()
            result = make()
            partial = path.with_suffix(".partial")
            partial.write_bytes(pickle.dumps((result, time.process_time() - began)))
            partial.rename(path)
        return pickle.loads(path.read_bytes())

    def share(self, name: str) -> Callable[[float], None]:
        """Prints each tenth of a stage."""
        done = [0]

        def progress(share: float) -> None:
            if int(share * 10) > done[0]:
                done[0] = int(share * 10)
                self.say(f"{name} {done[0] * 10} %")

        return progress


def passed(work: Work, log: ClickLog, asked: Requests, arm: Arm) -> Answers:
    """Candidates and features of an arm, memory-mapped; one pass over the log makes them for all users' freshnesses."""
    shapes = {"candidate": (np.int32, (CANDIDATES,)), "features": (np.float16, (CANDIDATES, len(FEATURES))),
              "context": (np.float16, (len(CONTEXT),))}
    path = lambda user, column: work.folder / f"{arm.items}-{user}-{column}.npy"

    def make() -> None:
        users, plan, alike = [], schedule(log, asked, arm.items), [a for a in ARMS if a.items == arm.items]
        never = asked.user % min(a.every for a in alike) != 0  # asked in a tick that never comes
        plan = replace(plan, request=np.where(never, len(plan.time), plan.request))
        for user in dict.fromkeys(a.user for a in alike):
            out = Answers(**{c: open_memmap(path(user, c), "w+", kind, (len(asked.target), *shape))
                             for c, (kind, shape) in shapes.items()})
            out.candidate[:] = NONE
            users.append((contexts(log, asked, user), out))
        answer(log, asked, plan, users, work.share(f"items {arm.items}"))

    work.kept(f"items-{arm.items}", make)
    return Answers(**{c: np.load(path(arm.user, c), mmap_mode="r") for c in shapes})


def _file(arm: Arm, seed: int) -> str:
    return f"{arm.name}, seed {seed}".replace(", ", "-").replace(" ", "-")


def ranked(work: Work, log: ClickLog, asked: Requests, arm: Arm, seed: int) -> tuple[np.ndarray, globo.rank.Ranker]:
    """Ranks [S] and the model at the log's end."""
    inputs = globo.rank.Inputs(*([n for n, f in enumerate(names) if f not in arm.without] for names in (FEATURES, CONTEXT)))
    name = f"{arm.name}, seed {seed}"
    last = int(asked.window.max())
    answers = passed(work, log, asked, arm)  # outside: its time is its own stage's
    make = lambda: globo.rank.run(answers, asked, arm.chosen(asked), inputs, seed,
                                  lambda window, progress=work.share(name): progress(window / last))
    return work.kept(_file(arm, seed), make)[0]


def baselines(work: Work, log: ClickLog, asked: Requests) -> dict[str, np.ndarray]:
    """Ranks [S] an arm; of each kind the half-life that is best on the validation half."""
    user = contexts(log, asked, MODEL.user)
    counted = work.kept("baselines", lambda: globo.baselines.counted(
        log, asked, user, schedule(log, asked, MODEL.items), work.share("baselines")))[0]

    def best(kinds: list[tuple[str, float]]) -> np.ndarray:
        names = [f"{k} {h:g} h" for k, h in kinds]
        value = lambda n: globo.report.interval(globo.report.METRICS["ndcg20"](counted[n]), asked, ~asked.test)[0]
        chosen = max(names, key=value)
        work.say(f"best on the validation half: {chosen}, NDCG@20 {value(chosen):.4f}")
        return counted[chosen]

    return {
        POPULARITY: globo.baselines.recent(log, asked, user),
        f"{POPULARITY}, session's items kept": globo.baselines.recent(log, asked, None),
        TUNED: best(COUNTS),
        CO_VISITATION: best(globo.baselines.CO_VISITATION),
    }


def report(work: Work, log: ClickLog, asked: Requests, ranks: dict[str, list[np.ndarray]], model: globo.rank.Ranker | None) -> dict:
    """What is written."""
    of = {group: {a.name for a in ARMS if a.every == group} for group in (1, EVERY)}
    compared = [(MODEL.name, other) for other in (POPULARITY, CO_VISITATION, SESSION_ONLY.name)]
    rows = globo.report.rows({a: r for a, r in ranks.items() if a not in of[EVERY]}, compared, asked, asked.test)
    rows += globo.report.rows({a: r for a, r in ranks.items() if a in of[EVERY]}, [(a.name, b.name) for a, b in DIFFERENCES],
                              asked, asked.test & FRESH.chosen(asked))
    costs = []
    if model is not None:
        parameters = sum(p.numel() for p in model.parameters())
        weights = sum(p.numel() for p in model.parameters() if p.dim() == 2)
        seconds = sum(work.kept(stage, lambda: None)[1] for stage in (f"items-{MODEL.items}", _file(MODEL, 0)))
        costs.append({"arm": MODEL.name, "parameters": parameters, "mflop": round(2 * weights * CANDIDATES / 1e6, 3),
                      "actionsPerSecond": round(len(log.item) / seconds),
                      "note": "MFLOP of ranking one request's 64 candidates; actions/s of one core, each action counted, "
                              "each session's request answered and learnt from"})
    return {"rows": rows, "costs": costs, "published": PUBLISHED_FIGURES, "requests": int(asked.test.sum()),
            "windows": int(len(np.unique(asked.window[asked.window > 0])))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--globo", type=Path, required=True, help="folder of clicks.tar.xz or clicks_hour_*.csv")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    parser.add_argument("--work", type=Path, help="intermediate results, 15 GB; default: beside --out")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = Work(options.work or options.out.with_suffix(".work"))
    log = work.kept("log", lambda: load(options.globo))[0]
    asked = requests(log)
    work.say(f"{len(log.item)} clicks, {len(log.user)} sessions, {len(np.unique(log.user))} users")
    ranks: dict[str, list[np.ndarray]] = {name: [r] for name, r in baselines(work, log, asked).items()}
    model = None

    def write() -> None:
        result = report(work, log, asked, ranks, model)
        partial = options.out.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=2) + "\n")
        partial.replace(options.out)
        for row in result["rows"]:
            work.say(f"{row['arm']}: {row['metric']} {row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]")

    for seed in range(options.seeds):
        for arm in ARMS:
            made = not (work.folder / f"{_file(arm, seed)}.pkl").exists()
            found, last = ranked(work, log, asked, arm, seed)
            ranks.setdefault(arm.name, []).append(found)
            model = last if arm is MODEL and seed == 0 else model
            if made:
                write()
    write()
    work.say("done")


if __name__ == "__main__":
    main()
