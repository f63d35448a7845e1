"""Driving videos: which files are read, what their frames are, and how the object is cut out."""

import shutil
from fractions import Fraction
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from small_assets import painted_body, picture
from video_files import moving_square, with_alpha, write_video

from gvf_core.errors import Cancelled, VideoError, WeightsError
from gvf_core.geometry.rotations import matrix_from_rotation_vector
from gvf_core.rendering import Camera, orbit_camera
from gvf_core.rendering.mesh import rasterize_mesh
from gvf_core.video import DrivingVideo, cut_out, decode, matting, read_video
from gvf_core.video.crop import crop_for_networks, crop_square
from gvf_core.video_file import inspect_video
from server.memory_estimate import MOST_CLIP_PIXELS


def clip(frames: list[np.ndarray], has_alpha: bool = False) -> DrivingVideo:
    opaque = [
        np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]) if frame.shape[2] == 3 else frame
        for frame in frames
    ]
    return DrivingVideo(np.stack(opaque), 24.0, has_alpha)


# Reading


def test_frames_come_in_order_with_the_files_rate_and_no_alpha(tmp_path):
    video = read_video(write_video(tmp_path / "a.mp4", moving_square(), rate=30))
    assert video.frames.shape == (6, 48, 64, 4)
    assert video.fps == 30
    assert not video.has_alpha
    assert video.frames[..., 3].min() == 255
    left = [int(np.flatnonzero(frame[24, :, 1] < 128)[0]) for frame in video.frames]
    assert left == [8, 10, 12, 14, 16, 18]


@pytest.mark.parametrize(("width", "height"), [(66, 50), (60, 34), (34, 62), (16, 16), (2, 2)])
def test_every_pixel_is_decoded_whatever_the_width(tmp_path, width, height):
    frames = [np.full((height, width, 3), 200, np.uint8)] * 2
    video = read_video(write_video(tmp_path / "a.mp4", frames))
    assert video.frames.shape == (2, height, width, 4)
    assert np.abs(video.frames[..., :3].astype(int) - 200).max() < 6
    assert video.frames[..., 3].min() == 255


def test_odd_sizes_are_read(tmp_path):
    frames = moving_square(width=61, height=37)
    video = read_video(write_video(tmp_path / "a.mov", frames, "png", "rgb24"))
    np.testing.assert_array_equal(video.frames[..., :3], np.stack(frames))


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mov", "png", "rgba"),
        ("a.mov", "qtrle", "argb"),
        ("a.mkv", "ffv1", "bgra"),
        ("a.apng", "apng", "rgba"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mov", "prores_ks", "yuva444p10le"),
    ],
)
def test_alpha_of_the_file_is_kept(tmp_path, name, codec, pix_fmt):
    frames = with_alpha(moving_square())
    video = read_video(write_video(tmp_path / name, frames, codec, pix_fmt))
    assert video.has_alpha
    assert len(video.frames) == 6
    alpha = video.frames[..., 3].astype(int)
    np.testing.assert_allclose(alpha, np.stack(frames)[..., 3], atol=60)
    assert alpha[0, 2, 2] < 5 and alpha[0, 24, 18] > 250


def test_a_gif_with_transparency_is_read_with_its_alpha_and_rate(tmp_path):
    pictures = [Image.fromarray(frame) for frame in with_alpha(moving_square())]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100, disposal=2)
    video = read_video(tmp_path / "a.gif")
    assert video.has_alpha and video.fps == pytest.approx(10)
    assert video.frames[3, 2, 2, 3] == 0 and video.frames[3, 24, 20, 3] == 255


@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
def test_a_clip_filmed_with_a_turned_camera_stands_upright(tmp_path, rotation):
    upright = moving_square(2, width=64, height=32)
    stored = [np.rot90(frame, -rotation // 90) for frame in upright]
    video = read_video(write_video(tmp_path / "a.mp4", stored, rotation=rotation))
    assert video.frames.shape == (2, 32, 64, 4)
    assert np.abs(video.frames[0, ..., :3].astype(int) - upright[0])[12:20, 12:24].max() < 30
    assert video.frames[0, 16, 50, :3].min() > 240


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_square(), options={"x264-params": "sar=3/2"})
    assert read_video(path).frames.shape == (6, 48, 96, 4)


def test_start_stride_and_count_choose_the_frames(tmp_path):
    path = write_video(tmp_path / "a.mov", moving_square(12), "png", "rgb24", rate=30)
    everything = read_video(path).frames
    video = read_video(path, start=3, stride=4, max_frames=2)
    np.testing.assert_array_equal(video.frames, everything[[3, 7]])
    assert video.fps == 7.5


def test_a_clip_that_is_too_large_to_hold_is_scaled_down(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_CLIP_PIXELS", 6 * 64 * 48 / 4)
    path = write_video(tmp_path / "a.mp4", moving_square())
    assert read_video(path).frames.shape == (6, 24, 32, 4)
    assert read_video(path, max_frames=2).frames.shape[0] == 2


def test_a_clip_that_does_not_say_its_length_is_scaled_for_all_frames_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_CLIP_PIXELS", 24 * 64 * 48 / 4)
    path = write_video(tmp_path / "a.mkv", moving_square(), "ffv1", "bgra")
    assert read_video(path, max_frames=24).frames.shape == (6, 24, 32, 4)


def test_a_clip_in_fragments_is_no_larger_than_others(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_CLIP_PIXELS", 12 * 32 * 24)
    frames = moving_square(12)
    options = {"g": "2", "bf": "0"}
    path = tmp_path / "fragments.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=24, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert 0 < container.streams.video[0].frames < 12
    assert read_video(path, max_frames=12).frames.shape == (12, 24, 32, 4)


def timed_video(path, times):
    """A file whose frames are shown at these milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time, picture in zip(times, moving_square(len(times)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_rate_that_varies_is_that_of_the_frames_which_are_taken(tmp_path):
    times = [*range(0, 240, 20), *range(3000, 4200, 100)]
    path = timed_video(tmp_path / "uneven.mp4", times)
    first, last, whole = (read_video(path, start, max_frames=count) for start, count in ((0, 12), (12, 12), (0, 24)))
    assert (first.fps, first.is_steady) == (pytest.approx(50, rel=0.01), True)
    assert (last.fps, last.is_steady) == (pytest.approx(10, rel=0.01), True)
    assert (whole.fps, whole.is_steady) == (pytest.approx(23 / 4.1, rel=0.01), False)


def test_times_in_whole_milliseconds_change_no_rate(tmp_path):
    path = write_video(tmp_path / "film.webm", moving_square(12), "libvpx-vp9", rate=24)
    clip = read_video(path, start=1, stride=2)
    assert (clip.fps, clip.is_steady) == (12, True)


def test_a_title_that_is_no_utf_8_does_not_matter(tmp_path):
    path = tmp_path / "title.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "caf?"
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for picture in moving_square():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert b"caf?" in content
    path.write_bytes(content.replace(b"caf?", b"caf\xe9"))
    assert len(read_video(path).frames) == 6
    assert inspect_video(path, 10**6, 48).frames == 6


def test_progress_never_falls_and_a_caller_can_stop_the_reading(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_square(12))
    seen: list[float] = []
    read_video(path, start=6, on_progress=seen.append)
    assert seen == sorted(seen) and len(seen) == 12 and seen[0] >= 0 and seen[-1] <= 1

    def stop(fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        read_video(path, on_progress=stop)


# Files that cannot be used


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(VideoError, match=r"no video file gone\.mp4"):
        read_video(tmp_path / "gone.mp4")


def test_a_folder_is_no_video(tmp_path):
    with pytest.raises(VideoError, match=tmp_path.name):
        read_video(tmp_path)


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(VideoError, match=r"a\.mp4 is empty"):
        read_video(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "content", [b"not a video, just words\n" * 20, b"\0" * 4096, b"GIF89a", b"\x1aE\xdf\xa3" + b"\xff" * 99]
)
def test_a_file_that_only_pretends_to_be_a_video_is_not_readable(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.mp4"):
        read_video(tmp_path / "a.mp4")


PLAYLISTS = {
    "hls": "\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{segment}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {segment}\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
}


@pytest.mark.parametrize("segment", ["secret.ts", "missing.ts"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_is_refused_unread(tmp_path, kind, segment):
    write_video(tmp_path / "secret.ts", moving_square())
    (tmp_path / "a.mp4").write_text(PLAYLISTS[kind].format(segment=segment), "utf-8")
    with pytest.raises(VideoError, match=r"a\.mp4 is a playlist"):
        read_video(tmp_path / "a.mp4")


def test_formats_that_name_addresses_are_no_videos(tmp_path):
    (tmp_path / "a.mp4").write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n")
    with pytest.raises(VideoError, match=r"a\.mp4 is not a readable video \(Invalid argument\)"):
        read_video(tmp_path / "a.mp4")


def test_an_audio_file_has_no_video_stream(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match=r"a\.mp4 has no video stream"):
        read_video(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("count", "start", "stride", "usable"),
    [(1, 0, 1, "one"), (6, 6, 1, "no"), (6, 500, 1, "no"), (6, 5, 1, "one"), (6, 0, 6, "one")],
)
def test_fewer_than_two_usable_frames_are_too_few(tmp_path, count, start, stride, usable):
    path = write_video(tmp_path / "a.mp4", moving_square(count))
    with pytest.raises(VideoError, match=f"{usable} usable frame.*; motion needs at least 2"):
        read_video(path, start, stride)


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    Image.fromarray(moving_square(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(VideoError, match="one usable frame;"):
        read_video(tmp_path / "a.png")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_truncated_mp4_is_refused_in_one_sentence(tmp_path, part):
    data = write_video(tmp_path / "a.mp4", moving_square(24)).read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: int(part * len(data))])
    with pytest.raises(VideoError, match=r"b\.mp4"):
        read_video(tmp_path / "b.mp4")


def test_a_picture_size_that_changes_within_the_file_is_refused(tmp_path):
    small = write_video(tmp_path / "a.ts", moving_square(4, 64, 48), "mpeg2video").read_bytes()
    large = write_video(tmp_path / "b.ts", moving_square(4, 96, 80), "mpeg2video").read_bytes()
    (tmp_path / "c.ts").write_bytes(small + large)
    with pytest.raises(VideoError, match=r"size changes within c\.ts"):
        read_video(tmp_path / "c.ts")


def test_pictures_of_absurd_size_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(VideoError, match=r"a\.mp4 has 64 x 48 pixels"):
        read_video(write_video(tmp_path / "a.mp4", moving_square()))


def test_a_file_name_with_special_characters_is_a_file_name(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_square())
    odd = tmp_path / "50% of [wal:k] #2 %03d.mp4"
    shutil.move(path, odd)
    assert len(read_video(odd).frames) == 6


# Cutting out


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (0, 180, 60), (120, 130, 140)])
def test_the_object_is_cut_out_of_any_plain_colour(tmp_path, background):
    video = read_video(write_video(tmp_path / "a.mp4", moving_square(background=background)))
    frames = cut_out(video)
    assert frames.dtype == np.float32 and frames.shape == video.frames.shape
    truth = np.stack([(frame != background).any(axis=2) for frame in moving_square(background=background)])
    for alpha, square in zip(frames[..., 3], truth, strict=True):
        # Colour has half the resolution in H.264 and bleeds by a pixel.
        grown = cv2.dilate(square.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert (alpha[square] > 0.5).all() and (alpha[~grown] > 0.5).mean() < 0.01
    assert frames[:, 2, 2].max() == 0


def test_colour_is_premultiplied_and_never_exceeds_alpha():
    rng = np.random.default_rng(0)
    frame = np.full((40, 40, 3), 250, np.uint8)
    frame[10:30, 10:30] = rng.integers(0, 256, (20, 20, 3))
    frames = cut_out(clip([frame, frame]))
    assert frames.min() >= 0 and (frames[..., :3] <= frames[..., 3:] + 1e-6).all()


def test_half_transparent_edges_lose_the_share_of_the_background():
    alpha = np.zeros((40, 40, 1))
    alpha[10:30, 10:30] = 1
    alpha[10:30, 30] = 0.5
    frame = (alpha * (200, 30, 30) + (1 - alpha) * (0, 255, 0)).astype(np.uint8)
    cut = cut_out(clip([frame, frame]))[0]
    assert cut[15, 15] == pytest.approx([200 / 255, 30 / 255, 30 / 255, 1], abs=0.01)
    assert cut[15, 35].tolist() == [0, 0, 0, 0]


def test_alpha_of_the_file_replaces_the_search_for_a_background():
    noise = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 4), np.uint8)
    noise[..., 3] = 0
    noise[:, 10:30, 10:30, 3] = 255
    noise[:, 5:8, 5:8, 3] = 128
    frames = cut_out(DrivingVideo(noise, 24.0, True))
    np.testing.assert_allclose(frames[..., 3], noise[..., 3] / 255, atol=1e-6)
    np.testing.assert_allclose(frames[..., :3], noise[..., :3] / 255 * frames[..., 3:], atol=1e-6)


def test_an_alpha_channel_that_is_opaque_everywhere_is_no_mask():
    frames = cut_out(clip(moving_square(), has_alpha=True))
    assert frames[0, 2, 2, 3] == 0 and frames[0, 24, 18, 3] == 1


def test_a_background_that_is_not_plain_is_refused_with_a_way_out():
    noise = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
    with pytest.raises(VideoError, match=r"not plain.*one background colour or with an alpha channel"):
        cut_out(clip(list(noise)))


def test_alpha_asked_for_where_there_is_none_is_refused():
    with pytest.raises(VideoError, match="no alpha channel with a mask"):
        cut_out(clip(moving_square(), has_alpha=True), method="alpha")


def test_a_plain_background_asked_for_is_taken_although_there_is_alpha():
    frames = with_alpha(moving_square())
    for frame in frames:
        frame[..., 3] = 255
        frame[:4, :4, 3] = 0
    assert cut_out(clip(frames, has_alpha=True))[0, 40, 50, 3] == 1
    assert cut_out(clip(frames, has_alpha=True), method="plain")[0, 40, 50, 3] == 0


def test_a_network_that_is_not_installed_is_refused_with_the_way_to_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path))
    with pytest.raises(WeightsError, match=r"u2net is not installed.*gvf models download u2net"):
        cut_out(clip(moving_square()), method="rembg")


def test_where_the_background_is_not_plain_an_installed_network_is_asked(monkeypatch):
    """A fake network, because the real one needs downloaded weights: it takes bright pixels for the object."""
    monkeypatch.setattr(matting, "_network_is_installed", lambda: True)
    monkeypatch.setattr(matting, "default_store", lambda: SimpleNamespace(weights_file=lambda name: name))
    monkeypatch.setattr(
        matting, "matte", lambda pictures, file, on_progress: np.where(pictures[..., 0] > 200, 255, 0).astype(np.uint8)
    )
    noise = np.random.default_rng(0).integers(0, 200, (2, 40, 40, 3), np.uint8)
    noise[:, 10:30, 10:30] = 255
    cut = cut_out(clip(list(noise)))
    assert (cut[0, 10:30, 10:30] == 1).all() and cut[0, :10].max() == 0
    plain = cut_out(clip(moving_square()))
    assert plain[0, 24, 18, 3] == 1


def test_sensor_noise_on_a_plain_background_is_tolerated():
    rng = np.random.default_rng(0)
    frames = [np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8) for frame in moving_square()]
    cut = cut_out(clip(frames))
    assert (cut[0, 30:, 40:, 3] > 0.5).mean() < 0.01


@pytest.mark.parametrize("has_alpha", [True, False])
def test_a_first_frame_that_shows_nothing_is_refused(has_alpha):
    frames = with_alpha(moving_square())
    frames[0] = np.full_like(frames[0], 255)
    frames[0][..., 3] = 0
    if not has_alpha:
        frames = [frame[..., :3] for frame in frames]
    with pytest.raises(VideoError, match="first used frame of the video shows nothing"):
        cut_out(clip(frames, has_alpha))


def test_tiny_pictures_do_not_break_the_cutting():
    frame = np.full((3, 3, 3), 255, np.uint8)
    frame[1, 1] = 0
    with pytest.raises(VideoError):
        cut_out(clip([frame, frame]))


# Cropping


def masks(*boxes: tuple[int, int, int, int], width: int = 90, height: int = 60) -> np.ndarray:
    """White rectangles given as left, top, right, bottom; one frame each."""
    frames = np.zeros((len(boxes), height, width, 4), np.float32)
    for frame, (left, top, right, bottom) in zip(frames, boxes, strict=True):
        frame[top:bottom, left:right] = 1
    return frames


CAMERA = Camera(orbit_camera(30, 20).world_to_camera, (0.9, 1.35, 0.55, 0.45), width=90, height=60)


def test_the_crop_holds_the_object_of_every_frame_with_a_margin():
    frames, camera = crop_square(masks((10, 10, 30, 30), (40, 20, 70, 40)), CAMERA, 64)
    assert frames.shape == (2, 64, 64, 4) and (camera.width, camera.height) == (64, 64)
    covered = np.argwhere((frames[..., 3] > 0.5).any(axis=0))
    assert covered.min() >= 4 and covered.max() <= 59
    assert np.ptp(covered[:, 1]) == pytest.approx(64 * 0.84, abs=2)


def test_the_official_crop_is_placed_by_the_first_frame_for_all():
    """The larger side of the first mask, 30 pixels, fills 380 / 1.2 of 512 around the middle."""
    frames, camera = crop_for_networks(masks((20, 20, 50, 40), (25, 20, 55, 40)), CAMERA)
    assert frames.shape == (2, 512, 512, 4) and (camera.width, camera.height) == (512, 512)
    scale = 380 / int(1.2 * 30)
    columns = [np.flatnonzero((frame[..., 3] > 0.5).any(axis=0)) for frame in frames]
    assert columns[0][[0, -1]].tolist() == pytest.approx([256 - 15 * scale, 256 + 15 * scale - 1], abs=1)
    assert columns[1][0] - columns[0][0] == pytest.approx(5 * scale, abs=1)
    rows = np.flatnonzero((frames[0, ..., 3] > 0.5).any(axis=1))
    assert rows[[0, -1]].tolist() == pytest.approx([256 - 10 * scale, 256 + 10 * scale - 1], abs=1)


def test_the_camera_of_the_official_crop_sees_the_same_point_at_the_same_place():
    _, camera = crop_for_networks(masks((20, 20, 50, 40)), CAMERA)
    point = np.array([0.1, -0.2, 0.05])
    scale = 380 / int(1.2 * 30)
    expected = (CAMERA.project(point)[0] - [35, 30]) * scale + 256
    np.testing.assert_allclose(camera.project(point)[0], expected, atol=1e-6)


def test_a_mask_that_is_nowhere_opaque_still_places_the_official_crop():
    frames, _ = crop_for_networks(0.7 * masks((20, 20, 50, 40)), CAMERA)
    assert frames[0, 256, 256, 3] == pytest.approx(0.7)


def test_a_crop_that_reaches_beyond_the_picture_is_empty_there():
    frames, _ = crop_square(masks((0, 0, 90, 60)), CAMERA, 64)
    assert (frames[0, :6, :, 3] == 0).all() and frames[0, 32, 32, 3] == pytest.approx(1)


def test_points_project_into_the_crop_where_they_lie_in_the_frame():
    whole = masks((20, 12, 61, 47))
    _, camera = crop_square(whole, CAMERA, 128)
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (50, 3))
    before, after = CAMERA.project(points)[0], camera.project(points)[0]
    scale = 128 * 0.84 / 41
    np.testing.assert_allclose(after - 64, scale * (before - [40.5, 29.5]), atol=1e-6)


@pytest.mark.parametrize("size", [48, 200])
def test_a_cropped_drawing_equals_a_drawing_with_the_crops_camera(size):
    body = painted_body(views=1, size=8)
    turn = matrix_from_rotation_vector(np.array([0.2, 0.5, 0.1]))
    vertices = (body.vertices @ turn.T * 0.6).astype(np.float32)
    camera = CAMERA.resized(180, 120)
    frame = picture(vertices, body.vertices, body.triangles, camera)
    frames, cropped = crop_square(frame[None], camera, size)
    drawn = picture(vertices, body.vertices, body.triangles, cropped)
    assert np.abs(frames[0] - drawn).mean() < 0.03
    for axis in (0, 1):
        centers = [np.average(np.indices((size, size))[axis], weights=rgba[..., 3]) for rgba in (frames[0], drawn)]
        assert centers[0] == pytest.approx(centers[1], abs=0.1)
    assert (rasterize_mesh(vertices, body.triangles, cropped).triangle[size // 2, size // 2]) >= 0


def test_the_servers_estimate_knows_how_much_of_a_clip_is_kept():
    assert decode.MAX_CLIP_PIXELS == MOST_CLIP_PIXELS
