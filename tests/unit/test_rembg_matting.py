"""The optional matting: said in one sentence where it is not installed, its network kept in the store, its masks.

The last part needs the extra `matting` and the package `onnx`, which makes networks for it.
"""

import hashlib
import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gvf_core.cli import main
from gvf_core.errors import Cancelled, SettingsError, WeightsError
from gvf_core.models import github_download
from gvf_core.models import store as store_module
from gvf_core.models.download import download
from gvf_core.models.onnx_header import read_onnx_header
from gvf_core.models.registry import CHECKPOINTS, Host, ReleasedFile, checkpoint
from gvf_core.models.store import Store
from gvf_core.video.rembg_matting import matte

U2NET = checkpoint("u2net")
PICTURE, MASK = ("input.1", (1, 3, 320, 320)), ("1959", (1, 1, 320, 320))


# A stand-in for the file, made by hand: protocol buffers are numbered fields, with lengths where they hold others.


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, *parts: bytes | str) -> bytes:
    content = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return varint(field << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def value_info(field: int, name: str, shape: tuple[int | str, ...]) -> bytes:
    sizes = [message(1, number(1, size) if isinstance(size, int) else message(2, size)) for size in shape]
    return message(field, message(1, name), message(2, message(1, number(1, 1), message(2, *sizes))))


def stand_in(inputs=(PICTURE,), outputs=(MASK,), *, weights: bytes = b"\0" * 1000, node: bytes | None = None) -> bytes:
    """An ONNX file that has everything but a network that computes something."""
    graph = [
        message(1, message(1, "input.1"), message(2, "1959"), message(4, "Sigmoid")) if node is None else node,
        message(2, "torch-jit-export"),
        message(5, number(1, 250), message(8, "weight"), message(9, weights)),
        *(value_info(11, *described) for described in inputs),
        *(value_info(12, *described) for described in outputs),
    ]
    return number(1, 6) + message(2, "pytorch") + message(7, *graph) + message(8, message(1, ""), number(2, 11))


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path / "models"))
    return Store(tmp_path / "models")


@pytest.fixture
def model(tmp_path) -> Path:
    (tmp_path / "u2net.onnx").write_bytes(stand_in())
    return tmp_path / "u2net.onnx"


# Without rembg


@pytest.mark.parametrize("missing", ["onnxruntime", "rembg.sessions.u2net"])
def test_without_rembg_one_sentence_says_how_to_get_it(model, monkeypatch, missing):
    # None in the place of a module means that importing it fails.
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SettingsError, match="needs the package rembg, which cannot be imported") as caught:
        matte(np.zeros((1, 8, 8, 3), np.uint8), model)
    assert 'pip install "gvf-blender[matting]"' in caught.value.hint


# The registry and the store


def test_the_network_is_listed_but_not_part_of_what_animating_needs(store, capsys):
    assert not U2NET.for_animating
    assert main(["models", "list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["u2net"])
    assert all(words in line for words in ("176 MB", "Apache-2.0", "any background: cuts the object out of a video"))


def test_what_comes_from_github_has_a_known_hash_because_github_announces_none():
    entries = [entry for entry in CHECKPOINTS if entry.host is Host.GITHUB]
    assert U2NET in entries
    assert all(file.sha256 for entry in entries for file in entry.files)
    assert github_download.address(U2NET, U2NET.files[0]) == (
        "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2net.onnx"
    )


def test_a_file_on_the_disk_is_found_by_its_name_and_stored_as_it_is(store, model):
    assert main(["models", "add", str(model.parent)]) == 0
    installed = store.verify("u2net")
    assert (installed.origin, installed.preset, installed.licence) == ("user", None, "Apache-2.0")
    assert store.weights_file("u2net") == store.root / "u2net" / "u2net.onnx"
    assert store.weights_file("u2net").read_bytes() == stand_in()


def test_the_published_file_is_recognised_by_its_hash(store, model, monkeypatch):
    known = ReleasedFile("u2net.onnx", hashlib.sha256(stand_in()).hexdigest())
    monkeypatch.setattr(store_module, "checkpoint", lambda name: replace(U2NET, files=(known,)))
    assert store.install("u2net", [model]).origin == "official"


def test_a_damaged_network_is_noticed(store, model):
    store.install("u2net", [model])
    with store.weights_file("u2net").open("r+b") as file:
        file.truncate(500)
    with pytest.raises(WeightsError, match="its hash differs"):
        store.verify("u2net")


LARGE = ("input.1", (1, 3, 1024, 1024))
NOT_A_NETWORK = {
    "nothing": (b"", "is not a readable ONNX file"),
    "text": (b"<!DOCTYPE html><html>Not found</html>", "is not a readable ONNX file"),
    "zeros": (b"\0" * 1000, "is not a readable ONNX file"),
    "an endless number": (b"\xff" * 1000, "an endless number"),
    "a cut-off file": (stand_in()[:-1], "is not a readable ONNX file .it is cut off"),
    "a file without end": (stand_in(weights=b"\0" * 5000)[:3000], "it is cut off"),
    "no graph": (number(1, 6), "no version or no graph"),
    "many fields": (number(1, 6) + message(7, number(3, 1) * 300_000), "too many fields"),
    "another network": (stand_in(inputs=[LARGE]), "does not take one picture of 320 x 320 pixels"),
    "two inputs": (stand_in(inputs=[PICTURE, ("size", (2,))]), "does not take one picture"),
    "no inputs": (stand_in(inputs=[]), "does not take one picture"),
    "an input that is no tensor": (stand_in(inputs=[("input.1", ())]), "does not take one picture"),
    "no outputs": (stand_in(outputs=[]), "does not give a mask"),
    "classes": (stand_in(outputs=[("1959", (1, 1000))]), "does not give a mask"),
    "no operations": (stand_in(node=b""), "does not give a mask"),
}


@pytest.mark.parametrize(("content", "sentence"), NOT_A_NETWORK.values(), ids=NOT_A_NETWORK)
def test_what_is_no_such_network_is_refused_in_words(store, model, content, sentence):
    model.write_bytes(content)
    with pytest.raises(WeightsError, match=sentence) as caught:
        store.install("u2net", [model])
    assert caught.value.hint
    assert store.installed() == []


def test_open_sizes_and_weights_among_the_inputs_are_taken(store, model):
    picture = ("x", ("batch", 3, "height", "width"))
    model.write_bytes(stand_in(inputs=[("weight", (250,)), picture], outputs=[("y", ("batch", 1, "h", "w"))]))
    assert read_onnx_header(model).inputs == {"x": (None, 3, None, None)}
    store.install("u2net", [model])
    store.verify("u2net")


# Fetching it


def test_offline_nothing_is_fetched(store):
    with pytest.raises(WeightsError, match="offline mode forbids to fetch it") as caught:
        download(U2NET, store, offline=True)
    assert "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2net.onnx" in caught.value.hint


@contextmanager
def published(monkeypatch, content: bytes, status: int = 200) -> Iterator[None]:
    """A server on this machine in the place of GitHub."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(github_download, "address", lambda *_: f"http://127.0.0.1:{server.server_port}/u2net.onnx")
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


KNOWN = replace(U2NET, files=(ReleasedFile("u2net.onnx", hashlib.sha256(stand_in()).hexdigest()),))


def test_what_is_fetched_is_installed_as_official(store, monkeypatch):
    monkeypatch.setattr(store_module, "checkpoint", lambda name: KNOWN)
    heard = []
    with published(monkeypatch, stand_in()):
        installed = download(KNOWN, store, on_progress=lambda *values: heard.append(values))
    assert (installed.origin, installed.repository, installed.revision) == ("official", "danielgatis/rembg", "v0.0.0")
    assert heard[-1] == ("u2net.onnx", len(stand_in()), len(stand_in()))
    store.verify("u2net")


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (stand_in(weights=b"\1" * 1000), 200, "u2net.onnx of danielgatis/rembg arrived damaged: its hash differs"),
        (b"gone", 404, "GitHub answered with status 404"),
    ],
)
def test_what_is_not_the_published_file_is_not_installed(store, monkeypatch, content, status, sentence):
    with published(monkeypatch, content, status), pytest.raises(WeightsError, match=sentence):
        download(KNOWN, store)
    assert store.installed() == []


def test_a_github_that_cannot_be_reached_is_one_sentence(store, monkeypatch):
    with socket.socket() as taken:
        # Bound, but not listening.
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(github_download, "address", lambda *_: f"http://127.0.0.1:{taken.getsockname()[1]}/")
        with pytest.raises(WeightsError, match="GitHub cannot be reached"):
            download(KNOWN, store)


# With rembg


@pytest.fixture
def brightness(tmp_path) -> Path:
    """A network with the input and the outputs of U-2-Net whose mask is the brightness."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    side = helper.make_tensor_value_info("1960", kind, MASK[1])
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input.1"], ["1959"], axes=[1], keepdims=1),
            helper.make_node("Sigmoid", ["1959"], ["1960"]),
        ],
        "brightness",
        [helper.make_tensor_value_info(PICTURE[0], kind, PICTURE[1])],
        [helper.make_tensor_value_info(MASK[0], kind, MASK[1]), side],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(network)
    onnx.save(network, tmp_path / "u2net.onnx")
    return tmp_path / "u2net.onnx"


def moving_square() -> np.ndarray:
    """A white square that moves to the right over black, 3 frames."""
    frames = np.zeros((3, 60, 90, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[20:40, 10 + 20 * index : 30 + 20 * index] = 255
    return frames


def test_the_header_is_what_onnx_itself_reads(brightness):
    header = read_onnx_header(brightness)
    assert header.inputs == dict([PICTURE])
    assert header.outputs == {MASK[0]: MASK[1], "1960": MASK[1]}
    assert header.nodes == 2


def test_masks_follow_the_object(store, brightness):
    pytest.importorskip("rembg")
    store.install("u2net", [brightness])
    frames, heard = moving_square(), []
    alphas = matte(frames, store.weights_file("u2net"), heard.append)
    assert (alphas.shape, alphas.dtype) == ((3, 60, 90), np.uint8)
    assert heard == pytest.approx([0, 1 / 3, 2 / 3])
    # The network's 320 x 320 pixels make edges soft.
    assert np.abs(alphas.astype(int) - 255 * (frames[..., 0] == 255)).mean() < 3
    assert np.array_equal(alphas > 127, frames[..., 0] == 255)


def test_masks_are_those_of_rembg_itself(brightness, monkeypatch):
    rembg = pytest.importorskip("rembg")
    monkeypatch.setenv("U2NET_HOME", str(brightness.parent))
    session = rembg.new_session("u2net_custom", model_path=str(brightness))
    for frame, alpha in zip(moving_square(), matte(moving_square(), brightness), strict=True):
        np.testing.assert_array_equal(rembg.remove(frame, session=session, only_mask=True), alpha)


def test_a_picture_in_which_nothing_stands_out_has_no_object(brightness):
    pytest.importorskip("rembg")
    assert not matte(np.full((1, 16, 16, 3), 90, np.uint8), brightness).any()


def test_stopping_between_frames_stops(brightness):
    pytest.importorskip("rembg")

    def stop(fraction: float) -> None:
        if fraction > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        matte(moving_square(), brightness, stop)


def test_nothing_is_downloaded_in_the_place_of_a_missing_file(tmp_path):
    pytest.importorskip("rembg")
    with pytest.raises(WeightsError, match=r"There is no file .*gvf models download u2net"):
        matte(moving_square(), tmp_path / "u2net.onnx")


@pytest.mark.parametrize("content", [b"no network", stand_in()])
def test_a_file_that_cannot_be_run_is_one_sentence(tmp_path, content):
    pytest.importorskip("rembg")
    (tmp_path / "u2net.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match=r"rembg cannot run u2net\.onnx"):
        matte(moving_square(), tmp_path / "u2net.onnx")
