"""The network of the motion prior: from 2D tracks of surface points to the 3D displacement of every point.

One view cannot tell depth; how animals, people and machines move can. The network sees points only, no picture: rest
position and normal, and per frame the 2D displacement of the points that are tracked.
"""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.models.layers import LayerNorm, ZeroLinear, initialize

FINE, COARSE = 0.033, 0.12
"""Reach of the two kernels that spread visible motion to hidden points; the longest side of the asset is 1.

A predecessor without the fine one stayed at .8 of the unmoved error for its first 700 steps.
"""
_FRAME_CHANNELS, _STATIC_CHANNELS, _OUTPUTS = 10, 17, 5
# Motion is divided by its root mean square plus this, so that noise is not blown up where nothing moves.
_LEAST_MOTION = 0.01
# Start values: hidden points trust the spread motion of their neighbours, and expect a fifth of the motion as error.
_FIRST_GATE, _FIRST_LOG_SIGMA = 2.0, -1.5
_TINY = 1e-30


@dataclass(frozen=True)
class MotionPriorParams:
    """Sizes of the motion prior.

    Attributes:
        width: Channels of the vector that a point has for the clip.
        frame_width: Channels of the vector that it has for each frame.
        blocks: Number of blocks.
        heads: Attention heads.
        parts: Rigid parts that share the points among them.
        bands: Octaves of the position embedding.
    """

    width: int = 128
    frame_width: int = 64
    blocks: int = 4
    heads: int = 4
    parts: int = 12
    bands: int = 5


@dataclass(frozen=True)
class PointTracks:
    """What the network sees of some clips, in the view frame.

    View frame: the camera frame (x right, y down, z forward) turned so that z goes through the centre of the rest
    pose, and moved there. The longest side of the rest pose is 1.

    Attributes:
        positions: Of the rest pose.
        normals: Of the rest pose, unit length or zero.
        up: The world's up direction.
        distance: From the camera to the centre of the rest pose.
        lifted: 2D displacement from the rest pose at the depth of the rest pose: z0 (xy_t / z_t - xy_0 / z_0); what
            confidence 0 stands beside is ignored.
        confidence: Of each track in each frame, 0 (hidden or lost) to 1.
        at_rest: Whether the point is visible in the rest pose, 0 or 1.
    """

    positions: Float[Tensor, "batch points 3"]
    normals: Float[Tensor, "batch points 3"]
    up: Float[Tensor, "batch 3"]
    distance: Float[Tensor, " batch"]
    lifted: Float[Tensor, "batch frames points 2"]
    confidence: Float[Tensor, "batch frames points"]
    at_rest: Float[Tensor, "batch points"]

    def select(self, points: Tensor) -> "PointTracks":
        """The same clips with some of the points only."""
        return PointTracks(
            self.positions[:, points],
            self.normals[:, points],
            self.up,
            self.distance,
            self.lifted[:, :, points],
            self.confidence[:, :, points],
            self.at_rest[:, points],
        )

    def mirrored(self) -> "PointTracks":
        """The same clips seen in a mirror: x changes its sign."""
        flip = self.positions.new_tensor([-1.0, 1.0, 1.0])
        return PointTracks(
            self.positions * flip,
            self.normals * flip,
            self.up * flip,
            self.distance,
            self.lifted * flip[:2],
            self.confidence,
            self.at_rest,
        )


@dataclass(frozen=True)
class PointMotion:
    """What the network says about them.

    Attributes:
        displacement: From the rest pose, in the view frame.
        sigma: Expected length of the displacement's error, in the same unit.
    """

    displacement: Float[Tensor, "batch frames points 3"]
    sigma: Float[Tensor, "batch frames points"]


class MotionPrior(nn.Module):
    """A transformer over surface points that treats all frames alike.

    Each point has one vector for the clip and one for each frame. Who attends to whom follows from the vectors of the
    clip, once for all frames; what is passed on is both. So what is learnt about one frame holds for all, a hidden
    point follows the same points throughout, and any number of frames goes through the same weights.

    The answer blends three things. Tracked points stay on their ray from the camera, at a learned depth. Others follow
    soft rigid parts, as in linear blend skinning, plus a learned residual; or the spread motion of their neighbours.
    """

    def __init__(self, params: MotionPriorParams) -> None:
        super().__init__()
        self.params = params
        width, frame_width = params.width, params.frame_width
        static = _STATIC_CHANNELS + 6 * params.bands
        self.clip_in = nn.Linear(static, width)
        self.frame_in = nn.Linear(_FRAME_CHANNELS, frame_width)
        self.frame_static = nn.Linear(static, frame_width)
        self.frame_mix = nn.Linear(frame_width, frame_width)
        self.blocks = nn.ModuleList(MotionPriorBlock(params) for _ in range(params.blocks))
        self.norm = LayerNorm(width, affine=True)
        self.part_share = nn.Linear(width, params.parts)
        self.part_motion = nn.Sequential(
            nn.Linear(frame_width, frame_width), nn.ReLU(), ZeroLinear(frame_width, 6, bias=False)
        )
        self.out_clip = nn.Linear(width, frame_width)
        self.out_frame = nn.Linear(frame_width, frame_width)
        self.head = ZeroLinear(frame_width, _OUTPUTS)
        initialize(self)

    def layers(self) -> list["MotionPriorBlock"]:
        """The blocks in their order."""
        return [cast(MotionPriorBlock, block) for block in self.blocks]

    def forward(self, tracks: PointTracks) -> PointMotion:
        """Displacement and its expected error for every point and frame."""
        trusted = tracks.confidence[..., None] * tracks.lifted
        apart = torch.cdist(tracks.positions, tracks.positions)
        scale = _motion_scale(tracks)
        spread, per_frame = _frame_features(tracks, apart, scale)
        static = _static_features(tracks, scale, self.params.bands)

        x = self.clip_in(static)
        z = self.frame_in(per_frame.transpose(1, 2).contiguous()) + self.frame_static(static)[:, :, None]
        z = self.frame_mix(torch.relu(z))
        for block in self.layers():
            x, z = block(x, z, apart)
        x = self.norm(x)
        head = self.head(torch.relu(self.out_frame(z) + self.out_clip(x)[:, :, None])).transpose(1, 2)

        unit = scale[:, None, None, None]
        loose = self._part_displacement(x, z, tracks.positions, scale) + unit * head[..., :3]
        observed = trusted + (1 - tracks.confidence[..., None]) * spread
        gate = torch.sigmoid(head[..., 3:4] + _FIRST_GATE)
        in_plane = gate * _along_ray(tracks, observed, loose[..., 2:]) + (1 - gate) * loose[..., :2]
        sigma = unit[..., 0] * torch.exp(head[..., 4].clamp(-6, 6) + _FIRST_LOG_SIGMA)
        return PointMotion(torch.cat([in_plane, loose[..., 2:]], dim=-1), sigma)

    def _part_displacement(
        self,
        x: Float[Tensor, "batch points width"],
        z: Float[Tensor, "batch points frames frame_width"],
        positions: Float[Tensor, "batch points 3"],
        scale: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch frames points 3"]:
        """Soft rigid parts: sum over parts of share (R (p - centre) - (p - centre) + translation)."""
        share = self.part_share(x).softmax(dim=-1)
        weight = share / share.sum(dim=1, keepdim=True).clamp_min(_TINY)
        centre = torch.einsum("bpk,bpc->bkc", weight, positions)
        pooled = (weight.mT @ z.flatten(2)).unflatten(-1, z.shape[2:]).transpose(1, 2)
        motion = self.part_motion(pooled) * scale[:, None, None, None]
        # An angle of 3 times the motion: the surface is about a third away from the axis it turns about.
        turn = _rotation_matrix(3 * motion[..., :3]) - torch.eye(3, device=x.device)
        shift = motion[..., 3:] - torch.einsum("bfkij,bkj->bfki", turn, centre)
        # As one matrix product: a 3 x 3 matrix for every point and frame would be the largest tensor by far.
        lever = torch.cat([positions, torch.ones_like(positions[..., :1])], dim=-1)
        lever = (share[..., None] * lever[:, :, None]).flatten(2)
        rigid = torch.cat([turn, shift[..., None]], dim=-1).permute(0, 2, 4, 1, 3).flatten(3).flatten(1, 2)
        return (lever @ rigid).unflatten(-1, (-1, 3)).transpose(1, 2)


class MotionPriorBlock(nn.Module):
    """Attention over points, attention over frames, and feed-forward networks for clip and frames.

    Args:
        params: Sizes.
    """

    def __init__(self, params: MotionPriorParams) -> None:
        super().__init__()
        width, frame_width = params.width, params.frame_width
        self.heads = params.heads
        self.norm_clip = LayerNorm(width, affine=True)
        self.to_qk = nn.Linear(width, 2 * width)
        # Heads from global to local: the weight falls by exp(-reach * distance).
        self.reach = nn.Parameter(torch.linspace(0, 12, params.heads))
        self.clip_value, self.clip_out = nn.Linear(width, width), nn.Linear(width, width)
        self.frame_value, self.frame_out = nn.Linear(frame_width, frame_width), nn.Linear(frame_width, frame_width)
        self.time_qkv, self.time_out = nn.Linear(frame_width, 3 * frame_width), nn.Linear(frame_width, frame_width)
        self.norm_mlp = LayerNorm(width, affine=True)
        self.clip_mlp = nn.Sequential(
            nn.Linear(width + 2 * frame_width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        self.frame_in = nn.Linear(frame_width, 2 * frame_width)
        self.frame_shift, self.frame_gate = nn.Linear(width, 2 * frame_width), nn.Linear(width, 2 * frame_width)
        self.frame_mlp_out = nn.Linear(2 * frame_width, frame_width)

    def add_nothing(self) -> None:
        """Set all that the block adds to zero."""
        for output in (self.clip_out, self.frame_out, self.time_out, self.clip_mlp[-1], self.frame_mlp_out):
            for parameter in output.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        x: Float[Tensor, "batch points width"],
        z: Float[Tensor, "batch points frames frame_width"],
        apart: Float[Tensor, "batch points points"],
    ) -> tuple[Float[Tensor, "batch points width"], Float[Tensor, "batch points frames frame_width"]]:
        """One block.

        Args:
            x: Vectors of the clip.
            z: Vectors of the frames.
            apart: Distances of the points at rest.
        """
        clip, frame = self.norm_clip(x), _normalized(z)
        weights = self._weights(clip, apart)
        x = x + self.clip_out(_mix(weights, self.clip_value(clip)[:, :, None])[:, :, 0])
        z = z + self.frame_out(_mix(weights, self.frame_value(frame))) + self._over_time(frame.mean(dim=1))[:, None]

        clip, frame = self.norm_mlp(x), _normalized(z)
        over_time = torch.cat([frame.mean(dim=2), frame.square().mean(dim=2)], dim=-1)
        x = x + self.clip_mlp(torch.cat([clip, over_time], dim=-1))
        hidden = torch.relu(self.frame_in(frame) + self.frame_shift(clip)[:, :, None])
        return x, z + self.frame_mlp_out(hidden * (1 + self.frame_gate(clip))[:, :, None])

    def _weights(
        self, clip: Float[Tensor, "batch points width"], apart: Float[Tensor, "batch points points"]
    ) -> Float[Tensor, "batch heads points points"]:
        q, k = self.to_qk(clip).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        scores = q.transpose(1, 2) @ k.transpose(1, 2).mT / q.shape[-1] ** 0.5
        return (scores - self.reach[:, None, None] * apart[:, None]).softmax(dim=-1)

    def _over_time(self, mean: Float[Tensor, "batch frames width"]) -> Float[Tensor, "batch frames width"]:
        """Attention of the frames to each other, by the mean of their points."""
        q, k, v = self.time_qkv(mean).chunk(3, dim=-1)
        return self.time_out(nn.functional.scaled_dot_product_attention(q, k, v))


def spread_motion(
    apart: Float[Tensor, "batch points points"],
    lifted: Float[Tensor, "batch frames points 2"],
    confidence: Float[Tensor, "batch frames points"],
    reach: float,
) -> tuple[Float[Tensor, "batch frames points 2"], Float[Tensor, "batch frames points"]]:
    """Motion of the tracked points around each point, weighted by confidence and exp(-distance / reach).

    However far the nearest tracked point is, it counts; where nothing is tracked, motion is zero.

    Returns:
        The motion, and the share of the kernel's weight that is tracked, 0..1.
    """
    batch, frames, points, _ = lifted.shape
    kernel = torch.exp(-apart / reach)
    observed = torch.cat([lifted * confidence[..., None], confidence[..., None]], dim=-1)
    total = kernel @ observed.transpose(1, 2).reshape(batch, points, -1)
    total = total.view(batch, points, frames, 3).transpose(1, 2)
    return total[..., :2] / total[..., 2:].clamp_min(_TINY), total[..., 2] / kernel.sum(dim=-1)[:, None]


def _mix(
    weights: Float[Tensor, "batch heads queries points"], values: Float[Tensor, "batch points frames width"]
) -> Float[Tensor, "batch queries frames width"]:
    """Values of all heads, weighted, side by side; one matrix product for all frames."""
    heads, frames = weights.shape[1], values.shape[2]
    parted = values.unflatten(-1, (heads, -1)).permute(0, 3, 1, 2, 4).flatten(3)
    mixed = (weights @ parted).unflatten(-1, (frames, -1))
    return mixed.permute(0, 2, 3, 1, 4).flatten(3)


def _normalized(z: Float[Tensor, "batch points frames width"]) -> Float[Tensor, "batch points frames width"]:
    """Each point over the root mean square of all its frames: what moves less in a frame stays less."""
    return z * torch.rsqrt(z.square().mean(dim=(2, 3), keepdim=True) + 1e-6)


def _motion_scale(tracks: PointTracks) -> Float[Tensor, " batch"]:
    """Root mean square of the tracked motion, plus a little; the network sees and gives motion in this unit."""
    square = (tracks.confidence * tracks.lifted.square().sum(dim=-1)).sum(dim=(1, 2))
    return (square / tracks.confidence.sum(dim=(1, 2)).clamp_min(1)).sqrt() + _LEAST_MOTION


def _frame_features(
    tracks: PointTracks, apart: Float[Tensor, "batch points points"], scale: Float[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch frames points 2"], Float[Tensor, "batch frames points channels"]]:
    """Motion spread by the fine kernel, and what the network sees of each point in each frame."""
    confidence = tracks.confidence[..., None]
    unit = scale[:, None, None, None]
    own = tracks.lifted * confidence
    fine, coverage = spread_motion(apart, tracks.lifted, tracks.confidence, FINE)
    coarse, _ = spread_motion(apart, tracks.lifted, tracks.confidence, COARSE)
    mean = own.sum(dim=2, keepdim=True) / confidence.sum(dim=2, keepdim=True).clamp_min(1)
    motions = torch.cat([own, fine, coarse, mean.expand_as(own)], dim=-1) / unit
    return fine, torch.cat([motions, confidence, coverage[..., None]], dim=-1)


def _static_features(
    tracks: PointTracks, scale: Float[Tensor, " batch"], bands: int
) -> Float[Tensor, "batch points channels"]:
    """What the network sees of each point once."""
    positions, normals = tracks.positions, tracks.normals
    frequency = torch.pi * 2.0 ** torch.arange(bands, device=positions.device)
    phase = (positions[..., None] * frequency).flatten(-2)
    depth = positions[..., 2:] + tracks.distance[:, None, None]
    up = tracks.up[:, None].expand_as(positions)
    of_clip = torch.stack([1 / tracks.distance, scale.log()], dim=-1)[:, None].expand(-1, positions.shape[1], -1)
    return torch.cat(
        [
            positions,
            normals,
            phase.sin(),
            phase.cos(),
            positions[..., :2] / depth,
            up,
            (up * positions).sum(dim=-1, keepdim=True),
            (up * normals).sum(dim=-1, keepdim=True),
            of_clip,
            tracks.at_rest[..., None],
            tracks.confidence.mean(dim=1)[..., None],
        ],
        dim=-1,
    )


def _along_ray(
    tracks: PointTracks, observed: Float[Tensor, "batch frames points 2"], depth: Float[Tensor, "batch frames points 1"]
) -> Float[Tensor, "batch frames points 2"]:
    """In-plane displacement of a point that is seen displaced by `observed` and comes nearer by -`depth`."""
    rest_depth = tracks.positions[:, None, :, 2:] + tracks.distance[:, None, None, None]
    return observed * (1 + depth / rest_depth) + tracks.positions[:, None, :, :2] / rest_depth * depth


def _rotation_matrix(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rodrigues' formula, smooth at zero."""
    square = vector.square().sum(dim=-1)[..., None, None] + 1e-8
    angle = square.sqrt()
    x, y, z = vector.unbind(dim=-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    identity = torch.eye(3, device=vector.device)
    return identity + angle.sin() / angle * cross + (1 - angle.cos()) / square * (cross @ cross)
