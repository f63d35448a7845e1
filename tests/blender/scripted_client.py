"""Stands in for the client where a test has to stop a job at one exact step; the other tests use a real server."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from gvf_blender.client import JobState, JobStatus
from gvf_blender.core.safetensors_file import read_tensors, write_tensors

SHIFT = 0.25
"""The made-up animation moves everything by this much along x from frame 0 to frame 2, in the unit frame."""


class ScriptedClient:
    """Answers at once, but waits at one step until it is released."""

    def __init__(
        self, hold_at: str = "", seconds_left: float | None = None, preview: tuple[bytes, str] | None = None
    ) -> None:
        self._preview = preview
        self._hold_at = hold_at
        self._seconds_left = seconds_left
        self.released = threading.Event()
        self.cancelled_jobs: list[str] = []
        self.threads: set[str] = set()
        self._capture: Path | None = None
        self.further: list[dict[str, object]] = []

    def connect(self) -> "ScriptedClient":
        self._step("connecting")
        return self

    def upload(self, path: Path, on_progress: Callable[[float], None]) -> str:
        on_progress(0.5)
        self._step("uploading")
        if path.suffix == ".safetensors":
            self._capture_tensors = {name: np.array(value) for name, value in read_tensors(path)[0].items()}
        on_progress(1.0)
        return path.name

    def submit(
        self, capture: str, video: str, settings: dict[str, object], video_name: str, further: list[dict[str, object]]
    ) -> JobStatus:
        self.further = further
        return _status(JobState.QUEUED, 1)

    def events(self, job_id: str) -> Iterator[JobStatus]:
        yield _status(JobState.QUEUED, 1)
        self._step("queued")
        yield replace(_status(JobState.RUNNING, 2, "tracking", 0.5), seconds_left=self._seconds_left)
        self._step("running")
        yield _status(JobState.SUCCEEDED, 3, "", 1.0)

    def cancel(self, job_id: str) -> None:
        self.cancelled_jobs.append(job_id)
        self.released.set()

    def preview(self, job_id: str, etag: str) -> tuple[bytes, str] | None:
        self.threads.add(threading.current_thread().name)
        return self._preview

    def download(self, job_id: str, path: Path, on_progress: Callable[[float], None]) -> None:
        on_progress(0.5)
        self._step("downloading")
        write_animation(path, self._capture_tensors["vertices"], self._capture_tensors["world_from_unit"])

    def _step(self, name: str) -> None:
        self.threads.add(threading.current_thread().name)
        if name == self._hold_at:
            self.released.wait(30)


def _status(state: JobState, seq: int, stage: str = "", progress: float = 0.0) -> JobStatus:
    return JobStatus("job-1", state, stage, progress, seq, error=None)


def write_animation(path: Path, vertices: np.ndarray, world_from_unit: np.ndarray, provenance: str = "{}") -> None:
    """Three frames in which all vertices and four Gaussians move along x."""
    steps = np.linspace(0.0, SHIFT, 3, dtype=np.float32)[:, None, None] * np.array([1, 0, 0], np.float32)
    corners = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]], np.float32)
    write_tensors(
        path,
        {
            "means": corners[None] + steps,
            "quaternions": np.tile(np.array([1, 0, 0, 0], np.float16), (1, 4, 1)),
            "scales": np.full((1, 4, 3), 0.02, np.float16),
            "colors": np.full((1, 4, 3), 0.5, np.float16),
            "opacities": np.ones((1, 4), np.float16),
            "vertices": vertices[None].astype(np.float32) + steps,
            "world_from_unit": world_from_unit.astype(np.float64),
        },
        {"format": "gvf-animation", "version": "1", "fps": "24.0", "provenance": provenance},
    )
