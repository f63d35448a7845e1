"""Reading our safetensors files: format, version, tensor names, types and shapes checked at the door."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from gvf_core.errors import FileFormatError

FORMAT_VERSION = "1"
CHOOSE_ANOTHER = "Choose another file."
SEE_FORMATS = "docs/formats.md says what the file must hold."


Expected = dict[str, tuple[str, tuple[int | None, ...]]]
"""Safetensors type and shape by name; None stands for any size."""


def read_tensors(
    path: Path, file_format: str, expected: Expected, optional: Expected | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read all expected tensors and the metadata.

    Args:
        path: The file.
        file_format: Value that the metadata must have under `format`.
        expected: What the file must hold.
        optional: What it may hold besides.

    Raises:
        FileFormatError: The file is not readable, of another kind or version, or a tensor is
            missing or misshapen.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != file_format:
                raise FileFormatError(f"{path.name} is not a {file_format} file.", CHOOSE_ANOTHER)
            if metadata.get("version") != FORMAT_VERSION:
                raise FileFormatError(
                    f"{path.name} has version {metadata.get('version')} of {file_format}, expected {FORMAT_VERSION}.",
                    "Update the add-on and the server to the same version.",
                )
            names = set(file.keys())
            wanted = expected | {name: kind for name, kind in (optional or {}).items() if name in names}
            for name, (dtype, shape) in wanted.items():
                if name not in names:
                    raise FileFormatError(f"{path.name} lacks the tensor {name}.", SEE_FORMATS)
                found = file.get_slice(name)
                sizes = tuple(found.get_shape())
                fits = len(sizes) == len(shape) and all(
                    want in (None, got) for want, got in zip(shape, sizes, strict=True)
                )
                if found.get_dtype() != dtype or not fits:
                    raise FileFormatError(
                        f"{name} in {path.name} is {found.get_dtype()} {list(sizes)}, expected {dtype} {list(shape)}.",
                        SEE_FORMATS,
                    )
            return {name: file.get_tensor(name) for name in wanted}, metadata
    except FileNotFoundError as error:
        raise FileFormatError(f"There is no file {path}.", CHOOSE_ANOTHER) from error
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path.name} is not a readable safetensors file ({error}).", CHOOSE_ANOTHER) from error
