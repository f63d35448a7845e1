"""The report of the protocol "consistent4d": every object, and means over objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gvf_core.evaluation.report_tables import table, weight_lines

Row = dict[str, Any]

_FORMS = {
    "psnr": ("PSNR, dB", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "lpips": ("LPIPS", ".3f"),
    "clip": ("CLIP", ".3f"),
    "single_video_distance": ("single-video distance", ".1f"),
    "psnr_of_data_range": ("PSNR as the script, dB", ".2f"),
    "ssim_of_data_range": ("SSIM as the script", ".3f"),
}
"""Titles of the figures, and how they are written; the script is that of Consistent4D."""


def consistent4d_report(rows: Sequence[Row], what: Row, videos: Row | None) -> Row:
    """Everything, for programs.

    Args:
        rows: Of all objects.
        what: Where both sides lie.
        videos: `fvd` of all videos together and their number, `videos`; None without I3D.
    """
    good = [row for row in rows if "failure" not in row]
    absent: Row = {}
    weights: Row = {}
    for row in good:
        absent |= row["absent"]
        weights |= row["weights"]
    means = {name: _mean([row[name] for row in good]) for name in _FORMS}
    summary = {"objects": len(good), "failed": len(rows) - len(good), **means, "video_distance": videos}
    return {**what, "objects": list(rows), "summary": summary, "absent": absent, "metric_weights": weights}


def consistent4d_markdown(report: Row) -> str:
    """The same to read."""
    summary = report["summary"]
    lines = ["# Evaluation: consistent4d", "", f"Truth: {report['truth']}", "", f"Results: {report['results']}", ""]
    titles = ("object", "frames", *(title for title, _ in _FORMS.values()))
    rows = [_line(row) for row in report["objects"]]
    rows.append((f"mean of {summary['objects']}", "", *_cells(summary)))
    lines += table(titles, rows)
    videos = summary["video_distance"]
    fvd = "absent" if videos is None else f"{videos['fvd']:.1f} (of {videos['videos']} videos)"
    lines += ["", f"FVD of all videos together: {fvd}.", ""]
    lines += [f"- {name} is absent: {why}" for name, why in report["absent"].items()]
    lines += weight_lines(report["metric_weights"])
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Row) -> tuple[str, ...]:
    if "failure" in row:
        return (row["object"], "", f"failed: {row['failure']}", *[""] * (len(_FORMS) - 1))
    return (row["object"], str(row["frames"]), *_cells(row))


def _cells(row: Row) -> list[str]:
    return ["absent" if row[name] is None else format(row[name], form) for name, (_, form) in _FORMS.items()]


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
