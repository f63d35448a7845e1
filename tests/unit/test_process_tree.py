"""No process of ours outlives the one that started it."""

import os
import subprocess
import sys

import psutil
import pytest

from gvf_core.process_tree import kill_tree

STARTS_ANOTHER = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]).pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("has_groups", [True, False], ids=["by its group", "as on Windows"])
def test_what_a_process_has_started_is_killed_with_it(monkeypatch, has_groups):
    if not has_groups:
        monkeypatch.delattr(os, "killpg")
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_ANOTHER], stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        helper = psutil.Process(int(leader.stdout.readline()))
        kill_tree(leader.pid)
    psutil.wait_procs([helper], timeout=10)
    # A zombie waits for whoever inherited it.
    assert not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE
    assert leader.returncode == -9
    kill_tree(leader.pid)
