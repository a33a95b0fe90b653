"""Rows of backfill as the log: what the reducer holds, without a reducer."""
from __future__ import annotations

import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from log import data, labels, rows
from tests.small import START, log_of, rows_of


class ReadRows(unittest.TestCase):
    def read(self, records: list[dict]) -> rows.Rows:
        lists = {f"engagement_{n}": pa.list_(t) for n, t in (
            ("itemIds", pa.string()), ("actionTypes", pa.string()), ("eventTimesMs", pa.int64()), ("surfaces", pa.string()))}
        types = {"userId": pa.string(), "labelTimeMs": pa.int64(), "accepted": pa.int64(), "newestArrivalTimeMs": pa.int64(),
                 "itemVersion": pa.string(), "longTermAsOfMs": pa.int64(), "engagement_sealed": pa.int64(), **lists}
        table = pa.table({n: pa.array([r.get(n) for r in records], t) for n, t in types.items()})
        with tempfile.TemporaryDirectory() as folder:
            pq.write_table(table.slice(0, 2), f"{folder}/part-00000.parquet")
            pq.write_table(table.slice(2), f"{folder}/part-00001.parquet")
            return rows.read(Path(folder))

    def test_windows_are_oldest_first_and_moments_are_one_row(self) -> None:
        known = {"userId": "b", "labelTimeMs": 9_000, "accepted": 5, "newestArrivalTimeMs": 8_500, "itemVersion": "1970-01-01",
                 "longTermAsOfMs": 0, "engagement_sealed": 2, "engagement_itemIds": ["y", "x", "y"],
                 "engagement_actionTypes": ["like", "view", "other"], "engagement_eventTimesMs": [8_000, 7_000, 6_000],
                 "engagement_surfaces": ["web", "", "ios"]}
        found = self.read([known, {"userId": "a", "labelTimeMs": 4_000}, known | {"labelTimeMs": 9_000}, {"userId": "b", "labelTimeMs": 1_000}])
        self.assertEqual(found.users, ["a", "b"])
        self.assertEqual(list(zip(found.user, found.time)), [(0, 4), (1, 1), (1, 9)])
        self.assertEqual([found.items[i] for i in found.windows.item[found.window(2)]], ["y", "x", "y"])
        self.assertEqual(found.windows.time_ms.tolist(), [6_000, 7_000, 8_000])
        self.assertEqual(found.windows.kind.tolist(), [0, 1, 2])
        self.assertEqual(found.windows.surface.tolist(), [3, 0, 1])
        self.assertEqual(found.accepted.tolist(), [0, 0, 5])
        self.assertEqual(found.sealed.tolist(), [0, 0, 2])
        self.assertEqual(found.newest_arrival.tolist(), [rows.NONE, rows.NONE, 8])
        self.assertEqual(found.item_version.tolist(), [rows.NONE, rows.NONE, 0])
        with self.assertRaisesRegex(KeyError, "1 of 2"):
            found.find(np.array([0, 1]), np.array([4, 5]))


class TheLog(unittest.TestCase):
    def test_is_what_the_windows_show(self) -> None:
        log = log_of([("b", "x", 5), ("a", "x", 7), ("b", "y", 5), ("b", "x", 9)])
        self.assertEqual([log.users[u] for u in log.user], ["a", "b", "b", "b"])
        self.assertEqual([log.items[i] for i in log.item], ["x", "x", "y", "x"])
        self.assertEqual(log.bounds.tolist(), [0, 1, 4])
        self.assertTrue(log.intact.all())

    def test_reaches_back_to_what_has_left_the_window(self) -> None:
        made = rows_of([("a", f"i{n}", 10 * n) for n in range(6)])
        keep = np.diff(made.windows.offsets) - np.maximum(np.diff(made.windows.offsets) - 3, 0)
        chosen = np.concatenate([np.arange(b - k, b) for b, k in zip(made.windows.offsets[1:], keep)]).astype(int)
        short = replace(made, sealed=made.accepted - keep, windows=replace(
            made.windows, offsets=np.r_[0, np.cumsum(keep)],
            **{n: getattr(made.windows, n)[chosen] for n in ("item", "kind", "time_ms", "surface")}))
        arrivals = {"user": np.zeros(6, int), "item": np.arange(6), "kind": np.ones(6, int),
                    "time_ms": 1000 * (START + 10 * np.arange(6)), "arrival": START + 10 * np.arange(6)}
        log = data.of_rows(short, arrivals)
        self.assertEqual(log.item.tolist(), [0, 1, 2, 3, 4, 5])
        self.assertEqual(data.starts(log).tolist(), [0, 0, 0, 0, 1, 2, 3])
        last = 3 * (short.accepted == 6)
        gap = replace(short, sealed=short.sealed + last, accepted=short.accepted + last)
        with self.assertRaisesRegex(ValueError, "in no row's window"):
            data.of_rows(gap, arrivals)

    def test_knows_which_windows_a_later_arrival_has_changed(self) -> None:
        log = log_of([("a", "x", 10), ("a", "late", 15), ("a", "y", 20), ("a", "z", 30)], [10, 25, 20, 30])
        self.assertEqual([log.items[i] for i in log.item], ["x", "late", "y", "z"])
        self.assertEqual((log.arrival - START).tolist(), [10, 25, 20, 30])
        at = log.rows.find(np.zeros(4, int), START + np.array([10, 15, 20, 30]))
        self.assertEqual(log.intact[at].tolist(), [True, True, True, True])
        end = log_of([("a", "x", 10), ("a", "late", 5), ("a", "z", 30)], [10, 12, 30])
        self.assertEqual(end.intact[end.rows.find(np.zeros(2, int), START + np.array([10, 30]))].tolist(), [True, True])
        changed = log_of([("a", "x", 10), ("a", "late", 5), ("a", "z", 11)], [10, 12, 11])
        self.assertEqual(changed.intact[changed.rows.find(np.zeros(1, int), START + np.array([11]))].tolist(), [False])

    def test_dates_an_action_by_the_first_of_its_records(self) -> None:
        made = rows_of([("a", "x", 10), ("a", "y", 20)])
        twice = {"user": np.array([0, 0, 0]), "item": np.array([0, 1, 0]), "kind": np.ones(3, int),
                 "time_ms": 1000 * (START + np.array([10, 20, 10])), "arrival": START + np.array([14, 20, 12])}
        self.assertEqual((data.of_rows(made, twice).arrival - START).tolist(), [12, 20])
        with self.assertRaisesRegex(ValueError, "not in the log"):
            data.of_rows(made, {k: v[:1] for k, v in twice.items()})


class Labels(unittest.TestCase):
    def test_stand_at_each_action_its_hour_and_midnight_and_behind_the_end(self) -> None:
        record = lambda user, ms: {"timestampMs": ms, "value": {
            "userId": user, "itemId": "x", "actionType": "view", "eventTimeMs": ms, "surface": None}}
        actions = labels.actions_table([record("a", 90_000_500), record("b", 3_700_000)])
        made = labels.labels_table(actions, [50]).to_pylist()
        of = lambda purpose: {(r["userId"], r["time"]) for r in made if r["purpose"] == purpose}
        self.assertEqual(of("touch"), {("a", 90_000_000), ("b", 3_700_000)})
        self.assertEqual(of("hour"), {("a", 90_000_000), ("b", 3_600_000)})
        self.assertEqual(of("midnight"), {("a", 86_400_000), ("b", 0)})
        self.assertEqual(of("fixture"), {("a", 50_000), ("b", 50_000)})
        self.assertEqual(of("end"), {("a", 90_001_000), ("b", 90_001_000)})


if __name__ == "__main__":
    unittest.main()
