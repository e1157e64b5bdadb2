"""The GAN's game against NumPy: what the players lose, who moves, and what its replaceable parts reach."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.data import ArraySource
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import UserError
from vaegan_jax.games import init, play
from vaegan_jax.models import gan
from vaegan_jax.networks.network import init_networks
from vaegan_jax.optimizers import Adam
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import PLAY, assemble, first_state, generate, step_of
from vaegan_jax.training.feeding import feeder
from vaegan_jax.training.parallel import rounds

SPEC, N, PIXELS, LATENT = DataSpec("pixels", (2, 2, 1), batch_size=5), 5, 4, 3
DENSE = gan.Config(network="mlp", hidden_sizes=(6,), latent_size=LATENT)
CONVOLUTIONAL = gan.Config(width=2, latent_size=LATENT)
LARGE = DataSpec("pixels", (16, 16, 1), batch_size=4)  # enough for a batch norm in either network
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


X, Z = np.tanh(noise(N, PIXELS, seed=1)), noise(N, LATENT, seed=2)


def layers(*sizes, seed):
    return [(noise(a, b, seed=seed + at), noise(b, seed=seed + at + 5)) for at, (a, b) in enumerate(sizes)]


WEIGHTS = {
    "generator": layers((LATENT, 6), (6, PIXELS), seed=10),
    "discriminator": layers((PIXELS, 6), (6, 1), seed=20),
}
STATS = {"generator": {}, "discriminator": {}}


def params():
    return {
        name: {f"Dense_{at}": {"kernel": jnp.asarray(w), "bias": jnp.asarray(b)} for at, (w, b) in enumerate(blocks)}
        for name, blocks in WEIGHTS.items()
    }


def forward(x, blocks, slope):
    (w, b), (v, c) = blocks
    hidden = x @ w + b
    return np.where(hidden > 0, hidden, slope * hidden) @ v + c


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


def filled(networks):
    """Parameters and stats of networks by NumPy, which needs no compiler."""
    shapes = jax.eval_shape(lambda key: init_networks(networks, key), jax.random.key(0))
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 + 0.3 * draw(size=leaf.shape), leaf.dtype), shapes)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


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


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize("config", [DENSE, CONVOLUTIONAL], ids=["mlp", "dcgan"])
def test_a_sample_is_an_image_that_depends_on_its_own_key_alone(config):
    networks = gan.networks(config, LARGE)
    params, stats = filled(networks)
    draw = jax.jit(lambda keys: gan.sample(config, LARGE, params, stats, keys))
    images, after = draw(keys(8))
    assert images.shape == (8, 16, 16, 1)
    assert -1 <= images.min() < images.max() <= 1
    assert bits(after) == bits(stats)
    assert bits(draw(keys(8))[0]) == bits(images)
    assert not np.allclose(draw(keys(8, seed=1))[0], images, atol=1e-2)
    several = jnp.concatenate([draw(keys(8)[:3])[0], draw(keys(8)[3:])[0]])
    np.testing.assert_allclose(several, images, atol=1e-5)  # however many are drawn beside it


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_samples_are_the_generator_s_images_of_the_prior_s_latents(prior, float64):
    config = replace(DENSE, prior=prior)
    z = np.asarray(gan.seams(config).prior(keys(200)))
    assert (abs(z).max() > 1) == (prior == "normal")
    images, _ = gan.sample(config, SPEC, params(), STATS, keys(200))
    np.testing.assert_allclose(
        np.asarray(images).reshape(200, PIXELS), np.tanh(forward(z, WEIGHTS["generator"], 0.0)), rtol=1e-11, atol=1e-14
    )


def test_samples_come_from_the_prior_of_a_filled_seam(float64):
    z = 0.1 * noise(5, DENSE.latent_size)
    images, _ = gan.sample(
        DENSE, SPEC, params(), STATS, keys(5), filled=gan.seams(DENSE)._replace(prior=lambda keys: jnp.asarray(z))
    )
    np.testing.assert_allclose(
        np.asarray(images).reshape(5, PIXELS), np.tanh(forward(z, WEIGHTS["generator"], 0.0)), rtol=1e-11, atol=1e-14
    )


def test_sampling_as_in_training_takes_the_statistics_of_the_batch_and_returns_them():
    params, stats = filled(gan.networks(CONVOLUTIONAL, LARGE))
    draw = jax.jit(
        lambda stats, keys, train: gan.sample(CONVOLUTIONAL, LARGE, params, stats, keys, train), static_argnums=2
    )
    images, moved = draw(stats, keys(8), True)
    forgotten = stats | {"generator": jax.tree.map(jnp.zeros_like, stats["generator"])}
    np.testing.assert_array_equal(draw(forgotten, keys(8), True)[0], images)  # the running ones do not matter
    assert not np.allclose(draw(stats, keys(8), False)[0], images, atol=1e-3)
    assert bits(moved["discriminator"]) == bits(stats["discriminator"])
    # The first norm follows the dense layer.
    dense = params["generator"]["Dense_0"]
    z = np.asarray(gan.seams(CONVOLUTIONAL).prior(keys(8)), np.float64)
    x = (z @ np.asarray(dense["kernel"], np.float64) + np.asarray(dense["bias"], np.float64)).reshape(8 * 4 * 4, -1)
    old, new = (tree["generator"]["batch_stats"]["BatchNorm_0"] for tree in (stats, moved))
    np.testing.assert_allclose(new["mean"], 0.9 * old["mean"] + 0.1 * x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(new["variance"], 0.9 * old["variance"] + 0.1 * x.var(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"network": "dcgna"}, "unknown network 'dcgna'. Did you mean 'dcgan'"),
        ({"prior": "cauchy"}, "unknown prior 'cauchy'.*There are: normal, uniform"),
        ({"value": "minmax"}, "unknown value 'minmax'. Did you mean 'minimax'"),
        ({"latent_size": 0}, "latent-size must be at least 1, not 0"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"hidden_sizes": (0,)}, r"hidden-sizes must be at least 1 each, not \(0,\)"),
        ({"label_smoothing": 1.0}, r"label-smoothing must be in \[0, 1\), not 1.0"),
        ({"label_smoothing": -0.1}, r"label-smoothing must be in \[0, 1\), not -0.1"),
        ({"label_smoothing": math.nan}, r"label-smoothing must be in \[0, 1\), not nan"),
        ({"discriminator_moves": 0}, "discriminator-moves must be at least 1, not 0"),
    ],
    ids=str,
)
def test_a_wrong_configuration_is_refused_in_one_line(wrong, told):
    config = gan.Config()
    for name, value in wrong.items():  # past the types that `conftest` has checked in every signature
        object.__setattr__(config, name, value)
    with pytest.raises(UserError, match=told) as refused:
        config.__post_init__()
    assert "\n" not in str(refused.value)


def test_images_that_a_dcgan_cannot_halve_are_refused_when_it_is_put_together():
    with pytest.raises(UserError, match="which 30x30 do not"):
        assemble(RunConfig(gan.Config()), DataSpec("pixels", (30, 30, 1)))


def test_three_hundred_rounds_bring_the_samples_near_both_of_two_images():
    """Mean distance from the nearer image, per pixel: 0.11 to 0.13 for seeds 0 to 3, about 0.5 before training, and
    0.25 if samples lay anywhere between the two. Each image had 0.47 to 0.53 of the samples."""
    pixels = np.stack([np.full((8, 8, 1), grey, np.float32) for grey in (-0.5, 0.5)])
    source, adam, length = ArraySource({"image": np.tile(pixels, (8, 1, 1, 1))}), Adam(5e-3, b1=0.0), 300
    model = gan.Config("mlp", 2, hidden_sizes=(128, 128), discriminator_optimizer=adam, generator_optimizer=adam)
    experiment = assemble(
        RunConfig(model, batch_size=32, training=TrainingConfig(rounds_per_dispatch=length)), source.spec
    )
    store, feed = feeder(experiment, source)
    first, step = first_state(experiment), jax.jit(rounds(step_of(experiment), length))
    last, _ = step(first, feed(length), np.int32(length), experiment.key(PLAY), store)

    def distance(state):
        images = generate(experiment, state.params, state.stats, 256, 0)
        distances = np.stack([abs(images - image).mean((1, 2, 3)) for image in pixels])
        return distances.min(0).mean(), distances.argmin(0).mean()

    assert distance(first)[0] > 0.4
    nearest, share = distance(last)
    assert nearest < 0.18
    assert 0.3 < share < 0.7
