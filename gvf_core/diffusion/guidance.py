"""Classifier-free guidance with two scales, one for each kind of condition."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor

Branch = Literal["none", "static", "full"]
"""What a prediction is conditioned on: nothing, the static tokens, the static tokens and the images."""


@dataclass(frozen=True)
class Guidance:
    """How far to push the prediction towards each condition.

    The guided prediction is none + static_scale (static - none) + image_scale (full - static). With both scales 1, the
    official default, it is the full prediction. The static tokens are never dropped in the official training, so other
    static scales ask the network for what it has not learnt.

    Attributes:
        static_scale: Towards the static tokens.
        image_scale: From there towards the images.
    """

    static_scale: float = 1.0
    image_scale: float = 1.0

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The predictions that are needed: those whose factor in the sum is not zero."""
        factors: dict[Branch, float] = {
            "none": 1 - self.static_scale,
            "static": self.static_scale - self.image_scale,
            "full": self.image_scale,
        }
        return tuple(branch for branch, factor in factors.items() if factor)

    def combine(self, predictions: Mapping[Branch, Tensor]) -> Tensor:
        """The guided prediction from those that `branches` names, summed in the official order."""
        scales: dict[Branch, float] = {"static": self.static_scale, "full": self.image_scale}
        guided = predictions[self.branches[0]]
        # Where a branch between two others is not needed, its two differences join into one with the same scale.
        for before, branch in pairwise(self.branches):
            guided = guided + scales[branch] * (predictions[branch] - predictions[before])
        return guided
