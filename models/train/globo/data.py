"""The Globo G1 click log, its windows, and one request a session: rank the last click, given everything before it.

The files are ordered by session and each is one hourly window of session starts, so the file's number is the window. Two
columns give a session's end away and never reach a feature: session_size, which is not read, and the last click's
time, which is stamped previous + 30 s. Times are milliseconds since the epoch, UTC.
"""
from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

HOUR = 3_600_000
DAY = 24 * HOUR
SHORTEST, LONGEST = 2, 20  # clicks of a session in the published protocol
STAMP = 30_000  # the imputed gap of every session's last click
FILE = re.compile(r"clicks_hour_(\d+)\.csv$")
COLUMNS = ["user_id", "session_id", "session_start", "click_article_id", "click_timestamp", "click_environment",
           "click_deviceGroup", "click_os", "click_country", "click_region", "click_referrer_type"]
SEGMENTS = {"referrer": 8, "region": 64, "platform": 64, "os": 32}  # kinds of context of a click, and how many values
SPLIT_SEED = 20171001


@dataclass(frozen=True)
class ClickLog:
    """N clicks in S sessions, ordered by (window, session start, session id, time); columns of length N or S."""

    item: np.ndarray  # int32 [N], numbered in the order of article ids
    time: np.ndarray  # int64 [N]
    session: np.ndarray  # int32 [N]
    segment: np.ndarray  # int16 [N, len(SEGMENTS)]
    article: np.ndarray  # int64 [items]: the publisher's article id
    user: np.ndarray  # int32 [S]
    window: np.ndarray  # int32 [S]
    start: np.ndarray  # int64 [S]
    first: np.ndarray  # int64 [S + 1]: session s is the clicks first[s] to first[s + 1]

    def last(self) -> np.ndarray:
        """bool [N]: the last click of its session, whose time is imputed."""
        out = np.zeros(len(self.item), bool)
        out[self.first[1:] - 1] = True
        return out


@dataclass(frozen=True)
class Requests:
    """One a session, in the order of sessions. The target's time is not among the columns, nor the session's length."""

    click: np.ndarray  # int64 [S]: the click at which the request is made, the session's last but one
    time: np.ndarray  # int64 [S]: that click's time
    user: np.ndarray  # int32 [S]
    window: np.ndarray  # int32 [S]
    segment: np.ndarray  # int16 [S, len(SEGMENTS)]: of that click
    target: np.ndarray  # int32 [S]: item of the last click; only the labels of training and the metrics read it
    test: np.ndarray  # bool [S]: a random half of each window; the other half is for tuning


def _files(folder: Path) -> Iterator[tuple[int, bytes]]:
    """(window, CSV) of each hour, from clicks.tar.xz or from loose files."""
    archive = folder / "clicks.tar.xz"
    if archive.exists():
        with tarfile.open(archive, "r:xz") as tar:
            for member in tar:
                if found := FILE.search(member.name):
                    yield int(found[1]), tar.extractfile(member).read()
        return
    paths = sorted(p for p in folder.rglob("clicks_hour_*.csv"))
    if not paths:
        raise SystemExit(f"{folder} holds neither clicks.tar.xz nor clicks_hour_*.csv")
    for path in paths:
        yield int(FILE.search(path.name)[1]), path.read_bytes()


def load(folder: Path) -> ClickLog:
    """Reads the log; header-only files are windows without sessions."""
    parts = []
    for window, content in _files(folder):
        part = pd.read_csv(io.BytesIO(content), usecols=COLUMNS, dtype=np.int64)
        parts.append(part.assign(window=window))
    return from_frame(pd.concat(parts))


def from_frame(frame: pd.DataFrame) -> ClickLog:
    """The log of COLUMNS and window; sessions outside SHORTEST to LONGEST clicks are left out, as published."""
    frame = frame.sort_values(["window", "session_start", "session_id", "click_timestamp"], kind="stable")
    size = frame.groupby("session_id").session_id.transform("size")
    frame = frame[(size >= SHORTEST) & (size <= LONGEST)]
    article, item = np.unique(frame.click_article_id.to_numpy(), return_inverse=True)
    ids = frame.session_id.to_numpy()
    head = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    region = np.where(frame.click_country == 1, frame.click_region, 32 + frame.click_country)  # abroad by country
    segment = [frame.click_referrer_type, region, frame.click_environment * 8 + frame.click_deviceGroup, frame.click_os]
    log = ClickLog(
        item=item.astype(np.int32),
        time=frame.click_timestamp.to_numpy(),
        session=np.repeat(np.arange(len(head)), np.diff(np.r_[head, len(ids)])).astype(np.int32),
        segment=np.stack([np.clip(s, 0, n - 1) for s, n in zip(segment, SEGMENTS.values())], 1).astype(np.int16),
        article=article,
        user=np.unique(frame.user_id.to_numpy()[head], return_inverse=True)[1].astype(np.int32),
        window=frame.window.to_numpy()[head].astype(np.int32),
        start=frame.session_start.to_numpy()[head],
        first=np.r_[head, len(ids)].astype(np.int64),
    )
    check(log)
    return log


def check(log: ClickLog) -> None:
    """Raises unless the log is as the protocol and the rules against leaks assume."""
    last = log.first[1:] - 1
    if not (log.time[last] - log.time[last - 1] == STAMP).all():
        raise ValueError("a session's last click is not stamped previous + 30 s: its time may not be treated as imputed")
    if len(np.unique(log.session[last])) != len(log.user) or (np.diff(log.first) < SHORTEST).any():
        raise ValueError("a session's clicks are not together")
    if (np.diff(log.window) < 0).any():
        raise ValueError("sessions are not in the order of their windows")
    inside = log.session[1:] == log.session[:-1]
    if (np.diff(log.time)[inside] < 0).any():
        raise ValueError("a session's clicks are not in the order of time")


def requests(log: ClickLog) -> Requests:
    """The requests of all windows, each window halved at random."""
    click, random = log.first[1:] - 2, np.random.default_rng(SPLIT_SEED)
    order = np.lexsort((random.random(len(click)), log.window))
    begins = np.searchsorted(log.window, log.window)
    test = np.zeros(len(click), bool)
    test[order] = (np.arange(len(click)) - begins[order]) % 2 == 0
    return Requests(click, log.time[click], log.user, log.window, log.segment[click], log.item[click + 1], test)


def boundaries(log: ClickLog) -> np.ndarray:
    """int64 [windows + 1]: where each window begins, the hour's offset being that of the first session."""
    return log.start.min() + np.arange(log.window.max() + 2) * HOUR
