"""An asset's own clips are found by name and read as vertices of one topology in the first frame's unit frame."""

import json

import bpy
import numpy as np
import pytest
from fabricated_animation import evaluated_world_vertices

from gvf_blender import headless
from gvf_blender.clip_capture import ClipOptions, read_clip, scene_frames
from gvf_blender.clip_pictures import CameraView
from gvf_blender.clips import TIMELINE, Clip, Clips
from gvf_blender.core.errors import SelectionError, SettingsError
from gvf_blender.importer.compat import fcurves_of
from gvf_core import errors
from gvf_core.blender import assets as blender
from gvf_core.capture import load_capture
from gvf_core.evaluation.clip_file import load_clip
from gvf_core.rendering import orbit_camera
from gvf_core.rendering.mesh import rasterize_mesh


def key(owner, path: str, *points: tuple[float, float]) -> None:
    """Straight lines between values of a property."""
    holder, _, name = path.rpartition(".")
    thing = owner.path_resolve(holder) if holder else owner
    for frame, value in points:
        setattr(thing, name, value)
        owner.keyframe_insert(path, frame=frame)
    for curve in fcurves_of(owner):
        for point in curve.keyframe_points:
            point.interpolation = "LINEAR"


def stash(owner, name: str) -> None:
    """What is keyed becomes a track of its own, as the glTF importer and exporter have it."""
    data = owner.animation_data
    track = data.nla_tracks.new()
    track.name = name
    track.strips.new(name, round(data.action.frame_range[0]), data.action)
    data.action = None


@pytest.fixture
def dancers(empty_scene, tmp_path):
    """A box with the clips "Hop" and "Slide", and a ball with a shape key that swells in "Hop" only."""
    bpy.ops.mesh.primitive_cube_add(size=1, location=(2, 0, 0))
    box = bpy.context.object
    box.name = "Box"
    bpy.ops.mesh.primitive_uv_sphere_add(segments=8, ring_count=6, radius=0.5, location=(-2, 0, 0))
    ball = bpy.context.object
    ball.name = "Ball"
    ball.shape_key_add(name="Basis")
    swollen = ball.shape_key_add(name="Swollen")
    for point in swollen.data:
        point.co *= 2
    key(box, "location", (1, (2, 0, 0)), (25, (2, 0, 3)))
    stash(box, "Hop")
    key(box, "location", (1, (2, 0, 0)), (49, (4, 0, 0)))
    stash(box, "Slide")
    key(ball.data.shape_keys, 'key_blocks["Swollen"].value', (1, 0.0), (25, 1.0))
    stash(ball.data.shape_keys, "Hop")
    box.location, swollen.value = (2, 0, 0), 0
    path = tmp_path / "dancers.glb"
    bpy.ops.export_scene.gltf(filepath=str(path), export_animation_mode="NLA_TRACKS", export_force_sampling=True)
    return path


def read(path, name: str, output, **options):
    """Read a clip in this process."""
    objects = headless.open_asset(path, keep_animation=True)
    read_clip(bpy.context, objects, Clips(), name, output, ClipOptions(**options))
    return load_clip(output)


def test_clips_are_listed_by_name_with_their_length(dancers):
    clips = blender.list_clips(dancers)
    assert [clip.name for clip in clips] == ["Hop", "Slide"]
    assert [clip.seconds for clip in clips] == pytest.approx([1, 2], abs=0.01)


def test_a_clip_moves_all_objects_that_it_animates_and_no_others(dancers, tmp_path):
    hop = read(dancers, "Hop", tmp_path / "hop.safetensors", frames=5)
    slide = read(dancers, "Slide", tmp_path / "slide.safetensors", frames=3, seconds=0)
    assert hop.objects == slide.objects
    box, ball = (hop.object_id == hop.objects.index(name) for name in ("Box", "Ball"))
    size = hop.world_from_unit[0, 0]
    lifts = (hop.vertices - hop.vertices[0])[:, box] * size
    np.testing.assert_allclose(
        lifts, np.broadcast_to([[[0, 0, z]] for z in (0, 0.75, 1.5, 2.25, 3)], lifts.shape), atol=1e-3
    )
    radii = np.ptp(hop.vertices[:, ball], axis=1)[:, 2] * size
    np.testing.assert_allclose(radii, [1, 1.25, 1.5, 1.75, 2], rtol=1e-3)
    assert (slide.vertices[:, ball] == slide.vertices[0, ball]).all()
    assert (slide.vertices[-1] - slide.vertices[0])[box, 0] * size == pytest.approx(2, abs=1e-3)


def test_vertices_are_those_of_the_scene_in_the_unit_frame_of_the_first_frame(dancers, tmp_path):
    clip = read(dancers, "Hop", tmp_path / "hop.safetensors", frames=3)
    low, high = clip.vertices[0].min(axis=0), clip.vertices[0].max(axis=0)
    assert (high - low).max() == pytest.approx(1)
    np.testing.assert_allclose(low + high, 0, atol=1e-6)
    assert clip.fps == pytest.approx(2, abs=0.02)
    # The scene still shows the last frame.
    world = clip.vertices[-1] @ clip.world_from_unit[:3, :3].T + clip.world_from_unit[:3, 3]
    for index, name in enumerate(clip.objects):
        np.testing.assert_allclose(world[clip.object_id == index], evaluated_world_vertices(name), atol=1e-5)


def test_the_capture_beside_a_clip_is_that_of_its_first_frame(dancers, tmp_path):
    path = tmp_path / "hop.safetensors"
    blender.read_clip(dancers, "Hop", path, frames=4, offset=0.5, views=2, size=32)
    clip, capture = load_clip(path), load_capture(blender.capture_beside(path))
    np.testing.assert_allclose(capture.vertices, clip.vertices[0], atol=1e-6)
    np.testing.assert_array_equal(capture.triangles, clip.triangles)
    np.testing.assert_allclose(capture.world_from_unit, clip.world_from_unit)
    assert capture.objects == clip.objects and len(capture.views) == 2
    assert capture.views[0].rgba.shape == (32, 32, 4)


def test_several_clips_are_read_at_once_and_unknown_ones_told(dancers, tmp_path):
    outputs = {name: tmp_path / f"{name}.safetensors" for name in ("Slide", "Fly", "Hop")}
    refused = blender.read_clips(dancers, outputs, frames=2)
    assert list(refused) == ["Fly"] and "It has 'Hop', 'Slide'." in refused["Fly"]
    assert load_clip(outputs["Slide"]).clip == "Slide" and load_clip(outputs["Hop"]).vertices.shape[0] == 2
    assert not outputs["Fly"].exists() and not blender.capture_beside(outputs["Hop"]).exists()
    with pytest.raises(errors.CaptureError, match="no clip 'Fly'"):
        blender.read_clip(dancers, "Fly", outputs["Fly"])


def test_the_order_in_which_clips_are_read_makes_no_difference(dancers, tmp_path):
    paths = [tmp_path / f"{index}.safetensors" for index in range(2)]
    read(dancers, "Slide", paths[0], frames=3)
    objects = headless.open_asset(dancers, keep_animation=True)
    clips = Clips()
    read_clip(bpy.context, objects, clips, "Hop", tmp_path / "hop.safetensors", ClipOptions(frames=3))
    read_clip(bpy.context, objects, clips, "Slide", paths[1], ClipOptions(frames=3))
    np.testing.assert_allclose(load_clip(paths[0]).vertices, load_clip(paths[1]).vertices, atol=1e-6)


def test_a_clip_whose_topology_changes_is_refused(empty_scene, tmp_path):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.modifiers.new("Many", "ARRAY")
    key(cube, 'modifiers["Many"].count', (1, 1), (20, 4))
    cube.animation_data.action.name = "Multiply"
    path = tmp_path / "cubes.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    with pytest.raises(SelectionError, match="topology changes while the clip 'Multiply' plays"):
        read(path, "Multiply", tmp_path / "clip.safetensors")
    assert not (tmp_path / "clip.safetensors").exists()


@pytest.mark.skipif(bpy.app.version < (4, 5), reason="The former FBX importer, in Python, gives other names")
def test_the_clips_of_an_fbx_file_lose_the_names_of_its_objects(empty_scene, tmp_path):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.name = "Lift"
    key(cube, "location", (1, (0, 0, 0)), (25, (0, 0, 4)))
    path = tmp_path / "lift.fbx"
    bpy.ops.export_scene.fbx(filepath=str(path))
    headless.open_asset(path, keep_animation=True)
    (found,) = Clips().found
    assert "|" not in found.name
    clip = read(path, found.name, tmp_path / "clip.safetensors", frames=2)
    np.testing.assert_allclose((clip.vertices[1] - clip.vertices[0])[:, 2], 2, atol=1e-2)


@pytest.mark.parametrize("suffix", [".abc", ".usdc"])
def test_cached_geometry_plays_as_the_timeline(empty_scene, tmp_path, suffix):
    bpy.ops.mesh.primitive_cube_add()
    key(bpy.context.object, "location", (1, (0, 0, 0)), (25, (0, 0, 4)))
    empty_scene.frame_end = 25
    path = tmp_path / f"lift{suffix}"
    if suffix == ".abc":
        bpy.ops.wm.alembic_export(filepath=str(path))
    else:
        bpy.ops.wm.usd_export(filepath=str(path), export_animation=True)
    clip = read(path, TIMELINE, tmp_path / "clip.safetensors", frames=2)
    np.testing.assert_allclose((clip.vertices[1] - clip.vertices[0])[:, 2], 2, atol=1e-2)


def test_a_file_without_animation_has_no_clips(empty_scene, tmp_path):
    bpy.ops.mesh.primitive_cube_add()
    path = tmp_path / "cube.glb"
    bpy.ops.export_scene.gltf(filepath=str(path))
    assert blender.list_clips(path) == ()
    with pytest.raises(errors.CaptureError, match="no animation at all"):
        blender.read_clip(path, "Run", tmp_path / "clip.safetensors")


def test_lit_pictures_show_the_vertices_where_they_are(dancers, tmp_path):
    camera = orbit_camera(30, 20, 4.0, size=64)
    blender.read_clip(dancers, "Hop", tmp_path / "hop.safetensors", frames=2, camera=camera)
    clip = load_clip(tmp_path / "hop.safetensors")
    assert clip.pictures is not None and clip.pictures.shape == (2, 64, 64, 4)
    for picture, vertices in zip(clip.pictures, clip.vertices, strict=True):
        covered, shown = rasterize_mesh(vertices, clip.triangles, camera).triangle >= 0, picture[..., 3] > 127
        assert (covered & shown).sum() / (covered | shown).sum() > 0.85
    lit = clip.pictures[0][clip.pictures[0][..., 3] > 250][:, :3].astype(int)
    assert np.ptp(lit, axis=0).max() > 20


@pytest.mark.parametrize("wrong", [{"frames": 1}, {"seconds": -1}, {"offset": -0.1}, {"views": 5000}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match="Choose a number from"):
        ClipOptions(**wrong)


def test_frames_are_evenly_spread_and_both_ends_are_in(empty_scene):
    clip = Clip("Run", 1.0, 49.0)
    assert scene_frames(clip, ClipOptions(frames=3, seconds=0)) == [1, 25, 49]
    assert scene_frames(clip, ClipOptions(frames=3, seconds=1, offset=0.5)) == [13, 25, 37]
    with pytest.raises(SelectionError, match="nothing is left after 2 s"):
        scene_frames(clip, ClipOptions(offset=2))


def test_a_camera_that_is_none_is_refused():
    assert CameraView.from_json(json.dumps({"world_to_camera": np.eye(4).tolist(), "fov": 40, "size": 8})).size == 8
    for text in ("nothing", "{}", '{"world_to_camera": [1], "fov": 40, "size": 8}'):
        with pytest.raises(SettingsError, match="is no camera"):
            CameraView.from_json(text)
