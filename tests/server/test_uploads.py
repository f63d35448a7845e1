"""Uploads by content hash."""

import hashlib
import shutil
import socket
from urllib.parse import urlsplit

import pytest
from server_under_test import started, wait_until

from gvf_blender.client import JobState
from gvf_blender.core.errors import FileError, ServerError


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def leftovers(server) -> list:
    return list((server.data / "incoming").iterdir())


def test_an_upload_is_kept_under_its_hash(server, tmp_path):
    content = b"driving video" * 10_000
    (tmp_path / "video.mp4").write_bytes(content)
    fractions = []
    assert server.client.upload(tmp_path / "video.mp4", fractions.append) == sha256(content)
    assert (server.data / "blobs" / sha256(content)).read_bytes() == content
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_uploading_again_changes_nothing(server):
    content = b"twice"
    path = f"/v1/blobs/{sha256(content)}"
    assert server.raw("HEAD", path)[0] == 404
    assert server.raw("PUT", path, body=content)[0] == 201
    assert server.raw("HEAD", path)[0] == 200
    before = (server.data / "blobs" / sha256(content)).stat()
    assert server.raw("PUT", path, body=content)[0] == 200
    assert (server.data / "blobs" / sha256(content)).stat() == before


def test_content_that_is_not_what_its_hash_says_is_refused_and_not_kept(server):
    announced = sha256(b"announced")
    status, body = server.raw("PUT", f"/v1/blobs/{announced}", body=b"something else")
    assert (status, body["error"]["code"]) == (422, "hash_mismatch")
    assert sha256(b"something else") in body["error"]["message"]
    assert not (server.data / "blobs" / announced).exists()
    assert leftovers(server) == []


@pytest.mark.parametrize("name", ["short", "Z" * 64, "..%2f..%2fescape", "A" * 64])
def test_a_name_that_is_no_hash_is_refused(server, name):
    status, body = server.raw("PUT", f"/v1/blobs/{name}", body=b"content")
    assert status in (404, 422)
    assert set(body["error"]) == {"code", "message", "hint"}


def test_an_announced_size_above_the_limit_is_refused_before_the_body(server):
    status, body = server.raw("PUT", f"/v1/blobs/{'0' * 64}", {"Content-Length": "1000001"})
    assert (status, body["error"]["code"]) == (413, "too_large")
    assert "1,000,000" in body["error"]["message"]


def test_an_unannounced_size_above_the_limit_is_refused_on_the_way(server):
    content = b"x" * 1_000_001
    pieces = (content[start : start + 100_000] for start in range(0, len(content), 100_000))
    status, body = server.raw("PUT", f"/v1/blobs/{sha256(content)}", body=pieces)  # sent in chunks
    assert (status, body["error"]["code"]) == (413, "too_large")
    assert leftovers(server) == []


def test_the_client_names_a_file_that_is_too_large(server, tmp_path):
    (tmp_path / "long.mp4").write_bytes(b"y" * 1_000_001)
    with pytest.raises(ServerError, match=r"long\.mp4 has 1,000,001 bytes.* accepts 1,000,000") as caught:
        server.client.upload(tmp_path / "long.mp4")
    assert caught.value.code == "too_large"


def test_the_client_names_a_file_that_is_missing(server, tmp_path):
    with pytest.raises(FileError, match=r"gone\.mp4 cannot be read"):
        server.client.upload(tmp_path / "gone.mp4")


def test_a_client_that_hangs_up_leaves_nothing_behind(server):
    parts = urlsplit(server.client.address)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(
            f"PUT /v1/blobs/{'1' * 64} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {server.token}\r\n"
            "Content-Length: 1000\r\n\r\nhalf".encode()
        )
        wait_until(lambda: bool(leftovers(server)), "the upload has begun")
    wait_until(lambda: not leftovers(server), "the upload is gone")
    assert server.client.health()["service"] == "gvf"


def test_a_full_disk_refuses_the_upload_and_keeps_nothing(tmp_path):
    # a limit on the size of files stands in for a full disk: the write fails in the same place
    with started(tmp_path, shell="ulimit -f 200") as server:
        content = b"z" * 1_000_000
        status, body = server.raw("PUT", f"/v1/blobs/{sha256(content)}", body=content)
        assert (status, body["error"]["code"]) == (507, "disk_full")
        assert str(server.data) in body["error"]["message"]
        assert leftovers(server) == []
        assert list((server.data / "blobs").iterdir()) == []
        assert server.upload("small things still fit")


def test_a_data_folder_that_somebody_removed_is_made_again(tmp_path):
    with started(tmp_path) as server:
        assert server.run("").state is JobState.SUCCEEDED
        wait_until(lambda: not list((server.data / "work").iterdir()), "the job has cleaned up")
        for name in ("blobs", "incoming", "results", "work"):
            shutil.rmtree(server.data / name)
        assert server.run("").state is JobState.SUCCEEDED


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path):
    with started(tmp_path) as server:
        (server.data / "incoming").rmdir()
        (server.data / "incoming").write_text("a file where the folder should be")
        content = b"anything"
        status, body = server.raw("PUT", f"/v1/blobs/{sha256(content)}", body=content)
        assert (status, body["error"]["code"]) == (500, "storage")
        assert str(server.data) in body["error"]["message"]
