"""What speaks to a server holds still for a while, and goes on as if nothing had been."""

import hashlib
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from gvf_blender.client import client, transport
from gvf_blender.client.answer import Answer
from gvf_blender.core.stillness import stillness


@pytest.fixture
def pair():
    ours, servers = socket.socketpair()
    with ours, servers:
        yield SimpleNamespace(sock=ours), servers


def in_thread(work):
    """Start it; returns the thread, and a list that gets what it raised, or None."""
    outcome = []

    def run():
        try:
            work()
            outcome.append(None)
        except Exception as error:  # noqa: BLE001 - for the test to look at
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_an_answer_that_came_during_a_stillness_longer_than_the_timeout_is_no_timeout(pair):
    connection, server = pair
    timeout = 3 * transport.WAIT_SECONDS
    thread, outcome = in_thread(lambda: transport._wait(connection, timeout, lambda: None))
    with stillness():
        # Until it has looked once, found nothing and holds still.
        time.sleep(1.5 * transport.WAIT_SECONDS)
        server.send(b"HTTP")
        time.sleep(timeout)
        assert not outcome
    thread.join()
    assert outcome == [None]


def test_an_answer_that_is_half_read_before_a_long_stillness_is_no_timeout(pair):
    connection, server = pair
    timeout, found = 0.5, []
    connection.sock.settimeout(timeout)

    def read():
        answer = Answer(connection.sock)
        answer.begin()
        found.append(answer.read1(1))
        found.append(answer.read1(1))

    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    thread, outcome = in_thread(read)
    with stillness():
        server.send(b"a")
        time.sleep(1.5 * timeout)
        assert not found
        server.send(b"b")
    thread.join()
    assert (outcome, found) == ([None], [b"a", b"b"])


def test_a_server_that_never_answers_is_a_timeout(pair):
    with pytest.raises(TimeoutError):
        transport._wait(pair[0], 0.1, lambda: None)


def test_a_file_is_hashed_only_outside_of_a_stillness(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "CHUNK_BYTES", 4)
    path, found = tmp_path / "video.mp4", []
    path.write_bytes(b"0123456789")
    with stillness():
        thread, _ = in_thread(lambda: found.append(client._sha256(path)))
        thread.join(0.2)
        assert not found
    thread.join()
    assert found == [hashlib.sha256(b"0123456789").hexdigest()]
