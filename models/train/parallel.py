"""Independent tasks in forked processes of one thread each; what is finished is kept, so an interrupted run goes on."""
from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

WORKERS = 2


def parallel(work: Callable, tasks: list, folder: Path, name: Callable[[object], str]) -> list:
    """work(task) of each task, in their order. A result is kept in folder/<name of the task>.pkl and is not made again.

    Raises RuntimeError where a worker fails.
    """
    paths = [folder / f"{name(task)}.pkl" for task in tasks]
    context = multiprocessing.get_context("fork")  # so that tasks read what they share without copying it
    left = [n for n, path in enumerate(paths) if not path.exists()]
    workers = [context.Process(target=_work, args=(work, tasks, paths, left[n::WORKERS])) for n in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"a worker of {work.__name__} failed, see above")
    return [pickle.loads(path.read_bytes()) for path in paths]


def _work(work: Callable, tasks: list, paths: list[Path], mine: list[int]) -> None:
    import torch

    torch.set_num_threads(1)
    for n in mine:
        part = paths[n].with_suffix(".part")
        part.write_bytes(pickle.dumps(work(tasks[n]), pickle.HIGHEST_PROTOCOL))
        part.rename(paths[n])
