"""Adversarial losses against the papers' formulas, the optimal discriminator, and small games solved by hand."""

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vaegan_jax.losses import adversarial

RNG = np.random.default_rng(0)
REAL, FAKE = 5 * RNG.normal(size=(6, 3)), 5 * RNG.normal(size=(4,))  # two batches need not have the same shape
EXTREMES = (-1e4, -100.0, 0.0, 100.0, 1e4)
P, Q = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.45, 0.05, 0.3, 0.2])  # two densities on four points


class Row(NamedTuple):
    """A public constructor, its smoothing, and the paper's generator loss from the logits of fake data."""

    construct: Callable
    smoothing: float
    generator: Callable


def log_d(logits):
    """log D of the papers, D = sigmoid(logits); log(1 - D) is log_d(-logits)."""
    return -np.logaddexp(0, -logits)


GENERATORS = {
    adversarial.minimax: lambda fake: log_d(-fake),
    adversarial.non_saturating: lambda fake: -log_d(fake),
}
TABLE = {
    f"{construct.__name__} {smoothing}": Row(construct, smoothing, generator)
    for construct, generator in GENERATORS.items()
    for smoothing in (0.0, 0.1)
}
rows = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
constructors = pytest.mark.parametrize("construct", GENERATORS, ids=lambda construct: construct.__name__)


@pytest.fixture(autouse=True)
def no_silent_rank_promotion():
    with jax.numpy_rank_promotion("raise"):
        yield


def losses(row, dtype, real=REAL, fake=FAKE):
    """The three losses of the row's value: on real data, on fake data, and the generator's."""
    value, logits = row.construct(row.smoothing), (jnp.asarray(real, dtype), jnp.asarray(fake, dtype))
    return *jax.jit(value.discriminator)(*logits), jax.jit(value.generator)(*logits)


def references(row):
    target = 1 - row.smoothing
    return -(target * log_d(REAL) + (1 - target) * log_d(-REAL)), -log_d(-FAKE), row.generator(FAKE)


def test_every_public_constructor_has_a_row():
    functions = inspect.getmembers(adversarial, inspect.isfunction)
    own = {f for name, f in functions if not name.startswith("_") and f.__module__ == adversarial.__name__}
    assert own == {row.construct for row in TABLE.values()} == set(GENERATORS)


@rows
def test_losses_in_float64_equal_the_formulas_logit_by_logit(row, float64):
    for loss, reference in zip(losses(row, jnp.float64), references(row), strict=True):
        np.testing.assert_allclose(loss, reference, rtol=1e-13, strict=True)


@rows
def test_float32_stays_float32_and_agrees_with_float64(row, float64):
    for single, double in zip(losses(row, jnp.float32), losses(row, jnp.float64), strict=True):
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, double, rtol=3e-6)


@rows
def test_values_and_two_derivatives_are_finite_in_float32_at_extreme_logits(row, float64):
    points = np.array(list(itertools.product(EXTREMES, repeat=2)), np.float32)
    value = row.construct(row.smoothing)

    def three(real, fake):
        return jnp.stack([*value.discriminator(real, fake), value.generator(real, fake)])

    gradient = jax.jacrev(three, (0, 1))
    derivatives = three, gradient, jax.jacfwd(gradient, (0, 1)), jax.jacrev(gradient, (0, 1))
    for leaf in jax.tree.leaves(jax.jit(jax.vmap(lambda *point: [f(*point) for f in derivatives]))(*points.T)):
        assert leaf.dtype == jnp.float32  # although float64 is enabled: nothing is promoted
        assert jnp.isfinite(leaf).all()


@constructors
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.25])
def test_optimal_discriminator_is_the_smoothed_share_of_the_real_density(construct, smoothing, float64):
    def expected_loss(logits):
        real, fake = construct(smoothing).discriminator(logits, logits)
        return P @ real + Q @ fake

    # Goodfellow et al. 2014, equation 2; with smoothing Salimans et al. 2016, section 3.4, for a fake target of 0.
    best = jnp.asarray(scipy.special.logit((1 - smoothing) * P / (P + Q)))
    slope, curvature = (jax.jit(f(expected_loss))(best) for f in (jax.grad, jax.hessian))
    np.testing.assert_allclose(slope, np.zeros(4), atol=1e-15)
    assert (np.linalg.eigvalsh(curvature) > 0).all()


def test_minimax_value_at_the_optimal_discriminator_is_twice_jensen_shannon_less_log_four(float64):
    value, best = adversarial.minimax(), jnp.asarray(np.log(P / Q))
    real, fake = value.discriminator(best, best)
    mixture = (P + Q) / 2
    jensen_shannon = (scipy.special.rel_entr(P, mixture).sum() + scipy.special.rel_entr(Q, mixture).sum()) / 2
    np.testing.assert_allclose(-(P @ real + Q @ fake), 2 * jensen_shannon - np.log(4), rtol=1e-14)


def test_minimax_is_zero_sum_on_fake_data(float64):
    _, fake, generator = losses(TABLE["minimax 0.0"], jnp.float64)
    np.testing.assert_array_equal(generator, -fake)


@rows
def test_smoothing_moves_only_the_loss_on_real_data(row, float64):
    plain = row._replace(smoothing=0.0)
    for smoothed, reference in zip(losses(row, jnp.float64)[1:], losses(plain, jnp.float64)[1:], strict=True):
        np.testing.assert_array_equal(smoothed, reference)


def test_non_saturating_gradient_is_larger_exactly_where_the_discriminator_is_confident(float64):
    fake = jnp.asarray(np.linspace(-40, 40, 80))
    minimax, non_saturating = (
        np.asarray(jax.jit(jax.vmap(jax.grad(construct().generator, 1)))(fake, fake))
        for construct in (adversarial.minimax, adversarial.non_saturating)
    )
    assert (minimax < 0).all() and (non_saturating < 0).all()  # both push every fake logit upward
    # With D = sigmoid(fake) the slopes are -D and -(1 - D): the ratio of the second to the first is (1 - D) / D.
    np.testing.assert_allclose(non_saturating / minimax, np.exp(-fake), rtol=1e-12)
    np.testing.assert_array_equal(np.abs(non_saturating) > np.abs(minimax), fake < 0)


def dirac_field(construct, point):
    """(grad_psi loss_D, grad_theta loss_G) of the Dirac-GAN: real data at 0, fake at theta, D's logit psi * x."""
    value = construct()
    loss_d = lambda psi, theta: sum(value.discriminator(0 * psi, psi * theta))  # noqa: E731
    loss_g = lambda psi, theta: value.generator(0 * psi, psi * theta)  # noqa: E731
    return jnp.stack([jax.grad(loss_d, 0)(*point), jax.grad(loss_g, 1)(*point)])


def test_both_generators_share_the_fixed_point_of_the_dirac_gan_and_its_rotation(float64):
    # Mescheder et al. 2018, lemmas 2.2 and 2.3: psi = theta = 0 is the only equilibrium, with eigenvalues +-i/2.
    grid = np.array(list(itertools.product(np.linspace(-3, 3, 13), repeat=2)))
    at_equilibrium = (grid == 0).all(axis=1)
    for construct in GENERATORS:
        field = functools.partial(dirac_field, construct)
        np.testing.assert_array_equal((jax.jit(jax.vmap(field))(grid) == 0).all(axis=1), at_equilibrium)
        np.testing.assert_array_equal(jax.jit(jax.jacobian(field))(jnp.zeros(2)), [[0, 0.5], [-0.5, 0]])


def test_both_generators_rest_where_the_densities_agree_and_move_where_they_differ(float64):
    def gradient(construct, weights):
        logits = jax.lax.stop_gradient(jnp.log(P) - jax.nn.log_softmax(weights))  # the optimal discriminator
        expected_loss = lambda w: jax.nn.softmax(w) @ construct().generator(logits, logits)  # noqa: E731
        return jax.grad(expected_loss)(weights)

    for construct in GENERATORS:
        np.testing.assert_allclose(gradient(construct, jnp.log(P)), np.zeros(4), atol=1e-15)
        assert jnp.linalg.norm(gradient(construct, jnp.log(Q))) > 0.05


@constructors
@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_smoothing_outside_the_half_open_unit_interval_is_refused_in_one_line(construct, smoothing):
    with pytest.raises(ValueError, match=r"^smoothing must lie in \[0, 1\), got \S+$"):
        construct(smoothing)
