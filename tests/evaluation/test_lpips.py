"""LPIPS is the paper's formula and the package's numbers, can be differentiated, and with the real weights sees sense.

Tests of the real weights need `vaegan weights fetch alexnet` and vgg16, and are skipped without.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_networks import NETWORKS, close, images, photograph, random_weights, real, torch_activations

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import lpips

BOTH = pytest.mark.parametrize("net", NETWORKS)


@functools.cache
def compiled(net):
    return jax.jit(functools.partial(lpips.distance, net=net))


@pytest.mark.parametrize("net", ["alexnet", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_the_distance_is_the_formula_of_the_paper_in_float64(net):
    arrays, x, y = random_weights(net), images(3, 33), images(3, 33, seed=2)
    expected = np.zeros(3)
    taps = [torch_activations(net, arrays, image) for image in (x, y)]
    for layer, pair in enumerate(zip(*taps, strict=True), 1):
        first, second = (
            a.astype(np.float64) / (np.linalg.norm(a.astype(np.float64), axis=-1)[..., None]) for a in pair
        )
        expected += ((first - second) ** 2 @ arrays[f"head{layer}"].astype(np.float64)).mean((1, 2))
    close(compiled(net)(arrays, x, y), expected, 1e-5)


@pytest.mark.slow  # the package takes long to import
@pytest.mark.parametrize("net, theirs", [("vgg16", "vgg"), ("alexnet", "alex")])
def test_given_activations_the_distance_is_that_of_the_lpips_package(net, theirs):
    torch, peer = pytest.importorskip("torch"), pytest.importorskip("lpips")
    rng, widths = np.random.default_rng(0), [layer.shape[-1] for layer in NETWORKS[net].NETWORK.taps]
    for width in widths:
        first, second = (np.maximum(rng.standard_normal((2, 6, 5, width), np.float32), 0) for _ in range(2))
        first[0, :2] = 0  # pixels without activations
        head = rng.uniform(0, 1, width).astype(np.float32)
        a, b = (torch.from_numpy(x.transpose(0, 3, 1, 2).copy()) for x in (first, second))
        difference = (peer.normalize_tensor(a) - peer.normalize_tensor(b)) ** 2
        layer = peer.NetLinLayer(width)
        layer.model[-1].weight.data = torch.from_numpy(head)[None, :, None, None]
        with torch.no_grad():
            expected = peer.spatial_average(layer.eval()(difference)).numpy().ravel()
        close(lpips.compare(first, second, head), expected, 1e-6)


@pytest.mark.parametrize("net", ["alexnet", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_equal_images_are_at_zero(net):
    assert (compiled(net)(random_weights(net), images(3, 33), images(3, 33)) < 1e-14).all()
    activations = images(2, 5, 4)
    assert (lpips.compare(activations, activations, np.ones(4, np.float32)) == 0).all()


def test_gradients_are_finite_where_there_are_no_activations_and_where_all_are_equal(this_compiled_quickly):
    dead, alive, head = np.zeros((1, 1, 2, 4), np.float32), np.ones((1, 1, 2, 4), np.float32), np.ones(4, np.float32)
    distance = lambda a, b: lpips.compare(a, b, head).sum()  # noqa: E731
    slopes = jax.jit(lambda a, b: (jax.grad(distance)(a, b), jax.hessian(distance)(a, b)))
    for first, second in ((dead, alive), (dead, dead), (alive, alive)):
        assert all(jnp.isfinite(slope).all() for slope in slopes(first, second))


def test_the_gradient_of_a_layer_is_that_of_finite_differences(float64):
    a, b, direction = (jax.random.uniform(jax.random.key(seed), (2, 3, 3, 5)) for seed in range(3))
    along = jax.jit(lambda t: lpips.compare(a + t * direction, b, np.ones(5)).sum())
    np.testing.assert_allclose(jax.grad(along)(0.0), (along(1e-6) - along(-1e-6)) / 2e-6, rtol=1e-7)


@pytest.mark.slow
@BOTH
def test_gradients_reach_the_images(net):
    arrays, x, y = random_weights(net), images(1, 33), images(1, 33, seed=2)
    gradient = jax.jit(jax.grad(lambda y: lpips.distance(arrays, x, y, net).sum()))
    assert jnp.abs(gradient(x)).max() < 1e-6 * jnp.abs(gradient(y)).max()  # the minimum, and not NaN
    assert (gradient(y) != 0).mean() > 0.9 and jnp.isfinite(gradient(y)).all()


def test_the_distance_changes_with_less_than_a_bit_of_a_byte(float64):
    """Path length divides it by the square of a step of 1e-4: no image may be rounded on the way."""
    arrays = {name: array.astype(np.float64) for name, array in random_weights("alexnet").items()}
    x, direction = (np.repeat(images(1, 33, seed=seed).astype(np.float64), 3, axis=0) for seed in (1, 3))
    steps = np.array([1e-3, 1e-4, 1e-5])
    ratios = compiled("alexnet")(arrays, x, x + steps.reshape(3, 1, 1, 1) * direction) / steps**2
    np.testing.assert_allclose(ratios, np.full(3, ratios[-1]), rtol=0.02)
    assert ratios[-1] > 1e-3


def test_the_distance_is_symmetric_and_each_pair_its_own():
    arrays, x, y = random_weights("alexnet"), images(3, 33), images(3, 33, seed=2)
    together = compiled("alexnet")(arrays, x, y)
    close(compiled("alexnet")(arrays, y, x), together, 1e-6)
    others = np.stack([x[0], y[1], y[2]])
    assert compiled("alexnet")(arrays, x, others)[0] < 1e-14
    close(compiled("alexnet")(arrays, x, others)[1:], together[1:], 1e-6)


def test_gray_images_are_those_of_three_equal_channels():
    arrays, x, y = random_weights("alexnet"), images(3, 33, 1), images(3, 33, 1, seed=2)
    expected = compiled("alexnet")(arrays, x.repeat(3, 3), y.repeat(3, 3))
    close(compiled("alexnet")(arrays, x, y), expected, 1e-6)


@BOTH
def test_images_too_small_for_the_network_are_told(net):
    least = NETWORKS[net].SMALLEST
    arrays, x = random_weights(net), images(1, least)
    shapes = [tap.shape for tap in jax.eval_shape(NETWORKS[net].activations, arrays, x)]
    assert min(min(shape) for shape in shapes) == 1
    with pytest.raises(
        UserError, match=f"needs images of {least} x {least} at least, not of {least - 1} x {least - 1}"
    ):
        lpips.distance(arrays, x[:, 1:, 1:], x[:, 1:, 1:], net)


def test_images_of_two_channels_are_a_mistake():
    with pytest.raises(ValueError, match="LPIPS is between images"):
        lpips.distance(random_weights("alexnet"), images(1, 33, 2), images(1, 33, 2), "alexnet")


# The real weights


@pytest.mark.slow  # the package takes long to import
@pytest.mark.parametrize("net, theirs", [("vgg16", "vgg"), ("alexnet", "alex")])
def test_the_heads_are_those_that_the_lpips_package_ships(net, theirs):
    torch, peer = pytest.importorskip("torch"), pytest.importorskip("lpips")
    path = Path(peer.__file__).parent / "weights" / "v0.1" / f"{theirs}.pth"
    shipped = torch.load(path, map_location="cpu", weights_only=True)
    for layer in range(5):
        np.testing.assert_array_equal(real(net)[0][f"head{layer + 1}"], shipped[f"lin{layer}.model.1.weight"].ravel())


@pytest.mark.parametrize("net", ["alexnet", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_damage_is_far_in_the_order_that_people_see(net):
    from scipy.ndimage import gaussian_filter

    arrays, _ = real(net)
    china, flower = photograph("china.jpg"), photograph("flower.jpg")
    crop = lambda image, column=200: np.float32(image[100:228, column : column + 128]) / 127.5 - 1  # noqa: E731
    x, noise = crop(china), np.random.default_rng(0).normal(0, 0.2, (128, 128, 3)).astype(np.float32)
    others = {
        "same": x,
        "shift": crop(china, 202),
        "blur": gaussian_filter(x, (1, 1, 0)),
        "strong blur": gaussian_filter(x, (4, 4, 0)),
        "other": crop(flower),
        "noise": np.clip(x + noise, -1, 1),
    }
    batch = np.stack(list(others.values()))
    found = dict(zip(others, compiled(net)(arrays, np.broadcast_to(x, batch.shape), batch).tolist(), strict=True))
    assert found["same"] < 1e-14 < found["shift"] < found["noise"] < found["blur"] < found["strong blur"]
    assert found["other"] > 0.7
