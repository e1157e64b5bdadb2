"""Penalties on slopes: a quadratic critic's by hand, PyTorch's double backward, and what went wrong for others."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vaegan_jax.losses import penalties
from vaegan_jax.networks import dcgan
from vaegan_jax.networks.convolution import convolve
from vaegan_jax.networks.network import pure

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 1)
REAL, FAKE = RNG.normal(size=(2, 5, *SHAPE))
CURVATURE, SLOPE = RNG.normal(size=(6, 6)) / 3, RNG.normal(size=6) / 3
WEIGHT, TARGET = 7.0, 1.2
KEYS = jax.random.split(jax.random.key(3), 5)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


class Row(NamedTuple):
    """A penalty, where it looks (given real, fake and keys), and its formula: |slopes|, scores there -> (n,)."""

    penalty: penalties.Penalty
    places: Callable
    formula: Callable


def interpolated(real, fake, keys):
    return (penalties.interpolates(real, fake, keys),)


TABLE = {
    "gradient_penalty": Row(
        penalties.gradient_penalty(WEIGHT, TARGET),
        interpolated,
        lambda norms, scores: WEIGHT * (norms[0] - TARGET) ** 2,
    ),
    "one_sided_gradient_penalty": Row(
        penalties.one_sided_gradient_penalty(WEIGHT, TARGET),
        interpolated,
        lambda norms, scores: WEIGHT * np.maximum(0, norms[0] - TARGET) ** 2,
    ),
    "dragan": Row(
        penalties.dragan(WEIGHT, TARGET, 0.7),
        lambda real, fake, keys: (penalties.perturbed(real, keys, 0.7),),
        lambda norms, scores: WEIGHT * (norms[0] - TARGET) ** 2,
    ),
    "r1": Row(penalties.r1(WEIGHT), lambda real, *_: (real,), lambda norms, scores: WEIGHT / 2 * norms[0] ** 2),
    "r2": Row(penalties.r2(WEIGHT), lambda _, fake, keys: (fake,), lambda norms, scores: WEIGHT / 2 * norms[0] ** 2),
    "jensen_shannon": Row(
        penalties.jensen_shannon(WEIGHT),
        lambda real, fake, keys: (real, fake),
        lambda norms, scores: (
            WEIGHT
            / 2
            * (
                (1 - scipy.special.expit(scores[0])) ** 2 * norms[0] ** 2
                + scipy.special.expit(scores[1]) ** 2 * norms[1] ** 2
            )
        ),
    ),
    "max_gradient": Row(
        penalties.max_gradient(WEIGHT),
        interpolated,
        lambda norms, scores: np.full(5, WEIGHT * (norms[0] ** 2).max()),
    ),
}
OTHERS = {"lazily", "refuse_batch_norm", "interpolates", "perturbed", "slopes", "squared_slopes"}
"""Not penalties themselves; tested below."""


def quadratic(weights):
    """The critic x'Ax / 2 + b'x of flat images x."""

    def score(images):
        flat = images.reshape(len(images), -1)
        return 0.5 * (flat * (flat @ weights[0])).sum(1) + flat @ weights[1]

    return score


def by_hand(row, curvature=CURVATURE, slope=SLOPE):
    """The penalty of the quadratic critic, whose slope is (A + A')x / 2 + b, in NumPy."""
    places = [np.asarray(place).reshape(5, 6) for place in row.places(*map(jnp.asarray, (REAL, FAKE)), KEYS)]
    norms = [np.linalg.norm(x @ (curvature + curvature.T) / 2 + slope, axis=1) for x in places]
    scores = [0.5 * np.einsum("ni,ij,nj->n", x, curvature, x) + x @ slope for x in places]
    return row.formula(norms, scores)


def differences(f, at, step=1e-6):
    """The gradient of a function of an array, entry by entry."""
    units = np.eye(at.size).reshape(at.size, *at.shape) * step
    return np.array([(f(at + e) - f(at - e)) / (2 * step) for e in units]).reshape(at.shape)


def test_every_public_function_has_a_row():
    functions = inspect.getmembers(penalties, inspect.isfunction)
    own = {f.__name__ for name, f in functions if not name.startswith("_") and f.__module__ == penalties.__name__}
    assert own == set(TABLE) | OTHERS


def test_a_quadratic_critics_penalties_and_their_gradients_are_those_taken_by_hand(float64):
    weights = jnp.asarray(CURVATURE), jnp.asarray(SLOPE)

    @jax.jit
    def all_penalties(weights):
        def values(weights):
            given = quadratic(weights), jnp.asarray(REAL), jnp.asarray(FAKE), KEYS
            return jnp.stack([row.penalty(*given) for row in TABLE.values()])

        value, pull = jax.vjp(values, weights)
        means = jnp.eye(len(TABLE)) / 5
        return value, jax.vmap(lambda row: pull(jnp.broadcast_to(row[:, None], value.shape)))(means)

    values, ((by_curvature, by_slope),) = all_penalties(weights)
    for place, (name, row) in enumerate(TABLE.items()):
        np.testing.assert_allclose(values[place], by_hand(row), rtol=1e-11, err_msg=name)
        expected = differences(lambda b, row=row: by_hand(row, slope=b).mean(), SLOPE)
        np.testing.assert_allclose(by_slope[place], expected, rtol=1e-6, atol=1e-8, err_msg=name)
        expected = differences(lambda a, row=row: by_hand(row, curvature=a).mean(), CURVATURE)
        np.testing.assert_allclose(by_curvature[place], expected, rtol=1e-6, atol=1e-8, err_msg=name)
    assert 0 < (values[1] == 0).sum() < 5  # some slopes lie on the free side


def test_r1s_gradient_is_gamma_times_the_slope_and_its_outer_product_with_the_image(float64):
    images, b = REAL.reshape(5, 6), SLOPE
    slopes = images @ (CURVATURE + CURVATURE.T) / 2 + b
    penalty = lambda weights: penalties.r1(WEIGHT)(quadratic(weights), jnp.asarray(REAL), jnp.asarray(FAKE), KEYS).sum()  # noqa: E731, E501
    by_curvature, by_slope = jax.jit(jax.grad(penalty))((jnp.asarray(CURVATURE), jnp.asarray(SLOPE)))
    np.testing.assert_allclose(by_slope, WEIGHT * slopes.sum(0), rtol=1e-12)
    outer = np.einsum("ni,nj->ij", slopes, images)
    np.testing.assert_allclose(by_curvature, WEIGHT * (outer + outer.T) / 2, rtol=1e-12)


def test_interpolates_have_one_alpha_each_which_follows_the_key(float64):
    real, fake = jnp.asarray(REAL), jnp.asarray(FAKE)
    between = np.asarray(penalties.interpolates(real, fake, KEYS))
    alpha = ((between - FAKE) / (REAL - FAKE)).reshape(5, -1)
    np.testing.assert_allclose(alpha, np.tile(alpha[:, :1], (1, 6)), rtol=1e-9)
    assert len(np.unique(alpha[:, 0].round(6))) == 5 and (alpha >= 0).all() and (alpha < 1).all()
    later = penalties.interpolates(real[3:], fake[3:], KEYS[3:])
    np.testing.assert_array_equal(later, between[3:])
    many = jax.random.split(jax.random.key(0), 2000)
    alphas = penalties.interpolates(jnp.ones((2000, 1)), jnp.zeros((2000, 1)), many)[:, 0]
    assert scipy.stats.kstest(alphas, "uniform").pvalue > 0.01


def test_perturbed_images_differ_by_alpha_half_a_deviation_and_uniform_noise(float64):
    keys, real = jax.random.split(jax.random.key(0), 40), np.random.default_rng(1).normal(3, 2, size=(40, 20, 20, 1))
    noise = (np.asarray(penalties.perturbed(jnp.asarray(real), keys)) - real) / (0.5 * real.std())
    alpha = noise.reshape(40, -1).max(1)  # of 400 u ~ U(0, 1) times alpha the largest is close to alpha
    assert noise.min() >= 0 and alpha.max() < 1
    for each, most in zip(noise, alpha, strict=True):
        assert scipy.stats.kstest(each.ravel() / most, "uniform").pvalue > 1e-4
    assert scipy.stats.kstest(alpha, "uniform").pvalue > 0.01


def convolutional(weights, images):
    """Two strided convolutions of ours and a linear map: a critic of 8 x 8 images."""
    first, second, last = weights
    h = jax.nn.softplus(convolve(images, first, 2, ((1, 1), (1, 1))))
    h = jax.nn.softplus(convolve(h, second, 2, ((1, 1), (1, 1))))
    return h.reshape(len(images), -1) @ last


@pytest.mark.slow
def test_second_derivatives_through_our_convolutions_equal_torchs_double_backward(float64):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(2, 3, 8, 8, 2))
    weights = [rng.normal(size=shape) / 3 for shape in ((4, 4, 2, 3), (4, 4, 3, 4), (16,))]
    keys = KEYS[:3]

    @jax.jit
    def ours(weights):
        score = lambda images: convolutional(weights, images)  # noqa: E731
        return penalties.gradient_penalty()(score, jnp.asarray(real), jnp.asarray(fake), keys).mean()

    value, gradients = jax.value_and_grad(ours)(list(map(jnp.asarray, weights)))
    tensors = [torch.tensor(w, requires_grad=True) for w in weights]
    at = np.asarray(penalties.interpolates(jnp.asarray(real), jnp.asarray(fake), keys)).transpose(0, 3, 1, 2)
    at, softplus = torch.tensor(at, requires_grad=True), torch.nn.functional.softplus
    h = softplus(torch.nn.functional.conv2d(at, tensors[0].permute(3, 2, 0, 1), stride=2, padding=1))
    h = softplus(torch.nn.functional.conv2d(h, tensors[1].permute(3, 2, 0, 1), stride=2, padding=1))
    score = h.permute(0, 2, 3, 1).reshape(3, -1) @ tensors[2]
    (slope,) = torch.autograd.grad(score.sum(), at, create_graph=True)
    penalty = 10 * ((slope.reshape(3, -1).norm(dim=1) - 1) ** 2).mean()
    penalty.backward()
    np.testing.assert_allclose(value, penalty.item(), rtol=1e-11)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_flat_and_extremely_steep_critics_have_finite_penalties_and_gradients_in_float32():
    @jax.jit
    def everything(weights, real, fake):
        def total(weights, real, fake):
            return sum(row.penalty(quadratic(weights), real, fake, KEYS).mean() for row in TABLE.values())

        return jax.value_and_grad(total, (0, 1, 2))(weights, real, fake)

    for scale in (0.0, 1e4):
        weights = tuple(scale * jnp.asarray(w, jnp.float32) for w in (CURVATURE, SLOPE))
        value, gradients = everything(weights, *(max(scale, 1) * jnp.asarray(x, jnp.float32) for x in (REAL, FAKE)))
        assert jnp.isfinite(value)
        for leaf in jax.tree.leaves(gradients):
            assert leaf.dtype == jnp.float32
            assert jnp.isfinite(leaf).all()
        if scale == 0:  # only the penalties with a target for slopes from below have anything against a flat critic
            np.testing.assert_allclose(value, 2 * WEIGHT * TARGET**2, rtol=1e-6)


def test_a_lazy_penalty_is_as_strong_in_the_mean_and_computed_only_when_due(float64):
    computed = []

    def counted(*given):
        jax.debug.callback(lambda: computed.append(True))
        return penalties.r1(WEIGHT)(*given)

    @jax.jit
    def lazy(slope, step):
        score = quadratic((jnp.asarray(CURVATURE), slope))
        return penalties.lazily(counted, 3, step)(score, jnp.asarray(REAL), jnp.asarray(FAKE), KEYS).mean()

    both = [jax.block_until_ready(jax.value_and_grad(lazy)(jnp.asarray(SLOPE), step)) for step in range(6)]
    jax.effects_barrier()
    values, slopes = map(np.stack, zip(*both, strict=True))
    assert len(computed) == 2
    assert (values[[1, 2, 4, 5]] == 0).all() and (slopes[[1, 2, 4, 5]] == 0).all()
    np.testing.assert_allclose(values.mean(), by_hand(TABLE["r1"]).mean(), rtol=1e-12)
    expected = differences(lambda b: by_hand(TABLE["r1"], slope=b).mean(), SLOPE)
    np.testing.assert_allclose(slopes.mean(0), expected, rtol=1e-6)
    assert penalties.lazily(counted, 1, 0) is counted
    with pytest.raises(ValueError, match=r"^a lazy penalty is applied every 1 or more steps, got 0$"):
        penalties.lazily(counted, 0, 0)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_critic_with_batch_norm_is_refused_and_one_without_is_not(normalize):
    critic = pure(dcgan.ImageToVector(1, 4, normalize=normalize), jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32))
    _, stats = jax.eval_shape(critic.init, jax.random.key(0))
    if normalize:
        with pytest.raises(ValueError, match=r"^gradient_penalty penalizes .* use a discriminator without batch norm$"):
            penalties.refuse_batch_norm(stats, "gradient_penalty")
    else:
        penalties.refuse_batch_norm(stats, "gradient_penalty")
