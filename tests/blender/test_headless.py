"""Asset files become captures, and animations .blend files, in a Blender process of their own."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np
import pytest
from fabricated_animation import evaluated_world_vertices, fabricate

from gvf_blender.core.errors import FileError, GvfBlenderError, SelectionError, SettingsError
from gvf_blender.headless import check_version, open_asset
from gvf_core import errors
from gvf_core.blender.assets import capture_asset, import_animation
from gvf_core.blender.process import BLENDER_VARIABLE, find_blender
from gvf_core.capture import load_capture

ROOT = Path(__file__).parents[2]
SMALL = {"views": 2, "size": 16}
# What `blender` does with the options that it is given, by the bpy module: not Blender itself.
STAND_IN = """\
import sys
print("Blender 0.0 (stand-in)")
options = sys.argv[1:sys.argv.index("--")]
assert options[:4] == ["--background", "--factory-startup", "--python-exit-code", "1"], options
assert options[4] == "--python-expr" and len(options) == 6, options
exec(options[5])
"""


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path, monkeypatch):
    """Where this process makes its temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv(BLENDER_VARIABLE, raising=False)
    return folder


@pytest.fixture
def asset(empty_scene, tmp_path):
    """A cube that stands apart, and a cone with a name that looks like an option."""
    bpy.ops.mesh.primitive_cube_add(location=(3, 1, 0.5))
    bpy.context.object.name = "Box"
    bpy.ops.mesh.primitive_cone_add(vertices=8, location=(0, 1, 0))
    bpy.context.object.name = "--Cone ä"
    path = tmp_path / "two shapes.glb"
    bpy.ops.export_scene.gltf(filepath=str(path))
    return path


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Makes a shell script the Blender to use."""

    def make(*lines: str) -> Path:
        path = tmp_path / "some blender"
        path.write_text("\n".join(("#!/bin/sh", *lines, "")))
        path.chmod(0o755)
        monkeypatch.setenv(BLENDER_VARIABLE, str(path))
        return path

    return make


def headless(*arguments: object, cwd: Path) -> tuple[subprocess.CompletedProcess, list[dict]]:
    """Run the module by hand; returns the process and its events."""
    command = [sys.executable, "-m", "gvf_blender.headless", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    return process, [json.loads(line) for line in process.stdout.splitlines()]


def save(path: Path) -> Path:
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    return path


def test_an_asset_comes_back_as_a_blend_file_that_moves_as_the_animation_says(asset, tmp_path, temporary_folder):
    captured, seen = [], []
    capture_asset(asset, tmp_path / "capture.safetensors", **SMALL, on_progress=captured.append)
    capture = load_capture(tmp_path / "capture.safetensors")
    animation = fabricate(tmp_path, *open_asset(asset), frames=5, fps=29.97)
    np.testing.assert_allclose(capture.world_from_unit, animation.world_from_unit, atol=1e-6)
    warnings = import_animation(
        asset, animation.path, tmp_path / "moving.blend", frame_start=11, on_progress=seen.append
    )

    assert (captured, seen[-1], warnings) == ([0.5, 1.0], 1.0, ())
    assert [source.name for source in animation.sources] == list(capture.objects)
    assert len(capture.views) == 2 and capture.views[0].rgba.shape == (16, 16, 4)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moving.blend"))
    scene = bpy.context.scene
    assert (scene.frame_start, scene.frame_end, scene.frame_current) == (11, 15, 11)
    assert scene.render.fps / scene.render.fps_base == pytest.approx(29.97)
    first = animation.sources[0].name  # The order of the nodes in the file differs between Blenders.
    assert {"Box", "--Cone ä", f"{first} splats", f"{first} points"} <= set(scene.objects.keys())
    for index, source in enumerate(animation.sources):
        for frame in (0, 2, 4):
            scene.frame_set(11 + frame)
            np.testing.assert_allclose(
                evaluated_world_vertices(source.name), animation.world_vertices(index, frame), atol=1e-5
            )
    assert list(temporary_folder.iterdir()) == []
    assert not list(tmp_path.glob("*.blend?*"))


def test_an_assets_own_animation_is_not_added_to_the_new_motion(empty_scene, tmp_path):
    bpy.ops.mesh.primitive_cube_add(location=(1, 0, 0))
    cube = bpy.context.object
    cube.name = "Runner"
    for frame in (1, 30):
        cube.location.x = frame
        cube.keyframe_insert("location", frame=frame)
    path = tmp_path / "running.glb"
    bpy.ops.export_scene.gltf(filepath=str(path))
    animation = fabricate(tmp_path, *open_asset(path, frame=10), frames=4)
    warnings = import_animation(path, animation.path, tmp_path / "moving.blend", frame=10)
    assert warnings == ()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moving.blend"))
    for frame in (0, 3):
        bpy.context.scene.frame_set(1 + frame)
        moved = evaluated_world_vertices("Runner")
        np.testing.assert_allclose(moved, animation.world_vertices(0, frame), atol=1e-4)
    assert bpy.data.objects["Runner"].location.x > 5


def test_named_objects_are_captured_and_animated_alone(asset, tmp_path):
    capture_asset(asset, tmp_path / "capture.safetensors", **SMALL, objects=["--Cone ä"])
    assert load_capture(tmp_path / "capture.safetensors").objects == ("--Cone ä",)
    animation = fabricate(tmp_path, *open_asset(asset, ["--Cone ä"]), frames=2)
    import_animation(asset, animation.path, tmp_path / "moving.blend", objects=["--Cone ä"])
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moving.blend"))
    bpy.context.scene.frame_set(2)
    np.testing.assert_allclose(evaluated_world_vertices("--Cone ä"), animation.world_vertices(0, 1), atol=1e-5)


def test_the_module_runs_by_hand_with_relative_paths_and_says_nothing_but_events(asset, tmp_path):
    arguments = ("--output", "capture.safetensors", "--views", 2, "--size", 16, "--log", "blender.log")
    process, events = headless("capture", Path("..", tmp_path.name, asset.name), *arguments, cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert [event["event"] for event in events] == ["progress", "progress", "done"]
    assert events[-1]["output"] == str(tmp_path / "capture.safetensors")
    assert load_capture(tmp_path / "capture.safetensors").objects == tuple(events[-1]["objects"])
    assert "Saved" in (tmp_path / "blender.log").read_text()


def test_a_failure_is_an_event_and_exit_status_1(tmp_path):
    process, events = headless("capture", "missing.glb", "--output", "capture.safetensors", cwd=tmp_path)
    assert process.returncode == 1
    assert events == [
        {
            "event": "failed",
            "code": "file",
            "message": f"The asset {tmp_path / 'missing.glb'} does not exist.",
            "hint": "Check its name.",
        }
    ]


def test_a_blender_program_runs_the_same_code(asset, tmp_path, script, temporary_folder):
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    stand_in = script(f'exec {shlex.quote(sys.executable)} -P {shlex.quote(str(tmp_path / "stand_in.py"))} "$@"')
    assert find_blender().name == str(stand_in)
    capture_asset(asset, tmp_path / "capture.safetensors", **SMALL)
    assert set(load_capture(tmp_path / "capture.safetensors").objects) == {"Box", "--Cone ä"}
    with pytest.raises(errors.CaptureError, match=r"no object 'Ball' in two shapes\.glb.*Choose from .*'Box'"):
        capture_asset(asset, tmp_path / "capture.safetensors", objects=["Ball"])
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize("suffix", [".gltf", ".fbx", ".obj", ".ply", ".stl", ".usdc", ".usda", ".usdz", ".abc"])
def test_every_kind_of_file_is_opened(empty_scene, tmp_path, suffix):
    bpy.ops.mesh.primitive_cube_add()
    path = tmp_path / f"cube{suffix}"
    operators, name = {
        ".gltf": (bpy.ops.export_scene, "gltf"),
        ".fbx": (bpy.ops.export_scene, "fbx"),
        ".abc": (bpy.ops.wm, "alembic_export"),
    }.get(suffix, (bpy.ops.wm, f"{suffix[1:4]}_export"))
    options = {"export_format": "GLTF_SEPARATE"} if suffix == ".gltf" else {}
    getattr(operators, name)(filepath=str(path), **options)
    (found,) = open_asset(path)
    assert len(found.data.polygons) in (6, 12)


def test_a_blend_file_is_opened_at_its_frame_without_helpers_hidden_objects_and_texts(empty_scene, tmp_path):
    for name in ("Hidden", "Helper", "Shown"):
        bpy.ops.mesh.primitive_cube_add()
        bpy.context.object.name = name
    bpy.data.objects["Hidden"].hide_set(True)
    bpy.data.objects["Helper"].hide_render = True
    bpy.ops.object.text_add()
    bpy.context.scene.frame_set(7)
    path = save(tmp_path / "scene.blend")
    assert [thing.name for thing in open_asset(path)] == ["Shown"]
    assert bpy.context.scene.frame_current == 7
    assert [thing.name for thing in open_asset(path, ["Text", "Helper"], frame=9)] == ["Text", "Helper"]
    assert bpy.context.scene.frame_current == 9


def test_a_mesh_saved_in_edit_mode_is_found(empty_scene, tmp_path):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    path = save(tmp_path / "editing.blend")
    bpy.ops.object.mode_set(mode="OBJECT")
    assert [thing.name for thing in open_asset(path)] == ["Cube"]


def test_the_display_shapes_of_bones_are_no_asset(examples):
    assert "Icosphere" not in {thing.name for thing in open_asset(examples / "shark.glb")}


def test_a_texture_beside_the_asset_is_taken_into_the_blend_file(empty_scene, tmp_path):
    bpy.ops.mesh.primitive_plane_add()
    (tmp_path / "flat.mtl").write_text("newmtl paint\nmap_Kd paint.png\n")
    image = bpy.data.images.new("paint", 4, 4)
    image.filepath_raw, image.file_format = str(tmp_path / "paint.png"), "PNG"
    image.save()
    lines = "mtllib flat.mtl", "v 0 0 0", "v 1 0 0", "v 0 0 1", "vt 0 0", "vt 1 0", "vt 0 1", "usemtl paint"
    (tmp_path / "flat.obj").write_text("\n".join((*lines, "f 1/1 2/2 3/3", "")))
    animation = fabricate(tmp_path, *open_asset(tmp_path / "flat.obj"), frames=2)
    import_animation(tmp_path / "flat.obj", animation.path, tmp_path / "moving.blend")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moving.blend"))
    assert bpy.data.images["paint.png"].packed_file is not None


@pytest.mark.parametrize(
    ("name", "content", "kind", "sentence"),
    [
        ("car.step", b"solid", FileError, r"\.step files are not known.*\.glb.*\.blend"),
        ("car", b"solid", FileError, "files without a suffix are not known"),
        ("car.glb", None, FileError, "does not exist"),
        ("car.glb", b"", FileError, "is empty"),
        ("car.glb", b"no glTF", FileError, r"cannot read .*car\.glb \(Bad glTF.*\)"),
        ("car.fbx", b"no FBX", FileError, r"cannot read .*car\.fbx \((FBX Import|ASCII FBX)"),
        ("car.usda", b"no USD", FileError, r"cannot read .*car\.usda \(.*unable to open stage"),
        ("car.abc", b"no Alembic", FileError, r"cannot read .*car\.abc"),
        ("car.blend", b"no .blend", FileError, r"cannot read .*car\.blend \(.*not supported"),
        ("car.obj", b"v 0 0 0\nv 1 0 0\nl 1 2\n", SelectionError, r"no visible mesh with faces in car\.obj"),
    ],
)
def test_an_asset_that_cannot_be_used_is_refused_with_a_reason(tmp_path, name, content, kind, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=sentence) as failure:
        open_asset(tmp_path / name)
    assert isinstance(failure.value, GvfBlenderError) and failure.value.hint


def test_a_folder_is_no_asset(tmp_path):
    (tmp_path / "car.glb").mkdir()
    with pytest.raises(FileError, match="cannot be read"):
        open_asset(tmp_path / "car.glb")


@pytest.mark.parametrize(
    ("wrong", "kind", "sentence"),
    [
        ({"output": "nowhere/x.safetensors"}, errors.FileFormatError, "There is no folder .*nowhere"),
        ({"views": 0}, errors.SettingsError, "views is 0"),
        ({"frame": 2**40}, errors.SettingsError, "The frame is"),
    ],
)
def test_wrong_settings_of_a_capture_are_refused(tmp_path, wrong, kind, sentence):
    (tmp_path / "some.glb").write_bytes(b"not read")
    output = tmp_path / wrong.pop("output", "capture.safetensors")
    with pytest.raises(kind, match=sentence):
        capture_asset(tmp_path / "some.glb", output, **wrong)


@pytest.mark.parametrize(
    ("output", "options", "kind", "sentence"),
    [
        ("scene.blend", {}, errors.SettingsError, "would overwrite the asset"),
        ("moving.glb", {}, errors.SettingsError, r"no \.blend file"),
        ("moving.blend", {"frame_start": -3}, errors.SettingsError, "from frame -3 to 0"),
        ("moving.blend", {"objects": ["Small"]}, errors.FileFormatError, r"moves 16 vertices, but scene\.blend has 8"),
        ("moving.blend", {"frame": 20}, errors.FileFormatError, r"scene\.blend is not as large, or not where it was"),
    ],
)
def test_an_animation_that_does_not_fit_is_refused(empty_scene, tmp_path, output, options, kind, sentence):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.mesh.primitive_cube_add(size=1, location=(4, 0, 0))
    bpy.context.object.name = "Small"
    bpy.context.object.keyframe_insert("location", frame=1)
    bpy.context.object.location.x = 9
    bpy.context.object.keyframe_insert("location", frame=20)
    path = save(tmp_path / "scene.blend")
    before = path.read_bytes()
    animation = fabricate(tmp_path, *open_asset(path), frames=4)
    with pytest.raises(kind, match=sentence):
        import_animation(path, animation.path, tmp_path / output, **options)
    assert path.read_bytes() == before
    assert not (tmp_path / "moving.blend").exists()


def test_an_old_blender_is_refused():
    with pytest.raises(SettingsError, match=r"This is Blender 3\.4\.1\. Use Blender 4\.2 or later"):
        check_version((3, 4, 1))
    check_version((4, 2, 0))


def test_without_any_blender_the_ways_to_one_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.SettingsError, match=f"{BLENDER_VARIABLE}.*bpy module"):
        find_blender()


def test_a_blender_on_the_path_is_the_last_choice(monkeypatch, script):
    blender = script().rename(script().with_name("blender"))
    monkeypatch.delenv(BLENDER_VARIABLE)
    monkeypatch.setenv("PATH", str(blender.parent))
    assert find_blender().command[0] == sys.executable
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_blender().command[0] == str(blender)


def test_a_chosen_blender_that_is_no_program_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(BLENDER_VARIABLE, str(tmp_path))
    with pytest.raises(errors.SettingsError, match=f"{BLENDER_VARIABLE} is .*which is no program"):
        capture_asset(tmp_path / "some.glb", tmp_path / "capture.safetensors")


def test_a_crash_is_told_with_the_last_words_of_the_log(script, tmp_path, temporary_folder):
    script("echo Loading", "echo 'Error: out of luck' >&2", "kill -SEGV $$")
    with pytest.raises(
        errors.BlenderError, match=r"broke down \(signal 11, .*\)\. Its last words: \"Error: out of luck\"\."
    ):
        capture_asset(tmp_path / "some.glb", tmp_path / "capture.safetensors")
    assert list(temporary_folder.iterdir()) == []


def test_what_keeps_our_code_from_starting_is_told_with_the_exit_status(script, tmp_path):
    # As Blender 3.4 prints it, on the standard output.
    script("echo \"ModuleNotFoundError: No module named 'numpy'\"", "echo 'Error: script failed, expr'", "exit 3")
    sentence = r"some blender\) broke down \(exit status 3\)\. Its last words: \"ModuleNotFoundError: .*'numpy'\"\."
    with pytest.raises(errors.BlenderError, match=sentence):
        capture_asset(tmp_path / "some.glb", tmp_path / "capture.safetensors")


@pytest.mark.parametrize("reason", [errors.Cancelled, KeyboardInterrupt])
def test_whoever_stops_leaves_neither_processes_nor_files(script, tmp_path, temporary_folder, reason):
    output = tmp_path / "capture.safetensors"
    lifeline = tmp_path / "lifeline"
    os.mkfifo(lifeline)
    reader = os.open(lifeline, os.O_RDONLY | os.O_NONBLOCK)
    # The stand-in is a script that starts the real one and waits for it, as some packages of Blender do. Both hold on
    # to the pipe for as long as they live.
    script(
        f"exec 3> {shlex.quote(str(lifeline))}",
        "sleep 1000 &",
        f'touch {shlex.quote(str(output) + ".partial")} "$TMPDIR/leftover"',
        """echo '{"event": "progress", "fraction": 0.5}'""",
        "wait",
    )
    told = []

    def on_progress(fraction: float) -> None:
        told.append(fraction)
        if reason is KeyboardInterrupt:
            raise KeyboardInterrupt

    with pytest.raises(reason):
        capture_asset(tmp_path / "some.glb", output, on_progress=on_progress, cancelled=lambda: bool(told))
    assert told == [0.5]
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert list(temporary_folder.iterdir()) == []
    assert not list(tmp_path.glob("capture*"))


def test_objects_of_an_fbx_file_come_in_the_same_order_every_time(empty_scene, tmp_path):
    for name in ("Wheel", "Axle", "Seat", "Bell"):
        bpy.ops.mesh.primitive_cube_add(location=(len(name), ord(name[0]), 0))
        bpy.context.object.name = name
    path = tmp_path / "bike.fbx"
    bpy.ops.export_scene.fbx(filepath=str(path))
    # The importer links them in an order that changes from time to time.
    for _ in range(6):
        assert [thing.name for thing in open_asset(path)] == ["Axle", "Bell", "Seat", "Wheel"]
