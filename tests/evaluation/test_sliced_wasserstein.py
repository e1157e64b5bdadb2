"""Sliced Wasserstein distance against SciPy and POT, its pyramid, and its floor."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import sliced_wasserstein as swd


def stream(seed=0):
    return np.random.RandomState(seed)


def pictures(count=6, side=32, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)


def clouds(n=200, d=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), 0.7 * rng.normal(size=(n, d)) + 0.3


@pytest.mark.parametrize("shape", [(2, 128, 128, 3), (2, 32, 64, 1)])
def test_a_pyramid_gives_its_images_back_exactly_and_leaves_them_alone(shape):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float64)
    before = images.copy()
    bands = swd.pyramid(images, len(swd.level_sizes(shape[1:3])))
    assert len(bands) == (4 if shape[1] == 128 else 2)
    np.testing.assert_array_equal(swd.reconstruct(bands), before)
    np.testing.assert_array_equal(images, before)


def test_the_pyramid_does_not_change_single_precision_images_in_place():
    """The authors' code does."""
    images = pictures().astype(np.float32)
    before = images.copy()
    bands = swd.pyramid(images, 2)
    np.testing.assert_array_equal(images, before)
    assert all(not np.shares_memory(band, images) for band in bands)


def test_images_are_halved_and_doubled_as_by_scipy_with_the_5x5_binomial_and_mirrored_borders():
    images = pictures(2, 20).astype(np.float64)
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, :, :, None] / 256
    blurred = scipy.ndimage.convolve(images, kernel, mode="mirror")
    np.testing.assert_allclose(swd.down(images), blurred[:, ::2, ::2], rtol=1e-14)
    zeros = np.zeros((2, 40, 40, 3))
    zeros[:, ::2, ::2] = images
    np.testing.assert_allclose(swd.up(images), scipy.ndimage.convolve(zeros, 4 * kernel, mode="mirror"), rtol=1e-14)


def test_all_but_the_last_level_of_a_constant_image_are_zero():
    *bands, last = swd.pyramid(np.full((1, 64, 64, 1), 77.0), 3)
    assert all((band == 0).all() for band in bands) and (last == 77).all()


@pytest.mark.parametrize(
    "size,expected",
    [
        ((128, 128), [128, 64, 32, 16]),
        ((28, 28), [28]),
        ((32, 32), [32, 16]),
        ((31, 31), [31]),
        ((100, 64), [100, 50, 25]),
        ((90, 90), [90, 45]),
        ((8, 8), [8]),
    ],
)
def test_levels_halve_while_both_sides_are_even_and_stay_at_16_pixels_at_least(size, expected):
    assert [height for height, _ in swd.level_sizes(size)] == expected


def test_a_descriptor_is_a_patch_of_the_level_at_a_place_of_its_own():
    images = pictures(5, 64, seed=1)
    for level, band in enumerate(swd.pyramid(images.astype(np.float64), 3)):
        found = swd.descriptors(images, level, stream(), patches=9).reshape(5, 9, 7, 7, 3)
        windows = np.lib.stride_tricks.sliding_window_view(band.astype(np.float32), (7, 7), axis=(1, 2))
        places = set()
        for image in range(5):
            for patch in found[image]:
                same = (np.moveaxis(windows[image], 2, -1) == patch).all((2, 3, 4))
                places.add(tuple(np.argwhere(same)[0]))
        assert len(places) > 30


def test_patches_reach_every_place_up_to_the_last_row_and_column():
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    found = swd.descriptors(image, 0, stream(), patches=200).reshape(200, 7, 7)
    assert set(found[:, 0, 0]) == {0, 1, 8, 9}


def test_chunks_of_images_do_not_change_the_descriptors(monkeypatch):
    images = pictures(7, 32)
    whole = swd.descriptors(images, 0, stream(), 4)
    monkeypatch.setattr(swd, "CHUNK", 3)
    np.testing.assert_array_equal(swd.descriptors(images, 0, stream(), 4), whole)


def test_whitened_channels_have_mean_0_and_deviation_1_each_and_a_constant_one_is_0():
    patches = np.random.default_rng(0).normal([3, -50, 0], [0.1, 20, 0], (400, 49, 3)).astype(np.float32)
    white = swd.whiten(patches).reshape(400, 49, 3)
    np.testing.assert_allclose(white.mean((0, 1), dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(white.std((0, 1), dtype=np.float64), [1, 1, 0], atol=1e-6)


def test_directions_are_unit_vectors():
    np.testing.assert_allclose(np.linalg.norm(swd.directions(147, 64, stream()), axis=0), 1, rtol=1e-6)


def test_the_distance_is_scipy_s_wasserstein_distance_of_each_projection():
    x, y = clouds()
    lines = swd.directions(12, 40, stream())
    expected = np.mean([scipy.stats.wasserstein_distance(x @ line, y @ line) for line in lines.T])
    np.testing.assert_allclose(swd.distance(x, y, lines), expected, rtol=1e-9)
    single = swd.distance(x.astype(np.float32), y.astype(np.float32), lines)
    np.testing.assert_allclose(single, expected, rtol=1e-6)


@pytest.mark.slow  # imports POT
def test_the_distance_is_that_of_pot():
    ot = pytest.importorskip("ot")
    x, y = clouds()
    lines = swd.directions(12, 40, stream()).astype(np.float64)
    expected = ot.sliced_wasserstein_distance(x, y, p=1, projections=lines)
    np.testing.assert_allclose(swd.distance(x, y, lines), expected, rtol=1e-9)


def test_a_shift_is_as_far_as_the_mean_projection_of_it():
    x, _ = clouds()
    lines, shift = swd.directions(12, 100, stream()).astype(np.float64), np.arange(12.0)
    np.testing.assert_allclose(swd.distance(x, x + shift, lines), np.abs(shift @ lines).mean(), rtol=1e-10)


def test_equal_distributions_score_the_floor():
    """White noise patches, each independent; the expectation of 1.82 e3 / sqrt(n), of which whitening takes 2 %."""
    n, found = 1024, []
    for seed in range(3):
        drawn = np.random.default_rng(seed).normal(size=(2, n, 49, 3))
        found.append(1000 * swd.distance(*(swd.whiten(part) for part in drawn), swd.directions(147, 128, stream())))
    np.testing.assert_allclose(swd.floor(n), 55.6, atol=0.1)
    np.testing.assert_allclose(np.mean(found), swd.floor(n), rtol=0.03)


def test_the_score_is_the_protocol_written_out_with_scipy():
    real, fake = pictures(6, 32), pictures(6, 32, seed=5) // 2
    result = swd.sliced_wasserstein(real, fake, seed=3, patches=8)
    assert list(result.levels) == [32, 16] and result.descriptors == 48
    for level, height in enumerate(result.levels):
        sets = []
        for which, images in enumerate((real, fake)):
            patches = swd.descriptors(images, level, swd._stream(3, level, which), 8).astype(np.float64)
            sets.append(((patches - patches.mean((0, 1))) / patches.std((0, 1))).reshape(48, -1))
        lines = swd.directions(147, 512, swd._stream(3, level, 2))
        projected = [points @ lines for points in sets]
        expected = np.mean(
            [scipy.stats.wasserstein_distance(a, b) for a, b in zip(*(p.T for p in projected), strict=True)]
        )
        np.testing.assert_allclose(result.levels[height], 1000 * expected, rtol=1e-5)
    np.testing.assert_allclose(result.mean, np.mean(list(result.levels.values())), rtol=1e-12)
    np.testing.assert_allclose(result.floor, 1780 / np.sqrt(48), rtol=1e-12)


def test_the_seed_decides_and_brightness_and_contrast_of_a_channel_do_not_count():
    """Each set is whitened by its own mean and deviation."""
    rng = np.random.default_rng(0)
    real, fake = (rng.integers(0, 100, (20, 16, 16, 1), np.uint8) for _ in range(2))
    plain = swd.sliced_wasserstein(real, fake, seed=1, patches=16)
    assert plain == swd.sliced_wasserstein(real, fake, seed=1, patches=16)
    assert plain != swd.sliced_wasserstein(real, fake, seed=2, patches=16)
    brighter = swd.sliced_wasserstein(real, 2 * fake + 50, seed=1, patches=16)
    np.testing.assert_allclose(brighter.mean, plain.mean, rtol=1e-5)


def test_blur_is_seen_in_the_fine_level_most():
    rng = np.random.default_rng(0)
    coarse = scipy.ndimage.zoom(rng.normal(size=(64, 8, 8, 1)), (1, 4, 4, 1), order=1) * 40
    noisy = np.clip(coarse + rng.normal(0, 12, coarse.shape) * rng.uniform(0, 2, (64, 1, 1, 1)) + 128, 0, 255)
    blurred = scipy.ndimage.gaussian_filter(noisy, (0, 1, 1, 0))
    scores = swd.sliced_wasserstein(noisy.astype(np.uint8), blurred.astype(np.uint8), patches=32)
    assert scores.levels[32] > 2 * scores.levels[16]


@pytest.mark.parametrize(
    "real,fake,told",
    [
        ((4, 16, 16, 3), (3, 16, 16, 3), "as many images"),
        ((4, 16, 16, 3), (4, 32, 32, 3), "as many images"),
        ((0, 16, 16, 3), (0, 16, 16, 3), "there are none"),
        ((4, 6, 6, 1), (4, 6, 6, 1), "7x7"),
    ],
)
def test_what_cannot_be_compared_is_refused(real, fake, told):
    with pytest.raises(UserError, match=told):
        swd.sliced_wasserstein(np.zeros(real, np.uint8), np.zeros(fake, np.uint8))
