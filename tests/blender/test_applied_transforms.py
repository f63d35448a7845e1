"""Object > Apply on results: they stay where they are, in every frame, in files and after edits of their points."""

import bpy
import numpy as np
import pytest
from fabricated_animation import fabricate
from shown_splats import splat_matrices
from test_import_results import point_attribute

from gvf_blender.core.splat_ply_file import read_splat_ply
from gvf_blender.exporter.splats import export_splats
from gvf_blender.importer import ImportOptions, import_animation

FRAMES = 3
SCALES = {"alike": (2.0, 2.0, 2.0), "mirrored": (-0.5, 0.5, 0.5), "apart": (2.0, 0.5, 1.0)}


def result(tmp_path, kind="splats", gaussians=40, flat=False):
    """A result of its own, with its Gaussians around the origin of a turned object."""
    bpy.ops.mesh.primitive_cube_add(size=2, location=(3, -1, 2))
    random = np.random.default_rng(3)
    means = random.uniform(-0.5, 0.5, (FRAMES, gaussians, 3)).astype(np.float32)
    if flat:
        means[:, :, 1] = 0.1
    animation = fabricate(tmp_path, bpy.context.object, frames=FRAMES, gaussians=gaussians, changes={"means": means})
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    thing = getattr(imported, kind)
    thing.rotation_euler = (0.3, 0.2, 1.0)
    return thing


def apply(thing):
    bpy.ops.object.select_all(action="DESELECT")
    thing.select_set(True)
    bpy.context.view_layer.objects.active = thing
    assert bpy.ops.object.transform_apply() == {"FINISHED"}
    np.testing.assert_allclose(np.array(thing.matrix_world), np.eye(4), atol=1e-6)


def shown(thing, frame=1):
    """Centres [N, 3] and covariances [N, 3, 3] in the world; of points their radii."""
    bpy.context.scene.frame_set(frame)
    if thing.type == "MESH":
        matrices = splat_matrices(thing)
        axes = matrices[:, :3, :3]
        return matrices[:, :3, 3], axes @ axes.transpose(0, 2, 1)
    matrix = np.array(thing.matrix_world, np.float64)
    positions = point_attribute(thing, "position", "vector", 3) @ matrix[:3, :3].T + matrix[:3, 3]
    factor = np.cbrt(abs(np.linalg.det(matrix[:3, :3])))
    return positions, factor * point_attribute(thing, "radius", "value", 1)


@pytest.mark.parametrize("kind", ["splats", "points"])
@pytest.mark.parametrize(
    ("cloud", "scale"), [("volume", "alike"), ("volume", "mirrored"), ("flat", "alike"), ("single", "alike")]
)
def test_a_result_stays_where_it_is_when_its_transforms_are_applied(empty_scene, tmp_path, kind, scale, cloud):
    thing = result(tmp_path, kind, gaussians=1 if cloud == "single" else 40, flat=cloud == "flat")
    if cloud == "single":
        # One point alone tells its place and neither how it is turned nor how large it is.
        thing.rotation_euler = (0, 0, 0)
    else:
        thing.scale = SCALES[scale]
    before = [shown(thing, frame) for frame in (1, 2, 3)]
    apply(thing)
    for frame, expected in zip((1, 2, 3), before, strict=True):
        for value, wanted in zip(shown(thing, frame), expected, strict=True):
            np.testing.assert_allclose(value, wanted, atol=2e-5)
    thing.location.x += 1
    np.testing.assert_allclose(shown(thing)[0], before[0][0] + (1, 0, 0), atol=2e-5)


def test_a_scale_that_differs_along_the_axes_leaves_the_positions(empty_scene, tmp_path):
    thing = result(tmp_path)
    thing.scale = SCALES["apart"]
    before = shown(thing, 2)[0]
    apply(thing)
    np.testing.assert_allclose(shown(thing, 2)[0], before, atol=2e-5)


def test_transforms_are_applied_one_after_the_other(empty_scene, tmp_path):
    thing = result(tmp_path)
    apply(thing)
    thing.rotation_euler, thing.location = (1, 0, 0), (0, 0, 4)
    before = shown(thing, 3)
    apply(thing)
    for value, wanted in zip(shown(thing, 3), before, strict=True):
        np.testing.assert_allclose(value, wanted, atol=2e-5)


def test_points_that_were_deleted_are_gone_and_the_others_stay_also_when_applied(empty_scene, tmp_path):
    thing = result(tmp_path, gaussians=400)
    before = shown(thing, 2)[0]
    keep = np.arange(400) % 2 == 0
    bpy.context.view_layer.objects.active = thing
    bpy.ops.object.mode_set(mode="OBJECT")
    thing.data.vertices.foreach_set("select", ~keep)
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.delete(type="VERT")
    bpy.ops.object.mode_set(mode="OBJECT")
    np.testing.assert_allclose(shown(thing, 2)[0], before[keep], atol=2e-5)
    apply(thing)
    np.testing.assert_allclose(shown(thing, 2)[0], before[keep], atol=2e-5)


@pytest.mark.parametrize("moved", [range(20), *([index] for index in range(0, 40, 6))])
def test_points_that_were_moved_in_edit_mode_move_nothing(empty_scene, tmp_path, moved):
    thing = result(tmp_path)
    before = shown(thing, 2)[0]
    for index in moved:
        thing.data.vertices[index].co.x += 0.3
    thing.data.update()
    np.testing.assert_allclose(shown(thing, 2)[0], before, atol=2e-5)


@pytest.mark.parametrize("kind", ["splats", "points"])
def test_an_export_is_the_same_before_and_after(empty_scene, tmp_path, kind):
    thing = result(tmp_path, kind)
    thing.scale = SCALES["alike"]
    bpy.context.view_layer.update()
    (before,), _ = export_splats(bpy.context, thing, tmp_path / "before", [2])
    apply(thing)
    (after,), _ = export_splats(bpy.context, thing, tmp_path / "after", [2])
    expected, written = read_splat_ply(before), read_splat_ply(after)
    np.testing.assert_allclose(written.positions, expected.positions, atol=2e-5)
    np.testing.assert_allclose(written.scales, expected.scales, rtol=1e-4)
    cosines = np.abs((written.rotations * expected.rotations).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-4)
