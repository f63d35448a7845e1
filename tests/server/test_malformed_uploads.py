"""Files and requests as no well-behaved client sends them: every one gets a sentence, none a crash."""

import io
import json
import socket
import struct
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
from capture_files import capture_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gvf_core.capture_format import read_capture_file
from gvf_core.errors import GvfError
from gvf_core.video_file import inspect_video

CAPTURE = capture_bytes()
MAX_PIXELS, MAX_FRAMES = 10_000, 100
SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)


def encoded_video(codec: str, width: int, height: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as container:
        stream = container.add_stream(codec, rate=12)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(3):
            picture = np.full((height, width, 3), 40 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


VIDEO = encoded_video("mpeg4", 64, 48)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The content cut off, or with some bytes replaced."""

    def replace(changes: list[tuple[int, int]]) -> bytes:
        changed = bytearray(content)
        for position, value in changes:
            changed[position] = value
        return bytes(changed)

    position = st.integers(0, len(content) - 1)
    return position.map(lambda end: content[:end]) | st.lists(
        st.tuples(position | st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=8
    ).map(replace)


@SHARED_FOLDER
@given(content=damaged(CAPTURE))
def test_a_damaged_capture_is_a_capture_or_a_refusal(tmp_path, content):
    read_or_refuse(tmp_path, content)


@SHARED_FOLDER
@given(
    name=st.sampled_from(["vertices", "triangles", "png", "png_offsets", "intrinsics", "object_id"]),
    dtype=st.sampled_from(["F32", "F64", "F16", "I32", "I64", "U8", "BOOL", "no type"]),
    shape=st.lists(st.integers(-1, 2**63), max_size=4),
    offsets=st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)),
)
def test_a_header_that_lies_about_a_tensor_is_a_refusal(tmp_path, name, dtype, shape, offsets):
    (length,) = struct.unpack("<Q", CAPTURE[:8])
    header = json.loads(CAPTURE[8 : 8 + length])
    lie = {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}
    if lie == header[name]:
        return
    header[name] = lie
    encoded = json.dumps(header).encode()
    with pytest.raises(GvfError):
        read_capture(tmp_path, struct.pack("<Q", len(encoded)) + encoded + CAPTURE[8 + length :])


def read_capture(folder: Path, content: bytes):
    path = folder / "capture.safetensors"
    path.write_bytes(content)
    return read_capture_file(path)


def read_or_refuse(folder: Path, content: bytes) -> None:
    try:
        assert len(read_capture(folder, content).tensors["vertices"]) == 3
    except GvfError as error:
        assert error.message


@SHARED_FOLDER
@given(content=damaged(VIDEO))
def test_a_damaged_video_is_a_video_or_a_refusal(tmp_path, content):
    path = tmp_path / "video.mov"
    path.write_bytes(content)
    try:
        facts = inspect_video(path, MAX_PIXELS, MAX_FRAMES)
    except GvfError as error:
        assert error.message.startswith("video.mov ")
    else:
        assert facts.frames >= 0


def test_a_video_whose_pictures_are_larger_than_its_header_says_is_not_unpacked(tmp_path):
    bomb = encoded_video("mjpeg", 2000, 1500)
    honest = struct.pack(">HH", 2000, 1500)
    assert honest in bomb
    path = tmp_path / "bomb.mov"
    path.write_bytes(bomb.replace(honest, struct.pack(">HH", 64, 48)))
    try:
        facts = inspect_video(path, MAX_PIXELS, MAX_FRAMES)
    except GvfError as error:
        assert error.code == "bad_video"
    else:
        assert facts.width * facts.height > MAX_PIXELS


def send(server, request: bytes) -> bytes:
    """The beginning of the answer to bytes on the wire."""
    parts = urlsplit(server.client.address)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(65536)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text("0123456789abcdefXYZ%./\\", min_size=1, max_size=70) | st.just("0" * 64),
    headers=st.dictionaries(
        st.sampled_from(["Content-Length", "Content-Range", "Transfer-Encoding", "Content-Encoding", "Expect"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
        | st.sampled_from(["bytes 0-9/10", "bytes 5-9/10", "chunked", "gzip", "100-continue", "10", "99999999999999"])
        | st.integers(-1, 2**70).map(str),
    ),
    body=st.binary(max_size=200),
)
def test_whatever_an_upload_looks_like_the_answer_is_no_defect(server, name, headers, body):
    lines = [f"PUT /v1/blobs/{name} HTTP/1.1", f"Host: {urlsplit(server.client.address).netloc}"]
    lines += [f"Authorization: Bearer {server.token}", *(f"{key}: {value}" for key, value in headers.items())]
    answer = send(server, "\r\n".join([*lines, "", ""]).encode() + body)
    if answer:  # a request that never ends gets none
        status = int(answer.split()[1])
        assert 100 <= status < 500, answer
    assert server.client.health()["service"] == "gvf"
