"""Reference cases: what the official modules computed from seeded weights and inputs.

A case is a pair of files, NAME.json (configuration and settings) and NAME.safetensors (`weights.*`, `in.*`, `mid.*`,
`out.*`). The tests take every size and setting from them, so that they also hold on other cases of the same names.
"""

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gvf_core.models.embedders import timestep_embedding

SHIPPED = Path(__file__).parent / "data"
"""The smaller cases, which come with the project: numbers that ForeverFancy/GVFDiffusion (commit f2317cb) and
microsoft/TRELLIS computed on a CPU in float32 from random weights and inputs."""


def golden_folder() -> Path:
    """GVF_GOLDEN_DIR, else the full set beside the checkout, else what comes with the project."""
    if "GVF_GOLDEN_DIR" in os.environ:
        return Path(os.environ["GVF_GOLDEN_DIR"])
    beside = Path(__file__).parents[3] / "shared" / "reference" / "golden"
    return beside if beside.is_dir() else SHIPPED


@dataclass(frozen=True)
class GoldenCase:
    """One case.

    Attributes:
        settings: Everything in its JSON file.
        tensors: Everything in its safetensors file.
    """

    settings: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def config(self) -> dict[str, Any]:
        """Configuration of the official module."""
        return self.settings["config"]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The official module's state dict."""
        return self.group("weights.")

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names begin so, without that beginning."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors


def load_case(name: str) -> GoldenCase:
    """The case of that name; skips the test where there is none."""
    folder = golden_folder()
    if not (folder / f"{name}.json").is_file():
        pytest.skip(f"no reference case {name} in {folder.name}; GVF_GOLDEN_DIR names the folder of all cases")
    return GoldenCase(json.loads((folder / f"{name}.json").read_text()), load_file(folder / f"{name}.safetensors"))


def assert_equal_to(actual: Tensor, expected: Tensor, tolerance: float, what: str = "") -> None:
    """The largest difference is below the tolerance times the largest expected value."""
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    actual, expected = actual.detach().double(), expected.double()
    assert actual.isfinite().all(), what
    error = (actual - expected).abs().max() / expected.abs().max().clamp_min(1e-30)
    assert error <= tolerance, f"{what}: {error:.1e} of the largest value, more than {tolerance:.0e}"


class Recorder:
    """Outputs of named submodules during a forward pass."""

    def __init__(self, network: torch.nn.Module, *names: str) -> None:
        self.outputs: dict[str, Tensor] = {}
        for name in names:
            network.get_submodule(name).register_forward_hook(self._hook(name))

    def _hook(self, name: str):
        def record(_module, _inputs, output):
            self.outputs[name] = output[0] if isinstance(output, tuple) else output

        return record


@functools.cache
def rounds_as_recorded() -> bool:
    """Whether exponentials of this processor end in the same bits as those of the machine that made the cases.

    PyTorch computes them in another way with AVX2 than with AVX-512, with which the cases were recorded. What makes
    decisions by tiny differences, an adaptive solver's steps, goes another way then.
    """
    case = load_case("embedders")
    recorded = case["out.timestep_128"]
    return bool((timestep_embedding(case["in.t"], 128) - recorded).abs().max() < 1e-6)
