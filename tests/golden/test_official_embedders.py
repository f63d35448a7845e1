"""Embeddings of positions and times give the official numbers."""

import re

import pytest
import torch

from gvf_core.models.embedders import PointEmbedder, position_embedding, timestep_embedding
from tests.golden.golden_case import assert_equal_to, load_case, rounds_as_recorded


def named(case, pattern: str) -> list[tuple[str, int]]:
    """Outputs of a kind, and the width that each name ends in."""
    found = [(name, re.fullmatch(pattern, name)) for name in case.tensors]
    return [(name, int(match[1])) for name, match in found if match]


@pytest.mark.parametrize(
    ("pattern", "source"), [(r"out\.dit_ape_(\d+)", "in.xyz"), (r"out\.sparse_ape_(\d+)", "in.coords")]
)
def test_positions(pattern, source):
    case = load_case("embedders")
    outputs = named(case, pattern)
    assert outputs
    for name, width in outputs:
        assert_equal_to(position_embedding(case[source], width), case[name], 1e-5, name)


def test_points():
    case = load_case("embedders")
    outputs = named(case, r"out\.point_embed_(\d+)")
    assert outputs
    for name, width in outputs:
        embedder = PointEmbedder(width)
        assert_equal_to(embedder.omega, case[f"out.point_embed_omega_{width}"], 1e-12, name)
        assert_equal_to(embedder(case["in.xyz"]), case[name], 1e-5, name)
    for name, width in named(case, r"out\.point_embed_ln_(\d+)"):
        normalized = torch.nn.functional.layer_norm(PointEmbedder(width)(case["in.xyz"]), (width,))
        assert_equal_to(normalized, case[name], 1e-5, name)


def test_times():
    case = load_case("embedders")
    outputs = named(case, r"out\.timestep_(\d+)")
    assert outputs
    # The last bit of a frequency, which differs between processors, is 6e-5 of a phase of 1000.
    tolerance = 1e-5 if rounds_as_recorded() else 1e-4
    for name, width in outputs:
        assert_equal_to(timestep_embedding(case["in.t"], width), case[name], tolerance, name)
