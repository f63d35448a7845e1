"""LPIPS: how different two pictures look to a network, with gradients. Loss (equation 8) and metric of the paper.

Defined by Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018. The
network is VGG16 under torchvision's names; the weights of its channels have the names of the package `lpips` 0.1.
Both come from files: see docs/evaluation.md.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gvf_core.errors import WeightsError
from gvf_core.models.checkpoint import load_weights, read_state_dict

VGG16_WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five blocks of VGG16 (Simonyan and Zisserman, ICLR 2015, configuration D)."""
_CONVOLUTIONS = (2, 2, 3, 3, 3)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and deviation of ImageNet's pictures in -1..1, as `lpips` standardises."""
_EPSILON = 1e-8
"""Added to the squared length of a feature vector, as in torchmetrics: `lpips` itself has no gradient where it is 0."""
_BACKBONE = "features."
SMALLEST_SIDE = 16
"""Pixels: four poolings leave one."""


class PerceptualDistance(nn.Module):
    """LPIPS with VGG16.

    Weights are fixed: only pictures receive gradients. Parameters are called as in the two files they come from,
    `features.N.*` and `linN.model.1.weight`.

    Args:
        widths: Channels of the blocks; smaller ones are for tests.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, widths: tuple[int, int, int, int, int] = VGG16_WIDTHS) -> None:
        super().__init__()
        self.features, self._ends = _blocks(widths)
        for index, width in enumerate(widths):
            # The package has a dropout in front, which is off outside its training.
            layers = nn.Sequential(nn.Identity(), nn.Conv2d(width, 1, 1, bias=False))
            self.add_module(f"lin{index}", nn.ModuleDict({"model": layers}))
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "PerceptualDistance":
        """Stay as it is: a measure is not trained."""
        return super().train(False)

    def forward(
        self, pictures: Float[Tensor, "batch 3 height width"], references: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """Distance of each pair: 0 for equal pictures, about 1 for very different ones; not bounded.

        Args:
            pictures: sRGB, 0..1, at least `SMALLEST_SIDE` pixels wide and high.
            references: What they are compared with.
        """
        distance = torch.zeros(len(pictures), dtype=pictures.dtype, device=pictures.device)
        pairs = zip(self._maps(pictures), self._maps(references), strict=True)
        for index, (found, true) in enumerate(pairs):
            difference = (_unit(found) - _unit(true)).square()
            weights = self.get_parameter(f"lin{index}.model.1.weight")
            distance = distance + functional.conv2d(difference, weights).mean(dim=(1, 2, 3))
        return distance

    def _maps(self, pictures: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """What the last layer of every block says."""
        value = (2 * pictures - 1 - self.shift) / self.scale
        maps = []
        for index, layer in enumerate(self.features):
            value = layer(value)
            if index in self._ends:
                maps.append(value)
        return maps


def load_perceptual_distance(
    backbone: Path, linear: Path | None = None, device: str | torch.device = "cpu"
) -> PerceptualDistance:
    """LPIPS with VGG16 from files of weights; no code in them is run.

    Args:
        backbone: torchvision's VGG16 (`vgg16-397923af.pth`), or a safetensors file under the same names. Layers that
            classify are passed over.
        linear: Weights of the channels (`vgg.pth` of `lpips`, version 0.1); None for those that come with torchmetrics.
        device: Where to put it.

    Raises:
        WeightsError: A file is missing, or does not hold these weights.
    """
    linear = linear or packaged_linear_weights()
    state = {**backbone_of(read_state_dict(backbone)), **read_state_dict(linear)}
    network = PerceptualDistance()
    load_weights(network, state, f"{backbone.name} with {linear.name}")
    return network.to(device)


def backbone_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The convolutions of VGG16, without what classifies."""
    return {name: tensor for name, tensor in state.items() if name.startswith(_BACKBONE)}


def packaged_linear_weights() -> Path:
    """The weights of the channels that come with torchmetrics (those of `lpips` 0.1, BSD-2-Clause).

    Found without importing the package, which takes seconds.

    Raises:
        WeightsError: torchmetrics is not installed.
    """
    package = importlib.util.find_spec("torchmetrics")
    if package is None or package.origin is None:
        raise WeightsError(
            "The weights of the channels of LPIPS come with torchmetrics, which is not installed.",
            'Install it with `pip install "gvf-blender[evaluate]"`, or name a file.',
        )
    return Path(package.origin).parent / "functional" / "image" / "lpips_models" / "vgg.pth"


def _blocks(widths: tuple[int, ...]) -> tuple[nn.Sequential, frozenset[int]]:
    """Layers of VGG16 up to its last convolution, numbered as by torchvision, and the places where blocks end."""
    layers: list[nn.Module] = []
    ends: list[int] = []
    channels = 3
    for count, width in zip(_CONVOLUTIONS, widths, strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        ends.append(len(layers) - 1)
    return nn.Sequential(*layers), frozenset(ends)


def _unit(features: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
    return features / (features.square().sum(dim=1, keepdim=True) + _EPSILON).sqrt()
