"""The splat object and the point-cloud object show what is in the file, where the source stands."""

import json
from dataclasses import replace

import bpy
import numpy as np
import pytest
from fabricated_animation import PROVENANCE, fabricate
from shown_splats import rotation_matrices, splat_matrices

from gvf_blender.core.errors import FileError
from gvf_blender.importer import (
    PROVENANCE_PROPERTY,
    ImportOptions,
    import_animation,
    lacks_transparent_bounces,
    native_splats,
    raise_transparent_bounces,
)
from gvf_blender.importer.compat import fcurves_of
from gvf_blender.importer.nodes import modifier_input, set_modifier_input

TOLERANCE = 1e-5
FROM_1 = ImportOptions(motion=False, frame_start=1)


@pytest.fixture
def cube(empty_scene):
    bpy.ops.mesh.primitive_cube_add(size=2, location=(3, -1, 2), rotation=(0.3, 0.2, 1.0))
    bpy.context.object.name = "Crate"
    return bpy.context.object


def frame_set(frame: float) -> None:
    bpy.context.scene.frame_set(int(frame), subframe=frame - int(frame))


def point_attribute(result: bpy.types.Object, name: str, prop: str, components: int) -> np.ndarray:
    """An attribute of the evaluated points of an object, also if they are a second component of a mesh object."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    for instance in depsgraph.object_instances:
        owner = instance.parent if instance.is_instance else instance.object
        if owner.original == result and instance.object.type == "POINTCLOUD":
            data = instance.object.data
            values = np.empty((len(data.points), components), np.float32)
            data.attributes[name].data.foreach_get(prop, values.ravel())
            return values
    raise AssertionError(f"{result.name} shows no points")


def set_display(splats: bpy.types.Object, choice: str) -> None:
    modifier = splats.modifiers[0]
    menu = next(node for node in modifier.node_group.nodes if node.bl_idname == "GeometryNodeMenuSwitch")
    order = [item.name for item in menu.enum_items]
    first = modifier_input(modifier, "Display")
    set_modifier_input(modifier, "Display", first + order.index(choice))
    bpy.context.view_layer.update()


def slerp(first: np.ndarray, second: np.ndarray, weight: float) -> np.ndarray:
    """Along the shorter arc, unit quaternions [N, 4]."""
    cosine = (first * second).sum(axis=1, keepdims=True)
    second, cosine = np.where(cosine < 0, -second, second), np.abs(cosine)
    angle = np.arccos(np.clip(cosine, -1, 1))
    return (np.sin((1 - weight) * angle) * first + np.sin(weight * angle) * second) / np.sin(angle)


def expected_rotations(animation, frame: float) -> np.ndarray:
    stored = animation.tracks["quaternions"].astype(np.float64)
    stored /= np.linalg.norm(stored, axis=-1, keepdims=True)
    earlier = int(frame)
    if frame == earlier:
        return rotation_matrices(stored[earlier])
    return rotation_matrices(slerp(stored[earlier], stored[earlier + 1], frame - earlier))


@pytest.mark.parametrize("scene_frame", [1, 7, 7.5])
def test_every_splat_has_the_position_rotation_and_scale_of_the_file(cube, tmp_path, scene_frame):
    animation = fabricate(tmp_path, cube)
    splats = import_animation(bpy.context, animation.path, animation.sources, FROM_1).splats
    frame_set(scene_frame)
    matrices = splat_matrices(splats)
    metres = animation.world_from_unit[0, 0]
    scales = animation.at("scales", scene_frame - 1) * metres
    np.testing.assert_allclose(matrices[:, :3, 3], animation.world_means(scene_frame - 1), atol=TOLERANCE)
    expected = expected_rotations(animation, scene_frame - 1) * scales[:, None, :]
    np.testing.assert_allclose(matrices[:, :3, :3], expected, atol=TOLERANCE)


@pytest.mark.parametrize("moment", [0.02, 6.2, 6.5, 13.79, 22.98])
def test_rotations_between_frames_run_along_the_shorter_arc_at_even_speed(cube, tmp_path, moment):
    """Random rotations: steps of up to 180 degrees, of either sign."""
    animation = fabricate(tmp_path, cube, gaussians=2000)
    points = import_animation(bpy.context, animation.path, animation.sources, FROM_1).points
    frame_set(moment + 1)
    shown = point_attribute(points, "splat_rotation", "value", 4).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(shown, axis=1), 1, atol=1e-5)
    relative = np.einsum("nij,nik->njk", expected_rotations(animation, moment), rotation_matrices(shown))
    # Its norm is twice the sine of the angle; the trace says nothing about small angles.
    twist = np.stack([relative[:, i, j] - relative[:, j, i] for i, j in ((0, 1), (1, 2), (2, 0))], axis=1)
    assert np.einsum("nii->n", relative).min() > 2.9
    assert np.degrees(np.linalg.norm(twist, axis=1) / 2).max() < 0.04


@pytest.mark.parametrize("scene_frame", [1, 7, 7.5])
@pytest.mark.parametrize("kind", ["splats", "points"])
def test_points_have_the_position_color_opacity_and_size_of_the_file(cube, tmp_path, scene_frame, kind):
    animation = fabricate(tmp_path, cube)
    result = getattr(import_animation(bpy.context, animation.path, animation.sources, FROM_1), kind)
    if kind == "splats":
        set_display(result, "Points")
    frame_set(scene_frame)
    matrix = np.array(result.matrix_world)
    positions = point_attribute(result, "position", "vector", 3) @ matrix[:3, :3].T + matrix[:3, 3]
    frame = scene_frame - 1
    scales = animation.at("scales", frame) * animation.world_from_unit[0, 0]
    np.testing.assert_allclose(positions, animation.world_means(frame), atol=TOLERANCE)
    colors = point_attribute(result, "splat_color", "color", 4)
    np.testing.assert_allclose(colors[:, :3], animation.at("colors", frame), atol=TOLERANCE)
    opacities = point_attribute(result, "splat_opacity", "value", 1)
    np.testing.assert_allclose(opacities[:, 0], animation.at("opacities", frame), atol=TOLERANCE)
    np.testing.assert_allclose(point_attribute(result, "splat_scale", "vector", 3), scales, atol=TOLERANCE)
    radii = point_attribute(result, "radius", "value", 1)
    np.testing.assert_allclose(radii[:, 0], 1.5 * scales.mean(axis=1), atol=TOLERANCE)


def test_results_follow_a_source_that_was_moved_since_the_capture(cube, tmp_path):
    animation = fabricate(tmp_path, cube)
    before = np.array(cube.matrix_world, np.float64)
    cube.location, cube.rotation_euler, cube.scale = (-4, 5, 1), (1.0, 0.1, -2.0), (1.5, 1.5, 1.5)
    imported = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    moved = np.array(cube.matrix_world, np.float64) @ np.linalg.inv(before)
    expected = animation.world_means(6) @ moved[:3, :3].T + moved[:3, 3]
    frame_set(7)
    np.testing.assert_allclose(splat_matrices(imported.splats)[:, :3, 3], expected, atol=3e-5)
    np.testing.assert_allclose(imported.points.matrix_world, imported.splats.matrix_world)


def test_results_of_an_unmoved_source_have_a_clean_transform(cube, tmp_path):
    animation = fabricate(tmp_path, cube)
    imported = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    for result in (imported.splats, imported.points):
        assert result.scale[:] == (1, 1, 1)
        assert result.rotation_euler[:] == (0, 0, 0)
        np.testing.assert_allclose(result.location, animation.world_from_unit[:3, 3], atol=1e-6)


def test_results_stand_in_a_collection_of_their_own_and_tell_where_they_come_from(cube, tmp_path):
    animation = fabricate(tmp_path, cube)
    imported = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    collection = bpy.context.scene.collection.children["Crate GVF"]
    assert set(collection.objects) == {imported.splats, imported.points}
    for result in collection.objects:
        assert json.loads(result[PROVENANCE_PROPERTY]) == json.loads(PROVENANCE)


@pytest.fixture
def layers(cube):
    """View layers that show the cube, do not, hold it out and let it count indirectly alone."""
    layers = bpy.context.scene.view_layers
    layers[0].name = "Character"
    props = bpy.data.collections.new("Props")
    bpy.context.scene.collection.children.link(props)
    bpy.context.scene.collection.objects.unlink(cube)
    props.objects.link(cube)
    for name, setting in (("Background", "exclude"), ("Cut Out", "holdout"), ("Shadows", "indirect_only")):
        setattr(layers.new(name).layer_collection.children["Props"], setting, True)
    return layers


def test_results_show_in_the_view_layers_of_their_original_as_it_does(cube, layers, tmp_path):
    animation = fabricate(tmp_path, cube)
    splats = import_animation(bpy.context, animation.path, animation.sources, FROM_1).splats
    shown = {layer.name for layer in layers if splats in layer.objects.values()}
    assert shown == {"Character", "Cut Out", "Shadows"}
    assert [layer.name for layer in layers if splats.holdout_get(view_layer=layer)] == ["Cut Out"]
    assert [layer.name for layer in layers if splats.indirect_only_get(view_layer=layer)] == ["Shadows"]


def test_results_of_a_source_that_also_lies_in_the_root_show_in_all_view_layers(cube, layers, tmp_path):
    animation = fabricate(tmp_path, cube)
    bpy.context.scene.collection.objects.link(cube)
    splats = import_animation(bpy.context, animation.path, animation.sources, FROM_1).splats
    assert all(splats in layer.objects.values() for layer in layers)


def test_results_of_an_instance_show_whatever_excludes_the_object_that_it_shows(cube, layers, tmp_path):
    animation = fabricate(tmp_path, cube)
    sources = [replace(source, is_instance=True) for source in animation.sources]
    splats = import_animation(bpy.context, animation.path, sources, FROM_1).splats
    assert all(splats in layer.objects.values() for layer in layers)


@pytest.mark.parametrize("splats, points", [(True, False), (False, True), (False, False)])
def test_only_the_chosen_results_are_made(cube, tmp_path, splats, points):
    animation = fabricate(tmp_path, cube)
    options = ImportOptions(splats=splats, points=points, motion=False)
    imported = import_animation(bpy.context, animation.path, animation.sources, options)
    assert (imported.splats is not None, imported.points is not None, imported.motion) == (splats, points, ())
    assert ("Crate GVF" in bpy.data.collections) == (splats or points)


def test_a_second_import_leaves_the_first_as_it_was(cube, tmp_path):
    animation = fabricate(tmp_path, cube)
    first = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    frame_set(7.5)
    before = splat_matrices(first.splats)
    second = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    assert second.splats != first.splats
    frame_set(7.5)
    np.testing.assert_array_equal(splat_matrices(first.splats), before)


def test_a_track_that_never_changes_is_stored_once(cube, tmp_path):
    animation = fabricate(tmp_path, cube)
    data = import_animation(bpy.context, animation.path, animation.sources, FROM_1).splats.data
    counts = {name: sum(found.name.startswith(f"{name}_") for found in data.attributes) for name in ("color", "scale")}
    assert counts == {"color": 1, "scale": 24}


def test_an_animation_in_which_nothing_changes_shows_its_only_frame(cube, tmp_path):
    animation = fabricate(tmp_path, cube, frames=1)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    frame_set(5)
    np.testing.assert_allclose(splat_matrices(imported.splats)[:, :3, 3], animation.world_means(0), atol=TOLERANCE)
    assert imported.motion == ()
    assert any("moves no vertices" in warning for warning in imported.warnings)


@pytest.mark.parametrize("scene_fps, file_fps, last", [(30, 24, 1 + 23 * 30 / 24), (24, 24, 24), (24, 12, 47)])
def test_the_animation_plays_at_its_own_speed_in_the_scene(cube, tmp_path, scene_fps, file_fps, last):
    bpy.context.scene.render.fps = scene_fps
    frame_end = bpy.context.scene.frame_end
    animation = fabricate(tmp_path, cube, fps=file_fps)
    imported = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    (curve,) = fcurves_of(imported.splats)
    assert [tuple(key.co) for key in curve.keyframe_points] == [(1, 0), (pytest.approx(last), 23)]
    assert {key.interpolation for key in curve.keyframe_points} == {"LINEAR"}
    assert bpy.context.scene.frame_end == frame_end


def test_the_animation_starts_at_the_current_frame_unless_told_otherwise(cube, tmp_path):
    bpy.context.scene.frame_set(40)
    animation = fabricate(tmp_path, cube)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(motion=False))
    (curve,) = fcurves_of(imported.points)
    assert curve.keyframe_points[0].co[:] == (40, 0)


def test_moving_the_second_key_away_slows_the_animation_down(cube, tmp_path):
    animation = fabricate(tmp_path, cube)
    splats = import_animation(bpy.context, animation.path, animation.sources, FROM_1).splats
    (curve,) = fcurves_of(splats)
    curve.keyframe_points[1].co.x = 47
    curve.update()
    frame_set(14)
    np.testing.assert_allclose(splat_matrices(splats)[:, :3, 3], animation.world_means(6.5), atol=TOLERANCE)


def test_results_lie_where_they_were_captured_if_the_source_is_gone(cube, tmp_path):
    animation = fabricate(tmp_path, cube)
    bpy.data.objects.remove(cube)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    frame_set(7)
    np.testing.assert_allclose(splat_matrices(imported.splats)[:, :3, 3], animation.world_means(6), atol=TOLERANCE)
    assert any("Crate is no longer in the scene" in warning for warning in imported.warnings)


def test_a_source_sheared_since_the_capture_is_warned_about(cube, tmp_path):
    animation = fabricate(tmp_path, cube)
    bpy.ops.object.empty_add()
    bpy.context.object.scale = (3, 1, 1)
    cube.parent = bpy.context.object
    cube.rotation_euler.z += 0.5
    imported = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    assert any("Crate was sheared since the capture" in warning for warning in imported.warnings)


def test_results_of_a_source_with_a_moving_transform_lie_where_it_was_captured(cube, tmp_path):
    cube.keyframe_insert("location", frame=1)
    cube.location.x += 5
    cube.keyframe_insert("location", frame=20)
    frame_set(1)
    animation = fabricate(tmp_path, cube)
    frame_set(20)
    imported = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    frame_set(7)
    np.testing.assert_allclose(splat_matrices(imported.splats)[:, :3, 3], animation.world_means(6), atol=TOLERANCE)


@pytest.mark.parametrize(("mute", "offset"), [(False, 0), (True, 5)])
def test_results_of_a_source_that_a_constraint_may_move_lie_where_it_was_captured(cube, tmp_path, mute, offset):
    bpy.ops.object.empty_add()
    path = bpy.context.object
    path.keyframe_insert("location", frame=1)
    path.location.x += 5
    path.keyframe_insert("location", frame=20)
    constraint = cube.constraints.new("COPY_LOCATION")
    constraint.target, constraint.use_offset, constraint.mute = path, True, mute
    frame_set(1)
    animation = fabricate(tmp_path, cube)
    frame_set(20)
    if mute:
        cube.location.x += 5
        bpy.context.view_layer.update()
    imported = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    frame_set(7)
    expected = animation.world_means(6) + np.array([offset, 0, 0])
    np.testing.assert_allclose(splat_matrices(imported.splats)[:, :3, 3], expected, atol=TOLERANCE)


def test_results_of_a_source_scaled_flat_lie_where_it_was_captured(cube, tmp_path):
    cube.scale.z = 0
    animation = fabricate(tmp_path, cube)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    frame_set(7)
    np.testing.assert_allclose(splat_matrices(imported.splats)[:, :3, 3], animation.world_means(6), atol=TOLERANCE)
    told = [warning for warning in imported.warnings if "Crate" in warning]
    assert told == ["Crate was captured with a scale of zero, so its own motion was left out."]


def test_what_the_server_warned_about_reaches_the_artist_first(cube, tmp_path):
    animation = fabricate(tmp_path, cube, provenance='{"warnings": ["The view is wrong.", "Nothing moves."]}')
    imported = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    assert imported.warnings[:2] == ("The view is wrong.", "Nothing moves.")


def test_an_animation_of_another_capture_is_refused(cube, tmp_path):
    animation = fabricate(tmp_path, cube)
    bpy.ops.mesh.primitive_uv_sphere_add()
    other = fabricate(tmp_path, bpy.context.object)
    animation = fabricate(tmp_path, cube)
    with pytest.raises(FileError, match="moves 8 vertices, but the captured objects have 482"):
        import_animation(bpy.context, animation.path, other.sources)


def test_transparent_bounces_for_proxies_change_only_on_request(cube, tmp_path, monkeypatch):
    monkeypatch.setattr(native_splats, "has_native_splats", lambda: False)
    scene = bpy.context.scene
    before = scene.cycles.transparent_max_bounces
    animation = fabricate(tmp_path, cube)
    imported = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    assert scene.cycles.transparent_max_bounces == before
    assert any("transparent" in warning for warning in imported.warnings)
    assert raise_transparent_bounces(scene)
    assert not lacks_transparent_bounces(scene)
    assert not raise_transparent_bounces(scene)
    assert import_animation(bpy.context, animation.path, animation.sources, FROM_1).warnings == ()


def rendered_pixels(path, samples: int, size: int = 32) -> np.ndarray:
    """sRGB pixels [size, size, 4] of the square [-1, 1]^2 in x and z, seen by Cycles along y, rows upwards."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    camera.data.type, camera.data.ortho_scale = "ORTHO", 2
    camera.location, camera.rotation_euler = (0, -4, 0), (np.pi / 2, 0, 0)
    scene.camera = camera
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", samples, "CPU"
    scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.film_transparent = True
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    return np.array(image.pixels[:]).reshape(size, size, 4)


def import_one_splat(folder, color=(1, 1, 1), quaternion=(1, 0, 0, 0), scale=(0.2, 0.2, 0.2), opacity=1.0):
    """A single splat at the origin, the source object out of sight."""
    bpy.ops.mesh.primitive_cube_add(size=1)
    one = {
        "means": np.zeros((1, 1, 3), np.float32),
        "quaternions": np.array([[quaternion]], np.float16),
        "scales": np.array([[scale]], np.float16),
        "colors": np.array([[color]], np.float16),
        "opacities": np.array([[opacity]], np.float16),
    }
    animation = fabricate(folder, bpy.context.object, gaussians=1, changes=one)
    bpy.context.object.hide_render = True
    options = ImportOptions(points=False, motion=False)
    return import_animation(bpy.context, animation.path, animation.sources, options).splats


@pytest.mark.parametrize("display", ["Splats", "Solid Ellipsoids", "Points"])
def test_an_opaque_splat_renders_in_its_color(empty_scene, tmp_path, display):
    linear = np.array([0.6, 0.2, 0.05])
    set_display(import_one_splat(tmp_path, color=linear), display)
    pixels = rendered_pixels(tmp_path / "render.png", samples=16)
    srgb = 1.055 * linear ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(pixels[15:17, 15:17, :3], np.broadcast_to(srgb, (2, 2, 3)), atol=0.01)
    assert pixels[15:17, 15:17, 3].mean() > 0.9
    assert pixels[0, 0, 3] == 0


def test_a_splat_renders_as_the_exact_gaussian(empty_scene, tmp_path):
    scale, opacity, turn = np.array([0.4, 0.15, 0.1]), 0.7, 0.6
    import_one_splat(tmp_path, quaternion=(np.cos(turn / 2), 0, np.sin(turn / 2), 0), scale=scale, opacity=opacity)
    alpha = rendered_pixels(tmp_path / "render.png", samples=64)[..., 3]
    z, x = (np.mgrid[:32, :32] + 0.5) / 16 - 1
    # Rotated about y, the view axis, by `turn`: x towards -z.
    along, across = np.cos(turn) * x - np.sin(turn) * z, np.sin(turn) * x + np.cos(turn) * z
    squared = (along / scale[0]) ** 2 + (across / scale[2]) ** 2
    expected = opacity * np.exp(-squared / 2) * (squared < 9)
    # A random choice per sample has a standard deviation of at most 0.0625 at 64 samples.
    assert np.abs(alpha - expected).max() < 0.3
    assert np.abs(alpha - expected).mean() < 0.02
    assert abs(alpha.sum() / expected.sum() - 1) < 0.05


@pytest.mark.parametrize("kind", ["splats", "points"])
def test_confidence_is_shown_as_a_colour_on_request(cube, tmp_path, kind):
    animation = fabricate(tmp_path, cube, frames=3)
    imported = import_animation(bpy.context, animation.path, animation.sources, FROM_1)
    result = getattr(imported, kind)
    if kind == "splats":
        set_display(result, "Points")
    frame_set(3)
    confidence = animation.tracks["confidence"][2].astype(np.float32)
    captured = animation.tracks["colors"][0].astype(np.float32)
    np.testing.assert_allclose(point_attribute(result, "splat_color", "color", 4)[:, :3], captured, atol=2e-3)
    modifier = result.modifiers[0]
    set_modifier_input(modifier, "Show Confidence", 1.0)
    bpy.context.view_layer.update()
    shown = point_attribute(result, "splat_color", "color", 4)[:, :3]
    np.testing.assert_allclose(shown[:, 0], 1 - confidence, atol=2e-3)
    np.testing.assert_allclose(shown[:, 1], confidence, atol=2e-3)
    np.testing.assert_allclose(point_attribute(result, "splat_confidence", "value", 1)[:, 0], confidence, atol=2e-3)
