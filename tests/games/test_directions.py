"""Directions against dense linear algebra: games whose Jacobian is known, of two players and of three."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from toys import JOINT, KEY, MATRICES, bilinear, jit, update_matrix, vectorized

from vaegan_jax.games import Player, consensus, gradient, init, play, products, symplectic

# Three players and any Jacobian: rotation is no longer all there is, so J and its antisymmetric part differ.

SIZES = {"a": 1, "b": 1, "c": 2, "d": 2}
OWNS = {"first": ("a", "b"), "second": ("c",), "third": ("d",)}
ROWS = {"first": slice(0, 2), "second": slice(2, 4), "third": slice(4, 6)}


def linear_game():
    """Quadratic losses whose field is J w, w the parameters in the order of their names; the game, a start and J."""
    J = np.random.default_rng(4).normal(size=(6, 6))
    for own in ROWS.values():
        J[own, own] = (J[own, own] + J[own, own].T) / 2

    def player(name):
        form = np.zeros((6, 6))
        form[ROWS[name]] = J[ROWS[name]]
        form[ROWS[name], ROWS[name]] /= 2

        def loss(params, stats, batch, key, step):
            w = ravel_pytree(params)[0]
            return w @ jnp.asarray(form) @ w, ({}, {})

        return Player(OWNS[name], loss, optax.sgd(0.1))

    return {name: player(name) for name in OWNS}, {name: jnp.zeros(size) for name, size in SIZES.items()}, J


def extragradient(step, vector):
    return vector @ (np.eye(len(vector)) - step * vector)


DIRECTIONS = {
    "gradient": (gradient, None, lambda J: J),
    "consensus": (consensus(0.3), None, lambda J: J + 0.3 * J.T @ J),
    "symplectic": (symplectic(0.7), None, lambda J: J + 0.7 * (J.T - J) / 2 @ J),
    "extragradient": (gradient, 0.2, lambda J: extragradient(0.2, J)),
    "extragradient of consensus": (consensus(0.3), 0.2, lambda J: extragradient(0.2, J + 0.3 * J.T @ J)),
}


@pytest.mark.parametrize(("direction", "ahead", "of"), DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("movers", [("first", "second", "third"), ("first", "third")], ids=" and ".join)
def test_a_move_in_a_linear_game_steps_by_the_formula_of_its_direction(movers, direction, ahead, of, float64):
    game, start, J = linear_game()
    probed = update_matrix(*vectorized(play(game, (movers,), direction, ahead), init(game, start)))
    # Whoever does not move is a constant: J has the movers' rows and columns alone, and their field is shifted.
    moving = np.concatenate([np.r_[ROWS[name]] for name in movers])
    within = J[np.ix_(moving, moving)]
    expected = np.eye(6)
    expected[moving] -= 0.1 * of(within) @ np.linalg.solve(within, J[moving])
    np.testing.assert_allclose(probed, expected, rtol=0, atol=1e-12)


# Losses -s |x|^2 / 2 + x.y and -s |y|^2 / 2 - x.y over d parameters: v = (-s - i) z, J^T v = (-s + i) v, A^T v = i v,
# so <v, J^T v> = -s |v|^2 and <A^T v, J^T v> = |v|^2. The sign of 1/10 - s |v|^4 / d is minus where s |v|^4 > d / 10,
# with |v|^2 = (s^2 + 1) |z|^2: far from an unstable point.
ALIGNMENT = {
    "far from an unstable point": (1.0, [2 + 1j], -1),
    "near an unstable point, where a tenth decides": (1.0, [0.1 + 0.1j], 1),
    "just nearer than where the sign flips": (1.0, [0.472], 1),  # |z|^4 = 1/20 at 0.47287
    "just farther": (1.0, [0.474], -1),
    "far from a stable point": (-1.0, [2 + 1j], 1),
    "far from a neutral one": (0.0, [2 + 1j], 1),
    # |v|^4 = 0.64 is above 2 / 10, of two blocks of parameters, and below 8 / 10, of eight.
    "at a place that depends on the number of parameters": (1.0, [0.2**0.5, 0.2**0.5 * 1j, 0, 0], 1),
}


@pytest.mark.parametrize(("s", "z", "sign"), ALIGNMENT.values(), ids=ALIGNMENT)
def test_alignment_turns_away_from_unstable_points_and_towards_stable_ones(s, z, sign, float64):
    def player(network, other, coupling):
        def loss(params, stats, batch, key, step):
            own = params[network]
            return -s / 2 * own @ own + coupling * own @ params[other], ({}, {})

        return Player((network,), loss, optax.sgd(0.1))

    z = np.array(z, complex)
    v = (-s - 1j) * z
    game = {"first": player("x", "y", 1), "second": player("y", "x", -1)}
    state = init(game, {"x": jnp.asarray(z.real), "y": jnp.asarray(z.imag)})
    new, _ = jit(play(game, JOINT, symplectic(0.7, align=True)))(state, {}, KEY)
    expected = z - 0.1 * (v + 0.7 * sign * 1j * v)
    np.testing.assert_allclose(new.params["x"] + 1j * new.params["y"], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("matrix", MATRICES)
def test_alignment_changes_nothing_in_a_bilinear_game(matrix, float64):
    game, start = bilinear(matrix, (optax.sgd(0.1),) * 2, "float64")
    aligned, plain = (jit(play(game, JOINT, symplectic(0.7, align))) for align in (True, False))
    for point in (start, {"x": 30 * start["x"], "y": -start["y"]}):
        ends = [round(init(game, point), {}, KEY)[0].params for round in (aligned, plain)]
        jax.tree.map(np.testing.assert_array_equal, *ends)


@jax.custom_vjp
def reverse_only(x):
    """sin, which refuses forward mode as our convolutions do."""
    return jnp.sin(x)


reverse_only.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


@pytest.mark.parametrize("sine", [jnp.sin, reverse_only], ids=["differentiable both ways", "refusing forward mode"])
def test_products_are_those_with_the_dense_jacobian_of_a_nonlinear_game(sine, float64):
    rng = np.random.default_rng(5)
    data, kernel, bias, out = (jnp.asarray(rng.normal(size=shape)) for shape in ((4, 3), (3, 2), (1, 2), (2,)))
    point = {"a": {"kernel": kernel, "bias": bias}, "b": out}
    flat, unravel = ravel_pytree(point)

    def field(point, sine=sine):
        def loss(block, sign):
            new = point | block
            return sign * jnp.mean(jnp.tanh(sine(data @ new["a"]["kernel"] + new["a"]["bias"]) @ new["b"]) ** 2)

        slopes = [jax.grad(loss)({name: point[name]}, sign) for name, sign in (("a", 1), ("b", -2))]
        return slopes[0] | slopes[1], ({}, {})

    @jit
    def both(basis):
        dense = jax.jacfwd(lambda vector: ravel_pytree(field(unravel(vector), jnp.sin)[0])[0])(flat)
        _, _, *pair = products(field, point)
        return dense, *(jax.vmap(lambda v, of=of: ravel_pytree(of(unravel(v)))[0])(basis) for of in pair)

    dense, forward, transposed = both(jnp.eye(flat.size))
    assert np.abs(dense - dense.T).max() > 0.1
    np.testing.assert_allclose(forward, dense.T, rtol=0, atol=1e-12)  # in rows
    np.testing.assert_allclose(transposed, dense, rtol=0, atol=1e-12)
