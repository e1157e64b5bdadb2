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
import scipy.spatial
import scipy.special
import scipy.stats

from vaegan_jax.losses import adversarial

RNG = np.random.default_rng(0)
REAL, FAKE = 5 * RNG.normal(size=(6, 3)), 5 * RNG.normal(size=(4,))  # two batches need not have the same shape
EXTREMES = (-1e4, -100.0, 0.0, 100.0, 1e4)
P, Q = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.45, 0.05, 0.3, 0.2])  # two densities on four points
TOTAL_VARIATION = np.abs(P - Q).sum() / 2
K = 0.3
pytestmark = pytest.mark.usefixtures("compiled_quickly")


class Row(NamedTuple):
    """A public constructor, the value that it makes for a dtype, and the paper's three losses, score by score."""

    construct: Callable
    value: Callable
    real: Callable
    fake: Callable
    generator: Callable


def log_d(logits):
    """log D of the papers, D = sigmoid(logits); log(1 - D) is log_d(-logits)."""
    return -np.logaddexp(0, -logits)


def smoothed(construct, smoothing, generator):
    target = 1 - smoothing

    def real(x):
        return -(target * log_d(x) + (1 - target) * log_d(-x))

    return Row(construct, lambda dtype: construct(smoothing), real, lambda g: -log_d(-g), generator)


def fixed(construct, *losses, of=None):
    return Row(construct, lambda dtype: (of or construct)(), *losses)


GENERATORS = {
    adversarial.minimax: lambda fake: log_d(-fake),
    adversarial.non_saturating: lambda fake: -log_d(fake),
}
LEAST_SQUARES = functools.partial(adversarial.least_squares, -1.0, 1.0, 0.0)
TABLE = {
    f"{construct.__name__} {smoothing}": smoothed(construct, smoothing, generator)
    for construct, generator in GENERATORS.items()
    for smoothing in (0.0, 0.1)
} | {
    "least_squares": fixed(adversarial.least_squares, lambda x: (x - 1) ** 2, lambda g: g**2, lambda g: (g - 1) ** 2),
    "least_squares -1 1 0": fixed(
        adversarial.least_squares, lambda x: (x - 1) ** 2, lambda g: (g + 1) ** 2, lambda g: g**2, of=LEAST_SQUARES
    ),
    "wasserstein": fixed(adversarial.wasserstein, lambda x: -x, lambda g: g, lambda g: -g),
    "hinge": fixed(adversarial.hinge, lambda x: np.maximum(0, 1 - x), lambda g: np.maximum(0, 1 + g), lambda g: -g),
    "margin": fixed(
        adversarial.margin,
        lambda x: x,
        lambda g: np.maximum(0, 3.5 - g),
        lambda g: g,
        of=lambda: adversarial.margin(3.5),
    ),
    "boundary_equilibrium": Row(
        adversarial.boundary_equilibrium,
        lambda dtype: adversarial.boundary_equilibrium(jnp.asarray(K, dtype)),
        lambda x: x,
        lambda g: -K * g,
        lambda g: g,
    ),
    "flipped minimax 0.1": smoothed(adversarial.minimax, 0.1, lambda g: -0.9 * log_d(g) - 0.1 * log_d(-g))._replace(
        construct=adversarial.flipped, value=lambda dtype: adversarial.flipped(adversarial.minimax(0.1))
    ),
    "flipped hinge": fixed(
        adversarial.flipped,
        lambda x: np.maximum(0, 1 - x),
        lambda g: np.maximum(0, 1 + g),
        lambda g: np.maximum(0, 1 - g),
        of=lambda: adversarial.flipped(adversarial.hinge()),
    ),
}
rows = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
constructors = pytest.mark.parametrize("construct", GENERATORS, ids=lambda construct: construct.__name__)
MEASURES = {adversarial.balance, adversarial.convergence}  # what is told of energies and is no game; tested below


def losses(row, dtype):
    """The three losses of the row's value: on real data, on fake data, and the generator's."""
    value, scores = row.value(dtype), (jnp.asarray(REAL, dtype), jnp.asarray(FAKE, dtype))
    return *value.discriminator(*scores), value.generator(*scores)


def gradients(row):
    """Of the discriminator's and of the generator's sum of losses, each by the real and by the fake scores."""
    value = row.value(jnp.float64)

    def sums(real, fake):
        return sum(loss.sum() for loss in value.discriminator(real, fake)), value.generator(real, fake).sum()

    _, pull = jax.vjp(sums, jnp.asarray(REAL), jnp.asarray(FAKE))
    return *pull((1.0, 0.0)), *pull((0.0, 1.0))


def references(row):
    return row.real(REAL), row.fake(FAKE), row.generator(FAKE)


def slopes(row, step=1e-5):
    """The derivatives of the formulas, by differences: each loss is a function of one score, of its own kind."""
    formulas = (row.real, REAL), (row.fake, FAKE), (row.generator, FAKE)
    real, fake, generator = ((formula(at + step) - formula(at - step)) / (2 * step) for formula, at in formulas)
    return real, fake, np.zeros_like(REAL), generator


def test_every_public_function_has_a_row():
    functions = inspect.getmembers(adversarial, inspect.isfunction)
    own = {f for name, f in functions if not name.startswith("_") and f.__module__ == adversarial.__name__}
    assert own == {row.construct for row in TABLE.values()} | MEASURES


@rows
def test_losses_in_float64_and_in_float32_equal_the_formulas_score_by_score(row, float64):
    for double, single, reference in zip(
        losses(row, jnp.float64), losses(row, jnp.float32), references(row), strict=True
    ):
        np.testing.assert_allclose(double, reference, rtol=1e-13, strict=True)
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, reference, rtol=3e-6, atol=1e-6)


@rows
def test_gradients_equal_the_slopes_of_the_formulas(row, float64):
    for gradient, reference in zip(gradients(row), slopes(row), strict=True):
        np.testing.assert_allclose(gradient, reference, rtol=1e-6, atol=1e-9, strict=True)


def test_values_and_two_derivatives_are_finite_in_float32_at_extreme_scores(float64):
    points = np.array(list(itertools.product(EXTREMES, repeat=2)), np.float32)
    values = [row.value(jnp.float32) for row in TABLE.values()]

    def all_losses(real, fake):
        return jnp.stack([loss for v in values for loss in (*v.discriminator(real, fake), v.generator(real, fake))])

    gradient = jax.jacrev(all_losses, (0, 1))
    derivatives = all_losses, gradient, jax.jacfwd(gradient, (0, 1)), jax.jacrev(gradient, (0, 1))
    for leaf in jax.tree.leaves(jax.jit(jax.vmap(lambda *point: [f(*point) for f in derivatives]))(*points.T)):
        assert leaf.dtype == jnp.float32  # although float64 is enabled: nothing is promoted
        finite = jnp.isfinite(leaf).all(0).reshape(len(TABLE), -1).all(1)
        assert finite.all(), [name for name, fine in zip(TABLE, finite, strict=True) if not fine]


def expected_loss(value, scores, p=P, q=Q):
    """The discriminator's loss where it gives `scores` to points of densities p and q."""
    real, fake = value.discriminator(scores, scores)
    return p @ real + q @ fake


@constructors
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.25])
def test_optimal_discriminator_is_the_smoothed_share_of_the_real_density(construct, smoothing, float64):
    # Goodfellow et al. 2014, equation 2; with smoothing Salimans et al. 2016, section 3.4, for a fake target of 0.
    best = jnp.asarray(scipy.special.logit((1 - smoothing) * P / (P + Q)))
    loss = functools.partial(expected_loss, construct(smoothing))
    slope, curvature = (jax.jit(f(loss))(best) for f in (jax.grad, jax.hessian))
    np.testing.assert_allclose(slope, np.zeros(4), atol=1e-15)
    assert (np.linalg.eigvalsh(curvature) > 0).all()


def test_minimax_value_at_the_optimal_discriminator_is_twice_jensen_shannon_less_log_four(float64):
    real, fake = scipy.stats.norm(0, 1), scipy.stats.norm(1.5, 0.7)
    x, step = np.linspace(-12, 12, 4001, retstep=True)
    continuous = real.pdf(x) * step, fake.pdf(x) * step
    for p, q in ((P, Q), continuous):
        best = jnp.asarray(np.log(p / q))
        jensen_shannon = scipy.spatial.distance.jensenshannon(p, q) ** 2  # which is the root, in nats
        expected = 2 * jensen_shannon - np.log(4)
        np.testing.assert_allclose(-expected_loss(adversarial.minimax(), best, p, q), expected, rtol=1e-9)


def test_least_squares_descends_pearsons_chi_squared_at_its_optimal_critic(float64):
    value = LEAST_SQUARES()  # b - c = 1 and b - a = 2: Mao et al. 2017, theorem 1
    best = jnp.asarray((P - Q) / (P + Q))
    np.testing.assert_allclose(jax.grad(functools.partial(expected_loss, value))(best), np.zeros(4), atol=1e-15)
    on_all = (P + Q) @ value.generator(best, best)
    np.testing.assert_allclose(on_all, ((2 * Q - (P + Q)) ** 2 / (P + Q)).sum(), rtol=1e-14)


def test_hinge_and_margin_measure_the_total_variation_at_their_optimal_critics(float64):
    best = jnp.asarray(np.sign(P - Q))
    np.testing.assert_allclose(expected_loss(adversarial.hinge(), best), 2 - 2 * TOTAL_VARIATION, rtol=1e-14)
    losses = adversarial.hinge().generator(best, best)
    np.testing.assert_allclose(Q @ losses - P @ losses, 2 * TOTAL_VARIATION, rtol=1e-14)
    energies = jnp.asarray(np.where(P < Q, 2.5, 0.0))  # Zhao et al. 2016, lemma 1
    loss = functools.partial(expected_loss, adversarial.margin(2.5))
    np.testing.assert_allclose(loss(energies), 2.5 * (1 - TOTAL_VARIATION), rtol=1e-14)
    np.testing.assert_allclose(loss(energies, p=P, q=P), 2.5, rtol=1e-14)  # at the equilibrium: theorem 1
    for seed in range(20):  # no other critic does better
        other = jnp.asarray(3 * np.random.default_rng(seed).normal(size=4))
        assert expected_loss(adversarial.hinge(), other) >= 2 - 2 * TOTAL_VARIATION
        assert loss(jnp.abs(other)) >= 2.5 * (1 - TOTAL_VARIATION)


def test_wasserstein_critic_of_slope_one_measures_the_earth_movers_distance(float64):
    places = np.array([-1.0, 0.3, 0.9, 4.0])
    distance = scipy.stats.wasserstein_distance(places, places, P, Q)
    gaps = np.diff(places)
    signs = np.sign(np.cumsum(Q - P)[:-1])  # upwards where more of Q lies to the left: where mass has to go
    best = jnp.asarray(np.concatenate([[0.0], np.cumsum(signs * gaps)]))
    np.testing.assert_allclose(-expected_loss(adversarial.wasserstein(), best), distance, rtol=1e-14)
    for steepness in np.random.default_rng(0).uniform(-1, 1, size=(20, 3)):
        critic = jnp.asarray(np.concatenate([[0.0], np.cumsum(steepness * gaps)]))
        assert -expected_loss(adversarial.wasserstein(), critic) <= distance


def test_minimax_is_zero_sum_on_fake_data(float64):
    _, fake, generator = losses(TABLE["minimax 0.0"], jnp.float64)
    np.testing.assert_array_equal(generator, -fake)


def test_minimax_with_flipped_labels_is_the_non_saturating_game(float64):
    scores = jnp.asarray(REAL[:, 0]), jnp.asarray(REAL[:, 1])
    flipped, plain = adversarial.flipped(adversarial.minimax()), adversarial.non_saturating()
    np.testing.assert_array_equal(flipped.generator(*scores), plain.generator(*scores))


def test_balance_and_convergence_of_the_boundary_equilibrium_are_the_papers(float64):
    real, fake = jnp.asarray(np.abs(REAL)), jnp.asarray(np.abs(REAL[::-1]) * 2)
    for gamma in (0.3, 0.9, 3.0):
        np.testing.assert_allclose(adversarial.balance(real, fake, gamma), gamma * np.abs(REAL) - fake, rtol=1e-15)
        means = np.abs(REAL).mean(), 2 * np.abs(REAL).mean()
        expected = means[0] + abs(gamma * means[0] - means[1])
        np.testing.assert_allclose(adversarial.convergence(real, fake, gamma), expected, rtol=1e-14)


def test_a_margin_that_is_not_above_zero_is_refused():
    with pytest.raises(ValueError, match=r"^the margin must be above 0, got 0.0$"):
        adversarial.margin(0.0)


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
