"""`gvf bench`: how fast this machine is at the parts that take the time."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from gvf_core.commands.animate import VIEW_PRESETS
from gvf_core.commands.console import CONSOLE, results_console, say
from gvf_core.commands.outputs import check_figures
from gvf_core.commands.serve import run_module
from gvf_core.errors import SettingsError
from gvf_core.models.roles import PresetName
from gvf_core.settings import RELEASED, check_set_name

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

    views = benchmarks.add_parser("views", help="what fewer views of an asset change in the features that networks see")
    views.add_argument("asset", type=Path, help="3D file")
    views.add_argument("--weights", default=RELEASED, help=f"set whose image encoder is used (default {RELEASED})")
    views.set_defaults(run=_bench_views)

    networks = benchmarks.add_parser("networks", help="run the networks beside plain implementations (takes minutes)")
    networks.add_argument("--preset", choices=get_args(PresetName), default="full")
    networks.add_argument("--frames", type=int, default=24)
    networks.add_argument("--gaussians", type=int, default=50_000)
    networks.add_argument("--voxels", type=int, default=20_000)
    networks.add_argument("--repeats", type=int, default=1)
    networks.add_argument("--compiled", action="store_true", help="also time the DiT compiled with torch.compile")
    networks.add_argument("--device", help="cpu or cuda; default: cuda where there is one")
    networks.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    networks.set_defaults(run=_bench_networks)

    # with another prefix, flags are arguments like others and the benchmark's own parser gets them all
    server = benchmarks.add_parser(
        "server", help="run the server with made-up jobs (takes minutes)", add_help=False, prefix_chars="+"
    )
    server.add_argument("options", nargs=argparse.REMAINDER)
    server.set_defaults(run=lambda parsed: run_module("server.bench", parsed.options))


def _bench_rasterizer(parsed: argparse.Namespace) -> int:
    from gvf_core.bench import bench_rasterizer, bench_table

    results_console().print(bench_table(bench_rasterizer(parsed.gaussians, parsed.size, parsed.repeats)))
    return 0


def _bench_views(parsed: argparse.Namespace) -> int:
    import torch

    from gvf_core.bench.views import bench_views, views_table
    from gvf_core.blender.assets import capture_asset
    from gvf_core.capture import load_capture
    from gvf_core.models.model_set import open_model_set

    models = open_model_set(
        check_set_name(parsed.weights), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    captures = {}
    with CONSOLE.status("Starting") as status, tempfile.TemporaryDirectory(prefix="gvf-views-") as scratch:
        for name, count in VIEW_PRESETS.items():
            status.update(f"Rendering {count} views")
            path = Path(scratch) / f"{name}.safetensors"
            capture_asset(parsed.asset, path, views=count)
            captures[name] = load_capture(path)
        rows = bench_views(captures, models, lambda done: status.update(f"Encoding, {done:.0%}"))
    results_console().print(views_table(rows))
    if models.remark:
        say(models.remark, "Note: ", "cyan")
    return 0


def _bench_networks(parsed: argparse.Namespace) -> int:
    check_figures(parsed.json, ("device", "sizes", "rows"))
    if parsed.json is not None:
        # Now, not after minutes: a folder or a file that may not be written is said at once.
        parsed.json.open("a").close()
    import torch

    from gvf_core.bench import NetworkSizes, bench_networks, networks_report, networks_table

    sizes = NetworkSizes(
        parsed.preset, parsed.frames, parsed.gaussians, parsed.voxels, parsed.repeats, compiled=parsed.compiled
    )
    name = parsed.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise SettingsError(f"There is no device {name!r} here.", "Choose cpu, or cuda where there is an NVIDIA GPU.")
    device = torch.device(name)
    with CONSOLE.status("Starting") as status:
        rows = bench_networks(sizes, device, lambda case: status.update(f"Measuring: {case}"))
    results_console().print(networks_table(rows))
    if parsed.json is not None:
        parsed.json.write_text(json.dumps(networks_report(rows, sizes, device), indent=2) + "\n")
    return 0
