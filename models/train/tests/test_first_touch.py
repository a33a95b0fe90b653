"""The first-touch task and the fresh item vectors see nothing of the future."""
from __future__ import annotations

import unittest
from types import SimpleNamespace

import numpy as np

from features import samples, taste, versions
from features.np_features import FEATURES, Requests
from features.vectors import ABSENT
from features.world import BLOCKS, World
from log.data import ACTION_TYPES, CUT, DAY

VIEW, LIKE = 1 + ACTION_TYPES.index("view"), 1 + ACTION_TYPES.index("like")


def log_of(actions: list[tuple[int, int, int, int]]) -> SimpleNamespace:
    """Rows (user, time, item, kind) in the order of an ActionLog; arrival is the time."""
    user, time, item, kind = (np.array(c) for c in zip(*sorted(actions)))
    users = [f"u{n}" for n in range(user.max() + 1)]
    return SimpleNamespace(user=user, time=time, arrival=time, item=item, kind=kind, users=users, items=[f"i{n}" for n in range(item.max() + 1)],
                           bounds=np.searchsorted(user, np.arange(len(users) + 1)), by_time=lambda: np.lexsort((np.arange(len(time)), time)))


def requests_of(log: SimpleNamespace, rows: list[tuple[int, list[int]]]) -> Requests:
    """Requests at actions (their index in the log) among the given items; every feature of a pair is its item's number / 100."""
    action = np.array([a for a, _ in rows])
    candidate = np.concatenate([items for _, items in rows]).astype(np.int32)
    return Requests(log.user[action], log.time[action], np.zeros(len(rows), np.int64), action,
                    np.array([items.index(log.item[a]) if log.item[a] in items else -1 for a, items in rows]),
                    np.r_[0, np.cumsum([len(items) for _, items in rows])], candidate,
                    np.repeat(candidate[:, None] / 100, len(FEATURES), 1).astype(np.float32))


class FirstTouch(unittest.TestCase):
    def test_only_saved_first_touches_of_active_items_after_the_cut(self) -> None:
        log = log_of([(0, CUT + 10, 1, VIEW), (0, CUT + 20, 1, LIKE), (0, CUT + 30, 2, VIEW), (0, CUT - 9, 3, VIEW), (0, CUT - 5, 3, LIKE),
                      (1, CUT + 40, 4, LIKE), (1, CUT + 50, 5, VIEW), (1, CUT + 60, 5, LIKE)])
        at = lambda user, item: int(np.flatnonzero((log.user == user) & (log.item == item))[0])
        requests = requests_of(log, [(at(0, 3), [3, 9]), (at(0, 1), [1, 2, 3]), (at(0, 2), [2, 1, 9]), (at(1, 4), [4, 5]), (at(1, 5), [9])])
        chosen, measured = samples.first_touch(log, requests)
        # before the cut; saved later; never saved; saved at once; the item was not active
        self.assertEqual(chosen.tolist(), [1, 3])
        self.assertEqual(measured[requests.bounds[1] : requests.bounds[2]].tolist(), [True, True, False], "item 3 was touched before")

    def test_at_most_99_others_drawn_alike_again(self) -> None:
        log = log_of([(0, CUT + 10, 0, LIKE)])
        requests = requests_of(log, [(0, list(range(300)))])
        _, measured = samples.first_touch(log, requests)
        self.assertEqual(measured.sum(), 1 + samples.NEGATIVES)
        self.assertTrue((measured == samples.first_touch(log, requests)[1]).all())
        self.assertFalse((measured == samples.first_touch(log, requests, seed=1)[1]).all())

    def test_what_trains_knows_no_later_like(self) -> None:
        log = log_of([(0, CUT - 10, 1, VIEW), (0, CUT + 10, 1, LIKE)])
        requests = requests_of(log, [(0, [1])])
        self.assertFalse(samples.saved_later(log, requests, CUT)[0])
        self.assertTrue(samples.saved_later(log, requests, CUT + 11)[0])

    def test_lists_begin_with_the_target(self) -> None:
        log = log_of([(0, 10, 7, VIEW)])
        requests = requests_of(log, [(0, list(range(200))), (0, [3, 7])])
        drawn = samples.draw(requests, np.array([0, 1]), 0)
        self.assertEqual(requests.candidate[drawn.pairs[:, 0]].tolist(), [7, 7])
        self.assertEqual(drawn.real.sum(1).tolist(), [samples.LENGTH, 2])
        self.assertEqual(len(np.unique(drawn.pairs[0])), samples.LENGTH)

    def test_ties_rank_in_the_middle(self) -> None:
        w = World(*[None] * 6, test=np.array([0]), pairs=np.array([[0, 1, 2, 3, -1]]), target=np.array([1]), first=np.array([0]),
                  measured=np.array([[True, True, False, True, False]]), excluded={})
        self.assertEqual(w.ranks(np.zeros((1, 5)), "next-unseen").tolist(), [2.5])
        self.assertEqual(w.ranks(np.zeros((1, 5)), "first-touch").tolist(), [2.0])


class Versions(unittest.TestCase):
    def test_a_version_knows_only_what_was_before(self) -> None:
        log = log_of([(0, 100, 0, VIEW), (1, 200, 0, LIKE), (0, 200, 0, LIKE), (1, 300, 1, VIEW)])
        made = versions.accumulate(log)
        self.assertEqual(made.lookup(np.array([0, 0, 0, 0, 1, 1]), np.array([100, 101, 200, 201, 300, 301])).tolist(), [ABSENT, 0, 0, 1, ABSENT, 2])
        only = versions.accumulate(log_of([(0, 100, 0, VIEW), (1, 999, 1, VIEW)]))
        np.testing.assert_array_equal(made.transformed[0], only.transformed[0])

    def test_versions_in_force(self) -> None:
        time = CUT + 5 * DAY + 3_700
        self.assertEqual([int(versions.in_force(time, f)) for f in ("once", "daily", "hourly", "continuous")], [CUT, CUT + 5 * DAY, CUT + 5 * DAY + 3_600, time])
        self.assertEqual(int(versions.in_force(CUT - 5, "once")), CUT - DAY, "before the cut once is daily, so that nothing trains on a later state")


class Taste(unittest.TestCase):
    def test_is_of_earlier_touches_only(self) -> None:
        t = BLOCKS[-2]
        log = log_of([(0, t - 5, 4, VIEW), (0, t + DAY, 6, VIEW), (0, t + DAY + 60, 8, VIEW)])
        requests = requests_of(log, [(0, [4]), (1, [6]), (2, [8])])
        w = SimpleNamespace(log=log, requests=requests)
        mean = lambda *taken: (sum(taken) + taste.PRIOR * 0.04) / (len(taken) + taste.PRIOR)  # everyone's mean is item 4's, the only one before
        np.testing.assert_allclose(taste.means(w, np.array([0, 1, 2]), "continuous")[:, 0], [mean(), mean(0.04), mean(0.04, 0.06)], rtol=1e-6)
        np.testing.assert_allclose(taste.means(w, np.array([2]), "daily")[0, 0], mean(0.04), rtol=1e-6)


if __name__ == "__main__":
    unittest.main()
