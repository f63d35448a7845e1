"""Uploads by content hash."""

import hashlib
import http.client
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


def hang_up_after(server, content: bytes, sent: int) -> None:
    """Begin to upload and close the connection."""
    parts = urlsplit(server.client.address)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        head = (
            f"PUT /v1/blobs/{sha256(content)} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {server.token}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        connection.sendall(head.encode() + content[:sent])
        wait_until(lambda: bool(leftovers(server)), "the upload has begun")


def offset(server, content: bytes) -> int:
    """How many bytes of an upload the server has."""
    connection = http.client.HTTPConnection(urlsplit(server.client.address).netloc)
    connection.request("HEAD", f"/v1/blobs/{sha256(content)}", headers={"Authorization": f"Bearer {server.token}"})
    found = int(connection.getresponse().headers["Upload-Offset"])
    connection.close()
    return found


def put_part(server, content: bytes, start: int, end: int):
    content_range = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
    return server.raw("PUT", f"/v1/blobs/{sha256(content)}", content_range, content[start:end])


def test_an_upload_that_broke_off_goes_on_where_it_stopped(server):
    content = b"an upload that breaks off" * 100
    hang_up_after(server, content, 1000)
    wait_until(lambda: offset(server, content) == 1000, "the server has noticed")
    status, body = put_part(server, content, 1000, len(content))
    assert (status, body["complete"]) == (201, True)
    assert (server.data / "blobs" / sha256(content)).read_bytes() == content
    assert leftovers(server) == []


def test_an_upload_may_come_in_parts(server):
    content = bytes(range(100))
    assert put_part(server, content, 0, 40)[0] == 202
    assert put_part(server, content, 40, 70) == (
        202,
        {"sha256": sha256(content), "offset": 70, "complete": False},
    )
    assert put_part(server, content, 70, 100)[0] == 201


def test_the_client_goes_on_where_an_upload_stopped(server, tmp_path):
    content = b"the client goes on" * 100
    (tmp_path / "file").write_bytes(content)
    assert put_part(server, content, 0, 900)[0] == 202
    fractions = []
    server.client.upload(tmp_path / "file", fractions.append)
    assert fractions[0] >= 0.5
    assert (server.data / "blobs" / sha256(content)).read_bytes() == content


@pytest.mark.parametrize("start", [10, 50])
def test_a_part_that_leaves_a_gap_or_overlaps_is_refused_with_the_right_offset(server, start):
    content = b"gap" + bytes([start]) * 97
    assert put_part(server, content, 0, 30)[0] == 202
    status, body = put_part(server, content, start, 100)
    assert (status, body["error"]["code"]) == (409, "offset_mismatch")
    assert "30 bytes" in body["error"]["message"]
    assert offset(server, content) == 30
    assert put_part(server, content, 30, 100)[0] == 201


@pytest.mark.parametrize("content_range", ["bytes 5-1/10", "bytes 0-9/5", "bytes 0-3/100", "bytes */10", "all of it"])
def test_a_range_that_contradicts_itself_is_refused(server, content_range):
    status, body = server.raw("PUT", f"/v1/blobs/{'2' * 64}", {"Content-Range": content_range}, b"0123456789")
    assert (status, body["error"]["code"]) == (422, "invalid_request")
    assert offset(server, b"") == 0


def test_parts_of_an_upload_outlive_a_killed_server(tmp_path):
    content = b"kept" * 50_000
    with started(tmp_path) as server:
        hang_up_after(server, content, 100_000)
        wait_until(lambda: offset(server, content) == 100_000, "the server has noticed")
        server.process.kill()
        server.process.wait()
        server.handshake.unlink()
    with started(tmp_path) as server:
        assert offset(server, content) == 100_000
        assert put_part(server, content, 100_000, len(content))[0] == 201


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
