"""Clips to evaluate whose inputs are there already, so that no Blender has to read them."""

import io
import itertools
import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from small_assets import bent, painted_body

from gvf_core.blender.assets import capture_beside
from gvf_core.evaluation.clip_choice import AnimatedAsset, ClipChoice
from gvf_core.evaluation.clip_task import ClipTask, ProtocolOptions
from gvf_core.settings import AnimateSettings

OPTIONS = ProtocolOptions(size=64, frames=3, views=4, view_size=64, gaussians=500, picture_size=0)
SETTINGS = AnimateSettings(preset="fast", gaussians=400)


def body_task(folder: Path, clip: str, engines: tuple[str, ...], amount: float = 0.9, **changes) -> ClipTask:
    """A clip in which a painted body bends by some radians, with its inputs in the folder; changes are of the task."""
    asset = AnimatedAsset(folder / "body.glb", "body", "bodies", "thing")
    told = {"options": OPTIONS, "settings": SETTINGS, "asset_sha256": "sum of body.glb"} | changes
    task = ClipTask(ClipChoice(asset, clip), engines, folder=folder, **told)
    for name in ("clips", "inputs", "sheets"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    path = folder / "inputs" / f"{task.slug}.safetensors"
    _write_inputs(path, clip, amount)
    path.with_suffix(".key").write_text(task.input_key())
    return task


def _write_inputs(path: Path, clip: str, amount: float) -> None:
    body = painted_body(OPTIONS.views, OPTIONS.view_size)
    bends = np.linspace(0, amount, OPTIONS.frames)
    shape = {name: getattr(body, name) for name in ("triangles", "object_id", "world_from_unit")}
    frames = np.stack([bent(body.vertices, bend) for bend in bends])
    about = {"version": "1", "objects": json.dumps(body.objects)}
    told = {"format": "gvf-clip", "asset": "body.glb", "clip": clip, "fps": "12"}
    save_file({**shape, "vertices": frames, "scene_frames": np.arange(float(len(frames)))}, path, about | told)
    pngs = [_png(view.rgba) for view in body.views]
    views = {
        "vertices": body.vertices,
        "world_to_camera": np.stack([view.camera.world_to_camera for view in body.views]).astype(np.float32),
        "intrinsics": np.array([view.camera.intrinsics for view in body.views], np.float32),
        "png": np.frombuffer(b"".join(pngs), np.uint8),
        "png_offsets": np.array([0, *itertools.accumulate(map(len, pngs))], np.int64),
    }
    save_file({**shape, **views}, capture_beside(path), about | {"format": "gvf-capture"})


def _png(rgba: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG")
    return file.getvalue()
