"""The weights of the server in the panel, and the buttons that fetch and remove them, with a stand-in for the hub."""

import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
from recording_layout import RecordingLayout
from safetensors.torch import save_file
from server_process import running_server

from gvf_core.models.registry import checkpoint
from gvf_core.models.roles import Role

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from hub_stand_in import serve
from weight_files import SLAT_ENCODER_FILE, nano_state

NAME = "trellis-slat-encoder"
PUBLISHED = f"{checkpoint(NAME).repository}/ckpts/{SLAT_ENCODER_FILE}"
PATIENCE = 240.0  # the download imports torch, which a busy machine takes a minute for


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / SLAT_ENCODER_FILE
    save_file(nano_state(Role.SLAT_ENCODER), path)
    with serve() as hub:
        hub.files[PUBLISHED] = path.read_bytes()
        yield hub


@pytest.fixture(scope="module")
def weights_server(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("HF_ENDPOINT", hub.endpoint),
            ("HF_HOME", str(folder / "hub")),
            ("GVF_MODELS_DIR", str(folder / "models")),
        ):
            patch.setenv(name, value)
        with running_server(folder / "home") as server:
            yield server


@pytest.fixture
def panel(addon, weights_server, monkeypatch):
    """Draws the panel with what is known by then; `panel.until` waits for what shall be known."""
    from gvf_blender import server_watch
    from gvf_blender.operators import weights as operators
    from gvf_blender.server_choice import ServerChoice
    from gvf_blender.ui import weights_panel

    choice = ServerChoice(handshake_path=weights_server.handshake)
    for module in (operators, weights_panel):
        monkeypatch.setattr(module, "server_choice", lambda context: choice)
    watch = server_watch.watch()
    watch.look(choice)

    def draw():
        layout = RecordingLayout()
        context = SimpleNamespace(region=SimpleNamespace(width=4000), preferences=bpy.context.preferences)
        weights_panel.GVF_PT_weights.draw(SimpleNamespace(layout=layout), context)
        return layout

    def until(condition):
        deadline, pause = time.monotonic() + PATIENCE, threading.Event()
        while watch.report.weights is None or not condition(watch.report.weights):
            assert time.monotonic() < deadline
            watch.look(choice)
            watch.tick()
            pause.wait(0.05)
        return draw()

    return SimpleNamespace(draw=draw, until=until)


def server_watch():
    from gvf_blender.server_watch import watch

    return watch()


def state(facts):
    return next(entry.state for entry in facts.entries if entry.name == NAME)


def test_before_the_server_is_known_nothing_is_offered(panel):
    assert "Not known" in panel.draw().texts()


def icon(layout, name):
    return next(entry[2] for entry in layout.record if entry[:2] == ("label", name))


def test_what_is_missing_is_listed_with_a_button_if_it_is_of_use_here(panel):
    layout = panel.until(lambda facts: True)
    assert icon(layout, "gvf-dit") == icon(layout, "u2net") == "X"
    assert NAME not in layout.texts()  # makes new assets, which the extension does not
    assert "For animating" in layout.texts() and "For any background" in layout.texts()
    assert "gvf.download_weights" in layout.names("operator") and "gvf.remove_weights" not in layout.names("operator")


def test_weights_are_fetched_with_progress_and_removed(panel, hub):
    panel.until(lambda facts: True)
    hub.holds[PUBLISHED] = threading.Event()
    assert bpy.ops.gvf.download_weights(names=NAME) == {"FINISHED"}
    layout = panel.until(lambda facts: facts.download is not None and facts.download.stage != "")
    (shown,) = (entry for entry in layout.record if entry[0] == "progress")
    assert shown[2].startswith(f"Fetching {NAME}, ")
    assert state(server_watch().report.weights) == "downloading" and "gvf.cancel_weights" in layout.names("operator")
    assert "gvf.download_weights" not in layout.names("operator")
    hub.holds.pop(PUBLISHED).set()
    layout = panel.until(lambda facts: state(facts) == "installed" and not facts.download.is_running)
    assert icon(layout, NAME) == "CHECKMARK" and "gvf.remove_weights" in layout.names("operator")
    assert bpy.ops.gvf.remove_weights(name=NAME) == {"FINISHED"}
    panel.until(lambda facts: state(facts) == "missing")


def test_a_download_that_fails_says_why(panel, hub):
    hub.refusal = (401, "GatedRepo")
    try:
        bpy.ops.gvf.download_weights(names=NAME)
        layout = panel.until(lambda facts: facts.download is not None and facts.download.state == "failed")
    finally:
        hub.refusal = None
    assert "only for people who accepted its terms" in layout.texts()


def test_weights_without_a_stated_licence_need_a_second_consent(panel):
    panel.until(lambda facts: True)
    with pytest.raises(RuntimeError, match="states no licence"):
        bpy.ops.gvf.download_weights()


def test_the_dialog_tells_size_and_terms_and_asks_only_where_no_licence_is_stated(panel):
    from gvf_blender.operators.weights import GVF_OT_download_weights as Operator

    panel.until(lambda facts: True)
    context = SimpleNamespace(region=SimpleNamespace(width=4000), preferences=bpy.context.preferences)

    def shown(names):
        layout = RecordingLayout()
        dialog = SimpleNamespace(layout=layout, names=names, bl_rna=bpy.ops.gvf.download_weights.get_rna_type())
        dialog._wanted = lambda: Operator._wanted(dialog)
        Operator.draw(dialog, context)
        return layout

    licensed, everything = shown(NAME), shown("")
    assert "172 MB from the internet" in licensed.texts() and "under the licence MIT" in licensed.texts()
    assert "accept" not in licensed.names("prop")
    assert "2.8 GB" in everything.texts() and "states no licence" in everything.texts()
    assert "accept" in everything.names("prop")


def test_a_server_of_blenders_own_fetches_nothing_while_blender_is_offline(addon, monkeypatch):
    from gvf_blender.managed_server import managed_server
    from gvf_blender.operators import weights as operators
    from gvf_blender.server_choice import ServerChoice

    assert not bpy.app.online_access
    assert bpy.ops.gvf.download_weights.poll()
    monkeypatch.setattr(operators, "server_choice", lambda context: ServerChoice(process=managed_server()))
    assert not bpy.ops.gvf.download_weights.poll()
