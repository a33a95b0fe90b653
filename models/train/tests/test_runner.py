"""Stages: what is done is not done again, unless something that it depends on has changed."""
from __future__ import annotations

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

import build
from log import config, planted
from running import runner
from running.runner import Stage


class Stages(unittest.TestCase):
    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.work = Path(holder.name) / "work"
        self.source = Path(holder.name) / "source.py"
        self.source.write_text("1")
        self.content = "rows"
        self.ran: list[str] = []

    def stages(self) -> list[Stage]:
        def rows(folder: Path) -> None:
            self.ran.append("rows")
            (folder / "out").write_text(self.content)

        def train(folder: Path) -> None:
            self.ran.append("train")
            if not (folder / "member").exists():
                (folder / "member").write_text("trained")
                raise InterruptedError

        return [
            Stage("rows", rows, (self.source,), result=lambda folder: (folder / "out").read_text()),
            Stage("train", train, (), {"seeds": [0]}, resumes=True),
            Stage("report", lambda folder: self.ran.append("report"), ()),
        ]

    def run_all(self, **options) -> list[str]:
        self.ran = []
        with contextlib.redirect_stdout(io.StringIO()):
            for _ in range(2):
                try:
                    runner.run(self.stages(), self.work, **options)
                    break
                except InterruptedError:
                    self.ran.append("interrupted")
        return self.ran

    def test_are_resumed_and_skipped(self) -> None:
        self.assertEqual(self.run_all(), ["rows", "train", "interrupted", "train", "report"])
        self.assertEqual(self.run_all(), [])

    def test_are_done_again_from_one_on(self) -> None:
        self.run_all()
        self.assertEqual(self.run_all(first="report"), ["report"])
        self.assertEqual(self.run_all(first="rows", last="rows"), ["rows"])

    def test_are_done_again_where_sources_changed_but_not_behind_an_equal_result(self) -> None:
        self.run_all()
        self.source.write_text("2")
        self.assertEqual(self.run_all(), ["rows"])
        self.source.write_text("3")
        self.content = "other rows"
        self.assertEqual(self.run_all(), ["rows", "train", "interrupted", "train", "report"])

    def test_have_names(self) -> None:
        with self.assertRaisesRegex(ValueError, "no stage tarin: there are rows, train, report"):
            runner.run(self.stages(), self.work, "tarin")


class Configuration(unittest.TestCase):
    def read(self, **changes) -> config.Config:
        content = json.loads((config.TRAIN / "configs" / "deskdrop.json").read_text()) | changes
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "c.json"
            path.write_text(json.dumps({k: v for k, v in content.items() if v != "absent"}))
            return config.Config.read(path)

    def test_is_checked(self) -> None:
        self.assertEqual(self.read(name="other").name, "other")
        for changes, message in (
            ({"wieghts": {}}, "wieghts is not a known key"), ({"cut": "absent"}, "cut is missing"),
            ({"cut": "2016-05-01"}, "not in order"), ({"saveTypes": ["buy"]}, "saveTypes names"), ({"blocks": ["2016-04-01"]}, "two starts"),
            ({"freshness": {"continuous": 1, "hourly": 3600}}, "freshest"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                self.read(**changes)

    def test_of_all_that_are_shipped_can_be_read(self) -> None:
        for path in (config.TRAIN / "configs").glob("*.json"):
            self.assertEqual(config.Config.read(path).name, path.stem)


    def test_no_stage_empties_the_report_s_folder(self) -> None:
        for path in (config.CONFIG.compared, config.CONFIG.work):
            self.assertNotIn(path, [config.CONFIG.work / stage.name for stage in build.stages()])


class Planted(unittest.TestCase):
    def test_is_a_function_of_the_records(self) -> None:
        records = [{"userId": "u", "itemId": f"i{n}", "actionType": "like", "eventTimeMs": 1000 * n, "arrivalTimeMs": 1000 * n,
                    "surface": "web"} for n in range(200)]
        plan = planted.plan(records)
        self.assertEqual(plan, planted.plan(records[::-1]))
        self.assertTrue(plan["late"] and plan["undos"])
        altered = planted.apply(records, plan)
        self.assertEqual(len(altered), len(records) + len(plan["undos"]))
        arrivals = [r["arrivalTimeMs"] for r in altered]
        self.assertEqual(arrivals, sorted(arrivals))
        self.assertTrue(all(r["arrivalTimeMs"] >= r["eventTimeMs"] for r in altered))
        self.assertEqual({r["actionType"] for r in plan["undos"]}, {"unlike"})


if __name__ == "__main__":
    unittest.main()
