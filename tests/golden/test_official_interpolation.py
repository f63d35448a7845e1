import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from gvf_core.geometry import interpolation_weights


@pytest.mark.parametrize("case", ["delta_interp_k8_b7", "delta_interp_k4_b10"])
def test_interpolated_displacements_equal_the_official_ones(golden, case):
    tensors = load_file(golden / f"{case}.safetensors")
    config = json.loads((golden / f"{case}.json").read_text())["config"]
    for item in range(len(tensors["in.gs_xyz"])):
        static, moving = tensors["in.static_pc"][item], tensors["in.moving_pc"][item]
        weights = interpolation_weights(tensors["in.gs_xyz"][item], static, config["knn_k"], config["beta"])
        np.testing.assert_allclose(weights.apply(moving - static), tensors["out.delta"][item], atol=1e-5)
