"""The rules of globo/data.py and globo/features.py that keep a session's end out of sight."""
from __future__ import annotations

import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import globo.baselines
import globo.context
import globo.data
import globo.features
import globo.rank
import globo.report
import globo.stream
from globo.data import HOUR, ClickLog

START = 1_506_825_423_000
SMALL_SLOTS = 256


def frame(seed: int, sessions: int = 240, windows: int = 4) -> pd.DataFrame:
    """Sessions of 2 to 6 clicks; a few items are popular; some users come again."""
    random, parts = np.random.default_rng(seed), []
    for n in range(sessions):
        window = n * windows // sessions
        start = START + window * HOUR + int(random.integers(0, HOUR))
        size = int(random.integers(2, 7))
        time = start + np.cumsum(random.integers(5_000, 500_000, size))
        time[-1] = time[-2] + globo.data.STAMP
        parts.append(pd.DataFrame({
            "user_id": int(random.integers(0, 80)), "session_id": START * 1_000 + n, "session_start": start,
            "click_article_id": random.choice(80, size, replace=False, p=np.arange(1, 81) / 3_240), "click_timestamp": time,
            "click_environment": 4, "click_deviceGroup": random.integers(1, 4), "click_os": 17, "click_country": 1,
            "click_region": random.integers(1, 29), "click_referrer_type": random.integers(1, 8, size), "window": window,
            "session_size": size}))
    parts[0]["session_start"] = START
    return pd.concat(parts)


def features(log: ClickLog, items: str = "windows", user: str = "stream") -> globo.features.Answers:
    asked = globo.data.requests(log)
    n, f, g = len(asked.target), len(globo.features.FEATURES), len(globo.features.CONTEXT)
    out = globo.features.Answers(np.full((n, globo.features.CANDIDATES), -1, np.int32),
                                 np.zeros((n, globo.features.CANDIDATES, f), np.float16), np.zeros((n, g), np.float16))
    globo.features.answer(log, asked, globo.context.schedule(log, asked, items), [(globo.context.contexts(log, asked, user), out)])
    return out


def same(a: globo.features.Answers, b: globo.features.Answers, rows: np.ndarray | slice = slice(None)) -> bool:
    return all((getattr(a, k)[rows] == getattr(b, k)[rows]).all() for k in ("candidate", "features", "context"))


class Globo(unittest.TestCase):
    def setUp(self) -> None:
        self.slots = {m: m.SLOTS for m in (globo.stream, globo.features, globo.baselines)}
        for module in self.slots:  # dense matrices of the real size take half a second each
            module.SLOTS = SMALL_SLOTS
        self.frame = frame(1)
        self.log = globo.data.from_frame(self.frame)
        self.asked = globo.data.requests(self.log)

    def tearDown(self) -> None:
        for module, slots in self.slots.items():
            module.SLOTS = slots

    def test_log_needs_imputed_last_clicks(self) -> None:
        other = self.frame.copy()
        other.iloc[-1, other.columns.get_loc("click_timestamp")] += 1
        with self.assertRaisesRegex(ValueError, "30 s"):
            globo.data.from_frame(other)

    def test_session_size_is_not_read(self) -> None:
        self.assertNotIn("session_size", globo.data.COLUMNS)
        same_log = globo.data.from_frame(self.frame.assign(session_size=99))
        self.assertTrue(all((getattr(self.log, k) == getattr(same_log, k)).all() for k in self.log.__dict__))

    def test_order_of_rows_and_empty_files_do_not_matter(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            for window in range(5):
                part = self.frame[self.frame.window == window].sample(frac=1, random_state=3).drop(columns="window")
                part.to_csv(Path(name) / f"clicks_hour_{window:03d}.csv", index=False)
            read = globo.data.load(Path(name))
        self.assertTrue(all((getattr(self.log, k) == getattr(read, k)).all() for k in self.log.__dict__))

    def test_lengths_of_the_protocol(self) -> None:
        long = frame(2, 2)
        long = pd.concat([long.iloc[[0] * 20].assign(click_article_id=np.arange(20), click_timestamp=START + np.arange(20)), long.tail(1)])
        long.iloc[-1, long.columns.get_loc("click_timestamp")] = START + 19 + globo.data.STAMP
        log = globo.data.from_frame(pd.concat([self.frame, long.assign(session_id=5, window=3)]))
        self.assertEqual(len(log.user), len(self.log.user))

    def test_features_do_not_see_targets(self) -> None:
        """Other items, times, referrers of the last window's last clicks change nothing at all."""
        before = features(self.log)
        at = self.log.first[1:][self.log.window == 3] - 1
        item, time, segment = self.log.item.copy(), self.log.time.copy(), self.log.segment.copy()
        item[at], time[at], segment[at] = (item[at] + 1) % 70, time[at] + 3_456_789, 1
        times = np.bincount(self.asked.user[self.asked.window == 3], minlength=self.asked.user.max() + 1)[self.asked.user]
        rows = np.where(self.asked.window == 3, times == 1, times == 0)  # at another request, a first end is known history
        self.assertGreater(rows[self.asked.window == 3].sum(), 20)
        self.assertTrue(same(before, features(replace(self.log, item=item, time=time, segment=segment)), rows))
        item = self.log.item.copy()
        item[self.log.first[1:][self.log.window == 2] - 1] = 0
        self.assertFalse(same(before, features(replace(self.log, item=item))), "the check would see a change")

    def test_stream_features_see_only_the_past(self) -> None:
        """One session's end changes no request until it counts, its own included."""
        before = features(self.log, "stream")
        session = len(self.log.user) // 2
        at = self.log.first[session + 1] - 1
        item, segment = self.log.item.copy(), self.log.segment.copy()
        item[at], segment[at] = (item[at] + 7) % 70, 1
        after = features(replace(self.log, item=item, segment=segment), "stream")
        earlier = self.asked.time < self.log.time[at] - globo.data.STAMP + globo.context.REAL_GAP
        earlier &= (self.asked.user != self.log.user[session]) | (np.arange(len(earlier)) == session)
        self.assertGreater(earlier.sum(), 50)
        self.assertTrue(earlier[session] and same(before, after, earlier))
        self.assertFalse(same(before, after))

    def test_a_visible_target_is_an_error(self) -> None:
        plan = globo.context.schedule(self.log, self.asked, "windows")
        plan.click[self.log.first[1:] - 1] = 0
        state = globo.stream.ItemState(self.log, int(plan.time[0]))
        with self.assertRaisesRegex(AssertionError, "visible before its time"):
            list(globo.stream.steps(state, self.log, self.asked, plan, lambda share: None))

    def test_imputed_clicks_count_late(self) -> None:
        plan, last = globo.context.schedule(self.log, self.asked, "stream"), self.log.first[1:] - 1
        self.assertTrue((plan.when[last] == self.log.time[last - 1] + globo.context.REAL_GAP).all())
        for freshness in ("stream", "hourly"):
            plan = globo.context.schedule(self.log, self.asked, freshness)
            self.assertTrue((plan.time[plan.request] <= self.asked.time).all())
            counts = plan.click < len(plan.time)
            self.assertTrue((plan.when[counts] < plan.time[plan.click[counts]]).all())

    def test_contexts_are_as_old_as_they_say(self) -> None:
        row = int(np.argmax(np.diff(self.log.first)))
        clicks = self.log.item[self.log.first[row] : self.log.first[row + 1]]
        fresh = globo.context.contexts(self.log, self.asked, "stream")
        self.assertEqual(fresh.session[row, : len(clicks) - 1].tolist(), clicks[-2::-1].tolist())
        self.assertTrue((fresh.seen != self.asked.target[:, None]).all())
        for freshness, step, shift in (("hourly", HOUR, 0), ("daily", 24 * HOUR, 3 * HOUR)):
            stale = globo.context.contexts(self.log, self.asked, freshness)
            for n in range(len(self.asked.target)):
                cut = (self.asked.time[n] - shift) // step * step + shift
                mine = np.flatnonzero((self.log.user[self.log.session] == self.asked.user[n]) & (self.log.time < cut))
                own = mine[(self.log.session[mine] == n) & (mine <= self.asked.click[n])]
                self.assertEqual(sorted(stale.seen[n][stale.seen[n] >= 0]), sorted(self.log.item[own]))
        nothing = globo.context.contexts(self.log, self.asked, "none")
        self.assertTrue((nothing.seen < 0).all() and (nothing.history < 0).all())

    def test_pairs_are_what_a_loop_counts(self) -> None:
        plan = globo.context.schedule(self.log, self.asked, "windows")
        state = globo.stream.ItemState(self.log, int(plan.time[0]))
        for now, _ in globo.stream.steps(state, self.log, self.asked, plan, lambda share: None):
            pass
        count, h = len(self.log.article), 24 * HOUR
        expected = np.zeros((count, count))
        for n in range(len(self.log.item) - 1):
            if self.log.session[n] == self.log.session[n + 1] and plan.click[n + 1] <= 3:
                expected[self.log.item[n], self.log.item[n + 1]] += 2.0 ** ((plan.when[n + 1] - now) / h)
        slots = state.slot[:count]
        found = state.pairs[1].values[np.ix_(slots, slots)] * state.pairs[1].factor(now)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        state.renew(now)
        np.testing.assert_allclose(state.pairs[1].values[np.ix_(slots, slots)], expected, rtol=1e-4, atol=1e-6)

    def test_unseen_items_and_ties_do_not_help(self) -> None:
        scores, candidate = np.array([[3.0, 3.0, 1.0]] * 3), np.array([[4, 5, 6], [4, 5, 6], [4, 5, -1]])
        self.assertEqual(globo.rank.ranks(scores, candidate, np.array([5, 9, -1])).tolist(), [2, globo.rank.MISS, globo.rank.MISS])

    def test_a_window_is_answered_by_earlier_windows_only(self) -> None:
        answers, every = features(self.log), np.ones(len(self.asked.target), bool)
        inputs = globo.rank.Inputs(list(range(len(globo.features.FEATURES))), list(range(len(globo.features.CONTEXT))))
        first, _ = globo.rank.run(answers, self.asked, every, inputs, 0)
        target = np.where(self.asked.window >= 2, answers.candidate[:, 0], self.asked.target)
        second, _ = globo.rank.run(answers, replace(self.asked, target=target), every, inputs, 0)
        old = (self.asked.window < 2) | (target == self.asked.target)
        self.assertTrue((first[old & (self.asked.window <= 2)] == second[old & (self.asked.window <= 2)]).all())
        self.assertFalse((first == second).all())

    def test_windows_count_alike_and_are_halved(self) -> None:
        weight = globo.report.weights(self.asked, self.asked.test)
        self.assertAlmostEqual(weight.sum(), 1)
        self.assertTrue((weight[~self.asked.test] == 0).all())
        for window in (1, 2, 3):
            self.assertAlmostEqual(weight[self.asked.window == window].sum(), 1 / 3)
            self.assertAlmostEqual(self.asked.test[self.asked.window == window].mean(), 0.5, delta=0.02)

    def test_popularity_ranks(self) -> None:
        rank = globo.baselines._popularity_rank(np.array([5.0, 4, 4, 0, 9]), np.array([0, 1, 3, 0]), np.array([[-1], [4], [-1], [4]]))
        self.assertEqual(rank.tolist(), [2, 2, globo.rank.MISS, 1])


if __name__ == "__main__":
    unittest.main()
