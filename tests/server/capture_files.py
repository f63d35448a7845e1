"""Capture files for tests, written with the extension's own writer."""

import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from gvf_blender.core.safetensors_file import write_tensors


def capture_bytes(vertices: int = 3, vertex: float = 0.25, dtype: type = np.float32) -> bytes:
    """The smallest capture: a triangle, seen once; with more vertices, or something wrong with the first one."""
    png = BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 255)).save(png, "PNG")
    points = np.zeros((vertices, 3), dtype)
    points[0] = vertex
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "capture.safetensors"
        write_tensors(
            path,
            {
                "vertices": points,
                "triangles": np.array([[0, 1, 2]], np.int32),
                "object_id": np.zeros(vertices, np.int32),
                "world_from_unit": np.eye(4),
                "world_to_camera": np.eye(4, dtype=np.float32)[None],
                "intrinsics": np.full((1, 4), 0.5, np.float32),
                "png": np.frombuffer(png.getvalue(), np.uint8),
                "png_offsets": np.array([0, len(png.getvalue())], np.int64),
            },
            {"format": "gvf-capture", "version": "1", "objects": '["triangle"]'},
        )
        return path.read_bytes()
