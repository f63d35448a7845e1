"""Which frames an export takes where an animation's frames are not those of the scene."""

import bpy
import numpy as np
import pytest
from fabricated_animation import fabricate

from gvf_blender.core.pc2_file import read_pc2
from gvf_blender.core.splat_ply_file import read_splat_ply
from gvf_blender.importer import ImportOptions, import_animation
from gvf_blender.importer.retiming import whole_frames


@pytest.mark.parametrize(("fps", "base", "frames"), [(24, 1.001, 24), (24, 1.0, 24), (30, 1.001, 30), (25, 1.0, 25)])
def test_the_last_frame_of_a_video_is_exported_at_every_frame_rate(api, cube, tmp_path, fps, base, frames):
    render = bpy.context.scene.render
    render.fps, render.fps_base = fps, base
    animation = fabricate(tmp_path, cube, frames=24)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    report = api.export(imported.splats, tmp_path / "a.ply")
    assert report.frames == frames
    last = read_splat_ply(report.paths[-1]).positions
    np.testing.assert_allclose(last, animation.world_means(23), atol=2e-5)
    api.export(cube, tmp_path / "a.pc2")
    found = read_pc2(tmp_path / "a.pc2")
    assert len(found) == frames
    np.testing.assert_allclose(found[-1] + np.array(cube.location), animation.world_vertices(0, 23), atol=1e-5)


def test_frames_cover_what_plays_and_no_rounding_adds_one():
    assert whole_frames(1, 23.977) == (1, 24)
    assert whole_frames(1.0004, 24.0004) == whole_frames(0.9996, 23.9996) == (1, 24)
    assert whole_frames(5.5, 8.5) == (5, 9)
