"""Annealed importance sampling of log p(x) for any decoder, and bidirectional Monte Carlo, which bounds its error.

From the prior to the posterior by f_t(z) = p(z) p(x | z)^beta_t, 0 = beta_0 < .. < beta_T = 1, with Hamiltonian
Monte Carlo transitions that leave f_t as it is (Neal 2001; Wu et al. 2017, arXiv 1611.04273):

    log w = sum_t (beta_t - beta_{t-1}) log p(x | z_{t-1}),    E w = p(x)

so the log of the mean weight of some chains is a lower bound of log p(x), in expectation. On simulated data (x, z) the
chain can start from z, an exact draw of the posterior, and run backwards: its E w = 1 / p(x) gives an upper bound
(Grosse et al. 2015, arXiv 1511.02543). All in nats.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vaegan_jax.errors import check, check_fields
from vaegan_jax.evaluation.likelihood.bounds import Estimate, over_images
from vaegan_jax.evaluation.likelihood.latent_models import LatentModel
from vaegan_jax.games import example_keys

WARM_UP, FORWARD, BACKWARD, DATA = range(4)
"""What a key is for: folded in by meaning."""
ADAPTATION_RATE = 0.2
"""Change of the log step size for each unit by which the acceptance rate misses its target."""


@dataclass(frozen=True)
class Annealing:
    """How chains are run: part of the number's protocol."""

    temperatures: int = 1000
    """Transitions of a chain (T); Wu et al. use 10,000."""
    chains: int = 16
    """Chains of each image, whose weights are averaged."""
    leapfrog_steps: int = 10
    """Leapfrog steps of a Hamiltonian transition (L)."""
    radius: float = 4.0
    """beta_t is the sigmoid over -radius .. radius, stretched to 0 .. 1; 0: beta_t rises linearly."""
    step_sizes: Literal["frozen", "adapted-in-the-chain"] = "frozen"
    """Step sizes found by a warm-up run of its own, or found in the chain itself, which is biased."""
    first_step_size: float = 0.3
    """Where adaptation starts, at beta = 0."""
    target_acceptance: float = 0.65
    """Acceptance rate that step sizes are adapted to."""
    images_at_once: int = 32
    """Images annealed together; bounds memory, and does not change the result."""

    def __post_init__(self):
        check_fields(self)
        for name in ("temperatures", "chains", "leapfrog_steps", "images_at_once"):
            value = getattr(self, name)
            check(value > 0, f"{name.replace('_', '-')} must be at least 1, not {value}")
        check(0 <= self.radius <= 30, f"radius must be in [0, 30], not {self.radius}")
        check(0 < self.first_step_size < math.inf, f"first-step-size must be above 0, not {self.first_step_size}")
        check(0 < self.target_acceptance < 1, f"target-acceptance must be in (0, 1), not {self.target_acceptance}")


class Annealed(NamedTuple):
    """What chains found of each image, float64."""

    log_evidence: Float[np.ndarray, " n"]
    """In nats: a lower bound of log p(x) in expectation (forward), or an upper one (backward)."""
    log_weights: Float[np.ndarray, "chains n"]
    """Of each chain; those of backward chains estimate 1 / p(x)."""
    acceptance: Float[np.ndarray, " n"]
    """Mean acceptance rate of the transitions; far below the target, the chain hardly moved."""
    step_sizes: Float[np.ndarray, "temperatures n"]
    """Of the transitions at beta_1 .. beta_T (forward) or beta_0 .. beta_{T-1} (backward)."""


class Bidirectional(NamedTuple):
    """Bounds of log p(x) on images simulated by the model itself."""

    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]
    gap: Estimate
    """Mean of upper - lower: bounds the error of annealing on these images, and hints at it on real ones."""


def inverse_temperatures(settings: Annealing) -> Float[np.ndarray, " t_and_1"]:
    """beta_0 = 0 .. beta_T = 1."""
    place = np.linspace(-1, 1, settings.temperatures + 1)
    beta = 1 / (1 + np.exp(-settings.radius * place)) if settings.radius else place
    return (beta - beta[0]) / (beta[-1] - beta[0])


def annealed(
    model: LatentModel,
    images: Float[np.ndarray | Array, "n *event"],
    key: Key[Array, ""],
    settings: Annealing | None = None,
    first: int = 0,
) -> Annealed:
    """Annealed importance sampling of log p(x) of each image; `first` is the position of the first in the whole set."""
    return _in_chunks(model, images, None, key, settings or Annealing(), first, None)


def annealed_backwards(
    model: LatentModel,
    images: Float[np.ndarray | Array, "n *event"],
    latents: Float[np.ndarray | Array, "n d"],
    key: Key[Array, ""],
    settings: Annealing | None = None,
    first: int = 0,
    step_sizes: Float[np.ndarray, "temperatures n"] | None = None,
) -> Annealed:
    """From the posterior to the prior: upper bounds. `latents` must be exact draws of p(z | x), one for each image.

    Only simulation gives such draws: those of a sampler, or of q(z | x), make no upper bound. `step_sizes` are those of
    `annealed` with the same settings, and stand in for a warm-up run of its own.
    """
    return _in_chunks(model, images, latents, key, settings or Annealing(), first, step_sizes)


def bidirectional(
    model: LatentModel, count: int, key: Key[Array, ""], settings: Annealing | None = None
) -> Bidirectional:
    """Both bounds on `count` images that the model simulates. Raises ValueError for a model without `simulate`."""
    images, latents = simulated(model, count, key)
    forward = annealed(model, images, key, settings)
    frozen = forward.step_sizes if (settings or Annealing()).step_sizes == "frozen" else None
    lower = forward.log_evidence
    upper = annealed_backwards(model, images, latents, key, settings, step_sizes=frozen).log_evidence
    return Bidirectional(lower, upper, over_images(upper - lower))


def simulated(model: LatentModel, count: int, key: Key[Array, ""]) -> tuple[Array, Array]:
    """(x, z) drawn from p(z) p(x | z); the same key gives the same pairs. ValueError for a model without `simulate`."""
    if model.simulate is None:
        raise ValueError("there is nothing to simulate with: this model has no simulate")
    return _simulated(model.functions, model.params, jax.random.fold_in(key, DATA), jnp.arange(count))


@functools.partial(jax.jit, static_argnums=0)
def _simulated(functions, params, key, positions):
    keys = example_keys(key, {"position": positions})
    latents = functions.sample_prior(_fold(keys, 0))
    return functions.simulate(params, latents, _fold(keys, 1)), latents


def _in_chunks(model, images, latents, key, settings, first, step_sizes) -> Annealed:
    found = []
    size = settings.images_at_once
    for at in range(0, len(images), size):
        chosen = np.minimum(np.arange(at, at + size), len(images) - 1)
        chunk = jnp.asarray(images[chosen], float)
        starts = None if latents is None else jnp.asarray(latents[chosen], float)
        given = None if step_sizes is None else jnp.asarray(step_sizes[:, chosen], float)
        weights, acceptance, steps = _chunk(model, chunk, starts, key, settings, jnp.int32(first) + chosen, given)
        live = min(size, len(images) - at)
        found.append([np.asarray(part, np.float64)[:, :live] for part in (weights, acceptance, steps)])
    weights, acceptance, steps = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    if latents is None:
        evidence = _log_mean_exp(weights)
    else:
        evidence, steps = -_log_mean_exp(weights), steps[::-1]
    return Annealed(evidence, weights, acceptance.mean(0), steps)


def _chunk(model, images, starts, key, settings, positions, given) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log weights (chains, m), acceptance and step sizes, each (temperatures, m), in the order of the chain."""
    begin = functools.partial(_begin, model.functions, settings.chains, key, positions)
    run = functools.partial(_anneal, model.functions, settings.leapfrog_steps, model.params, images)
    beta, target = inverse_temperatures(settings), settings.target_acceptance
    steps, adapt = jnp.full((settings.temperatures, len(images)), settings.first_step_size, float), True
    if given is not None:
        steps, adapt = given, False
    elif settings.step_sizes == "frozen":  # found forwards for either direction: they know nothing of the exact draws
        *_, steps = run(*begin(WARM_UP), _path(beta), steps, adapt, target)
        adapt = False
    if starts is None:
        return run(*begin(FORWARD), _path(beta), steps, adapt, target)
    # The transition to beta_{t-1} has the step size of the one that came to it; to beta_0, of the nearest.
    steps = jnp.concatenate([steps[:1], steps[:-1]])[::-1]
    _, keys = begin(BACKWARD)
    starts = jnp.broadcast_to(starts[None], (settings.chains, *starts.shape))
    return run(starts, keys, _path(beta[::-1]), steps, adapt, target)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _begin(functions, chains, key, positions, meaning) -> tuple[jax.Array, jax.Array]:
    """Draws of the prior, (chains, m, d), and one key for each chain of each image, (chains, m)."""
    each = example_keys(jax.random.fold_in(key, meaning), {"position": positions})
    keys = jax.vmap(_fold, (None, 0))(each, jnp.arange(chains))
    return jax.vmap(functions.sample_prior)(_fold(keys, 0)), keys


def _fold(keys: jax.Array, data: int | jax.Array) -> jax.Array:
    """`data` folded into keys of any shape."""
    fold = jax.random.fold_in
    for _ in keys.shape:
        fold = jax.vmap(fold, (0, None))
    return fold(keys, data)


def _path(beta: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """To which beta each transition leads, and by how much: a difference taken in float64."""
    return jnp.asarray(beta[1:], float), jnp.asarray(np.diff(beta), float)


class _Chain(NamedTuple):
    """Latents of (chains, images), with what is known of each; slopes are by z."""

    z: jax.Array
    log_likelihood: jax.Array
    log_prior: jax.Array
    likelihood_slope: jax.Array
    prior_slope: jax.Array


@functools.partial(jax.jit, static_argnums=(0, 1))
def _anneal(functions, leapfrog_steps, params, images, starts, keys, path, steps, adapt, target):
    def transition(carry, at):
        chain, log_weight, adapted = carry
        time, beta, difference, given = at
        step = jnp.where(adapt, adapted, given)
        log_weight = log_weight + difference * chain.log_likelihood
        here = _fold(keys, time)
        chain, acceptance = _hamiltonian(functions, leapfrog_steps, params, images, beta, step, chain, here)
        acceptance = acceptance.mean(0)
        adapted = step * jnp.exp(ADAPTATION_RATE * (acceptance - target))
        return (chain, log_weight, adapted), (acceptance, step)

    chain = _known(functions, params, images, starts)
    carry = chain, jnp.zeros_like(chain.log_likelihood), steps[0]
    time = jnp.arange(1, len(steps) + 1)
    (_, log_weight, _), (acceptance, used) = jax.lax.scan(transition, carry, (time, *path, steps))
    return log_weight, acceptance, used


def _known(functions, params, images, z) -> _Chain:
    likelihood = lambda z: functions.log_likelihood(params, images, z)  # noqa: E731
    values = [], []
    for function in (likelihood, functions.log_prior):
        value, pull = jax.vjp(jax.vmap(function), z)
        values[0].append(value)
        values[1].append(pull(jnp.ones_like(value))[0])  # a chain's value depends on its own z alone
    return _Chain(z, *values[0], *values[1])


def _hamiltonian(functions, leapfrog_steps, params, images, beta, step, chain, keys) -> tuple[_Chain, jax.Array]:
    """One transition that leaves p(z) p(x | z)^beta as it is (Neal 2011), and the chance by which it was accepted."""
    momentum_keys, accept_keys = _fold(keys, 0), _fold(keys, 1)
    draw = lambda key: jax.random.normal(key, chain.z.shape[2:], chain.z.dtype)  # noqa: E731
    momentum = jax.vmap(jax.vmap(draw))(momentum_keys)
    step = step[None, :, None]

    def force(point):
        return point.prior_slope + beta * point.likelihood_slope

    def energy(point, momentum):
        return jnp.square(momentum).sum(2) / 2 - point.log_prior - beta * point.log_likelihood

    def leap(_, state):
        point, momentum = state
        momentum = momentum + step / 2 * force(point)
        point = _known(functions, params, images, point.z + step * momentum)
        return point, momentum + step / 2 * force(point)

    proposed, end = jax.lax.fori_loop(0, leapfrog_steps, leap, (chain, momentum))
    difference = energy(chain, momentum) - energy(proposed, end)
    difference = jnp.where(jnp.isnan(difference), -jnp.inf, difference)  # a trajectory that left all numbers: rejected
    level = jax.vmap(jax.vmap(lambda key: jax.random.uniform(key, (), difference.dtype)))(accept_keys)
    accepted = jnp.log(level) < difference

    def choose(new, old):
        return jnp.where(accepted.reshape(accepted.shape + (1,) * (new.ndim - 2)), new, old)

    return jax.tree.map(choose, proposed, chain), jnp.exp(jnp.minimum(difference, 0))


def _log_mean_exp(values: np.ndarray) -> np.ndarray:
    """Over the first axis."""
    peak = values.max(0)
    return peak + np.log(np.exp(values - peak).mean(0))
