"""The disk quota: what goes first, what never goes."""

import hashlib
import os

import pytest
from server_under_test import started

from gvf_blender.client import JobState
from gvf_blender.core.errors import ServerError
from server.errors import StorageFullError
from server.storage import Storage


def put(storage: Storage, content: bytes, used: float):
    path = storage.blob(hashlib.sha256(content).hexdigest())
    path.write_bytes(content)
    os.utime(path, (used, used))
    return path


@pytest.fixture
def storage(tmp_path) -> Storage:
    return Storage(tmp_path, quota_bytes=1000)


def test_the_least_recently_used_go_first_and_no_more_than_needed(storage):
    files = [put(storage, bytes([index]) * 300, used=index) for index in range(3)]
    assert storage.has_blob(files[0].name)
    storage.make_room(400)
    assert [file.exists() for file in files] == [True, False, True]


def test_what_unfinished_jobs_need_stays(storage):
    files = [put(storage, bytes([index]) * 300, used=index) for index in range(3)]
    storage.protect(lambda: {files[0].name})
    storage.make_room(700)
    assert [file.exists() for file in files] == [True, False, False]


def test_results_go_like_uploads(storage):
    result = storage.result("job")
    result.write_bytes(b"r" * 900)
    upload = put(storage, b"u" * 50, used=result.stat().st_atime + 10)
    storage.make_room(200)
    assert (result.exists(), upload.exists()) == (False, True)


def test_what_cannot_fit_is_refused_with_numbers_and_nothing_is_removed(storage):
    file = put(storage, b"x" * 600, used=0)
    storage.protect(lambda: {file.name})
    with pytest.raises(StorageFullError, match=r"401 bytes do not fit .* may hold 1,000 bytes"):
        storage.make_room(401)
    assert file.exists()


def test_old_uploads_make_room_for_new_ones_and_a_running_jobs_inputs_stay(tmp_path):
    with started(tmp_path, "--max-disk-gb", "0.0005") as server:
        job = server.submit(f"wait-for {tmp_path / 'go'}")
        server.running(job)
        old = server.upload("o" * 200_000)
        new = server.upload("n" * 400_000)
        assert not (server.data / "blobs" / old).exists()
        assert (server.data / "blobs" / new).exists()
        with pytest.raises(ServerError, match="500,000 bytes do not fit") as caught:
            server.upload("x" * 500_000)
        assert caught.value.code == "disk_full"
        (tmp_path / "go").touch()
        assert server.outcome(job).state is JobState.SUCCEEDED


def test_a_result_that_made_room_is_named(tmp_path):
    with started(tmp_path, "--max-disk-gb", "0.0005") as server:
        job = server.run("")
        server.upload("n" * 499_999)
        with pytest.raises(ServerError, match="made room for others") as caught:
            server.client.download(job.id, tmp_path / "result")
        assert caught.value.code == "result_gone"
        assert not server.raw("GET", f"/v1/jobs/{job.id}")[1]["outputs"]
