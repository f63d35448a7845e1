"""Large tracks: their size is told before, they may live in a file of their own, and colours stay what they were."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from fabricated_animation import fabricate
from recording_layout import RecordingLayout, panel_context
from test_import_results import rendered_pixels
from test_result_controls import shown_gaussians

from gvf_blender.core.errors import FileError
from gvf_blender.core.import_size import file_size, in_words
from gvf_blender.importer import ImportOptions, TrackCache, import_animation, track_cache
from gvf_blender.importer.track_cache import lost_tracks

TINY = 1000


@pytest.fixture
def crate(addon, tmp_path):
    bpy.ops.mesh.primitive_cube_add(size=2, location=(3, -1, 2))
    bpy.context.object.name = "Crate"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    return bpy.context.object


def import_cached(crate, tmp_path, **options):
    animation = fabricate(tmp_path, crate, frames=5)
    cache = TrackCache(tmp_path / "tracks", TINY)
    return animation, import_animation(
        bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1, cache=cache, **options)
    )


def test_the_told_size_is_that_of_the_stored_tracks(crate, tmp_path):
    animation = fabricate(tmp_path, crate, frames=5, gaussians=40_000)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(motion=False))
    stored = sum(
        len(attribute.data) * {"FLOAT": 4, "FLOAT_VECTOR": 12, "QUATERNION": 16}[attribute.data_type]
        for thing in (imported.splats, imported.points)
        for attribute in thing.data.attributes
        if attribute.name[-1].isdigit()
    )
    assert file_size(animation.path, results=2, motion=False) == stored
    before = (tmp_path / "scene.blend").stat().st_size
    bpy.ops.wm.save_mainfile(compress=False)
    assert (tmp_path / "scene.blend").stat().st_size - before == pytest.approx(stored, rel=0.2)


def test_large_tracks_go_into_a_file_and_play_from_there(crate, tmp_path):
    animation, imported = import_cached(crate, tmp_path)
    (path,) = (tmp_path / "tracks").iterdir()
    assert path.name == "Crate.tracks.blend"
    assert any(str(path) in warning for warning in imported.warnings)
    assert imported.splats.data.library == imported.points.data.library is not None
    assert len(bpy.data.meshes) == 2 and len(bpy.data.pointclouds) == 1
    bpy.context.scene.frame_set(4)
    for thing in (imported.splats, imported.points):
        np.testing.assert_allclose(shown_gaussians(thing), animation.world_means(3), atol=1e-5)


def test_small_tracks_stay_in_the_blend_file(crate, tmp_path):
    animation = fabricate(tmp_path, crate, frames=5)
    cache = TrackCache(tmp_path / "tracks", 10**9)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(cache=cache))
    assert imported.splats.data.library is None
    assert not (tmp_path / "tracks").exists()


def test_a_saved_file_plays_without_the_extension_and_moves_together_with_its_tracks(crate, tmp_path):
    animation, imported = import_cached(crate, tmp_path)
    name = imported.splats.name
    bpy.ops.wm.save_mainfile()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "scene.blend").rename(moved / "scene.blend")
    (tmp_path / "tracks").rename(moved / "tracks")
    script = f"""
import sys
import bpy, numpy
sys.path.append({str(Path(__file__).parent)!r})
from shown_splats import splat_matrices
bpy.ops.wm.open_mainfile(filepath={str(moved / "scene.blend")!r})
bpy.context.scene.frame_set(4)
numpy.save({str(tmp_path / "shown.npy")!r}, splat_matrices(bpy.data.objects[{name!r}])[:, :3, 3])
"""
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
    np.testing.assert_allclose(np.load(tmp_path / "shown.npy"), animation.world_means(3), atol=1e-5)


def test_moved_tracks_are_found_again_by_their_content(crate, tmp_path):
    animation, imported = import_cached(crate, tmp_path)
    names = imported.splats.name, imported.points.name
    bpy.ops.wm.save_mainfile()
    (path,) = (tmp_path / "tracks").iterdir()
    shelf = tmp_path / "shelf" / "deep"
    shelf.mkdir(parents=True)
    path.rename(shelf / "renamed.blend")
    (shelf / "Crate.tracks.blend").write_bytes(b"another file of the old name")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert {thing.name for thing in lost_tracks(bpy.data.objects)} == set(names)
    with pytest.raises(RuntimeError, match="does not hold the tracks"):
        bpy.ops.gvf.find_tracks(directory=str(tmp_path / "tracks"))
    assert bpy.ops.gvf.find_tracks(directory=str(tmp_path / "shelf")) == {"FINISHED"}
    assert not lost_tracks(bpy.data.objects)
    bpy.context.scene.frame_set(4)
    for name in names:
        np.testing.assert_allclose(shown_gaussians(bpy.data.objects[name]), animation.world_means(3), atol=1e-5)
    with pytest.raises(RuntimeError, match="where they should be"):
        bpy.ops.gvf.find_tracks(directory=str(tmp_path / "shelf"))


@pytest.mark.parametrize("knows_size", [True, False])
def test_only_files_of_the_right_size_are_read_in_search_of_tracks(crate, tmp_path, monkeypatch, knows_size):
    _, imported = import_cached(crate, tmp_path)
    (path,) = (tmp_path / "tracks").iterdir()
    shelf = tmp_path / "shelf"
    (shelf / "folder.blend").mkdir(parents=True)
    (shelf / "gone.blend").symlink_to(tmp_path / "nothing")
    size = path.stat().st_size
    (shelf / "a.tracks.blend").write_bytes(bytes(size))
    (shelf / "b.tracks.blend").write_bytes(bytes(size + 1))
    # Files under the usual name come first.
    path.rename(shelf / "c.blend")
    lost = [imported.splats, imported.points]
    for thing in lost if not knows_size else ():
        del thing["gvf_tracks_size"]
    read = []

    def counted_hash(path):
        read.append(path.name[0])
        return content_of(path)

    content_of = track_cache._hash
    monkeypatch.setattr(track_cache, "_hash", counted_hash)
    assert track_cache.relink_tracks(lost, shelf) == []
    assert sorted(read) == (["a", "c"] if knows_size else ["a", "b", "c"])


def buttons_for(thing):
    layout = RecordingLayout()
    bpy.context.view_layer.objects.active = thing
    bpy.types.GVF_PT_result.draw(SimpleNamespace(layout=layout), panel_context())
    return layout.names("operator")


def test_the_panel_tells_of_lost_tracks(crate, tmp_path):
    _, imported = import_cached(crate, tmp_path)
    assert "gvf.find_tracks" not in buttons_for(imported.points)
    next((tmp_path / "tracks").iterdir()).unlink()
    assert "gvf.find_tracks" in buttons_for(imported.points)


def test_tracks_from_before_the_first_save_can_be_copied_beside_the_file(crate, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    animation, imported = import_cached(crate, tmp_path)
    names = imported.splats.name, imported.points.name
    assert "gvf.copy_tracks" not in buttons_for(imported.points)
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "film.blend"))
    assert "gvf.copy_tracks" in buttons_for(bpy.data.objects[names[1]])
    assert bpy.ops.gvf.copy_tracks() == {"FINISHED"}
    assert "gvf.copy_tracks" not in buttons_for(bpy.data.objects[names[1]])
    bpy.ops.wm.save_mainfile()
    assert len(list((tmp_path / "tracks").iterdir())) == len(list((project / "film tracks").iterdir())) == 1
    project.rename(tmp_path / "moved")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moved" / "film.blend"))
    (library,) = bpy.data.libraries
    assert library.filepath == "//film tracks/Crate.tracks.blend"
    bpy.context.scene.frame_set(4)
    for name in names:
        np.testing.assert_allclose(shown_gaussians(bpy.data.objects[name]), animation.world_means(3), atol=1e-5)
    with pytest.raises(RuntimeError, match="where they should be"):
        bpy.ops.gvf.copy_tracks()


def test_tracks_are_copied_only_once_the_file_has_a_folder(crate, tmp_path):
    bpy.ops.wm.read_homefile(use_empty=True)
    with pytest.raises(RuntimeError, match="Save it first"):
        bpy.ops.gvf.copy_tracks()


def test_a_cache_that_cannot_be_written_leaves_the_file_as_it_was(crate, tmp_path):
    (tmp_path / "tracks").write_text("not a folder")
    before = [len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.node_groups), len(bpy.data.libraries)]
    with pytest.raises(FileError, match="could not be written"):
        import_cached(crate, tmp_path)
    assert [len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.node_groups), len(bpy.data.libraries)] == before
    assert crate.data.shape_keys is None


def test_a_failure_after_the_tracks_were_written_leaves_no_file(crate, tmp_path, monkeypatch):
    from gvf_blender.importer import animation_import

    def fail(*_):
        raise FileError("no")

    monkeypatch.setattr(animation_import, "add_motion", fail)
    with pytest.raises(FileError):
        import_cached(crate, tmp_path)
    assert list((tmp_path / "tracks").iterdir()) == []
    assert not bpy.data.libraries and not bpy.data.pointclouds


def test_the_import_dialog_tells_the_size(crate, tmp_path):
    from gvf_blender.import_cost import cost_of_file

    animation = fabricate(tmp_path, crate, frames=5, gaussians=3000)
    assert "in memory and .blend file" in cost_of_file(bpy.context, animation.path, 2, True)
    (tmp_path / "odd.safetensors").write_bytes(b"")
    assert "not a well-formed" in cost_of_file(bpy.context, tmp_path / "odd.safetensors", 2, True)


@pytest.mark.parametrize(("size", "words"), [(10, "1 MB"), (41_600_000, "42 MB"), (1_234_000_000, "1.2 GB")])
def test_sizes_are_rough_words(size, words):
    assert in_words(size) == words


def grey_card() -> dict[str, np.ndarray]:
    """Tracks of an upright card of 18 % grey, three layers of translucent splats deep."""
    x, z = (axis.ravel() for axis in np.meshgrid(np.linspace(-0.5, 0.5, 15), np.linspace(-0.5, 0.5, 15)))
    layers = np.concatenate([np.stack([x, np.full_like(x, y), z], axis=1) for y in (-0.02, 0.0, 0.02)])
    count = len(layers)
    # Splats that a ray meets in the very same point are one chance for Blender 5.3 and not several.
    layers[:, 1] += np.random.default_rng(0).uniform(-0.01, 0.01, count)
    return {
        "means": layers[None].astype(np.float32),
        "quaternions": np.tile(np.array([1, 0, 0, 0], np.float16), (1, count, 1)),
        # Before an orthographic camera, EEVEE of Blender 5.3.0 shows no splats that are perfectly round.
        "scales": np.tile(np.array([0.0606, 0.06, 0.0594], np.float16), (1, count, 1)),
        "colors": np.full((1, count, 3), 0.18, np.float16),
        "opacities": np.full((1, count), 0.8, np.float16),
    }


@pytest.mark.parametrize("display", ["SPLATS", "SOLID"])
def test_a_grey_card_of_splats_renders_as_grey_as_it_is(addon, tmp_path, display):
    """18 % grey is 0.4613 in sRGB, however many translucent splats of it lie over each other."""
    bpy.ops.mesh.primitive_cube_add(size=1)
    card = grey_card()
    animation = fabricate(tmp_path, bpy.context.object, gaussians=card["means"].shape[1], changes=card)
    bpy.context.object.hide_render = True
    options = ImportOptions(points=False, motion=False)
    splats = import_animation(bpy.context, animation.path, animation.sources, options).splats
    splats.gvf.display = display
    bpy.ops.gvf.raise_transparent_bounces()
    pixels = rendered_pixels(tmp_path / "card.png", samples=16)
    card_pixels = pixels[10:22, 10:22]
    np.testing.assert_allclose(card_pixels[..., :3], 0.4613, atol=0.01)
    assert card_pixels[..., 3].min() > 0.95
