"""From the motion of Gaussians to the motion of the original mesh."""

import numpy as np
import torch
from jaxtyping import Float, Float32

from gvf_core.gaussians import Gaussians, VariationField
from gvf_core.geometry import interpolation_weights


def vertices_from_gaussians(
    vertices: Float[np.ndarray, "vertices 3"], gaussians: Gaussians, variation: VariationField
) -> Float32[np.ndarray, "frames vertices 3"]:
    """Move vertices with the Gaussians around them: equations 3 and 4 from Gaussians to vertices.

    Args:
        vertices: Rest positions in the unit frame.
        gaussians: Canonical Gaussians in the same frame.
        variation: Their deltas; only the positions are used.
    """
    rest = torch.from_numpy(np.ascontiguousarray(vertices))
    weights = interpolation_weights(rest, gaussians.means)
    with torch.no_grad():
        return (rest + weights.apply(variation.deltas[..., VariationField.MEANS])).float().numpy()
