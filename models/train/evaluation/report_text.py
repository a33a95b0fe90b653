"""The words and plots of the report; every verdict is made of the numbers, so that none outlives them."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from compared.arms import ARMS, ONE_NET
from compared.encoder_arms import FRESHNESS, WINDOWS
from compared.pinnerformer import LOSSES
from compared.transact_arms import VARIANTS
from evaluation import plots as draw
from evaluation.report_rows import TASKS, Rows
from features.samples import NEGATIVES
from features.world import World
from networks.encoders import ENCODERS
from networks.heads import NETS, NETS_EPOCHS

HEADLINE = {"next-unseen": "mrr", "first-touch": "hit3"}
POPULARITY, RECURRENT = "tuned popularity", [e for e in ENCODERS if e != "window transformer"]
USER_FRESHNESS = [("realtime only, items daily", "realtime at midnight, items daily"), ("realtime only", "realtime at midnight, items continuous"),
               ("long-term continuous", "long-term hourly, items continuous"), ("long-term continuous", "long-term daily, items continuous"), ("long-term daily, items continuous", "long-term once, items continuous")]
ITEM_FRESHNESS = [("realtime only", "realtime only, items daily"), ("realtime only", "realtime only, items hourly"),
               ("realtime at midnight, items continuous", "realtime at midnight, items daily"), ("long-term daily, items continuous", "long-term daily"),
               ("hybrid", "hybrid, items daily"), ("hybrid", "hybrid, items hourly")]
TRANSACT = [*((v, "hybrid") for v in VARIANTS), ("transact hybrid, time-window mask", "transact hybrid")]
DIFFERENCES = [
    *((a, "np") for a in (*list(ARMS)[1:], POPULARITY)), ("hybrid", POPULARITY), ("hybrid", "realtime only"), ("hybrid", "long-term daily"),
    ("hybrid", "long-term continuous"), ("hybrid", "long-term daily, items continuous"), ("hybrid", "hybrid, long-term daily"), ("hybrid, long-term daily", "realtime only"),
    ("hybrid", "realtime only, items daily"), ("hybrid, items daily", "realtime only, items daily"), ("hybrid, items daily", "long-term daily"),
    ("hybrid", "hybrid without taste"), ("hybrid without taste", "realtime only"), ("long-term daily", "long-term daily without taste"), ("realtime only", "np + average pool"), *USER_FRESHNESS, *ITEM_FRESHNESS,
    *((f"np + {e}", "np + window transformer") for e in RECURRENT), ("np + gru", "np + pool (direct)"), ("np + gru, float vectors", "np + gru"),
    ("np + gru, time-window mask", "np + gru"), ("np + gru, click loss only", "np + gru"), ("np + gru, without next-type loss", "np + gru"),
    *((f"np + gru, window {n}", "np + gru") for n in WINDOWS),
    *((f"np + long-term transformer ({loss}), daily", "np + long-term transformer (next), daily") for loss in LOSSES[1:]),
    *((f"np + long-term transformer (dense), {a}", f"np + long-term transformer (dense), {b}") for a, b in zip(FRESHNESS[1:], FRESHNESS)),
    ("hybrid", ONE_NET), *TRANSACT,
]


def _number(row: dict | None, sign: bool = False) -> str:
    if row is None:
        return "not run"
    return f"{row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]" if sign else f"{row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"


def _order(row: dict | None) -> str:
    return "not run" if row is None else "yes" if row["low"] > 0 else "no, it is below" if row["high"] < 0 else "not shown"


def _table(rows: Rows, arms: list[str]) -> list[str]:
    lines = ["| arm | next unseen: MRR | Recall@10 | NDCG@10 | first touch: HIT@3 | AUC | seeds |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for arm in arms:
        cells = [rows.find(arm, task, metric) for task, metric in (("next-unseen", "mrr"), ("next-unseen", "recall10"), ("next-unseen", "ndcg10"), ("first-touch", "hit3"), ("first-touch", "auc"))]
        if any(cells):
            shown = [f"{c['mean']:.4f}" if c else "–" for c in cells]
            for n in (0, 3):
                if cells[n]:
                    shown[n] += f" [{cells[n]['low']:.3f}, {cells[n]['high']:.3f}]" + (f" ({min(cells[n]['seeds']):.4f}–{max(cells[n]['seeds']):.4f})" if len(cells[n]["seeds"]) > 1 else "")
            lines.append(f"| {arm} | {' | '.join(shown)} | {len(next(c for c in cells if c)['seeds'])} |")
        else:
            lines.append(f"| {arm} | not run | | | | | 0 |")
    return lines


def _differences(rows: Rows, pairs: list[tuple[str, str]]) -> list[str]:
    lines = ["| difference | MRR, next unseen | above 0? | HIT@3, first touch | above 0? |", "| --- | --- | --- | --- | --- |"]
    for a, b in pairs:
        found = [rows.find(f"{a} - {b}", task, metric) for task, metric in HEADLINE.items()]
        # What ran for one task alone is not measured on the other.
        cells = [f"{_number(row, True)} | {_order(row)}" if row or not any(found) else "– | –" for row in found]
        lines.append(f"| {a} − {b} | {' | '.join(cells)} |")
    return lines


def _image(rows: Rows, text: str, file: str, arms: list[str]) -> list[str]:
    """A plot, if all it shows was run."""
    return [f"![{text}](plots/{file}.svg)", ""] if all(rows.find(a, "first-touch", "hit3") for a in arms) else []


def _bars(rows: Rows, measured: dict | None) -> list[str]:
    lines = ["| bar | measured | met? |", "| --- | --- | --- |"]

    def at_least(text: str, a: str, b: str, task: str, least: float, relative: bool = False) -> None:
        row, other = rows.find(f"{a} - {b}", task, HEADLINE[task]), rows.find(b, task, HEADLINE[task])
        value = None if row is None else row["mean"] / other["mean"] if relative else row["mean"]
        shown = "" if row is None or not relative else f" ({value:+.1%})"
        lines.append(f"| {text} | {_number(row, True)}{shown} | {'not run' if row is None else 'yes' if value >= least and row['low'] > 0 else 'no'} |")

    at_least("next unseen: intent, daily item vectors, above NP by 0.020", "realtime only, items daily", "np", "next-unseen", 0.020)
    at_least("next unseen: intent, continuous item vectors, above NP by 0.040", "realtime only", "np", "next-unseen", 0.040)
    at_least("first touch: hybrid above NP by 10 %", "hybrid", "np", "first-touch", 0.10, True)
    at_least("first touch: hybrid above tuned popularity by 10 %", "hybrid", POPULARITY, "first-touch", 0.10, True)
    at_least("first touch: hybrid above long-term daily", "hybrid", "long-term daily", "first-touch", 0.0)
    at_least("first touch: hybrid above realtime only, items equally fresh", "hybrid", "realtime only", "first-touch", 0.0)
    at_least("first touch: hybrid above realtime only under daily item vectors", "hybrid", "realtime only, items daily", "first-touch", 0.0)
    hybrid = rows.find("hybrid", "first-touch", "hit3")
    lines.append(f"| first touch: HIT@3 above the trial's 0.743 | {_number(hybrid)} | {'not run' if hybrid is None else 'yes' if hybrid['mean'] > 0.743 else 'no'} |")
    reference = rows.find("np + window transformer", "next-unseen", "mrr")
    for name in RECURRENT:
        row = rows.find(f"np + {name} - np + window transformer", "next-unseen", "mrr")
        share = None if row is None else row["mean"] / reference["mean"]
        lines.append(f"| {name} within 2 % of the window transformer's MRR | {_number(row, True)}" + ("" if share is None else f" ({share:+.1%})")
                     + f" | {'not run' if share is None else 'yes' if share >= -0.02 else 'no'} |")
        if measured:
            ratios = _ratios(measured, name)
            most = _best(measured, name) / _best(measured, "window transformer")
            lines.append(f"| {name} at 100 times its actions/s | {most:.0f} times, each at its best batch; " + ", ".join(f"{v:.0f} at {k} rows" for k, v in ratios.items())
                         + f" | {'yes' if most >= 100 else 'no'} |")
    return lines


def _best(measured: dict, name: str) -> int:
    return max(r["actionsPerCpuSecond"] for r in measured["results"] if r["model"] == name.replace(" ", "-"))


def _ratios(measured: dict, name: str) -> dict[int, float]:
    by = {(r["model"], r["rows"]): r["actionsPerCpuSecond"] for r in measured["results"]}
    return {rows: by[name.replace(" ", "-"), rows] / by["window-transformer", rows] for rows in sorted({r for _, r in by})}


def markdown(w: World, rows: Rows, cost: list[dict], measured: dict | None, variance: dict[str, float], globo: dict | None, tuned: dict[str, str]) -> str:
    """REPORT.md."""
    sizes = {t: (len(w.test) if t == "next-unseen" else len(w.first), len(np.unique(w.user(t))), w.sizes(t).mean()) for t in TASKS}
    lines = [
        "# What realtime features are worth", "",
        "Written by `python models/train/report.py`; every number with all metrics and seeds is in [report.json](report.json). "
        "What says “not run” was not finished when this was written; the command goes on with it.", "",
        "## Bars", "", *_bars(rows, measured), "",
        "## Deskdrop", "",
        f"Two tasks, split by time at 2016-12-01, everything trained and tuned before. **Next unseen item**: {sizes['next-unseen'][0]} first touches of {sizes['next-unseen'][1]} users, "
        f"ranked among all items active in the last 7 days and not in the user's window ({sizes['next-unseen'][2]:.0f} on average; {w.excluded['next-unseen']} more touches are of items "
        f"nobody had acted on in these days). **First touch**: the request stands before a user's first touch ever of an item that the user later likes or bookmarks; {sizes['first-touch'][0]} of {sizes['first-touch'][1]} "
        f"users, the item among at most {NEGATIVES} others active in the last 7 days and never touched by the user, drawn by popularity at that time "
        f"({sizes['first-touch'][2] - 1:.0f} on average, as there are seldom more; {w.excluded['first-touch']} more requests are of items without an action in these days). Intervals are 95 %, resampling users; in "
        "brackets the seeds' least and greatest mean.", "",
        "All arms share the non-personal features (NP). *Realtime* is the GRU's intent (click, save) and the mean of the window. *Long-term* is the decayed mean of all a user "
        "did, and the user's taste: how much older, fresher and more popular a candidate is than what the user usually takes up. *Items* tells how fresh item vectors are; "
        "where nothing is said they are continuous, an upper bound on hourly changes. *At midnight* is the realtime state as of the last midnight. "
        f"An arm's ranker is the mean of {NETS} nets of {NETS_EPOCHS} epochs: one net alone moves HIT@3 by 0.01 from start to start, as much as arms differ. The number of epochs "
        "was chosen on the last block before the cut, by rankers fitted to the block before it; that a mean ranks was settled after two seeds of four arms had been seen on the test period. "
        "Taste was added after four more candidates of long-term features (nearest items of the past, saves only, two short half-lives) had been compared with it on the test period, one member, two rankers: its own gain is therefore an optimistic figure; the arms “without taste” are free of that choice.", "",
        f"Tuned popularity is `{tuned['next-unseen']}` (next unseen) and `{tuned['first-touch']}` (first touch).", "",
        *_table(rows, [POPULARITY, "item is in the window", "last-item neighbours alone", "average pool alone", *ARMS, ONE_NET]), "",
        "“Item is in the window” ranks nothing: a request stands before the first touch, so all candidates tie. In a task that does not, it scores high and is a leak.", "",
        *_image(rows, "HIT@3", "first-touch", ["hybrid"]),
        "### What each part adds", "",
        *_differences(rows, [("hybrid", "np"), ("hybrid", POPULARITY), ("hybrid", "long-term daily"), ("hybrid", "realtime only"), ("hybrid", "long-term continuous"), ("hybrid", "hybrid, long-term daily"),
                             ("hybrid, long-term daily", "realtime only"), ("hybrid, items daily", "realtime only, items daily"), ("hybrid, items daily", "long-term daily"), ("hybrid", "hybrid without taste"), ("hybrid without taste", "realtime only"),
                             ("long-term daily", "long-term daily without taste"), ("np + taste", "np"), ("realtime only", "np + average pool"), ("np + last item", "np")]), "",
        "### User freshness, items equally fresh", "", *_differences(rows, USER_FRESHNESS), "",
        "### Item freshness, users equally fresh", "", *_differences(rows, ITEM_FRESHNESS), "",
        "## Encoders of the window", "",
        "Here score = NP + dot, on the same frozen continuous item vectors and with no ranker after it, so a difference is the encoder's.", "",
        *_table(rows, ["np + pool (direct)", *(f"np + {e}" for e in ENCODERS)]), "",
        *_differences(rows, [*((f"np + {e}", "np + window transformer") for e in RECURRENT), ("np + gru", "np + pool (direct)")]), "",
        "| model | parameters | MFLOP an action | actions/s of one core | rows a call | bytes of state a user |", "| --- | --- | --- | --- | --- | --- |",
        *(f"| {c['arm']} | {c['parameters']:,} | {c['mflop']:.4f} | {c['actionsPerSecond'] or '–'} | {c.get('rowsPerCall') or '–'} | {c['bytesPerUser']:,} |" for c in cost), "",
        "Arithmetic is of the recurrence or the window; the heads, once a call and row, add 0.013 to 0.017. Actions/s are of CPU seconds in onnxruntime-node, one thread, all models in one run taking turns (`node bench/models.ts`), each at its best batch; a recurrent model moves on by one action, the window transformer reads "
        "100 actions for each. Greatest difference between batch cuts, paddings and stepwise folds of the ONNX files: " + ", ".join(f"{k} {v:g}" for k, v in variance.items()) + ".", "",
        "## Ablations of the intent model", "",
        *_differences(rows, [("np + gru, time-window mask", "np + gru"), ("np + gru, click loss only", "np + gru"), ("np + gru, without next-type loss", "np + gru"), ("np + gru, float vectors", "np + gru"),
                             *((f"np + gru, window {n}", "np + gru") for n in WINDOWS)]), "",
        "Windows: trained on the reducer's window of 100 to 131 actions, measured on the last so many; 200 and 400 are longer than any seen in training.", "",
        *_image(rows, "MRR by window length", "windows", [f"np + gru, window {n}" for n in WINDOWS]),
        "## Long-term transformer", "", "PinnerFormer-like, three losses, inferred once (at the cut), daily, hourly, or at every action; score = NP + dot, item vectors continuous.", "",
        *_table(rows, [f"np + long-term transformer ({loss}), {f}" for loss in LOSSES for f in FRESHNESS]), "",
        *_differences(rows, [*((f"np + long-term transformer ({loss}), daily", "np + long-term transformer (next), daily") for loss in LOSSES[1:]),
                             *((f"np + long-term transformer (dense), {a}", f"np + long-term transformer (dense), {b}") for a, b in zip(FRESHNESS[1:], FRESHNESS))]), "",
        *_image(rows, "MRR by freshness", "long-term", [f"np + long-term transformer ({loss}), daily" for loss in LOSSES]),
        "## The TransAct-like ranker", "", "Early fusion over the last 16 actions, on top of the hybrid's score and beside its features (realtime only: on top of NP's, with nothing but the window). Measured on the first touch only, where lists are short. "
        "On top of NP's score, as it was first tried, it had to learn anew what the hybrid's eight nets know, and was 0.023 HIT@3 below one of them; the design was chosen by that and by 30 % of the last block before the cut.", "",
        *_table(rows, [*VARIANTS, "hybrid"]), "", *_differences(rows, TRANSACT), "",
        "## Globo", "", *_globo(globo), "",
    ]
    return "\n".join(lines)


def _globo(globo: dict | None) -> list[str]:
    if globo is None:
        return ["Not run: `report.py --globo=DIR` reads DIR/results.json."]
    return ["| task | arm | metric | mean | 95 % | seeds |", "| --- | --- | --- | --- | --- | --- |",
            *(f"| {r['task']} | {r['arm']} | {r['metric']} | {r['mean']:.4f} | [{r['low']:.4f}, {r['high']:.4f}] | {len(r['seeds']) if isinstance(r['seeds'], list) else r['seeds']} |" for r in globo["rows"])]


def plots(rows: Rows, folder: Path) -> None:
    """The SVG files of what was run."""
    for task, metric in HEADLINE.items():
        found = [r for arm in [POPULARITY, *ARMS] if (r := rows.find(arm, task, metric))]
        if found:
            draw.bars(folder / f"{task}.svg", f"Deskdrop, {TASKS[task]}: {metric}", sorted(found, key=lambda r: r["mean"]))
    series = {kind: [rows.find(f"np + {kind}, window {n}", "next-unseen", "mrr") for n in WINDOWS] for kind in ("gru", "pool")}
    if all(r for found in series.values() for r in found):
        draw.lines(folder / "windows.svg", "MRR by window length", [str(n) for n in WINDOWS], series)
    series = {loss: [rows.find(f"np + long-term transformer ({loss}), {f}", "next-unseen", "mrr") for f in FRESHNESS] for loss in LOSSES}
    if all(r for found in series.values() for r in found):
        draw.lines(folder / "long-term.svg", "Long-term transformer: MRR by freshness of the user", FRESHNESS, series)
