"""`gvf bench`: how fast this machine is at the parts that take the time."""

import argparse
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its benchmarks."""
    bench = commands.add_parser("bench", help="measure how fast this machine is")
    benchmarks = bench.add_subparsers(required=True, metavar="BENCHMARK")

    rasterizer = benchmarks.add_parser("rasterizer", help="render Gaussians with every backend")
    rasterizer.add_argument("--gaussians", type=int, default=20_000)
    rasterizer.add_argument("--size", type=int, default=256, help="pixels")
    rasterizer.add_argument("--repeats", type=int, default=5)
    rasterizer.set_defaults(run=_bench_rasterizer)


def _bench_rasterizer(parsed: argparse.Namespace) -> int:
    from gvf_core.bench import bench_rasterizer, bench_table

    Console().print(bench_table(bench_rasterizer(parsed.gaussians, parsed.size, parsed.repeats)))
    return 0
