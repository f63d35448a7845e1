"""The figures of many clips: totals, a table to read, and everything as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gvf_core.evaluation.clip_task import BASELINES
from gvf_core.evaluation.report_tables import (
    GEOMETRY,
    absent_from,
    figure_text,
    metric_sections,
    metric_summary,
    table,
    weights_of,
)

WORSE = 1.05
"""From this ratio on a clip counts as worse than unmoved."""
WORST = 10
_TOTALS = (
    *("ratio_all", "ratio_visible", "ratio_in_plane", "deformation_error", "true_deformation"),
    *("trusted_error", "doubted_error"),
    *("psnr_gain", "psnr_driving", "seconds", "peak_memory_mb"),
)
_COLUMNS = (
    *(("ratio_all", ".2f"), ("ratio_visible", ".2f"), ("ratio_in_plane", ".2f"), ("psnr_gain", "+.1f")),
    *(("psnr_driving", ".1f"), ("unmoved_error", ".3f"), ("jerk", ".4f"), ("true_jerk", ".4f")),
    *(("edge_distortion", ".3f"), ("true_edge_distortion", ".3f"), ("seconds", ".0f"), ("peak_memory_mb", ".0f")),
)

Row = dict[str, Any]


def summarise(rows: Sequence[Row], videos: Row | None = None) -> dict[str, Any]:
    """Totals over the clips of one engine; clips that failed count only as such.

    Args:
        rows: Of all clips.
        videos: The distance of all videos together, `fvd`, and their number, `videos`.
    """
    good = [row for row in rows if "failure" not in row]
    summary: dict[str, Any] = {"clips": len(good), "failed": len(rows) - len(good)}
    for name in (*_TOTALS, *GEOMETRY):
        values = [row[name] for row in good if row.get(name) is not None]
        summary[name] = _spread(values) if values else None
    worse = [row for row in good if row["ratio_all"] > WORSE]
    summary["share_worse_than_unmoved"] = len(worse) / len(good) if good else None
    ranked = sorted(good, key=lambda row: -row["ratio_all"])[:WORST]
    summary["worst"] = [{name: row[name] for name in ("asset", "clip", "ratio_all")} for row in ranked]
    return summary | metric_summary(good, videos)


def common_clips(rows: Sequence[Row]) -> Row | None:
    """Medians over the clips that all engines were measured on, where one failed on a clip that another did not.

    An engine that fails on what is hard looks better otherwise.

    Returns:
        Number of `clips`, and the median of `ratio_all` by engine; None where nothing tells engines' clips apart.
    """
    ratios: dict[str, dict[tuple[str, str], float]] = {}
    for row in rows:
        if "failure" not in row:
            ratios.setdefault(row["engine"], {})[row["asset"], row["clip"]] = row["ratio_all"]
    common = set.intersection(*map(set, ratios.values())) if ratios else set()
    if all(len(clips) == len(common) for clips in ratios.values()):
        return None
    medians = {engine: float(np.median([clips[one] for one in common])) for engine, clips in ratios.items() if common}
    return {"clips": len(common), "ratio_all": medians}


def report_json(
    rows: Sequence[Row],
    engines: Sequence[str],
    what: dict[str, Any],
    passed_over: Sequence[str],
    videos: Mapping[str, Row | None] | None = None,
) -> dict[str, Any]:
    """Everything, for programs.

    Args:
        rows: Of all engines.
        engines: Their names; `summary` is that of the first.
        what: Protocol, settings and where the clips come from.
        passed_over: Why clips were not used.
        videos: Distances of all videos of an engine together, as `summarise` takes them.
    """
    summaries = {
        engine: summarise([row for row in rows if row["engine"] == engine], (videos or {}).get(engine))
        for engine in engines
    }
    return {
        **what,
        "engines": list(engines),
        "clips": list(rows),
        "summary": summaries[engines[0]],
        "summaries": summaries,
        "common": common_clips(rows),
        "passed_over": list(passed_over),
        "absent": absent_from(rows),
        "metric_weights": weights_of(rows),
    }


def report_markdown(report: dict[str, Any]) -> str:
    """The same to read."""
    lines = ["# Evaluation: existing assets", "", *_settings(report), "", "## Totals", ""]
    lines += table(
        ("engine", "clips", "failed", "all", "visible", "in plane", "PSNR gain, dB", "worse than unmoved", "seconds"),
        [_totals(engine, summary) for engine, summary in report["summaries"].items()],
    )
    lines += ["", "Median (first to third quartile; mean). Ratios: 1 is the unmoved mesh, 0 the truth."]
    if common := report["common"]:
        medians = (f"{_label(engine)} {median:.2f}" for engine, median in common["ratio_all"].items())
        lines += [
            "",
            "Engines failed on different clips, so that these are totals of different ones. Median of all over",
        ]
        lines[-1] += f" the {common['clips']} that none failed on: {', '.join(medians)}."
    lines += metric_sections(report, BASELINES)
    for engine, summary in report["summaries"].items():
        rows = [row for row in report["clips"] if row["engine"] == engine]
        lines += ["", f"## {_label(engine)}", ""]
        titles = ("asset", "clip", *(name.replace("_", " ") for name, _ in _COLUMNS), "warnings")
        lines += table(titles, [_line(row) for row in rows])
        if len(summary["worst"]) > 1:
            worst = (f"{one['asset']}: {one['clip']} ({one['ratio_all']:.2f})" for one in summary["worst"])
            lines += ["", f"Worst: {', '.join(worst)}."]
    if report["passed_over"]:
        lines += ["", "## Clips passed over", "", *(f"- {sentence}" for sentence in report["passed_over"])]
    return "\n".join(lines) + "\n"


def _settings(report: dict[str, Any]) -> list[str]:
    options = ", ".join(f"{name} {value}" for name, value in report["options"].items())
    settings = ", ".join(f"{name} {value}" for name, value in report["settings"].items())
    return [f"Assets: {report['assets']}", "", f"Protocol: {options}", "", f"Settings of the engines: {settings}"]


def _totals(engine: str, summary: dict[str, Any]) -> tuple[str, ...]:
    worse = summary["share_worse_than_unmoved"]
    return (
        _label(engine),
        str(summary["clips"]),
        str(summary["failed"]),
        *(_spread_text(summary[name], ".2f") for name in ("ratio_all", "ratio_visible", "ratio_in_plane")),
        _spread_text(summary["psnr_gain"], "+.1f"),
        "" if worse is None else f"{worse:.0%}",
        _spread_text(summary["seconds"], ".0f"),
    )


def _line(row: Row) -> tuple[str, ...]:
    if "failure" in row:
        return (row["asset"], row["clip"], *[""] * len(_COLUMNS), f"failed: {row['failure']}")
    figures = (figure_text(row[name], form) for name, form in _COLUMNS)
    return (row["asset"], row["clip"], *figures, " ".join(row["warnings"]))


def _label(engine: str) -> str:
    return BASELINES.get(engine, engine)


def _spread(values: Sequence[float]) -> dict[str, float]:
    q1, median, q3 = np.percentile(values, (25, 50, 75)).tolist()
    return {"clips": len(values), "median": median, "mean": float(np.mean(values)), "q1": q1, "q3": q3}


def _spread_text(spread: dict[str, float] | None, form: str) -> str:
    if spread is None:
        return ""
    q1, median, q3, mean = (format(spread[name], form) for name in ("q1", "median", "q3", "mean"))
    return f"{median} ({q1} to {q3}; {mean})"
