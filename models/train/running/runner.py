"""Stages of a pipeline in their order, each with a folder; one whose inputs have not changed is skipped."""
from __future__ import annotations

import hashlib
import json
import resource
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

DONE = "done.json"  # written last: a stage without it is not done


@dataclass(frozen=True)
class Stage:
    """`run` fills the folder it is given; what it reads is the stages before it, `sources` and `settings`.

    `result` is a hash of what the stage after it reads: where it stays the same, that one is not done again. Default: of all
    that went in.
    """

    name: str
    run: Callable[[Path], None]
    sources: tuple[Path, ...]  # files, or folders with all below them
    settings: object = None  # JSON
    resumes: bool = False  # its folder may hold what an interrupted run has finished, under the same key
    result: Callable[[Path], str] | None = None


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents, in the order of names; folders with all files below them but caches."""
    total = hashlib.sha256()
    for path in sorted(set(paths)):
        files = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts) if path.is_dir() else [path]
        for file in files:
            total.update(f"{path.name}/{file.relative_to(path) if path.is_dir() else ''}\0".encode())
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def key_of(stage: Stage, before: str) -> str:
    """What a stage depends on: its sources and settings, and the result of the stage before it."""
    parts = [before, stage.name, digest(stage.sources), json.dumps(stage.settings, sort_keys=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cpu_seconds() -> float:
    """Of this process and those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def run(stages: list[Stage], work: Path, first: str | None = None, last: str | None = None) -> list[dict]:
    """Runs what is not done, up to `last`; `first` and all after it are done again. Throws ValueError for an unknown name.

    Returns an entry a stage: name, skipped, seconds, cpuSeconds (those of the run that made it).
    """
    names = [stage.name for stage in stages]
    for name in (first, last):
        if name is not None and name not in names:
            raise ValueError(f"no stage {name}: there are {', '.join(names)}")
    again = names.index(first) if first else len(names)
    report, before = [], ""
    for n, stage in enumerate(stages):
        folder, key = work / stage.name, key_of(stage, before)
        done = _done(folder)
        label = f"[{n + 1}/{len(stages)}] {stage.name}"
        if n < again and done is not None and done["key"] == key:
            print(f"{label}: unchanged since it took {done['seconds']:.0f} s", flush=True)
            report.append({"name": stage.name, "skipped": True, **done})
        else:
            _begin(folder, key, stage.resumes and n != again)
            print(f"{label} ...", flush=True)
            started, used = time.monotonic(), cpu_seconds()
            stage.run(folder)
            result = stage.result(folder) if stage.result else key
            took = {"seconds": round(time.monotonic() - started, 1), "cpuSeconds": round(cpu_seconds() - used, 1)}
            done = {"key": key, "result": result, **took}
            (folder / "part").write_text(json.dumps(done) + "\n")
            (folder / "part").rename(folder / DONE)
            print(f"{label}: {done['seconds']:.0f} s, {done['cpuSeconds']:.0f} s of CPU", flush=True)
            report.append({"name": stage.name, "skipped": False, **done})
        before = done["result"]
        if stage.name == last:
            break
    return report


def _done(folder: Path) -> dict | None:
    try:
        return json.loads((folder / DONE).read_text())
    except FileNotFoundError:
        return None


def _begin(folder: Path, key: str, resumes: bool) -> None:
    """An empty folder, or what an interrupted run of the same key has left."""
    started = folder / "started"
    (folder / DONE).unlink(missing_ok=True)
    if not (resumes and started.exists() and started.read_text() == key):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    started.write_text(key)
