"""Found videos of an asset beside true ones from the same sides: the image metrics of the paper's tables.

Section 4.1 of the paper: PSNR, SSIM, LPIPS, CLIP and FVD at four novel views of 512 pixels. A metric without its
network is absent, with the reason, and is never guessed.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from gvf_core.errors import FileNotWrittenError
from gvf_core.evaluation.frechet import frechet_distance, single_video_distance
from gvf_core.evaluation.image_metrics import (
    BEST_PSNR,
    data_range_of,
    has_structural_similarity,
    peak_signal_to_noise,
    structural_similarity,
)
from gvf_core.evaluation.judges import Judges, embedding_similarities, perceptual_distances, video_features
from gvf_core.models.video_features import LEAST_FRAMES

SCORES = ("psnr", "ssim", "lpips", "clip", "single_video_distance")
"""In the order of the paper's table 1; what its authors' predecessors call FVD of one video is the last."""
SCRIPT_SCORES = ("psnr_of_data_range", "ssim_of_data_range")
"""With the range of values that each picture happens to have, as Consistent4D's script computes them."""

Pictures = Float[Tensor, "frames 3 height width"]


@dataclass(frozen=True)
class VideoWords:
    """What I3D says of videos, one row for each view.

    Attributes:
        found: Of the found videos.
        true: Of the true ones.
    """

    found: Float[np.ndarray, "views features"]
    true: Float[np.ndarray, "views features"]


@dataclass(frozen=True)
class PictureScores:
    """Scores of one clip.

    Attributes:
        values: By name; None where a metric is absent.
        absent: Why, by name.
        words: For the Fréchet distance of all clips together; None without I3D.
    """

    values: dict[str, float | None]
    absent: dict[str, str]
    words: VideoWords | None

    def as_row(self) -> dict[str, Any]:
        """For a report."""
        return {**self.values, "absent": self.absent}


def score_views(
    views: Iterable[tuple[Pictures, Pictures]], judges: Judges, names: Sequence[str] = SCORES
) -> PictureScores:
    """Score found and true videos of one clip, seen from several sides.

    Of every view the mean over its frames, then the mean over the views.

    Args:
        views: Found and true pictures of each view, sRGB over one background, 0..1; taken one after the other, so that
            only one view is in memory.
        judges: Networks that compare.
        names: What to measure, as far as it can be.
    """
    rows: list[dict[str, float]] = []
    words: list[tuple[np.ndarray, np.ndarray]] = []
    absent = dict(judges.absent)
    with torch.inference_mode():
        for found, true in views:
            row = _frame_scores(found, true, judges, names)
            if judges.video is not None and len(found) >= LEAST_FRAMES:
                said = video_features(judges.video, found), video_features(judges.video, true)
                words.append(said)
                row["single_video_distance"] = single_video_distance(*said)
            elif judges.video is not None:
                reason = f"A video of {len(found)} frames is too short for I3D, which takes at least {LEAST_FRAMES}."
                absent |= {"single_video_distance": reason, "fvd": reason}
            rows.append(row)
    measured = rows[0].keys()
    values = {name: float(np.mean([row[name] for row in rows])) if name in measured else None for name in names}
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            # The metrics that take the range of a picture's values have none where that is 0.
            values[name] = None
            absent[name] = "A true picture has a single colour." if name in SCRIPT_SCORES else f"It is {value}."
    both = VideoWords(*(np.stack(side) for side in zip(*words, strict=True))) if words else None
    return PictureScores(values, absent, both)


def video_distance_of_all(words: list[VideoWords]) -> float | None:
    """FVD of all found and all true videos, each view of each clip a video; None for less than two."""
    if not words:
        return None
    return frechet_distance(*(np.concatenate([getattr(one, side) for one in words]) for side in ("found", "true")))


def save_words(path: Path, words: VideoWords) -> None:
    """Keep what I3D said of a clip.

    Raises:
        FileNotWrittenError: For example because the disk is full.
    """
    try:
        save_file({"found": words.found, "true": words.true}, path)
    except (OSError, SafetensorError) as error:
        raise FileNotWrittenError(f"{path} could not be written ({error}).", "Free some disk space.") from error


def load_words(path: Path) -> VideoWords | None:
    """What was kept; None if there is nothing readable."""
    try:
        return VideoWords(**load_file(path))
    except (OSError, SafetensorError, TypeError):
        return None


def _frame_scores(found: Pictures, true: Pictures, judges: Judges, names: Sequence[str]) -> dict[str, float]:
    """Means over the frames of one view."""
    psnr = peak_signal_to_noise(found, true)
    scores = {"psnr": psnr.clamp_max(BEST_PSNR)}
    if "psnr_of_data_range" in names:
        # The peak is the range of the values of the true picture instead of 1.
        scores["psnr_of_data_range"] = (psnr + 20 * data_range_of(true).log10()).clamp_max(BEST_PSNR)
    if has_structural_similarity():
        scores["ssim"] = structural_similarity(found, true)
    if has_structural_similarity() and "ssim_of_data_range" in names:
        scores["ssim_of_data_range"] = structural_similarity(found, true, data_range=None)
    if judges.perceptual is not None:
        scores["lpips"] = perceptual_distances(judges.perceptual, found, true)
    if judges.embedding is not None:
        scores["clip"] = embedding_similarities(judges.embedding, found, true)
    return {name: float(value.double().mean()) for name, value in scores.items()}
