"""A report for whoever helps: versions, settings, server and jobs, without secrets and without asking the network."""

import platform
import sys
from collections.abc import Callable, Iterator

import bpy
import numpy as np

from . import job_list, server_watch
from .asset_summary import summarise
from .core.errors import GvfBlenderError, ServerError
from .core.sentence import showable
from .preferences import server_choice
from .properties import SHARED_NAMES
from .request import check_video
from .version import extension_version


def report(context: bpy.types.Context) -> str:
    """Everything that a bug report needs, as text; the server's token is not in it."""
    return showable("\n".join(_lines(context)) + "\n")


def _lines(context: bpy.types.Context) -> Iterator[str]:
    yield "GVF for Blender, report"
    yield f"Extension {extension_version()}, Blender {bpy.app.version_string} ({_build()})"
    yield f"{platform.platform()}, Python {sys.version.split()[0]}, NumPy {np.__version__}"
    yield f"Background: {bpy.app.background}, online access: {bpy.app.online_access}"
    yield f"Server: {_of(lambda: server_choice(context).locate())}"
    known = server_watch.watch().report
    what = known.facts or known.reason or "nothing more is known"
    yield f"Server state: {known.state}, {what}{_bracketed(known.code)}"
    settings = context.scene.gvf
    yield f"Video: {_of(lambda: check_video(settings.video))}"
    changed = (name for name in SHARED_NAMES if settings.is_property_set(name))
    yield "Settings: " + (", ".join(f"{name}={getattr(settings, name)!r}" for name in changed) or "defaults")
    summary = summarise(context.selected_objects)
    yield f"Selection: {summary.objects} meshes, {summary.vertices:,} vertices"
    yield from (f"  {warning}" for warning in summary.warnings)
    yield f"Jobs: {len(job_list.jobs())}"
    for job in job_list.jobs():
        code = job.error.code if isinstance(job.error, ServerError) else ""
        yield f"  {job.request.title}: {job.phase}, {job.progress:.0%}, {job.message}{_bracketed(code)}"
        yield from (f"    {warning}" for warning in job.warnings)


def _bracketed(code: str) -> str:
    return f" [{code}]" if code else ""


def _of(tell: Callable[[], object]) -> str:
    try:
        return str(tell())
    except GvfBlenderError as error:
        return str(error)


def _build() -> str:
    return bpy.app.build_hash.decode(errors="replace") or "unknown build"
