"""InfoGAN: the information that images have on their codes against NumPy, the codes' places, and what Q learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import SPEC, N, dense, generated, leaky, pay, wide

from vaegan_jax.games import init, play
from vaegan_jax.models import gan, infogan
from vaegan_jax.models.adversarial_game import game as game_of
from vaegan_jax.networks.network import Network, init_networks

pytestmark = pytest.mark.usefixtures("compiled_quickly")
CONFIG = infogan.Config(network="mlp", hidden_sizes=(6,), latent_size=2, categories=(3, 2), continuous=2)


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def test_the_prior_is_noise_then_one_hot_codes_then_uniform_ones_which_codes_of_reads_again(float64):
    z = np.asarray(infogan.prior(CONFIG)(keys(3000)))
    noise, *codes, continuous = np.split(z, [2, 5, 7], axis=1)
    assert abs(noise.std() - 1) < 0.1 and -1 <= continuous.min() < -0.99 and 0.99 < continuous.max() <= 1
    for code in codes:
        assert set(np.unique(code)) == {0.0, 1.0} and (code.sum(1) == 1).all()
        share = 1 / code.shape[1]
        assert abs(code.mean(0) - share).max() < 5 * np.sqrt(share * (1 - share) / 3000)
    correlation = np.corrcoef(z.T) - np.eye(9)
    assert abs(correlation[np.ix_(range(2, 5), [0, 1, 5, 7, 8])]).max() < 5.5 / np.sqrt(3000)
    categories, again = infogan.codes_of(CONFIG, jnp.asarray(z))
    for code, read in zip(codes, categories, strict=True):
        np.testing.assert_array_equal(read, code.argmax(1))
    np.testing.assert_array_equal(again, continuous)
    shapes = jax.eval_shape(lambda key: init_networks(infogan.networks(CONFIG, SPEC), key), jax.random.key(0))[0]
    assert shapes["generator"]["Dense_0"]["kernel"].shape[0] == z.shape[1]


def test_both_players_pay_for_the_information_that_numpy_computes(float64):
    """Chen et al. 2016, equation 5 with lambda 1 and 0.1: log Q of the codes drawn, and their entropies."""
    params, stats, weights = wide(infogan.networks(CONFIG, SPEC))
    z = np.asarray(infogan.prior(CONFIG)(keys(N)))
    images, network = generated(weights["generator"], z), weights["discriminator"]
    x = leaky(dense(images, network["body"]["Dense_0"])) @ network["recognition"]["Dense_0"]["kernel"]
    norm = network["recognition"]["BatchNorm_0"]
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * norm["scale"] + norm["bias"]
    first, second, means = np.split(dense(leaky(x, 0.1), network["recognition"]["codes"]), [3, 5], axis=1)
    information = 0.0
    for logits, code in ((first, z[:, 2:5]), (second, z[:, 5:7])):
        log_q = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        information += (log_q * code).sum(1) + np.log(logits.shape[1])
    gaussian = -0.5 * np.log(2 * np.pi) - (z[:, 7:] - means) ** 2 / 2
    information += 0.1 * (gaussian.sum(1) + 2 * np.log(2))
    paid = pay(CONFIG, infogan, weights=params, stats=stats, prior=lambda keys: jnp.asarray(z))
    for player in ("discriminator", "generator"):
        np.testing.assert_allclose(paid[player][2]["information"], -information.mean(), rtol=1e-7)
    plain = gan.gan_terms.value(CONFIG)
    score = dense(leaky(dense(images, network["body"]["Dense_0"])), network["head"]["score"])[:, 0]
    value = np.asarray(plain.generator(jnp.zeros(N), jnp.asarray(score))).mean()
    np.testing.assert_allclose(paid["generator"][0], value - information.mean(), rtol=1e-7)


@pytest.mark.slow
def test_q_recovers_the_codes_that_a_generator_made_by_hand_paints():
    """Pixels that are the codes: after 200 moves Q names 99 % of the categories, and is 0.15 off in the mean."""
    config = infogan.Config("mlp", 1, hidden_sizes=(32,), categories=(3,), continuous=1, continuous_weight=1.0)

    def paint(params, stats, z, condition, train):
        return jnp.concatenate([3 * z[:, 1:4] - 1.5, z[:, 4:]], 1).reshape(-1, 2, 2, 1), stats

    networks = infogan.networks(config, SPEC) | {"generator": Network(lambda key: ({}, {}), paint)}
    game = game_of(
        networks, infogan.seams(config, SPEC), {"discriminator": optax.adam(1e-2), "generator": optax.identity()}
    )
    params, stats = init_networks(networks, jax.random.key(0))
    real = jnp.tanh(paint({}, {}, infogan.prior(config)(jax.random.split(jax.random.key(7), 64)), None, True)[0])
    batch = {"image": real[None, None], "position": jnp.arange(64).reshape(1, 1, 64)}
    round = play(game, (("discriminator",),))

    @jax.jit
    def train(state):
        return jax.lax.fori_loop(0, 200, lambda _, state: round(state, batch, jax.random.key(1), False)[0], state)

    state = train(init(game, params, stats))
    z = infogan.prior(config)(keys(512))
    images = jnp.tanh(paint({}, {}, z, None, False)[0])
    told = infogan.recognize(config, SPEC, state.params, state.stats, images)
    (categories,), continuous = infogan.codes_of(config, z)
    assert (told.categories[0].argmax(1) == categories).mean() > 0.99
    assert abs(told.means - continuous).mean() < 0.15
