"""`python -m server.bench`, `gvf bench server`: figures of this machine, as a table and as JSON."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from server.bench.chaos import ChaosPlan, chaos
from server.bench.laboratory import Laboratory, laboratory
from server.bench.speed import many_streams, memory_growth, status_latency, upload_rate

UPLOAD_MB = 1000
CALLS = 2000
STREAMS, EVENTS = 200, 50
MEMORY_JOBS = 300
CHAOS_JOBS = 1000
BUSY_THREADS = 2

Measurement = Callable[[Laboratory], Any]

MEASUREMENTS: dict[str, Measurement] = {
    "upload": lambda lab: upload_rate(lab, UPLOAD_MB),
    "status, idle worker": lambda lab: status_latency(lab, CALLS, threads=0),
    "status, busy worker": lambda lab: status_latency(lab, CALLS, threads=BUSY_THREADS),
    "streams": lambda lab: many_streams(lab, STREAMS, EVENTS),
    "memory": lambda lab: memory_growth(lab, MEMORY_JOBS),
    "chaos": lambda lab: chaos(lab, ChaosPlan(CHAOS_JOBS, CHAOS_JOBS // 5, CHAOS_JOBS // 20, CHAOS_JOBS // 50)),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure and show; the exit status is 1 if a job was lost or done twice."""
    parser = argparse.ArgumentParser(prog="gvf bench server", description=__doc__)
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="measure this; may be given again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args(arguments)
    figures = {}
    with Console(stderr=True).status("Starting") as status:
        for name in options.only or MEASUREMENTS:
            status.update(f"Measuring: {name}")
            with _fresh_laboratory() as lab:
                figures[name] = MEASUREMENTS[name](lab)
    rows = {name: _flat(asdict(figure)) for name, figure in figures.items()}
    table = Table(box=SIMPLE, pad_edge=False)
    for title in ("measurement", "figure", "value"):
        table.add_column(title)
    for name, row in rows.items():
        for figure, value in row.items():
            table.add_row(name, figure, f"{value:.1f}" if isinstance(value, float) else str(value))
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if "chaos" not in figures or figures["chaos"].is_clean else 1


@contextmanager
def _fresh_laboratory() -> Iterator[Laboratory]:
    flags = ("--max-queued-jobs", str(2 * CHAOS_JOBS))
    with tempfile.TemporaryDirectory(prefix="gvf-bench-") as folder, laboratory(Path(folder), *flags) as lab:
        yield lab


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {prefix + name: value}
    return flat


if __name__ == "__main__":
    sys.exit(main())
