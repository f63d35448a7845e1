"""Blender does not crash where other threads run Python, and nothing of ours uses Python without its lock."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import bpy
import pytest

from dev import PYTEST
from gvf_blender.core import stillness

HERE = Path(__file__).parent


# In a process of its own, which may crash.
@pytest.mark.slow
@pytest.mark.parametrize(
    "test",
    [
        "test_api.py::test_a_script_starts_a_job_for_each_object_and_waits_for_all",
        "test_operators.py::test_who_animates_one_asset_after_the_other_gets_both",
    ],
)
def test_jobs_are_captured_and_imported(test, tmp_path):
    places = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    options = ["-q", "-p", "busy_threads", "-p", "no:xdist", "-p", "no:cacheprovider"]
    finished = subprocess.run(
        [sys.executable, "-P", "-c", PYTEST, *options, f"--basetemp={tmp_path / 'inner'}", str(HERE / test)],
        # Python then ends with a message at the first allocation without the lock.
        env={**os.environ, "PYTHONPATH": places, "PYTHONMALLOC": "debug"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, (finished.stdout + finished.stderr)[-4000:]


def test_threads_that_speak_to_a_server_hold_still_while_operators_run_in_an_override(empty_scene):
    from gvf_blender.exporter.stage import operators_in

    steps, is_over = [], threading.Event()

    def speak():
        while not is_over.wait(0.001):
            stillness.stay()
            steps.append(None)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        with operators_in(bpy.context.scene):
            before = len(steps)
            is_over.wait(0.1)
            # One step at most, of a thread that was past its `stay` and had no turn since.
            assert len(steps) <= before + 1
        while len(steps) == before:
            is_over.wait(0.001)
    finally:
        is_over.set()
        thread.join()


def test_what_an_operator_calls_back_on_the_main_thread_goes_on(empty_scene):
    from gvf_blender.exporter.stage import operators_in

    with operators_in(bpy.context.scene):
        stillness.stay()
