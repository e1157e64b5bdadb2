"""The engine against theory: closed forms of linear games, plain optax, and each promise of its docstrings.

On min_x max_y xy a symmetric solver is one complex recursion in z = x + iy, whose field is -i z. The singular value
decomposition of a matrix game x^T A y makes such pairs of it, one for each singular value s, which scales the field.
What is expected is written from those scalars, never computed by the engine.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
import scipy.linalg
import scipy.optimize
import scipy.stats
from jax.flatten_util import ravel_pytree

from vaegan_jax.games import (
    AXIS,
    POOL,
    Player,
    consensus,
    describe,
    device_mean,
    example_keys,
    gradient,
    init,
    play,
    products,
    symplectic,
)

KEY = jax.random.key(0)
JOINT, TURNS = (("first", "second"),), (("first",), ("second",))
TOLERANCE = {"float64": 1e-10, "float32": 1e-6}
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiling is what takes long


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


# Bilinear games


class Solver(NamedTuple):
    """How a bilinear game is played with step a, and what that does to the pair of singular value s."""

    matrix: Callable  # (a, s) -> over x, y and, where optax keeps traces, those of x and y
    eigenvalues: Callable  # (a, s) -> all of this matrix
    radius: float  # the largest modulus of them at a = 0.1, s = 1
    schedule: tuple = JOINT
    txs: Callable = lambda a: (optax.sgd(a), optax.sgd(a))
    direction: Callable = gradient
    ahead: Callable = lambda a: None


def real(*rows):
    """The matrix over x, y and their traces of a complex one over z and its trace."""
    return np.block([[np.array([[c.real, -c.imag], [c.imag, c.real]]) for c in map(complex, row)] for row in rows])


def pairs(*values):
    return [*values, *np.conj(values)]


def symmetric(factor, radius, **how):
    """A solver that multiplies z by a complex factor."""
    return Solver(lambda a, s: real([factor(a, s)]), lambda a, s: pairs(factor(a, s)), radius, **how)


def turns(count):
    """x once, then y `count` times: a becomes a sqrt(count) in exp(+-i theta), theta = 2 arcsin(a/2)."""
    return Solver(
        lambda a, s: np.array([[1, -a * s], [count * a * s, 1 - count * (a * s) ** 2]]),
        lambda a, s: pairs(np.exp(2j * np.arcsin(a * s * np.sqrt(count) / 2))),
        radius=1.0,
        schedule=(("first",), *(("second",),) * count),
    )


def optimistic(alpha, beta, eigenvalues, radius):
    """z+ = z - a ((alpha + beta) g - beta g_), where optax keeps the field g_ = -i s z_ of the round before."""
    return Solver(
        lambda a, s: real([1 + 1j * a * s * (alpha + beta), a * beta], [-1j * s, 0]),
        lambda a, s: pairs(*eigenvalues(a, s)),
        radius,
        txs=lambda a: (optax.optimistic_gradient_descent(a, alpha, beta),) * 2,
    )


def alternating_momentum(a, s):
    """m+ = s y - m / 2; x+ = x - a m+; then y+ = y + a s x+."""
    x = np.array([1, -a * s, a / 2, 0])
    y = [0, 1, 0, 0] + a * s * x
    return np.array([x, y, [0, s, -1 / 2, 0], -s * x])


SOLVERS = {
    "simultaneous": symmetric(lambda a, s: 1 + 1j * a * s, 1.00498756),
    "alternating": turns(1),
    "three steps of y": turns(3),
    "twelve steps of y": turns(12),  # long enough for lax.scan
    "two time scales": Solver(
        lambda a, s: np.array([[1, -a * s / 4], [a * s, 1]]),
        lambda a, s: pairs(1 + 1j * np.sqrt(a / 4 * a) * s),
        radius=1.00124922,
        txs=lambda a: (optax.sgd(a / 4), optax.sgd(a)),
    ),
    "extragradient": symmetric(lambda a, s: 1 - (a * s) ** 2 + 1j * a * s, 0.99503769, ahead=lambda a: a),
    "extragradient, far ahead": symmetric(lambda a, s: 1 - a * s**2 + 1j * a * s, 0.90553851, ahead=lambda a: 1.0),
    "consensus": symmetric(lambda a, s: 1 - a * s**2 + 1j * a * s, 0.90553851, direction=consensus(1.0)),
    "weak consensus": symmetric(lambda a, s: 1 - a * s**2 / 10 + 1j * a * s, 0.99503769, direction=consensus(0.1)),
    "symplectic": symmetric(lambda a, s: 1 - a * s**2 + 1j * a * s, 0.90553851, direction=symplectic(1.0)),
    "optimistic": optimistic(
        1.0,
        1.0,
        lambda a, s: [(1 + sign * np.sqrt(1 - 4 * (a * s) ** 2)) / 2 + 1j * a * s for sign in (1, -1)],
        radius=0.99493615,
    ),
    "momentum": Solver(
        lambda a, s: real([1 + 1j * a * s, -a / 2], [-1j * s, 1 / 2]),
        lambda a, s: pairs(*np.roots([1, -(1 + 1 / 2 + 1j * a * s), 1 / 2])),
        radius=1.04568739,
        txs=lambda a: (optax.sgd(a, momentum=0.5),) * 2,
    ),
    "negative momentum of x, alternating": Solver(
        alternating_momentum,
        lambda a, s: np.roots(np.polyadd(np.poly([1, 1, -1 / 2, 0]), [(a * s) ** 2, 0, 0, 0])),
        radius=0.99888745,
        schedule=TURNS,
        txs=lambda a: (optax.sgd(a, momentum=-0.5), optax.sgd(a, momentum=0.0)),
    ),
}


class Svd(NamedTuple):
    left: np.ndarray
    values: np.ndarray
    right: np.ndarray


# The largest singular value is 1: a s stays below 1/2, where optimism has a double root and eigenvalues lose digits.
MATRICES = {
    "xy": Svd(np.eye(1), np.ones(1), np.eye(1)),
    "4x4": Svd(
        scipy.stats.ortho_group.rvs(4, random_state=1),
        np.array([1.0, 0.7, 0.4, 0.15]),
        scipy.stats.ortho_group.rvs(4, random_state=2),
    ),
}
solvers = pytest.mark.parametrize("solver", SOLVERS)
matrices = pytest.mark.parametrize("matrix", MATRICES)
cases = pytest.mark.parametrize(("matrix", "a"), [("xy", 0.1), ("xy", 0.45), ("4x4", 0.45)])
precisions = pytest.mark.parametrize("dtype", TOLERANCE)


def bilinear(matrix, txs, dtype):
    """min_x max_y x^T A y with its parameters: of two scalars where A has one entry."""
    svd = MATRICES[matrix]
    A = jnp.asarray(svd.left * svd.values @ svd.right.T, dtype)
    A = A[0, 0] if A.size == 1 else A

    def player(network, sign, tx):
        def loss(params, stats, batch, key, step):
            return sign * jnp.dot(params["x"], jnp.dot(A, params["y"])), ({}, {})

        return Player((network,), loss, tx)

    start = {name: jnp.ones(A.shape[:1], dtype) for name in ("x", "y")}
    return {"first": player("x", 1, txs[0]), "second": player("y", -1, txs[1])}, start


def vectorized(round, state):
    """One jitted round as a function of the vector of the state's floats: parameters, then the optimizers' traces."""
    leaves, structure = jax.tree.flatten(state)
    moving = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    start, unravel = ravel_pytree([leaf for leaf, moves in zip(leaves, moving, strict=True) if moves])

    @jit
    def function(vector):
        # What is no float is a step of 0 and optax's flag of a first step, which is unlike the others: false here.
        floats = iter(unravel(vector))
        full = [next(floats) if m else jnp.zeros_like(leaf) for leaf, m in zip(leaves, moving, strict=True)]
        new, _ = round(structure.unflatten(full), {}, KEY)
        return ravel_pytree([leaf for leaf, m in zip(jax.tree.leaves(new), moving, strict=True) if m])[0]

    return start, function


def update_matrix(start, function):
    return np.stack([function(basis) for basis in np.eye(len(start), dtype=start.dtype)], axis=1).astype(np.float64)


@functools.cache  # several tests look at the same play
def played(solver, matrix, a, dtype):
    """The probed update matrix, and 100 rounds from a random state."""
    row = SOLVERS[solver]
    with jax.enable_x64(dtype == "float64"):
        game, start = bilinear(matrix, row.txs(a), dtype)
        round = play(game, row.schedule, row.direction, row.ahead(a))
        start, function = vectorized(round, init(game, start))
        points = [jnp.asarray(np.random.default_rng(3).normal(size=start.shape), dtype)]
        for _ in range(100):
            points.append(function(points[-1]))
        assert points[-1].dtype == dtype
        return update_matrix(start, function), np.stack(points).astype(np.float64)


def expected_matrix(solver, matrix, a):
    """The closed form of every pair, rotated into the coordinates of x, y and their traces."""
    svd = MATRICES[matrix]
    blocks = np.array([SOLVERS[solver].matrix(a, s) for s in svd.values])
    frames = [svd.left, svd.right] * 2
    size = range(blocks.shape[1])
    return np.block([[frames[i] * blocks[:, i, j] @ frames[j].T for j in size] for i in size])


def assert_same_multiset(left, right, tolerance):
    distance = np.abs(np.subtract.outer(np.asarray(left), np.asarray(right)))
    assert distance.shape[0] == distance.shape[1]
    assert distance[scipy.optimize.linear_sum_assignment(distance)].max() < tolerance


@solvers
def test_the_closed_forms_have_the_known_spectral_radius(solver):
    row = SOLVERS[solver]
    np.testing.assert_allclose(max(np.abs(row.eigenvalues(0.1, 1.0))), row.radius, rtol=0, atol=5e-9)


@precisions
@cases
@solvers
def test_the_update_matrix_of_a_bilinear_game_is_the_closed_form(solver, matrix, a, dtype):
    probed, _ = played(solver, matrix, a, dtype)
    np.testing.assert_allclose(probed, expected_matrix(solver, matrix, a), rtol=0, atol=TOLERANCE[dtype])


@precisions
@cases
@solvers
def test_the_eigenvalues_of_a_bilinear_game_are_the_closed_form(solver, matrix, a, dtype):
    probed, _ = played(solver, matrix, a, dtype)
    expected = np.concatenate([SOLVERS[solver].eigenvalues(a, s) for s in MATRICES[matrix].values])
    assert_same_multiset(np.linalg.eigvals(probed), expected, TOLERANCE[dtype])


@cases
@solvers
def test_a_hundred_rounds_in_float64_are_powers_of_the_closed_form(solver, matrix, a):
    _, points = played(solver, matrix, a, "float64")
    expected = points[0]
    for point in points[1:]:
        expected = expected_matrix(solver, matrix, a) @ expected
        np.testing.assert_allclose(point, expected, rtol=0, atol=1e-10 * np.linalg.norm(expected))


@cases
@solvers
def test_each_of_a_hundred_rounds_in_float32_is_the_closed_form(solver, matrix, a):
    # Each from where it starts: over many rounds the roundings grow and turn with the game itself.
    _, points = played(solver, matrix, a, "float32")
    closed = expected_matrix(solver, matrix, a)
    largest = max(1, np.linalg.norm(closed, 2)) * np.linalg.norm(points[:-1], axis=1)
    assert (np.linalg.norm(points[1:] - points[:-1] @ closed.T, axis=1) <= 1e-6 * largest).all()


@cases
def test_alternating_rounds_conserve_their_invariant(matrix, a, float64):
    game, start = bilinear(matrix, (optax.sgd(a), optax.sgd(a)), "float64")
    svd = MATRICES[matrix]
    start, function = vectorized(play(game, TURNS), init(game, start))
    point, values = start + jnp.arange(start.size), []
    for _ in range(1000):
        point = function(point)
        x, y = np.split(np.asarray(point), 2)
        values.append(x @ x + y @ y - a * (svd.left.T @ x * svd.values) @ (svd.right.T @ y))
    np.testing.assert_allclose(values, values[0], rtol=1e-11)


def test_the_first_round_of_optimism_is_a_plain_step(float64):
    game, start = bilinear("xy", (optax.optimistic_gradient_descent(0.1),) * 2, "float64")
    state, _ = jit(play(game, JOINT))(init(game, start), {}, KEY)
    np.testing.assert_allclose([state.params["x"], state.params["y"]], [0.9, 1.1], rtol=1e-14)


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


@matrices
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


# Games that look like those that this library plays


def split(array, moves=1, micro_batches=1):
    """(examples, ...) in the engine's layout, the same examples for each move."""
    micro = np.reshape(array, (micro_batches, -1, *array.shape[1:]))
    return np.broadcast_to(micro, (moves, *micro.shape))


def words(key, batch):
    """The two words of each example's key as noise in [-1/2, 1/2): draws of jax.random take much longer to compile."""
    return jax.random.key_data(example_keys(key, batch)).astype(float) / 2.0**32 - 0.5


def normals(key, batch):
    key, _ = jax.random.split(key)  # uses the key up, which folding a number in does not
    return jax.vmap(lambda key: jax.random.normal(key, (2,)))(example_keys(key, batch))


def gan(noise=words):
    """A small least-squares GAN with noise by position, whose losses are means over examples that no network mixes."""

    def scores(params, batch, key):
        drawn = noise(key, batch)
        fake = drawn @ params["generator"]["kernel"] + params["generator"]["bias"]
        critic = params["critic"]
        return (jnp.square(image @ critic["kernel"]) @ critic["out"] for image in (fake, batch["image"] + drawn))

    def critic_loss(params, stats, batch, key, step):
        fake, real = scores(params, batch, key)
        mean = 0.9 * stats["critic"]["mean"] + 0.1 * jnp.mean(batch["image"], axis=0)
        moved = {"count": stats["critic"]["count"] + 1, "mean": mean}
        return jnp.mean(jnp.square(fake) + jnp.square(real - 1)), ({"critic": moved}, {"real": jnp.mean(real)})

    def generator_loss(params, stats, batch, key, step):
        fake, _ = scores(params, batch, key)
        return jnp.mean(jnp.square(fake - 1)), ({}, {"fake": jnp.mean(fake)})

    return {
        "critic": Player(("critic",), critic_loss, optax.sgd(0.1, momentum=0.5)),
        "generator": Player(("generator",), generator_loss, optax.sgd(0.1)),
    }


BOTH = (("critic", "generator"),)


def gan_state(game):
    rng = np.random.default_rng(6)
    kernel, out, mixing = (jnp.asarray(rng.normal(size=shape) / 2) for shape in ((2, 3), (3,), (2, 2)))
    params = {"critic": {"kernel": kernel, "out": out}, "generator": {"kernel": mixing, "bias": jnp.zeros((1, 2))}}
    return init(game, params, {"critic": {"count": jnp.zeros((), int), "mean": jnp.zeros(2)}})


def gan_batch(micro_batches=1, moves=1):
    leaves = {"image": np.random.default_rng(7).normal(size=(8, 2)), "position": np.arange(8)}
    return {name: split(leaf, moves, micro_batches) for name, leaf in leaves.items()}


def rounds(round, state, batch, count=3):
    round = jit(round)
    for _ in range(count):
        state, metrics = round(state, batch, KEY)
    return state, metrics


def assert_close(left, right, tolerance):
    chex.assert_trees_all_equal_dtypes(left, right)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), left, right)


def test_a_game_of_one_player_is_bitwise_the_plain_optax_loop():
    rng = np.random.default_rng(8)
    shapes = {"hidden": (3, 16), "bias": (1, 16), "out": (16, 2)}
    weights = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    data = jnp.asarray(rng.normal(size=(20, 32, 5)), jnp.float32)
    tx = optax.adam(1e-2)

    def error(weights, data):
        hidden = jnp.tanh(data[:, :3] @ weights["hidden"] + weights["bias"])
        return jnp.mean((hidden @ weights["out"] - data[:, 3:]) ** 2)

    def loss(params, stats, batch, key, step):
        return error(params["mlp"], batch["data"]), ({}, {})

    @jax.jit
    def plain(weights, opt, data):
        value, slope = jax.value_and_grad(error)(weights, data)
        update, opt = tx.update(slope, opt, weights)
        return optax.apply_updates(weights, update), opt, value

    game = {"regression": Player(("mlp",), loss, tx)}
    state, round, opt = init(game, {"mlp": weights}), jax.jit(play(game, (("regression",),))), tx.init(weights)
    for examples in data:
        weights, opt, value = plain(weights, opt, examples)
        state, metrics = round(state, {"data": split(examples)}, KEY)
        np.testing.assert_array_equal(metrics["regression/loss"], value)
    chex.assert_trees_all_equal(state.params["mlp"], weights)
    chex.assert_trees_all_equal(jax.tree.leaves(state.opt), jax.tree.leaves(opt))
    assert int(state.step) == 20


def test_metrics_are_the_loss_its_own_and_the_norms_of_gradient_update_and_parameters():
    game, start = bilinear("xy", (optax.sgd(0.1), optax.sgd(0.2)), "float32")
    _, metrics = jit(play(game, TURNS))(init(game, {"x": 3 + start["x"], "y": 1 + start["y"]}), {}, KEY)
    expected = {  # x from 4 by -0.1 * 2, then y from 2 by 0.2 * 3.8
        **{"first/loss": 8, "first/gradient": 2, "first/update": 0.2, "first/parameters": 3.8},
        **{"second/loss": -7.6, "second/gradient": 3.8, "second/update": 0.76, "second/parameters": 2.76},
    }
    assert metrics.keys() == expected.keys()
    np.testing.assert_allclose([metrics[title] for title in expected], list(expected.values()), rtol=1e-6)


# What is refused. As users run it: beartype, which is only here in tests, would be first to refuse some of it.


def still(*owns, stats=lambda old: {}):
    """A player with a constant slope, whose loss makes its stats from the old ones by the function given."""

    def loss(params, old, batch, key, step):
        return sum(jnp.sum(params[network]) for network in owns), (stats(old), {})

    return Player(owns, loss, optax.sgd(0.1))


def trace(game, schedule=(("a",),), batch=None, key=KEY, stats=None, others=None):
    """A round without compiling it; `others` are parameters that `init` did not see."""
    state = init(game, {network: jnp.ones(2) for player in game.values() for network in player.owns}, stats)
    return jax.eval_shape(play(game, schedule), state._replace(params=state.params | (others or {})), batch or {}, key)


COUNTED = {"A": {"count": jnp.zeros((), jnp.int32), "mean": jnp.zeros(2)}, "B": {"mean": jnp.zeros(2)}}
TWO = {"a": still("A"), "b": still("B")}
REFUSED = {
    "a network without an owner, in init": (
        lambda: init({"a": still("A")}, {"A": jnp.ones(2), "B": jnp.ones(2), "C": jnp.ones(2)}),
        ["nobody owns B, C"],
    ),
    "a network without an owner, when traced": (
        lambda: trace({"a": still("A")}, others={"B": jnp.ones(2)}),
        ["nobody owns B"],
    ),
    "a network owned twice, in init": (
        lambda: init({"a": still("A"), "b": still("B", "A")}, {"A": jnp.ones(2), "B": jnp.ones(2)}),
        ["A is owned twice", "by a and by b"],
    ),
    "a network owned twice, in play": (
        lambda: play({"a": still("A"), "b": still("B", "A")}, (("a",),)),
        ["A is owned twice", "by a and by b"],
    ),
    "an owner of a network without parameters": (
        lambda: init({"a": still("A", "B")}, {"A": jnp.ones(2)}),
        ["no parameters for B (of a)"],
    ),
    "a player that is not in the game": (lambda: play(TWO, (("a",), ("c",))), ["moves c", "a, b"]),
    "a player twice in one move": (
        lambda: play(TWO, (("a",), ("b", "a", "b"))),
        ["b would step twice", "('b', 'a', 'b')"],
    ),
    "a move without players": (lambda: play(TWO, (("a",), ())), ["a move without players"]),
    "a schedule without moves": (lambda: play(TWO, ()), ["no moves"]),
    "a player's name in place of a move": (lambda: play(TWO, ("a", "b")), ["('a',)"]),
    "a batch for another number of moves": (
        lambda: trace(TWO, (("a",), ("b",)), {"image": jnp.ones((3, 1, 4))}),
        ["image is (3, 1, 4)", "2 moves"],
    ),
    "a batch without axes for moves and micro-batches": (
        lambda: trace(TWO, batch={"image": jnp.ones((1, 4))}),
        ["image is (1, 4)", "1 moves, micro-batches, examples"],
    ),
    "a key of the old kind": (lambda: trace(TWO, key=jax.random.PRNGKey(0)), ["jax.random.key(seed)", "threefry"]),
    "a key of rbg": (lambda: trace(TWO, key=jax.random.key(0, impl="rbg")), ["rbg", "threefry"]),
    "a key of unsafe_rbg": (lambda: trace(TWO, key=jax.random.key(0, impl="unsafe_rbg")), ["rbg", "threefry"]),
    "stats of a network that is another's": (
        lambda: trace({"a": still("A", stats=lambda old: {"B": old["B"]}), "b": still("B")}, stats=COUNTED),
        ["loss of a", "stats of B", "not own"],
    ),
    "stats of another structure": (
        lambda: trace({"a": still("A", stats=lambda old: {"A": {"mean": old["A"]["mean"]}})}, stats=COUNTED),
        ["loss of a", "whole stats of A", "count"],
    ),
    "stats of another type": (
        lambda: trace({"a": still("A", stats=lambda old: {"A": old["A"] | {"count": jnp.zeros(())}})}, stats=COUNTED),
        ["loss of a", "whole stats of A", "int32", "float32"],
    ),
    "stats of another shape": (
        lambda: trace({"a": still("A", stats=lambda old: {"A": old["A"] | {"mean": jnp.zeros(3)}})}, stats=COUNTED),
        ["loss of a", "whole stats of A", "(2,)", "(3,)"],
    ),
    "a pool of examples that would be averaged over micro-batches": (
        lambda: trace(
            {"a": still("A", stats=lambda old: old)},
            batch={"image": jnp.ones((1, 2, 4))},
            stats={"A": {POOL: jnp.ones((5, 3))}},
        ),
        [POOL, "accumulated"],
    ),
}


@pytest.mark.parametrize(("attempt", "names"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_by_a_message_that_names_it(attempt, names, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError) as caught:
        attempt()
    for name in names:
        assert name in str(caught.value)


def test_a_pool_of_examples_passes_where_it_is_whole():
    game = {"a": still("A", stats=lambda old: {"A": {POOL: old["A"][POOL] + 1}})}
    state = init(game, {"A": jnp.ones(2)}, {"A": {POOL: jnp.ones((5, 3))}})
    state, _ = jit(play(game, (("a",),)))(state, {"image": jnp.ones((1, 1, 4))}, KEY)
    np.testing.assert_array_equal(state.stats["A"][POOL], np.full((5, 3), 2))


def test_a_frozen_network_belongs_to_a_player_that_never_moves_and_stays_bitwise_the_same():
    def loss(params, stats, batch, key, step):
        return jnp.sum((params["A"] - params["frozen"] + stats["frozen"]["mean"]) ** 2), ({}, {})

    frozen = Player(("frozen",), loss, optax.adam(0.1))
    game = {"a": Player(("A",), loss, optax.adam(0.1)), "nobody": frozen}
    start = init(game, {"A": jnp.zeros(2), "frozen": jnp.array([0.1, 0.7])}, {"frozen": {"mean": jnp.ones(2)}})
    state, _ = rounds(play(game, (("a",),)), start, {})
    chex.assert_trees_all_equal(state.params["frozen"], start.params["frozen"])
    chex.assert_trees_all_equal(state.stats["frozen"], start.stats["frozen"])
    chex.assert_trees_all_equal(state.opt["nobody"], start.opt["nobody"])
    assert (state.params["A"] != start.params["A"]).all()


# Who sees what, and who writes it


def seeing(tx=None):
    """Two players whose metrics show what their losses were given."""

    def player(own, other):
        def loss(params, stats, batch, key, step):
            metrics = {
                "other": params[other],
                "others stats": stats[other]["count"],
                "batch": jnp.sum(batch["image"]),
                "shape": jnp.array(batch["image"].shape),
                "noise": jax.random.normal(key),
                "step": step,
            }
            return 0.5 * params[own] ** 2, ({own: {"count": stats[own]["count"] + 1}}, metrics)

        return Player((own,), loss, tx or optax.sgd(0.5))

    game = {"first": player("A", "B"), "second": player("B", "A")}
    stats = {name: {"count": jnp.zeros((), jnp.int32)} for name in ("A", "B")}
    return game, init(game, {"A": jnp.array(1.0), "B": jnp.array(4.0)}, stats)


def images(moves):
    return {"image": 10.0 ** jnp.arange(moves)[:, None, None] * jnp.ones((moves, 1, 3))}


def test_players_of_one_move_see_the_same_point_stats_batch_and_key():
    game, state = seeing()
    _, metrics = jit(play(game, JOINT))(state, images(1), KEY)
    assert (metrics["first/other"], metrics["second/other"]) == (4, 1)
    assert (metrics["first/others stats"], metrics["second/others stats"]) == (0, 0)
    assert metrics["first/batch"] == metrics["second/batch"] == 3
    assert metrics["first/noise"] == metrics["second/noise"]


def test_players_of_two_moves_see_what_the_other_left_and_fresh_examples_and_noise():
    game, state = seeing()
    _, metrics = jit(play(game, TURNS))(state, images(2), KEY)
    assert (metrics["first/other"], metrics["second/other"]) == (4, 0.5)
    assert (metrics["first/others stats"], metrics["second/others stats"]) == (0, 1)
    assert (metrics["first/batch"], metrics["second/batch"]) == (3, 30)
    assert metrics["first/noise"] != metrics["second/noise"]


def test_a_loss_sees_one_micro_batch_of_one_move():
    game, state = seeing()
    _, metrics = jit(play(game, TURNS))(state, {"image": jnp.ones((2, 4, 3, 5))}, KEY)
    np.testing.assert_array_equal(metrics["second/shape"], [3, 5])


def test_movers_write_the_stats_of_their_own_networks_and_nothing_else_changes():
    game, state = seeing(optax.adam(0.1))
    after, _ = jit(play(game, (("first",), ("first",))))(state, images(2), KEY)
    assert (after.stats["A"]["count"], after.stats["B"]["count"]) == (2, 0)
    assert after.params["A"] != state.params["A"] and after.params["B"] == state.params["B"]
    chex.assert_trees_all_equal(after.opt["second"], state.opt["second"])
    assert after.opt["first"][0].count == 2
    assert after.step == 1


def test_stats_that_a_loss_does_not_return_stay_as_they_were():
    state = init({"a": still("A")}, {"A": jnp.ones(2)}, COUNTED | {"A": {"mean": jnp.array([0.1, 0.7])}})
    after, _ = jit(play({"a": still("A")}, (("a",),)))(state, {}, KEY)
    chex.assert_trees_all_equal(after.stats, state.stats)


def test_noise_is_that_of_the_root_key_the_step_and_the_move_and_of_nothing_else():
    game, start = seeing()
    round = jit(play(game, TURNS))

    def drawn(state, key, count=3):
        noises = []
        for _ in range(count):
            state, metrics = round(state, images(2), key)
            assert metrics["first/step"] == metrics["second/step"] == state.step - 1
            noises += [float(metrics["first/noise"]), float(metrics["second/noise"])]
        return noises

    noises = drawn(start, KEY)
    assert len(set(noises)) == 6
    assert drawn(start, KEY) == noises
    assert not set(drawn(start, jax.random.key(1))) & set(noises)
    # What a resumed run needs: nothing of the rounds before is in it.
    assert drawn(start._replace(step=jnp.array(2, jnp.int32)), KEY, 1) == noises[4:]


def walk(noisy):
    """A player whose place after some moves depends on the order of their examples and, if noisy, on their keys."""

    def loss(params, stats, batch, key, step):
        drawn = jnp.sum(jax.random.key_data(key).astype(float)) / 2.0**32 if noisy else 0
        target = jnp.mean(batch["image"]) + drawn
        count = {"A": {"count": stats["A"]["count"] + 1}}
        return 0.5 * (params["A"] - target) ** 2, (count, {"target": target, "count": count["A"]["count"]})

    game = {
        "first": Player(("A",), loss, optax.adam(0.3)),
        "idle": Player(("B",), lambda params, *_: (0 * params["B"], ({}, {})), optax.sgd(1.0)),
    }
    return game, init(game, {"A": jnp.array(1.0), "B": jnp.array(1.0)}, {"A": {"count": jnp.zeros((), jnp.int32)}})


def own(state, metrics):
    titles = [title for title in metrics if title.startswith("first/")]
    return state.params["A"], state.stats["A"], state.opt["first"], {title: metrics[title] for title in titles}


def test_a_dozen_equal_moves_are_a_dozen_rounds_of_one_without_noise(float64):
    game, start = walk(noisy=False)
    data = jnp.asarray(np.random.default_rng(9).normal(size=(12, 1, 3)))
    together, metrics = jit(play(game, (("first",),) * 12))(start, {"image": data}, KEY)
    single, state = jit(play(game, (("first",),))), start
    for index in range(12):
        state, last = single(state, {"image": data[index : index + 1]}, KEY)
    assert_close(own(together, metrics), own(state, last), 1e-12)
    assert (together.step, state.step) == (1, 12)


def test_a_dozen_equal_moves_in_a_loop_draw_what_they_draw_one_by_one(float64):
    # An idle player in every other move breaks the run of equal moves: the same round, unrolled. The run is not at 0.
    game, start = walk(noisy=True)
    data = {"image": jnp.asarray(np.random.default_rng(9).normal(size=(13, 1, 3)))}
    loop = jit(play(game, (("idle",), *(("first",),) * 12)))
    unrolled = jit(play(game, (("idle",), *(("first",), ("first", "idle")) * 6)))
    looped, flat = (round.trace(start, data, KEY).jaxpr.eqns for round in (loop, unrolled))
    assert "scan" in {equation.primitive.name for equation in looped}
    assert "scan" not in {equation.primitive.name for equation in flat}
    assert_close(own(*loop(start, data, KEY)), own(*unrolled(start, data, KEY)), 1e-12)


# Tracing, keys, micro-batches and devices


def test_one_trace_serves_all_rounds():
    game, traces = gan(), []
    critic = game["critic"]

    def counted(*arguments):
        traces.append(1)
        return critic.loss(*arguments)

    game["critic"] = critic._replace(loss=counted)
    chex.clear_trace_counter()
    round = jit(chex.assert_max_traces(play(game, (*(("critic",),) * 12, ("generator",))), n=1))
    state, batch = gan_state(game), gan_batch(moves=13)
    state, _ = round(state, batch, KEY)
    first = len(traces)
    for seed in range(4):
        state, _ = round(state, jax.tree.map(lambda leaf: leaf + 1, batch), jax.random.key(seed))
    assert len(traces) == first > 0
    assert round._cache_size() == 1


EVERY_WAY = {
    "gradient": {},
    "consensus": {"direction": consensus(0.3)},
    "symplectic": {"direction": symplectic(0.3, align=True)},
}


@pytest.mark.parametrize(
    ("schedule", "micro_batches", "how"),
    [
        (BOTH, 2, {"direction": consensus(0.3), "extrapolate": 0.1}),
        ((*(("critic",),) * 11, *BOTH), 1, {}),
    ],
    ids=["extragradient of consensus on micro-batches", "a loop over moves"],
)
def test_no_key_is_used_twice(schedule, micro_batches, how):
    game = gan(normals)
    with jax.debug_key_reuse(True):
        rounds(play(game, schedule, **how), gan_state(game), gan_batch(micro_batches, len(schedule)), 1)


def test_the_check_of_keys_sees_into_losses():
    def loss(params, stats, batch, key, step):
        return params["A"] * jax.random.normal(key) * jax.random.uniform(key), ({}, {})

    game = {"a": Player(("A",), loss, optax.sgd(0.1))}
    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        rounds(play(game, (("a",),)), init(game, {"A": jnp.ones(())}), {}, 1)


def test_all_of_this_ran_with_silent_broadcasts_between_ranks_refused():
    assert jax.config.jax_numpy_rank_promotion == "raise"
    with pytest.raises(ValueError, match="jax_numpy_rank_promotion"):
        jnp.ones((2, 2)) + jnp.ones(2)


@functools.cache
def whole(way):
    """Three rounds on one device with one micro-batch."""
    return rounds(play(gan(), BOTH, **EVERY_WAY[way]), gan_state(gan()), gan_batch())


@pytest.mark.parametrize(
    ("way", "micro_batches"), [*itertools.product(EVERY_WAY, [2]), ("gradient", 4), ("consensus", 4)]
)
def test_micro_batches_are_one_batch(way, micro_batches, float64):
    round = play(gan(), BOTH, **EVERY_WAY[way])
    assert_close(rounds(round, gan_state(gan()), gan_batch(micro_batches)), whole(way), 1e-12)


def test_float_stats_are_averaged_over_micro_batches_and_integers_counted_once(float64):
    game = gan()
    state, _ = rounds(play(game, (("critic",),)), gan_state(game), gan_batch(4, moves=1), 2)
    mean = np.mean(gan_batch(1, moves=1)["image"], axis=(0, 1, 2))
    np.testing.assert_allclose(state.stats["critic"]["mean"], (0.9 + 1) * 0.1 * mean, rtol=1e-12)
    assert state.stats["critic"]["count"] == 2


def mapped(function, in_axes):
    """Over the four virtual devices of conftest, awaited: JAX 0.10 deadlocks on CPU when two calls are under way."""
    over = jax.pmap(function, AXIS, in_axes=in_axes)
    return lambda *arguments: jax.block_until_ready(over(*arguments))


def on_each(tree):
    return jax.tree.map(lambda leaf: np.stack([leaf] * 4), tree)


@pytest.mark.parametrize("way", ["consensus", "symplectic"])
def test_four_devices_under_pmap_are_one(way, float64):
    round, state = mapped(play(gan(), BOTH, **EVERY_WAY[way]), (0, 0, None)), gan_state(gan())
    state, batch = on_each(state), jax.tree.map(lambda leaf: np.stack(np.split(leaf, 4, axis=2)), gan_batch())
    for _ in range(3):
        state, metrics = round(state, batch, KEY)
    assert_close((state, metrics), on_each(whole(way)), 1e-12)


def test_a_pool_of_examples_is_refused_under_pmap():
    game = {"a": still("A", stats=lambda old: old)}
    state = init(game, {"A": jnp.ones(2)}, {"A": {POOL: jnp.ones((5, 3))}})
    with pytest.raises(ValueError, match=f"{POOL} .*mapped"):
        mapped(play(game, (("a",),)), (None, 0, None))(state, {"image": jnp.ones((4, 1, 1, 2))}, KEY)


def test_device_mean_is_the_mean_over_devices_of_floats_and_the_identity_of_the_rest():
    floats, integers = np.arange(8.0, dtype=np.float32).reshape(4, 2), np.arange(4)
    tree = {"float": jnp.asarray(floats), "integer": jnp.asarray(integers), "flag": jnp.asarray(integers > 1)}
    mean = mapped(device_mean, 0)(tree)
    np.testing.assert_allclose(mean["float"], np.tile(floats.mean(0), (4, 1)))
    np.testing.assert_array_equal(mean["integer"], integers)
    np.testing.assert_array_equal(mean["flag"], integers > 1)
    chex.assert_trees_all_equal(device_mean(tree), tree)
    chex.assert_trees_all_equal(jit(device_mean)(tree), tree)
    # Other axes than that of the devices are left alone.
    chex.assert_trees_all_equal(jax.vmap(device_mean, axis_name="examples")(tree), tree)


def test_example_keys_depend_on_the_place_in_the_global_batch_alone():
    def words_of(key, position):
        return np.asarray(compiled(key, {"position": position, "image": jnp.ones((6, 2))}))

    compiled = jit(lambda key, batch: jax.random.key_data(example_keys(key, batch)))
    position = np.random.default_rng(10).permutation(12)
    keys = np.concatenate([words_of(KEY, np.arange(6)), words_of(KEY, np.arange(6, 12))])
    np.testing.assert_array_equal(words_of(KEY, position[:6]), keys[position[:6]])
    np.testing.assert_array_equal(words_of(KEY, position[6:]), keys[position[6:]])
    assert len(np.unique(keys, axis=0)) == 12
    assert not (words_of(jax.random.key(1), np.arange(6)) == keys[:6]).all(axis=1).any()


def test_describe_is_a_table_of_players_networks_parameters_optimizers_and_moves():
    game = {
        "critic": Player(("critic", "encoder"), lambda *_: None, optax.adam(1e-3)),
        "generator": Player(("generator",), lambda *_: None, optax.sgd(0.1)),
        "frozen": Player(("vgg",), lambda *_: None, optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9))),
    }
    params = {"critic": {"kernel": jnp.ones((40, 30)), "bias": jnp.ones(34)}, "encoder": jnp.ones(())}
    params |= {"generator": {"kernel": jnp.ones((3, 2))}, "vgg": {}}
    table = describe(game, (*(("critic",),) * 5, ("critic", "generator")), init(game, params))
    assert table.splitlines() == [
        "player     networks        parameters  optimizer         moves a round",
        "critic     critic encoder  1,235       adam              6",
        "generator  generator       6           gradient descent  1",
        "frozen     vgg             0           trace             0",
    ]
