"""Backbones: parameters counted by hand, shapes at every size, residual blocks against torch, what is refused."""

import inspect
import math
import pkgutil
from importlib import import_module

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import filled

from vaegan_jax import networks
from vaegan_jax.networks import (
    attention,
    biggan,
    biggan_deep,
    conditions,
    dcgan,
    heads,
    layers,
    minibatch,
    mlp,
    norms,
    resnet,
    sndcgan,
)
from vaegan_jax.networks.residual import DownBlock, UpBlock

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SIDES = [28, 32, 64, 128]
LATENT = 128
MAPS, VECTORS, POINTS, IMAGES = (3, 4, 4, 8), (3, 8), (3, 2), (3, 32, 32, 1)
LABELS = (3, 5)
ROWS = {
    "attention.SelfAttention": (attention.SelfAttention(), MAPS),
    "biggan.Body": (biggan.Body(4), IMAGES),
    "biggan.Generator": (biggan.Generator((32, 32, 1), 4), VECTORS, LABELS),
    "biggan_deep.Body": (biggan_deep.Body(4, 16), IMAGES),
    "biggan_deep.DownBlock": (biggan_deep.DownBlock(12, True), MAPS),
    "biggan_deep.Generator": (biggan_deep.Generator((32, 32, 1), 4), VECTORS, LABELS),
    "biggan_deep.UpBlock": (biggan_deep.UpBlock(4, True), MAPS, LABELS),
    "conditions.ConditionChannels": (conditions.ConditionChannels(), IMAGES, LABELS),
    "dcgan.Body": (dcgan.Body(4, attention=8, spectral=True, down="average"), IMAGES),
    "dcgan.Generator": (dcgan.Generator((32, 32, 1), 4, up="shuffle"), VECTORS, LABELS),
    "dcgan.ImageToVector": (dcgan.ImageToVector(5, 4), IMAGES),
    "dcgan.VectorToImage": (dcgan.VectorToImage((32, 32, 1), 4), VECTORS),
    "heads.Recognition": (heads.Recognition((10, 3), 2), VECTORS),
    "heads.Score": (heads.Score(projection=True, classes=5, spectral=True), VECTORS, LABELS),
    "layers.Convolution": (layers.Convolution(3), MAPS),
    "layers.Dense": (layers.Dense(3), VECTORS),
    "layers.TransposedConvolution": (layers.TransposedConvolution(3), MAPS),
    "minibatch.MinibatchDeviation": (minibatch.MinibatchDeviation(), MAPS),
    "minibatch.MinibatchDiscrimination": (minibatch.MinibatchDiscrimination(), VECTORS),
    "mlp.Body": (mlp.Body((6, 5), "layer", True), POINTS),
    "mlp.ImageToVector": (mlp.ImageToVector((6,), 5), IMAGES),
    "mlp.VectorToImage": (mlp.VectorToImage((6,), (2,), "batch", True), VECTORS, LABELS),
    "norms.BatchNorm": (norms.BatchNorm(), MAPS),
    "norms.InstanceNorm": (norms.InstanceNorm(), MAPS),
    "norms.LayerNorm": (norms.LayerNorm(), VECTORS),
    "norms.PixelNorm": (norms.PixelNorm(), MAPS),
    "residual.DownBlock": (DownBlock(6, spectral=True, norm="layer"), MAPS),
    "residual.UpBlock": (UpBlock(6, spectral=True), MAPS),
    "resnet.Body": (resnet.Body(4, attention=16), IMAGES),
    "resnet.Generator": (resnet.Generator((32, 32, 1), 4, attention=16, spectral=True), VECTORS, LABELS),
    "sndcgan.Body": (sndcgan.Body(4, attention=8), IMAGES),
    "sndcgan.Generator": (sndcgan.Generator((32, 32, 1), 4, attention=16), VECTORS, LABELS),
}
"""Every module of the package, with the shapes of its inputs."""
SUMS = ("resnet.Body", "biggan.Body", "biggan_deep.Body")


def test_every_module_has_a_row():
    found = {
        f"{module}.{name}"
        for _, module, _ in pkgutil.iter_modules(networks.__path__)
        for name, member in vars(import_module(f"vaegan_jax.networks.{module}")).items()
        if inspect.isclass(member) and issubclass(member, nn.Module) and member.__module__.endswith(f".{module}")
    }
    assert found == set(ROWS)


def called(module, *inputs, **given):
    """With whatever of `train` the module has."""
    trains = "train" in inspect.signature(type(module).__call__).parameters
    return module, inputs, given | ({"train": True} if trains else {})


def made(module, *given, dtype=jnp.float32):
    """The shapes of its output and of its variables."""
    module, inputs, options = called(module, *(jnp.zeros(shape, dtype) for shape in given))
    return jax.eval_shape(lambda *x: module.init_with_output(jax.random.key(0), *x, **options), *inputs)


def size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", ROWS)
def test_modules_keep_examples_and_types_apart(name):
    """As many outputs as inputs, in their type or (heads, sums) float32; parameters and statistics are float32."""
    module, *given = ROWS[name]
    output, variables = made(module, *given, dtype=jnp.bfloat16)
    for leaf in jax.tree.leaves(output):
        assert leaf.shape[0] == 3
        assert leaf.dtype == (jnp.float32 if name in SUMS or "heads" in name else jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} <= {jnp.dtype("float32")}


@pytest.mark.parametrize("name", [name for name in ROWS if "Generator" not in name and "Image" not in name])
def test_modules_have_gradients_of_squared_gradients_and_keep_the_structure_of_their_stats(name):
    module, *given = ROWS[name]
    _, variables = made(module, *given)
    params, stats = variables.get("params", {}), {k: v for k, v in variables.items() if k != "params"}

    def value(params, stats, *inputs):
        module_, inputs, options = called(module, *inputs)
        output, moved = module_.apply({"params": params, **stats}, *inputs, **options, mutable=list(stats))
        return sum(leaf.sum() for leaf in jax.tree.leaves(output)), moved

    def penalty(params, stats, *inputs):
        slope, moved = jax.grad(value, 2, has_aux=True)(params, stats, *inputs)
        return jnp.square(slope).sum(), moved

    twice, moved = jax.eval_shape(jax.grad(penalty, has_aux=True), params, stats, *map(jnp.zeros, given))
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert shapes(twice) == shapes(params) and shapes(dict(moved)) == shapes(stats)


def up_block(a, b):
    """Batch norm, 3 x 3, batch norm, 3 x 3, and 1 x 1 on the shortcut; with all biases, as published."""
    return 2 * a + (9 * a * b + b) + 2 * b + (9 * b * b + b) + (a * b + b)


def down_block(a, b, first=False, shortcut=True):
    hidden = b if first else a
    return (9 * a * hidden + hidden) + (9 * hidden * b + b) + (a * b + b) * shortcut


def ends(first, last, side=4, norm=2):
    """The generator's dense map, its last batch norm and its last convolution, to three channels."""
    return (LATENT + 1) * side * side * first + norm * last + 9 * last * 3 + 3


GENERATORS = {
    28: (ends(256, 256, 7) + 2 * up_block(256, 256), 4_119_555),
    32: (ends(256, 256) + 3 * up_block(256, 256), 4_276_739),
    64: (
        ends(1024, 64) + up_block(1024, 512) + up_block(512, 256) + up_block(256, 128) + up_block(128, 64),
        12_220_675,
    ),
    128: (
        ends(1024, 64)
        + up_block(1024, 1024)
        + up_block(1024, 512)
        + up_block(512, 256)
        + up_block(256, 128)
        + up_block(128, 64),
        32_150_787,
    ),
}
SMALL = down_block(3, 128, first=True) + down_block(128, 128) + 2 * down_block(128, 128, shortcut=False) + 129
LARGE = down_block(3, 64, first=True) + down_block(64, 128) + down_block(128, 256) + down_block(256, 512)
LARGE += down_block(512, 1024) + 1025
DISCRIMINATORS = {
    28: (SMALL, 1_053_825),
    32: (SMALL, 1_053_825),
    64: (LARGE, 10_141_441),
    128: (LARGE + down_block(1024, 1024, shortcut=False), 29_017_857),
}


@pytest.mark.parametrize("side", SIDES)
def test_residual_networks_have_the_parameters_of_miyato_s_tables(side):
    generator = made(resnet.Generator((side, side, 3), idle_biases=True), (1, LATENT))[1]["params"]
    assert GENERATORS[side] == (size(generator), size(generator))
    image, ours = made(resnet.Generator((side, side, 3)), (2, LATENT))
    assert image.shape == (2, side, side, 3)
    idle = {28: 2 * 256, 32: 3 * 256, 64: 512 + 256 + 128 + 64, 128: 1024 + 512 + 256 + 128 + 64}[side]
    assert size(generator) - size(ours["params"]) == idle
    features, body = made(resnet.Body(), (2, side, side, 3))
    head = made(heads.Score(spectral=True), features.shape)[1]
    assert DISCRIMINATORS[side] == (size(body["params"]) + size(head["params"]),) * 2
    assert features.shape == (2, 128 if side < 64 else 1024)


def test_the_plain_networks_have_the_parameters_of_miyato_s_table_3():
    generator = made(sndcgan.Generator((32, 32, 3)), (1, LATENT))[1]["params"]
    weights = 16 * (512 * 256 + 256 * 128 + 128 * 64) + 2 * (512 + 256 + 128 + 64)
    assert size(generator) == 129 * 4 * 4 * 512 + weights + 9 * 64 * 3 + 3 == 3_812_931
    features, body = made(sndcgan.Body(), (1, 32, 32, 3))
    weights = 9 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 16 * (64 * 64 + 128 * 128 + 256 * 256)
    assert size(body["params"]) == weights + 2 * (64 + 128 + 256) + 512 == 2_927_680
    assert features.shape == (1, 4 * 4 * 512)


PLAIN = {28: (7, 2), 32: (4, 3), 64: (8, 3), 128: (16, 3)}
"""The smallest map's side, and how often images are halved."""


@pytest.mark.parametrize("side", SIDES)
def test_the_plain_networks_have_the_parameters_that_one_counts_by_hand(side):
    small, times = PLAIN[side]
    channels = [64 << level for level in range(times + 1)]
    generator = made(sndcgan.Generator((side, side, 3)), (1, LATENT))[1]["params"]
    weights = sum(16 * a * b for a, b in zip(channels, channels[1:], strict=False)) + 9 * 64 * 3 + 3
    assert size(generator) == (LATENT + 1) * small**2 * channels[-1] + weights + 2 * sum(channels)
    features, body = made(sndcgan.Body(), (1, side, side, 3))
    into = sum(9 * a * b + b for a, b in zip([3, *channels], channels, strict=False))
    assert size(body["params"]) == into + sum(16 * c * c + c for c in channels[:-1])
    assert features.shape == (1, small**2 * channels[-1])


SAGAN = {
    28: (4_200_964, 1_074_306),
    32: (4_357_892, 1_074_306),
    64: (12_240_196, 10_146_562),
    128: (32_169_284, 29_022_978),
}
"""Golden numbers, of images of three colors told no classes: generator, discriminator and its last layer."""


@pytest.mark.parametrize("side", SIDES)
def test_self_attention_has_f_and_g_of_an_eighth_of_the_channels_and_h_of_all(side):
    """At half of the image's height, as `sagan` has it; the discriminator's map there is its first."""
    attention = lambda c: 2 * c * (c // 8) + c * c + 1  # noqa: E731
    wide = {28: (256, 128), 32: (256, 128), 64: (128, 64), 128: (128, 64)}[side]
    expected = []
    for module, given, channels in (
        (resnet.Generator, (1, LATENT), wide[0]),
        (resnet.Body, (1, side, side, 3), wide[1]),
    ):
        image = {"image_shape": (side, side, 3)} if module is resnet.Generator else {}
        plain, with_attention = (size(made(module(**image, attention=at), given)[1]["params"]) for at in (0, side // 2))
        assert with_attention - plain == attention(channels)
        expected.append(with_attention)
    head = (128 if side < 64 else 1024) + 1
    assert (expected[0], expected[1] + head) == SAGAN[side]


@pytest.mark.parametrize("side", [28, 128])
def test_all_images_go_in_and_come_out(side):
    shape, last = (side, side, 2), {28: 7 * 7 * 8, 128: 4 * 4 * 64}[side]
    for up in ("transposed", "shuffle", "nearest"):
        assert made(dcgan.Generator(shape, 4, up=up), (2, 7), (2, 5))[0].shape == (2, *shape)
    for down in ("strided", "average"):
        assert made(dcgan.Body(4, down=down), (2, *shape))[0].shape == (2, last)
    assert made(sndcgan.Generator(shape, 4), (2, 7))[0].shape == (2, *shape)
    assert made(sndcgan.Body(4), (2, *shape))[0].shape == (2, {28: 7 * 7 * 16, 128: 16 * 16 * 32}[side])


def test_the_bodies_and_the_networks_with_a_last_layer_share_their_parameters():
    shapes = lambda module, *given: jax.tree.map(lambda leaf: leaf.shape, made(module, *given)[1])  # noqa: E731
    whole, body = shapes(dcgan.ImageToVector(7, 4), IMAGES), shapes(dcgan.Body(4), IMAGES)
    assert whole["params"].pop("Dense_0") == {"kernel": (4 * 4 * 16, 7), "bias": (7,)}
    assert whole == body
    assert shapes(dcgan.VectorToImage((32, 32, 1), 4), VECTORS) == shapes(dcgan.Generator((32, 32, 1), 4), VECTORS)
    whole, body = shapes(mlp.ImageToVector((6, 5), 4), IMAGES), shapes(mlp.Body((6, 5)), IMAGES)
    assert whole["params"].pop("Dense_2") == {"kernel": (5, 4), "bias": (4,)}
    assert whole == body


@pytest.mark.parametrize(
    ("module", "given", "told"),
    [
        (resnet.Generator((256, 256, 3)), [(1, 8)], "up to 128 pixels, not 256x256"),
        (resnet.Body(), [(1, 30, 30, 1)], "which 30x30 do not"),
        (resnet.Body(attention=32), [(1, 32, 32, 3)], "attention at 32 pixels, but the maps here have 16, 8"),
        (dcgan.Generator((28, 28, 1), attention=8), [(1, 8)], "attention at 8 pixels, but the maps here have 7, 14"),
        (sndcgan.Body(attention=28), [(1, 28, 28, 1)], "attention at 28 pixels, but the maps here have 14, 7"),
        (dcgan.Generator((28, 28, 1), norm="none", conditional="norm"), [(1, 8), (1, 5)], "a norm whose gain it sets"),
        (heads.Score(projection=True), [(1, 8)], "a projection needs labels"),
        (heads.Score(), [(1, 8), (1, 5)], "labels are read by a projection only"),
        (heads.Recognition(), [(1, 8)], "without codes"),
    ],
)
def test_what_a_network_does_not_have_is_refused_in_one_line(module, given, told):
    with pytest.raises(ValueError, match=told) as refused:
        made(module, *given)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_residual_blocks_equal_those_of_torch_with_separate_resampling(float64):
    torch = pytest.importorskip("torch")
    functional, x = torch.nn.functional, np.random.default_rng(1).normal(size=(3, 4, 4, 6))
    to_torch = lambda a: torch.from_numpy(np.ascontiguousarray(a))  # noqa: E731

    def convolution(y, given):
        kernel, bias = given["kernel"], given.get("bias", np.zeros(given["kernel"].shape[-1]))
        return functional.conv2d(y, to_torch(kernel.transpose(3, 2, 0, 1)), to_torch(bias), padding="same")

    def norm(y, given):
        return functional.batch_norm(y, None, None, to_torch(given["scale"]), to_torch(given["bias"]), training=True)

    double = lambda y: functional.interpolate(y, scale_factor=2, mode="nearest")  # noqa: E731
    y = to_torch(x.transpose(0, 3, 1, 2))
    for shortcut, features in ((True, 5), (False, 6)):
        variables, apply = filled(UpBlock(features, up=shortcut), x)
        p = variables["params"]
        resized = double if shortcut else lambda y: y
        long = convolution(resized(functional.relu(norm(y, p["BatchNorm_0"]))), p["Convolution_0"])
        long = convolution(functional.relu(norm(long, p["BatchNorm_1"])), p["Convolution_1"])
        expected = long + (convolution(resized(y), p["Convolution_2"]) if shortcut else y)
        np.testing.assert_allclose(apply(variables, x), expected.numpy().transpose(0, 2, 3, 1), rtol=1e-9, atol=1e-9)
    for first in (True, False):
        variables, apply = filled(DownBlock(5, first=first), x)
        p = variables["params"]
        long = convolution(y if first else functional.relu(y), p["Convolution_0"])
        long = functional.avg_pool2d(convolution(functional.relu(long), p["Convolution_1"]), 2)
        expected = long + functional.avg_pool2d(convolution(y, p["Convolution_2"]), 2)
        np.testing.assert_allclose(apply(variables, x), expected.numpy().transpose(0, 2, 3, 1), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_residual_body_sums_over_pixels_and_looks_at_each_image_alone(float64):
    x = np.random.default_rng(1).normal(size=(3, 8, 8, 1))
    variables, apply = filled(resnet.Body(4, attention=4), x)
    _, mean = filled(resnet.Body(4, attention=4, pool="mean"), x)
    y = np.asarray(apply(variables, x))
    assert (y >= 0).all() and y.any()
    np.testing.assert_allclose(mean(variables, x), y / 4, rtol=1e-12)  # a last map of 2 x 2
    np.testing.assert_allclose(apply(variables, x[[2, 2, 0]]), y[[2, 2, 0]], rtol=1e-12)


@pytest.mark.slow
def test_a_condition_reaches_the_image_beside_the_latent_vector_or_by_the_norms():
    z, labels = np.ones((2, 3), np.float32), np.eye(4, dtype=np.float32)
    for place in ("input", "norm"):
        variables, apply = filled(
            dcgan.Generator((8, 8, 1), 2, conditional=place), jnp.asarray(z), jnp.asarray(labels[:2])
        )
        one, other = apply(variables, z, labels[:2]), apply(variables, z, labels[2:])
        assert not np.allclose(one, other), place
