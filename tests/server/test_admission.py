"""What the server does not take on, and with which words it says so."""

import hashlib
import struct

import av
import numpy as np
import pytest
from capture_files import capture_bytes
from server_under_test import started

from gvf_blender.client import JobState
from gvf_blender.core.errors import ServerError
from gvf_core.settings import AnimateSettings
from server.admission import Admission
from server.announcements import Announcements
from server.database import Database
from server.errors import NotEnoughMemoryError
from server.finding import Finding
from server.job_table import JobTable
from server.jobs import JobRequest
from server.limits import Limits
from server.media import MediaProbe
from server.memory_estimate import estimated_mb
from server.storage import Storage


def video_bytes(path, width=64, height=48, frames=3) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            picture = np.full((height, width, 3), 40 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A server that looks into uploads and takes little."""
    limits = ["--max-video-frames", "20", "--max-video-pixels", "10000", "--max-capture-vertices", "10"]
    folder = tmp_path_factory.mktemp("strict")
    with started(folder, *limits, "--max-upload-mb", "10", job_function="fake_jobs:instant") as server:
        yield server


def submit(server, capture: bytes, video: bytes, settings=None, **options):
    return server.client.submit(server.upload(capture), server.upload(video), settings or {}, **options)


def test_what_fits_is_taken(strict, tmp_path):
    job = submit(strict, capture_bytes(), video_bytes(tmp_path / "v.mp4"))
    assert strict.outcome(job).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"frames": 21}, "walk.mp4 has 21 frames; this server takes 20. Cut it shorter."),
        ({"width": 128, "height": 96}, "walk.mp4 has 12,288 pixels a frame; this server takes 10,000. Scale it down."),
    ],
)
def test_a_video_beyond_the_limits_is_refused_with_numbers(strict, tmp_path, size, words):
    with pytest.raises(ServerError) as caught:
        submit(strict, capture_bytes(), video_bytes(tmp_path / "v.mp4", **size), video_name="walk.mp4")
    assert (str(caught.value), caught.value.code) == (words, "beyond_limits")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"frames": 21}, "side.mp4 has 21 frames; this server takes 20. Cut it shorter."),
        (None, "side.mp4 "),
    ],
)
def test_a_further_video_is_looked_into_like_the_driving_one(strict, tmp_path, size, words):
    video = video_bytes(tmp_path / "v.mp4")
    side = strict.further(video_bytes(tmp_path / "side.mp4", **size) if size else b"no video")
    with pytest.raises(ServerError) as caught:
        submit(strict, capture_bytes(), video, further=[side])
    assert str(caught.value).startswith(words)


def test_an_asset_beyond_the_limits_is_refused_with_numbers(strict, tmp_path):
    with pytest.raises(ServerError, match="The capture has 12 vertices; this server takes 10"):
        submit(strict, capture_bytes(vertices=12), video_bytes(tmp_path / "v.mp4"))


@pytest.mark.parametrize("content", [b"no video", b"\0\0\0\x20ftypisom" + bytes(500), b"#EXTM3U\nhttp://evil/x.ts\n"])
def test_what_is_no_video_is_refused_under_the_name_that_the_artist_knows(strict, content):
    before = len(strict.client.jobs())
    for _ in range(2):
        with pytest.raises(ServerError, match=r"^walk\.mp4 ") as caught:
            submit(strict, capture_bytes(), content, video_name="walk.mp4")
        assert caught.value.code == "bad_video"
    assert len(strict.client.jobs()) == before


@pytest.mark.parametrize(
    "capture",
    [
        b"",
        b"no capture",
        capture_bytes()[:-7],
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 70) + b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,1]}}    ',
        capture_bytes(vertex=np.nan),
        capture_bytes(vertex=np.inf),
        capture_bytes(dtype=np.float64),
    ],
)
def test_what_is_no_capture_is_refused_before_it_is_queued(strict, tmp_path, capture):
    with pytest.raises(ServerError) as caught:
        submit(strict, capture, video_bytes(tmp_path / "v.mp4"))
    assert caught.value.code in ("bad_file", "bad_capture")


def test_a_file_that_takes_more_memory_than_allowed_to_look_at_is_refused(tmp_path):
    flags = ["--max-probe-mb", "300", "--max-capture-vertices", "100000000", "--max-upload-mb", "200"]
    with started(tmp_path, *flags, job_function="fake_jobs:instant") as server:
        with pytest.raises(ServerError, match="The capture cannot be read within 20 seconds and 300 MB"):
            submit(server, capture_bytes(vertices=8_000_000), video_bytes(tmp_path / "v.mp4"))
        assert server.client.health()["service"] == "gvf"


def test_a_job_that_would_not_fit_into_memory_is_refused_with_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    limits, storage = Limits(), Storage(tmp_path, quota_bytes=10**9)
    database = Database(tmp_path / "jobs.sqlite")
    table = JobTable(database, Announcements(), limits.queued_jobs)
    admission = Admission(table, storage, MediaProbe(database, limits), available_mb=lambda: 500)
    hashes = []
    for content in (capture_bytes(), video_bytes(tmp_path / "v.mp4")):
        hashes.append(hashlib.sha256(content).hexdigest())
        storage.blob(hashes[-1]).write_bytes(content)
    settings = AnimateSettings(engine="fit", gaussians=200_000, max_frames=3)
    with pytest.raises(NotEnoughMemoryError, match=r"about 883 MB of memory; 500 MB are available") as caught:
        admission.submit(JobRequest(*hashes, "walk.mp4", settings), "key")
    assert caught.value.status == 507
    assert table.jobs() == []


def test_every_further_video_counts_in_the_memory_that_a_job_is_expected_to_take():
    settings = AnimateSettings(engine="fit", max_frames=10)
    front, short = Finding(pixels=1_000_000, pictures=100), Finding(pixels=1_000_000, pictures=4)
    alone = estimated_mb(settings, Finding(), [front], networks=False)
    assert estimated_mb(settings, Finding(), [front, front], networks=False) - alone == 200
    assert estimated_mb(settings, Finding(), [front, front, short], networks=False) - alone == 300


def test_a_full_queue_answers_429_and_when_to_come_back(tmp_path):
    with started(tmp_path, "--max-queued-jobs", "2") as server:
        running = server.submit(f"wait-for {tmp_path / 'go'}")
        server.running(running)
        for _ in range(2):
            server.submit("")
        with pytest.raises(ServerError, match="2 jobs are waiting") as caught:
            server.submit("")
        assert caught.value.code == "queue_full"
        (tmp_path / "go").touch()


def test_a_job_that_takes_too_long_is_ended_and_the_next_one_runs(tmp_path):
    with started(tmp_path, "--max-job-minutes", "0.01") as server:
        job = server.run("ignore-cancel")
        assert (job.state, job.error.code) == (JobState.FAILED, "too_slow")
        assert "0.01 minutes" in job.error.message
        assert server.run("").state is JobState.SUCCEEDED
