"""Every text that the artist sees is there in every language, and none that nobody sees any more."""

import ast
import string
from pathlib import Path

import bpy
import pytest
from recording_layout import RecordingLayout, panel_context

import gvf_blender
from gvf_blender.core.errors import FileError
from gvf_blender.core.job_phase import SERVER_STAGES
from gvf_blender.core.sentence import Sentence
from gvf_blender.core.time_left import time_left
from gvf_blender.preferences import GVFPreferences
from gvf_blender.properties import GVFDefaults
from gvf_blender.translations import CONTEXT, LANGUAGES, translate, translated

PACKAGE = Path(gvf_blender.__file__).parent
# Their errors are reasons why a button is off; other errors are shown as the server and the console tell them.
DOORS = ("request.py", "server_choice.py", "operators/asset_operator.py")
LABELS = {"text", "heading", "confirm_text"}


def constants(node):
    """The texts of an argument that is one, or one of two."""
    if isinstance(node, ast.IfExp):
        return constants(node.body) | constants(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def name_of(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def shown_arguments(call):
    """What a call shows to people, as it stands in the code."""
    name = name_of(call)
    if name in ("translated", "Sentence"):
        yield call.args[0]
    elif name == "draw_sentence":
        yield call.args[2]
    elif name == "report" and len(call.args) == 2:
        yield call.args[1]
    elif name == "poll_message_set":
        yield call.args[0]
    yield from (keyword.value for keyword in call.keywords if keyword.arg in LABELS)


def calls():
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield name, node


def texts_in_code():
    found = set()
    for file, call in calls():
        for argument in shown_arguments(call):
            found |= constants(argument)
        if file in DOORS and name_of(call).endswith("Error"):
            found |= {text for argument in call.args for text in constants(argument)}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("text", "pattern"):
                found |= constants(node.value)
    return found


def texts_of_classes():
    """Names and descriptions of panels, operators, drop handlers, properties and enum items, as Blender has them."""
    from gvf_blender import addon, object_properties, preferences, properties

    found = set()
    groups = (*properties.CLASSES, object_properties.GVFObject, *preferences.CLASSES)
    for cls in (*groups, *addon._CLASSES):
        rna = cls.bl_rna
        if issubclass(cls, bpy.types.Operator):
            rna = getattr(bpy.ops.gvf, cls.bl_idname.split(".")[1]).get_rna_type()
            found.add(cls.bl_description)
        found.add(getattr(cls, "bl_label", ""))
        for name in {name for part in cls.__mro__ for name in getattr(part, "__annotations__", ())}:
            shown = None if name.startswith("bl_") else rna.properties.get(name)
            is_group = getattr(shown, "type", "") == "POINTER" and shown.fixed_type.identifier.startswith("GVF")
            if shown is None or shown.is_hidden or is_group:
                continue
            found |= {shown.name, shown.description}
            for item in shown.enum_items if shown.type == "ENUM" else ():
                found |= {item.name, item.description}
    return found


def is_translatable(text):
    """Whether it has words outside its places for values."""
    return any(any(map(str.isalpha, literal)) for literal, *_ in string.Formatter().parse(text))


@pytest.fixture
def shown_texts(addon):
    return {text for text in texts_in_code() | texts_of_classes() if is_translatable(text)}


def test_the_walk_finds_texts_of_every_kind(shown_texts):
    assert {
        "Animate from Video",  # a panel
        "Make the selected objects move like the driving video",  # an operator
        "Every Nth",  # a property
        "Plain Background",  # an item
        "At Current Frame",
        "None yet",  # a label
        "about {count} min left",
        "Finding the view",
        "Uses {count} frames, {first} to {last}: {seconds:.1f} s",
        "1 object, {vertices:,} vertices",
        "No object is selected.",  # why the button is off
        "Start the server with: python3 dev.py serve (or gvf-server).",
    } <= shown_texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_forgotten_and_none_is_left_over(shown_texts, language):
    texts = LANGUAGES[language]
    assert sorted(shown_texts - texts.keys()) == []
    assert sorted(texts.keys() - shown_texts) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_have_the_places_of_their_patterns(language):
    def places(text):
        return sorted((name, spec, kind or "") for _, name, spec, kind in string.Formatter().parse(text) if name)

    for text, translation in LANGUAGES[language].items():
        assert translation.strip() == translation != ""
        if "{" in text:
            assert places(translation) == places(text), text


def test_texts_with_values_are_not_put_together_where_nobody_can_translate_them():
    found = [
        f"{file}:{call.lineno}"
        for file, call in calls()
        for argument in shown_arguments(call)
        if isinstance(argument, ast.JoinedStr)
        and any(isinstance(part, ast.Constant) and any(map(str.isalpha, part.value)) for part in argument.values)
    ]
    assert found == []


def test_the_stages_are_those_of_the_servers_side():
    from gvf_core.pipeline import STAGES

    assert {name for stages in STAGES.values() for name in stages} == set(SERVER_STAGES)


@pytest.fixture
def german(addon, monkeypatch):
    """The interface in German, also where Blender is built without languages."""
    texts = LANGUAGES["de_DE"]
    monkeypatch.setattr(translate, "_look_up", lambda text, context: texts.get(text, text))


def test_values_are_filled_in_after_the_translation(german):
    assert translated("Jobs") == "Aufträge"
    assert translated("Cancelled {title}.", title="Cube {0}") == "Cube {0} abgebrochen."
    assert translated(time_left(61)) == "noch etwa 65 s"
    text = Sentence("{stage}, {left}", stage=SERVER_STAGES[0], left=time_left(61))
    assert text == "Reading the video, about 65 s left"
    assert translated(text) == "Video wird gelesen, noch etwa 65 s"
    error = FileError(Sentence("The video {path} is empty.", path="{a}"), "Choose a video file with content.")
    assert str(error) == error.text == "The video {a} is empty. Choose a video file with content."
    assert translated(error.text).startswith("Das Video {a} ist leer. ")
    assert translated("What nobody translated") == "What nobody translated"


def test_a_panel_speaks_the_language(german):
    from types import SimpleNamespace

    layout = RecordingLayout()
    bpy.types.GVF_PT_animate.draw(SimpleNamespace(layout=layout), panel_context())
    assert "Kein Objekt ist ausgewählt." in layout.texts()


def test_why_there_is_no_server_is_told_in_the_language(german):
    from types import SimpleNamespace

    layout = RecordingLayout()
    bpy.types.GVF_PT_server.draw(SimpleNamespace(layout=layout), panel_context())
    assert "Kein Server läuft" in layout.texts()


def test_no_section_is_titled_with_another_meaning_of_its_word(addon):
    """Blender's own translations would come first: its German "Diffusion" is how smoke spreads."""
    from gvf_blender import ui

    for panel in ui.CLASSES:
        assert panel.bl_rna.translation_context == CONTEXT
        assert all(panel.bl_label in texts for texts in LANGUAGES.values())


def test_no_property_is_named_with_another_meaning_of_its_word(addon):
    """Blender's own would come first here, too: the quality "Fast" would be its German "Einfügen"."""
    operators = [getattr(bpy.ops.gvf, name).get_rna_type() for name in dir(bpy.ops.gvf)]
    thing = bpy.data.objects.new("Object", None)
    groups = [bpy.context.scene.gvf.bl_rna, thing.gvf.bl_rna, GVFPreferences.bl_rna, GVFDefaults.bl_rna]
    found = [one for owner in (*groups, *operators) for one in owner.properties if one.is_runtime and one.name]
    named = [one for one in found if one.type not in ("POINTER", "COLLECTION") and one.name in LANGUAGES["de_DE"]]
    assert "Quality" in {one.name for one in named}
    # Every group has a name of Blender's own, which its translation is for.
    assert {one.name for one in named if one.translation_context != CONTEXT and one.identifier != "name"} == set()


def test_wide_letters_are_wrapped_earlier(addon):
    from gvf_blender.ui.text import draw_sentence

    layout = RecordingLayout()
    draw_sentence(layout, panel_context(width=280), "動" * 100)
    assert max(len(text) for _, text, _ in layout.record) <= 17


def test_blender_looks_them_up(addon):
    """Also that the languages are called what Blender calls them."""
    if not bpy.app.build_options.international:
        pytest.skip("this bpy module is built without languages")
    view = bpy.context.preferences.view
    assert LANGUAGES.keys() <= set(bpy.app.translations.locales)
    try:
        for language, texts in LANGUAGES.items():
            view.language = language
            text = "Make the selected objects move like the driving video"
            assert bpy.app.translations.pgettext_iface(text) == translated(text) == texts[text]
            assert bpy.app.translations.pgettext_iface("Show Video Over Asset", "Operator") != "Show Video Over Asset"
    finally:
        view.language = "DEFAULT"


def test_the_languages_are_called_what_blender_calls_them():
    """By the list of Blender's own scripts, which a module without languages has, too."""
    (path,) = Path(bpy.utils.system_resource("SCRIPTS")).glob("modules/*bl_i18n_utils/settings.py")
    (codes,) = (
        {item.elts[2].value for item in node.value.elts}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "LANGUAGES"
    )
    assert LANGUAGES.keys() <= codes
