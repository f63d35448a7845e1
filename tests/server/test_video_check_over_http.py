"""What a job would cut out of an uploaded video, over HTTP."""

import io
import json

import av
import numpy as np
import pytest
from PIL import Image
from server_under_test import PATIENCE, started

from gvf_blender.core.errors import ServerError


def video_bytes(path, frames) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=12)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def square(left: int) -> np.ndarray:
    frame = np.full((96, 128, 3), 240, np.uint8)
    frame[30:60, left : left + 30] = (30, 60, 200)
    return frame


@pytest.fixture
def walk(server, tmp_path) -> str:
    """A square that moves right and, in the last frames, out of the picture."""
    return server.upload(video_bytes(tmp_path / "walk.mov", [square(left) for left in (10, 40, 70, 98)]))


def refused(server, video: str, settings: dict) -> ServerError:
    with pytest.raises(ServerError) as caught:
        server.client.check_video(video, settings, "walk.mov")
    return caught.value


def test_frames_warnings_and_a_picture_come_back(server, walk):
    check = server.client.check_video(walk, {"matting": "plain"}, "walk.mov")
    assert check.frames == 4
    assert any("leaves the picture in frame 3" in warning for warning in check.warnings)
    picture = np.asarray(Image.open(io.BytesIO(check.picture)).convert("RGB")).astype(int)
    middle = picture[: picture.shape[0] // 2, : picture.shape[1] // 2]
    assert (middle[..., 2] > middle[..., 0] + 60).any(), "the blue square"
    assert (middle[..., 0] > middle[..., 2] + 30).any(), "the red veil"


def test_only_the_used_frames_are_looked_at(server, walk):
    check = server.client.check_video(walk, {"max_frames": 3})
    assert (check.frames, check.warnings) == (3, ())


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"matting": "alpha"}, "bad_video", "no alpha channel"),
        ({"start_frame": 3}, "bad_video", "walk.mov has one usable frame"),
        ({"matting": "magic"}, "bad_settings", "magic"),
        ({"unheard": 1}, "bad_settings", "unheard"),
    ],
    ids=["alpha", "short", "matting", "unknown"],
)
def test_what_a_job_would_refuse_is_refused_in_the_same_words(server, walk, settings, code, words):
    error = refused(server, walk, settings)
    assert error.code == code and words in str(error)


def test_a_video_that_is_not_here_is_named_as_the_artist_knows_it(server):
    error = refused(server, "0" * 64, {})
    assert error.code == "unknown_blob" and str(error).startswith("The video walk.mov has not been uploaded")


@pytest.mark.parametrize("name", ["../../etc/passwd", "x" * 64, "0" * 63])
def test_a_name_that_is_no_hash_is_refused(server, name):
    assert refused(server, name, {}).code in ("not_found", "invalid_request", "unknown_blob")


def test_what_is_no_video_is_refused_under_its_name(server):
    error = refused(server, server.upload(b"no video at all"), {})
    assert error.code == "bad_video" and str(error).startswith("walk.mov ")


def test_it_needs_the_token(server, walk):
    body = json.dumps({"settings": {}}).encode()
    status, answer = server.raw("POST", f"/v1/videos/{walk}/check", {"Content-Type": "application/json"}, body, "wrong")
    assert (status, answer["error"]["code"]) == (401, "unauthorized")


FRAMES = 500


@pytest.fixture(scope="module")
def long_video(tmp_path_factory) -> bytes:
    """One that takes many seconds to look at."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 960, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(np.tile(square(left), (10, 10, 1)), "rgb24") for left in (10, 40)]
        for index in range(FRAMES):
            frame = frames[index % 2]
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


LONG = {"max_frames": FRAMES, "matting": "plain"}


@pytest.fixture(scope="module")
def roomy(tmp_path_factory):
    """A server that takes the long video."""
    with started(tmp_path_factory.mktemp("roomy"), "--max-upload-mb", "100") as server:
        yield server


def closed():
    raise KeyError("closed")


def test_a_look_that_takes_too_long_is_given_up_and_named(tmp_path, long_video):
    with started(tmp_path, "--max-upload-mb", "100", "--max-check-seconds", "0.5") as server:
        error = refused(server, server.upload(long_video), LONG)
        assert "Looking at walk.mov takes more than 0.5 seconds" in str(error) and error.code == "beyond_limits"


def test_a_look_that_takes_too_much_memory_is_given_up_and_named(tmp_path, long_video):
    with started(tmp_path, "--max-upload-mb", "100", "--max-check-mb", "900") as server:
        error = refused(server, server.upload(long_video), LONG)
        assert "or 900 MB" in str(error) and error.code == "beyond_limits"


def test_a_look_ends_with_its_connection_and_another_one_begins(roomy, long_video, tmp_path):
    small = roomy.upload(video_bytes(tmp_path / "v.mov", [square(10)] * 2))
    with pytest.raises(KeyError, match="closed"):
        roomy.client.check_video(roomy.upload(long_video), LONG, "walk.mov", closed)
    assert roomy.client.check_video(small, {}).frames == 2


def test_one_video_is_looked_at_at_a_time(roomy, long_video, tmp_path):
    video, small = roomy.upload(long_video), roomy.upload(video_bytes(tmp_path / "v.mov", [square(20)] * 2))
    refusals = []

    def meanwhile():
        if not refusals:
            refusals.append(refused(roomy, small, {}))
        closed()

    with pytest.raises(KeyError, match="closed"):
        roomy.client.check_video(video, LONG, "walk.mov", meanwhile)
    assert refusals[0].code == "checking"


def test_the_end_of_the_server_ends_a_look(tmp_path, long_video):
    with started(tmp_path, "--max-upload-mb", "100") as server:
        video = server.upload(long_video)

        def stop():
            server.client.shutdown()

        with pytest.raises(ServerError):
            server.client.check_video(video, LONG, "walk.mov", stop)
        server.process.wait(PATIENCE)
