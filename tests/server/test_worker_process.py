"""The worker process: warm, alone with torch, replaceable."""

import os
import signal
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from server_under_test import ProcessWatch, started, wait_until

from gvf_blender.client import JobState
from gvf_blender.core.safetensors_file import read_tensors, write_tensors


def test_one_worker_stays_warm_for_many_jobs(server):
    assert server.worker_pid() == server.worker_pid()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_a_worker_that_dies_fails_its_job_and_the_next_one_runs(server, name):
    job = server.run(f"signal {name}")
    assert (job.state, job.error.code) == (JobState.FAILED, "worker_died")
    assert str(int(signal.Signals[name])) in job.error.message
    assert server.run("").state is JobState.SUCCEEDED


def test_a_worker_killed_from_outside_fails_its_job_and_the_next_one_runs(server, tmp_path):
    job = server.submit(f"tell-pid\nwait-for {tmp_path / 'never'}")
    pid = int(server.event(job, lambda status: status.stage.isdigit()).stage)
    os.kill(pid, signal.SIGKILL)
    assert server.outcome(job).error.code == "worker_died"
    assert server.worker_pid() != pid


def test_a_worker_killed_between_jobs_is_replaced(server):
    pid = server.worker_pid()
    worker = ProcessWatch.of(pid)
    os.kill(pid, signal.SIGKILL)
    assert worker.ends()
    assert server.run("").state is JobState.SUCCEEDED


def test_helper_processes_of_a_job_end_with_its_worker(server):
    job = server.submit("tell-pid\nhelper\nignore-cancel")
    pid = int(server.event(job, lambda status: status.stage.isdigit()).stage)
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_until(lambda: bool(children.read_text().split()), "the helper runs")
    helper = ProcessWatch.of(int(children.read_text().split()[0]))
    server.client.cancel(job.id)
    assert helper.ends()
    assert server.outcome(job).state is JobState.CANCELLED


def test_a_worker_that_cannot_start_fails_each_job_with_the_reason(tmp_path):
    with started(tmp_path, job_function="fake_jobs:no_such_function") as server:
        for _ in range(2):
            job = server.run("")
            assert (job.state, job.error.code) == (JobState.FAILED, "worker_unavailable")
            assert "no_such_function" in job.error.message
        assert server.client.capabilities()["worker"] == "unavailable"


@pytest.fixture
def capture_file(tmp_path) -> Path:
    """The smallest capture: a triangle, seen once."""
    png = BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 255)).save(png, "PNG")
    path = tmp_path / "triangle.safetensors"
    write_tensors(
        path,
        {
            "vertices": np.eye(3, dtype=np.float32) / 2,
            "triangles": np.array([[0, 1, 2]], np.int32),
            "object_id": np.zeros(3, np.int32),
            "world_from_unit": np.eye(4),
            "world_to_camera": np.eye(4, dtype=np.float32)[None],
            "intrinsics": np.full((1, 4), 0.5, np.float32),
            "png": np.frombuffer(png.getvalue(), np.uint8),
            "png_offsets": np.array([0, len(png.getvalue())], np.int64),
        },
        {"format": "gvf-capture", "version": "1", "objects": '["triangle"]'},
    )
    return path


def test_a_result_knows_its_inputs_and_only_the_worker_loads_torch(tmp_path, capture_file):
    with started(tmp_path, job_function="fake_jobs:fabricated_animation") as server:
        capture, video = server.client.upload(capture_file), server.upload("video")
        job = server.outcome(server.client.submit(capture, video, {"gaussians": 100}))
        assert job.error is None
        server.client.download(job.id, tmp_path / "result.safetensors")
        tensors, metadata = read_tensors(tmp_path / "result.safetensors")
        assert tensors["vertices"].shape == (1, 3, 3)
        assert metadata["format"] == "gvf-animation"
        for part in ('"engine": "fake"', f'"capture_sha256": "{capture}"', f'"video_sha256": "{video}"'):
            assert part in metadata["provenance"]
        children = {
            pid
            for task in Path(f"/proc/{server.process.pid}/task").iterdir()
            for pid in (task / "children").read_text().split()
        }
        loads_torch = {pid: "libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in children}
        assert any(loads_torch.values())
        assert "libtorch" not in Path(f"/proc/{server.process.pid}/maps").read_text()

        broken = server.outcome(server.client.submit(video, video, {}))
        assert broken.error.code == "bad_file"
        assert broken.error.message.startswith("capture ")
