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
    N,
    X,
    Z,
    bits,
    fakes,
    filled,
    log_d,
    logits,
    noise,
    params,
    pay,
)

from vaegan_jax.games import init, play
from vaegan_jax.models import gan
from vaegan_jax.models.adversarial_game import more

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def losses(config, step=0, **parts):
    """The losses of both players, by the game, with the latents Z; and the discriminator's metrics."""
    paid = pay(config, step=step, **parts)
    assert all(stats == {name: {}} for name, (_, stats, _) in paid.items())
    return float(paid["discriminator"][0]), float(paid["generator"][0]), paid["discriminator"][2]


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
            name: jax.grad(player.loss, has_aux=True)(
                state.params, state.stats, one, jax.random.clone(key), jnp.int32(0)
            )[0]
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
    game = gan.game(config, LARGE, gan.seams(config, LARGE)._replace(**parts))
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
    same = lambda params, images, keys, step: jnp.asarray(np.tanh(noise(4, 16, 16, 1, seed=7)), jnp.float32)  # noqa: E731
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
    view = lambda params, images, keys, step: images * 0.5 + 0.01 * step  # noqa: E731
    discriminator, generator, _ = losses(DENSE, step=30, view=view)
    real, fake = logits(0.5 * X + 0.3), logits(0.5 * fakes() + 0.3)
    np.testing.assert_allclose(discriminator, -log_d(real).mean() - log_d(-fake).mean(), rtol=1e-12)
    np.testing.assert_allclose(generator, -log_d(fake).mean(), rtol=1e-12)


def test_noise_in_the_view_is_each_image_s_own_and_another_one_for_real_and_generated(float64):
    seen, drawn = [], []

    def view(params, images, keys, step):
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


def test_a_further_term_is_paid_by_its_player_alone_on_what_lies_on_the_table(float64):
    tables = []

    def squared_scores(table):
        tables.append(table)
        assert bits(table.judge(table.fake.images, None)) == bits(table.fake.judgment)
        assert bits(0.5 * table.generate(table.fake.latents)) == bits(table.fake.images)
        return 0.5 * jnp.square(table.real.score) + 2.0 * jnp.square(table.fake.score)

    view = lambda params, images, keys, step: images * 0.5  # noqa: E731
    terms = more(gan.seams(DENSE, SPEC).terms, "discriminator", squared=squared_scores)
    plain, paid = losses(DENSE, view=view), losses(DENSE, view=view, terms=terms)
    real, fake = logits(0.5 * X), logits(0.5 * fakes())
    term = (0.5 * real**2 + 2 * fake**2).mean()
    np.testing.assert_allclose(paid[0], plain[0] + term, rtol=1e-12)
    np.testing.assert_allclose(paid[2]["squared"], term, rtol=1e-12)
    assert paid[1] == plain[1] and "squared" not in plain[2] and len(tables) == 1
    for seen, expected in ((tables[0].real, 0.5 * X), (tables[0].fake, 0.5 * fakes())):
        np.testing.assert_allclose(seen.images.reshape(N, PIXELS), expected, rtol=1e-12)
    np.testing.assert_array_equal(tables[0].fake.latents, Z)
    assert tables[0].real.latents is tables[0].real.labels is None


def test_latents_views_and_terms_have_keys_of_their_own():
    used = []

    def note(result, of=lambda *args: args[-2]):
        def part(*args):
            used.extend(row.tobytes() for row in np.asarray(jax.random.key_data(of(*args))))
            return result(*args)

        return part

    seams = gan.seams(DENSE, SPEC)
    counted = note(lambda table: table.real.score, of=lambda table: table.keys)
    filled = seams._replace(
        prior=note(lambda keys: jnp.asarray(Z, jnp.float32), of=lambda keys: keys),
        view=note(lambda params, images, keys, step: images),
        terms=more(seams.terms, "discriminator", one=counted, two=counted),
    )
    weights = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params())
    batch = {"image": jnp.zeros((N, *SPEC.image_shape)), "position": jnp.arange(N)}
    gan.game(DENSE, SPEC, filled)["discriminator"].loss(weights, STATS, batch, jax.random.key(0), jnp.int32(0))
    assert len(used) == len(set(used)) == 5 * N
