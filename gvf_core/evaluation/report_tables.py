"""Tables of what the papers report: surfaces and pictures beside the truth, by engine and by clip."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gvf_core.evaluation.picture_scores import SCORES

Row = dict[str, Any]

GEOMETRY = {
    **{"vertex_error": ".3f", "cd_3d": ".4f", "cd_4d": ".4f", "cd_m": ".4f"},
    **{"root_rotation_error": ".1f", "root_translation_error": ".3f", "ratio_deformation": ".2f"},
    "confidence_rank": ".2f",
}
"""Names of figures, and how they are written."""
_PICTURES = {"psnr": ".2f", "ssim": ".3f", "lpips": ".3f", "clip": ".3f", "single_video_distance": ".0f"}
_TITLES = {
    "vertex_error": "vertex error / diagonal",
    "cd_3d": "CD-3D",
    "cd_4d": "CD-4D",
    "cd_m": "CD-M",
    "root_rotation_error": "root rotation, degrees",
    "root_translation_error": "root translation / diagonal",
    "ratio_deformation": "deformation ratio",
    "confidence_rank": "confidence rank",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "clip": "CLIP",
    "single_video_distance": "single-video distance",
}
_ABSENT = "absent"
_DRIFT_COLUMNS = 5


def metric_summary(rows: Sequence[Row], videos: Row | None) -> Row:
    """Means over the clips of one engine, as papers report them.

    Args:
        rows: Of clips that did not fail.
        videos: `fvd` and the number of `videos` it was taken of; None if there is none.
    """
    pictures = [row["pictures"] for row in rows if row.get("pictures")]
    summary: Row = {"pictures": {name: _mean([one[name] for one in pictures]) for name in SCORES} if pictures else None}
    summary["video_distance"] = videos
    tracks = [row["drift"] for row in rows if row.get("drift")]
    same = len({len(track) for track in tracks}) == 1
    summary["drift"] = np.mean(tracks, axis=0).tolist() if tracks and same else None
    return summary


def absent_from(rows: Sequence[Row]) -> dict[str, str]:
    """Why metrics are absent, by name."""
    absent: dict[str, str] = {}
    for row in rows:
        absent |= (row.get("pictures") or {}).get("absent", {})
    return dict(sorted(absent.items()))


def weights_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Where the weights of networks that compare pictures come from."""
    weights: dict[str, Any] = {}
    for row in rows:
        weights |= (row.get("pictures") or {}).get("weights", {})
    return dict(sorted(weights.items()))


def metric_sections(report: Mapping[str, Any], label: Mapping[str, str]) -> list[str]:
    """Sections on surfaces and pictures: totals, then clip by clip."""
    lines = ["", "## Surfaces beside the truth", "", *_geometry_totals(report, label)]
    lines += [
        "",
        "Means. The diagonal is that of the rest pose's bounding box; chamfer distances in its longest sides. Root: "
        "the rigid part of the motion beside the true one. Deformation ratio: of what is left of both, 1 is the "
        "unmoved mesh; of clips that bend. Confidence rank: 1 where the engine's confidence in each Gaussian orders "
        "them by their errors, 0 where it tells nothing.",
    ]
    if any(summary["drift"] for summary in report["summaries"].values()):
        lines += ["", "Mean distance of the surface to its true place by frame, means over clips:", ""]
        lines += _drift(report, label)
    measured = [row for row in report["clips"] if row.get("pictures")]
    if measured:
        size = measured[0]["pictures"]["size"]
        lines += ["", f"## Pictures beside the truth: four novel views, {size} pixels, over white", ""]
        lines += [*_picture_totals(report, label), ""]
        lines += ["Means over frames, views and clips. FVD is of all videos together, in brackets how many; figures of"]
        lines[-1] += " different numbers cannot be compared."
        lines += _sources(report)
    lines += ["", "## The same by clip", "", *_by_clip(report, label)]
    return lines


def weight_lines(weights: Mapping[str, Any]) -> list[str]:
    """Where the weights of networks that compare come from."""
    return [
        f"- Weights {name}: {source['page'] or 'a file of the user'}, sha256 {', '.join(source['sha256'])}"
        for name, source in weights.items()
    ]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(titles), "|" + " --- |" * len(titles), *(line(row) for row in rows)]


def _geometry_totals(report: Mapping[str, Any], label: Mapping[str, str]) -> list[str]:
    rows = []
    for engine, summary in report["summaries"].items():
        means = [summary[name]["mean"] if summary[name] else None for name in GEOMETRY]
        cells = [figure_text(mean, form) for mean, form in zip(means, GEOMETRY.values(), strict=True)]
        rows.append((label.get(engine, engine), str(summary["clips"]), *cells))
    return table(("engine", "clips", *(_TITLES[name] for name in GEOMETRY)), rows)


def _drift(report: Mapping[str, Any], label: Mapping[str, str]) -> list[str]:
    tracks = {engine: summary["drift"] for engine, summary in report["summaries"].items() if summary["drift"]}
    longest = max(len(track) for track in tracks.values())
    frames = np.unique(np.linspace(1, longest, min(_DRIFT_COLUMNS, longest)).round().astype(int)).tolist()
    rows = [
        (label.get(engine, engine), *(f"{track[frame - 1]:.4f}" if frame <= len(track) else "" for frame in frames))
        for engine, track in tracks.items()
    ]
    return table(("engine", *(f"frame {frame}" for frame in frames)), rows)


def _picture_totals(report: Mapping[str, Any], label: Mapping[str, str]) -> list[str]:
    rows = []
    for engine, summary in report["summaries"].items():
        pictures, videos = summary["pictures"] or {}, summary["video_distance"]
        cells = [figure_text(pictures.get(name), form, _ABSENT) for name, form in _PICTURES.items()]
        fvd = _ABSENT if videos is None else f"{videos['fvd']:.1f} ({videos['videos']})"
        rows.append((label.get(engine, engine), *cells, fvd))
    return table(("engine", *(_TITLES[name] for name in _PICTURES), "FVD"), rows)


def _sources(report: Mapping[str, Any]) -> list[str]:
    lines = [""] if report["absent"] or report["metric_weights"] else []
    lines += [f"- {_TITLES.get(name, name.upper())} is absent: {why}" for name, why in report["absent"].items()]
    return lines + weight_lines(report["metric_weights"])


def _by_clip(report: Mapping[str, Any], label: Mapping[str, str]) -> list[str]:
    rows = []
    for row in report["clips"]:
        if "failure" in row:
            continue
        pictures = row.get("pictures") or {}
        cells = [figure_text(row.get(name), form) for name, form in GEOMETRY.items()]
        cells += [figure_text(pictures.get(name), form, _ABSENT) for name, form in _PICTURES.items()]
        rows.append((label.get(row["engine"], row["engine"]), row["asset"], row["clip"], *cells))
    return table(("engine", "asset", "clip", *(_TITLES[name] for name in (*GEOMETRY, *_PICTURES))), rows)


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None


def figure_text(value: float | None, form: str, missing: str = "") -> str:
    """A figure to read, or what stands for one that is not there."""
    return missing if value is None else format(value, form)
