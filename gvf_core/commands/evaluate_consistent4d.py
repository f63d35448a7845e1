"""`gvf evaluate --protocol consistent4d`: results beside ground truth from four sides."""

import argparse
import json
import logging
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gvf_core.commands.console import results_console, say
from gvf_core.errors import FileFormatError, SettingsError

LOGGER = logging.getLogger(__name__)

REPORT, DATA = "report.md", "report.json"


def evaluate_consistent4d(parsed: argparse.Namespace, jobs: int) -> int:
    """Compare every object; what is kept of an earlier run is not measured again."""
    from gvf_core.evaluation.clip_jobs import shared_cores
    from gvf_core.evaluation.consistent4d import ObjectTask, evaluate_object, find_objects
    from gvf_core.evaluation.consistent4d_report import consistent4d_markdown, consistent4d_report
    from gvf_core.evaluation.judges import judge_key
    from gvf_core.evaluation.picture_scores import load_words, video_distance_of_all

    if parsed.results is None:
        raise SettingsError("The protocol consistent4d compares results.", "Name their folder with --results.")
    if not parsed.results.is_dir():
        raise FileFormatError(f"There is no folder {parsed.results}.", "Name the folder of the results.")
    tasks: list[ObjectTask] = find_objects(parsed.assets, parsed.results, parsed.out, judge_key())
    for folder in ("objects", "sheets"):
        (parsed.out / folder).mkdir(parents=True, exist_ok=True)
    missing = [task for task in tasks if parsed.again or task.kept() is None]
    with shared_cores(jobs), ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            list(pool.map(evaluate_object, missing))
        except BrokenProcessPool as error:
            LOGGER.warning("%s", error)
    rows = [task.kept() or {"object": task.name, "failure": "The process broke down."} for task in tasks]
    words = [load_words(task.words_file) for task, row in zip(tasks, rows, strict=True) if "failure" not in row]
    there = [one for one in words if one is not None]
    distance = video_distance_of_all(there) if len(there) == len(words) else None
    videos = None if distance is None else {"fvd": distance, "videos": sum(len(one.found) for one in there)}
    what = {"protocol": "consistent4d", "truth": str(parsed.assets), "results": str(parsed.results)}
    report = consistent4d_report(rows, what, videos)
    text = json.dumps(report, indent=2) + "\n"
    for path in (parsed.out / DATA, *([parsed.json] if parsed.json else [])):
        path.write_text(text, encoding="utf-8")
    (parsed.out / REPORT).write_text(consistent4d_markdown(report), encoding="utf-8")
    _show(report)
    say(f"Wrote {parsed.out / REPORT}, {DATA} and {report['summary']['objects']} sheets.")
    return 0 if report["summary"]["objects"] else 1


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table

    columns = {"psnr": ".2f", "ssim": ".3f", "lpips": ".3f", "clip": ".3f", "single_video_distance": ".0f"}
    table = Table("object", *(name.replace("_", " ") for name in columns))
    for row in [*report["objects"], {"object": "mean", **report["summary"]}]:
        name = row["object"]
        if "failure" in row:
            table.add_row(name, *["failed"] * len(columns))
            continue
        cells = ["absent" if row[one] is None else format(row[one], form) for one, form in columns.items()]
        table.add_row(name, *cells)
    results_console().print(table)


def check_results(results: Path | None, protocol: str) -> None:
    """Refuse results where the protocol makes its own.

    Raises:
        SettingsError: It does.
    """
    if results is not None and protocol != "consistent4d":
        raise SettingsError(f"The protocol {protocol} takes no --results.", "Use it with --protocol consistent4d.")
