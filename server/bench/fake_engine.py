"""A fake engine: it computes nothing that anybody wants, but takes its time, and notes in a diary that it ran."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from gvf_core.errors import Cancelled
from server.worker_process import JobTask

DIARY_VARIABLE = "GVF_BENCH_DIARY"
"""Environment variable with the path of the diary: a line with job and process for each run."""

JOB_FUNCTION = "server.bench.fake_engine:fake_job"


@dataclass(frozen=True)
class FakeWork:
    """What a job does; the driving video of a made-up job is this as JSON.

    Attributes:
        steps: How often it reports progress.
        seconds: Time of each step.
        threads: How many threads compute meanwhile; 0 only waits.
    """

    steps: int = 1
    seconds: float = 0.0
    threads: int = 0


def fake_job(task: JobTask, on_progress: Callable[[str, float], None], cancelled: Callable[[], bool]) -> None:
    """Do the work that the video asks for; the result tells whose it is."""
    diary = os.environ.get(DIARY_VARIABLE)
    if diary:
        with open(diary, "a") as file:  # noqa: PTH123 - one write of one line, which the system appends whole
            file.write(f"{task.job_id} {os.getpid()}\n")
    work = FakeWork(**json.loads(task.video.read_text()))
    for step in range(work.steps):
        on_progress("faking", step / work.steps)
        if cancelled():
            raise Cancelled()
        _spend(work)
    task.result.write_bytes(fake_result(task.job_id))


def fake_result(job_id: str) -> bytes:
    """What the result of a made-up job holds."""
    return hashlib.sha256(job_id.encode()).digest() * 100


def _spend(work: FakeWork) -> None:
    if work.threads == 0:
        time.sleep(work.seconds)
        return
    import numpy as np
    from threadpoolctl import threadpool_limits

    end = time.monotonic() + work.seconds
    matrix = np.ones((500, 500), np.float32)
    with threadpool_limits(work.threads):
        while time.monotonic() < end:
            matrix = matrix @ matrix
            matrix /= matrix.max()
