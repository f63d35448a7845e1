"""A run of all stages: networks, examples and stores of each, from settings and folders."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from gvf_core.errors import SettingsError
from gvf_core.models.image_encoder import ImageEncoder, load_image_encoder
from gvf_core.models.presets import create, load
from gvf_core.models.random_weights import ENCODERS, random_image_encoder
from gvf_core.models.record import sha256_of
from gvf_core.models.roles import Role
from gvf_core.models.static_vae import StaticVae
from gvf_core.models.variation_dit import VariationDit
from gvf_core.models.variation_vae import VariationVae
from gvf_core.settings import AnimateSettings
from gvf_core.training.appearance import AppearanceLoss, load_appearance_loss
from gvf_core.training.canonical_store import CanonicalStore
from gvf_core.training.diffusion_stage import DiffusionExamples, DiffusionStage
from gvf_core.training.draws import Examples, generator_of
from gvf_core.training.encoded_clip import check_vaes, encoded_paths, origin_of
from gvf_core.training.exported import (
    DIT,
    IMAGE_ENCODER,
    STATIC_VAE,
    VARIATION_VAE,
    check_dit,
    read_statistics,
    vaes_digest,
)
from gvf_core.training.interpolating_start import start_interpolating
from gvf_core.training.latent_encoding import ClipEncoder
from gvf_core.training.motion_examples import MotionExamples
from gvf_core.training.motion_scores import Sampler
from gvf_core.training.motion_stage import MotionStage
from gvf_core.training.run_folder import RunFolder, Split, StageName, clip_paths
from gvf_core.training.settings import TRAINED, LoopSettings, TrainingSettings
from gvf_core.training.static_examples import FeatureStore, StaticExamples
from gvf_core.training.static_stage import StaticStage
from gvf_core.training.static_start import load_start, start_opaque


@dataclass(frozen=True)
class Run:
    """Settings with the folders that they are applied to.

    Attributes:
        settings: Of all stages.
        data: Prepared clips, `train` and `test`.
        folder: What the run makes.
        device: Of the networks.
    """

    settings: TrainingSettings
    data: Path
    folder: RunFolder
    device: torch.device

    def stage(self, name: StageName, goes_on: bool = False) -> tuple[nn.Module, Examples[Any], LoopSettings]:
        """Networks with their losses, what they learn from, and how.

        Args:
            name: Of the stage.
            goes_on: The networks will get the weights of a state, so that those to start from are not needed any more.

        Raises:
            FileFormatError: Data, or what the stage before makes, is missing.
            WeightsError: Weights that a stage starts from do not fit.
        """
        stages: dict[StageName, Callable[[], tuple[nn.Module, Examples[Any]]]] = {
            "static": partial(self._static, goes_on),
            "motion": self._motion,
            "diffusion": self._diffusion,
        }
        loop: LoopSettings = getattr(self.settings, name).loop
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(loop.seed)
            stage, examples = stages[name]()
        return stage, examples, loop

    def facts(self, name: StageName, stage: nn.Module) -> dict[str, Any]:
        """What makes it another training if it changes, but is no setting."""
        if name == "diffusion":
            clips = encoded_paths(self.folder.latents("train"))
            return {
                "training clips": _told(clips, [origin_of(clip) for clip in clips]),
                "hash of the VAEs": self.vaes_digest()[:12],
            }
        clips = clip_paths(self.data, "train")
        perceptual = cast(AppearanceLoss, stage.appearance).perceptual
        # Contents would take a minute for 50 GB; pictures of another preparation have other sizes.
        sizes = [clip.stat().st_size for clip in clips]
        return {"training clips": _told(clips, sizes), "LPIPS in use": perceptual is not None}

    def image_encoder(self) -> ImageEncoder:
        """The frozen image encoder: of the settings, or the one that the first stage trained."""
        name: str | Path = self.settings.static.image_encoder
        if name == TRAINED:
            name = self.folder.require(IMAGE_ENCODER, "gvf train static")
        return load_image_encoder(name, self.device)

    def feature_store(self, encoder: ImageEncoder) -> FeatureStore:
        """Features of voxels, in a folder that belongs to the image encoder."""
        return FeatureStore(encoder, self.folder.root / "features" / encoder.digest[:16])

    def canonical_store(self, encoder: ImageEncoder) -> CanonicalStore:
        """Gaussians of clips, in a folder that belongs to image encoder and static VAE."""
        vae = self.static_vae()
        _check_width(vae, encoder.sizes.width)
        digest = sha256_of(self.folder.weights / STATIC_VAE) + encoder.digest
        folder = self.folder.root / "canonical" / hashlib.sha256(digest.encode()).hexdigest()[:16]
        return CanonicalStore(self.feature_store(encoder), vae, folder)

    def static_vae(self) -> StaticVae:
        """As the stages so far left it."""
        path = self.folder.require(STATIC_VAE, "gvf train static")
        return cast(StaticVae, load(Role.STATIC_VAE, path, self.settings.preset)).to(self.device)

    def variation_vae(self) -> VariationVae:
        """As the second stage left it."""
        path = self.folder.require(VARIATION_VAE, "gvf train motion")
        return cast(VariationVae, load(Role.VARIATION_VAE, path, self.settings.preset)).to(self.device)

    def dit(self) -> VariationDit:
        """As the third stage left it."""
        path = self.folder.require(DIT, "gvf train diffusion")
        return cast(VariationDit, load(Role.VARIATION_DIT, path, self.settings.preset)).to(self.device)

    def clip_encoder(self) -> ClipEncoder:
        """What turns clips into latents."""
        encoder, settings = self.image_encoder(), self.settings
        canonical, vae = self.canonical_store(encoder), self.variation_vae()
        return ClipEncoder(canonical, vae, encoder, settings.encode, settings.motion.points, self.vaes_digest())

    def vaes_digest(self) -> str:
        """See `gvf_core.training.exported.vaes_digest`."""
        self.folder.require(STATIC_VAE, "gvf train static")
        self.folder.require(VARIATION_VAE, "gvf train motion")
        return vaes_digest(self.folder.weights)

    def splits(self) -> list[Split]:
        """Splits that have prepared clips; a run may have none to test on."""
        splits: list[Split] = ["train", "test"]
        return [split for split in splits if any((self.data / split).glob("*.safetensors"))]

    def sampler(self) -> Sampler | None:
        """What draws latents, as the third stage left it; None if it has not begun.

        Raises:
            WeightsError: It learnt latents of other VAEs, or statistics are missing.
        """
        if not (self.folder.weights / DIT).exists():
            return None
        check_dit(self.folder.weights)
        settings = AnimateSettings(standardise_positions=self.settings.diffusion.standardise_positions)
        return Sampler(self.dit().eval(), read_statistics(self.folder.weights), settings)

    def _static(self, goes_on: bool) -> tuple[nn.Module, Examples[Any]]:
        settings, paths = self.settings.static, clip_paths(self.data, "train")
        vae = cast(StaticVae, create(Role.STATIC_VAE, self.settings.preset))
        if settings.start == "opaque":
            start_opaque(vae)
        if not goes_on:
            load_start(vae, settings)
        network, image_size, features = None, None, None
        if settings.image_encoder == TRAINED:
            sizes = ENCODERS["nano"]
            network, image_size, width = random_image_encoder(sizes), sizes.image, sizes.width
        else:
            encoder = self.image_encoder()
            features, width = self.feature_store(encoder), encoder.sizes.width
        _check_width(vae, width)
        size = self.settings.appearance.size
        examples = StaticExamples(paths, settings.pictures, size, settings.feature_views, image_size, features)
        appearance = load_appearance_loss(self.settings.appearance, self.device)
        return StaticStage(vae, network, settings, appearance), examples

    def _motion(self) -> tuple[nn.Module, Examples[Any]]:
        settings = self.settings.motion
        joint, paths = settings.static_factor > 0, clip_paths(self.data, "train")
        encoder = self.image_encoder()
        examples = MotionExamples(
            paths,
            settings,
            self.settings.appearance.size,
            features=self.feature_store(encoder) if joint else None,
            canonical=None if joint else self.canonical_store(encoder),
        )
        vae = cast(VariationVae, create(Role.VARIATION_VAE, self.settings.preset))
        if settings.start == "interpolation":
            start_interpolating(vae, generator_of(settings.loop.seed))
        static_vae = self.static_vae() if joint else None
        appearance = load_appearance_loss(self.settings.appearance, self.device)
        return MotionStage(vae, static_vae, settings, self.settings.static, appearance), examples

    def _diffusion(self) -> tuple[nn.Module, Examples[Any]]:
        settings = self.settings.diffusion
        paths, statistics = encoded_paths(self.folder.latents("train")), read_statistics(self.folder.weights)
        check_vaes(paths, vaes := self.vaes_digest())
        dit = cast(VariationDit, create(Role.VARIATION_DIT, self.settings.preset))
        decode = self.variation_vae().requires_grad_(False).decode
        return DiffusionStage(dit, statistics, settings, decode, vaes), DiffusionExamples(paths, settings)


def _check_width(vae: StaticVae, width: int) -> None:
    if width != (wanted := vae.params.feature_channels):
        raise SettingsError(
            f"The image encoder gives {width} channels; networks of this preset take {wanted}.",
            "Choose another static.image_encoder or preset.",
        )


def _told(clips: Sequence[Path], contents: Sequence[object]) -> str:
    """How many there are, and a hash of their names and of what tells their contents apart."""
    known = "\n".join(sorted(f"{path.name} {content}" for path, content in zip(clips, contents, strict=True)))
    return f"{len(clips)} ({hashlib.sha256(known.encode()).hexdigest()[:8]})"
