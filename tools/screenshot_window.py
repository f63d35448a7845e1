"""The part of `tools.screenshot_panels` inside the Blender with a window."""

import ctypes
import faulthandler
import os
import shutil
import sys
import time
import traceback
from pathlib import Path

import bpy

ROOT = Path(__file__).parents[1]
NAME, READY = sys.argv[sys.argv.index("--") + 1 :]
OPEN = {
    "animate-panel": {"GVF_PT_animate"},
    "check-video": {"GVF_PT_animate"},
    "no-server": {"GVF_PT_animate"},
    "jobs-and-server": {"GVF_PT_jobs", "GVF_PT_server"},
    "result": {"GVF_PT_result"},
    "weights": {"GVF_PT_server", "GVF_PT_weights"},
}[NAME]
SHOWN_FRAME = 12
TAB = "GVF"
VIEW_DISTANCE = 1.25
"""Relative to one at which the asset fills the viewport, of which the sidebar and our cut hide a part."""
SETTLE_SECONDS = 90.0 if NAME == "result" else 4.0
"""Until the sections stand still, and the viewport has taken all its samples without a graphics card."""
PATIENCE_SECONDS = 400.0
_started = time.monotonic()
_settled: list[float] = []


def set_up() -> None:
    """The example in the viewport, the settings filled in."""
    bpy.context.preferences.view.show_splash, bpy.context.preferences.view.smooth_view = False, 0
    sys.path.insert(0, str(ROOT))
    import gvf_blender
    from gvf_blender import ui

    for panel in ui.CLASSES:
        panel.bl_options = set() if panel.__name__ in OPEN else {"DEFAULT_CLOSED"}
    gvf_blender.register()
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    bpy.ops.import_scene.gltf(filepath=str(ROOT / "examples" / "shark.glb"))
    folder = Path(READY).parent
    shutil.copy(ROOT / "examples" / "shark.mp4", folder)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shark.blend"))
    settings = bpy.context.scene.gvf
    settings.video = "//shark.mp4"
    settings.view, settings.azimuth, settings.elevation = "given", 45, 15


def viewport() -> tuple[bpy.types.Area, dict[str, bpy.types.Region]]:
    """The 3D viewport, as large as the window, and its regions by type."""
    window = bpy.context.window_manager.windows[0]
    area = next(each for each in window.screen.areas if each.type == "VIEW_3D")
    if len(window.screen.areas) > 1:
        with bpy.context.temp_override(window=window, area=area):
            bpy.ops.screen.screen_full_area()
        area = next(each for each in window.screen.areas if each.type == "VIEW_3D")
    return area, {each.type: each for each in area.regions}


def arrange(shading: str) -> None:
    """Look at the asset, with our tab in the sidebar."""
    area, regions = viewport()
    space = area.spaces.active
    space.show_region_ui, space.show_region_toolbar = True, False
    space.shading.type, space.shading.color_type = shading, "TEXTURE"
    space.overlay.show_outline_selected = NAME != "result"  # which would hide the splats
    if regions["UI"].active_panel_category != "UNSUPPORTED":  # which it is until the sidebar was drawn once
        regions["UI"].active_panel_category = TAB
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=area, region=regions["WINDOW"]):
        bpy.ops.view3d.view_all()
    space.region_3d.view_distance *= VIEW_DISTANCE
    area.tag_redraw()


def tick() -> float | None:
    """Wait for what the picture shall show, then say that it can be taken."""
    try:
        return advance()
    except Exception:  # noqa: BLE001 - a timer that raises would leave the window open for ever
        traceback.print_exc()
        os._exit(1)


def advance() -> float | None:
    """One step; seconds until the next one."""
    from gvf_blender import job_list, server_watch

    if _settled and time.monotonic() > _settled[0]:
        ctypes.CDLL(None).fflush(None)  # what Blender itself said, too
        Path(READY).touch()
        return None
    if time.monotonic() - _started > PATIENCE_SECONDS:
        raise TimeoutError(f"{server_watch.watch().report}, {[job.message for job in job_list.jobs()]}")
    _, regions = viewport()
    if regions["UI"].active_panel_category != TAB:
        arrange("SOLID")
        return 0.5
    # Nothing but the panels is drawn meanwhile, which without a graphics card would take all time from the job.
    regions["UI"].tag_redraw()
    if not _settled and WAITED_FOR[NAME]():
        _settled.append(time.monotonic() + SETTLE_SECONDS)
        # Splats have colors in nothing else.
        arrange("MATERIAL" if NAME == "result" else "SOLID")
    return 0.5


def video_is_read() -> bool:
    """Whether the panel shows a picture of the video."""
    from gvf_blender.video_facts import known_facts

    facts = known_facts(Path(bpy.path.abspath(bpy.context.scene.gvf.video)))
    return facts is not None and facts.icon != 0


def video_is_checked() -> bool:
    """Whether the panel shows what the server would cut out of the video."""
    from gvf_blender.video_check import present_look

    look = present_look()
    if look.problem:
        raise RuntimeError(look.problem)
    if not look.is_about(bpy.context.scene.gvf):
        bpy.ops.gvf.check_video()
    return video_is_read() and look.icon != 0


def job_runs() -> bool:
    """Whether the job has a picture, and the server is known."""
    from gvf_blender import server_watch
    from gvf_blender.core.server_facts import ServerState

    return bool(_job().picture.icon) and server_watch.watch().report.state is not ServerState.CHECKING


def result_is_active() -> bool:
    """Whether the job was imported; its splats are then what is looked at."""
    from gvf_blender.core.job_phase import Phase

    job = _job()
    if not job.finished:
        return False
    if job.phase is not Phase.DONE:
        raise RuntimeError(job.message)
    bpy.ops.object.select_all(action="DESELECT")
    splats = next(thing for thing in bpy.data.objects if thing.name.endswith(" splats"))
    bpy.context.view_layer.objects.active = splats
    splats.select_set(True)
    for thing in bpy.data.objects:
        thing.hide_set(thing is not splats)
    bpy.context.scene.frame_set(SHOWN_FRAME)
    return True


def weights_are_known() -> bool:
    """Whether the server has told which weights it has."""
    from gvf_blender import server_watch
    from gvf_blender.core.server_facts import ServerState

    report = server_watch.watch().report
    return report.state is ServerState.RUNNING and report.weights is not None


def _job():
    """The job that was left to this Blender, taken up."""
    from gvf_blender import job_list, kept_jobs

    if not job_list.jobs():
        (kept,) = kept_jobs.offered()
        bpy.ops.gvf.take_up_job(job_id=kept.id)
    (job,) = job_list.jobs()
    return job


WAITED_FOR = {
    "animate-panel": video_is_read,
    "check-video": video_is_checked,
    "no-server": video_is_read,
    "jobs-and-server": job_runs,
    "result": result_is_active,
    "weights": weights_are_known,
}


# Should the window itself hang, this says where.
faulthandler.dump_traceback_later(PATIENCE_SECONDS + 20, exit=True)
try:
    set_up()
except Exception:  # noqa: BLE001 - as above
    traceback.print_exc()
    os._exit(1)
bpy.app.timers.register(tick, first_interval=1.0)
