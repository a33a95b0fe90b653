"""Independent tasks in forked processes of one thread each; what is finished is kept, so an interrupted run goes on."""
from __future__ import annotations

import multiprocessing
import pickle
import time
from collections.abc import Callable
from pathlib import Path

WORKERS = 2


def parallel(folder: Path, tasks: dict[str, Callable[[], object]], finished: bool = False) -> dict:
    """The results by name. One is kept in folder/<name>.pkl and trusted as it is: another code or data needs another folder.

    With `finished` nothing is run, and what is not there is left out. Raises RuntimeError where a worker fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.pkl" for name in tasks}
    left = [] if finished else [name for name, path in paths.items() if not path.exists()]
    context = multiprocessing.get_context("fork")  # so that tasks read what they share without copying it
    queue = context.Queue()
    for name in [*left, *[None] * WORKERS]:
        queue.put(name)
    workers = [context.Process(target=_work, args=(tasks, paths, queue)) for _ in range(min(WORKERS, len(left)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"a worker of {folder} failed, see above")
    return {name: pickle.loads(path.read_bytes()) for name, path in paths.items() if path.exists()}


def _work(tasks: dict[str, Callable[[], object]], paths: dict[str, Path], queue) -> None:
    import torch

    torch.set_num_threads(1)
    while (name := queue.get()) is not None:
        started = time.monotonic()
        part = paths[name].with_suffix(".part")
        part.write_bytes(pickle.dumps(tasks[name](), pickle.HIGHEST_PROTOCOL))
        part.rename(paths[name])
        print(f"  {name}: {time.monotonic() - started:.0f} s", flush=True)
