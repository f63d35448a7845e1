"""Makes one example from an animated GLB: a static asset, a driving video and the true motion.

The static asset is the animated one frozen at the first used frame, so the true position of
every one of its vertices is known in every frame of the video.

    .venv/bin/python -m tools.make_example shark-animations.glb "Swim Horizontal" examples --name shark
"""

import argparse
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
import bpy
import numpy as np
from PIL import Image

from gvf_core.rendering.camera import Camera
from tools.staging import (
    add_camera,
    add_light,
    camera_around,
    render_frame,
    set_up_cycles,
    show_frame,
    world_vertices,
)

LOGGER = logging.getLogger("make_example")

FIELD_OF_VIEW = 49.1
VIDEO_FPS = 24
PICTURE_MARGIN = 0.03
"""The asset stays this fraction of the picture away from its border in every frame."""
BACKGROUNDS = ((196, 202, 208), (88, 120, 168), (226, 214, 190), (96, 140, 108), (64, 66, 72))
"""sRGB candidates; the one that differs most from all colours of the asset is taken."""


@dataclass(frozen=True, eq=False)
class Motion:
    """An imported asset with one clip playing.

    Attributes:
        objects: The mesh objects, without the importer's bone shapes.
        scene_frames: Scene times, with fractions, of the frames of the example.
        positions: World positions of all their vertices, float64 [frames, vertices, 3].
    """

    objects: list[bpy.types.Object]
    scene_frames: list[float]
    positions: np.ndarray


def main() -> None:
    """Parse the command line and write the three files."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = parse_arguments()
    motion = import_motion(arguments.source, arguments.clip, arguments.frames)
    camera, radius = fit_camera(motion.positions, arguments.azimuth, arguments.elevation, arguments.size)

    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pictures = render_pictures(motion, camera, Path(folder), arguments.samples)
    write_video(arguments.output / f"{arguments.name}.mp4", pictures, choose_background(pictures))

    static = freeze(motion)
    asset = arguments.output / f"{arguments.name}.glb"
    truth = motion.positions[:, export_static(static, asset)]
    check_vertex_order(asset, truth[0])
    np.savez_compressed(
        arguments.output / f"{arguments.name}_truth.npz",
        positions=truth.astype(np.float16),
        azimuth=arguments.azimuth,
        elevation=arguments.elevation,
        fov=FIELD_OF_VIEW,
        radius=radius,
    )
    LOGGER.info("%s: %d vertices, %d frames, radius %.3f", arguments.name, truth.shape[1], len(truth), radius)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="animated GLB")
    parser.add_argument("clip", help="name of the clip in the GLB")
    parser.add_argument("output", type=Path, help="folder for NAME.glb, NAME.mp4 and NAME_truth.npz")
    parser.add_argument("--name", required=True, help="stem of the written files")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=512, help="width and height of the video in pixels")
    parser.add_argument("--azimuth", type=float, default=45.0, help="degrees; 0 is Blender's front view")
    parser.add_argument("--elevation", type=float, default=15.0, help="degrees above the horizon")
    parser.add_argument("--samples", type=int, default=16, help="Cycles samples per pixel before denoising")
    return parser.parse_args()


def import_motion(source: Path, clip: str, frames: int) -> Motion:
    """Import a GLB into an empty scene, play one clip and read the moving vertices.

    The frames are spread evenly over the clip whatever its length; the end point, which
    repeats the first frame of a cyclic clip, is left out.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(source), merge_vertices=True)
    first, last = select_clip(clip)
    bone_shapes = {
        bone.custom_shape
        for armature in bpy.data.objects
        if armature.type == "ARMATURE"
        for bone in armature.pose.bones
        if bone.custom_shape
    }
    objects = [o for o in bpy.context.scene.objects if o.type == "MESH" and o not in bone_shapes]
    scene_frames = [first + (last - first) * index / frames for index in range(frames)]
    positions = []
    for frame in scene_frames:
        depsgraph = show_frame(frame)
        positions.append(np.concatenate([world_vertices(o.evaluated_get(depsgraph)) for o in objects]))
    return Motion(objects, scene_frames, np.stack(positions))


def select_clip(clip: str) -> tuple[float, float]:
    """Mute every NLA track but the clip's; returns the clip's first and last scene frame."""
    spans = []
    names = set()
    for owner in [*bpy.data.objects, *bpy.data.shape_keys]:
        if not owner.animation_data:
            continue
        owner.animation_data.action = None
        for track in owner.animation_data.nla_tracks:
            names.add(track.name)
            track.mute = track.name != clip
            if not track.mute:
                spans += [(strip.frame_start, strip.frame_end) for strip in track.strips]
    if not spans:
        raise SystemExit(f"There is no clip {clip!r} in the file; it has: {', '.join(sorted(names))}.")
    return min(start for start, _ in spans), max(end for _, end in spans)


def fit_camera(positions: np.ndarray, azimuth: float, elevation: float, size: int) -> tuple[Camera, float]:
    """The orbit camera around the first frame, far enough away for all frames.

    Returns:
        The camera and its distance in units of the asset's longest side: 2.0 unless the motion needs more.
    """
    radius = 2.0
    while True:
        camera = camera_around(positions[0], azimuth, elevation, radius, FIELD_OF_VIEW, size)
        pixels, _ = camera.project(positions)
        if np.abs(pixels / size - 0.5).max() < 0.5 - PICTURE_MARGIN:
            return camera, radius
        radius *= 1.02


def render_pictures(motion: Motion, camera: Camera, folder: Path, samples: int) -> np.ndarray:
    """Lit RGBA pictures of the moving asset, straight alpha, uint8 [frames, size, size, 4]."""
    scene = bpy.context.scene
    add_light(scene, camera)
    add_camera(scene, camera)
    set_up_cycles(scene, camera.width, samples, denoise=True)
    for mesh in [o for o in scene.objects if o.type == "MESH" and o not in motion.objects]:
        mesh.hide_render = True
    pictures = []
    for index, frame in enumerate(motion.scene_frames):
        path = folder / f"{index:03d}.png"
        render_frame(frame, path)
        pictures.append(np.asarray(Image.open(path)))
    return np.stack(pictures)


def choose_background(pictures: np.ndarray) -> np.ndarray:
    """The candidate farthest from every colour that covers a visible part of the asset; sRGB uint8 [3]."""
    opaque = pictures[pictures[..., 3] > 250][:, :3].astype(np.float32)
    distances = []
    for candidate in BACKGROUNDS:
        away = np.linalg.norm(opaque - np.array(candidate, np.float32), axis=1)
        distances.append(np.quantile(away, 0.001))
    return np.array(BACKGROUNDS[int(np.argmax(distances))], np.uint8)


def write_video(path: Path, pictures: np.ndarray, background: np.ndarray) -> None:
    """Lay the pictures over the background and encode them as H.264."""
    alpha = pictures[..., 3:].astype(np.float32) / 255
    frames = (pictures[..., :3] * alpha + background * (1 - alpha)).round().astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=VIDEO_FPS)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "preset": "slow"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def freeze(motion: Motion) -> bpy.types.Object:
    """One static object in world coordinates: all meshes as they are in the first frame.

    Its point attribute `_SOURCE_VERTEX` is the index into `motion.positions`; the leading
    underscore makes the glTF exporter write it (it would write small letters as capitals).
    """
    depsgraph = show_frame(motion.scene_frames[0])
    parts = []
    start = 0
    for source in motion.objects:
        mesh = bpy.data.meshes.new_from_object(
            source.evaluated_get(depsgraph), preserve_all_data_layers=True, depsgraph=depsgraph
        )
        mesh.transform(source.matrix_world)
        index = mesh.attributes.new("_SOURCE_VERTEX", "FLOAT", "POINT")
        index.data.foreach_set("value", np.arange(start, start + len(mesh.vertices), dtype=np.float32))
        start += len(mesh.vertices)
        part = bpy.data.objects.new(source.name, mesh)
        part.vertex_groups.clear()
        bpy.context.scene.collection.objects.link(part)
        parts.append(part)
    with bpy.context.temp_override(
        active_object=parts[0], object=parts[0], selected_objects=parts, selected_editable_objects=parts
    ):
        bpy.ops.object.join()
    return parts[0]


def export_static(static: bpy.types.Object, path: Path) -> np.ndarray:
    """Write the object as GLB.

    glTF splits vertices at seams, so the vertices of the file are not the object's: a first
    export carries the source indices along and is read back, the final one is clean.

    Returns:
        For every vertex of the file, as Blender imports it, its index in `Motion.positions`.
    """
    for o in list(bpy.context.scene.objects):
        if o != static:
            bpy.data.objects.remove(o)  # they may have the name that the static object is to get
    bpy.data.orphans_purge(do_recursive=True)
    static.name = static.data.name = path.stem.capitalize()
    static.select_set(True)
    options = {"use_selection": True, "export_animations": False, "export_skins": False, "export_morph": False}
    with tempfile.TemporaryDirectory() as folder:
        labeled = Path(folder) / "labeled.glb"
        bpy.ops.export_scene.gltf(filepath=str(labeled), export_attributes=True, **options)
        bpy.ops.export_scene.gltf(filepath=str(path), export_attributes=False, **options)
        mesh = import_single_mesh(labeled).data
    indices = np.empty(len(mesh.vertices), np.float32)
    mesh.attributes["_SOURCE_VERTEX"].data.foreach_get("value", indices)
    return indices.astype(np.int64)


def import_single_mesh(path: Path) -> bpy.types.Object:
    """The only mesh object of a GLB, in an empty scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(path))
    (imported,) = (o for o in bpy.data.objects if o.type == "MESH")
    return imported


def check_vertex_order(asset: Path, expected: np.ndarray) -> None:
    """Import the written asset and compare it with the truth in the first frame.

    Raises:
        SystemExit: They differ, so the truth would be worthless.
    """
    imported = import_single_mesh(asset)
    bpy.context.view_layer.update()
    positions = world_vertices(imported)
    size = np.ptp(expected, axis=0).max()
    if positions.shape != expected.shape or np.abs(positions - expected).max() > 1e-5 * size:
        raise SystemExit(f"{asset} does not come back in the vertex order of the truth.")


if __name__ == "__main__":
    main()
