"""How a running job looks, over HTTP."""

import io

import pytest
from PIL import Image

from gvf_blender.core.errors import ServerError
from server.preview import MAX_PIXELS


@pytest.fixture
def shown(server, tmp_path):
    """A job that shows a frame of 512 x 128 pixels and waits."""
    job = server.submit(f"preview 512 128\nprogress shown 0.5\nwait-for {tmp_path / 'go'}")
    server.event(job, lambda status: status.stage == "shown")
    yield job
    (tmp_path / "go").touch()
    server.outcome(job)


def test_the_newest_frame_is_a_small_png_file_with_straight_alpha(server, shown):
    png, _ = server.client.preview(shown.id)
    picture = Image.open(io.BytesIO(png))
    assert (picture.format, picture.size) == ("PNG", (MAX_PIXELS, MAX_PIXELS // 4))
    assert picture.getpixel((3, 3)) == pytest.approx((255, 128, 0, 128), abs=1)


def test_a_known_frame_is_not_sent_again(server, shown):
    _, etag = server.client.preview(shown.id)
    assert server.client.preview(shown.id, etag) is None
    assert server.raw("GET", f"/v1/jobs/{shown.id}/preview", {"If-None-Match": etag}) == (304, None)


def test_a_job_without_a_frame_has_none(server, tmp_path):
    job = server.submit(f"wait-for {tmp_path / 'go'}")
    server.running(job)
    assert server.client.preview(job.id) is None
    status, body = server.raw("GET", f"/v1/jobs/{job.id}/preview")
    assert (status, body["error"]["code"]) == (404, "no_preview")
    (tmp_path / "go").touch()


def test_the_frame_is_gone_with_the_jobs_folder(server):
    job = server.run("preview 8 8")
    assert server.run("").state  # the worker's next job begins after the folder of the last one is removed
    assert server.client.preview(job.id) is None
    assert not list(server.data.rglob("preview.png"))


def test_a_frame_of_an_unknown_job_needs_the_token_and_the_job(server):
    assert server.raw("GET", "/v1/jobs/none/preview")[1]["error"]["code"] == "unknown_job"
    assert server.raw("GET", "/v1/jobs/none/preview", token="wrong")[0] == 401
    with pytest.raises(ServerError):
        server.client.status("none")
