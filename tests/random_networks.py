"""Pre-trained networks' stand-ins with random weights, and what is checked with them."""

import functools

import numpy as np
import pytest

from vaegan_jax.evaluation import weights
from vaegan_jax.evaluation.features import alexnet, vgg16

NETWORKS = {"vgg16": vgg16, "alexnet": alexnet}


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


def photograph(name):
    return np.asarray(pytest.importorskip("sklearn.datasets").load_sample_image(name))
