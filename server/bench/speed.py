"""Upload rate, answers under load, many streams, memory over many jobs."""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil

from server.bench.fake_engine import FakeWork
from server.bench.laboratory import Laboratory, Visitor

PIECE_BYTES = 1 << 20
PAUSE_SECONDS = 0.005


@dataclass(frozen=True)
class UploadRate:
    """Megabytes (10^6 bytes) per second, of one upload and of the disk beneath it."""

    upload_mb_per_second: float
    disk_mb_per_second: float


def upload_rate(lab: Laboratory, megabytes: int) -> UploadRate:
    """Upload random bytes once; the disk's own rate, with the same write and fsync, says what to compare with."""
    piece = os.urandom(PIECE_BYTES)
    count = megabytes * 10**6 // PIECE_BYTES
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(piece)
    path = f"/v1/blobs/{digest.hexdigest()}"

    def pieces() -> Iterator[bytes]:
        for _ in range(count):
            yield piece

    visitor = lab.connect()
    begin = time.perf_counter()
    visitor.fetch("PUT", path, pieces(), {"Content-Length": str(count * PIECE_BYTES)})
    seconds = time.perf_counter() - begin
    rate = count * PIECE_BYTES / 1e6
    return UploadRate(rate / seconds, rate / _disk_seconds(lab.folder / "disk", piece, count))


def _disk_seconds(path: Path, piece: bytes, count: int) -> float:
    begin = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(count):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Latency:
    """Milliseconds from asking for a job's status to having it."""

    median_ms: float
    p99_ms: float
    worst_ms: float
    calls: int


def status_latency(lab: Laboratory, calls: int, threads: int) -> Latency:
    """Ask for the status of a running job while the worker computes on that many threads; 0 only waits."""
    visitor = lab.connect()
    job = visitor.submit(FakeWork(steps=1000, seconds=0.1, threads=threads), f"latency {threads}")
    try:
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            visitor.ask("GET", f"/v1/jobs/{job}")
            seconds.append(time.perf_counter() - begin)
    finally:
        visitor.ask("POST", f"/v1/jobs/{job}/cancel")
        visitor.wait(job)
    return _latency(seconds)


def _latency(seconds: list[float]) -> Latency:
    milliseconds = np.array(seconds) * 1e3
    median, p99 = np.percentile(milliseconds, [50, 99])
    return Latency(float(median), float(p99), float(milliseconds.max()), len(seconds))


@dataclass(frozen=True)
class Streams:
    """Many streams of one job: how many were complete, and a status call's latency meanwhile."""

    streams: int
    complete: int
    events: int
    latency: Latency


def many_streams(lab: Laboratory, streams: int, events: int) -> Streams:
    """Follow one job with many event streams at once, from another process, whose threads shall not slow the clock."""
    visitor = lab.connect()
    job = visitor.submit(FakeWork(steps=events, seconds=0.1), f"streams {streams}")
    seconds = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as others:
        following = others.submit(_follow, lab.address, lab.token, job, streams)
        while not following.done():
            begin = time.perf_counter()
            visitor.ask("GET", f"/v1/jobs/{job}")
            seconds.append(time.perf_counter() - begin)
            time.sleep(PAUSE_SECONDS)
        received = following.result()
    complete = max(received)
    return Streams(streams, received.count(complete), complete, _latency(seconds))


def _follow(address: str, token: str, job: str, streams: int) -> list[int]:
    """How many events each of the streams brought."""

    def follow(_: int) -> int:
        return Visitor(address, token).fetch("GET", f"/v1/jobs/{job}/events").count(b"\nevent: job\n")

    with ThreadPoolExecutor(streams) as threads:
        return list(threads.map(follow, range(streams)))


@dataclass(frozen=True)
class MemoryGrowth:
    """Resident memory of the server and its worker over many jobs, in kilobytes (10^3 bytes) for each further job."""

    jobs: int
    server_kb_per_job: float
    worker_kb_per_job: float


def memory_growth(lab: Laboratory, jobs: int) -> MemoryGrowth:
    """Run jobs one after the other; the slope is that of a line through the second half, after caches have filled."""
    visitor = lab.connect()
    assert lab.process is not None
    server = psutil.Process(lab.process.pid)
    samples = []
    for index in range(jobs):
        visitor.wait(visitor.submit(FakeWork(steps=20), f"memory {index}"))
        samples.append((server.memory_info().rss, lab.workers()[0].memory_info().rss))
    half = np.array(samples[jobs // 2 :]) / 1e3
    slopes = np.polyfit(np.arange(len(half)), half, 1)[0]
    return MemoryGrowth(jobs, float(slopes[0]), float(slopes[1]))
