"""The panels in a real window: nothing raises there, and the pictures of the documentation can be made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("bpy")
from tools import screenshot_panels  # noqa: E402 - imports bpy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def _a_window_can_be_opened():
    reason = screenshot_panels.obstacle()
    if reason is not None:
        pytest.skip(reason)


def take(name, folder):
    command = [sys.executable, "-m", "tools.screenshot_panels", name, "--output", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580)


@pytest.mark.parametrize("name", screenshot_panels.PICTURES)
def test_the_panels_draw_in_a_real_window(tmp_path, name):
    result = take(name, tmp_path)
    assert result.returncode == 0, result.stderr
    # Many shades, as a window that shows nothing is a picture, too.
    assert len(Image.open(tmp_path / f"{name}.png").getcolors()) > 30
