"""The network of the Frechet Inception distance: Inception v3 as TensorFlow's file of 2015-12-05 has it.

Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision" (arXiv 1512.00567), and where that file
departs from it: 1008 classes, averages that leave the padding out, and a maximum in place of the last average. It is
known to PyTorch as pt_inception-2015-12-05-6726825d.pth (pytorch-fid, torch-fidelity); `convert` reads its tensors. A
score of this network is a Frechet *Inception* distance only with those weights.
"""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, Float32

from vaegan_jax.errors import check, unknown
from vaegan_jax.evaluation.features.extractor import Extractor, PyTree
from vaegan_jax.evaluation.features.pooling import average_pool, max_pool

FILE = "pt_inception-2015-12-05-6726825d.pth"
SIZE = (299, 299)
CLASSES = 1008
EPSILON = 1e-3
"""Added to the variances of all batch norms."""
SCALINGS = {"clean": (128.0, 128.0), "bilinear": (127.5, 127.5), "tf1": (128.0, 128.0)}
"""(x - a) / b of pixels in 0 .. 255, by resizer: clean-fid and the first code take 128, pytorch-fid 2 (x / 255) - 1."""
PADDED = ((0, 0), (0, 1))
"""In place of no padding, and without what it adds: XLA:CPU of JAX 0.10 writes all patches of a convolution without any
padding into memory, ten times its output."""
TENSORS = {
    "kernel": "conv.weight",
    "scale": "bn.weight",
    "bias": "bn.bias",
    "mean": "bn.running_mean",
    "variance": "bn.running_var",
}
"""PyTorch's names of what a unit has."""


class Unit(nn.Module):
    """Convolution, bias, ReLU: (n, h, w, c) -> (n, h2, w2, features). The file's batch norm is in both (`folded`)."""

    features: int
    kernel_size: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"
    pooled: bool = False
    """Averages before the ReLU what pytorch-fid averages before a 1 x 1 convolution: the same of fewer channels."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        # Accelerators round the factors to ten bits or fewer by default, and the score with them.
        highest = jax.lax.Precision.HIGHEST
        if self.kernel_size == (1, 1):  # XLA:CPU is twice as fast at this product as at the convolution that it is
            y = jax.lax.dot_general(x, kernel[0, 0], (((3,), (0,)), ((), ())), precision=highest)
        else:
            strides, layout = (self.stride, self.stride), ("NHWC", "HWIO", "NHWC")
            padding = PADDED if self.padding == "VALID" else self.padding
            y = jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout, precision=highest)
            y = y[:, :, : (x.shape[2] - 3) // self.stride + 1] if self.padding == "VALID" else y
        y = average_pool(y) if self.pooled else y
        return nn.relu(y + bias.reshape((1, 1, 1, -1)))


class BlockA(nn.Module):
    """35 x 35: 1 x 1, 5 x 5, twice 3 x 3, average."""

    pooled: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w f"]:
        return _concatenated(
            _branch(x, ("branch1x1", 64, (1, 1))),
            _branch(x, ("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))),
            _branch(x, ("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))),
            Unit(self.pooled, pooled=True, name="branch_pool")(x),
        )


class BlockB(nn.Module):
    """35 x 35 -> 17 x 17."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        double = _branch(x, ("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)))
        return _concatenated(_halved(x, "branch3x3", 384), _halved(double, "branch3x3dbl_3", 96), max_pool(x, 3, 2))


class BlockC(nn.Module):
    """17 x 17: 1 x 1, 7 x 7 and twice 7 x 7 as products of rows and columns, average."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w f"]:
        row, column, width = (1, 7), (7, 1), self.width
        return _concatenated(
            _branch(x, ("branch1x1", 192, (1, 1))),
            _branch(x, ("branch7x7_1", width, (1, 1)), ("branch7x7_2", width, row), ("branch7x7_3", 192, column)),
            _branch(
                x,
                ("branch7x7dbl_1", width, (1, 1)),
                ("branch7x7dbl_2", width, column),
                ("branch7x7dbl_3", width, row),
                ("branch7x7dbl_4", width, column),
                ("branch7x7dbl_5", 192, row),
            ),
            Unit(192, pooled=True, name="branch_pool")(x),
        )


class BlockD(nn.Module):
    """17 x 17 -> 8 x 8."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        single = _branch(x, ("branch3x3_1", 192, (1, 1)))
        wide = _branch(
            x, ("branch7x7x3_1", 192, (1, 1)), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1))
        )
        return _concatenated(
            _halved(single, "branch3x3_2", 320), _halved(wide, "branch7x7x3_4", 192), max_pool(x, 3, 2)
        )


class BlockE(nn.Module):
    """8 x 8: 1 x 1, 3 x 3 and twice 3 x 3 that end in a row beside a column, a pool."""

    maximum: bool
    """In the last block the file pools by the maximum, where the paper, and the block before, average."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w f"]:
        single = _branch(x, ("branch3x3_1", 384, (1, 1)))
        double = _branch(x, ("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3)))
        return _concatenated(
            _branch(x, ("branch1x1", 320, (1, 1))),
            _branch(single, ("branch3x3_2a", 384, (1, 3))),
            _branch(single, ("branch3x3_2b", 384, (3, 1))),
            _branch(double, ("branch3x3dbl_3a", 384, (1, 3))),
            _branch(double, ("branch3x3dbl_3b", 384, (3, 1))),
            Unit(192, pooled=not self.maximum, name="branch_pool")(max_pool(x, 3, 1, padding=1) if self.maximum else x),
        )


class Inception(nn.Module):
    """Images (n, 299, 299, 3), scaled to about [-1, 1], -> taps by name."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"]) -> dict[str, Array]:
        x = Unit(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = Unit(32, (3, 3), padding="VALID", name="Conv2d_2a_3x3")(x)
        x = Unit(64, (3, 3), name="Conv2d_2b_3x3")(x)
        first = x = max_pool(x, 3, 2)
        x = Unit(80, name="Conv2d_3b_1x1")(x)
        x = Unit(192, (3, 3), padding="VALID", name="Conv2d_4a_3x3")(x)
        second = x = max_pool(x, 3, 2)
        for letter, pooled in zip("bcd", (32, 64, 64), strict=True):
            x = BlockA(pooled, name=f"Mixed_5{letter}")(x)
        x = BlockB(name="Mixed_6a")(x)
        for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
            x = BlockC(width, name=f"Mixed_6{letter}")(x)
        third, x = x, BlockD(name="Mixed_7a")(x)
        x = BlockE(maximum=False, name="Mixed_7b")(x)
        pool = BlockE(maximum=True, name="Mixed_7c")(x).mean((1, 2))
        logits, bias = _Classes(name="fc")(pool)
        taps = {"64": first, "192": second, "768": third, "2048": pool}
        return taps | {"logits_unbiased": logits, "logits": logits + bias}


class _Classes(nn.Module):
    """The last, linear map, and apart from it its bias, (1, classes)."""

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> tuple[Array, Array]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], CLASSES))
        bias = self.param("bias", nn.initializers.zeros, (CLASSES,))
        return jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST), bias[None]


def taps(params: PyTree, images: Float32[Array, "n h w 3"]) -> dict[str, Array]:
    """What the literature takes from the network, at images scaled to about [-1, 1] and of 299 x 299 pixels.

    "64", "192" and "768" are maps (n, h, w, channels): after the first and the second maximum, and before the last
    halving. "2048" (n, 2048) is the mean of the last map: the features of FID, KID and others. "logits_unbiased"
    (n, 1008), without the last bias, is what the Inception score was defined on; "logits" has it. `params` are those
    that `folded` gives.
    """
    return Inception().apply({"params": params}, images)


def convert(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of PyTorch's file, by its names, as ours: "Mixed_5b/branch1x1/kernel", ...; counters are ignored.

    Raises UserError with the first tensor that is missing, of another shape or type, not finite, or not of this
    network.
    """
    given = {name: array for name, array in tensors.items() if not name.endswith("num_batches_tracked")}
    theirs = {_theirs(name): name for name in shapes()}
    # Kernels are OIHW there and HWIO here; the last map's are (out, in) and (in, out).
    _match(given, {key: (*shapes()[name][:-3:-1], *shapes()[name][:-2]) for key, name in theirs.items()})
    axes = {name: (2, 3, 1, 0) if len(shape) == 4 else None for name, shape in shapes().items()}
    return {name: np.ascontiguousarray(np.transpose(given[key], axes[name])) for key, name in theirs.items()}


def extractor(arrays: Mapping[str, np.ndarray], sha256: str, resizer: str = "clean") -> Extractor:
    """The extractor of converted weights: features (n, 2048) and logits (n, 1008) without bias, at 299 x 299.

    The resizer decides on the scaling too: "clean" is clean-fid's protocol, "bilinear" pytorch-fid's, "tf1" that of
    the first FID code and of torch-fidelity. Raises UserError for another one, and for arrays that do not match.
    """
    if resizer not in SCALINGS:
        raise unknown("resizer of the Inception network", resizer, SCALINGS)
    _match(arrays, shapes())
    return Extractor("inception", sha256, resizer, SIZE, folded(arrays), _APPLY[resizer])


def folded(arrays: Mapping[str, np.ndarray]) -> PyTree:
    """The parameters of the network, from arrays of `shapes`: each batch norm is taken into its kernel and bias.

    Done once: XLA would do it, and write 87 MB, for every few images.
    """
    made = {name: np.asarray(array) for name, array in arrays.items() if name.endswith(("kernel", "bias"))}
    for unit in (name.removesuffix("/scale") for name in arrays if name.endswith("/scale")):
        gain = arrays[f"{unit}/scale"] / np.sqrt(arrays[f"{unit}/variance"] + np.float32(EPSILON))
        made[f"{unit}/kernel"] = made[f"{unit}/kernel"] * gain
        made[f"{unit}/bias"] = made[f"{unit}/bias"] - arrays[f"{unit}/mean"] * gain
    return traverse_util.unflatten_dict(made, sep="/")


@functools.cache
def shapes() -> dict[str, tuple[int, ...]]:
    """The shapes of all arrays of the file, by our names: a unit's kernel, and the four vectors of its batch norm."""
    image = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32)
    variables = jax.eval_shape(Inception().init, jax.random.key(0), image)
    found = {}
    for name, leaf in traverse_util.flatten_dict(variables["params"], sep="/").items():
        found[name] = leaf.shape
        if name.endswith("/bias") and not name.startswith("fc/"):
            found |= {name.removesuffix("bias") + each: leaf.shape for each in ("scale", "mean", "variance")}
    return found


def _apply(scaling: tuple[float, float], params: PyTree, images: Float32[Array, "n h w 3"]) -> dict[str, Array]:
    shift, scale = scaling
    outputs = taps(params, (images - shift) / scale)
    return {"features": outputs["2048"], "logits": outputs["logits_unbiased"]}


_APPLY = {resizer: functools.partial(_apply, scaling) for resizer, scaling in SCALINGS.items()}
"""Made once, so that an extractor made a second time is not compiled a second time."""


def _branch(x: Array, *units: tuple[str, int, tuple[int, int]]) -> Array:
    for name, features, kernel_size in units:
        x = Unit(features, kernel_size, name=name)(x)
    return x


def _halved(x: Array, name: str, features: int) -> Array:
    return Unit(features, (3, 3), 2, "VALID", name=name)(x)


def _concatenated(*branches: Array) -> Array:
    return jnp.concatenate(branches, axis=-1)


def _theirs(name: str) -> str:
    """PyTorch's name of ours."""
    *path, leaf = name.split("/")
    return ".".join([*path, {"kernel": "weight", "bias": "bias"}[leaf] if path == ["fc"] else TENSORS[leaf]])


def _match(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises UserError with the first array that is not as `shapes` say."""
    told = f"these are not the FID network's weights ({FILE})"
    for name, shape in shapes.items():
        check(name in arrays, f"{told}: {name} {shape} is missing")
        array = np.asarray(arrays[name])
        check(array.shape == shape, f"{told}: {name} has the shape {array.shape}, not {shape}")
        check(array.dtype == np.float32, f"{told}: {name} is {array.dtype}, not float32")
        check(bool(np.isfinite(array).all()), f"the weights are damaged: {name} has values that are not finite")
    extra = sorted(set(arrays) - set(shapes))
    check(not extra, f"{told}: the network has no {extra[0] if extra else ''}")
