"""BigGAN's networks: parameters counted by hand and as published, shapes map by map, where classes and z go."""

import math
import re
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.networks import biggan, biggan_deep
from vaegan_jax.networks.heads import Score

pytestmark = pytest.mark.usefixtures("compiled_quickly")
CLASSES, SHARED = 1000, 128
UP = {32: (4, 4, 4, 4), 64: (16, 16, 8, 4, 2), 128: (16, 16, 8, 4, 2, 1)}
UP |= {256: (16, 16, 8, 8, 4, 2, 1), 512: (16, 16, 8, 8, 4, 2, 1, 1)}
DOWN = {32: (4, 4, 4, 4), 64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16)}
DOWN |= {256: (1, 2, 4, 8, 8, 16, 16), 512: (1, 1, 2, 4, 8, 8, 16, 16)}
DEEP_DOWN = {128: (2, 4, 8, 16, 16), 256: (2, 4, 8, 8, 16, 16), 512: (1, 2, 4, 8, 8, 16, 16)}


def shapes(module, *given):
    """Of its output, of its parameters, and of the output of each submodule, by name."""
    return jax.eval_shape(
        lambda *x: module.init_with_output(jax.random.key(0), *x, train=True, capture_intermediates=True),
        *(jnp.zeros(shape) for shape in given),
    )


def size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def generator(module, side, latent_size, width):
    return shapes(module.Generator((side, side, 3), width), (2, latent_size), (2, CLASSES))


def judge(module, side, width):
    features, variables = shapes(module.Body(width), (2, side, side, 3))
    head = shapes(Score(True, spectral=True), features.shape, (2, CLASSES))[1]
    return size(variables["params"]) + size(head["params"]), features, variables


def attention(c):
    return 2 * c * (c // 8) + 2 * c * (c // 2) + 1


def convolution(a, b, side=3):
    return side * side * a * b + b


def ends(width, up, piece):
    """Embedding, dense map, last batch norm and convolution."""
    first, last = up[0] * width, up[-1] * width
    return CLASSES * SHARED + (piece + 1) * 16 * first + 2 * last + convolution(last, 3)


def attended(side, widths):
    """The relative width of the map of 64 pixels, or of half of the image's, on the way up."""
    at = 0 if side == 32 else min(64, side // 2)
    return {4 * 2**place: width for place, width in enumerate(widths)}.get(at)


SIZES = [
    (32, 64, None),
    (128, 96, (70_433_988, 87_982_370)),
    *(pytest.param(*row, marks=pytest.mark.slow) for row in ((64, 64, None), (256, 96, None), (512, 96, None))),
]
DEEP = [(128, 50.4), *(pytest.param(*row, marks=pytest.mark.slow) for row in ((256, 55.9), (512, 56.2)))]


@pytest.mark.parametrize(("side", "width", "published"), SIZES)
def test_biggan_has_the_parameters_of_the_paper_s_tables(side, width, published):
    """Published: printed by the authors' PyTorch program at its start, and 70.4 M and 88.0 M in the paper."""
    up, down = UP[side], DOWN[side]
    image, variables = generator(biggan, side, 20 * len(up), width)
    wide, told = [width * relative for relative in up], SHARED + 20
    expected = ends(width, up, 20)
    for a, b in pairwise(wide):
        expected += 2 * told * (a + b) + convolution(a, b) + convolution(b, b) + convolution(a, b, 1)
    expected += attention(width * attended(side, up)) if side > 32 else 0
    assert image.shape == (2, side, side, 3) and size(variables["params"]) == expected
    counted, features, _ = judge(biggan, side, width)
    channels, halvings = [3, *(width * relative for relative in down)], len(up) - 1 if side > 32 else 2
    judged = (CLASSES + 1) * channels[-1] + 1
    for place, (a, b) in enumerate(pairwise(channels)):
        judged += convolution(a, b) + convolution(b, b)
        judged += convolution(a, b, 1) if place < halvings or a != b else 0
        judged += attention(b) if side > 32 and side >> (place + 1) == min(64, side // 2) else 0
    assert features.shape == (2, channels[-1]) and counted == judged
    assert published in (None, (expected, judged))


@pytest.mark.parametrize(("side", "published"), DEEP)
def test_biggan_deep_has_the_parameters_of_the_published_weights(side, published):
    """These have 128 filters in the last convolution, of which 3 are used (in millions, as their package tells)."""
    image, variables = generator(biggan_deep, side, 128, 128)
    unused = (128 - 3) * (9 * 128 + 1)
    assert image.shape == (2, side, side, 3)
    assert round((size(variables["params"]) + unused) / 1e6, 1) == published
    if side == 128:
        assert round(judge(biggan_deep, side, 128)[0] / 1e6, 1) == 34.6


def deep_block(a, b, norms=0):
    """Four convolutions within a quarter of the channels: of `a`, with norms that see so many numbers, or of `b`."""
    h = (a if norms else b) // 4
    grown = convolution(a, b - a, 1) if b > a else 0  # on the way up channels are dropped, on the way down completed
    return convolution(a, h, 1) + 2 * convolution(h, h) + convolution(h, b, 1) + grown + 2 * norms * (a + 3 * h)


@pytest.mark.parametrize("side", [32, 64, 128])
def test_biggan_deep_has_the_parameters_of_its_blocks(side):
    """At 128 pixels those of the weights and of the paper, counted above; at 32 and 64 those of BigGAN-PyTorch."""
    width, told = 128, 128 + SHARED
    wide = [width * relative for relative in UP[side]]
    expected = CLASSES * SHARED + (told + 1) * 16 * wide[0] + 2 * wide[-1] + convolution(wide[-1], 3)
    expected += sum(deep_block(a, a, told) + deep_block(a, b, told) for a, b in pairwise(wide))
    expected += attention(width * attended(side, UP[side])) if side > 32 else 0
    found = size(generator(biggan_deep, side, 128, width)[1]["params"])
    first, stages = (4, (4, 4, 4)) if side == 32 else (1, (2, 4, 8, 16)) if side == 64 else (1, DEEP_DOWN[side])
    down = [width * relative for relative in (first, *stages)]
    judged = convolution(3, down[0]) + (CLASSES + 1) * down[-1] + 1
    judged += sum(deep_block(a, b) + deep_block(b, b) for a, b in pairwise(down))
    heights = [side >> (n + 1) for n in range(len(stages))]
    judged += attention(down[1 + heights.index(min(64, side // 2))]) if side > 32 else 0
    assert (found, judge(biggan_deep, side, width)[0]) == (expected, judged)


def maps(variables):
    """(module, shape of its output) in the order of the calls, of blocks and attention."""
    found = variables["intermediates"]
    blocks = [
        (name, tree["__call__"][0].shape[1:]) for name, tree in found.items() if re.search("Block|Attention", name)
    ]
    return [(name.split("_")[0], *shape) for name, shape in blocks]


def attending(side):
    """The height of the map that self-attention follows; none in images of 32 pixels."""
    return [] if side == 32 else [min(64, side // 2)]


@pytest.mark.slow
@pytest.mark.parametrize("side", UP)
def test_maps_are_those_of_the_tables_block_by_block(side):
    """The paper's tables 4 to 6 from 128 pixels on, the authors' program's below: up, then down."""
    at, width = attending(side), 16
    up = [("UpBlock", 8 << n, 8 << n, width * relative) for n, relative in enumerate(UP[side][1:])]
    up += [("SelfAttention", h, h, width * attended(side, UP[side])) for h in at]
    assert sorted(maps(generator(biggan, side, 20 * len(UP[side]), width)[1])) == sorted(up)
    halvings = len(UP[side]) - 1 if side > 32 else 2
    heights = [side >> min(n + 1, halvings) for n in range(len(DOWN[side]))]
    down = [("DownBlock", h, h, width * relative) for h, relative in zip(heights, DOWN[side], strict=True)]
    down += [("SelfAttention", h, h, width * DOWN[side][heights.index(h)]) for h in at]
    assert sorted(maps(judge(biggan, side, width)[2])) == sorted(down)


@pytest.mark.slow
@pytest.mark.parametrize("side", [128, 256, 512])
def test_maps_of_deep_networks_are_those_of_the_tables_block_by_block(side):
    """The paper's tables 7 to 9: two blocks at a size, the second of which doubles or halves it."""
    at, width = attending(side), 16
    widths = list(enumerate(pairwise(UP[side])))
    up = [("UpBlock", 4 << n, 4 << n, width * a) for n, (a, _) in widths]
    up += [("UpBlock", 8 << n, 8 << n, width * b) for n, (_, b) in widths]
    up += [("SelfAttention", h, h, width * attended(side, UP[side])) for h in at]
    assert sorted(maps(generator(biggan_deep, side, 128, width)[1])) == sorted(up)
    stages = [(side >> (n + 1), relative) for n, relative in enumerate(DEEP_DOWN[side]) for _ in range(2)]
    down = [("DownBlock", h, h, width * relative) for h, relative in stages]
    down += [("SelfAttention", h, h, width * dict(stages)[h]) for h in at]
    assert sorted(maps(judge(biggan_deep, side, width)[2])) == sorted(down)


def test_each_piece_of_z_reaches_its_own_block_and_those_after_it():
    module = biggan.Generator((32, 32, 1), 4, 3)
    z, classes = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8)), jnp.float32), jnp.eye(2)
    variables = module.init(jax.random.key(0), z, classes)

    def blocks(z):
        found = module.apply(variables, z, classes, capture_intermediates=True)[1]["intermediates"]
        return [np.asarray(found[f"UpBlock_{place}"]["__call__"][0]) for place in range(3)]

    before = blocks(z)
    for piece in range(4):
        changed = [not np.array_equal(a, b) for a, b in zip(before, blocks(z.at[:, 2 * piece].add(1)), strict=True)]
        assert changed == [place >= piece - 1 for place in range(3)]


@pytest.mark.slow
def test_all_but_the_embedding_is_normalized_and_orthogonal_at_first():
    for module in (biggan, biggan_deep):
        made = module.Generator((32, 32, 1), 4, 3)
        variables = made.init(jax.random.key(0), jnp.zeros((1, 8)), jnp.zeros((1, 2)))
        normalized = {path[:-1] for path, _ in jax.tree_util.tree_leaves_with_path(variables["spectral"])}
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
            if path[-1].key == "kernel":
                assert (path[:-1] in normalized) == (path[0].key != "shared")
                matrix = np.asarray(leaf).reshape(-1, leaf.shape[-1])
                product = matrix.T @ matrix if len(matrix) >= matrix.shape[1] else matrix @ matrix.T
                if path[0].key != "shared":
                    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5)


def test_a_z_that_cannot_be_cut_and_sizes_without_a_table_are_refused_in_one_line():
    with pytest.raises(
        ValueError, match="latent-size 121 cannot be cut into 6 equal pieces: the paper has 20 in each, 120"
    ):
        generator(biggan, 128, 121, 4)
    with pytest.raises(ValueError, match="BigGAN has 32, 64, 128, 256 and 512 pixels, not 1024x1024"):
        generator(biggan, 1024, 120, 4)
    with pytest.raises(ValueError, match="attention at 5 pixels, but the maps here have 8, 16, 32, 64"):
        shapes(biggan.Generator((128, 128, 3), 4, attention=5), (2, 120), (2, 3))
