"""About how much memory a job takes, from its settings and inputs; coefficients measured in docs/performance.md."""

import contextlib
import os
from collections.abc import Sequence

import psutil

from gvf_core.settings import AnimateSettings
from server.finding import Finding

PROCESS_MB = 600
"""A worker that has read the example's video."""
NETWORKS_MB = 5500
"""What the engine `diffusion` adds at full size, on a CPU; on a GPU less of it is on the host."""
CLIP_BYTES_PER_PIXEL = 20
"""4 as decoded, 16 once it is cut out."""
MOST_CLIP_PIXELS = 100_000_000
"""Larger clips are scaled down."""
VIEW_BYTES_PER_PIXEL = 4
VARIATION_BYTES = 4 * 14 * 4
"""Four copies of 14 float32 values, per Gaussian and frame."""
MOST_SIDE_BY_SIDE = 16
"""`gvf_core.side_by_side.MOST_THREADS`, which would load torch into the server."""
PICTURE_BYTES = 370
"""Per Gaussian and frame that is in work at the same time as others: 64 threads took 624 MB more than one for 40,000
Gaussians and 48 frames, and for 200,000 1.9 GB in all."""
VERTEX_BYTES = 3 * 4 * 3
"""Three copies of a position, per vertex and frame."""


def estimated_mb(settings: AnimateSettings, capture: Finding, videos: Sequence[Finding], networks: bool) -> int:
    """Memory at the peak of a job, in MB (10^6 bytes).

    Args:
        settings: Of the job.
        capture: What is in the capture.
        videos: What is in the driving video, and in each further one.
        networks: Whether the engine `diffusion` will run.
    """
    used = [_used_frames(settings, video) for video in videos]
    frames = used[0]
    clips = sum(min(n * video.pixels, MOST_CLIP_PIXELS) for n, video in zip(used, videos, strict=True))
    views = capture.pixels * VIEW_BYTES_PER_PIXEL
    motion = frames * (settings.gaussians * VARIATION_BYTES + capture.vertices * VERTEX_BYTES)
    motion += min(MOST_SIDE_BY_SIDE, os.cpu_count() or 1, frames) * settings.gaussians * PICTURE_BYTES
    return PROCESS_MB + (NETWORKS_MB if networks else 0) + round((clips * CLIP_BYTES_PER_PIXEL + views + motion) / 1e6)


def _used_frames(settings: AnimateSettings, video: Finding) -> int:
    usable = max(0, video.pictures - settings.start_frame) // settings.frame_stride + 1
    return min(settings.max_frames, usable)


def available_mb(workers: Sequence[int]) -> int:
    """What a job may take on this host, in MB (10^6 bytes): free memory, and what warm workers hold already.

    Args:
        workers: Their process ids.
    """
    held = 0
    for pid in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            held += psutil.Process(pid).memory_info().rss
    return round((psutil.virtual_memory().available + held) / 1e6)
