"""`gvf bench` measures every backend and shows it."""

import json

import pytest
from rich.console import Console

from gvf_core import cli
from gvf_core.bench import BenchRow, bench_rasterizer, bench_table
from gvf_core.errors import SettingsError


def test_every_backend_is_timed_for_both_operations():
    rows = bench_rasterizer(gaussians=100, size=16, repeats=2)
    assert {row.operation for row in rows} == {"forward", "forward and backward"}
    assert len({(row.backend, row.operation) for row in rows}) == len(rows) == 4
    assert all(0 < row.best_ms <= row.median_ms for row in rows)
    assert all(row.speedup == 1 for row in rows if row.backend == "torch")


def test_the_table_has_a_line_for_every_row():
    rows = [
        BenchRow("torch", "cpu", "forward", best_ms=20.0, median_ms=30.0, speedup=1.0),
        BenchRow("numba", "cpu", "forward", best_ms=2.0, median_ms=3.5, speedup=10.0),
    ]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(bench_table(rows))
    lines = capture.get().splitlines()
    assert any(all(word in line for word in ("numba", "forward", "2.0 ms", "3.5 ms", "10.0x")) for line in lines)
    assert any("torch" in line and "20.0 ms" in line for line in lines)


@pytest.mark.parametrize("name", ["gaussians", "size", "repeats"])
def test_a_benchmark_of_nothing_is_refused(name):
    with pytest.raises(SettingsError, match=name):
        bench_rasterizer(**({"gaussians": 10, "size": 8, "repeats": 1} | {name: 0}))


def test_the_networks_are_compared_with_their_plain_implementations(tmp_path, capsys):
    figures = tmp_path / "figures.json"
    sizes = ["--preset", "nano", "--frames", "1", "--gaussians", "300", "--voxels", "200"]
    assert cli.main(["bench", "networks", "--device", "cpu", *sizes, "--json", str(figures)]) == 0
    report = json.loads(figures.read_text())
    compared = [row for row in report["rows"] if row["plain_seconds"] is not None]
    assert len(compared) == 3
    assert all(row["speedup"] == pytest.approx(row["plain_seconds"] / row["seconds"]) for row in compared)
    assert [row["difference"] < 2e-5 for row in compared if row["difference"] is not None] == [True, True]
    assert "DiT step, 1 frames" in capsys.readouterr().out
    # They give way to newer ones: what stops this run is another thing.
    assert cli.main(["bench", "networks", "--frames", "0", "--json", str(figures)]) == 1
    assert "The setting frames is 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--frames", "0"], "The setting frames is 0. Choose a value from 1 to 512."),
        (["--voxels", "999999"], "The setting voxels is 999999. Choose a value from 1 to 25000."),
        (["--device", "tpu"], "There is no device 'tpu' here."),
        (["--json", "/nowhere/at/all.json"], "There is no folder /nowhere/at."),
    ],
)
def test_a_benchmark_that_cannot_run_says_why(capsys, arguments, sentence):
    assert cli.main(["bench", "networks", *arguments]) == 1
    assert sentence in " ".join(capsys.readouterr().err.split())
