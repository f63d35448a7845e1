"""Which scene object a range of captured vertices came from: what a result needs to find its way back."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SourceObject:
    """One captured object.

    Attributes:
        name: Name of the object in the .blend file at capture time.
        matrix_world: Object-local to world at capture time, float64 [4, 4], metres.
        vertex_start: Its first vertex in the capture.
        vertex_count: How many evaluated vertices it has there.
        is_instance: The vertices belong to an instance (collection instance, Geometry Nodes), which no
            single object's mesh can carry.
        mark: What tells the object from all others whatever it is called now (`source_marks`); empty if nothing does.
    """

    name: str
    matrix_world: np.ndarray
    vertex_start: int
    vertex_count: int
    is_instance: bool
    mark: str = ""
