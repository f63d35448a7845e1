"""Metrics have the values that their formulas say."""

import importlib.util

import numpy as np
import pytest
import torch
import trimesh
from scipy.stats import ortho_group
from weight_files import one_thread

from gvf_core.evaluation.frechet import frechet_distance, single_video_distance
from gvf_core.evaluation.geometry_metrics import (
    chamfer,
    chamfer_3d,
    chamfer_4d,
    chamfer_motion,
    drift,
    geometry_errors,
    vertex_error,
)
from gvf_core.evaluation.image_metrics import BEST_PSNR, data_range_of, peak_signal_to_noise, structural_similarity
from gvf_core.evaluation.judges import Judges, absent_metrics, for_clip, installed_judges, judge_key, video_features
from gvf_core.evaluation.motion_metrics import jerk
from gvf_core.evaluation.picture_scores import (
    SCORES,
    SCRIPT_SCORES,
    VideoWords,
    load_words,
    save_words,
    score_views,
    video_distance_of_all,
)
from gvf_core.geometry import matrix_from_rotation_vector
from gvf_core.models.perceptual import PerceptualDistance
from gvf_core.models.store import Store
from gvf_core.models.video_features import VideoFeatureParams, VideoFeatures

needs_torchmetrics = pytest.mark.skipif(
    importlib.util.find_spec("torchmetrics") is None, reason="needs the extra evaluate"
)


@pytest.fixture(autouse=True)
def _seeded():
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def bar():
    box = trimesh.creation.box((1.0, 0.4, 0.2)).subdivide()
    return np.asarray(box.vertices, np.float64), np.asarray(box.faces, np.int32)


def small_judges() -> Judges:
    embed = torch.nn.Linear(3 * 224 * 224, 4)
    perceptual = PerceptualDistance((2, 2, 2, 2, 2))
    return Judges(perceptual, lambda pictures: embed(pictures.flatten(1)), VideoFeatures(VideoFeatureParams(8, 16)))


# Fréchet distances


def with_moments(rng, mean, covariance, count=500):
    """Samples whose mean and covariance are exactly these."""
    samples = rng.standard_normal((count, len(mean)))
    samples -= samples.mean(axis=0)
    whitened = samples @ np.linalg.inv(np.linalg.cholesky(np.cov(samples, rowvar=False))).T
    return mean + whitened @ np.linalg.cholesky(covariance).T


def test_the_distance_of_normal_distributions_with_common_axes_has_a_closed_form(rng):
    axes = ortho_group.rvs(3, random_state=1)
    deviations = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.5, 0.5])
    first, second = (axes @ np.diag(d**2) @ axes.T for d in deviations)
    found = with_moments(rng, np.zeros(3), first)
    true = with_moments(rng, np.array([0.5, -1.0, 2.0]), second)
    expected = 0.25 + 1 + 4 + np.square(deviations[0] - deviations[1]).sum()
    assert frechet_distance(found, true) == pytest.approx(expected, rel=1e-9)


@needs_torchmetrics
def test_the_distance_is_that_of_torchmetrics_for_any_axes(rng):
    from torchmetrics.image.fid import _compute_fid

    found, true = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 5)), rng.standard_normal((80, 5)) + 1
    moments = [(torch.tensor(part.mean(axis=0)), torch.tensor(np.cov(part, rowvar=False))) for part in (found, true)]
    expected = float(_compute_fid(*moments[0], *moments[1]))
    assert frechet_distance(found, true) == pytest.approx(expected, rel=1e-6)


def test_fewer_videos_than_features_have_a_distance_and_one_video_has_none(rng):
    few = rng.standard_normal((4, 50))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(few, few + 0.1) == pytest.approx(0.5)
    assert frechet_distance(few[:1], few) is None


def test_the_distance_of_one_video_is_what_consistent4d_calls_fvd(rng):
    found, true = rng.standard_normal((2, 400))
    # Its script in numpy 1: covariances of single rows are numbers.
    variances = [float(np.cov(row[None], rowvar=False)) for row in (found, true)]
    expected = np.square(found - true).sum() + sum(variances) - 2 * np.sqrt(variances[0] * variances[1])
    assert single_video_distance(found, true) == pytest.approx(expected)


# Pictures


@needs_torchmetrics
def test_psnr_is_that_of_torchmetrics():
    from torchmetrics.functional.image import peak_signal_noise_ratio

    pictures, references = torch.rand(2, 3, 3, 20, 24)
    expected = torch.stack(
        [peak_signal_noise_ratio(*pair, data_range=1.0) for pair in zip(pictures, references, strict=True)]
    )
    torch.testing.assert_close(peak_signal_to_noise(pictures, references), expected)


@needs_torchmetrics
def test_equal_pictures_have_ssim_1_and_inverted_noise_has_less_than_none():
    picture = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(structural_similarity(picture, picture), torch.ones(2))
    assert (structural_similarity(picture, 1 - picture) < 0).all()


@needs_torchmetrics
def test_ssim_of_constant_pictures_is_the_term_of_their_means():
    first, second = (torch.full((1, 3, 24, 24), value) for value in (0.25, 0.75))
    expected = (2 * 0.25 * 0.75 + 0.01**2) / (0.25**2 + 0.75**2 + 0.01**2)
    assert float(structural_similarity(first, second)) == pytest.approx(expected, rel=1e-3)


@needs_torchmetrics
@pytest.mark.parametrize("place", [(0, 0), (20, 14), (50, 38), (3, 30)])
@pytest.mark.parametrize("data_range", [1.0, None])
def test_ssim_of_pictures_that_differ_in_places_is_that_of_torchmetrics(place, data_range):
    from torchmetrics.functional.image import structural_similarity_index_measure

    reference = torch.rand(1, 3, 64, 48, dtype=torch.float64)
    picture = reference.clone()
    picture[..., place[0] : place[0] + 12, place[1] : place[1] + 9] *= 0.4
    expected = structural_similarity_index_measure(picture, reference, data_range=data_range)
    assert float(expected) < 0.99
    assert float(structural_similarity(picture, reference, data_range)) == pytest.approx(float(expected), abs=1e-12)


@needs_torchmetrics
def test_scores_are_means_over_frames_and_views():
    true = torch.full((9, 3, 32, 32), 0.5)
    true[:, :, 0] = 1.0
    errors = [0.1, 0.01]
    scores = score_views(((true - error, true) for error in errors), small_judges(), (*SCORES, *SCRIPT_SCORES))
    assert scores.values["psnr"] == pytest.approx((20 + 40) / 2, abs=1e-3)
    # The values of the true pictures reach from 0.5 to 1.
    assert scores.values["psnr_of_data_range"] == pytest.approx(30 - 20 * np.log10(2), abs=1e-3)
    assert all(scores.values[name] is not None for name in ("ssim", "lpips", "clip", "single_video_distance"))
    assert scores.absent == {} and scores.words.found.shape == (2, 8)


@needs_torchmetrics
def test_the_truth_scores_best():
    true = torch.rand(9, 3, 32, 32)
    scores = score_views([(true, true)], small_judges())
    assert scores.values["psnr"] == BEST_PSNR
    assert scores.values["ssim"] == pytest.approx(1)
    assert (scores.values["lpips"], scores.values["single_video_distance"]) == (0, 0)
    assert scores.values["clip"] == pytest.approx(1)


def test_metrics_without_weights_are_absent_and_say_why(tmp_path):
    judges = installed_judges(Store(tmp_path))
    assert judges.absent == absent_metrics(Store(tmp_path))
    scores = score_views([(torch.zeros(9, 3, 32, 32), torch.ones(9, 3, 32, 32))], judges)
    assert [scores.values[name] for name in ("lpips", "clip", "single_video_distance")] == [None] * 3
    assert scores.values["psnr"] == pytest.approx(0)
    assert "gvf models download vgg16" in scores.absent["lpips"]
    assert scores.absent["fvd"] == scores.absent["single_video_distance"] != ""
    assert scores.words is None


def test_short_videos_have_no_video_distance_and_say_why():
    scores = score_views([(torch.zeros(3, 3, 32, 32), torch.ones(3, 3, 32, 32))], small_judges())
    assert scores.values["single_video_distance"] is None
    assert "3 frames is too short" in scores.absent["fvd"]


def test_installed_weights_are_used_and_change_the_key(tmp_path):
    store = Store(tmp_path / "models")
    path = tmp_path / "vgg.pth"
    state = PerceptualDistance().state_dict()
    torch.save({name: value for name, value in state.items() if name.startswith("features")}, path)
    before = judge_key(store)
    store.install("vgg16", [path])
    assert judge_key(store) != before
    if importlib.util.find_spec("torchmetrics") is None:
        assert "lpips" in installed_judges(store).absent
    else:
        judges = installed_judges(store)
        assert judges.perceptual is not None and "lpips" not in judges.absent
        assert judges.weights["vgg16"]["origin"] == "user" and len(judges.weights["vgg16"]["sha256"][0]) == 64


def test_clip_sees_standardised_pictures_of_its_size():
    seen = for_clip(torch.full((2, 3, 512, 512), 0.5))
    assert seen.shape == (2, 3, 224, 224)
    torch.testing.assert_close(seen[0, :, 100, 100], torch.tensor([0.0690, 0.1614, 0.3328]), atol=1e-3, rtol=0)


def test_i3d_is_given_the_frames_in_their_order_between_minus_1_and_1():
    given = []
    pictures = torch.arange(9.0)[:, None, None, None].expand(9, 3, 8, 8) / 8
    video_features(lambda video: given.append(video) or torch.zeros(1, 4), pictures)
    assert given[0].shape == (1, 3, 9, 224, 224)
    torch.testing.assert_close(given[0][0, 1, :, 100, 100], torch.linspace(-1, 1, 9))


def test_what_i3d_said_is_kept_and_compared_over_all_clips(tmp_path, rng):
    true = rng.standard_normal((2, 4, 6)).astype(np.float32)
    clips = []
    for index, part in enumerate(true):
        path = tmp_path / f"{index}.safetensors"
        save_words(path, VideoWords(part + 1, part))
        clips.append(load_words(path))
    assert video_distance_of_all(clips) == pytest.approx(6, rel=1e-4)
    assert load_words(tmp_path / "none") is None and video_distance_of_all([]) is None


def test_the_range_of_a_picture_is_from_its_least_to_its_largest_value():
    pictures = torch.tensor([[[[0.25, 0.75]]], [[[0.5, 0.5]]]])
    assert data_range_of(pictures).tolist() == [0.5, 0]


# Geometry


def shifts(vertices: np.ndarray, *steps: tuple[float, float, float]) -> np.ndarray:
    """The vertices at rest, then moved by each step."""
    return np.stack([vertices, *(vertices + step for step in steps)])


def test_the_truth_has_no_errors(bar, rng):
    vertices, triangles = bar
    truth = shifts(vertices, (0.1, 0, 0), (0.2, 0.1, 0))
    errors = geometry_errors(truth, truth, triangles, rng, 500)
    assert (errors.vertex_error, errors.cd_3d, errors.cd_4d, errors.cd_m, errors.drift) == (0, 0, 0, 0, [0, 0])


def test_a_shift_has_the_error_of_its_length_over_the_diagonal_and_a_drift_by_frame(bar, rng):
    vertices, triangles = bar
    truth = np.stack([vertices] * 3)
    moved = shifts(vertices, (0.1, 0, 0), (0, 0.3, 0))
    errors = geometry_errors(moved, truth, triangles, rng, 500)
    assert errors.vertex_error == pytest.approx(0.2 / np.sqrt(1 + 0.16 + 0.04))
    assert errors.drift == pytest.approx([0.1, 0.3])
    assert errors.cd_m == pytest.approx(2 * (0.1 + 0.3) / 3)


def test_the_chamfer_distance_of_far_clouds_is_what_one_counts_by_hand():
    found, true = np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([[0.0, 0, 1]])
    assert chamfer(found, true) == pytest.approx(1 + (1 + np.sqrt(2)) / 2)


def test_points_that_slide_along_the_surface_are_seen_by_cd_m_alone(rng):
    turn = matrix_from_rotation_vector(np.array([[0, 0, np.pi / 2]]))[0]
    corners = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    true, found = np.stack([corners, corners]), np.stack([corners, corners @ turn.T])
    assert chamfer_4d(found, true) == pytest.approx(0, abs=1e-9)
    assert chamfer_motion(found, true) == pytest.approx(np.sqrt(2))


def test_cd_3d_forgives_the_place_and_cd_4d_does_not(bar, rng):
    vertices, triangles = bar
    turn = matrix_from_rotation_vector(np.array([[0, 0, 0.1]]))[0]
    truth = np.stack([vertices, vertices @ turn.T + [0.03, 0.02, 0]])
    errors = geometry_errors(np.stack([vertices] * 2), truth, triangles, rng, 2000)
    assert errors.cd_3d < 0.3 * errors.cd_4d
    bent = np.stack([vertices, vertices * [1, 1, 2]])
    shapes = geometry_errors(np.stack([vertices] * 2), bent, triangles, rng, 2000)
    assert 0.02 < shapes.cd_3d <= shapes.cd_4d


def test_alignment_never_makes_it_worse(rng):
    found, true = rng.standard_normal((3, 60, 3)), rng.standard_normal((3, 60, 3))
    assert chamfer_3d(found, true) <= chamfer_4d(found, true)


def test_quadratic_motion_has_no_jerk_and_cubic_motion_has_six_times_its_factor(rng):
    frames = np.arange(8.0)[:, None, None]
    direction = np.array([[[0.6, 0.0, 0.8]]])
    assert jerk(frames**2 * direction) == pytest.approx(0, abs=1e-9)
    assert jerk(0.5 * frames**3 * direction) == pytest.approx(3)


def test_vertex_error_does_not_depend_on_the_size(bar):
    vertices, _ = bar
    truth, moved = np.stack([vertices, vertices]), shifts(vertices, (0.1, 0, 0))
    assert vertex_error(3 * moved, 3 * truth) == pytest.approx(vertex_error(moved, truth))
    assert drift(3 * moved, 3 * truth) == pytest.approx([0.3])
