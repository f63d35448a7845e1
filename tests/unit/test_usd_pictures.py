"""The containers of USD files, as far as pictures need them; that Blender reads the result is tested with Blender."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvf_blender.core.usd_pictures import _packed, _unpacked, look_for_pictures_in


@given(st.binary(max_size=600))
def test_what_is_packed_comes_back(content):
    assert _unpacked(_packed(content)) == content


def test_repeated_bytes_may_overlap_with_themselves():
    # "ab", then 2 back for 4 + 15 + 3 bytes, then "c".
    assert _unpacked(b"\x2fab\x02\x00\x03" + b"\x10c") == b"ab" * 12 + b"c"


def test_only_the_paths_of_pictures_change_in_a_text(tmp_path):
    path = tmp_path / "a.usda"
    path.write_bytes(b'#usda 1.0\nasset a = @./textures/x y.png@\nstring b = "./textures/x.png"\nasset c = @./other@\n')
    look_for_pictures_in(path, "n@w")
    assert path.read_bytes() == (
        b'#usda 1.0\nasset a = @@@./n@w/x y.png@@@\nstring b = "./textures/x.png"\nasset c = @./other@\n'
    )
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", [8, 40, 100])
def test_a_crate_that_ends_early_is_refused(tmp_path, size):
    path = tmp_path / "a.usdc"
    path.write_bytes(b"PXR-USDC".ljust(16, b"\0") + (88).to_bytes(8, "little").ljust(100, b"\0"))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="no crate"):
        look_for_pictures_in(path, "pictures")
