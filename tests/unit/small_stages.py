"""Stages of training with networks that take milliseconds, on bending boxes."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gvf_core.models.dinov2_names import Dinov2Sizes
from gvf_core.models.image_encoder import ImageEncoder
from gvf_core.models.model_set import Statistics
from gvf_core.models.posterior import Posterior
from gvf_core.models.random_weights import random_image_encoder
from gvf_core.models.static_vae import SlatParams, StaticVae
from gvf_core.models.variation_dit import VariationDit, VariationDitParams
from gvf_core.models.variation_vae import VariationVae, VariationVaeParams
from gvf_core.training.appearance import AppearanceLoss
from gvf_core.training.canonical_store import CanonicalStore
from gvf_core.training.diffusion_stage import DiffusionExamples, DiffusionStage
from gvf_core.training.encoded_clip import EncodedClip, Origin, write_encoded_clip
from gvf_core.training.motion_examples import MotionExamples
from gvf_core.training.motion_stage import MotionStage
from gvf_core.training.run_folder import clip_paths
from gvf_core.training.settings import LoopSettings, TrainingSettings, load_training_settings
from gvf_core.training.static_examples import FeatureStore, StaticExamples
from gvf_core.training.static_stage import StaticStage

ENCODER = Dinov2Sizes(width=24, depth=1, heads=2, grid=2)
SLAT = SlatParams(feature_channels=24, width=24, blocks=2, heads=2)
VAE = VariationVaeParams(width=48, depth=1, heads=4, latents=24)
DIT = VariationDitParams(width=24, blocks=1, heads=2, image_channels=24)


def settings(*overrides: str) -> TrainingSettings:
    small = ("appearance.size=16", "motion.points=128", "motion.guided=64", "motion.frames=2", "static.feature_views=2")
    return load_training_settings("nano", [*small, *overrides])


def loop(given: LoopSettings, **changes: object) -> LoopSettings:
    return replace(given, report_every=1, warm_up=2, batch=1, workers=0, **changes)  # type: ignore[arg-type]


def seeded(make, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def static_stage(data: Path, chosen: TrainingSettings) -> tuple[StaticStage, StaticExamples]:
    vae, encoder = seeded(lambda: StaticVae(SLAT)), seeded(lambda: random_image_encoder(ENCODER))
    examples = StaticExamples(clip_paths(data, "train"), 1, chosen.appearance.size, 2, ENCODER.image)
    return StaticStage(vae, encoder, chosen.static, AppearanceLoss(chosen.appearance)), examples


def stores(folder: Path) -> tuple[FeatureStore, CanonicalStore, StaticVae]:
    """Features and Gaussians from random networks."""
    features = FeatureStore(ImageEncoder(seeded(lambda: random_image_encoder(ENCODER))), folder / "features")
    vae = seeded(lambda: StaticVae(SLAT)).eval()
    return features, CanonicalStore(features, vae, folder / "canonical"), vae


def motion_stage(
    data: Path, folder: Path, chosen: TrainingSettings, joint: bool = False
) -> tuple[MotionStage, MotionExamples]:
    features, canonical, static_vae = stores(folder)
    given = {"features": features} if joint else {"canonical": canonical}
    examples = MotionExamples(clip_paths(data, "train"), chosen.motion, chosen.appearance.size, **given)
    vae = seeded(lambda: VariationVae(VAE))
    appearance = AppearanceLoss(chosen.appearance)
    return MotionStage(vae, static_vae if joint else None, chosen.motion, chosen.static, appearance), examples


def diffusion_stage(folder: Path, chosen: TrainingSettings, clips: int = 3) -> tuple[DiffusionStage, DiffusionExamples]:
    """On random latents, images that say what they are, and one token that does not move."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.safetensors" for number in range(clips)]
    for path in paths:
        latents = Posterior(noise(4, 6, 16), torch.full((4, 6, 16), -6.0))
        clip = EncodedClip(latents, noise(20, 14), noise(6, 3), noise(4, 5, 24).half())
        write_encoded_clip(path, clip, Origin("clip", "vaes", "inputs"))
    statistics = Statistics(torch.zeros(14), torch.ones(14), torch.zeros(16), torch.ones(16))
    dit = seeded(lambda: VariationDit(DIT))
    return DiffusionStage(dit, statistics, chosen.diffusion), DiffusionExamples(paths, chosen.diffusion)
