"""Splats look in EEVEE as in Cycles, and keep their colours there; EEVEE runs without a window, by Mesa's driver."""

import os
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from fabricated_animation import fabricate
from test_import_at_size import grey_card
from test_import_results import rendered_pixels

from gvf_blender.importer import ImportOptions, import_animation, raise_transparent_bounces

SCRIPT = Path(__file__).with_name("render_with_eevee.py")
SIZE, COUNT, BACKGROUND = 64, 300, 0.7
# One sample of EEVEE takes seconds on a processor. Opacity is a random choice per sample: means of blocks are compared.
EEVEE_SAMPLES, CYCLES_SAMPLES, BLOCK = 8, 32, 4


def bunch() -> dict[str, np.ndarray]:
    """A few hundred splats of all colours, shapes and opacities within [-0.5, 0.5]^3."""
    random = np.random.default_rng(5)
    quaternions = random.normal(size=(1, COUNT, 4))
    return {
        "means": random.uniform(-0.5, 0.5, (1, COUNT, 3)).astype(np.float32),
        "quaternions": (quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)).astype(np.float16),
        "scales": random.uniform(0.02, 0.1, (1, COUNT, 3)).astype(np.float16),
        "colors": random.uniform(0, 1, (1, COUNT, 3)).astype(np.float16),
        "opacities": random.uniform(0.2, 1, (1, COUNT)).astype(np.float16),
    }


def import_alone(folder: Path, tracks: dict[str, np.ndarray]) -> None:
    """An empty file with splats and a hidden source object."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.mesh.primitive_cube_add(size=1)
    animation = fabricate(folder, bpy.context.object, gaussians=tracks["means"].shape[1], changes=tracks)
    bpy.context.object.hide_render = True
    options = ImportOptions(points=False, motion=False)
    import_animation(bpy.context, animation.path, animation.sources, options)
    raise_transparent_bounces(bpy.context.scene)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What Cycles and EEVEE show of two files, sRGB with alpha [SIZE, SIZE, 4]."""
    folder = tmp_path_factory.mktemp("engines")
    orders, cycles = [], {}
    for name, tracks in (("bunch", bunch()), ("card", grey_card())):
        import_alone(folder, tracks)
        cycles[name] = rendered_pixels(folder / f"{name}-cycles.png", CYCLES_SAMPLES, SIZE)
        bpy.ops.wm.save_as_mainfile(filepath=str(folder / f"{name}.blend"))
        orders += [str(folder / f"{name}.blend"), str(EEVEE_SAMPLES), str(folder / f"{name}-eevee.png")]
    # Without the path of the tests: the file has to do without the add-on.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-P", str(SCRIPT), *orders]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    if done.returncode != 0 or not all(Path(path).is_file() for path in orders[2::3]):
        said = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        # The render operator raises RuntimeError where there is no driver, or the driver ends the process.
        assert "Traceback" not in done.stderr or said[-1].startswith("RuntimeError"), done.stderr
        pytest.skip(f"EEVEE cannot render here (status {done.returncode}): {said[-1]}")
    return {name: (cycles[name], pixels_of(folder / f"{name}-eevee.png")) for name in cycles}


def pixels_of(path: Path) -> np.ndarray:
    image = bpy.data.images.load(str(path))
    return np.array(image.pixels[:]).reshape(SIZE, SIZE, 4)


def before_grey(rgba: np.ndarray) -> np.ndarray:
    """A picture before the background, as means of blocks."""
    rgb = rgba[..., :3] * rgba[..., 3:] + BACKGROUND * (1 - rgba[..., 3:])
    return rgb.reshape(SIZE // BLOCK, BLOCK, SIZE // BLOCK, BLOCK, 3).mean(axis=(1, 3))


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(first - second).mean()))


@pytest.mark.slow
def test_eevee_shows_the_splats_that_cycles_shows(pictures):
    cycles, eevee = map(before_grey, pictures["bunch"])
    assert 0.1 < (np.abs(cycles - BACKGROUND).max(axis=-1) > 0.1).mean() < 0.8
    assert psnr(eevee, cycles) > 36
    assert psnr(eevee[:, ::-1], cycles) < 28


@pytest.mark.slow
def test_eevee_shows_a_grey_card_as_grey_as_it_is(pictures):
    """18 % grey is 0.4613 in sRGB."""
    middle = slice(SIZE // 2 - 10, SIZE // 2 + 10)
    card = pictures["card"][1][middle, middle]
    assert np.abs(card[..., :3] - 0.4613).mean() < 0.005
    assert card[..., 3].mean() > 0.99
