"""The image loss (equation 8): renders of Gaussians beside pictures of the clip."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.gaussians import Splats
from gvf_core.models.store import default_store
from gvf_core.rendering.camera import Camera
from gvf_core.rendering.rasterize import rasterize
from gvf_core.training.clip_record import ClipRecord
from gvf_core.training.losses import structural_similarity
from gvf_core.training.settings import AppearanceSettings
from gvf_core.training.targets import on_white

LOGGER = logging.getLogger(__name__)

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""From two batches of pictures [batch, 3, height, width], 0..1, to their distances."""
_WHITE = (1.0, 1.0, 1.0)
_BACKBONE = "vgg16"
"""In the store of weights."""


@dataclass(frozen=True)
class Target:
    """A picture that a render is compared with.

    Attributes:
        camera: Where it was taken from.
        picture: On white, 0..1.
        frame: Of the clip.
    """

    camera: Camera
    picture: Float[Tensor, "height width 3"]
    frame: int


def read_target(record: ClipRecord, index: int, size: int) -> Target:
    """A picture of a clip, reduced to a side of at most `size` pixels."""
    view = record.view(index)
    camera, rgba = view.camera, view.rgba
    larger = max(camera.width, camera.height)
    if larger > size:
        width, height = (max(1, round(side * size / larger)) for side in (camera.width, camera.height))
        # Where alpha is zero, colour is anything: it must not leak into what is reduced.
        color, alpha = rgba[..., :3], rgba[..., 3:].astype("float32") / 255
        small = cv2.resize(color * alpha, (width, height), interpolation=cv2.INTER_AREA)
        covered = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)[..., None]
        picture = small / 255 + (1 - covered)
        camera = camera.resized(width, height)
    else:
        picture = on_white(rgba)
    return Target(camera, torch.from_numpy(picture), int(record.view_frame[index]))


def draw(splats: Splats, camera: Camera) -> Float[Tensor, "height width 3"]:
    """Gaussians on white, in float32 whatever the networks compute in."""
    with torch.autocast(splats.means.device.type, enabled=False):
        return rasterize(Splats(*(field.float() for field in splats)), camera, background=_WHITE).color


@dataclass(frozen=True)
class AppearanceLoss:
    """L1 + SSIM + LPIPS with the weights of the settings.

    Attributes:
        settings: The weights.
        perceptual: LPIPS; None leaves it out.
    """

    settings: AppearanceSettings
    perceptual: Perceptual | None = None

    def parts(
        self, renders: Sequence[Float[Tensor, "height width 3"]], targets: Sequence[Target]
    ) -> dict[str, Float[Tensor, ""]]:
        """Each loss times its weight, the mean over the pictures; nothing if there are none."""
        if not targets:
            return {}
        parts: dict[str, list[Tensor]] = {}
        for render, target in zip(renders, targets, strict=True):
            # One by one: pictures may differ in size.
            shown, true = (x.permute(2, 0, 1)[None] for x in (render, target.picture.to(render)))
            parts.setdefault("l1", []).append(self.settings.l1 * (shown - true).abs().mean())
            parts.setdefault("ssim", []).append(self.settings.ssim * (1 - structural_similarity(shown, true)))
            if self.perceptual is not None:
                parts.setdefault("lpips", []).append(self.settings.lpips * self.perceptual(shown, true).mean())
        return {name: torch.stack(values).mean() for name, values in parts.items()}


def load_appearance_loss(settings: AppearanceSettings, device: torch.device) -> AppearanceLoss:
    """The image loss; without LPIPS, and a line in the log, where its weights are neither given nor installed.

    Raises:
        WeightsError: The weights of LPIPS do not fit.
    """
    if not settings.lpips:
        return AppearanceLoss(settings)
    store = default_store()
    if settings.lpips_backbone:
        backbone = Path(settings.lpips_backbone)
    elif store.find(_BACKBONE):
        backbone = store.weights_file(_BACKBONE)
    else:
        LOGGER.warning(
            "Training without LPIPS: its weights are not here. Install them with `gvf models download vgg16`, or set "
            "appearance.lpips_backbone to a file with the weights of VGG16."
        )
        return AppearanceLoss(settings)
    from gvf_core.models.perceptual import load_perceptual_distance

    linear = Path(settings.lpips_linear) if settings.lpips_linear else None
    return AppearanceLoss(settings, load_perceptual_distance(backbone, linear, device))
