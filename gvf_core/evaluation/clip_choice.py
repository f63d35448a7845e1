"""Which clips to evaluate: drawn by a seed, spread over kinds of assets before two of a kind are taken."""

import csv
import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gvf_core.errors import FileFormatError, GvfError, SettingsError

LOGGER = logging.getLogger(__name__)

SUFFIXES = (".glb", ".gltf", ".fbx", ".usd", ".usda", ".usdc", ".usdz", ".abc", ".blend")
"""Files that can hold animation."""


@dataclass(frozen=True)
class AnimatedAsset:
    """A file with animation in it.

    Attributes:
        path: The file.
        name: Its path below the folder without suffix; with it where two would be called the same.
        family: Assets of one family are alike (one skeleton, one artist's set); by default each is its own.
        category: What kind of thing it is; empty if nothing says so.
    """

    path: Path
    name: str
    family: str
    category: str = ""


@dataclass(frozen=True)
class ClipChoice:
    """A clip to evaluate.

    Attributes:
        asset: Whose.
        clip: Its name.
    """

    asset: AnimatedAsset
    clip: str


def find_assets(source: Path, suffixes: Sequence[str] = SUFFIXES) -> tuple[AnimatedAsset, ...]:
    """All animated files of a folder and the folders in it, or one file.

    Families and categories come from a table of the folder's name beside it (`animated.csv` beside `animated/`) with
    the columns name, family and category, if there is one.

    Args:
        source: The folder or file.
        suffixes: Kinds of files to look for.

    Raises:
        FileFormatError: There are none.
    """
    folder = source if source.is_dir() else source.parent
    found = source.rglob("*") if source.is_dir() else [source]
    paths = sorted(path for path in found if path.suffix.lower() in suffixes and path.is_file())
    if not paths:
        kinds = ", ".join(suffixes)
        raise FileFormatError(f"There is no animated file in {source}.", f"Name a folder or file; kinds: {kinds}.")
    table = _table(folder)
    names = [_shown(path.relative_to(folder).with_suffix("")) for path in paths]
    times = Counter(names)
    assets = []
    for path, name in zip(paths, names, strict=True):
        unique = name if times[name] == 1 else _shown(path.relative_to(folder))
        row = table.get(name, {})
        assets.append(AnimatedAsset(path, unique, row.get("family") or unique, row.get("category") or ""))
    return tuple(assets)


def drawn_clips(
    assets: Sequence[AnimatedAsset], clips_of: Callable[[AnimatedAsset], Sequence[str]], seed: int
) -> Iterator[ClipChoice]:
    """Every clip once, in an order that depends on the seed alone and can be cut off anywhere.

    Categories take turns, and in each of them families, and in each of those assets: the second clip of a family comes
    after all families had their first.

    Args:
        assets: To draw from.
        clips_of: Names of the clips of an asset; asked only for assets whose turn it is.
        seed: Of the order.

    Raises:
        SettingsError: No asset can be opened, for example because there is no Blender.
    """
    families = [
        _in_turn([_clips_of_asset(asset, clips_of, seed) for asset in family])
        for family in _families_in_turn(assets, seed)
    ]
    yield from _in_turn(families)


def named_clips(assets: Sequence[AnimatedAsset], names: Sequence[str]) -> tuple[ClipChoice, ...]:
    """Clips given as "asset:clip", each once.

    Raises:
        FileFormatError: There is no such asset.
    """
    known = {asset.name: asset for asset in assets}
    choices = []
    for name in dict.fromkeys(names):
        asset, colon, clip = name.partition(":")
        if not colon or asset not in known:
            raise FileFormatError(
                f"{name!r} names no clip of an asset.", f"Write ASSET:CLIP with one of the assets {', '.join(known)}."
            )
        choices.append(ClipChoice(known[asset], clip))
    return tuple(choices)


def _table(folder: Path) -> dict[str, dict[str, str]]:
    path = folder.with_name(folder.resolve().name + ".csv") if folder.name else Path()
    return read_asset_table(path) if path.is_file() else {}


def read_asset_table(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a CSV file with the columns name, family and category, by name.

    Raises:
        FileFormatError: It is none, or tells no names.
    """
    try:
        # Spreadsheets put a mark before the first name, which is part of it without -sig.
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {row["name"]: row for row in csv.DictReader(file)}
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise FileFormatError(
            f"{path} is no table of assets ({error!r}).", "It needs the columns name, family and category."
        ) from error


def _families_in_turn(assets: Sequence[AnimatedAsset], seed: int) -> list[list[AnimatedAsset]]:
    rng = np.random.default_rng(seed)
    families: dict[str, list[AnimatedAsset]] = {}
    for asset in assets:
        families.setdefault(asset.family, []).append(asset)
    categories: dict[str, list[list[AnimatedAsset]]] = {}
    for members in families.values():
        categories.setdefault(members[0].category, []).append([members[i] for i in rng.permutation(len(members))])
    shuffled = [[group[i] for i in rng.permutation(len(group))] for _, group in sorted(categories.items())]
    turns = itertools.zip_longest(*(shuffled[i] for i in rng.permutation(len(shuffled))))
    return [family for turn in turns for family in turn if family is not None]


def _in_turn(sources: Sequence[Iterator[ClipChoice]]) -> Iterator[ClipChoice]:
    """One of each source after the other until all are empty."""
    waiting = list(sources)
    while waiting:
        again = []
        for source in waiting:
            choice = next(source, None)
            if choice is not None:
                again.append(source)
                yield choice
        waiting = again


def _shown(path: Path) -> str:
    """A path with a question mark for what is no text, so that reports can be written."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def _clips_of_asset(
    asset: AnimatedAsset, clips_of: Callable[[AnimatedAsset], Sequence[str]], seed: int
) -> Iterator[ClipChoice]:
    try:
        clips = sorted(clips_of(asset))
    except SettingsError:
        raise
    except GvfError as error:
        LOGGER.warning("%s is passed over: %s", asset.name, error)
        return
    # A generator of its own, so that an asset's order does not depend on which others there are.
    order = np.random.default_rng([seed, *asset.name.encode()]).permutation(len(clips))
    yield from (ClipChoice(asset, clips[i]) for i in order)
