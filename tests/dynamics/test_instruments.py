"""Fields, Jacobians, rotation and singular values, against dense algebra and against what training itself does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from toys import BOTH, KEY, assert_close, gan, gan_batch, gan_state, jit

from vaegan_jax.data.sources import ArraySource
from vaegan_jax.dynamics import instruments
from vaegan_jax.dynamics.toy import point, zero_sum
from vaegan_jax.errors import UserError
from vaegan_jax.games import init, play
from vaegan_jax.models import gan as gan_model
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import PLAY, assemble, step_of

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def linear(matrix, point):
    return ravel_pytree(point)[1](matrix @ ravel_pytree(point)[0])


def linear_field(matrix):
    return Partial(linear, jnp.asarray(matrix))


def test_the_field_is_what_a_simultaneous_round_follows(float64):
    game = gan()
    state, batch = gan_state(game)._replace(step=jnp.asarray(3)), gan_batch(micro_batches=2)
    found = jit(lambda field, point: field(point))(instruments.field(game, state, batch, KEY), state.params)
    after, metrics = jit(play(game, BOTH))(state, batch, KEY)
    moved = jax.tree.map(lambda new, old: (old - new) / 0.1, after.params, state.params)
    assert_close(found, moved, 1e-12)
    norms = instruments.gradient_norms(game, instruments.field(game, state, batch, KEY), state.params)
    assert norms == {name: pytest.approx(float(metrics[f"{name}/gradient"]), rel=1e-12) for name in game}


def test_a_game_without_a_player_has_the_field_of_the_others(float64):
    game = gan()
    state, batch = gan_state(game), gan_batch()
    part = {"generator": game["generator"]}
    point = instruments.point_of(part, state.params)
    assert list(point) == ["generator"]
    whole, alone = instruments.field(game, state, batch, KEY), instruments.field(part, state, batch, KEY)
    found, expected = jit(lambda: (alone(point), whole(state.params)))()
    assert_close(found, {"generator": expected["generator"]}, 1e-15)


def test_a_game_is_traced_once_for_all_of_its_states_and_batches(float64):
    traced = []

    def f(x, y, batch):
        traced.append(1)
        return batch["scale"].mean() * jnp.sum(x * y)

    game = zero_sum(f, None, 0.1)

    def products(scale, x):
        state = init(game, point(np.array([x]), np.array([2.0])))
        batch = {"scale": np.full((1, 1, 4), scale)}
        made = instruments.operator(instruments.field(game, state, batch, KEY), state.params)
        return made.jacobian(np.array([1.0, 10.0]))

    np.testing.assert_allclose(products(3.0, 1.0), [30, -3])
    count = len(traced)
    np.testing.assert_allclose(products(5.0, 7.0), [50, -5])
    assert len(traced) == count > 0


def test_the_jacobian_and_its_products_are_those_of_forward_mode(float64):
    rng = np.random.default_rng(5)
    at = {"y": jnp.asarray(rng.normal(size=3)), "x": {"a": jnp.asarray(rng.normal(size=(2, 3))), "b": jnp.asarray(0.5)}}

    def f(x, y):
        return jnp.sum(jnp.tanh(x["a"] @ jnp.sin(y)) * x["b"] ** 2) + jnp.sum(y**3)

    def field(point):
        of_x, of_y = jax.grad(f, (0, 1))(point["x"], point["y"])
        return {"x": of_x, "y": -2 * of_y}

    vector, unravel = ravel_pytree(at)
    expected = np.asarray(jit(jax.jacfwd(lambda v: ravel_pytree(field(unravel(v)))[0]))(vector))
    dense, made = instruments.jacobian(field, at), instruments.operator(field, at)
    np.testing.assert_allclose(dense, expected, rtol=0, atol=1e-13)
    v = rng.normal(size=made.size)
    np.testing.assert_allclose(made.jacobian(v), expected @ v, rtol=0, atol=1e-12)
    np.testing.assert_allclose(made.transposed(v), expected.T @ v, rtol=0, atol=1e-12)
    pair = jit(lambda z: [getattr(instruments.products(field, at), name)(z) for name in PARTS])(unravel(v))
    for found, sign in zip(pair, (1, -1), strict=True):
        np.testing.assert_allclose(ravel_pytree(found)[0], (expected + sign * expected.T) @ v / 2, atol=1e-12)
    own = instruments.entries(("x",), at)
    assert list(own) == [True] * 7 + [False] * 3 and np.abs(dense - dense.T).max() > 0.1
    np.testing.assert_allclose(dense[np.ix_(own, own)], dense[np.ix_(own, own)].T, atol=1e-13)


PARTS = ("symmetric", "antisymmetric")


def test_a_jacobian_that_would_fill_the_memory_is_refused():
    with pytest.raises(UserError, match="5,001 parameters is too large"):
        instruments.jacobian(linear_field(np.eye(2)), {"x": jnp.zeros(5001)})


# f = p x^2 / 2 + b x y - q y^2 / 2 has J = [[p, b], [-b, q]].
@pytest.mark.parametrize(("p", "b", "q"), [(0.1, 1.0, 0.1), (1.0, 1.0, 1.0), (-0.1, 1.0, 0.5), (0.0, 2.0, 0.0)])
def test_rotation_shares_of_quadratic_games_have_their_closed_form(p, b, q, float64):
    game = zero_sum(lambda x, y, batch: jnp.sum(p / 2 * x**2 + b * x * y - q / 2 * y**2), None, 0.1)
    state = init(game, point(0.3, 0.7))
    field = instruments.field(game, state, {}, KEY)
    expected = 2 * b**2 / (p**2 + q**2 + 2 * b**2)
    exact = instruments.exact_share(instruments.jacobian(field, state.params))
    assert exact.share == pytest.approx(expected, abs=1e-14) and exact.error == 0
    assert exact[2:4] == (pytest.approx(np.hypot(p, q), abs=1e-14), pytest.approx(2**0.5 * b))
    probed = instruments.rotation_share(field, state.params, KEY, 100)
    assert abs(probed.share - expected) <= 4 * probed.error + 1e-14 and 0 <= probed.share <= 1 and probed.probes == 100


def test_the_error_of_a_probed_share_is_its_spread_over_keys(float64):
    matrix = np.random.default_rng(1).normal(size=(30, 30)) + np.diag(np.arange(30) / 4)
    exact, field = instruments.exact_share(matrix), linear_field(matrix)
    told = [instruments.rotation_share(field, {"x": jnp.zeros(30)}, jax.random.key(seed), 50) for seed in range(60)]
    shares, errors = (np.array([getattr(share, name) for share in told]) for name in ("share", "error"))
    assert abs(shares.mean() - exact.share) < 4 * errors.mean() / 60**0.5 + 1e-3  # a ratio is biased, by 1 / probes
    np.testing.assert_allclose(shares.std(), errors.mean(), rtol=0.3)
    np.testing.assert_allclose(np.mean([share.antisymmetric for share in told]), exact.antisymmetric, rtol=0.02)
    np.testing.assert_allclose(np.mean([share.symmetric for share in told]), exact.symmetric, rtol=0.02)


def test_probes_that_agree_on_the_share_have_no_error_however_much_their_norms_differ(float64):
    matrix = np.random.default_rng(2).normal(size=(20, 20))
    for sign in (1, -1):
        told = instruments.rotation_share(linear_field(matrix + sign * matrix.T), {"x": jnp.zeros(20)}, KEY, 10)
        assert told.share == pytest.approx(float(sign < 0), abs=1e-12) and told.error < 1e-12


def test_a_field_that_does_not_change_has_no_rotation_share(float64):
    still = instruments.rotation_share(linear_field(np.zeros((3, 3))), {"x": jnp.zeros(3)}, KEY, 4)
    assert np.isnan(still.share) and np.isnan(instruments.exact_share(np.zeros((3, 3))).share)
    with pytest.raises(UserError, match="at least 2"):
        instruments.rotation_share(linear_field(np.eye(3)), {"x": jnp.zeros(3)}, KEY, 1)


def test_singular_values_are_of_kernels_as_the_maps_that_they_are():
    values = np.array([3.0, 2.0, 0.5])
    left, right = (scipy.stats.ortho_group.rvs(size, random_state=size)[:, :3] for size in (18, 3))
    matrix = (left * values) @ right.T  # (k k in, out) with k = 3, in = 2, out = 3
    kernel = matrix.reshape(3, 3, 2, 3)
    params = {
        "critic": {"Dense_0": {"kernel": matrix, "bias": np.zeros(3)}, "Convolution_0": {"kernel": kernel}},
        "generator": {"TransposedConvolution_1": {"kernel": kernel.swapaxes(2, 3)}},
    }
    found = instruments.singular_values(params)
    names = ("critic.Convolution_0.kernel", "critic.Dense_0.kernel", "generator.TransposedConvolution_1.kernel")
    assert tuple(sorted(found)) == names
    for name in names:
        np.testing.assert_allclose(found[name], values, rtol=1e-12)


@functools.cache
def run_of(network):
    source = ArraySource({"image": np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)})
    model = gan_model.Config(network=network, latent_size=2, width=2, hidden_sizes=(4,))
    experiment = assemble(RunConfig(model=model, batch_size=8), source.spec)
    return source, experiment, first_state(experiment)._replace(step=jnp.asarray(2, jnp.int32))


@pytest.mark.slow
def test_the_field_of_a_run_is_on_the_data_and_noise_of_its_next_round():
    """What training itself tells of its first move, which is the discriminator's, from the same point."""
    from vaegan_jax.data.batches import batch, resident

    source, experiment, state = run_of("mlp")
    field = instruments.run_field(experiment, state, source)
    norms = instruments.gradient_norms(experiment.game, field, state.params)
    indices = batch(experiment.config.seed, 2, experiment.batch_shape, len(source))
    _, metrics = jit(step_of(experiment))(state, indices, experiment.key(PLAY), resident(source))
    assert norms["discriminator"] == pytest.approx(float(metrics["discriminator/gradient"]), rel=1e-5)
    other = instruments.run_field(experiment, state._replace(step=jnp.asarray(3, jnp.int32)), source)
    assert instruments.gradient_norms(experiment.game, other, state.params) != norms


def test_who_never_moves_has_no_part_in_the_field_of_a_run():
    source, experiment, state = run_of("mlp")
    frozen = experiment._replace(solved=experiment.solved._replace(schedule=(("generator",),)))
    assert list(instruments.moving(experiment)) == ["discriminator", "generator"]
    assert list(instruments.moving(frozen)) == ["generator"]
    point = instruments.point_of(instruments.moving(frozen), state.params)
    assert list(jax.eval_shape(instruments.run_field(frozen, state, source), point)) == ["generator"]


@pytest.mark.slow
def test_products_are_those_of_one_matrix_for_convolutions_and_batch_norms_too():
    source, experiment, state = run_of("dcgan")
    made = instruments.operator(instruments.run_field(experiment, state, source), state.params)
    rng = np.random.default_rng(0)
    u, v, w = rng.normal(size=(3, made.size))
    scale = np.linalg.norm(made.jacobian(v)) * np.linalg.norm(u)
    assert abs(u @ made.jacobian(v) - made.transposed(u) @ v) < 1e-5 * scale
    together = made.jacobian(v + 2 * w)
    np.testing.assert_allclose(
        together, made.jacobian(v) + 2 * made.jacobian(w), rtol=0, atol=1e-4 * abs(together).max()
    )
    own = instruments.entries(("discriminator",), state.params)
    inside = [np.where(own, x, 0) for x in (u, v)]  # a player's own block is symmetric
    assert abs(inside[0] @ made.jacobian(inside[1]) - inside[1] @ made.jacobian(inside[0])) < 1e-5 * scale
