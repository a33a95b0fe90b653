"""Each trap bites: a log without it passes, the same log with it planted does not."""
from __future__ import annotations

import unittest
from dataclasses import replace

import numpy as np

from evaluation import traps
from features import np_features as npf, vectors
from tests.small import DAY, START, busy_log, log_of

LOG = busy_log()
REQUESTS = npf.build(LOG)


def changed(array: np.ndarray, at: int, by: float = 1) -> np.ndarray:
    out = array.copy()
    out[at] += by
    return out


class Traps(unittest.TestCase):
    def bites(self, check, *arguments, message: str) -> None:
        with self.assertRaisesRegex(traps.Trap, message):
            check(*arguments)

    def test_an_honest_log_passes(self) -> None:
        self.assertGreater(len(REQUESTS.user), 100)
        traps.rows_know_only_the_past(LOG.rows, 0)
        for check in (traps.windows_end_at_the_request, traps.targets_are_unseen, traps.candidates_could_be_shown,
                      traps.features_know_only_the_past):
            check(LOG, REQUESTS)
        for period in (DAY, 3_600, 1):
            raw = vectors.accumulate(LOG, period)
            traps.vectors_know_only_the_past(LOG, raw)
            share = traps.new_items_have_no_vector(LOG, REQUESTS, raw)
            self.assertTrue(share == 0 if period == 1 else share > 0)

    def test_rows_with_a_record_of_their_label_s_second(self) -> None:
        known = int(np.flatnonzero(LOG.rows.newest_arrival >= 0)[0])
        late = changed(LOG.rows.newest_arrival, known, LOG.rows.time[known] - LOG.rows.newest_arrival[known])
        self.bites(traps.rows_know_only_the_past, replace(LOG.rows, newest_arrival=late), 0, message="not servable yet")
        self.bites(traps.rows_know_only_the_past, LOG.rows, 3 * DAY, message="not servable yet")

    def test_rows_with_vectors_of_a_later_version(self) -> None:
        known = int(np.flatnonzero(LOG.rows.newest_arrival >= 0)[0])
        later = changed(LOG.rows.item_version, known, LOG.rows.time[known] + DAY)
        self.bites(traps.rows_know_only_the_past, replace(LOG.rows, item_version=later), 0, message="version after their label")
        self.bites(traps.rows_know_only_the_past, replace(LOG.rows, long_term=later), 0, message="long-term vector of after")

    def test_a_window_that_holds_the_label_s_own_action(self) -> None:
        leaking = replace(REQUESTS, accepted=changed(REQUESTS.accepted, 50))
        self.bites(traps.windows_end_at_the_request, LOG, leaking, message="do not end where")
        rows = replace(LOG.rows, accepted=changed(LOG.rows.accepted, int(LOG.rows.find(REQUESTS.user[50:51], REQUESTS.time[50:51])[0])))
        self.bites(traps.windows_end_at_the_request, replace(LOG, rows=rows), leaking, message="the request's second or later")

    def test_targets_that_repeat_the_window(self) -> None:
        begun = int(np.flatnonzero(REQUESTS.accepted > 0)[0])
        own = LOG.bounds[REQUESTS.user[begun]] + REQUESTS.accepted[begun] - 1
        repeated = replace(REQUESTS, action=changed(REQUESTS.action, begun, own - REQUESTS.action[begun]))
        self.bites(traps.targets_are_unseen, LOG, repeated, message="in the user's window")

    def test_targets_at_another_place(self) -> None:
        found = int(np.flatnonzero(REQUESTS.target > 0)[0])
        self.bites(traps.targets_are_unseen, LOG, replace(REQUESTS, target=changed(REQUESTS.target, found, -1)), message="another candidate")

    def test_candidates_that_were_not_active(self) -> None:
        gone = replace(REQUESTS, candidate=np.full_like(REQUESTS.candidate, REQUESTS.candidate[0]))
        self.bites(traps.candidates_could_be_shown, LOG, gone, message="other candidates")

    def test_popularity_that_counts_the_future(self) -> None:
        ahead = replace(REQUESTS, features=REQUESTS.features + np.float32(0.01))
        self.bites(traps.features_know_only_the_past, LOG, ahead, message="past does not explain")
        # as if each action had been known a minute before it happened
        early = npf.build(replace(LOG, arrival=LOG.arrival - 60))
        self.bites(traps.features_know_only_the_past, LOG, early, message="past does not explain")

    def test_versions_that_look_ahead(self) -> None:
        ahead = vectors.accumulate(replace(LOG, arrival=LOG.arrival - DAY))
        self.bites(traps.vectors_know_only_the_past, LOG, ahead, message="what came before them")
        self.bites(traps.new_items_have_no_vector, LOG, REQUESTS, ahead, message="before anyone acted")

    def test_a_split_that_is_none(self) -> None:
        found = np.flatnonzero(REQUESTS.target >= 0)
        middle = int(REQUESTS.time[found[len(found) // 2]])
        learn, test = found[REQUESTS.time[found] < middle], found[REQUESTS.time[found] >= middle]
        traps.parts_are_apart(REQUESTS, learn, test, middle)
        self.bites(traps.parts_are_apart, REQUESTS, found, test, middle, message="training requests")
        self.bites(traps.parts_are_apart, REQUESTS, learn, found, middle, message="test requests")

    def test_numbers_that_show_a_leak(self) -> None:
        traps.strangers_do_not_help(-0.001, "x")
        self.bites(traps.strangers_do_not_help, 0.001, "x", message="stranger")
        traps.not_too_good(0.05, 0.08, "x")
        self.bites(traps.not_too_good, 0.09, 0.08, "x", message="suspicious")

    def test_repeats_are_counted(self) -> None:
        log = log_of([("a", "x", 1), ("a", "y", 2), ("b", "x", 3), ("b", "x", 4)])
        self.assertEqual(traps.repeats(log, START), 0.5)


class Popularity(unittest.TestCase):
    def test_actions_of_one_second_see_nothing_of_each_other(self) -> None:
        requests = npf.build(log_of([("a", "x", 10), ("b", "y", 20), ("c", "x", 20)]))
        self.assertEqual(requests.time.tolist(), [START + 20, START + 20])
        for q in (0, 1):
            self.assertEqual(requests.candidate[requests.bounds[q] : requests.bounds[q + 1]].tolist(), [0])

    def test_what_arrives_late_counts_from_then_on_as_if_it_had_come_in_time(self) -> None:
        actions = [("a", "x", 10), ("b", "y", 50), ("c", "z", 100), ("d", "z", 200)]
        late, punctual = npf.build(log_of(actions, [150, 50, 100, 200])), npf.build(log_of(actions))
        of = lambda r, q: r.candidate[r.bounds[q] : r.bounds[q + 1]].tolist()
        self.assertEqual([of(late, q) for q in range(len(late.user))], [[1], [0, 1, 2]])
        last = lambda r: r.features[r.bounds[-2] :]
        np.testing.assert_allclose(last(late), last(punctual), atol=1e-6)


class Vectors(unittest.TestCase):
    def test_users_are_drawn_by_kafka_s_hash(self) -> None:
        signed = lambda text: vectors.murmur2(text.encode()) - (1 << 32) * (vectors.murmur2(text.encode()) >> 31)
        self.assertEqual([signed(t) for t in ("21", "foobar")], [-973_932_308, -790_332_482])

    def test_a_version_knows_what_came_before_it(self) -> None:
        log = log_of([("a", "x", 10), ("b", "x", 4_000), ("a", "y", DAY)])
        for period, first in ((DAY, DAY), (3_600, 3_600), (1, 11)):
            raw = vectors.accumulate(log, period)
            at = lambda seconds: raw.lookup(np.array([0]), raw.tick(START + seconds))[0]
            self.assertEqual(at(first - 1), vectors.ABSENT)
            self.assertNotEqual(at(first), vectors.ABSENT)
            self.assertEqual(raw.lookup(np.array([1]), raw.tick(START + DAY))[0], vectors.ABSENT)

    def test_rounding_can_be_left_out(self) -> None:
        raw = vectors.accumulate(LOG)
        projection = np.random.default_rng(0).normal(size=(vectors.RAW, 6)).astype(np.float32)
        rounded, exact = (vectors.project(raw, projection, rounded=r) for r in (True, False))
        self.assertEqual(rounded.quantised.dtype, np.int8)
        self.assertLessEqual(np.abs(rounded.quantised - exact.quantised).max(), 0.5 + 1e-4)


if __name__ == "__main__":
    unittest.main()
