"""Batches of assets, videos and settings, which go on where an earlier run ended; files dropped onto a viewport."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import bpy
import pytest
from fabricated_animation import fabricate
from scripted_pipeline import SEED_FAILS, SEED_TELLS

from gvf_blender.batch import run_batch
from gvf_blender.core.batch_state import finished_tasks, state_path
from gvf_blender.core.errors import FileError, ServerError, SettingsError
from gvf_blender.core.manifest import read_manifest
from gvf_blender.importer import Imported

ROOT = Path(__file__).parents[2]


@pytest.fixture
def assets(api, tmp_path):
    """A .blend file with two objects, a GLB file, two videos."""
    bpy.ops.mesh.primitive_cube_add(size=2, location=(3, 1, 0))
    bpy.context.object.name = "Crate"
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=1)
    bpy.context.object.name = "Ball"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.export_scene.gltf(filepath=str(tmp_path / "asset.glb"))
    for name in ("walk", "swim"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    return tmp_path


def write(folder, text):
    path = folder / "batch.toml"
    path.write_text(text)
    return path


RUNS = """
output = "results"
[settings]
outputs = ["motion"]
[[run]]
assets = ["scene.blend"]
videos = ["walk.mp4", "swim.mp4"]
objects = ["Ball"]
[[run]]
assets = ["asset.glb", "missing.glb"]
videos = ["walk.mp4"]
settings = [{seed = 5}]
"""


SIDE = 'further = [{video = "side.mp4", azimuth = 135, elevation = 15}]'


def test_every_asset_moves_in_a_blend_file_of_its_own_and_failures_do_not_stop_the_rest(api, assets, server):
    stages = []
    outcomes = api.batch(
        write(assets, RUNS), server=server.handshake, on_progress=lambda task, stage, _: stages.append(stage)
    )
    assert [outcome.error is None for outcome in outcomes] == [True, True, True, False]
    assert "missing.glb" in str(outcomes[3].error)
    assert "tracking" in stages
    assert len({outcome.output for outcome in outcomes[:3]}) == 3
    for outcome, moving in zip(outcomes, ({"Ball"}, {"Ball"}, {"Ball", "Crate"}), strict=False):
        assert outcome.output.parent == assets / "results"
        bpy.ops.wm.open_mainfile(filepath=str(outcome.output))
        meshes = [thing for thing in bpy.data.objects if thing.type == "MESH"]
        assert {thing.name for thing in meshes if thing.data.shape_keys} == moving
    # The asset of a GLB file plays from its first to its last frame.
    assert (bpy.context.scene.frame_start, bpy.context.scene.frame_end) == (1, 3)
    bpy.ops.wm.open_mainfile(filepath=str(assets / "scene.blend"))
    assert all(thing.data.shape_keys is None for thing in bpy.data.objects)
    assert bpy.types.Scene.gvf


def test_a_second_run_does_only_what_is_not_done(api, assets, server):
    manifest = write(assets, RUNS.replace(', "missing.glb"', ""))
    first = api.batch(manifest, server=server.handshake)
    first[1].output.unlink()
    with state_path(manifest).open("a") as file:
        file.write('{"key": "cut o')
    again = api.batch(manifest, server=server.handshake)
    assert [outcome.skipped for outcome in again] == [True, False, True]
    assert [outcome.output for outcome in again] == [outcome.output for outcome in first]
    assert first[1].output.is_file()
    # Another video under the same name, and other settings, are other tasks; nothing is overwritten.
    (assets / "walk.mp4").write_bytes(b"another walk")
    write(assets, manifest.read_text().replace("seed = 5", "seed = 6"))
    changed = api.batch(manifest, server=server.handshake)
    assert [outcome.skipped for outcome in changed] == [False, True, False]
    assert all(outcome.output.is_file() for outcome in (*first, *changed))
    assert not any(outcome.skipped for outcome in api.batch(manifest, server=server.handshake, resume=False))


ONE = '[settings]\noutputs = ["motion"]\n[[run]]\nassets = ["asset.glb"]\nvideos = ["walk.mp4"]'


class Killed(BaseException):
    """Stands for what ends a process in the middle of a task."""


def run_one(assets, animate, resume=True):
    manifest = write(assets, ONE)
    return run_batch(manifest, read_manifest(manifest), animate, resume)


@pytest.mark.parametrize("error", [Killed, ServerError("No server.", "Start it.")])
def test_what_ends_halfway_neither_looks_done_nor_takes_an_earlier_result_away(api, assets, server, error):
    (first,) = api.batch(write(assets, ONE), server=server.handshake)
    before = first.output.read_bytes()

    def fails(objects, task):
        raise error

    with contextlib.suppress(Killed):
        run_one(assets, fails, resume=False)
    assert first.output.read_bytes() == before
    assert list((assets / "out").iterdir()) == [first.output]
    first.output.unlink()
    with contextlib.suppress(Killed):
        run_one(assets, fails)
    (again,) = api.batch(write(assets, ONE), server=server.handshake)
    assert not again.skipped
    assert again.output.is_file()


def test_a_video_that_changes_meanwhile_changes_no_name(assets):
    video = assets / "walk.mp4"
    key = read_manifest(write(assets, ONE))[0].key

    def changes(objects, task):
        video.write_bytes(b"changed")
        video.with_name("gone.mp4").touch()
        return Imported(None, None, [], ())

    (outcome,) = run_one(assets, changes)
    assert outcome.error is None
    assert outcome.output.name == f"asset-walk-{key[:6]}.blend"
    assert list((assets / "out").iterdir()) == [outcome.output]


def test_two_batches_of_one_manifest_do_not_run_at_the_same_time(assets):
    def again(objects, task):
        run_one(assets, again)
        raise AssertionError("the second one ran")

    (outcome,) = run_one(assets, again)
    assert "Another batch" in str(outcome.error)


def test_results_go_where_the_manifest_says_now(assets):
    def nothing(objects, task):
        return Imported(None, None, [], ())

    (first,) = run_one(assets, nothing)
    (moved,) = run_batch(
        assets / "batch.toml", read_manifest(write(assets, f'output = "elsewhere"\n{ONE}')), nothing, resume=True
    )
    assert (moved.skipped, moved.output) == (False, assets / "elsewhere" / first.output.name)
    (again,) = run_one(assets, nothing)
    assert again.skipped


def test_files_that_a_gltf_file_names_count_too(assets):
    bpy.ops.export_scene.gltf(filepath=str(assets / "parts.gltf"), export_format="GLTF_SEPARATE")

    def key():
        return read_manifest(write(assets, ONE.replace("asset.glb", "parts.gltf")))[0].key

    before = key()
    assert key() == before
    buffer = assets / "parts.bin"
    buffer.write_bytes(buffer.read_bytes()[::-1])
    assert key() != before
    (assets / "parts.gltf").write_text("[" * 100_000)
    assert key() != before


def test_a_link_to_a_file_without_a_suffix_keeps_its_own(assets):
    (assets / "store").mkdir()
    (assets / "asset.glb").rename(assets / "store" / "3f9c")
    (assets / "asset.glb").symlink_to("store/3f9c")
    (task,) = read_manifest(write(assets, ONE))
    assert task.asset == assets / "asset.glb"


def test_lines_of_the_state_that_mean_nothing_count_for_nothing(tmp_path):
    state = tmp_path / "batch.state.jsonl"
    odd = ['{"key": [1], "state": "done"}', "[" * 100_000, "3", '{"key": "b", "state": "failed"}', "\udcff"]
    state.write_text("\n".join([*odd, '{"key": "a", "state": "done"}']), errors="replace")
    assert finished_tasks(state) == {"a"}


def test_further_videos_of_a_run_reach_the_server(api, assets, server):
    (assets / "side.mp4").write_bytes(b"side")
    run = f'[[run]]\nassets = ["scene.blend"]\nvideos = ["walk.mp4"]\nsettings = [{{seed = {SEED_TELLS}}}]\n{SIDE}'
    (outcome,) = api.batch(write(assets, run), server=server.handshake)
    assert outcome.error.message == "side.mp4 135 15"


def test_another_further_video_or_view_makes_a_task_new(assets):
    def key(further):
        run = f'[[run]]\nassets = ["asset.glb"]\nvideos = ["walk.mp4"]\n{further}'
        (task,) = read_manifest(write(assets, run))
        return task.key

    side = assets / "side.mp4"
    side.write_bytes(b"side")
    keys = [key(""), key(SIDE), key(SIDE.replace("135", "140"))]
    side.write_bytes(b"another side")
    assert len({*keys, key(SIDE)}) == 4
    side.rename(assets / "moved.mp4")
    assert key(SIDE.replace("side.mp4", "moved.mp4")) not in keys
    with pytest.raises(FileError, match=r"side\.mp4 cannot be read"):
        key(SIDE)


def test_a_failed_task_is_noted_with_its_reason_and_tried_again(api, assets, server):
    manifest = write(
        assets, f'[[run]]\nassets = ["asset.glb"]\nvideos = ["walk.mp4"]\nsettings = [{{seed = {SEED_FAILS}}}]'
    )
    for _ in range(2):
        (outcome,) = api.batch(manifest, server=server.handshake)
        assert "shows nothing" in str(outcome.error) and not outcome.skipped
        assert list((assets / "out").iterdir()) == []
    records = [json.loads(line) for line in state_path(manifest).read_text().splitlines()]
    assert [record["state"] for record in records] == ["failed", "failed"]
    assert "shows nothing" in records[0]["message"]


# What `blender --background` has done before it runs an expression: the extension is installed and enabled.
INSTALLED = """
import os, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import bpy
bpy.ops.extensions.package_install_files(filepath=os.environ["ARCHIVE"], repo="user_default", enable_on_install=True)
"""


@pytest.mark.parametrize("way", ["with Blender", "with the bpy module"])
def test_the_commands_of_the_documentation_run_a_batch_in_a_process_of_their_own(assets, archive, server, way):
    documentation = (ROOT / "docs" / "console.md").read_text(encoding="utf-8")
    if way == "with Blender":
        code = INSTALLED + re.search(r'--python-expr "(.+)"', documentation)[1]
        folders = []
    else:
        code = re.search(r"```python\n(import bpy, gvf_blender\b.+?)```", documentation, re.DOTALL)[1]
        folders = [str(ROOT)]
    text = '[settings]\nviews = 1\noutputs = ["motion"]\n[[run]]\nassets = ["asset.glb"]\nvideos = ["walk.mp4"]'
    (assets / "manifest.toml").write_text(text)
    environment = {
        **os.environ,
        "GVF_HOME": str(server.handshake.parent),
        "BLENDER_USER_RESOURCES": str(assets / "user"),
        "ARCHIVE": str(archive),
        "PYTHONPATH": os.pathsep.join(folders),
    }
    outcome = subprocess.run([sys.executable, "-c", code], cwd=assets, env=environment, capture_output=True, text=True)
    state = state_path(assets / "manifest.toml")
    assert state.exists(), outcome.stderr
    (record,) = map(json.loads, state.read_text().splitlines())
    assert record["state"] == "done", record["message"]
    bpy.ops.wm.open_mainfile(filepath=record["output"])
    assert bpy.data.objects["Ball"].data.shape_keys is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[run]", "not a TOML file"),
        ("", "has no"),
        ("runs = 1", "no 'runs' for the manifest"),
        ('[[run]]\nassets = []\nvideos = ["a.mp4"]', "assets of a"),
        ('[[run]]\nassets = ["a.glb"]\nvideo = ["a.mp4"]', "no 'video' for a"),
        ('[[run]]\nassets = ["a.glb"]\nvideos = ["a.mp4"]\nsettings = [{sed = 1}]', "no 'sed' for the settings"),
        ('[[run]]\nassets = ["a.glb"]\nvideos = ["a.mp4"]\nsettings = [{seed = -1}]', "seed"),
        ('[[run]]\nassets = ["a.glb"]\nvideos = ["a.mp4"]\nsettings = {seed = 1}', "no list of tables"),
        ('[[run]]\nassets = ["a.glb"]\nvideos = ["a.mp4"]\nfurther = ["b.mp4"]', "further of a"),
        ('[[run]]\nassets = ["a.glb"]\nvideos = ["a.mp4"]\nfurther = [{video = "b.mp4"}]', "further of a"),
        (f'[[run]]\nassets = ["a.glb"]\nvideos = ["a.mp4"]\n{SIDE.replace("135", "735")}', "azimuth is 735"),
        (f'[[run]]\nassets = ["a.glb"]\nvideos = ["a.mp4", "b.mp4"]\n{SIDE}', "further videos for 2 videos"),
        *(
            (f'[settings]\n{wrong}\n[[run]]\nassets = ["a.glb"]\nvideos = ["a.mp4"]', wrong.split()[0])
            for wrong in ("outputs = 5", 'outputs = [["splats"]]', "camera = 5", "movable = 5", "frame_start = true")
        ),
        ("[settings]\nviews = 2026-11-30\n[[run]]\nassets = ['a.glb']\nvideos = ['a.mp4']", "views"),
        ('[[run]]\nassets = ["a\\u0000.glb"]\nvideos = ["a.mp4"]', "no path"),
        ('output = 1\n[[run]]\nassets = ["a.glb"]\nvideos = ["a.mp4"]', "output"),
    ],
)
def test_an_impossible_manifest_is_refused_before_anything_is_opened(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        read_manifest(write(tmp_path, text))


def test_a_folder_whose_link_leads_in_circles_is_told(assets):
    (assets / "loop").symlink_to("loop")
    manifest = write(assets, f'output = "loop/out"\n{ONE}')
    # Before Python 3.13 links are found out when the manifest is read.
    with pytest.raises((SettingsError, FileError)):
        outcomes = run_batch(manifest, read_manifest(manifest), lambda objects, task: None, resume=True)
        raise outcomes[0].error


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(FileError, match=r"missing\.toml cannot be read"):
        read_manifest(tmp_path / "missing.toml")


def test_runs_multiply_assets_videos_and_settings(tmp_path):
    tasks = read_manifest(
        write(
            tmp_path,
            "[settings]\nseed = 1\n"
            '[[run]]\nassets = ["a.glb", "b.glb"]\nvideos = ["v.mp4"]\nsettings = [{}, {seed = 2, camera = "Left"}]',
        )
    )
    assert [(task.asset.name, task.settings) for task in tasks] == [
        ("a.glb", {"seed": 1}),
        ("a.glb", {"seed": 2, "camera": "Left"}),
        ("b.glb", {"seed": 1}),
        ("b.glb", {"seed": 2, "camera": "Left"}),
    ]


def test_a_dropped_video_becomes_the_driving_video_seen_from_the_start_frames_view(cube, video, tmp_path):
    settings = bpy.context.scene.gvf
    settings.azimuth = 70
    bpy.ops.gvf.render_start_frame(filepath=str(tmp_path / "a.png"), width=64, height=64)
    settings.azimuth = 0
    assert bpy.ops.gvf.choose_video(filepath=str(video)) == {"FINISHED"}
    assert settings.video == str(video)
    assert settings.azimuth == pytest.approx(70)
    with pytest.raises(RuntimeError, match="does not exist"):
        bpy.ops.gvf.choose_video(filepath=str(tmp_path / "missing.mp4"))
    assert settings.video == str(video)


def test_a_dropped_video_is_kept_relative_to_a_saved_file_as_the_preferences_want(cube, video, tmp_path, monkeypatch):
    settings = bpy.context.scene.gvf
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    monkeypatch.setattr(bpy.context.preferences.filepaths, "use_relative_paths", True)
    bpy.ops.gvf.choose_video(filepath=str(video))
    assert settings.video == "//walk.mp4"
    monkeypatch.setattr(bpy.context.preferences.filepaths, "use_relative_paths", False)
    bpy.ops.gvf.choose_video(filepath=str(video))
    assert settings.video == str(video)


def test_a_dropped_result_moves_the_selected_objects_if_they_were_captured(cube, tmp_path):
    animation = fabricate(tmp_path, cube, frames=3)
    assert bpy.ops.gvf.import_animation(filepath=str(animation.path)) == {"FINISHED"}
    assert cube.data.shape_keys is not None
    assert len(bpy.data.collections["Cube GVF"].objects) == 2
    bpy.ops.gvf.remove_motion()
    cube.scale = (3, 1, 1)
    bpy.ops.gvf.import_animation(filepath=str(animation.path), points=False)
    assert cube.data.shape_keys is None
    with pytest.raises(RuntimeError, match="not as large, or not where it was"):
        bpy.ops.gvf.import_animation(filepath=str(animation.path), points=False, splats=False)
    bpy.ops.object.select_all(action="DESELECT")
    assert bpy.ops.gvf.import_animation(filepath=str(animation.path)) == {"FINISHED"}


def test_videos_and_results_can_be_dropped_onto_a_viewport(addon):
    from types import SimpleNamespace

    viewport, editor = (SimpleNamespace(area=SimpleNamespace(type=kind)) for kind in ("VIEW_3D", "TEXT_EDITOR"))
    for handler, suffix in ((bpy.types.GVF_FH_video, ".mp4"), (bpy.types.GVF_FH_animation, ".safetensors")):
        assert suffix in handler.bl_file_extensions.split(";")
        assert handler.poll_drop(viewport) and not handler.poll_drop(editor)
        module, name = handler.bl_import_operator.split(".")
        assert "filepath" in getattr(getattr(bpy.ops, module), name).get_rna_type().properties


def test_one_undo_takes_a_dropped_result_back(cube, tmp_path):
    animation = fabricate(tmp_path, cube, frames=3)
    bpy.ops.ed.undo_push(message="Before")
    bpy.ops.gvf.import_animation("EXEC_DEFAULT", True, filepath=str(animation.path))
    assert "Cube GVF" in bpy.data.collections
    bpy.ops.ed.undo()
    assert "Cube GVF" not in bpy.data.collections
    assert bpy.data.objects["Cube"].data.shape_keys is None
