"""Resizers against Pillow, PyTorch and TensorFlow 1's rule by hand, up and down, and where they must differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from vaegan_jax.evaluation.resizing import RESIZERS, rounded

SIZES = [((32, 32), (299, 299)), ((28, 28), (75, 64)), ((128, 96), (37, 50)), ((40, 40), (39, 83)), ((7, 5), (1, 9))]
sizes = pytest.mark.parametrize(("source", "target"), SIZES, ids=str)
names = pytest.mark.parametrize("name", RESIZERS)


def noise(source, count=2, channels=3):
    """Bytes without any order: no image is harder to resize."""
    shape = (count, *source, channels)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


def resized(name, images, size):
    return np.asarray(jax.jit(RESIZERS[name], static_argnums=1)(images, size))


def by_pillow(images, size, filter):
    """Pillow on single channels of floating numbers, clipped."""
    result = np.empty((len(images), *size, images.shape[3]), np.float32)
    for image, target in zip(images, result, strict=True):
        for channel in range(images.shape[3]):
            single = Image.fromarray(image[..., channel])
            assert single.mode == "F"
            target[..., channel] = np.asarray(single.resize(size[::-1], filter))
    return result.clip(0, 255)


def by_torch(images, size, mode):
    torch = pytest.importorskip("torch")
    result = torch.nn.functional.interpolate(
        torch.from_numpy(images.transpose(0, 3, 1, 2)), size=size, mode=mode, align_corners=False
    )
    return result.numpy().transpose(0, 2, 3, 1)


def by_tensorflow_1(images, size):
    """resize_bilinear of TensorFlow 1 with its defaults, pixel by pixel: source coordinate = target * scale."""
    height, width = images.shape[1:3]
    result = np.empty((len(images), *size, images.shape[3]), np.float64)
    for i in range(size[0]):
        y = np.float32(i) * (np.float32(height) / np.float32(size[0]))
        top, bottom = int(y), min(int(y) + 1, height - 1)
        for j in range(size[1]):
            x = np.float32(j) * (np.float32(width) / np.float32(size[1]))
            left, right = int(x), min(int(x) + 1, width - 1)
            corners = images[:, [top, top, bottom, bottom], [left, right, left, right]].astype(np.float64)
            a, b = float(y) - top, float(x) - left
            weights = np.array([(1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b])
            result[:, i, j] = np.einsum("nkc,k->nc", corners, weights)
    return result


@sizes
@pytest.mark.parametrize(
    ("name", "filter"), [("clean", Image.Resampling.BICUBIC), ("lanczos", Image.Resampling.LANCZOS)]
)
def test_clean_and_lanczos_equal_pillow_on_floating_channels(name, filter, source, target):
    images = noise(source)
    np.testing.assert_allclose(resized(name, images, target), by_pillow(images, target, filter), rtol=0, atol=2e-4)


@sizes
def test_bilinear_equals_pytorchs_interpolate(source, target):
    images = noise(source)
    # 3e-5 where PyTorch fuses multiplication and addition; where it does not, its coordinates are rounded once more.
    np.testing.assert_allclose(
        resized("bilinear", images, target), by_torch(images, target, "bilinear"), rtol=0, atol=9e-4
    )


@sizes
def test_tf1_equals_tensorflow_1s_rule_written_out(source, target):
    images = noise(source)
    np.testing.assert_allclose(resized("tf1", images, target), by_tensorflow_1(images, target), rtol=0, atol=1e-4)


def test_tf1_equals_torch_fidelitys_imitation_of_tensorflow_1():
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = noise((32, 32))
    theirs = peer.interpolate_bilinear_2d_like_tensorflow1x(
        torch.from_numpy(images.transpose(0, 3, 1, 2)), size=(299, 299), align_corners=False
    )
    np.testing.assert_allclose(
        resized("tf1", images, (299, 299)), theirs.numpy().transpose(0, 2, 3, 1), rtol=0, atol=6e-3
    )


@names
@sizes
def test_an_image_of_one_color_keeps_it(name, source, target):
    images = np.full((1, *source, 2), [3.0, 201.0], np.float32)
    expected = np.full((1, *target, 2), [3.0, 201.0], np.float32)
    np.testing.assert_allclose(resized(name, images, target), expected, rtol=0, atol=1e-4)


@names
def test_images_of_the_size_asked_for_are_left_alone(name):
    images = noise((9, 12), channels=1)
    np.testing.assert_array_equal(resized(name, images, (9, 12)), images)


@names
def test_results_are_float32_in_0_to_255_even_where_the_filter_overshoots(name, float64):
    images = np.zeros((1, 16, 16, 1), np.float32)
    images[:, 4:12, 4:12] = 255
    result = resized(name, images, (61, 61))
    assert result.dtype == np.float32
    assert result.min() >= 0 and result.max() <= 255


@names
def test_channels_and_images_do_not_mix(name):
    images = noise((12, 10), count=3)
    together = resized(name, images, (17, 23))
    for i in range(3):
        alone = resized(name, images[i : i + 1, ..., i : i + 1], (17, 23))
        np.testing.assert_allclose(together[i : i + 1, ..., i : i + 1], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["clean", "bilinear", "lanczos"])
def test_filters_centered_on_pixels_commute_with_mirrors_and_tf1_does_not(name):
    images, mirrored = noise((24, 24)), noise((24, 24))[:, ::-1, ::-1]

    def asymmetry(name):
        return np.abs(resized(name, images, (70, 11)) - resized(name, mirrored, (70, 11))[:, ::-1, ::-1]).max()

    assert asymmetry(name) < 3e-3
    assert asymmetry("tf1") > 50


def test_tf1_and_half_pixel_bilinear_differ_by_more_than_a_hundred_levels():
    images = noise((32, 32), count=8)
    difference = np.abs(resized("tf1", images, (299, 299)) - resized("bilinear", images, (299, 299)))
    assert 100 < difference.max() < 255
    assert difference.mean() > 10


def test_pytorchs_bicubic_is_not_the_clean_one():
    images = noise((64, 64))
    difference = np.abs(resized("clean", images, (23, 23)) - by_torch(images, (23, 23), "bicubic").clip(0, 255))
    assert difference.max() > 100


@pytest.mark.parametrize(("name", "aliased"), [("clean", False), ("lanczos", False), ("bilinear", True), ("tf1", True)])
def test_only_antialiasing_filters_turn_the_finest_stripes_to_gray_on_the_way_down(name, aliased):
    stripes = np.zeros((1, 96, 96, 1), np.float32)
    stripes[:, :, ::2] = 255
    small = resized(name, stripes, (32, 32))[0, 4:-4, 4:-4]
    if aliased:
        assert set(np.unique(small.round())) == {0, 255}
    else:
        assert np.abs(small - 127.5).max() < 20


def test_clean_does_not_round_and_rounding_is_a_step_of_its_own():
    def byte_filter(images):
        pictures = [Image.fromarray(image.astype(np.uint8)) for image in images]
        return np.stack([np.asarray(picture.resize((48, 48), Image.Resampling.BICUBIC)) for picture in pictures])

    images = noise((32, 32))
    mild = np.floor(images / 4) + 96
    floating = resized("clean", mild, (48, 48))
    assert np.abs(floating - np.rint(floating)).max() > 0.4
    assert np.abs(np.asarray(rounded(floating)) - byte_filter(mild)).max() <= 1  # Pillow rounds between the sides too
    # The trap: with overshoots, which it cuts off between the sides, Pillow on bytes is another filter.
    assert np.abs(resized("clean", images, (48, 48)) - byte_filter(images)).max() > 10


def test_halves_are_rounded_up_as_pillow_does_and_what_is_out_of_range_is_clipped():
    values = jnp.asarray([-3.0, -0.5, 0.49, 0.5, 1.5, 2.5, 254.5, 255.2, 300.0])
    np.testing.assert_array_equal(rounded(values), [0, 0, 0, 1, 2, 3, 255, 255, 255])
    for low in (0, 1, 2, 253, 254):
        pair = Image.fromarray(np.array([[low, low + 1]], np.uint8))
        assert rounded(jnp.asarray(low + 0.5)) == np.asarray(pair.resize((1, 1), Image.Resampling.BOX))[0, 0]
