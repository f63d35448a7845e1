"""The console API against a real server process whose results are made up."""

import math
import socket
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from recording_layout import RecordingLayout, panel_context
from scripted_client import SHIFT
from scripted_pipeline import SEED_FAILS, SEED_NEVER_ENDS, SEED_TELLS
from server_process import running_server

from gvf_blender.core.errors import (
    FileError,
    GvfBlenderError,
    JobCancelled,
    SelectionError,
    ServerError,
    SettingsError,
)
from gvf_blender.core.pc2_file import read_pc2


def cube_center_at(frame, cube):
    bpy.context.scene.frame_set(frame)
    evaluated = cube.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return np.mean([cube.matrix_world @ vertex.co for vertex in evaluated.data.vertices], axis=0)


def test_animate_moves_the_object_and_reports_the_servers_stages(api, cube, video, server, main_thread_offline):
    reports = []
    imported = api.animate(
        cube, video, server=server.handshake, on_progress=lambda stage, fraction: reports.append((stage, fraction))
    )
    assert imported.motion == (cube,)
    np.testing.assert_allclose(cube_center_at(1, cube), [3, 1, 0.5], atol=1e-4)
    np.testing.assert_allclose(cube_center_at(3, cube), [3 + 2 * SHIFT, 1, 0.5], atol=1e-4)
    fractions = [fraction for _, fraction in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {"capturing", "uploading", "tracking"} <= {stage for stage, _ in reports}


def test_objects_may_be_given_by_name_and_the_server_as_a_client(api, cube, video, server):
    imported = api.animate("Cube", str(video), server=server.client, outputs=["points"], frame_start=7)
    assert imported.points is not None


def test_the_server_of_gvf_home_is_found_without_being_named(api, cube, video, server, monkeypatch):
    monkeypatch.setenv("GVF_HOME", str(server.handshake.parent))
    assert api.animate(cube, video, outputs=["points"]).points is not None


def test_nothing_remains_on_the_disk_after_an_import(api, cube, video, server, tmp_path):
    api.animate(cube, video, server=server.client, outputs=["points"])
    assert list((tmp_path / "home" / "results").iterdir()) == []


def test_the_servers_failure_arrives_with_message_hint_and_code(api, cube, video, server):
    with pytest.raises(ServerError) as raised:
        api.animate(cube, video, seed=SEED_FAILS, server=server.client)
    assert raised.value.message == "The driving video shows nothing."
    assert raised.value.hint == "Use a video in which something moves."
    assert raised.value.code == "bad_video"


def test_further_videos_reach_the_server(api, cube, video, server):
    with pytest.raises(ServerError, match=r"^walk\.mp4 135 15, walk\.mp4 -90 0"):
        api.animate(
            cube, video, further=[(video, 135, 15), (str(video), -90, 0)], seed=SEED_TELLS, server=server.handshake
        )


def test_a_cancel_while_the_server_works_ends_the_servers_job(api, cube, video, server):
    job = api.start(cube, video, seed=SEED_NEVER_ENDS, server=server.client)
    with pytest.raises(JobCancelled):
        job.wait(lambda stage, fraction: job.cancel() if stage == "tracking" else None)
    job.close()
    newest = server.client.jobs()[-1]
    assert [status.state for status in server.client.events(newest.id)][-1] == "cancelled"


def test_start_returns_the_job_that_the_panel_lists_and_wait_its_result(api, cube, video, server):
    from gvf_blender import job_list

    job = api.start(cube, video, server=server.client, outputs=["points"])
    assert isinstance(job, api.Job) and job_list.jobs() == (job,)
    assert not job.finished and job.imported is None
    layout = RecordingLayout()
    bpy.types.GVF_PT_jobs.draw(SimpleNamespace(layout=layout), panel_context())
    assert "Cube: walk.mp4" in layout.texts() and "gvf.cancel" in layout.names("operator")
    imported = job.wait()
    assert imported.points is not None and job.imported is imported
    assert (job.phase, job.progress, job.error) == ("done", 1.0, None)
    assert job.wait() is imported
    job.before_undo()
    with pytest.raises(GvfBlenderError, match=r"is gone since an undo.*import_again\(\)"):
        job.wait()
    assert job.import_again().points is not None


def test_a_started_job_can_be_cancelled_between_two_polls(api, cube, video, server):
    job = api.start(cube, video, seed=SEED_NEVER_ENDS, server=server.client)
    while job.stage != "tracking":
        assert not job.finished, job.message
        job.poll()
    job.cancel()
    assert job.phase == "cancelled"
    with pytest.raises(JobCancelled):
        job.wait()
    newest = server.client.jobs()[-1]
    assert [status.state for status in server.client.events(newest.id)][-1] == "cancelled"


def test_a_script_starts_a_job_for_each_object_and_waits_for_all(api, cube, video, server, main_thread_offline):
    bpy.ops.mesh.primitive_cone_add()
    objects = [cube, bpy.context.object]
    jobs = [api.start(thing, video, outputs=["motion"], server=server.client) for thing in objects]
    assert [job.phase for job in jobs] == ["waiting", "waiting"]
    assert [job.wait().motion for job in reversed(jobs)] == [(objects[1],), (objects[0],)]


def test_a_job_stays_in_its_scene_when_the_artist_goes_to_another(api, cube, video, server):
    from gvf_blender.importer.in_place import is_in_place

    own = bpy.context.scene
    splats = api.animate(cube, video, server=server.client).splats
    cube.gvf.play_root = True
    assert is_in_place(splats)
    job = api.start(cube, video, outputs=["motion"], server=server.client)
    other = bpy.data.scenes.new("Other")
    other.collection.objects.link(cube)
    bpy.context.window.scene = other
    imported = job.wait()
    assert bpy.context.scene == other and list(other.collection.all_objects) == [cube]
    assert imported.motion == (cube,)
    assert own.objects.get("Cube") == cube
    assert not cube.gvf.play_root, "an import takes the root of the one before it back"
    assert not is_in_place(splats), "from all of its objects"


def test_animate_leaves_no_job_in_the_list(api, cube, video, server):
    from gvf_blender import job_list

    listed = []
    api.animate(
        cube,
        video,
        outputs=["points"],
        server=server.client,
        on_progress=lambda stage, fraction: listed.append(len(job_list.jobs())),
    )
    with pytest.raises(ServerError):
        api.animate(cube, video, seed=SEED_FAILS, server=server.client)
    assert set(listed) == {1} and job_list.jobs() == ()


def test_a_server_that_dies_midway_is_named_in_one_sentence(api, cube, video, tmp_path):
    with running_server(tmp_path / "short-lived") as doomed, pytest.raises(ServerError) as raised:
        api.animate(
            cube,
            video,
            seed=SEED_NEVER_ENDS,
            server=doomed.handshake,
            on_progress=lambda stage, fraction: doomed.process.kill() if stage == "tracking" else None,
        )
    assert raised.value.message.startswith("The server went away while it ran the job.")
    assert doomed.client.address in raised.value.message
    assert "dev.py serve" in raised.value.hint
    assert raised.value.code == "unreachable"


def test_a_missing_server_is_told_before_anything_is_captured(api, cube, video, tmp_path, monkeypatch):
    from gvf_blender import job

    monkeypatch.setattr(job, "CaptureSession", None)
    with pytest.raises(ServerError) as raised:
        api.animate(cube, video)
    assert str(tmp_path / "home" / "server.json") in raised.value.message
    assert "dev.py serve" in raised.value.hint


def test_a_server_that_is_gone_is_told_before_anything_is_captured(api, cube, video, tmp_path, monkeypatch):
    from gvf_blender import job

    monkeypatch.setattr(job, "CaptureSession", None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    handshake = tmp_path / "server.json"
    handshake.write_text(f'{{"service": "gvf", "address": "http://127.0.0.1:{port}", "token": "t", "pid": 1}}')
    with pytest.raises(ServerError, match=f"127.0.0.1:{port}"):
        api.animate(cube, video, server=handshake)


def test_a_wrong_token_is_told_before_anything_is_captured(api, cube, video, tmp_path, server, monkeypatch):
    from gvf_blender import job

    monkeypatch.setattr(job, "CaptureSession", None)
    handshake = tmp_path / "server.json"
    text = server.handshake.read_text()
    token = text.split('"token": "')[1].split('"')[0]
    handshake.write_text(text.replace(token, "wrong"))
    with pytest.raises(ServerError, match="does not accept the token"):
        api.animate(cube, video, server=handshake)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "No driving video is chosen"),
        ("missing.mp4", "missing.mp4 does not exist"),
        ("folder", "folder is a folder"),
        ("empty.mp4", "empty.mp4 is empty"),
    ],
)
def test_an_unusable_video_is_named(api, cube, tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(FileError, match=message) as raised:
        api.animate(cube, str(tmp_path / name) if name else "")
    assert raised.value.hint


def test_no_objects_are_refused(api, video):
    with pytest.raises(SelectionError, match="No object is selected"):
        api.animate([], video)


def test_an_unknown_object_is_named(api, video):
    with pytest.raises(SelectionError, match="'Dragon'"):
        api.animate("Dragon", video)


def test_a_removed_object_is_refused(api, cube, video):
    bpy.data.objects.remove(cube)
    with pytest.raises(SelectionError, match="was removed"):
        api.animate([cube], video)


def test_things_that_are_no_objects_are_refused(api, video):
    with pytest.raises(SelectionError, match="1 is neither an object nor a name"):
        api.animate([1], video)


def test_what_holds_no_objects_is_refused(api, cube, video, tmp_path):
    for call in (api.animate, api.export, api.start_frame):
        for given in (5, 5.5, cube.data, [cube.data], bpy.types.Object):
            with pytest.raises(SelectionError, match="neither an object nor a name"):
                call(given, tmp_path / "a.abc")


def test_objects_may_come_from_a_generator_and_are_taken_once(api, cube, video, monkeypatch):
    bpy.ops.object.camera_add(location=(3, -9, 0.5), rotation=(1.5, 0, 0))
    monkeypatch.setattr(api, "_connector", lambda server: None)
    evaluated = cube.evaluated_get(bpy.context.evaluated_depsgraph_get())
    job = api.start((thing for thing in (cube, "Cube", evaluated)), video, camera="Camera")
    job.cancel()
    assert job.request.objects == ("Cube",)


@pytest.fixture
def linked_and_local_bird(addon, tmp_path):
    """Two objects of one name: a large one in a linked file, and a small one in this file."""
    bpy.ops.mesh.primitive_cube_add(size=8.0)
    bpy.context.object.name = "Bird"
    bpy.data.libraries.write(str(tmp_path / "birds.blend"), {bpy.context.object})
    bpy.data.objects.remove(bpy.context.object)
    with bpy.data.libraries.load(str(tmp_path / "birds.blend"), link=True) as (_, wanted):
        wanted.objects = ["Bird"]
    (linked,) = wanted.objects
    bpy.context.collection.objects.link(linked)
    bpy.ops.mesh.primitive_cube_add(size=2.0)
    local = bpy.context.object
    local.name = "Bird"
    assert linked.name == local.name == "Bird"
    return linked, local


def test_of_two_objects_of_one_name_the_given_one_is_exported(api, linked_and_local_bird, tmp_path):
    for thing, size in zip(linked_and_local_bird, (8, 2), strict=True):
        path = tmp_path / f"{size}.pc2"
        api.export(thing, path, frame_start=1, frame_end=1)
        assert np.ptp(read_pc2(path)) == pytest.approx(size)


def test_of_two_objects_of_one_name_the_linked_one_is_not_animated_as_the_other(api, linked_and_local_bird, video):
    linked, local = linked_and_local_bird
    with pytest.raises(SelectionError, match=r"Another object is called 'Bird', too.*Rename"):
        api.start(linked, video)
    bpy.context.scene.gvf.video = str(video)
    local.select_set(False)
    linked.select_set(True)
    with pytest.raises(RuntimeError, match="Another object is called 'Bird', too"):
        bpy.ops.gvf.animate()


def test_the_frames_of_an_export_are_scene_frames(api, cube, tmp_path):
    for name, what in (("frame_start", "first frame"), ("frame_end", "last frame")):
        for frame in (1.5, "1", True, 10**9):
            with pytest.raises(SettingsError, match=f"The {what} is {frame!r}"):
                api.export(cube, tmp_path / "cube.abc", **{name: frame})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width of the start frame is 0"),
        ({"width": -5}, "width of the start frame is -5"),
        ({"height": 99.5}, "height of the start frame is 99.5"),
        ({"height": 10**6}, "height of the start frame is 1000000"),
        ({"background": 1}, "background of the start frame is 1"),
        ({"background": (1, 1)}, "background of the start frame is"),
        ({"background": "red"}, "background of the start frame is 'red'"),
        ({"background": (0, 0, 255)}, "background of the start frame is"),
    ],
)
def test_a_start_frame_of_impossible_size_or_colour_is_refused(api, cube, tmp_path, options, message):
    with pytest.raises(SettingsError, match=message):
        api.start_frame(cube, tmp_path / "start.png", **options)
    assert not (tmp_path / "start.png").exists()


def test_a_camera_alone_is_refused(api, video):
    bpy.ops.object.camera_add()
    with pytest.raises(SelectionError, match="Camera"):
        api.animate(bpy.context.object, video)


def test_a_mesh_without_faces_is_refused(api, video, server):
    mesh = bpy.data.meshes.new("Wire")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0)], [(0, 1)], [])
    wire = bpy.data.objects.new("Wire", mesh)
    bpy.context.collection.objects.link(wire)
    with pytest.raises(SelectionError, match=r"Wire.*no faces"):
        api.animate(wire, video, server=server.client)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_frames": 1}, "max_frames is 1"),
        ({"elevation": 90}, "elevation is 90"),
        ({"gaussians": 20000.5}, "not a whole number"),
        ({"seed": True}, "seed is True"),
        ({"azimuth": float("nan")}, "azimuth is nan"),
        ({"engine": "magic"}, "no engine 'magic'"),
        ({"outputs": []}, "No output is chosen"),
        ({"outputs": ["film"]}, "no output 'film'"),
        ({"frame_start": 1.5}, "start frame is 1.5"),
        ({"frame_start": 10**9}, "start frame is 1000000000"),
        ({"outputs": 5}, "outputs are 5"),
        ({"outputs": [["motion"]]}, "outputs are"),
        ({"further": 5}, "5 are no further videos"),
        ({"server": 5}, "5 is no server"),
        ({"movable": 5}, "vertex group is 5"),
        ({"capture_options": {"size": 64}}, "no capture options"),
    ],
)
def test_a_setting_out_of_range_is_named(api, cube, video, options, message):
    with pytest.raises(SettingsError, match=message):
        api.animate(cube, video, **options)


def test_the_ranges_and_defaults_are_the_servers():
    from gvf_blender.core import motion_settings
    from gvf_core import settings

    assert motion_settings.RANGES == settings._RANGES
    assert motion_settings.MotionSettings().to_dict() == vars(settings.AnimateSettings())


def test_a_camera_tells_where_the_video_was_seen_from(api, cube, video, monkeypatch):
    bpy.ops.object.camera_add(location=(3, -9, 0.5), rotation=(1, 0, 2))
    monkeypatch.setattr(api, "_connector", lambda server: None)
    job = api.start(cube, video, camera="Camera", azimuth=50, view="search", seed=4)
    settings = job.request.settings
    job.cancel()
    assert (settings.azimuth, settings.elevation, settings.view, settings.seed) == (0, 0, "given", 4)
    assert settings.fov == pytest.approx(math.degrees(bpy.data.cameras["Camera"].angle), abs=0.01)
    with pytest.raises(SelectionError, match="'Cube' is no camera"):
        api.animate(cube, video, camera="Cube")
    for cameras in (["Camera", "Cube"], []):
        with pytest.raises(SelectionError, match="One object is needed here"):
            api.animate(cube, video, camera=cameras)


def test_a_batch_goes_on_after_a_failing_task(api, cube, video, server):
    tasks = [
        api.AnimateTask(cube, video, {"seed": SEED_FAILS}),
        api.AnimateTask("Dragon", video),
        api.AnimateTask(cube, video, {"azimut": 90}),
        api.AnimateTask(cube, video, {"outputs": ["points"]}),
    ]
    failed, unknown, misspelled, good = api.animate_many(tasks, server=server.client, outputs=["motion"])
    assert failed.error.code == "bad_video"
    assert failed.imported is None
    assert isinstance(unknown.error, SelectionError)
    assert "'azimut'" in misspelled.error.message
    assert "azimuth" in misspelled.error.hint
    assert good.error is None
    assert good.imported.points is not None
    assert good.imported.motion == ()


def test_a_cancelled_task_ends_the_batch(api, cube, video, monkeypatch):
    begun = []

    def cancelled(objects, video, **options):
        begun.append(objects)
        raise JobCancelled()

    monkeypatch.setattr(api, "animate", cancelled)
    with pytest.raises(JobCancelled):
        api.animate_many([api.AnimateTask(cube, video)] * 2)
    assert begun == [cube]


def test_every_error_of_the_api_is_of_one_family():
    for kind in (SelectionError, FileError, SettingsError, ServerError, JobCancelled):
        assert issubclass(kind, GvfBlenderError)
