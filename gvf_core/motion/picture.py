"""A picture as it is compared with another one, and what comparisons need of it."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8

FLOW_WEIGHTS = np.array([0.35, 0.45, 0.2], np.float32)
"""Shares of red, green and blue in the grey picture that optical flow looks at."""
ALPHA_GAIN = 0.7
"""Weight of coverage beside the three colour channels."""


Value = TypeVar("Value")


class _Once(Generic[Value]):
    """An attribute that is computed when it is first asked for.

    Until Python 3.12, one lock of `functools.cached_property` holds up all pictures at once.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute = compute

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Value:
        value = instance.__dict__[self._name] = self._compute(instance)
        return value


class Picture:
    """A drawn pose or a frame; everything is computed once, when it is first asked for.

    Args:
        premultiplied: Colour times alpha, and alpha, 0..1.
        background: Grey value behind it.
    """

    def __init__(self, premultiplied: Float32[np.ndarray, "height width 4"], background: float) -> None:
        self.premultiplied, self._background = premultiplied, np.float32(background)
        self._blurred: dict[float, np.ndarray] = {}

    @_Once
    def composed(self) -> Float32[np.ndarray, "height width 3"]:
        """Colour over the background."""
        return np.clip(self.premultiplied[..., :3] + (1 - self.premultiplied[..., 3:]) * self._background, 0, 1)

    @_Once
    def gray(self) -> UInt8[np.ndarray, "height width"]:
        """What optical flow looks at."""
        return (self.composed @ FLOW_WEIGHTS * 255).astype(np.uint8)

    @_Once
    def opaque(self) -> Bool[np.ndarray, "height width"]:
        """Where the object is."""
        return self.premultiplied[..., 3] > 0.5

    @_Once
    def contour(self) -> Bool[np.ndarray, "height width"]:
        """Pixels of the object beside others."""
        return self.opaque & (cv2.erode(self.opaque.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)

    @_Once
    def nearest_opaque(self) -> "Nearest":
        """The way to the object, of which something must be there."""
        return Nearest(self.opaque)

    def blurred(self, blur: float) -> Float32[np.ndarray, "height width 4"]:
        """Colour over the background and coverage, blurred by so many pixels."""
        if blur not in self._blurred:
            values = np.concatenate([self.composed, ALPHA_GAIN * self.premultiplied[..., 3:]], axis=2)
            self._blurred[blur] = cv2.GaussianBlur(values, (0, 0), blur)
        return self._blurred[blur]

    def difference(self, other: "Picture") -> float:
        """Mean absolute difference of premultiplied colour and alpha, 0..1."""
        return float(np.abs(self.premultiplied - other.premultiplied).mean())


class Nearest:
    """The set pixels nearest to all others.

    Args:
        mask: At least one pixel is set.

    Attributes:
        distance: From every pixel to the nearest set one, in pixels.
    """

    def __init__(self, mask: Bool[np.ndarray, "height width"]) -> None:
        self.distance: Float32[np.ndarray, "height width"]
        self.distance, self._label = cv2.distanceTransformWithLabels(
            (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        self._place = np.zeros((self._label.max() + 1, 2), int)
        self._place[self._label[mask]] = np.argwhere(mask)

    def to(self, pixels: Int[np.ndarray, "pixels 2"]) -> Int[np.ndarray, "pixels 2"]:
        """Row and column of the set pixel nearest to each of the given ones."""
        return self._place[self._label[tuple(pixels.T)]]
