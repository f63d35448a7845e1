"""How fast this machine is, for `gvf bench`."""

from gvf_core.bench.networks import NetworkRow, NetworkSizes, bench_networks, networks_report, networks_table
from gvf_core.bench.rasterizer import BenchRow, bench_rasterizer, bench_table

__all__ = [
    "BenchRow",
    "NetworkRow",
    "NetworkSizes",
    "bench_networks",
    "bench_rasterizer",
    "bench_table",
    "networks_report",
    "networks_table",
]
