"""The part of `tools.screenshot_panels` inside a Blender with a window, also an old one: 3.4 is what Debian has."""

import faulthandler
import os
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np

ROOT = Path(__file__).parents[1]
NAME, PICTURE = sys.argv[sys.argv.index("--") + 1 :]
OPEN = {
    "animate-panel": {"GVF_PT_animate"},
    "jobs-and-server": {"GVF_PT_jobs", "GVF_PT_server"},
    "weights": {"GVF_PT_server", "GVF_PT_weights"},
}[NAME]
SETTLE_SECONDS = 3.0 if NAME == "animate-panel" else 1.0
PATIENCE_SECONDS = 150.0
TAB = (1267, 238)
"""Where our tab is in a window of 1280 pixels; Blender 3.4 cannot be told to choose one."""
_started = time.monotonic()
_ready: list[float] = []
_clicks: list[str] = []


def set_up() -> None:
    """The example in the viewport, the settings filled in."""
    bpy.context.preferences.view.show_splash = False
    if not hasattr(bpy.types, "FileHandler"):  # before Blender 4.1 nothing can be dropped
        bpy.types.FileHandler = type("FileHandler", (bpy.types.Menu,), {"draw": lambda self, context: None})
    if not hasattr(bpy.types.ID, "is_editable"):  # before Blender 4.0
        bpy.types.ID.is_editable = property(lambda self: self.library is None)
    sys.path.insert(0, str(ROOT))
    import gvf_blender
    from gvf_blender import addon, ui

    if not hasattr(bpy.app, "module"):  # before Blender 4.2
        addon.bpy = SimpleNamespace(app=SimpleNamespace(module=False), utils=bpy.utils)

    for panel in ui.CLASSES:
        panel.bl_options = set() if panel.__name__ in OPEN else {"DEFAULT_CLOSED"}
    gvf_blender.register()
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    if not hasattr(np, "bool"):  # which the importer of Blender 3.4 asks for
        np.bool = bool
    bpy.ops.import_scene.gltf(filepath=str(ROOT / "examples" / "shark.glb"))
    folder = Path(PICTURE).parent
    shutil.copy(ROOT / "examples" / "shark.mp4", folder)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shark.blend"))
    settings = bpy.context.scene.gvf
    settings.video = "//shark.mp4"
    settings.view, settings.azimuth, settings.elevation = "given", 45, 15


def arrange() -> bpy.types.Area:
    """The viewport with its sidebar, looking at the asset."""
    window = bpy.context.window_manager.windows[0]
    if len(window.screen.areas) > 1:
        area = next(each for each in window.screen.areas if each.type == "VIEW_3D")
        with bpy.context.temp_override(window=window, area=area):
            bpy.ops.screen.screen_full_area()
    area = next(each for each in window.screen.areas if each.type == "VIEW_3D")
    space = area.spaces.active
    space.show_region_ui, space.show_region_toolbar = True, False
    # Drawn without a graphics card, materials would take all time from the job that is to be seen.
    space.shading.type = "MATERIAL" if NAME == "animate-panel" else "SOLID"
    region = next(each for each in area.regions if each.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        bpy.ops.view3d.view_all()
    return area


CLICK = ("mousemove 1200 400", f"mousemove {TAB[0]} {TAB[1]}", "mousedown 1", "mouseup 1", "mousemove 640 450")
"""Steps of a click on our tab, one a tick: all in one are ignored."""


def tick() -> float | None:
    """Wait for what the picture shall show, then take it and quit."""
    try:
        return advance()
    except Exception:  # noqa: BLE001 - a timer that raises would leave the window open for ever
        traceback.print_exc()
        os._exit(1)


def advance() -> float | None:
    """One step; seconds until the next one."""
    from gvf_blender import job_list, kept_jobs, server_watch
    from gvf_blender.core.server_facts import ServerState

    area = arrange()
    area.tag_redraw()
    if len(_clicks) < len(CLICK):
        _clicks.append(CLICK[len(_clicks)])
        subprocess.run(["xdotool", *_clicks[-1].split()], check=True, timeout=20)
        return 0.7
    if time.monotonic() - _started > PATIENCE_SECONDS:
        raise TimeoutError(f"{server_watch.watch().report}, {[job.message for job in job_list.jobs()]}")
    if NAME == "jobs-and-server":
        if not job_list.jobs():
            (kept,) = kept_jobs.offered()
            bpy.ops.gvf.take_up_job(job_id=kept.id)
        (job,) = job_list.jobs()
        if not job.picture.icon or server_watch.watch().report.state is ServerState.CHECKING:
            return 0.2
    if NAME == "weights" and server_watch.watch().report.weights is None:
        return 0.2
    if not _ready:
        _ready.append(time.monotonic() + SETTLE_SECONDS)
    if time.monotonic() < _ready[0]:
        return 0.2
    bpy.ops.screen.screenshot(filepath=PICTURE)
    sys.stdout.flush()
    os._exit(0)


# Should the window itself hang, this says where.
faulthandler.dump_traceback_later(PATIENCE_SECONDS + 20, exit=True)
try:
    set_up()
except Exception:  # noqa: BLE001 - as above
    traceback.print_exc()
    os._exit(1)
bpy.app.timers.register(tick, first_interval=1.0)
