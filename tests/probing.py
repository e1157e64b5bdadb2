"""What a solver does to a linear game, as a matrix: shared by the tests of solvers."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from jax.flatten_util import ravel_pytree
from toys import KEY, jit

from vaegan_jax.dynamics.settings import CONSTANTS
from vaegan_jax.dynamics.solvers import solve
from vaegan_jax.games import Player, init

STEPS = np.array([0.05, 0.1, 0.3, 0.45])
EXACT = {"tolerance": 1e-14}


def zero_sum(f, step):
    """min_x max_y f(x, y) with plain steps."""

    def player(network, sign):
        return Player(
            (network,), lambda params, *others: (sign * f(params["x"], params["y"]), ({}, {})), optax.sgd(step)
        )

    return {"first": player("x", 1), "second": player("y", -1)}


def quadratic(P, A, Q, step):
    return zero_sum(lambda x, y: x @ P @ x / 2 + x @ A @ y - y @ Q @ y / 2, step)


def with_step(solver, step):
    """A solver whose step may be traced, so that all steps share one compilation."""
    solver = copy.copy(solver)
    object.__setattr__(solver, "step", step)
    return solver


def probed(solver, schedule, steps, game_of, size, fixed=False, rounds=1):
    """The matrix of the rounds over x, y and what is remembered, for each step."""

    def matrix(step):
        own = "step" in CONSTANTS[solver.name] and not fixed
        solved = solve(with_step(solver, step) if own else solver, game_of(step), schedule)
        zero = {"x": jnp.zeros(size), "y": jnp.zeros(size)}
        leaves, structure = jax.tree.flatten(solved.start(init(solved.game, zero)))
        moving = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
        start, unravel = ravel_pytree([leaf for leaf, moves in zip(leaves, moving, strict=True) if moves])

        def function(vector):
            # Optax's flag of a first round, which is unlike the others, is false here.
            floats = iter(unravel(vector))
            full = [next(floats) if m else jnp.zeros_like(leaf) for leaf, m in zip(leaves, moving, strict=True)]
            state = structure.unflatten(full)
            for _ in range(rounds):
                state, _ = solved.round(state, {}, KEY)
            return ravel_pytree([leaf for leaf, m in zip(jax.tree.leaves(state), moving, strict=True) if m])[0]

        return jax.vmap(function, out_axes=1)(jnp.eye(start.size))

    return np.asarray(jit(jax.vmap(matrix))(jnp.asarray(steps)))


def assert_same_multiset(left, right, tolerance):
    distance = np.abs(np.subtract.outer(np.asarray(left), np.asarray(right)))
    assert distance.shape[0] == distance.shape[1]
    assert distance[scipy.optimize.linear_sum_assignment(distance)].max() < tolerance
