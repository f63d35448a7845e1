"""What one client may take of the server: others are served beside it, also those without a token in its way."""

import hashlib
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest
import uvicorn
from server_under_test import PATIENCE, started, wait_until

from server import connections, media
from server.connections import Connection
from server.database import Database
from server.errors import QueueFullError, StorageError
from server.finding import Finding
from server.limits import Limits
from server.media import MOST_WAITING, MediaProbe

MEGABYTE = 1 << 20


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("is_announced", [False, True])
def test_a_message_that_would_fill_the_memory_is_refused(server, is_announced):
    body = b" " * (2 * MEGABYTE)
    status, answer = server.raw("POST", "/v1/jobs", body=body if is_announced else iter([body]))
    assert (status, answer["error"]["code"]) == (413, "too_large")


def test_messages_below_the_limit_are_read_as_before(server):
    status, answer = server.raw("POST", "/v1/jobs", body=iter([b'{"capture": ', b'"x"}']))
    assert (status, answer["error"]["code"]) == (422, "invalid_request")


def begin_upload(server, content, sent):
    parts = urlsplit(server.client.address)
    connection = socket.create_connection((parts.hostname, parts.port))
    head = (
        f"PUT /v1/blobs/{sha256(content)} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content[:sent])
    return connection


def test_room_that_an_upload_was_promised_is_no_room_for_others(tmp_path):
    first, second = b"a" * 60_000, b"b" * 60_000
    with started(tmp_path, "--max-disk-gb", "0.0001") as server:
        with begin_upload(server, first, 1) as connection:
            wait_until(lambda: any((server.data / "incoming").glob("*.receiving")), "the upload has begun")
            status, answer = server.raw("PUT", f"/v1/blobs/{sha256(second)}", body=second)
            assert (status, answer["error"]["code"]) == (507, "disk_full")
            connection.sendall(first[1:])
            assert connection.recv(64).startswith(b"HTTP/1.1 201")
        assert server.raw("PUT", f"/v1/blobs/{sha256(second)}", body=second)[0] == 201


def test_a_stream_of_events_from_beyond_the_last_one_ends_with_the_job(server, tmp_path):
    job = server.submit(f"wait-for {tmp_path / 'go'}")
    server.running(job)
    connection = http.client.HTTPConnection(urlsplit(server.client.address).netloc, timeout=PATIENCE)
    authorization = {"Authorization": f"Bearer {server.token}"}
    connection.request("GET", f"/v1/jobs/{job.id}/events?after=1000", headers=authorization)
    response = connection.getresponse()
    (tmp_path / "go").touch()
    assert b"event: job" not in response.read()
    connection.close()


def test_the_keys_of_the_server_are_no_keys_of_clients(server):
    job = {"capture": "0" * 64, "video": "0" * 64, "video_name": "", "settings": {}, "client_id": "a"}
    status, answer = server.raw(
        "POST", "/v1/jobs", {"Content-Type": "application/json"}, json.dumps(job | {"idempotency_key": "retry-of:1"})
    )
    assert (status, answer["error"]["code"]) == (422, "invalid_request")
    assert "'retry-of:'" in answer["error"]["message"]


def test_nobody_else_reads_what_was_uploaded_into_a_folder_that_is_open_to_all(tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    with started(tmp_path) as server:
        sha = server.upload("mine")
        files = [server.data / "blobs" / sha, server.data / "jobs.sqlite", server.data / "server.log"]
        assert [stat.S_IMODE(file.stat().st_mode) & 0o077 for file in files] == [0, 0, 0]


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """A probe whose process takes its time: until `released`."""
    database = Database(tmp_path / "jobs.sqlite")
    found = MediaProbe(database, Limits())
    found.released = threading.Event()

    def ask(*arguments):
        assert found.released.wait(PATIENCE)
        return {"pixels": 1, "pictures": 2}

    monkeypatch.setattr(media, "ask", ask)
    yield found
    found.released.set()
    database.close()


def test_no_more_requests_wait_for_a_look_than_leave_threads_for_others(probe, tmp_path):
    answers = []

    def look(name):
        answers.append(probe.video(tmp_path / name, name))

    threads = [threading.Thread(target=look, args=(f"{number}.mp4",)) for number in range(MOST_WAITING)]
    for thread in threads:
        thread.start()
    wait_until(lambda: probe._places._value == 0, "all of them wait")
    with pytest.raises(QueueFullError, match="wait for uploads to be looked into") as caught:
        probe.video(tmp_path / "one-more.mp4", "one-more.mp4")
    assert caught.value.headers == {"Retry-After": "5"}
    probe.released.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(answers) == MOST_WAITING
    assert isinstance(probe.video(tmp_path / "one-more.mp4", "one-more.mp4"), Finding)


@pytest.fixture
def listening(monkeypatch):
    """The server's connections before a small application that stands for ours."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)

    async def hello(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})

    served = uvicorn.Server(uvicorn.Config(hello, http=Connection, ws="none", lifespan="off", log_config=None, port=0))
    thread = threading.Thread(target=served.run)
    thread.start()
    wait_until(lambda: served.started, "it listens")
    yield served.servers[0].sockets[0].getsockname()
    served.should_exit = True
    thread.join(PATIENCE)


def answer_to(address, sent):
    """What comes until the other side closes the connection."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(sent)
        received = b""
        while piece := connection.recv(4096):
            received += piece
        return received


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_connection_on_which_no_request_begins_is_closed(listening, sent):
    assert answer_to(listening, sent) == b""


def test_so_is_one_whose_second_request_never_begins(listening):
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    assert answer_to(listening, whole + b"GET / HTTP/1.1\r\n").endswith(b"hi")


def test_connections_beyond_what_the_system_allows_are_hung_up_on(listening, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", PATIENCE)
    monkeypatch.setattr(Connection, "most", 2)
    held = [socket.create_connection(listening) for _ in range(2)]
    assert answer_to(listening, b"") == b""
    held.pop().close()
    wait_until(lambda: answer_to(listening, b"GET / HTTP/1.0\r\nHost: x\r\n\r\n").endswith(b"hi"), "there is room")
    held.pop().close()


def test_the_server_may_open_as_many_files_as_the_system_lets_it(tmp_path):
    code = (
        "import resource; from server.connections import *; prepare_for_connections();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], Connection.most)"
    )
    shell = f'ulimit -S -n 300; ulimit -H -n 1000; exec "{sys.executable}" -c "{code}"'
    told = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert told.stdout.split() == ["1000", "800"], told.stderr


def damaged(tmp_path):
    path = tmp_path / "data" / "jobs.sqlite"
    path.parent.mkdir(exist_ok=True)
    Database(path).close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    return path


def test_a_damaged_list_of_jobs_keeps_the_server_from_starting_with_a_sentence(tmp_path):
    damaged(tmp_path)
    command = [sys.executable, "-m", "server", "--data", str(tmp_path / "data"), "--handshake", str(tmp_path / "h")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert told.returncode != 0 and "Traceback" not in told.stderr
    assert "jobs.sqlite" in told.stderr and "move the file away" in told.stderr.lower()


def test_one_that_is_damaged_meanwhile_is_named(tmp_path):
    database = Database(damaged(tmp_path))
    with pytest.raises(StorageError, match="is damaged"), database.reading() as connection:
        connection.execute("SELECT * FROM jobs JOIN events ON events.job = jobs.number").fetchall()
    database.close()


def test_a_process_that_looks_into_an_upload_ends_with_the_server(tmp_path):
    os.mkfifo(tmp_path / "video")  # whoever opens it to read waits for ever
    bounds = {"seconds": 60, "cpu_seconds": 60, "memory_mb": 4000, "file_mb": 0}
    details = {"pixels": 100, "frames": 10}
    command = [sys.executable, "-m", "server.media_process", "video", str(tmp_path / "video"), "video"]
    process = subprocess.Popen(
        [*command, json.dumps(bounds), json.dumps(details)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(PATIENCE) == 1
