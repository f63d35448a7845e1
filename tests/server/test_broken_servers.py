"""What the extension's client takes from a server that is broken or means harm: never without end, never raw errors."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from gvf_blender.client import client as client_module
from gvf_blender.client.client import Client
from gvf_blender.client.transport import MAX_JSON_BYTES, MAX_LINE_BYTES, MAX_PICTURE_BYTES
from gvf_blender.core.errors import FileError, GvfBlenderError, JobCancelled, ServerError

OK = b"HTTP/1.1 200 OK\r\n"
CONTENT = b"a file of the artist's"
STATUS = {"id": "a", "state": "running", "stage": "x", "progress": 0.5, "seq": 1, "error": None}


@contextmanager
def service(answer):
    """Something that listens on loopback.

    Args:
        answer: Called with each connection and the head of its request; may send whatever it likes.

    Yields:
        Its address.
    """

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                request = b""
                while b"\r\n\r\n" not in request and (piece := connection.recv(65536)):
                    request += piece
                try:
                    answer(connection, request)
                except OSError:
                    continue  # the client hung up, as it should

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def always(*parts: bytes, pause: float = 0.0):
    """An answer that is the same to every request, in parts."""

    def answer(connection, request):
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)

    return answer


def whole(content: bytes, headers: bytes = b"") -> bytes:
    return OK + headers + b"Content-Length: %d\r\n\r\n" % len(content) + content


def as_json(values) -> bytes:
    return whole(json.dumps(values).encode())


def refusal(address: str, call, timeout: float = 10.0) -> GvfBlenderError:
    with pytest.raises(GvfBlenderError) as caught:
        call(Client(address, "token", timeout))
    return caught.value


def uploaded(client, path):
    path.write_bytes(CONTENT)
    return client.upload(path)


def before_upload(last: bytes):
    """Answers what comes before an upload as a server does, and the upload itself with something else."""

    def answer(connection, request):
        if request.startswith(b"HEAD"):
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nUpload-Offset: 0\r\n\r\n")
        elif request.startswith(b"GET"):
            connection.sendall(as_json({"limits": {"upload_mb": 1}}))
        else:
            while not request.endswith(CONTENT):
                request += connection.recv(65536)
            connection.sendall(last)

    return answer


# Complete answers: a client without a limit would take each of them, and none waits for more.
HEADS = {
    "with its length": whole,
    "until the connection ends": lambda content: OK + b"\r\n" + content,
    "in chunks": lambda content: (
        OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(content) + content + b"\r\n0\r\n\r\n"
    ),
    "in a chunk of -1 bytes": lambda content: OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + content,
}


@pytest.mark.parametrize("sent", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize(
    ("call", "content"),
    [
        (lambda client: client.preview("a"), bytes(MAX_PICTURE_BYTES + 1)),
        (lambda client: client.status("a"), json.dumps(STATUS).encode() + b" " * MAX_JSON_BYTES),
        (lambda client: list(client.events("a")), b"data: " + b" " * MAX_LINE_BYTES + json.dumps(STATUS).encode()),
    ],
    ids=["preview", "status", "events"],
)
def test_an_answer_without_end_is_not_taken(call, content, sent):
    with service(always(sent(content))) as address:
        error = refusal(address, call)
    assert error.code == "wrong_service"
    assert "is longer than" in error.message


def test_an_answer_to_an_upload_without_end_is_not_taken(tmp_path):
    with service(before_upload(OK + b"\r\n" + bytes(MAX_JSON_BYTES + 1))) as address:
        error = refusal(address, lambda client: uploaded(client, tmp_path / "file"))
    assert error.code == "wrong_service"


def test_a_picture_and_a_line_of_the_largest_size_are_taken():
    with service(always(whole(bytes(MAX_PICTURE_BYTES), b"ETag: x\r\n"))) as address:
        assert Client(address, "token").preview("a") == (bytes(MAX_PICTURE_BYTES), "x")
    ended = json.dumps(STATUS | {"state": "cancelled"}).encode()
    line = b"data: " + ended + b" " * (MAX_LINE_BYTES - len(ended) - 6) + b"\n"
    with service(always(whole(line))) as address:
        assert len(list(Client(address, "token").events("a"))) == 1


def test_a_picture_that_broke_off_is_not_taken():
    with service(always(OK + b"Content-Length: 10\r\n\r\n123")) as address:
        error = refusal(address, lambda client: client.preview("a"))
    assert error.code == "unreachable"


DRIPS = {
    "status line": always(*(bytes([byte]) for byte in as_json(STATUS)), pause=0.05),
    "content": always(as_json(STATUS)[:-5], *(bytes([byte]) for byte in as_json(STATUS)[-5:]), pause=0.15),
    "promises": always(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 30, as_json(STATUS), pause=0.05),
}


@pytest.mark.parametrize("answer", DRIPS.values(), ids=DRIPS)
def test_an_answer_that_comes_in_drips_is_not_waited_for(answer):
    """Each would be complete after a while; no single wait is as long as the timeout."""
    with service(answer) as address:
        error = refusal(address, lambda client: client.status("a"), timeout=0.4)
    assert error.code == "unreachable"
    assert "did not answer within 0.4 seconds" in error.message


def test_events_that_come_in_drips_are_a_broken_stream(monkeypatch):
    monkeypatch.setattr(client_module, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(client_module, "MAX_RECONNECTS", 0)
    event = b"data: " + json.dumps(STATUS | {"state": "cancelled"}).encode() + b"\n\n"
    with service(always(OK + b"\r\n", *[b":"] * 20, b"\n", event, pause=0.05)) as address:
        error = refusal(address, lambda client: list(client.events("a")), timeout=0.3)
    assert error.code == "unreachable"


def test_a_stream_that_keeps_its_heartbeat_may_take_longer_than_the_timeout(monkeypatch):
    monkeypatch.setattr(client_module, "SILENCE_SECONDS", 1.0)
    event = b"data: " + json.dumps(STATUS | {"state": "cancelled"}).encode() + b"\n\n"
    with service(always(OK + b"\r\n", *[b": heartbeat\n\n"] * 12, event, pause=0.1)) as address:
        assert [status.seq for status in Client(address, "token", 1.0).events("a")] == [1]


def test_a_slow_download_may_take_longer_than_the_timeout(tmp_path):
    head = OK + b"Content-Length: 10\r\n\r\n"
    with service(always(head, *(b"%d" % digit for digit in range(10)), pause=0.12)) as address:
        Client(address, "token", 1.0).download("a", tmp_path / "result")
    assert (tmp_path / "result").read_bytes() == b"0123456789"


def test_a_download_that_comes_in_drips_reports_now_and_then_and_can_be_cancelled(tmp_path, monkeypatch):
    drips = [OK + b"Content-Length: 40\r\n\r\n", *[b"x"] * 40]
    reports = []
    with service(always(*drips, pause=0.01)) as address:
        monkeypatch.setattr(client_module, "REPORT_SECONDS", 3600.0)
        Client(address, "token").download("a", tmp_path / "result", reports.append)
        assert len(reports) <= 2 and reports[-1] == 1.0

        def cancel(fraction):
            reports.append(fraction)
            raise JobCancelled()

        error = refusal(address, lambda client: client.download("a", tmp_path / "other", cancel))
    assert isinstance(error, JobCancelled)
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize(
    "head", [b"", b"Content-Length: abc\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_a_result_of_unknown_length_is_not_written(tmp_path, head):
    with service(always(OK + head + b"\r\n" + b"1\r\nx\r\n0\r\n\r\n")) as address:
        error = refusal(address, lambda client: client.download("a", tmp_path / "result"))
    assert isinstance(error, ServerError) and error.code == "wrong_service"
    assert not list(tmp_path.iterdir())


def test_no_more_of_a_result_is_written_than_announced(tmp_path):
    with service(always(OK + b"Content-Length: 4\r\n\r\n" + b"1234" + bytes(100_000))) as address:
        Client(address, "token").download("a", tmp_path / "result")
    assert (tmp_path / "result").read_bytes() == b"1234"


def test_a_result_that_does_not_fit_on_the_disk_is_not_begun(tmp_path):
    with service(always(OK + b"Content-Length: %d\r\n\r\n" % (1 << 60) + bytes(100_000))) as address:
        error = refusal(address, lambda client: client.download("a", tmp_path / "result"))
    assert isinstance(error, FileError)
    assert f"{1 << 60:,} bytes" in error.message and str(tmp_path) in error.message
    assert not list(tmp_path.iterdir())


def raw_status(**values: str) -> bytes:
    """A job's status, with JSON texts in the place of some values."""
    texts = {name: json.dumps(value) for name, value in STATUS.items()} | values
    return b"{" + ", ".join(f'"{name}": {text}' for name, text in texts.items()).encode() + b"}"


MANY_DIGITS = "9" * 400
WRONG_NUMBERS = [
    *({name: text} for name in ("seq", "progress", "seconds_left") for text in ("1e999", "NaN", "1e300", MANY_DIGITS)),
    {"seq": "-Infinity"},
    {"error": '{"code": 1}'},
    {"error": "[1]"},
]


@pytest.mark.parametrize("values", WRONG_NUMBERS)
def test_a_status_that_nobody_could_show_is_not_taken(values):
    with service(always(whole(raw_status(**values)))) as address:
        assert refusal(address, lambda client: client.status("a")).code == "wrong_service"
    with service(always(whole(b"data: " + raw_status(**values) + b"\n\n"))) as address:
        assert refusal(address, lambda client: list(client.events("a"))).code == "wrong_service"


def test_what_a_status_says_in_other_kinds_becomes_texts():
    error = '{"code": 1, "message": ["a"], "hint": null}'
    values = {"state": '"failed"', "stage": r'"\ud800"', "id": r'"\ud800"', "error": error}
    with service(always(whole(raw_status(**values)))) as address:
        status = Client(address, "token").status("a")
    assert (status.id, status.stage) == ("?", "?")
    assert (status.error.code, status.error.message, status.error.hint) == ("1", "['a']", "None")


def test_json_that_is_too_deep_is_no_json():
    with service(always(whole(b"[" * 1_000_000))) as address:
        assert refusal(address, lambda client: client.health()).code == "wrong_service"
    with service(always(whole(b"data: " + b"[" * 60_000 + b"\n"))) as address:
        assert refusal(address, lambda client: list(client.events("a"))).code == "wrong_service"


@pytest.mark.parametrize("limits", [None, 5, {"upload_mb": "much"}, {"upload_mb": [1]}])
def test_limits_that_are_none_are_told(tmp_path, limits):
    def answer(connection, request):
        if request.startswith(b"HEAD"):
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nUpload-Offset: " + b"9" * 5000 + b"\r\n\r\n")
        else:
            connection.sendall(as_json({"limits": limits}))

    with service(answer) as address:
        assert refusal(address, lambda client: uploaded(client, tmp_path / "file")).code == "wrong_service"


def test_a_look_is_waited_for_no_longer_than_a_server_may_allow(monkeypatch):
    waited = []
    with service(always(as_json({"limits": {"check_seconds": 1e15}}))) as address:
        client = Client(address, "token")
        real = client._http.json

        def json_of(method, path, body=None, timeout=None, while_waiting=None):
            waited.append(timeout)
            return real(method, path, body, 10.0, while_waiting)

        monkeypatch.setattr(client._http, "json", json_of)
        with pytest.raises(ServerError, match="what it says of a video is incomplete"):
            client.check_video("a", {})
    assert waited[-1] == client_module.LARGEST_LOOKING_LIMIT + client_module.LOOKING_SECONDS


@pytest.mark.parametrize("frames", ["1e999", "NaN", MANY_DIGITS])
def test_a_look_with_a_number_that_nobody_could_show_is_not_taken(frames):
    def answer(connection, request):
        found = b'{"frames": %s, "warnings": [], "picture": ""}' % frames.encode()
        connection.sendall(whole(found) if request.startswith(b"POST") else as_json({"limits": {"check_seconds": 1}}))

    with service(answer) as address:
        assert refusal(address, lambda client: client.check_video("a", {})).code == "wrong_service"
