"""One command from a log to models, cards, fixtures and quality: python build.py [--from=STAGE] [--until=STAGE] [--list].

Stages that are done and whose inputs have not changed are skipped. What is built, and from which log: log/config.py.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from log import data, labels, rows
from log.config import CONFIG, ROOT, TRAIN
from log.freshet import Deployment
from running import runner
from running.runner import Stage

WORK = CONFIG.work
TYPESCRIPT = tuple(ROOT / folder for folder in ("src", "state", "topics"))  # the reducer, and all around it


def _log(folder: Path) -> None:
    deployment = Deployment(folder / "deployment")
    deployment.create()
    result = deployment.load(CONFIG.actions_path, CONFIG.load)
    (folder / "actions.sha256").write_text(data.sha256(CONFIG.actions_path))
    print(f"  {result['appended']} actions in the log")


def _labels(folder: Path) -> None:
    actions, count = labels.write(Deployment(WORK / "log" / "deployment").actions(), folder)
    print(f"  {count} labels of {actions} actions")


def _rows(folder: Path) -> None:
    card = Deployment(WORK / "log" / "deployment").backfill(WORK / "labels" / "labels.parquet", folder / "dataset", CONFIG.lagSeconds)
    print(f"  {card['rows']} rows, {card['withoutFeatures']} of them of users nothing was known of")
    try:
        np.save(folder / "starts.npy", data.starts(data.load()))
    except ValueError as error:
        print(f"  {error}")


def _rows_read(folder: Path) -> str:
    """Of what is read of the rows: the shipped model's intents, for one, are not."""
    made, total = rows.read(folder / "dataset"), hashlib.sha256()
    for array in (*(getattr(made, n) for n in ("user", "time", "accepted", "sealed", "newest_arrival", "item_version", "long_term")),
                  *(getattr(made.windows, n) for n in ("offsets", "item", "kind", "time_ms", "surface"))):
        total.update(np.ascontiguousarray(array).tobytes())
    total.update(json.dumps([made.users, made.items]).encode())
    return total.hexdigest()


def _requests(folder: Path) -> None:
    from shipped import pipeline

    (folder / "requests.pkl").write_bytes(pickle.dumps(pipeline.requests(data.load()), pickle.HIGHEST_PROTOCOL))


def _world():
    from shipped import pipeline

    return pipeline.world(data.load(), pickle.loads((WORK / "requests" / "requests.pkl").read_bytes()))


def _item_vectors(folder: Path) -> None:
    (folder / "facts.json").write_text(json.dumps(_world().facts, indent=2) + "\n")


def _train(folder: Path) -> None:
    from shipped import pipeline

    pipeline.train(_world(), folder)


def _evaluate(folder: Path) -> None:
    from shipped import measure

    results = measure.Evaluation(_world(), measure.members(WORK / "train")).run(folder)
    # the world is cheap to build and large to keep
    (folder / "results.pickle").write_bytes(pickle.dumps(replace(results, world=None), pickle.HIGHEST_PROTOCOL))


def _fusion(folder: Path) -> None:
    from shipped import fusion

    (folder / "fusion.pickle").write_bytes(pickle.dumps(fusion.fit(_results()), pickle.HIGHEST_PROTOCOL))


def _fused():
    return pickle.loads((WORK / "fusion" / "fusion.pickle").read_bytes())


def _results():
    return replace(pickle.loads((WORK / "evaluate" / "results.pickle").read_bytes()), world=_world())


def _export(folder: Path) -> None:
    from shipped import export

    export.write(_results(), _fused(), CONFIG.output_path, CONFIG.actions_path, folder)


def _served(folder: Path) -> None:
    """The vectors that `freshet load` makes are of the shipped recipes, so only shipped models can be compared."""
    from shipped import served

    if CONFIG.output_path != ROOT / "models":
        print("  the models are not the shipped ones: not compared")
        return
    r, deployment = _results(), Deployment(folder / "deployment")
    deployment.create()
    deployment.load(CONFIG.actions_path, CONFIG.load)
    served.compare(r.world.log, r.world.raw[""], r.space, r.model, r.recipe, deployment, folder)
    deployment.write_scores(CONFIG.output_path / "intent")


def _report(folder: Path) -> None:
    from shipped import quality_page

    quality_page.write(_results(), _fused(), CONFIG.output_path)


def _py(*names: str) -> tuple[Path, ...]:
    return tuple(TRAIN / f"{name}.py" for name in names)


def stages() -> list[Stage]:
    """In their order. A stage names the sources that it adds to those before it."""
    setting = lambda *names: {name: getattr(CONFIG, name) for name in names}
    arms = ("blocks", "cut", "testTo", "freshness", "seeds")
    return [
        Stage("log", _log, (CONFIG.actions_path, *TYPESCRIPT, *_py("log/freshet")), setting("load", "freshet", "actionTypes")),
        Stage("labels", _labels, _py("log/labels"), setting("lagSeconds", "fixtureMidnights")),
        Stage("rows", _rows, _py("log/rows", "log/data"), setting("lagSeconds", "surfaces"), result=_rows_read),
        Stage("requests", _requests, _py("features/np_features", "evaluation/traps"), setting(
            "activeDays", "touchHalfLivesHours", "actionHalfLivesHours", "saveHalfLivesHours", "saveTypes", "lagSeconds")),
        Stage("item-vectors", _item_vectors, _py("features/vectors"), setting("weights", *arms)),
        Stage("train", _train, _py(
            "networks/intent", "networks/ranker", "networks/listwise", "running/parallel", "shipped/pipeline"), resumes=True),
        Stage("evaluate", _evaluate, _py("evaluation/evaluate", "features/longterm", "shipped/measure"), setting(
            "longTermHalfLivesDays", "longTermSaveWeights", "suspiciousGain"), resumes=True),
        Stage("fusion", _fusion, _py("features/samples", "networks/encoders", "networks/members", "networks/heads", "networks/transact", "shipped/fusion")),
        Stage("export", _export, _py("shipped/export", "shipped/fixtures", "log/planted", "networks/onnx_models", "networks/graphs"), setting(
            "output", "fixtureMidnights")),
        Stage("served", _served, _py("shipped/served")),
        Stage("report", _report, _py("shipped/quality_page")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="first", metavar="STAGE", help="do this stage and all after it again")
    parser.add_argument("--until", dest="last", metavar="STAGE", help="stop after this stage")
    parser.add_argument("--list", action="store_true", help="print the stages and stop")
    given, started = parser.parse_args(), time.monotonic()
    if given.list:
        print("\n".join(stage.name for stage in stages()))
        return
    report = runner.run(stages(), WORK, given.first, given.last)
    took = sum(stage["cpuSeconds"] for stage in report)
    print(f"{CONFIG.name}: done in {(time.monotonic() - started) / 60:.1f} min; all its stages took {took / 60:.1f} min of CPU")


if __name__ == "__main__":
    main()
