"""What is to be evaluated on one clip, and the figures of earlier runs that need not be made again."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import gvf_core
from gvf_core.errors import FileNotWrittenError
from gvf_core.evaluation.clip_choice import ClipChoice
from gvf_core.settings import AnimateSettings, EngineName

REVISION = 2
"""Raised when figures change their meaning, so that kept results of an earlier one are made again."""
UNMOVED, RIGID, FLAT = "unmoved", "rigid-only", "rest-depth"
STATIC = "static"
"""Another name of `UNMOVED`."""
REFINED = "diffusion+refine"
REFINE_SECONDS = 60.0
"""How long `REFINED` polishes where the settings do not say."""
BETWEEN_FILMS = 90.0
BASELINES = {UNMOVED: "unmoved", RIGID: "rigid-only (oracle)", FLAT: "rest-depth (oracle)"}
"""Rows beside the engines. The others know the truth: the best that any rigid motion can do, and every pixel right but
no depth, hidden points included."""


@dataclass(frozen=True)
class ProtocolOptions:
    """What decides the task that engines are given.

    Attributes:
        azimuth: Of the film in degrees; 0 is Blender's front view.
        elevation: Of the film in degrees.
        fov: Of the film in degrees.
        size: Width and height of the film and of all pictures in pixels.
        films: Number of synchronised films; each further one is taken `BETWEEN_FILMS` degrees to the side.
        frames: Length of the film.
        seconds: It shows at most so much of a clip.
        views: Views in the capture.
        view_size: Their width and height in pixels.
        cycles: Whether the film is rendered in Blender with light and shadow, instead of from Gaussians.
        gaussians: How many carry the truth.
        picture_size: Width and height in pixels of the pictures from other sides that are compared; 0 leaves that out.
        seed: Of the points and Gaussians that the truth is measured with.
    """

    azimuth: float = 45.0
    elevation: float = 15.0
    fov: float = 49.1
    size: int = 256
    films: int = 1
    frames: int = 16
    seconds: float = 1.3
    views: int = 24
    view_size: int = 512
    cycles: bool = False
    gaussians: int = 20_000
    picture_size: int = 512
    seed: int = 0


@dataclass(frozen=True)
class ClipTask:
    """A clip, the engines to try on it, and where to keep what comes out.

    Attributes:
        choice: The clip.
        engines: Names of engines and baselines.
        options: Of the protocol.
        settings: Of the engines; name, view and length of the film are set here.
        folder: Results go there.
        asset_sha256: Of the asset's file.
        replaceable: Whether another clip may take the place of one that hardly moves.
        weights: What tells apart the networks' weights that an engine uses, by its name; none of those that use none.
        judges: What tells the networks apart that compare pictures.
    """

    choice: ClipChoice
    engines: tuple[str, ...]
    options: ProtocolOptions
    settings: AnimateSettings
    folder: Path
    asset_sha256: str
    replaceable: bool = True
    weights: Mapping[str, str] = field(default_factory=dict)
    judges: str = ""

    @property
    def slug(self) -> str:
        """Name of its files."""
        # Two clips must not share files: the byte between the names is one that neither can hold.
        name = f"{self.choice.asset.name}\0{self.choice.clip}"
        readable = "".join(char if char.isalnum() else "-" for char in name)[:80]
        return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"

    def label(self, engine: str) -> dict[str, Any]:
        """What a row begins with."""
        asset = self.choice.asset
        about = {"engine": engine, "asset": asset.name, "clip": self.choice.clip}
        return {**about, "family": asset.family, "category": asset.category}

    def result_file(self, engine: str) -> Path:
        """Where the figures of one engine are kept."""
        return self.folder / "clips" / f"{self.slug}.{engine}.json"

    def words_file(self, engine: str) -> Path:
        """Where what I3D says of the videos is kept."""
        return self.folder / "clips" / f"{self.slug}.{engine}.videos.safetensors"

    def input_key(self) -> str:
        """What the inputs depend on."""
        taken = ("frames", "seconds", "views", "view_size")
        options = {name: getattr(self.options, name) for name in taken}
        what = {"asset": self.asset_sha256, "clip": self.choice.clip, "options": options}
        return _digest(what | {"version": gvf_core.__version__})

    def result_key(self, engine: str) -> str:
        """What the figures of one engine depend on."""
        what = {"inputs": self.input_key(), "options": dataclasses.asdict(self.options), "revision": REVISION}
        what |= {"settings": dataclasses.asdict(self.settings), "engine": engine, "version": gvf_core.__version__}
        return _digest(what | {"weights": self.weights.get(engine, ""), "judges": self.judges})

    def kept(self, engine: str) -> dict[str, Any] | None:
        """The row of an earlier run with the same inputs and settings, or the failure of this one."""
        try:
            stored = json.loads(self.result_file(engine).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(stored, dict) or stored.get("key") != self.result_key(engine):
            return None
        # The table of families may be another one by now.
        return stored["row"] | self.label(engine)

    def is_measured(self, engine: str) -> bool:
        """Whether there are figures; what failed is tried again, as a full disk or memory may have been to blame."""
        row = self.kept(engine)
        return row is not None and "failure" not in row

    def forget(self, engine: str) -> None:
        """Remove what is kept of one engine, so that a run that is stopped leaves no mixture of old and new."""
        self.result_file(engine).unlink(missing_ok=True)
        self.words_file(engine).unlink(missing_ok=True)

    def keep(self, engine: str, row: dict[str, Any]) -> None:
        """Store the row of one engine; the file appears complete or not at all.

        Raises:
            FileNotWrittenError: For example because the disk is full.
        """
        path = self.result_file(engine)
        partial = path.with_name(path.name + ".partial")
        stored = {"key": self.result_key(engine), "row": row}
        try:
            partial.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise FileNotWrittenError(f"{path} could not be written ({error}).", "Free some disk space.") from error


def engine_settings(engine: str, settings: AnimateSettings) -> AnimateSettings:
    """The settings with which a row of the table is made; not for baselines, which use none."""
    if engine == REFINED:
        return dataclasses.replace(
            settings, engine="diffusion", refine_seconds=settings.refine_seconds or REFINE_SECONDS
        )
    return dataclasses.replace(settings, engine=cast(EngineName, engine))


def _digest(what: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
