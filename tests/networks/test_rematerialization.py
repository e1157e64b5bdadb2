"""Blocks whose inner activations are computed again are the same blocks, and keep less for the backward pass."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scaling import SOURCE, biggan, filled

from vaegan_jax.models import CONFIGS, gan
from vaegan_jax.networks import biggan_deep
from vaegan_jax.networks.residual import DownBlock, UpBlock, block

NETWORKS = {
    "biggan": lambda **again: biggan(**again),
    "biggan-deep": lambda **again: CONFIGS["biggan-deep"](
        width=2, latent_size=4, shared_size=3, attention=8, discriminator_moves=1, **again
    ),
    "resnet": lambda **again: gan.Config("resnet", 4, width=2, spectral="both", **again),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def setup(name, part, **again):
    """A network's loss of (params, stats), with its new stats; and variables, made by NumPy."""
    config = NETWORKS[name](**again)
    network = gan.networks(config, SOURCE.spec)[part]
    variables = jax.eval_shape(network.init, jax.random.key(0))
    draw = np.random.default_rng(1).normal
    inputs = draw(size=(4, config.latent_size) if part == "generator" else (4, 16, 16, 1))
    told = (np.eye(3)[np.arange(4) % 3],) if config.condition != "none" else ()

    def loss(params, stats):
        output, moved = network.apply(params, stats, jnp.asarray(inputs), *map(jnp.asarray, told), train=True)
        return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(output)), moved

    return loss, variables


def kept(loss, variables):
    """Bytes that a backward pass needs."""
    pulls = jax.eval_shape(lambda params, stats: jax.vjp(lambda p: loss(p, stats)[0], params)[1], *variables)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pulls))


@pytest.mark.parametrize(
    "name", ["biggan", *(pytest.param(name, marks=pytest.mark.slow) for name in list(NETWORKS)[1:])]
)
@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_parameters_have_the_same_names_and_less_is_kept(name, part):
    plain, variables = setup(name, part)
    again, others = setup(name, part, rematerialize=True)
    assert variables == others
    assert kept(again, others) < 0.7 * kept(plain, variables)


@pytest.mark.slow
@every_network
@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_gradients_and_stats_are_the_same(name, part, float64, this_compiled_quickly):
    ends = []
    for again in ({}, {"rematerialize": True}):
        loss, shapes = setup(name, part, **again)
        params, stats = filled(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, float), shapes))
        stats = jax.tree.map(abs, stats)
        ends.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(params, stats))
    assert_near(*ends)


def assert_near(left, right):
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(left[1]))
    assert jax.tree.structure(left) == jax.tree.structure(right) and largest > 1e-3
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * largest)


class Blocks(nn.Module):
    """One up and one down."""

    rematerialize: bool

    @nn.compact
    def __call__(self, x, condition, train: bool):
        up, down = (block(kind, self.rematerialize) for kind in (UpBlock, DownBlock))
        x = up(4, spectral=True, name="UpBlock_0")(x, train, condition)
        x = block(biggan_deep.UpBlock, self.rematerialize)(4, False, name="UpBlock_1")(x, condition, train)
        return down(4, spectral=True, norm="layer", name="DownBlock_0")(x, train)


@pytest.mark.slow
def test_a_block_computed_again_has_the_same_gradients_and_moves_its_stats_once(float64, this_compiled_quickly):
    draw = np.random.default_rng(0).normal
    x, condition = jnp.asarray(draw(size=(3, 4, 4, 4))), jnp.asarray(draw(size=(3, 2)))
    shapes = jax.eval_shape(lambda: Blocks(False).init(jax.random.key(0), x, condition, True))
    variables = filled(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, float), shapes))
    stats = {name: jax.tree.map(abs, tree) for name, tree in variables.items() if name != "params"}
    assert set(stats) == {"batch_stats", "spectral"}

    def ends(rematerialize):
        def loss(params):
            given = {"params": params, **stats}
            y, moved = Blocks(rematerialize).apply(given, x, condition, True, mutable=list(stats))
            return jnp.square(y).sum(), moved

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    found = jax.jit(lambda: (ends(False), ends(True)))()
    assert_near(*found)
    moved = found[0][0][1]
    changed = [not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (moved, stats)), strict=True)]
    assert all(changed)


@pytest.mark.parametrize("network", ["mlp", "dcgan", "sndcgan"])
def test_networks_without_blocks_refuse_it_by_name(network):
    told = f"rematerialize is for the blocks of resnet, biggan, biggan-deep, and the {network} network has none"
    with pytest.raises(ValueError, match=told):
        gan.networks(gan.Config(network, 4, width=2, rematerialize=True), SOURCE.spec)
