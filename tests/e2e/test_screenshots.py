"""The panels in a real window: nothing raises there, and the pictures of the documentation can be made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("bpy")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("blender", "Xvfb", "xdotool"))), reason="needs blender, xvfb and xdotool"
    ),
]


def test_the_panel_draws_in_a_real_window(tmp_path):
    command = [sys.executable, "-m", "tools.screenshot_panels", "animate-panel", "--output", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    assert Image.open(tmp_path / "animate-panel.png").size == (980, 824)
