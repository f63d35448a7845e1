"""Run by tests with bpy: renders .blend files with EEVEE, `FILE SAMPLES PICTURE FILE SAMPLES PICTURE ...`.

A process of its own, because a Blender without a graphics card and Mesa's driver may not come back from it.
"""

import sys

import bpy


def main() -> None:
    arguments = sys.argv[1:]
    for file, samples, picture in zip(arguments[::3], arguments[1::3], arguments[2::3], strict=True):
        bpy.ops.wm.open_mainfile(filepath=file)
        scene = bpy.context.scene
        scene.render.engine = "BLENDER_EEVEE" if bpy.app.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"
        scene.eevee.taa_render_samples = int(samples)
        scene.render.filepath = picture
        bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    main()
