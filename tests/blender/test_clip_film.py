"""Blender takes unlit pictures of an asset whose vertices stand where a request says."""

import io

import bpy
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from gvf_blender.clip_film import REQUEST_FORMAT, read_request
from gvf_blender.core.errors import FileError
from gvf_core.blender.assets import capture_asset
from gvf_core.blender.film import Film, film_asset
from gvf_core.capture import load_capture
from gvf_core.rendering import orbit_camera
from gvf_core.rendering.mesh import rasterize_mesh

SIZE = 48
RED, BLUE = (0.8, 0.1, 0.1, 1.0), (0.1, 0.2, 0.9, 1.0)


def painted(name: str, color: tuple[float, ...]) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = color
    return material


@pytest.fixture
def pair(empty_scene, tmp_path):
    """A red cube and a blue ball as a .blend file, which keeps every vertex; its capture beside it."""
    bpy.ops.mesh.primitive_cube_add(size=1, location=(-0.6, 0, 0))
    bpy.context.object.data.materials.append(painted("Red", RED))
    bpy.ops.mesh.primitive_uv_sphere_add(segments=12, ring_count=8, radius=0.5, location=(0.6, 0, 0))
    bpy.context.object.data.materials.append(painted("Blue", BLUE))
    path = tmp_path / "pair.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    capture_asset(path, tmp_path / "pair.capture.safetensors", views=1, size=16)
    return path, load_capture(tmp_path / "pair.capture.safetensors")


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def test_pictures_show_the_moved_vertices_from_their_cameras_in_their_colours(pair):
    path, rest = pair
    lifted = rest.vertices.copy()
    lifted[rest.object_id == 1] += np.array([0, 0, 0.3], np.float32)
    vertices = np.stack([rest.vertices, lifted])
    cameras = (orbit_camera(0, 0, size=SIZE), orbit_camera(20, 25, fov=35, size=SIZE), orbit_camera(20, 25, size=SIZE))
    # Not in the order of the frames.
    order = np.array([1, 0, 1], np.int32)
    (pngs,) = film_asset(path, [Film("", vertices, rest.triangles, cameras, order)], threads=1)
    colors = {0: np.array(RED[:3]), 1: np.array(BLUE[:3])}
    srgb = {name: 255 * (1.055 * linear ** (1 / 2.4) - 0.055) for name, linear in colors.items()}
    for png, camera, frame in zip(pngs, cameras, order, strict=True):
        rgba = opened(png).astype(float)
        seen = rasterize_mesh(vertices[frame], rest.triangles, camera)
        covered = seen.triangle >= 0
        assert (np.abs(rgba[..., 3] / 255 - covered) < 0.5).mean() > 0.98
        for number, color in srgb.items():
            of_object = covered & (rest.object_id[rest.triangles[seen.triangle, 0]] == number) & (rgba[..., 3] > 254)
            assert of_object.sum() > 20
            np.testing.assert_allclose(np.median(rgba[of_object][:, :3], axis=0), color, atol=2)


def test_several_films_of_one_file_and_one_that_does_not_fit(pair):
    path, rest = pair
    camera = (orbit_camera(0, 0, size=SIZE),)
    fitting = Film("", rest.vertices[None], rest.triangles, camera, np.zeros(1, np.int32))
    foreign = Film("", rest.vertices[None, :5], rest.triangles, camera, np.zeros(1, np.int32))
    reordered = Film("", rest.vertices[None], rest.triangles[::-1], camera, np.zeros(1, np.int32))
    first, refused, again, other = film_asset(path, [fitting, foreign, fitting, reordered])
    assert isinstance(other, str) and "faces are not those" in other
    assert first == again and len(first) == 1
    assert isinstance(refused, str) and "vertices, 5 are to be moved" in refused


def test_what_has_left_the_picture_leaves_it_transparent(pair):
    path, rest = pair
    away = rest.vertices + np.array([5, 0, 0], np.float32)
    beside = rest.vertices - np.array([0, 3, 0], np.float32)
    camera = orbit_camera(0, 0, size=SIZE)
    film = Film("", np.stack([away, beside]), rest.triangles, (camera, camera), np.arange(2, dtype=np.int32))
    for png in film_asset(path, [film])[0]:
        assert (opened(png)[..., 3] == 0).all()


def test_instances_of_one_mesh_move_each_for_itself(empty_scene, tmp_path):
    bpy.ops.mesh.primitive_cube_add(size=0.5, location=(-0.6, 0, 0))
    cube = bpy.context.object
    twin = cube.copy()
    twin.location.x = 0.6
    empty_scene.collection.objects.link(twin)
    path = tmp_path / "twins.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    capture_asset(path, tmp_path / "twins.safetensors", views=1, size=16)
    rest = load_capture(tmp_path / "twins.safetensors")
    moved = rest.vertices.copy()
    moved[rest.object_id == 1] += np.array([0, 0, 0.3], np.float32)
    camera = orbit_camera(0, 0, size=SIZE)
    (pngs,) = film_asset(path, [Film("", moved[None], rest.triangles, (camera,), np.zeros(1, np.int32))])
    covered = rasterize_mesh(moved, rest.triangles, camera).triangle >= 0
    assert (np.abs(opened(pngs[0])[..., 3] / 255 - covered) < 0.5).mean() > 0.98


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": np.array([1], np.int32)}, "a frame that is not there"),
        ({"world_to_camera": np.eye(4)}, "the wrong shape"),
        ({"fov": None}, "fov"),
    ],
)
def test_a_damaged_request_is_refused(tmp_path, change, message):
    tensors = {
        "vertices": np.zeros((1, 3, 3), np.float32),
        "triangles": np.zeros((1, 3), np.int32),
        "world_to_camera": np.eye(4)[None],
        "fov": np.ones(1),
        "frame": np.zeros(1, np.int32),
    } | change
    path = tmp_path / "request.safetensors"
    save_file(
        {name: value for name, value in tensors.items() if value is not None},
        path,
        {"format": REQUEST_FORMAT, "version": "1", "clip": "", "size": "16", "samples": "1"},
    )
    with pytest.raises(FileError, match=message):
        read_request(path)
