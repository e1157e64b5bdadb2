"""The GAN's game against NumPy: what the players lose, who moves, and what its replaceable parts reach."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import (
    CONVOLUTIONAL,
    DENSE,
    LARGE,
    PIXELS,
    SPEC,
    STATS,
    WEIGHTS,
    N,
    Z,
    bits,
    filled,
    forward,
    noise,
    params,
)

from vaegan_jax.games import init, play
from vaegan_jax.models import gan

X = np.tanh(noise(N, PIXELS, seed=1))
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def fakes():
    return np.tanh(forward(Z, WEIGHTS["generator"], 0.0))


def logits(x):
    return forward(x, WEIGHTS["discriminator"], 0.2)[:, 0]


def log_d(x):
    """log D of the papers, D = 1 / (1 + exp(-logit)); log(1 - D) is log_d(-logit)."""
    return -np.log(1 + np.exp(-x))


def losses(config, step=0, key=0, **parts):
    """The losses of both players, by the game, with the latents Z; and the discriminator's metrics."""
    filled = gan.seams(config)._replace(**{"prior": lambda keys: jnp.asarray(Z)} | parts)
    batch = {"image": jnp.asarray(X).reshape(N, *SPEC.image_shape), "position": jnp.arange(N)}
    results = {}
    for name, player in gan.game(config, SPEC, filled).items():
        results[name], (stats, metrics) = player.loss(params(), STATS, batch, jax.random.key(key), jnp.int32(step))
        assert stats == {name: {}}
        if name == "discriminator":
            told = metrics
    return float(results["discriminator"]), float(results["generator"]), told


GENERATORS = {
    "non-saturating": lambda fake: -log_d(fake).mean(),  # the generator's losses by name
    "minimax": lambda fake: log_d(-fake).mean(),
}


@pytest.mark.parametrize("joint_batch", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("value", GENERATORS)
def test_both_losses_are_the_papers_of_the_logits_that_numpy_computes(value, smoothing, joint_batch, float64):
    config = replace(DENSE, value=value, label_smoothing=smoothing, joint_batch=joint_batch)
    discriminator, generator, metrics = losses(config)
    real, fake = logits(X), logits(fakes())
    cross_entropy = -((1 - smoothing) * log_d(real) + smoothing * log_d(-real)).mean() - log_d(-fake).mean()
    np.testing.assert_allclose(discriminator, cross_entropy, rtol=1e-12)
    np.testing.assert_allclose(generator, GENERATORS[value](fake), rtol=1e-12)
    np.testing.assert_allclose(metrics["real"], np.exp(log_d(real)).mean(), rtol=1e-12)
    np.testing.assert_allclose(metrics["fake"], np.exp(log_d(fake)).mean(), rtol=1e-12)


@pytest.fixture(scope="module")
def moves():
    """A convolutional game's state before a move, after the discriminator's, and after the generator's instead."""
    game = gan.game(CONVOLUTIONAL, LARGE)
    state = init(game, *filled(gan.networks(CONVOLUTIONAL, LARGE)))
    x = jnp.asarray(np.tanh(noise(1, 1, 4, 16, 16, 1)), jnp.float32)
    batch = {"image": x, "position": jnp.arange(4).reshape(1, 1, 4)}

    @jax.jit
    def run(state, batch, key):
        ends = {name: play(game, ((name,),))(state, batch, key)[0] for name in game}
        one = jax.tree.map(lambda leaf: leaf[0, 0], batch)
        slopes = {
            name: jax.grad(player.loss, has_aux=True)(state.params, state.stats, one, jax.random.clone(key), 0)[0]
            for name, player in game.items()
        }
        return ends, slopes

    ends, slopes = run(state, batch, jax.random.key(0))
    return state, ends, slopes


@pytest.mark.parametrize(("mover", "other"), [("discriminator", "generator"), ("generator", "discriminator")])
def test_in_its_move_a_player_moves_its_own_network_and_statistics_and_nothing_of_the_other(moves, mover, other):
    before, ends, slopes = moves
    after = ends[mover]
    assert all(bits(a) != bits(b) for a, b in pairs(before.params[mover], after.params[mover]))
    assert all(bits(a) != bits(b) for a, b in pairs(before.stats[mover], after.stats[mover]))
    assert bits(before.params[other]) == bits(after.params[other])
    assert bits(before.stats[other]) == bits(after.stats[other])
    assert bits(before.opt[other]) == bits(after.opt[other])
    assert any(leaf.any() for leaf in jax.tree.leaves(slopes[mover][other]))  # ownership holds it, no zero gradient


def pairs(left, right):
    return zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)


def large(config, **parts):
    """Losses and new stats of both players with convolutional networks."""
    game = gan.game(config, LARGE, gan.seams(config)._replace(**parts))
    params, stats = filled(gan.networks(config, LARGE))
    stats["discriminator"] = jax.tree.map(jnp.zeros_like, stats["discriminator"])
    batch = {"image": jnp.asarray(np.tanh(noise(4, 16, 16, 1)), jnp.float32), "position": jnp.arange(4)}
    run = lambda player: player.loss(params, stats, batch, jax.random.key(0), jnp.int32(0))  # noqa: E731
    return {
        name: (value, new)
        for name, (value, (new, _)) in jax.jit(
            lambda: jax.tree.map(run, dict(game), is_leaf=lambda x: isinstance(x, tuple))
        )().items()
    }


def test_one_joint_batch_differs_from_two_by_the_batch_norm_alone():
    """Where real and fake are the same images the losses agree; the statistics then are of one update or of two."""
    same = lambda images, keys, step: jnp.asarray(np.tanh(noise(4, 16, 16, 1, seed=7)), jnp.float32)  # noqa: E731
    separate, joint = large(CONVOLUTIONAL), large(replace(CONVOLUTIONAL, joint_batch=True))
    for name in separate:
        assert abs(separate[name][0] / joint[name][0] - 1) > 1e-3
    separate, joint = large(CONVOLUTIONAL, view=same), large(replace(CONVOLUTIONAL, joint_batch=True), view=same)
    for name in separate:
        np.testing.assert_allclose(separate[name][0], joint[name][0], rtol=1e-4)
    one, two = joint["discriminator"][1], separate["discriminator"][1]
    assert set(one) == set(two) == {"discriminator"}
    for a, b in pairs(one, two):
        np.testing.assert_allclose(b, (0.1 + 0.9 * 0.1) / 0.1 * a, rtol=1e-4)


def test_the_discriminator_moves_as_often_as_it_is_told_before_the_generator_does():
    assert gan.schedule(gan.Config()) == (("discriminator",), ("generator",))
    assert gan.schedule(gan.Config(discriminator_moves=3)) == (("discriminator",),) * 3 + (("generator",),)


def test_a_view_reaches_real_and_generated_images_alike_and_both_losses(float64):
    """And knows the round."""
    view = lambda images, keys, step: images * 0.5 + 0.01 * step  # noqa: E731
    discriminator, generator, _ = losses(DENSE, step=30, view=view)
    real, fake = logits(0.5 * X + 0.3), logits(0.5 * fakes() + 0.3)
    np.testing.assert_allclose(discriminator, -log_d(real).mean() - log_d(-fake).mean(), rtol=1e-12)
    np.testing.assert_allclose(generator, -log_d(fake).mean(), rtol=1e-12)


def test_noise_in_the_view_is_each_image_s_own_and_another_one_for_real_and_generated(float64):
    seen, drawn = [], []

    def view(images, keys, step):
        seen.append(jax.random.key_data(keys))
        drawn.append(jax.vmap(lambda key: jax.random.normal(key, SPEC.image_shape))(keys).reshape(N, PIXELS))
        return images + 0.1 * drawn[-1].reshape(images.shape)

    discriminator, generator, _ = losses(DENSE, view=view)
    assert len(seen) == 4  # real and fake, for either player
    real, fake = logits(X + 0.1 * np.asarray(drawn[0])), logits(fakes() + 0.1 * np.asarray(drawn[1]))
    np.testing.assert_allclose(discriminator, -log_d(real).mean() - log_d(-fake).mean(), rtol=1e-12)
    np.testing.assert_allclose(generator, -log_d(fake).mean(), rtol=1e-12)
    distinct = {row.tobytes() for row in np.concatenate([np.asarray(keys) for keys in seen[:2]])}
    assert len(distinct) == 2 * N


def test_a_penalty_is_paid_by_the_discriminator_alone_on_the_images_that_it_sees(float64):
    seen = []

    def mean_squared_score(score, real, fake, keys):
        seen.append((real, fake, jax.random.key_data(keys)))
        return 0.5 * jnp.square(score(real)) + 2.0 * jnp.square(score(fake))

    view = lambda images, keys, step: images * 0.5  # noqa: E731
    plain, paid = losses(DENSE, view=view), losses(DENSE, view=view, penalties=(mean_squared_score,) * 2)
    real, fake = logits(0.5 * X), logits(0.5 * fakes())
    penalty = (0.5 * real**2 + 2 * fake**2).mean()
    np.testing.assert_allclose(paid[0], plain[0] + 2 * penalty, rtol=1e-12)
    assert paid[1] == plain[1]
    assert len(seen) == 2
    for x, expected in zip(seen[0], (0.5 * X, 0.5 * fakes()), strict=False):
        np.testing.assert_allclose(x.reshape(N, PIXELS), expected, rtol=1e-12)
    assert len({row.tobytes() for row in np.asarray(seen[0][2])}) == N


def test_latents_views_and_penalties_have_keys_of_their_own():
    used = []

    def note(result):
        def part(*args):
            keys = next(
                arg
                for arg in args
                if isinstance(arg, jax.Array) and jax.dtypes.issubdtype(arg.dtype, jax.dtypes.prng_key)
            )
            used.extend(row.tobytes() for row in np.asarray(jax.random.key_data(keys)))
            return result(*args)

        return part

    game = gan.game(
        DENSE,
        SPEC,
        gan.seams(DENSE)._replace(
            prior=note(lambda keys: jnp.asarray(Z, jnp.float32)),
            view=note(lambda images, keys, step: images),
            penalties=(note(lambda score, real, fake, keys: jnp.zeros(N)),),
        ),
    )
    weights = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params())
    batch = {"image": jnp.zeros((N, *SPEC.image_shape)), "position": jnp.arange(N)}
    game["discriminator"].loss(weights, STATS, batch, jax.random.key(0), jnp.int32(0))
    assert len(used) == len(set(used)) == 4 * N
