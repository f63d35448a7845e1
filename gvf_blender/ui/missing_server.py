"""Why there is no server, and the guided installation that leads to one: shown wherever a server is missed."""

import bpy

from .. import server_watch
from ..core.errors import ServerError
from ..core.server_facts import ServerReport, ServerState
from ..server_choice import ServerChoice
from ..server_installation import present_installation
from .text import draw_sentence


def draw_reason(
    layout: bpy.types.UILayout, context: bpy.types.Context, choice: ServerChoice, report: ServerReport
) -> None:
    """Why the server does not answer and what became of the last action; where there is none, what leads to one."""
    if report.reason:
        draw_sentence(layout, context, report.reason, icon="INFO")
    installation = present_installation()
    is_installing = installation is not None and bool(installation.step)
    if is_installing or (report.state in (ServerState.STOPPED, ServerState.UNREACHABLE) and _can_install(choice)):
        draw_installation(layout, context)
    else:
        _draw_notice(layout, context)


def _can_install(choice: ServerChoice) -> bool:
    """Whether an installation would bring a server: not somebody else's, nor one that only has to be started."""
    if choice.address is not None:
        return False
    try:
        choice.locate()
    except ServerError:
        return True
    return choice.process is None


def draw_installation(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What became of the last attempt, and the button that leads to a server; while it works, how far it is."""
    _draw_notice(layout, context)
    installation = present_installation()
    if installation is not None and installation.step:
        draw_sentence(layout, context, installation.step, icon="IMPORT")
        layout.operator("gvf.cancel_installation", icon="CANCEL")
        return
    layout.operator("gvf.install_server", icon="IMPORT")
    if not bpy.app.online_access:
        text = "Blender is not allowed to go online: Preferences > System > Network"
        draw_sentence(layout, context, text, icon="ERROR")


def _draw_notice(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    notice = server_watch.watch().notice
    if notice:
        draw_sentence(layout, context, notice, icon="INFO")
