"""What a job would cut out of an uploaded video, over HTTP."""

import io
import json

import av
import numpy as np
import pytest
from PIL import Image
from server_under_test import started

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


def test_a_video_that_is_not_here_is_named(server):
    assert refused(server, "0" * 64, {}).code == "unknown_blob"
    assert refused(server, "../../etc/passwd", {}).code in ("not_found", "unknown_blob")


def test_what_is_no_video_is_refused_under_its_name(server):
    error = refused(server, server.upload(b"no video at all"), {})
    assert error.code == "bad_video" and str(error).startswith("walk.mov ")


def test_it_needs_the_token(server, walk):
    body = json.dumps({"settings": {}}).encode()
    status, answer = server.raw("POST", f"/v1/videos/{walk}/check", {"Content-Type": "application/json"}, body, "wrong")
    assert (status, answer["error"]["code"]) == (401, "unauthorized")


def test_a_look_that_takes_too_long_is_given_up(tmp_path):
    with started(tmp_path, "--max-check-seconds", "1") as server:
        frames = [np.random.default_rng(index).integers(0, 255, (1500, 2000, 3), np.uint8) for index in range(8)]
        video = server.upload(video_bytes(tmp_path / "noise.mov", frames))
        error = refused(server, video, {"matting": "plain"})
        assert "cannot be read within 1 seconds" in str(error) and error.code == "bad_video"
        assert server.client.health()["service"] == "gvf"
