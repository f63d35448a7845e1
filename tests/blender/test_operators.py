"""The operators as scripts and buttons call them."""

import math
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from mathutils import Euler, Matrix, Vector
from scripted_client import ScriptedClient
from scripted_pipeline import SEED_TELLS

from gvf_blender.core.job_phase import Phase
from gvf_blender.importer.compat import fcurves_of


@pytest.fixture
def with_server(addon, server, monkeypatch):
    monkeypatch.setenv("GVF_HOME", str(server.handshake.parent))


@pytest.fixture
def with_window(monkeypatch):
    """Let the extension believe that Blender has windows; the test fires the timer."""
    from gvf_blender import job_list
    from gvf_blender.operators import animate

    app = SimpleNamespace(background=False, timers=bpy.app.timers, handlers=bpy.app.handlers)
    monkeypatch.setattr(animate, "bpy", SimpleNamespace(app=app))
    monkeypatch.setattr(job_list, "bpy", SimpleNamespace(app=app, context=bpy.context, ops=bpy.ops))


def scripted(monkeypatch, client):
    """Let the animate operator use a scripted client."""
    from gvf_blender.server_choice import ServerChoice

    monkeypatch.setattr(ServerChoice, "locate", lambda self: "http://127.0.0.1:1")
    monkeypatch.setattr(ServerChoice, "connect", lambda self: client.connect())
    return client


def fire_timer_until(phase):
    from gvf_blender import job_list

    job = job_list.jobs()[-1]
    while job.phase is not phase:
        assert not job.finished, job.message
        job_list.advance()
    return job


def test_animate_in_background_mode_blocks_and_imports(with_server, cube, video):
    assert bpy.ops.gvf.animate(video=str(video)) == {"FINISHED"}
    assert cube.data.shape_keys is not None
    assert len(bpy.data.collections["Cube GVF"].objects) == 2


def test_animate_takes_from_the_scene_what_the_call_leaves_out(with_server, cube, video, server):
    settings = bpy.context.scene.gvf
    settings.video = str(video)
    settings.outputs = {"points"}
    settings.use_current_frame = False
    settings.frame_start = 100
    bpy.ops.gvf.animate(seed=11)
    assert cube.data.shape_keys is None
    points = next(iter(bpy.data.collections["Cube GVF"].objects))
    keyframes = _first_and_last_key(points)
    assert keyframes == (100, 102)


def test_the_result_tells_seed_and_settings_of_the_scene_that_it_was_made_with(with_server, cube, video, tmp_path):
    from gvf_blender.importer.provenance import provenance_of

    settings = bpy.context.scene.gvf
    settings.video, settings.seed, settings.engine, settings.preset = str(video), 4711, "fit", "best"
    assert bpy.ops.gvf.animate() == {"FINISHED"}
    settings.seed, settings.preset = 1, "fast"  # of the next job
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    for name in ("Cube", "Cube splats", "Cube points"):
        stored = provenance_of(bpy.data.objects[name])["settings"]
        assert (stored["seed"], stored["engine"], stored["preset"]) == (4711, "fit", "best")


def test_a_second_video_goes_to_the_server_from_the_call_or_from_the_scene(with_server, cube, video, tmp_path):
    side = tmp_path / "side.mp4"
    side.write_bytes(b"side")
    with pytest.raises(RuntimeError, match=r"side\.mp4 135 0"):
        bpy.ops.gvf.animate(video=str(video), second_video=str(side), second_azimuth=135, seed=SEED_TELLS)
    settings = bpy.context.scene.gvf
    settings.video, settings.second_video, settings.second_elevation = str(video), str(side), 12.1
    with pytest.raises(RuntimeError, match=r"side\.mp4 90 12\.1"):
        bpy.ops.gvf.animate(seed=SEED_TELLS)


def test_a_second_video_that_the_engine_would_not_look_at_is_left_out(addon):
    from gvf_blender.properties import second_video

    settings = bpy.context.scene.gvf
    assert second_video(settings) == ()
    settings.second_video, settings.second_azimuth = "//side.mp4", 33.3
    assert second_video(settings) == (("//side.mp4", 33.3, 0.0),)
    settings.engine = "diffusion"
    assert second_video(settings) == ()
    settings.refine_seconds = 10
    assert len(second_video(settings)) == 1


def _first_and_last_key(item):
    times = [point.co.x for curve in fcurves_of(item) for point in curve.keyframe_points]
    return min(times), max(times)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "No driving video is chosen"),
        ("missing.mp4", "does not exist"),
        ("folder", "is a folder"),
        ("empty.mp4", "is empty"),
    ],
)
def test_animate_reports_an_unusable_video(with_server, cube, tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(RuntimeError, match=message):
        bpy.ops.gvf.animate(video=str(tmp_path / name) if name else "")


def test_animate_reports_a_missing_server_with_the_next_step(cube, video):
    with pytest.raises(RuntimeError, match=r"No server is running.*dev\.py serve"):
        bpy.ops.gvf.animate(video=str(video))


def test_animate_reports_the_servers_failure_and_keeps_the_job(with_server, cube, video):
    from gvf_blender import job_list

    with pytest.raises(RuntimeError, match="The driving video shows nothing"):
        bpy.ops.gvf.animate(video=str(video), seed=1)
    assert job_list.jobs()[-1].phase is Phase.FAILED


def test_animate_refuses_without_a_selection(addon, video):
    assert not bpy.ops.gvf.animate.poll()
    with pytest.raises(RuntimeError, match="No object is selected"):
        bpy.ops.gvf.animate(video=str(video))


def test_animate_refuses_outside_object_mode(cube, video):
    bpy.ops.object.mode_set(mode="EDIT")
    with pytest.raises(RuntimeError, match="edit mesh mode"):
        bpy.ops.gvf.animate(video=str(video))
    bpy.ops.object.mode_set(mode="OBJECT")


def test_with_windows_animate_returns_at_once_and_the_timer_does_the_rest(cube, video, with_window, monkeypatch):
    from gvf_blender import job_list

    client = scripted(monkeypatch, ScriptedClient(hold_at="connecting"))
    assert bpy.ops.gvf.animate(video=str(video)) == {"FINISHED"}
    assert bpy.app.timers.is_registered(job_list.advance)
    job = job_list.jobs()[-1]
    assert job_list.advance() == job_list.WAIT_INTERVAL
    assert job.phase is Phase.CONNECTING
    client.released.set()
    fire_timer_until(Phase.DONE)
    assert job_list.advance() is None
    assert cube.data.shape_keys is not None


def test_with_windows_the_timer_advances_a_job_that_a_script_started(api, cube, video, with_window, monkeypatch):
    from gvf_blender import job_list

    scripted(monkeypatch, ScriptedClient())
    job = api.start(cube, video, outputs=["motion"])
    assert bpy.app.timers.is_registered(job_list.advance)
    fire_timer_until(Phase.DONE)
    assert job.imported.motion == (cube,)


def test_who_animates_one_asset_after_the_other_gets_both(cube, video, with_window, monkeypatch):
    from gvf_blender import job_list

    client = scripted(monkeypatch, ScriptedClient(hold_at="connecting"))
    bpy.ops.gvf.animate(video=str(video))
    job_list.advance()
    bpy.ops.mesh.primitive_cone_add()
    bpy.ops.gvf.animate(video=str(video))
    first, second = job_list.jobs()
    job_list.advance()
    assert (first.phase, second.phase) == (Phase.CONNECTING, Phase.WAITING)
    client.released.set()
    fire_timer_until(Phase.DONE)
    assert second.imported.motion[0].name == "Cone"
    while not first.finished:
        job_list.advance()
    assert first.imported.motion == (cube,)


def test_a_job_that_is_tried_again_while_another_is_captured_waits_for_it(cube, video, with_window, monkeypatch):
    from gvf_blender import job_list
    from gvf_blender.operators import animate, jobs

    monkeypatch.setattr(jobs, "bpy", animate.bpy)
    client = scripted(monkeypatch, ScriptedClient(hold_at="connecting"))
    bpy.ops.gvf.animate(video=str(video))
    bpy.ops.gvf.cancel()
    (cancelled,) = job_list.jobs()
    bpy.ops.gvf.animate(video=str(video))
    bpy.ops.gvf.retry_job(job_id=cancelled.id)
    first, again = job_list.jobs()
    assert again.request == cancelled.request and again.waits_for is first
    bpy.ops.gvf.cancel(job_id=first.id)
    client.released.set()
    assert fire_timer_until(Phase.DONE) is again


def test_cancel_stops_the_job_of_the_given_id(cube, video, with_window, monkeypatch):
    client = scripted(monkeypatch, ScriptedClient(hold_at="running"))
    bpy.ops.gvf.animate(video=str(video))
    job = fire_timer_until(Phase.RUNNING)
    assert bpy.ops.gvf.cancel(job_id=job.id) == {"FINISHED"}
    assert job.phase is Phase.CANCELLED
    job.close()
    assert client.cancelled_jobs
    assert cube.data.shape_keys is None


def test_cancel_without_any_job_says_so(addon):
    with pytest.raises(RuntimeError, match="There is no job"):
        bpy.ops.gvf.cancel()


def test_cancel_of_an_unknown_job_says_so(cube, video, with_window, monkeypatch):
    scripted(monkeypatch, ScriptedClient())
    bpy.ops.gvf.animate(video=str(video))
    with pytest.raises(RuntimeError, match="no job 'abc'"):
        bpy.ops.gvf.cancel(job_id="abc")


def test_import_again_brings_deleted_results_back(with_server, cube, video):
    bpy.ops.gvf.animate(video=str(video), outputs={"splats"})
    for item in list(bpy.data.collections["Cube GVF"].objects):
        bpy.data.objects.remove(item)
    assert bpy.ops.gvf.import_result() == {"FINISHED"}
    assert any(item.name.startswith("Cube splats") for item in bpy.data.objects)


def test_import_again_of_a_job_without_result_says_so(with_server, cube, video):
    with pytest.raises(RuntimeError):
        bpy.ops.gvf.animate(video=str(video), seed=1)
    with pytest.raises(RuntimeError, match="has no result"):
        bpy.ops.gvf.import_result()


def test_removing_a_job_takes_its_result_off_the_disk(with_server, cube, video, server):
    from gvf_blender import job_list

    bpy.ops.gvf.animate(video=str(video), outputs={"points"})
    path = job_list.jobs()[-1].result_path
    assert path.is_file()
    bpy.ops.gvf.remove_job()
    assert job_list.jobs() == ()
    assert not path.exists()


def test_the_list_keeps_only_a_few_finished_jobs(cube, video, with_window, monkeypatch):
    from gvf_blender import job_list

    for _ in range(job_list.MAX_FINISHED + 2):
        client = scripted(monkeypatch, ScriptedClient(hold_at="connecting"))
        bpy.ops.gvf.animate(video=str(video))
        bpy.ops.gvf.cancel()
        client.released.set()
    assert len(job_list.jobs()) == job_list.MAX_FINISHED + 1


def test_remove_motion_takes_the_motion_off(with_server, cube, video):
    bpy.ops.gvf.animate(video=str(video), outputs={"motion"})
    assert bpy.ops.gvf.remove_motion() == {"FINISHED"}
    assert cube.data.shape_keys is None


def test_remove_motion_asks_for_an_object_that_carries_one(cube):
    with pytest.raises(RuntimeError, match=r"carries imported motion\. Select the objects"):
        bpy.ops.gvf.remove_motion()


def test_transparent_bounces_are_raised_on_request_and_nothing_is_changed_where_they_are_enough(cube, capfd):
    cycles = bpy.context.scene.cycles
    cycles.transparent_max_bounces = 8
    assert bpy.ops.gvf.raise_transparent_bounces() == {"FINISHED"}
    assert cycles.transparent_max_bounces == 256
    assert "256 transparent surfaces in this scene now" in capfd.readouterr().out
    cycles.transparent_max_bounces = 300
    assert bpy.ops.gvf.raise_transparent_bounces() == {"CANCELLED"}
    assert cycles.transparent_max_bounces == 300
    assert "300 transparent surfaces in this scene already" in capfd.readouterr().out


def test_reset_brings_the_defaults_back_but_keeps_the_videos(addon):
    settings = bpy.context.scene.gvf
    settings.second_video, settings.second_azimuth = "//side.mp4", 135
    settings.gaussians, settings.outputs, settings.video = 500, {"points"}, "//walk.mp4"
    bpy.ops.gvf.reset_settings()
    assert settings.gaussians == 20_000
    assert settings.outputs == {"splats", "points", "motion"}
    assert settings.video == "//walk.mp4"
    assert (settings.second_video, settings.second_azimuth) == ("//side.mp4", 135)


class Defaults:
    """Of the preferences, which a package that is no enabled add-on has not; they know what was set in them."""

    gaussians = 7000

    def is_property_set(self, name):
        return name == "gaussians"


@pytest.fixture
def defaults(addon, monkeypatch):
    from gvf_blender import scene_defaults

    monkeypatch.setattr(scene_defaults, "addon_preferences", lambda context: SimpleNamespace(defaults=Defaults()))


def test_a_new_file_takes_the_defaults_of_the_preferences_over(defaults):
    bpy.ops.wm.read_homefile(use_empty=True)
    settings = bpy.context.scene.gvf
    assert settings.gaussians == 7000
    settings.gaussians, settings.azimuth, settings.movable = 900, 45, "Fin"
    bpy.ops.gvf.reset_settings()
    assert (settings.gaussians, settings.azimuth, settings.movable) == (7000, 0, "")


def test_a_file_with_settings_of_its_own_keeps_them(defaults, tmp_path):
    bpy.context.scene.gvf.video = "//walk.mp4"
    bpy.data.scenes.new("Untouched")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert bpy.context.scene.gvf.gaussians == 20_000
    assert bpy.data.scenes["Untouched"].gvf.gaussians == 7000


def test_a_new_scene_takes_them_over_soon_after_a_panel_shows_it(defaults, monkeypatch):
    from gvf_blender import scene_defaults

    registered = []
    timers = SimpleNamespace(
        is_registered=lambda function: False, register=lambda function, **_: registered.append(function)
    )
    window = SimpleNamespace(app=SimpleNamespace(background=False, timers=timers), context=bpy.context, data=bpy.data)
    with monkeypatch.context() as patch:
        patch.setattr(scene_defaults, "bpy", window)
        scene_defaults.take_defaults_soon(bpy.context.scene)
        assert bpy.context.scene.gvf.gaussians == 20_000
        (take,) = registered
        take()
        assert bpy.context.scene.gvf.gaussians == 7000
        scene_defaults.take_defaults_soon(bpy.context.scene)
    assert len(registered) == 1


def _viewer_rotation(azimuth, elevation):
    """World from viewer, of someone who stands at azimuth and elevation and looks at the origin, z up."""
    return Euler((math.radians(90 - elevation), 0, math.radians(azimuth))).to_matrix()


@pytest.mark.parametrize(
    ("azimuth", "elevation"), [(0, 0), (90, 0), (-90, 15), (45, 15), (180, -30), (30, 89), (-135, -60)]
)
def test_the_direction_of_a_view_comes_back(addon, azimuth, elevation):
    from gvf_blender.operators.view import direction_of_view

    np.testing.assert_allclose(direction_of_view(_viewer_rotation(azimuth, elevation)), (azimuth, elevation), atol=0.02)


@pytest.mark.parametrize("elevation", [90, -90])
def test_a_view_from_straight_above_or_below_keeps_its_azimuth(addon, elevation):
    from gvf_blender.operators.view import direction_of_view

    expected = (30, math.copysign(89, elevation))
    np.testing.assert_allclose(direction_of_view(_viewer_rotation(30, elevation)), expected, atol=0.02)


def test_azimuth_zero_looks_along_plus_y_as_the_servers_cameras_do(addon):
    from gvf_blender.operators.view import direction_of_view
    from gvf_core.rendering.camera import orbit_camera

    for azimuth, elevation in [(0, 0), (90, 0), (45, 15)]:
        opencv = Matrix(orbit_camera(azimuth, elevation).world_to_camera).to_3x3()
        viewer = (Matrix.Diagonal(Vector((1, -1, -1))) @ opencv).inverted()
        np.testing.assert_allclose(direction_of_view(viewer), (azimuth, elevation), atol=0.02)


def test_view_from_viewport_sets_the_scene(addon):
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    viewport = area.spaces.active.region_3d
    viewport.view_rotation = _viewer_rotation(90, 30).to_quaternion()
    with bpy.context.temp_override(window=window, area=area, region=region):
        assert bpy.ops.gvf.view_from_viewport() == {"FINISHED"}
        settings = bpy.context.scene.gvf
        assert (settings.azimuth, settings.elevation) == pytest.approx((90, 30), abs=0.1)
        viewport.view_rotation = _viewer_rotation(45, 10).to_quaternion()
        bpy.ops.gvf.view_from_viewport(second=True)
        assert (settings.second_azimuth, settings.second_elevation) == pytest.approx((45, 10), abs=0.1)
        assert (settings.azimuth, settings.elevation) == pytest.approx((90, 30), abs=0.1)
        bpy.ops.object.camera_add(rotation=(math.radians(75), 0, math.radians(45)))
        camera = bpy.context.scene.camera = bpy.context.object
        camera.data.angle = math.radians(60)
        bpy.context.view_layer.update()
        viewport.view_perspective = "CAMERA"
        bpy.ops.gvf.view_from_viewport()
    assert (settings.azimuth, settings.elevation, settings.fov) == pytest.approx((45, 15, 60), abs=0.1)


def test_view_from_viewport_outside_a_viewport_says_so(addon):
    with pytest.raises(RuntimeError, match="no 3D viewport"):
        bpy.ops.gvf.view_from_viewport()


def test_a_failed_job_can_be_tried_again_with_its_settings(with_server, cube, video, monkeypatch):
    from gvf_blender import job_list

    with pytest.raises(RuntimeError, match="shows nothing"):
        bpy.ops.gvf.animate(video=str(video), seed=1, azimuth=33)
    failed = job_list.jobs()[-1]
    with pytest.raises(RuntimeError, match="shows nothing"):
        bpy.ops.gvf.retry_job(job_id=failed.id)
    (job,) = job_list.jobs()
    assert job is not failed and job.request == failed.request
    cube.name = "Renamed"
    with pytest.raises(RuntimeError, match="There is no object 'Cube'"):
        bpy.ops.gvf.retry_job(job_id=job.id)
    assert job_list.jobs() == (job,)


def test_the_report_tells_versions_settings_and_jobs_but_no_secrets(with_server, cube, video, server):
    from gvf_blender.api import diagnose

    with pytest.raises(RuntimeError, match="shows nothing"):
        bpy.ops.gvf.animate(video=str(video), seed=1)
    bpy.context.scene.gvf.azimuth = 33
    text = diagnose()
    for part in (
        bpy.app.version_string,
        "azimuth=33.0",
        "Selection: 1 meshes",
        "Cube: walk.mp4: failed",
        "[bad_video]",
        "127.0.0.1",
    ):
        assert part in text
    import json

    assert json.loads(server.handshake.read_text())["token"] not in text
    assert bpy.ops.gvf.diagnose() == {"FINISHED"}


@pytest.fixture
def camera(cube):
    """Beside the cube, to the right and above, looking elsewhere, with a picture that is higher than wide."""
    data = bpy.data.cameras.new("Camera")
    data.sensor_fit, data.angle = "HORIZONTAL", math.radians(30)
    camera = bpy.data.objects.new("Camera", data)
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = 540, 1080
    camera.location = cube.location + Vector((4, 0, 4))
    camera.rotation_euler = (math.radians(70), 0, math.radians(60))
    return camera


def test_a_chosen_camera_sets_the_view_from_which_it_sees_the_asset(cube, camera):
    settings = bpy.context.scene.gvf
    settings.view = "search"
    settings.camera = camera
    larger_side = math.degrees(2 * math.atan(2 * math.tan(math.radians(15))))
    assert (settings.azimuth, settings.elevation, settings.fov) == pytest.approx((90, 45, larger_side), abs=0.02)
    assert settings.view == "given"
    camera.location = cube.location + Vector((0, -5, 0))
    assert settings.azimuth == pytest.approx(90)
    bpy.ops.gvf.view_from_camera()
    assert (settings.azimuth, settings.elevation) == pytest.approx((0, 0), abs=0.02)


def test_without_an_asset_or_perspective_the_direction_of_the_camera_counts(cube, camera):
    settings = bpy.context.scene.gvf
    camera.data.type = "ORTHO"
    settings.camera = camera
    assert (settings.azimuth, settings.elevation) == pytest.approx((60, 20), abs=0.02)
    assert settings.fov == pytest.approx(49.1)
    camera.data.type, camera.rotation_euler.z = "PERSP", 0
    cube.select_set(False)
    bpy.ops.gvf.view_from_camera()
    assert (settings.azimuth, settings.elevation) == pytest.approx((0, 20), abs=0.02)


def test_from_camera_without_one_says_so(addon):
    with pytest.raises(RuntimeError, match="No camera is chosen"):
        bpy.ops.gvf.view_from_camera()


def test_a_job_that_is_removed_asks_what_it_costs(cube, video, with_window, monkeypatch):
    from gvf_blender.operators.jobs import GVF_OT_remove_job

    asked = []
    manager = SimpleNamespace(invoke_confirm=lambda operator, event, **texts: asked.append(texts["message"]))
    context = SimpleNamespace(window_manager=manager)
    client = scripted(monkeypatch, ScriptedClient(hold_at="running"))
    bpy.ops.gvf.animate(video=str(video))
    job = fire_timer_until(Phase.RUNNING)
    button = SimpleNamespace(job_id=job.id, execute=lambda context: asked.append("removed"))
    GVF_OT_remove_job.invoke(button, context, None)
    client.released.set()
    fire_timer_until(Phase.DONE)
    GVF_OT_remove_job.invoke(button, context, None)
    job.result_path.unlink()
    GVF_OT_remove_job.invoke(button, context, None)
    assert asked[0].startswith("This job still runs") and asked[1].startswith("Its result file is deleted")
    assert asked[2:] == ["removed"]


def test_imported_results_do_not_need_the_file_that_goes_with_their_job(
    with_server, cube, video, monkeypatch, tmp_path
):
    from gvf_blender import job_list, job_scene
    from gvf_blender.importer import TrackCache

    monkeypatch.setattr(job_scene, "track_cache", lambda context: TrackCache(tmp_path / "tracks", 1))
    bpy.ops.gvf.animate(video=str(video))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    path = job_list.jobs()[-1].result_path
    bpy.ops.gvf.remove_job()
    assert not path.exists()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    splats = bpy.data.objects["Cube splats"]
    assert len(splats.data.attributes) > 3 and splats.data.library is not None
    assert bpy.data.objects["Cube"].data.shape_keys is not None
