"""Why there is no server, or an old one, and the guided installation that mends it: shown wherever it is missed."""

import bpy

from .. import server_watch
from ..core.errors import ServerError
from ..core.sentence import Sentence
from ..core.server_facts import ServerReport, ServerState
from ..server_choice import ServerChoice
from ..server_installation import OUTDATED, present_installation, update_reason
from .text import draw_sentence


def draw_reason(
    layout: bpy.types.UILayout, context: bpy.types.Context, choice: ServerChoice, report: ServerReport
) -> None:
    """Why the server does not answer, what became of the last action, and what leads to a server of this version."""
    if report.reason:
        draw_sentence(layout, context, report.reason, icon="INFO")
    installation = present_installation()
    is_installing = installation is not None and bool(installation.step)
    is_missed = report.state in (ServerState.STOPPED, ServerState.UNREACHABLE) and _can_install(choice)
    update = None if is_missed else update_reason(choice.environment)
    if is_installing or is_missed or update is not None:
        draw_installation(layout, context, update)
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


def draw_installation(layout: bpy.types.UILayout, context: bpy.types.Context, update: Sentence | None = None) -> None:
    """What became of the last attempt, and the button that leads to a server; while it works, how far it is.

    Args:
        layout: Where to draw.
        context: Blender's context.
        update: Why the server that is installed is to be installed once more; None where none is.
    """
    _draw_notice(layout, context)
    installation = present_installation()
    if installation is not None and installation.step:
        draw_sentence(layout, context, installation.step, icon="IMPORT")
        layout.operator("gvf.cancel_installation", icon="CANCEL")
        return
    if update is not None:
        draw_sentence(layout, context, update, icon="ERROR")
    layout.operator(
        "gvf.install_server", text="Update Server" if update == OUTDATED else "Install Server", icon="IMPORT"
    )
    if not bpy.app.online_access:
        text = "Blender is not allowed to go online: Preferences > System > Network"
        draw_sentence(layout, context, text, icon="ERROR")


def _draw_notice(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    notice = server_watch.watch().notice
    if notice:
        draw_sentence(layout, context, notice, icon="INFO")
