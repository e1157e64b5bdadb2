"""VGG16, AlexNet and EfficientNet-Lite0 compute what PyTorch computes, and with the real weights see sense.

Tests of the real weights need `vaegan weights fetch vgg16`, and so on, and are skipped without.
"""

import jax
import numpy as np
import pytest
from random_networks import NETWORKS, close, images, photograph, random_tensors, random_weights, real, torch_activations

from vaegan_jax.evaluation.features import efficientnet
from vaegan_jax.evaluation.resizing import RESIZERS

BOTH = pytest.mark.parametrize("net", NETWORKS)
PARAMETERS = {"vgg16": 14_714_688, "alexnet": 2_469_696}
"""Of the convolutions, as the models of torchvision have them."""


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


def test_efficientnet_knows_a_palace_and_a_daisy():
    extractor = efficientnet.extractor(*real("efficientnet_lite0"), size=224)
    photographs = np.stack([photograph(name)[:, 106:533] for name in ("china.jpg", "flower.jpg")]).astype(np.float32)
    outputs = jax.jit(lambda params, x: extractor.apply(params, RESIZERS["clean"](x, extractor.size)))(
        extractor.params, photographs
    )
    assert outputs["logits"].argmax(1).tolist() == [698, 985]
