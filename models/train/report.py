"""models/REPORT.md, models/report.json and models/plots/ by one command: python report.py [--globo=DIR] [--finished].

Needs the rows that `run.sh --until=rows` makes. Every training and measurement is kept in the work folder, so an interrupted run goes on where it
was; --finished writes the report of what is there and says what is not. Globo's rows come from DIR/results.json.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

from compared import arms, baselines, costs, encoder_arms, transact_arms
from evaluation import report_rows, report_text
from evaluation.report_rows import Rows
from features.np_features import FEATURES
from features.world import world
from log.config import CONFIG
from networks import heads

MODELS = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--globo", type=Path, help="folder with the results.json of the Globo evaluation")
    parser.add_argument("--finished", action="store_true", help="train nothing, report what is there")
    parser.add_argument("--work", type=Path, default=CONFIG.compared, help="where results are kept")
    parser.add_argument("--output", type=Path, default=MODELS, help="where the report goes")
    given = parser.parse_args()

    w = world(given.work)
    last, deployed = arms.members_of(w, given.work, given.finished)
    arms.with_taste(w, last, deployed)
    ranked = arms.ranked(w, given.work, last, deployed, given.finished)
    encoders = encoder_arms.run(w, given.work, deployed, given.finished)
    transacts = transact_arms.run(w, given.work, last, deployed, given.finished)
    print("trained; writing the report", flush=True)

    rows = Rows(w)
    for arm, ranks in {**baselines.ranks(w, deployed), **ranked}.items():
        rows.add(arm, ranks)
    for trained in encoders.values():
        for arm in trained[0].ranks if trained else ():
            rows.add(arm, [t.ranks[arm] for t in trained])
    for arm, trained in transacts.items():
        rows.add(arm, [t.ranks for t in trained])
    for arm, other in report_text.DIFFERENCES:
        rows.difference(arm, other)

    files = given.work / "onnx"
    variance = costs.export(encoders, files)
    measured = costs.bench(files)
    globo = None
    if given.globo:
        globo = json.loads((given.globo / "results.json").read_text())
    cost = costs.table(measured, len(FEATURES) + len(heads.HEADS) + len(arms.ARMS["hybrid"]))
    shipped = report_rows.shipped(json.loads((MODELS / "quality.json").read_text()))
    content = {"rows": rows.rows + shipped + (globo or {}).get("rows", []), "costs": cost + (globo or {}).get("costs", []), "bench": measured}
    (given.output / "report.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    report_text.plots(rows, given.output / "plots")
    (given.output / "REPORT.md").write_text(report_text.markdown(w, rows, cost, measured, variance, globo, baselines.tuned(w)))


if __name__ == "__main__":
    main()
