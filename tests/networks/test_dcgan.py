"""The DCGAN's networks: parameters counted by hand, shapes, what is refused, and signals at the beginning."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.networks.dcgan import ImageToVector, VectorToImage, sides

WIDTH, LATENT = 64, 100
KERNEL = 4 * 4
each_side = pytest.mark.parametrize("side", [28, 32, 64, 128])
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def generator_count(side, channels, normalize):
    """The weights of each layer, then its batch norm's scales and shifts, or its biases."""
    norm = 2 if normalize else 1  # of a hidden convolution; the dense layer has biases in either case
    dense_norm = 2 if normalize else 0
    return {
        28: LATENT * 7 * 7 * 128  # 100 -> 7x7x128
        + 7 * 7 * 128
        + dense_norm * 128
        + KERNEL * 128 * 64  # -> 14x14x64
        + norm * 64
        + KERNEL * 64 * channels  # -> 28x28
        + channels,
        32: LATENT * 4 * 4 * 256
        + 4 * 4 * 256
        + dense_norm * 256
        + KERNEL * 256 * 128  # -> 8x8x128
        + norm * 128
        + KERNEL * 128 * 64  # -> 16x16x64
        + norm * 64
        + KERNEL * 64 * channels  # -> 32x32
        + channels,
        64: LATENT * 4 * 4 * 512
        + 4 * 4 * 512
        + dense_norm * 512
        + KERNEL * 512 * 256  # -> 8x8x256
        + norm * 256
        + KERNEL * 256 * 128  # -> 16x16x128
        + norm * 128
        + KERNEL * 128 * 64  # -> 32x32x64
        + norm * 64
        + KERNEL * 64 * channels  # -> 64x64
        + channels,
        128: LATENT * 4 * 4 * 1024
        + 4 * 4 * 1024
        + dense_norm * 1024
        + KERNEL * 1024 * 512  # -> 8x8x512
        + norm * 512
        + KERNEL * 512 * 256  # -> 16x16x256
        + norm * 256
        + KERNEL * 256 * 128  # -> 32x32x128
        + norm * 128
        + KERNEL * 128 * 64  # -> 64x64x64
        + norm * 64
        + KERNEL * 64 * channels  # -> 128x128
        + channels,
    }[side]


def discriminator_count(side, channels, normalize):
    norm = 2 if normalize else 1
    return {
        28: KERNEL * channels * 64  # -> 14x14x64
        + 64
        + KERNEL * 64 * 128  # -> 7x7x128
        + norm * 128
        + 7 * 7 * 128 * 1  # -> 1
        + 1,
        32: KERNEL * channels * 64  # -> 16x16x64
        + 64
        + KERNEL * 64 * 128  # -> 8x8x128
        + norm * 128
        + KERNEL * 128 * 256  # -> 4x4x256
        + norm * 256
        + 4 * 4 * 256 * 1
        + 1,
        64: KERNEL * channels * 64  # -> 32x32x64
        + 64
        + KERNEL * 64 * 128  # -> 16x16x128
        + norm * 128
        + KERNEL * 128 * 256  # -> 8x8x256
        + norm * 256
        + KERNEL * 256 * 512  # -> 4x4x512
        + norm * 512
        + 4 * 4 * 512 * 1
        + 1,
        128: KERNEL * channels * 64  # -> 64x64x64
        + 64
        + KERNEL * 64 * 128  # -> 32x32x128
        + norm * 128
        + KERNEL * 128 * 256  # -> 16x16x256
        + norm * 256
        + KERNEL * 256 * 512  # -> 8x8x512
        + norm * 512
        + KERNEL * 512 * 1024  # -> 4x4x1024
        + norm * 1024
        + 4 * 4 * 1024 * 1
        + 1,
    }[side]


def shapes(module, *input_shape):
    """The shapes of its output and of its variables."""
    return jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x, train=True), jnp.zeros(input_shape))


def size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
@each_side
def test_both_networks_have_the_parameters_that_one_counts_by_hand(side, channels, normalize):
    _, generator = shapes(VectorToImage((side, side, channels), WIDTH, normalize), 1, LATENT)
    _, discriminator = shapes(ImageToVector(1, WIDTH, normalize), 1, side, side, channels)
    assert size(generator["params"]) == generator_count(side, channels, normalize)
    assert size(discriminator["params"]) == discriminator_count(side, channels, normalize)
    assert ("batch_stats" in generator) == ("batch_stats" in discriminator) == normalize


def test_the_counts_of_the_default_networks_on_fashion_mnist_are_these_numbers():
    assert generator_count(28, 1, True) == 765_953
    assert discriminator_count(28, 1, True) == 138_689


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(28, 28), (32, 32), (64, 64), (8, 8), (20, 20), (32, 64)], ids=str)
def test_images_of_any_number_of_channels_go_in_and_come_out(size, channels):
    image, _ = shapes(VectorToImage((*size, channels), 4), 6, 10)
    assert image.shape == (6, *size, channels)
    vector, _ = shapes(ImageToVector(7, 4), 6, *size, channels)
    assert vector.shape == (6, 7)


def test_images_are_halved_to_a_side_of_four_to_eight():
    assert sides((28, 28, 1)) == [(28, 28), (14, 14), (7, 7)]
    assert sides((32, 32, 3)) == [(32, 32), (16, 16), (8, 8), (4, 4)]
    assert sides((64, 64, 3)) == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
    assert sides((32, 64, 3))[-1] == (4, 8)


def test_whatever_the_size_the_smallest_map_that_is_accepted_has_sides_of_four_to_eight():
    for side in range(1, 260):
        try:
            path = sides((side, side, 1))
        except ValueError:
            continue
        assert path[0] == (side, side) and 4 <= path[-1][0] <= 8, path


@pytest.mark.parametrize(
    "shape", [(30, 30, 1), (27, 27, 1), (7, 7, 1), (4, 4, 1), (28, 29, 1), (28, 56, 3), (18, 36, 3)]
)
def test_images_that_cannot_be_halved_are_refused_with_what_works(shape):
    told = f"which {shape[0]}x{shape[1]} do not.*28, 32, 64 and 128 work.*or choose the mlp network"
    with pytest.raises(ValueError, match=told):
        shapes(ImageToVector(1, 4), 1, *shape)
    with pytest.raises(ValueError, match=told) as refused:
        shapes(VectorToImage(shape, 4), 1, 10)
    for side in re.findall(r"\d+", str(refused.value).split("resize them")[1]):
        assert sides((int(side), int(side), 1))


def named(params):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_with_norms_weights_have_the_paper_s_deviation_of_two_hundredths(network):
    if network == "generator":
        module, x = VectorToImage((32, 32, 3), 32), jnp.zeros((1, 100))
    else:
        module, x = ImageToVector(1, 32), jnp.zeros((1, 32, 32, 3))
    for name, leaf in named(module.init(jax.random.key(1), x, train=True)["params"]).items():
        error = 0.02 / math.sqrt(leaf.size)
        if "bias" in name:
            assert not leaf.any(), name
        else:
            assert abs(leaf.mean() - ("scale" in name)) < 5 * error, name
            assert abs(leaf.std() - 0.02) < 5 * error / math.sqrt(2), name


def first_outputs(module, x):
    """The output of each layer of a new network, by the layer's name; the network's own under ""."""

    @jax.jit
    def run(key, x):
        collections = ["params", "batch_stats", "intermediates"]
        return module.init_with_output(key, x, train=True, capture_intermediates=True, mutable=collections)[1]

    seen = jax.tree_util.tree_leaves_with_path(run(jax.random.key(2), x)["intermediates"])
    return {".".join(part.key for part in path[:-2]): np.asarray(leaf, np.float64) for path, leaf in seen}


@pytest.mark.parametrize(("side", "normalize"), [(28, True), (28, False), (64, False)])
def test_at_the_beginning_outputs_neither_vanish_nor_explode(side, normalize):
    z, x = jax.random.normal(jax.random.key(0), (16, 20)), jax.random.uniform(jax.random.key(1), (16, side, side, 1))
    for module, given in ((VectorToImage((side, side, 1), 32, normalize), z), (ImageToVector(8, 32, normalize), x)):
        assert 0.1 < first_outputs(module, given)[""].std() < 3, module


def test_without_norms_every_layer_keeps_the_mean_square_of_its_input():
    """Weights of variance 2 over the inputs of a pixel make up for the half that a ReLU takes (He et al. 2015).

    A pixel of a transposed convolution of stride 2 has a quarter of the kernel for input, and at the border less.
    """
    z = jax.random.normal(jax.random.key(0), (256, 64))
    for name, output in first_outputs(VectorToImage((32, 32, 8), 16, normalize=False), z).items():
        assert 1.0 < (output**2).mean() < 3.0, name
