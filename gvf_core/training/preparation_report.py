"""What was prepared, for people: figures, a page of text, and sheets of pictures."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gvf_core.errors import FileNotWrittenError
from gvf_core.evaluation.contact_sheet import SheetRow, write_sheet
from gvf_core.training.clip_record import ClipRecord, ViewRole, read_clip
from gvf_core.training.preparation_run import SPLITS, AssetOutcome
from gvf_core.training.preparation_settings import PreparationSettings

SHEET_ROWS = 8
"""Clips on the sheet of a category."""
UNSCORED = (
    "The paper's aesthetic score (at least 5.5) is not applied: it takes the option --aesthetic 5.5 and the weights "
    "clip-vit-l14 and laion-aesthetic."
)
_BACKGROUND = np.array([89.0, 120.0, 168.0])
"""sRGB; few things are of this blue."""
_SHOWN_FRAMES, _SHOWN_TARGETS = 3, 2


def write_report(folder: Path, outcomes: Sequence[AssetOutcome], settings: PreparationSettings) -> dict[str, Any]:
    """Write report.json, report.md and the sheets of a prepared folder; returns what report.json holds.

    Raises:
        FileFormatError: A clip that was prepared is damaged.
        FileNotWrittenError: For example because the disk is full.
    """
    figures = _figures(folder, outcomes, settings)
    try:
        (folder / "report.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        (folder / "report.md").write_text(_text(figures), encoding="utf-8")
        (folder / "sheets").mkdir(exist_ok=True)
    except OSError as error:
        raise FileNotWrittenError(
            f"The report could not be written to {folder} ({error}).", "Free some disk space."
        ) from error
    for category in figures["categories"]:
        _write_category_sheet(folder, category, outcomes)
    return figures


def _figures(folder: Path, outcomes: Sequence[AssetOutcome], settings: PreparationSettings) -> dict[str, Any]:
    kept = [(outcome, clip) for outcome in outcomes for clip in outcome.clips if clip.name]
    left_out = [(outcome, clip) for outcome in outcomes for clip in outcome.clips if clip.refused]
    categories = {
        category: {
            "assets": sum(outcome.category == category for outcome in outcomes),
            **{split: sum(o.category == category and o.split == split for o, _ in kept) for split in SPLITS},
            "left out": sum(outcome.category == category for outcome, _ in left_out),
        }
        for category in sorted({outcome.category for outcome in outcomes})
    }
    seconds = sum(outcome.seconds for outcome in outcomes)
    files = [folder / outcome.split / f"{clip.name}.safetensors" for outcome, clip in kept]
    return {
        "frames": settings.frames,
        "size": settings.size,
        "assets": len(outcomes),
        "clips": len(kept),
        **{f"{split}_clips": sum(outcome.split == split for outcome, _ in kept) for split in SPLITS},
        "pictures": sum(clip.pictures for _, clip in kept),
        "bytes": sum(file.stat().st_size for file in files),
        "seconds_of_work": round(seconds, 1),
        "seconds_per_clip": round(seconds / len(kept), 2) if kept else None,
        "categories": categories,
        "origins": dict(sorted(Counter(clip.origin for _, clip in kept).items())),
        "median_motion": round(float(np.median([clip.motion for _, clip in kept])), 4) if kept else None,
        "families": {
            split: sorted({outcome.family for outcome in outcomes if outcome.split == split}) for split in SPLITS
        },
        "reasons": dict(Counter(str(clip.refused.kind) for _, clip in left_out if clip.refused).most_common()),
        "left_out": [
            {"asset": outcome.asset, "clip": clip.clip, "kind": str(clip.refused.kind), "why": clip.refused.sentence}
            for outcome, clip in left_out
            if clip.refused
        ],
        "filters_left_out": [] if any(clip.aesthetic is not None for _, clip in kept + left_out) else [UNSCORED],
    }


def _text(figures: dict[str, Any]) -> str:
    per_clip = "" if figures["seconds_per_clip"] is None else f", {figures['seconds_per_clip']} s per clip"
    lines = [
        "# Prepared clips",
        "",
        f"{figures['clips']} clips of {figures['assets']} assets, {figures['frames']} frames each: "
        f"{figures['train_clips']} to train on, {figures['test_clips']} to test on.",
        "",
        f"{figures['pictures']:,} pictures of {figures['size']} pixels, {figures['bytes'] / 1e6:,.0f} MB, "
        f"{figures['seconds_of_work']:,} s of work{per_clip}.",
        "",
        "| category | assets | train | test | left out |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {category} | {row['assets']} | {row['train']} | {row['test']} | {row['left out']} |"
            for category, row in figures["categories"].items()
        ),
        "",
        "Origins: " + ", ".join(f"{name} {count}" for name, count in figures["origins"].items()) + ".",
        "",
        "Families to test on: " + (", ".join(figures["families"]["test"]) or "none") + ".",
        "",
        "## Left out",
        "",
        *figures["filters_left_out"],
        "",
        *(f"- {kind}: {count}" for kind, count in figures["reasons"].items()),
        "",
        *(
            f"- {row['asset']}{': ' if row['clip'] else ''}{row['clip']} ({row['kind']}). {row['why']}"
            for row in figures["left_out"]
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _write_category_sheet(folder: Path, category: str, outcomes: Sequence[AssetOutcome]) -> None:
    of_category = [
        (folder / outcome.split / f"{clip.name}.safetensors", outcome.split, clip.motion)
        for outcome in outcomes
        for clip in outcome.clips
        if outcome.category == category and clip.name
    ]
    if not of_category:
        return
    places = np.unique(np.linspace(0, len(of_category) - 1, min(SHEET_ROWS, len(of_category))).round().astype(int))
    rows = []
    for place in places:
        path, split, motion = of_category[place]
        record = read_clip(path)
        label = f"{record.name.rpartition('-')[0]}   {split}, {record.origin}, motion {motion:.3f}"
        rows.append(SheetRow(label, [_shown(record, index) for index in _shown_views(record)]))
    title = f"{category}: frame 0 from around, the driving view, random views"
    name = "".join(char if char.isalnum() else "-" for char in category)
    write_sheet(folder / "sheets" / f"{name}.png", title, rows)


def _shown_views(record: ClipRecord) -> list[int]:
    """One canonical view from near the equator, the driving view at some frames, and random views of other frames."""
    canonical = record.views(ViewRole.CANONICAL)
    frames = np.linspace(0, len(record.points) - 1, _SHOWN_FRAMES).round().astype(int)
    driving = [record.views(ViewRole.CONDITION, int(frame))[0] for frame in frames]
    targets = record.views(ViewRole.TARGET)
    between = np.linspace(0, len(targets) - 1, _SHOWN_TARGETS + 2)[1:-1].round().astype(int)
    return [canonical[len(canonical) // 2], *driving, *(targets[place] for place in between if targets)]


def _shown(record: ClipRecord, index: int) -> UInt8[np.ndarray, "height width 3"]:
    rgba = record.view(index).rgba.astype(np.float32)
    alpha = rgba[..., 3:] / 255
    return np.round(rgba[..., :3] * alpha + _BACKGROUND * (1 - alpha)).astype(np.uint8)
