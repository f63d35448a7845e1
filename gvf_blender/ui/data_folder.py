"""Where data goes, whether it can be written there, and what stays elsewhere: in the preferences."""

import os

import bpy

from ..core.sentence import Sentence
from ..user_folder import chosen_folder, data_places, left_behind, write_obstacle
from .text import draw_sentence

# By the fields of `DataPlaces`.
_KINDS = {
    "environment": Sentence("Server environment, used while Python names it"),
    "models": Sentence("Weights, which a server with the present folder does not see"),
    "results": Sentence("Results that wait for their import"),
    "tracks": Sentence("Tracks of unsaved files, which link to them"),
    "start_frames": Sentence("Start frames"),
    "jobs": Sentence("Jobs of the server, to be taken up once that folder is chosen again"),
}


def draw_places(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw it below the name of the folder."""
    places = data_places()
    if chosen_folder() is None:
        text = (
            "Usual places: {places.home}, for the server environment {places.environment}, for weights {places.models}"
        )
        draw_sentence(layout, context, Sentence(text, places=places))
        if os.environ.get("GVF_HOME"):
            text = "The environment variable GVF_HOME names the folder, so no Data Folder is used."
            draw_sentence(layout, context, text, icon="INFO")
    obstacle = write_obstacle(places.home)
    if obstacle is not None:
        draw_sentence(layout, context, obstacle, icon="ERROR")
    left = list(left_behind())
    if left:
        draw_sentence(layout, context, "What is at an earlier place stays there:", icon="INFO")
    for kind, place in left:
        draw_sentence(layout, context, Sentence("{kind}: {path}", kind=_KINDS[kind], path=place), icon="BLANK1")
