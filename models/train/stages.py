"""Independent tasks in forked processes of one thread each; a finished task's result is kept in a file and not made again."""
from __future__ import annotations

import multiprocessing
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import torch

WORKERS = 2


def _work(folder: Path, tasks: list[tuple[str, Callable]], queue) -> None:
    torch.set_num_threads(1)
    while (n := queue.get()) is not None:
        name, task = tasks[n]
        started = time.monotonic()
        result = task()
        path = folder / f"{name}.pkl"
        path.with_suffix(".part").write_bytes(pickle.dumps(result, 5))
        path.with_suffix(".part").rename(path)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def run(folder: Path, tasks: dict[str, Callable], finished: bool = False) -> dict:
    """The results by name. A result is trusted as it is: another code or data needs another folder.

    With `finished` nothing is run, and what is not there is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left = [] if finished else [(name, task) for name, task in tasks.items() if not (folder / f"{name}.pkl").exists()]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    for n in [*range(len(left)), *[None] * WORKERS]:
        queue.put(n)
    workers = [context.Process(target=_work, args=(folder, left, queue)) for _ in range(WORKERS if left else 0)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise RuntimeError("a worker failed, see above")
    return {name: pickle.loads((folder / f"{name}.pkl").read_bytes()) for name in tasks if (folder / f"{name}.pkl").exists()}
