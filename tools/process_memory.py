"""Peak memory of other processes, where the system tells it (Linux)."""

from pathlib import Path


def peak_memory_mb(pid: int) -> dict[int, float]:
    """Largest resident size so far of a process and of each of its descendants that still runs.

    Returns:
        Megabytes by process id; empty where there is no /proc or the process is gone.
    """
    peaks = {}
    waiting = [pid]
    while waiting:
        process = waiting.pop()
        try:
            status = Path(f"/proc/{process}/status").read_text()
            for task in Path(f"/proc/{process}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:  # it ended meanwhile
            continue
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        if "VmHWM" in lines:
            peaks[process] = int(lines["VmHWM"].split()[0]) / 1024
    return peaks
