"""A beam with clips of its own, as a file."""

from pathlib import Path
from typing import Any


def export_animated(beam: Any, path: Path, last_frame: int) -> None:
    """Write an object with two clips as .glb: it slides and nods in "Slide" and does next to nothing in "Wait".

    Args:
        beam: Object of the scene, with nothing else in it.
        path: File to write.
        last_frame: Of both clips, which begin at frame 1.
    """
    import bpy

    for name, lift, turn in (("Slide", 0.3, 0.4), ("Wait", 0.0005, 0.0)):
        for frame, part in ((1, 0.0), (last_frame, 1.0)):
            beam.location, beam.rotation_euler, beam.scale = (0, 0, part * lift), (0, part * turn, 0), (1, 0.4, 0.4)
            for channel in ("location", "rotation_euler"):
                beam.keyframe_insert(channel, frame=frame)
        track = beam.animation_data.nla_tracks.new()
        track.name = name
        track.strips.new(name, 1, beam.animation_data.action)
        beam.animation_data.action = None
    beam.location, beam.rotation_euler = (0, 0, 0), (0, 0, 0)
    bpy.ops.export_scene.gltf(filepath=str(path), export_animation_mode="NLA_TRACKS")
