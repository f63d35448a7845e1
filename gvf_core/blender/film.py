"""Unlit pictures of an asset whose vertices are moved, taken by a Blender without a window."""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32
from safetensors.numpy import save_file

from gvf_core.blender.process import Progress, run_action
from gvf_core.rendering.camera import Camera
from gvf_core.tensorfile import FORMAT_VERSION, Expected, read_tensors

REQUEST_FORMAT, FILM_FORMAT = "gvf-film-request", "gvf-film"
_EXPECTED: Expected = {"png": ("U8", (None,)), "png_offsets": ("I64", (None,))}


@dataclass(frozen=True)
class Film:
    """What to take pictures of.

    Attributes:
        clip: In whose first frame the materials are; empty for the file without its animation.
        vertices: In the order of a capture or a clip file of the asset, in the cameras' frame.
        triangles: Of that file, to tell if this Blender reads the asset otherwise.
        cameras: Square, all of one size.
        view_frame: Which frame each camera shows.
    """

    clip: str
    vertices: Float32[np.ndarray, "frames vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    cameras: tuple[Camera, ...]
    view_frame: Int32[np.ndarray, " views"]


def film_asset(
    asset: Path,
    films: Sequence[Film],
    *,
    samples: int = 4,
    threads: int = 0,
    on_progress: Progress = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[tuple[bytes, ...] | str]:
    """Take pictures of an asset; one Blender opens the file once for all films.

    Materials are unlit as in a capture and stay as they are in the first frame.

    Args:
        asset: File of any kind that `capture_asset` takes.
        films: What to show where from.
        samples: Per pixel; they only smooth edges and textures, as nothing is lit.
        threads: To render with; 0 for all.
        on_progress: Called with the fraction done.
        cancelled: Asked ten times a second.

    Returns:
        For each film its pictures as PNG files with straight alpha, or a sentence why there are none.

    Raises:
        GvfError: As for `capture_asset`.
    """
    if not films:
        return []
    with tempfile.TemporaryDirectory(prefix="gvf-film-") as folder:
        requests = [Path(folder) / f"request-{index}.safetensors" for index in range(len(films))]
        outputs = [Path(folder) / f"film-{index}.safetensors" for index in range(len(films))]
        arguments = ["film", str(asset.absolute()), f"--threads={threads}"]
        for film, request, output in zip(films, requests, outputs, strict=True):
            _write_request(request, film, samples)
            arguments += [f"--request={request}", f"--output={output}"]
        refused = run_action(arguments, outputs, on_progress, cancelled)["refused"]
        return [refused.get(request.name) or _read_film(out) for request, out in zip(requests, outputs, strict=True)]


def _write_request(path: Path, film: Film, samples: int) -> None:
    tensors = {
        "vertices": np.ascontiguousarray(film.vertices, np.float32),
        "triangles": np.ascontiguousarray(film.triangles, np.int32),
        "world_to_camera": np.stack([camera.world_to_camera for camera in film.cameras]).astype(np.float64),
        "fov": np.array([2 * np.arctan(0.5 / camera.intrinsics[0]) for camera in film.cameras], np.float64),
        "frame": np.ascontiguousarray(film.view_frame, np.int32),
    }
    size = {"size": str(film.cameras[0].width), "samples": str(samples)}
    save_file(tensors, path, {"format": REQUEST_FORMAT, "version": FORMAT_VERSION, "clip": film.clip, **size})


def _read_film(path: Path) -> tuple[bytes, ...]:
    tensors, _ = read_tensors(path, FILM_FORMAT, _EXPECTED)
    png, ends = tensors["png"], tensors["png_offsets"]
    return tuple(png[begin:end].tobytes() for begin, end in itertools.pairwise(ends))
