"""The mean of nets: what an arm ranks by."""
from __future__ import annotations

import unittest

import numpy as np

from networks import heads


class MeanOfNets(unittest.TestCase):
    def setUp(self) -> None:
        random = np.random.default_rng(0)
        self.x = random.normal(size=(64, 5, 3)).astype(np.float32)
        self.real, self.saved = np.ones((64, 5), bool), np.arange(64) % 4 == 0
        self.offset = np.zeros((64, 5, 2), np.float32)

    def test_is_their_mean_and_each_is_another(self) -> None:
        mean = heads.fit_mean(self.x, self.real, self.saved, 0, self.offset)
        alone = np.stack([heads.predict(net, self.x) for net in mean.nets])
        np.testing.assert_allclose(heads.predict(mean, self.x), alone.mean(0), atol=1e-6)
        self.assertEqual(len(np.unique(alone[:, 0, 0, 0])), heads.NETS)

    def test_no_net_is_in_the_mean_of_two_seeds(self) -> None:
        first, second = (heads.fit_mean(self.x, self.real, self.saved, seed, self.offset) for seed in (0, 1))
        scores = np.concatenate([[heads.predict(net, self.x)[0, 0, 0] for net in mean.nets] for mean in (first, second)])
        self.assertEqual(len(np.unique(scores)), 2 * heads.NETS)

    def test_learns_what_the_target_has(self) -> None:
        self.x[:, 0] += 2  # the target is column 0
        scores = heads.predict(heads.fit_mean(self.x, self.real, self.saved, 0, self.offset), self.x)
        self.assertGreater((scores[..., 0].argmax(1) == 0).mean(), 0.9)


if __name__ == "__main__":
    unittest.main()
