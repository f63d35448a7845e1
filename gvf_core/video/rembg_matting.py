"""Masks from rembg's U2-Net. rembg is optional, and imported only when masks are asked for."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gvf_core.errors import SettingsError, WeightsError

LOGGER = logging.getLogger(__name__)


def matte(
    frames: UInt8[np.ndarray, "frames height width 3"],
    model_file: Path,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> UInt8[np.ndarray, "frames height width"]:
    """Alpha of the most salient object, each frame for itself, as rembg's `only_mask` gives it.

    The network sees 320 x 320 pixels. Its answer is stretched to 0..255 in every frame: where the object has left the
    picture, whatever comes closest to one is taken for it.

    Args:
        frames: sRGB pictures.
        model_file: u2net.onnx, from the store of weights; nothing is ever downloaded.
        on_progress: Called with the fraction done before each frame; may raise to stop.

    Raises:
        SettingsError: rembg or onnxruntime is not installed.
        WeightsError: The file is missing or not a network that rembg can run.
    """
    session = _session(model_file)
    alphas = np.empty(frames.shape[:3], np.uint8)
    for index, frame in enumerate(frames):
        on_progress(index / len(frames))
        # An answer that is the same everywhere is divided by zero, and comes out as no object.
        with _failures_in_words(model_file), np.errstate(invalid="ignore", divide="ignore"):
            alphas[index] = session.predict(Image.fromarray(frame))[0]
    return alphas


def _session(model_file: Path) -> Any:
    # Measured on two cores: 80 s the first time, 6 s later.
    LOGGER.info("Loading rembg; the first time after its installation it compiles for a minute or more.")
    try:
        # First, because rembg ends the program where it is missing.
        import onnxruntime
        from rembg.sessions.u2net import U2netSession
    except ImportError as error:
        raise SettingsError(
            f"Cutting the object out of the video needs the package rembg, which cannot be imported ({error}).",
            f'Install it: "{sys.executable}" -m pip install "gvf-blender[matting]"; or use a video with alpha or a '
            "plain background.",
        ) from error
    if not model_file.is_file():
        raise WeightsError(f"There is no file {model_file}.", _INSTALL_AGAIN)

    # Not rembg's class for files of one's own, which in newer versions (2.0.86) takes them from rembg's folder only.
    class StoredU2net(U2netSession):
        @classmethod
        def download_models(cls, *_: object, **__: object) -> str:
            return str(model_file)

    with _failures_in_words(model_file):
        return StoredU2net("u2net", onnxruntime.SessionOptions())


@contextmanager
def _failures_in_words(model_file: Path) -> Iterator[None]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    # They have no common base but Exception.
    failures = tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    try:
        yield
    except failures as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise WeightsError(f"rembg cannot run {model_file.name} ({reason}).", _INSTALL_AGAIN) from error


_INSTALL_AGAIN = "Install u2net again: `gvf models download u2net`, or `gvf models add` with the file u2net.onnx."
