"""A pytest plugin: two threads that always run Python, as those of other add-ons may, and change often."""

import sys
import threading
from pathlib import Path

import bpy  # noqa: F401 - before the threads, which would slow its import down


def _compute() -> None:
    while True:
        sum(number * number for number in range(1000))
        Path(__file__).read_bytes()  # gives Python's lock away in between, as what waits for a network does


sys.setswitchinterval(1e-6)
for _ in range(2):
    threading.Thread(target=_compute, daemon=True).start()
