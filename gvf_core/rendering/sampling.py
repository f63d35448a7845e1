"""Reading pictures between their pixels."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates


def sample_picture(
    picture: Float[np.ndarray, "height width channels"], pixels: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "points channels"]:
    """Bilinear values at pixel coordinates (x, y) as cameras give them; zero outside the picture.

    (OpenCV's remap would take 32766 points at most and round them to 1/32 pixel.)
    """
    places = np.asarray(pixels, np.float64).T[::-1] - 0.5
    channels = [
        map_coordinates(channel, places, order=1, mode="grid-constant") for channel in np.moveaxis(picture, -1, 0)
    ]
    return np.stack(channels, axis=-1)
