"""EBGAN, BEGAN and Coulomb GAN against NumPy, on networks that NumPy computes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import LATENT, PIXELS, SPEC, N, X, Z, dense, generated, leaky, noise, pay, wide

from vaegan_jax.games import init, play
from vaegan_jax.models import began, coulomb_gan, ebgan
from vaegan_jax.optimizers import Optimizer

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SMALL = {"network": "mlp", "hidden_sizes": (6,), "latent_size": LATENT}


def autoencoded(network, x):
    """Codes, and images from these."""
    code = dense(leaky(dense(x, network["encoder"]["Dense_0"])), network["Dense_0"])
    return code, generated(network["decoder"], code)


def test_ebgan_pays_margins_of_euclidean_errors_and_cosines_of_codes(float64):
    """Zhao et al. 2016, equations 1, 2 and 4 and section 2.4; the margin lies between the energies."""
    config = ebgan.Config(**SMALL, code_size=3, margin=0.9, pulling_away=0.2)
    params, stats, weights = wide(ebgan.networks(config, SPEC))
    fake = generated(weights["generator"], Z)
    codes, energies = [], []
    for x in (X, fake):
        code, again = autoencoded(weights["discriminator"], x)
        codes.append(code)
        energies.append(np.sqrt(((x - again) ** 2).sum(1)))
    assert (energies[1] < 0.9).any() and (energies[1] > 0.9).any()
    directions = codes[1] / np.linalg.norm(codes[1], axis=1, keepdims=True)
    cosines = (directions @ directions.T) ** 2
    pulling = (cosines.sum() - N) / (N * (N - 1))
    paid = pay(config, ebgan, weights=params, stats=stats)
    discriminator = energies[0].mean() + np.maximum(0, 0.9 - energies[1]).mean()
    np.testing.assert_allclose(paid["discriminator"][0], discriminator, rtol=1e-9)
    np.testing.assert_allclose(paid["generator"][0], energies[1].mean() + 0.2 * pulling, rtol=1e-9)
    np.testing.assert_allclose(paid["generator"][2]["pulling_away"], 0.2 * pulling, rtol=1e-9)
    np.testing.assert_allclose(paid["discriminator"][2]["real"], -energies[0].mean(), rtol=1e-9)
    without = pay(replace(config, pulling_away=0.0), ebgan, weights=params, stats=stats)
    np.testing.assert_allclose(without["generator"][0], energies[1].mean(), rtol=1e-9)


def test_began_s_third_player_moves_k_by_the_paper_s_recursion_and_tells_its_measure(float64):
    """Berthelot et al. 2017, section 3.4: 20 rounds, in which k reaches 0 and 1; the autoencoder hardly moves."""
    still, step = Optimizer("sgd", 1e-30, b1=0.0), Optimizer("sgd", 0.5, b1=0.0)
    rate, gamma = 3.0, 0.7
    config = began.Config(
        **SMALL, balance_rate=rate, gamma=gamma, discriminator_optimizer=still, generator_optimizer=step
    )
    assert began.schedule(config) == (("discriminator",), ("generator", "balance"))
    seams = began.seams(config, SPEC)
    game = began.game(config, SPEC)
    params, stats, weights = wide(began.networks(config, SPEC))
    params["balance"] = {"k": jnp.asarray(0.0)}
    state, run = init(game, params, stats), jax.jit(play(game, began.schedule(config)))
    key, k, seen = jax.random.key(0), 0.0, []
    for round in range(20):
        x = np.tanh(3 * noise(2, 1, N, PIXELS, seed=round))
        keys = jax.random.fold_in(jax.random.fold_in(key, state.step), 1)
        own = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.split(keys, 5)[0], jnp.arange(N))
        z = np.asarray(seams.prior(own))  # what the generator's move draws
        fake = generated(jax.tree.map(np.asarray, state.params["generator"]), z)
        if round > 2:
            x[1, 0] = fake  # then gamma L(x) < L(G)
        batch = {"image": jnp.asarray(x).reshape(2, 1, N, *SPEC.image_shape)}
        batch["position"] = jnp.tile(jnp.arange(N), (2, 1)).reshape(2, 1, N)
        real_error, fake_error = (abs(y - autoencoded(weights["discriminator"], y)[1]).mean() for y in (x[1, 0], fake))
        state, metrics = run(state, batch, key)
        np.testing.assert_allclose(metrics["balance/k"], k, rtol=1e-10, atol=1e-14)
        k = np.clip(k + rate * (gamma * real_error - fake_error), 0, 1)
        np.testing.assert_allclose(state.params["balance"]["k"], k, rtol=1e-10, atol=1e-14)
        measure = real_error + abs(gamma * real_error - fake_error)
        np.testing.assert_allclose(metrics["balance/convergence"], measure, rtol=1e-9)
        np.testing.assert_allclose(metrics["generator/loss"], fake_error, rtol=1e-9)
        seen.append(k)
    assert 0.0 in seen and 1.0 in seen and any(0 < k < 1 for k in seen)


def test_began_s_discriminator_pays_for_real_errors_less_k_times_the_others(float64):
    config = began.Config(**SMALL)
    params, stats, weights = wide(began.networks(config, SPEC))
    params["balance"] = {"k": jnp.asarray(0.3)}
    fake = generated(weights["generator"], Z)
    real, generated_ones = (abs(x - autoencoded(weights["discriminator"], x)[1]).mean() for x in (X, fake))
    paid = pay(config, began, weights=params, stats=stats)
    np.testing.assert_allclose(paid["discriminator"][0], real - 0.3 * generated_ones, rtol=1e-10)
    np.testing.assert_allclose(paid["generator"][0], generated_ones, rtol=1e-10)
    np.testing.assert_allclose(paid["balance"][0], -0.3 * (0.5 * real - generated_ones), rtol=1e-10)


def test_coulomb_gan_s_discriminator_learns_the_potential_of_the_batch(float64):
    """Unterthiner et al. 2017: charges of all pairs, the own one included, one double sum at a time."""
    config = coulomb_gan.Config(**SMALL, dimension=4.0, epsilon=0.5)
    params, stats, weights = wide(coulomb_gan.networks(config, SPEC))
    fake = generated(weights["generator"], Z)

    def potential(point):
        kernel = lambda charge: 1 / (((point - charge) ** 2).sum() + 0.25)  # noqa: E731
        return np.mean([kernel(x) for x in X]) - np.mean([kernel(y) for y in fake])

    def score(x):
        features = leaky(dense(x, weights["discriminator"]["body"]["Dense_0"]))
        return dense(features, weights["discriminator"]["head"]["score"])[:, 0]

    errors = [np.mean([(score(x[None])[0] - potential(x)) ** 2 for x in points]) for points in (X, fake)]
    paid = pay(config, coulomb_gan, weights=params, stats=stats)
    np.testing.assert_allclose(paid["discriminator"][0], sum(errors) / 4, rtol=1e-9)
    np.testing.assert_allclose(paid["generator"][0], -score(fake).mean() / 2, rtol=1e-9)
