"""Pictures that renders are compared with in training."""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8


def on_white(rgba: UInt8[np.ndarray, "height width 4"]) -> Float32[np.ndarray, "height width 3"]:
    """The picture on white, 0..1, its alpha first smoothed by [1, 2, 1] / 4 along both axes.

    The official data loader smooths it so, because the masks have hard edges and renders have not.
    """
    picture = rgba.astype(np.float32) / 255
    alpha = cv2.GaussianBlur(picture[..., 3], (3, 3), 0)[..., None]
    return picture[..., :3] * alpha + (1 - alpha)
