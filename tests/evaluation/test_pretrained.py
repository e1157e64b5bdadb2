"""VGG16, AlexNet, EfficientNet-Lite0 and LPIPS compute what PyTorch computes, and with the real weights see sense.

Tests of the real weights need `vaegan weights fetch vgg16`, and so on, and are skipped without.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import lpips, weights
from vaegan_jax.evaluation.features import alexnet, efficientnet, vgg16
from vaegan_jax.evaluation.resizing import RESIZERS

NETWORKS = {"vgg16": vgg16, "alexnet": alexnet}
BOTH = pytest.mark.parametrize("net", NETWORKS)
PARAMETERS = {"vgg16": 14_714_688, "alexnet": 2_469_696}
"""Of the convolutions, as the models of torchvision have them."""


def random_tensors(shapes, seed=0):
    """Tensors of such sizes that activations neither vanish nor grow with depth."""
    rng = np.random.default_rng(seed)

    def draw(name, shape):
        if name.endswith("running_var") or (len(shape) == 1 and name.endswith(".weight")):
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        if len(shape) == 1:
            return 0.1 * rng.standard_normal(shape, np.float32)
        inputs = np.prod(shape[1:] if "." in name else shape[:-1])  # PyTorch's order, or ours
        return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / inputs))

    return {name: draw(name, shape) for name, shape in shapes.items()}


@functools.cache
def random_weights(net):
    arrays = NETWORKS[net].convert(random_tensors(NETWORKS[net].SHAPES))
    return {name: np.abs(array) if name.startswith("head") else array for name, array in arrays.items()}


@functools.cache
def real(net):
    if not weights.present(net):
        pytest.skip(f"the weights of {net} are not here: `vaegan weights fetch {net}`")
    return weights.load(net)


@functools.cache
def compiled(net):
    return jax.jit(functools.partial(lpips.distance, net=net))


def images(count, size, channels=3, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, channels)).astype(np.float32)


def close(found, expected, relative):
    """Asserts that no number is off by more than `relative` of the largest."""
    assert found.shape == expected.shape
    assert np.abs(np.asarray(found) - np.asarray(expected)).max() <= relative * np.abs(expected).max()


def torch_activations(net, arrays, x):
    """The same network of torch.nn.functional's convolutions, poolings and ReLUs."""
    torch = pytest.importorskip("torch")
    functional, taps = torch.nn.functional, []
    x = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    strides, paddings = ((4, 1, 1, 1, 1), (2, 2, 1, 1, 1)) if net == "alexnet" else ((1,) * 13, (1,) * 13)
    pooled = {"alexnet": {"conv2": 3, "conv3": 3}, "vgg16": {f"conv{block}_1": 2 for block in range(2, 6)}}[net]
    names = sorted({name.split("/")[0] for name in arrays if name.startswith("conv")})
    for name, stride, padding in zip(names, strides, paddings, strict=True):
        x = functional.max_pool2d(x, pooled[name], 2) if name in pooled else x
        kernel, bias = (torch.from_numpy(arrays[f"{name}/{leaf}"]) for leaf in ("kernel", "bias"))
        x = functional.relu(functional.conv2d(x, kernel.permute(3, 2, 0, 1).contiguous(), bias, stride, padding))
        if net == "alexnet" or name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
            taps.append(x.permute(0, 2, 3, 1).numpy())
    return taps


# The networks


@BOTH
@pytest.mark.parametrize("size", [33, pytest.param(64, marks=pytest.mark.slow)])
def test_all_activations_are_those_of_torch(net, size):
    arrays, x = random_weights(net), images(2, size)
    expected = torch_activations(net, arrays, x)
    found = jax.jit(NETWORKS[net].activations)(arrays, x)
    assert len(found) == len(expected) == 5
    for one, other in zip(found, expected, strict=True):
        assert (one > 0).any()
        close(one, other, 2e-6)


@BOTH
def test_the_convolutions_have_as_many_parameters_as_published(net):
    arrays = random_weights(net)
    assert sum(array.size for name, array in arrays.items() if name.startswith("conv")) == PARAMETERS[net]
    assert all(array.dtype == np.float32 for array in arrays.values())


@BOTH
def test_features_are_the_mean_of_the_last_activations(net):
    arrays = random_weights(net)
    extractor = NETWORKS[net].extractor(arrays, "digest")
    assert extractor.name == net and extractor.sha256 == "digest" and extractor.resizer == "clean"
    assert not any(name.startswith("head") for name in extractor.params)
    x = images(2, extractor.size[0])
    features = jax.jit(extractor.apply)(extractor.params, (x + 1) * 127.5)["features"]
    close(features, torch_activations(net, arrays, x)[-1].mean((1, 2)), 1e-5)
    assert features.shape == (2, {"vgg16": 512, "alexnet": 256}[net])


def torch_efficientnet(tensors, x, features_only=False):
    """EfficientNet-Lite0 from the paper's table, with PyTorch's own batch normalization; padded as TensorFlow pads."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    tensors = {name: torch.from_numpy(array) for name, array in tensors.items()}

    def unit(x, convolution, norm, stride=1, groups=1, activate=True):
        kernel = tensors[f"{convolution}.weight"]
        total = [max((-(-side // stride) - 1) * stride + kernel.shape[-1] - side, 0) for side in x.shape[2:]]
        x = functional.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        x = functional.conv2d(x, kernel, stride=stride, groups=groups)
        leaves = [tensors[f"{norm}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *leaves, eps=1e-3)
        return functional.relu6(x) if activate else x

    x = torch.from_numpy(np.ascontiguousarray((x.transpose(0, 3, 1, 2) - 127) / 128))
    x = unit(x, "_conv_stem", "_bn0", 2)
    repeats, sides, strides = (1, 2, 2, 3, 3, 4, 1), (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1)
    block = 0
    for stage, (repeat, stride) in enumerate(zip(repeats, strides, strict=True)):
        for place in range(repeat):
            name, before, step = f"_blocks.{block}", x, stride if place == 0 else 1
            if stage:
                x = unit(x, f"{name}._expand_conv", f"{name}._bn0")
            assert tensors[f"{name}._depthwise_conv.weight"].shape[-1] == sides[stage]
            x = unit(x, f"{name}._depthwise_conv", f"{name}._bn1", step, x.shape[1])
            x = unit(x, f"{name}._project_conv", f"{name}._bn2", activate=False)
            x = x + before if place else x
            block += 1
    features = unit(x, "_conv_head", "_bn1").mean((2, 3))
    logits = functional.linear(features, tensors["_fc.weight"], tensors["_fc.bias"])
    return {"features": features.numpy(), "logits": logits.numpy()}


@pytest.mark.parametrize("size", [64, pytest.param(75, marks=pytest.mark.slow)])
def test_efficientnet_is_that_of_torch_though_its_batch_norms_are_folded(size):
    tensors = random_tensors(efficientnet.SHAPES)
    extractor = efficientnet.extractor(efficientnet.convert(tensors), "digest")
    x = (images(2, size) + 1) * 127.5
    found = jax.jit(extractor.apply)(extractor.params, x)
    for name, expected in torch_efficientnet(tensors, x).items():
        close(found[name], expected, 1e-5)


def test_efficientnet_has_as_many_tensors_as_its_file():
    assert len(efficientnet.SHAPES) == 296 - 49  # less the counters of 49 batch normalizations
    sizes = [np.prod(shape, dtype=int) for name, shape in efficientnet.SHAPES.items() if "running" not in name]
    assert sum(sizes) == 4_652_008  # published as 4.7 million


# LPIPS


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
    rng, widths = np.random.default_rng(0), NETWORKS[net].WIDTHS
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


def test_gradients_are_finite_where_there_are_no_activations_and_where_all_are_equal():
    dead, alive, head = jnp.zeros((1, 1, 2, 4)), jnp.ones((1, 1, 2, 4)), np.ones(4, np.float32)
    for first, second in ((dead, alive), (dead, dead), (alive, alive)):
        distance = jax.jit(lambda a, second=second: lpips.compare(a, second, head).sum())
        assert jnp.isfinite(jax.grad(distance)(first)).all() and jnp.isfinite(jax.hessian(distance)(first)).all()


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


def photograph(name):
    return np.asarray(pytest.importorskip("sklearn.datasets").load_sample_image(name))


def test_efficientnet_knows_a_palace_and_a_daisy():
    extractor = efficientnet.extractor(*real("efficientnet_lite0"), size=224)
    photographs = np.stack([photograph(name)[:, 106:533] for name in ("china.jpg", "flower.jpg")]).astype(np.float32)
    outputs = jax.jit(lambda params, x: extractor.apply(params, RESIZERS["clean"](x, extractor.size)))(
        extractor.params, photographs
    )
    assert outputs["logits"].argmax(1).tolist() == [698, 985]


@pytest.mark.slow  # the package takes long to import
@pytest.mark.parametrize("net, theirs", [("vgg16", "vgg"), ("alexnet", "alex")])
def test_the_heads_are_those_that_the_lpips_package_ships(net, theirs):
    torch, peer = pytest.importorskip("torch"), pytest.importorskip("lpips")
    from pathlib import Path

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
