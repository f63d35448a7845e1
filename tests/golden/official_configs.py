"""Our parameters from the official modules' configurations."""

from typing import Any

from gvf_core.gaussians import MIN_SCALE
from gvf_core.models.gaussian_head import GaussianHeadParams
from gvf_core.models.slat_flow import SlatFlowParams
from gvf_core.models.static_vae import SlatParams
from gvf_core.models.structure_flow import StructureFlowParams
from gvf_core.models.structure_vae import StructureVaeParams
from gvf_core.models.variation_dit import VariationDitParams
from gvf_core.models.variation_vae import VariationVaeParams

Config = dict[str, Any]


def variation_dit(config: Config) -> VariationDitParams:
    assert config["pe_mode"] == "ape" and not config["no_temporal_attn"]
    return VariationDitParams(
        latent_channels=config["in_channels"],
        width=config["model_channels"],
        blocks=config["num_blocks"],
        heads=config["num_heads"],
        image_channels=config["image_cond_channels"],
        static_channels=config["static_cond_channels"],
        mlp_ratio=config["mlp_ratio"],
        qk_rms_norm=config["qk_rms_norm"],
    )


def variation_vae(config: Config, interpolation: Config) -> VariationVaeParams:
    assert config["dim"] == config["queries_dim"] and config["output_dim"] == 14
    assert config["dim_head"] in (-1, config["dim"] // config["heads"])
    assert not config["decoder_ff"] and not config["weight_tie_layers"]
    return VariationVaeParams(
        width=config["dim"],
        depth=config["depth"],
        heads=config["heads"],
        latents=config["num_latents"],
        latent_channels=config["latent_dim"],
        neighbors=interpolation.get("knn_k", 8),
        decay=interpolation.get("beta", 7.0),
    )


def slat(config: Config, representation: Config | None = None) -> SlatParams:
    assert config["attn_mode"] == "swin" and config.get("norm_output", True)
    return SlatParams(
        feature_channels=config.get("in_channels", 0),
        latent_channels=config["latent_channels"],
        width=config["model_channels"],
        blocks=config["num_blocks"],
        heads=config["num_heads"],
        mlp_ratio=config["mlp_ratio"],
        window=config["window_size"],
        head=gaussian_head(config["resolution"], representation) if representation else GaussianHeadParams(),
    )


def gaussian_head(resolution: int, representation: Config) -> GaussianHeadParams:
    # The parameterisation of Gaussians itself is one for the whole project (gvf_core.gaussians).
    assert representation["3d_filter_kernel_size"] == MIN_SCALE and representation["perturb_offset"]
    assert representation["scaling_bias"] == 0.004 and representation["opacity_bias"] == 0.1
    assert representation["scaling_activation"] == "softplus"
    rates = representation["lr"]
    return GaussianHeadParams(
        per_voxel=representation["num_gaussians"],
        resolution=resolution,
        reach=representation["voxel_size"],
        position_rate=rates["_xyz"],
        color_rate=rates["_features_dc"],
        scale_rate=rates["_scaling"],
        rotation_rate=rates["_rotation"],
        opacity_rate=rates["_opacity"],
    )


def structure_flow(config: Config) -> StructureFlowParams:
    assert config["pe_mode"] == "ape"
    return StructureFlowParams(
        resolution=config["resolution"],
        channels=config["in_channels"],
        width=config["model_channels"],
        blocks=config["num_blocks"],
        heads=config["num_heads"],
        image_channels=config["cond_channels"],
        mlp_ratio=config["mlp_ratio"],
        patch_size=config["patch_size"],
        qk_rms_norm=config["qk_rms_norm"],
    )


def structure_vae(config: Config) -> StructureVaeParams:
    return StructureVaeParams(
        channels=tuple(config["channels"]),
        latent_channels=config["latent_channels"],
        blocks=config["num_res_blocks"],
        middle_blocks=config["num_res_blocks_middle"],
    )


def slat_flow(config: Config) -> SlatFlowParams:
    assert config["pe_mode"] == "ape" and config["patch_size"] == 2 ** len(config["io_block_channels"])
    return SlatFlowParams(
        channels=config["in_channels"],
        width=config["model_channels"],
        blocks=config["num_blocks"],
        heads=config["num_heads"],
        image_channels=config["cond_channels"],
        mlp_ratio=config["mlp_ratio"],
        outer_channels=tuple(config["io_block_channels"]),
        outer_blocks=config["num_io_res_blocks"],
        qk_rms_norm=config["qk_rms_norm"],
    )
