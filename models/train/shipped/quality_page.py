"""quality.json and QUALITY.md: the tables, and what they say, worded by where the intervals lie."""
from __future__ import annotations

import json
from pathlib import Path

from log.config import CONFIG
from networks.ranker import FRESH, FRESHEST
from shipped.fusion import ARM, BASE, Fusion
from shipped.measure import LEAK_CHECK, Results

ABOUT = {
    "np": "popularity at several half-lives and kinds, age, recency, no-vector flag",
    "np+pool": "+ mean of the window's vectors x item vector",
    "np+longterm": "+ daily long-term vector x item vector",
    "np+intent": "+ intent (click, save) x item vector, in the stream",
    "np+intent@midnight": "+ the same intents, but computed once, at midnight",
    "np+intent@hour": "+ the same intents, but computed once an hour",
    "np+intent@float": "np+intent with item vectors that are not rounded to int8",
    "hybrid": "np+intent and np+longterm",
    LEAK_CHECK: "leak check: every request has a random other user's intent",
    **{f"np+intent{v}": f"np+intent with item vectors of a version made {v.removeprefix('@items-')}" for v in FRESH},
    **{f"{arm}{v}": f"{arm} with item vectors that are {v.removeprefix('@items-')}" for v in FRESHEST
       for arm in ("np+longterm", "np+pool", "hybrid")},
}


def write(r: Results, fused: Fusion, folder: Path) -> None:
    """Both files."""
    quality = {**r.quality, "reference": {**fused.arm, "differences": fused.differences}}
    (folder / "quality.json").write_text(json.dumps(quality, ensure_ascii=False, indent=2) + "\n")
    (folder / "QUALITY.md").write_text(page(quality))


def page(q: dict) -> str:
    shares = q["targetShares"]
    lines = [
        "# Quality", "",
        "Written by `models/train/run.sh`; the numbers are in [quality.json](quality.json).", "",
        f"Next unseen item, {CONFIG.name}, after {q['split']['cut'][:10]}: {q['requests']} requests of {q['users']} users, full ranking of "
        f"{q['candidatesPerRequest']:.0f} candidates on average (active in the last {CONFIG.activeDays:g} days, not in the user's window). "
        "Everything was trained and tuned before that date. Item vectors are daily where the arm does not say otherwise. "
        f"{shares['repeatsOfTheLastItem']:.1%} of actions repeat the user's last item: no request stands there. "
        f"Of all first touches {shares['notAmongCandidates']:.1%} are no request: nobody had touched the item in the days before. "
        f"{shares['withoutVector']:.1%} of the targets have no vector yet"
        + "".join(f", {shares[f'withoutVector{v}']:.1%} with {v.removeprefix('@items-')} ones" for v in FRESH)
        + f"; {shares['userWithoutActions']:.1%} of requests come from users without a past. "
        f"Means of {len(q['seeds'])} seeds; 95 % intervals resample users.", "",
        "| arm | | MRR | Recall@10 | NDCG@10 |", "| --- | --- | --- | --- | --- |",
        *(f"| {a['arm']} | {ABOUT[a['arm']]} | {a['mrr']['mean']:.4f} ({min(a['mrr']['seeds']):.4f}–{max(a['mrr']['seeds']):.4f}) "
          f"| {a['recall10']['mean']:.4f} | {a['ndcg10']['mean']:.4f} |" for a in q["arms"]), "",
        "| difference | MRR | 95 % | relative |", "| --- | --- | --- | --- |",
        *(f"| {d['arm']} | {d['mean']:+.4f} | [{d['low']:+.4f}, {d['high']:+.4f}] | {d['relative']:+.1%} |"
          for d in q["differences"] if d["metric"] == "mrr"), "",
        *_reading(q), "",
    ]
    return "\n".join(lines)


def _reading(q: dict) -> list[str]:
    """One line a question, so that the text cannot outlive the numbers."""

    def verdict(name: str) -> str:
        d = next(d for d in (*q["differences"], *q["reference"]["differences"]) if d["arm"] == name and d["metric"] == "mrr")
        shown = f"{d['mean']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"
        return f"yes, {shown}" if d["low"] > 0 else f"no, it loses: {shown}" if d["high"] < 0 else f"not shown: {shown}"

    joined = q["joinWithoutNp"]["mrr"]
    return [
        "- Does the intent beat the non-personal model? " + verdict("np+intent - np") + ".",
        "- Does the GRU beat a mean of the window's vectors? " + verdict("np+intent - np+pool") + ".",
        "- Does the hybrid beat the long-term vector? " + verdict("hybrid - np+longterm") + ".",
        "- Does the hybrid beat the intent? " + verdict("hybrid - np+intent") + ".",
        "- User freshness: does computing the intent in the stream beat midnight? " + verdict("np+intent - np+intent@midnight")
        + "; and the full hour? " + verdict("np+intent - np+intent@hour") + ".",
        *(f"- Item freshness: do {v.removeprefix('@items-')} item vectors beat daily ones? " + verdict(f"np+intent{v} - np+intent") + "."
          for v in FRESH),
        "- Does rounding item vectors to int8 cost anything? " + verdict("np+intent - np+intent@float") + " for int8.",
        f"- Does the reference ranker ({ARM}, one seed), which reads the window beside each candidate, beat the hybrid below it? "
        + verdict(f"{ARM} - {BASE}") + ".",
        "- Does a stranger's intent help (a leak, if so)? " + verdict(f"{LEAK_CHECK} - np") + ".",
        f"- Dots alone, with no popularity, rank poorly (MRR: intent {joined['realtime']:.3f}, long-term {joined['longTerm']:.3f}, both "
        f"{joined['both']:.3f}): intents are trained as what a user wants beyond what everyone does. Rank with both.",
    ]
