"""The quirks of the published ranker's code are not here; the ONNX graphs say what PyTorch says."""
from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch

from features.vectors import RAW
from log.data import ACTION_TYPES
from networks import graphs, transact
from networks.encoders import ENCODERS
from networks.heads import HEADS
from networks.intent import DIM
from networks.members import Intent
from networks.onnx_models import session
from networks.transact import FIRST, LENGTH, PADDING, WIDTH, TransAct

CONTEXT, CANDIDATES, ROWS = 7, 5, 3


def model(seed: int = 0) -> TransAct:
    """Random weights, also where training starts from zeros."""
    torch.manual_seed(seed)
    made = TransAct(np.zeros(CONTEXT, np.float32), np.ones(CONTEXT, np.float32)).eval()
    torch.nn.init.normal_(made.output.weight)
    return made


def inputs(length: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """A batch whose windows are all real."""
    random = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=random)
    return {"items": normal(ROWS, length, DIM), "kinds": torch.randint(0, PADDING, (ROWS, length), generator=random),
            "real": torch.ones(ROWS, length, dtype=torch.bool), "candidates": normal(ROWS, CANDIDATES, DIM),
            "context": normal(ROWS, CANDIDATES, CONTEXT), "base": normal(ROWS, CANDIDATES, len(HEADS))}


def padded(given: dict[str, torch.Tensor], more: int) -> dict[str, torch.Tensor]:
    """The same windows with padding of arbitrary vectors."""
    pad = torch.nn.functional.pad
    return given | {"items": pad(given["items"], (0, 0, 0, more), value=9.0), "kinds": pad(given["kinds"], (0, more), value=PADDING),
                    "real": pad(given["real"], (0, more), value=False)}


class Quirks(unittest.TestCase):
    def test_maximum_is_over_real_tokens_only(self) -> None:
        y = torch.full((1, 3, WIDTH), -2.0)
        y[0, 2] = 5.0  # padding
        _, top = TransAct.pooled(y, torch.tensor([[True, True, False]]))
        self.assertTrue((top == -2.0).all())

    def test_padding_changes_nothing(self) -> None:
        with torch.no_grad():
            given = inputs(6)
            torch.testing.assert_close(model()(**given), model()(**padded(given, 5)), rtol=0, atol=1e-5)

    def test_unknown_types_are_not_padding(self) -> None:
        made, given = model(), inputs(4)
        self.assertTrue((made.kinds.weight[PADDING] == 0).all())
        self.assertFalse((made.kinds.weight[0] == 0).any())
        with torch.no_grad():
            unknown = made(**(given | {"kinds": torch.zeros_like(given["kinds"])}))
            absent = made(**(given | {"real": torch.zeros_like(given["real"])}))
        self.assertFalse(torch.allclose(unknown, absent))
        self.assertNotIn(PADDING, range(1 + len(ACTION_TYPES)))

    def test_time_window_mask_hides_slot_0(self) -> None:
        kinds, times = np.array([[1, 1, PADDING]]), np.array([[90, 50, 0]])
        left = transact.mask_recent(kinds, times, np.array([100]), np.array([20.0]))
        self.assertEqual(left.tolist(), [[False, True, False]])
        made, given = model(), inputs(3)
        hidden = given | {"real": torch.tensor([[False, True, True]] * ROWS)}
        with torch.no_grad():
            changed = hidden | {"items": torch.cat([given["items"][:, :1] + 3, given["items"][:, 1:]], 1)}
            torch.testing.assert_close(made(**hidden), made(**changed), rtol=0, atol=1e-5)

    def test_windows_of_every_length(self) -> None:
        with torch.no_grad():
            for length in [0, 1, FIRST - 1, FIRST, LENGTH, 100]:
                self.assertTrue(torch.isfinite(model()(**inputs(length))).all(), length)
            nothing = padded(inputs(0), 4)
            torch.testing.assert_close(model()(**inputs(0)), model()(**nothing), rtol=0, atol=1e-5)

    def test_the_candidate_meets_every_token(self) -> None:
        made, given = model(), inputs(8)
        with torch.no_grad():
            other = made(**(given | {"candidates": given["candidates"] + 1}))
            self.assertGreater(float((other - made(**given)).abs().min()), 1e-4)


class Onnx(unittest.TestCase):
    def test_ranker(self) -> None:
        made = model()
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            path = Path(folder) / "transact.onnx"
            transact.save(made, path)
            run = session(path).run
            for given in (inputs(1), inputs(9), padded(inputs(3), 6), padded(inputs(0), 2)):
                feed = {"item_vectors": given["items"], "action_types": given["kinds"].int(), "real": given["real"].float(),
                        "candidates": given["candidates"], "context": given["context"], "base": given["base"]}
                got = run(None, {k: v.numpy() for k, v in feed.items()})[0]
                np.testing.assert_allclose(got, made(**given).numpy(), rtol=0, atol=1e-5)
                alone = run(None, {k: v[1:2].numpy() for k, v in feed.items()})[0]
                np.testing.assert_allclose(alone, got[1:2], rtol=0, atol=1e-5)

    def test_encoders(self) -> None:
        """PyTorch's numbers, and the same bits in every batch, with padding and step by step."""
        for name in ENCODERS:
            with self.subTest(name), tempfile.TemporaryDirectory() as folder, torch.no_grad():
                torch.manual_seed(1)
                made, path = Intent(name, np.zeros((RAW, DIM), np.float32)).eval(), Path(folder) / "model.onnx"
                recurrent = name != "window transformer"
                (graphs.save_recurrent if recurrent else graphs.save_window_transformer)(made, path)
                feed = graphs.random_steps(40, 30)
                whole = [torch.from_numpy(feed["item_vectors"]), torch.from_numpy(feed["has_vector"]),
                         *(torch.from_numpy(feed[k]).long() for k in ("action_types", "surfaces", "gaps"))]
                hidden = made.fold(*whole, feed["lengths"])[feed["lengths"] - 1, np.arange(40)]
                wanted = made.intent(hidden).view(40, -1, DIM), made.propensity(hidden)
                if recurrent:
                    feed["hidden"] = np.zeros((40, made.encoder.hidden), np.float32)
                for got, want in zip(session(path).run(["intent", "propensity"], feed), wanted):
                    np.testing.assert_allclose(got, want.numpy(), rtol=0, atol=1e-5)
                self.assertEqual(graphs.batch_variance(path, made.encoder.hidden if recurrent else None), 0.0)


if __name__ == "__main__":
    unittest.main()
