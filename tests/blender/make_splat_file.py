"""Writes a file of test_files_of_other_blenders.py: `PYTHONPATH=. python tests/blender/make_splat_file.py`.

With the bpy module of a Blender it makes splats_BLENDER.blend beside itself: the splats of a made-up animation of three
frames that starts at scene frame 1.
"""

import tempfile
from pathlib import Path

import bpy
from fabricated_animation import fabricate

from gvf_blender.importer import ImportOptions, import_animation

HERE = Path(__file__).parent


def main() -> None:
    """Import and save."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.mesh.primitive_cube_add(location=(3, -1, 2))
    with tempfile.TemporaryDirectory() as folder:
        animation = fabricate(Path(folder), bpy.context.object, frames=3, gaussians=20)
        options = ImportOptions(points=False, motion=False, frame_start=1)
        import_animation(bpy.context, animation.path, animation.sources, options).splats.name = "Splats"
    path = HERE / "splats_{}_{}.blend".format(*bpy.app.version)
    # Unlike a saved file it holds neither windows nor paths of this machine.
    bpy.data.libraries.write(str(path), {bpy.data.objects["Splats"]}, path_remap="NONE", compress=True)


if __name__ == "__main__":
    main()
