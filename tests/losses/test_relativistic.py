"""Relativistic games against the paper's formulas."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.losses import relativistic

REAL, FAKE = 3 * np.random.default_rng(0).normal(size=(2, 6))
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def log_sigmoid(x):
    return -np.logaddexp(0, -x)


# Jolicoeur-Martineau 2018: pairs are of section 4.2 (and its generalization), averages of section 4.3 and the appendix.
COMPARISONS = {
    relativistic.logistic: lambda d: -log_sigmoid(d),
    relativistic.squared: lambda d: (d - 1) ** 2,
    relativistic.hinged: lambda d: np.maximum(0, 1 - d),
}
AVERAGES = {  # critic on real, on fake, generator on fake, on real: of x = C(x) - mean C(G), g = C(G) - mean C(x)
    relativistic.logistic: (
        lambda x: -log_sigmoid(x),
        lambda g: -np.log(1 - 1 / (1 + np.exp(-g))),
        lambda g: -log_sigmoid(g),
        lambda x: -np.log(1 - 1 / (1 + np.exp(-x))),
    ),
    relativistic.squared: (
        lambda x: (x - 1) ** 2,
        lambda g: (g + 1) ** 2,
        lambda g: (g - 1) ** 2,
        lambda x: (x + 1) ** 2,
    ),
    relativistic.hinged: (
        lambda x: np.maximum(0, 1 - x),
        lambda g: np.maximum(0, 1 + g),
        lambda g: np.maximum(0, 1 - g),
        lambda x: np.maximum(0, 1 + x),
    ),
}


def paired(comparison, real, fake):
    """The critic's mean loss and the generator's, by the paper."""
    f = COMPARISONS[comparison]
    return f(real - fake).mean(), f(fake - real).mean()


def averaged(comparison, real, fake):
    x, g = real - fake.mean(), fake - real.mean()
    critic_real, critic_fake, generator_fake, generator_real = AVERAGES[comparison]
    return critic_real(x).mean() + critic_fake(g).mean(), generator_fake(g).mean() + generator_real(x).mean()


FORMULAS = {relativistic.relativistic: paired, relativistic.relativistic_average: averaged}
GAMES = list(itertools.product(FORMULAS, COMPARISONS))


def means(value, real, fake):
    critic = value.discriminator(real, fake)
    assert [loss.shape for loss in critic] == [real.shape, fake.shape]
    generator = value.generator(real, fake)
    assert generator.shape == fake.shape
    return sum(loss.mean() for loss in critic), generator.mean()


def differences(f, at, step=1e-5):
    """The gradient of a function of an array, entry by entry."""
    unit = np.eye(len(at)) * step
    return np.array([(np.array(f(at + e)) - np.array(f(at - e))) / (2 * step) for e in unit]).T


def test_every_public_function_has_a_row():
    functions = inspect.getmembers(relativistic, inspect.isfunction)
    own = {f for name, f in functions if not name.startswith("_") and f.__module__ == relativistic.__name__}
    assert own == set(COMPARISONS) | set(FORMULAS)


@jax.jit
def all_games(real, fake):
    """The mean losses of both players in all games, (games, 2), and their gradients by real and by fake scores."""

    def both(real, fake):
        return jnp.stack([jnp.stack(means(game(f), real, fake)) for game, f in GAMES])

    return both(real, fake), jax.jacrev(both, (0, 1))(real, fake)


def test_both_players_losses_and_their_gradients_equal_the_formulas(float64):
    values, (by_real, by_fake) = all_games(REAL, FAKE)
    for place, (game, f) in enumerate(GAMES):
        formula, told = FORMULAS[game], f"{game.__name__} {f.__name__}"
        np.testing.assert_allclose(values[place], formula(f, REAL, FAKE), rtol=1e-12, err_msg=told)
        expected = differences(lambda real, formula=formula, f=f: formula(f, real, FAKE), REAL)
        np.testing.assert_allclose(by_real[place], expected, rtol=1e-6, atol=1e-9, err_msg=told)
        expected = differences(lambda fake, formula=formula, f=f: formula(f, REAL, fake), FAKE)
        np.testing.assert_allclose(by_fake[place], expected, rtol=1e-6, atol=1e-9, err_msg=told)


def test_only_differences_matter_and_the_players_change_places_with_the_images(float64):
    values, _ = all_games(REAL, FAKE)
    np.testing.assert_allclose(all_games(REAL + 7.5, FAKE + 7.5)[0], values, rtol=1e-12)
    np.testing.assert_allclose(all_games(FAKE, REAL)[0], values[:, ::-1], rtol=1e-12)


def test_all_are_finite_in_float32_at_extreme_scores():
    scores = np.float32([-1e4, 1e4, 0, 1e4, -1e4, 0]), np.float32([1e4, -1e4, 1e4, 0, -1e4, 0])
    for leaf in jax.tree.leaves(all_games(*scores)):
        assert leaf.dtype == jnp.float32
        assert jnp.isfinite(leaf).all()


def test_pairs_of_unequal_numbers_are_refused():
    value = relativistic.relativistic()
    for player in value:
        with pytest.raises((AssertionError, TypeError)):
            player(jnp.zeros(3), jnp.zeros(4))
