"""Clips longer than what a network sees at once: overlapping windows, or segments one after the other."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """Frames that a network sees together.

    Attributes:
        frames: Indices into the clip. Windows that begin later have the canonical frame in front, as an anchor: motion
            is relative to it, and frames are told apart by what they show alone.
        weights: Share of this window in each of its frames; those of all windows sum to 1 in every frame of the clip.
    """

    frames: Int[Tensor, " frames"]
    weights: Float[Tensor, " frames"]


def clip_windows(count: int, length: int, overlap: int) -> list[Window]:
    """Windows that cover a clip, each sharing frames with the next, whose weights rise and fall linearly there.

    Args:
        count: Frames of the clip.
        length: Frames of a window, at most.
        overlap: Frames that neighbours share, at least; at most `length` - 2.
    """
    if count <= length:
        return [Window(torch.arange(count), torch.ones(count))]
    own = length - 1
    starts = list(range(0, count - own, own - overlap))
    # The last window ends with the clip and is as long as the others.
    starts.append(count - own)
    windows, total = [], torch.zeros(count)
    for start in starts:
        inside = torch.arange(start, start + own)
        rising = torch.ones(own) if start == 0 else (inside - start + 1) / (overlap + 1)
        falling = torch.ones(own) if start + own == count else (start + own - inside) / (overlap + 1)
        weights = torch.minimum(rising, falling).clamp_max(1)
        total[inside] += weights
        anchor = torch.zeros(0 if start == 0 else 1, dtype=torch.int64)
        windows.append(Window(torch.cat([anchor, inside]), torch.cat([anchor.float(), weights])))
    return [Window(window.frames, window.weights / total[window.frames]) for window in windows]


def clip_segments(count: int, length: int) -> list[range]:
    """Segments that cover a clip, each beginning with the last frame of the one before (paper, D.1)."""
    step = length - 1
    return [range(start, min(start + length, count)) for start in range(0, max(1, count - 1), step)]
