"""Toy games against what is known of them: equilibria, Jacobians and spectra, whose numbers do not come from JAX."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
import scipy.integrate
import scipy.optimize
from jax.flatten_util import ravel_pytree
from toys import KEY

from vaegan_jax.dynamics import learning
from vaegan_jax.dynamics.dirac import LOSSES, DiracGan
from vaegan_jax.dynamics.games import GAMES, Bilinear, MatrixGame, Quadratic, StochasticBilinear
from vaegan_jax.dynamics.learning import CovarianceLearning, MeanLearning, ParallelLines
from vaegan_jax.errors import UserError
from vaegan_jax.games import init, play

pytestmark = pytest.mark.usefixtures("compiled_quickly")

NOISY = [loss for loss in LOSSES if loss != "relativistic"]
CONFIGS = {
    "bilinear": Bilinear(coefficient=-1.5),
    "matrix": MatrixGame(singular_values=(1.0, 0.7, 0.4)),
    "matrix by seed": MatrixGame(size=3, seed=1),
    "quadratic": Quadratic(p=-0.1, q=0.5, b=1.2),
    "stochastic-bilinear": StochasticBilinear(examples=7, dimensions=3, batch_size=0),
    "mean-learning": MeanLearning(),
    "covariance-learning": CovarianceLearning(),
    "parallel-lines": ParallelLines(bound=2.0),
    "dirac-gan": DiracGan(),  # others in test_theory_dirac.py
    "dirac-gan noisy": DiracGan("least-squares", "instance-noise"),
    "dirac-gan wgan-gp": DiracGan("wasserstein", "wgan-gp"),
}


def field_of(toy):
    """The field as the engine plays it: what a plain step of size 1 takes off, as a function of a vector."""
    point, unravel = ravel_pytree(toy.start)
    round = play(toy.game, toy.schedule)

    def field(vector):
        state = init(toy.game, unravel(vector))
        return vector - ravel_pytree(round(state, toy.batch(0), KEY)[0].params)[0]

    return point, field


@pytest.fixture(scope="module")
def measured():
    """Of all games at once, because compiling is what takes long: Jacobian and field, at equilibrium and start."""
    with jax.enable_x64(True):
        toys = {name: config.make(step=1.0) for name, config in CONFIGS.items()}

        @jax.jit
        def all_of_them():
            values = {}
            for name, toy in toys.items():
                start, field = field_of(toy)
                both = jnp.stack([ravel_pytree(toy.equilibrium)[0], start])
                values[name] = jax.vmap(jax.jacfwd(lambda point, f=field: (f(point),) * 2, has_aux=True))(both)
            return values

        return toys, jax.tree.map(np.asarray, all_of_them())


def test_every_game_is_tested_here():
    planar = {"ring", "grid", "spiral"}  # in test_planar_games.py
    assert {name.split(" ")[0] for name in CONFIGS} | planar == set(GAMES)
    assert all(isinstance(config, GAMES[name.split(" ")[0]]) for name, config in CONFIGS.items())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_field_is_zero_at_the_equilibrium_and_not_at_the_start(name, measured):
    rest, start = measured[1][name][1]
    np.testing.assert_allclose(rest, 0, atol=1e-14)
    assert np.linalg.norm(start) > 0.1


@pytest.mark.parametrize("name", [name for name in CONFIGS if "wgan-gp" not in name])
def test_the_jacobian_at_the_equilibrium_is_the_closed_form(name, measured):
    toys, values = measured
    np.testing.assert_allclose(values[name][0][0], toys[name].jacobian, rtol=0, atol=1e-12)


BILINEAR = ["bilinear", "matrix", "matrix by seed", "stochastic-bilinear", "mean-learning", "parallel-lines"]


@pytest.mark.parametrize("name", BILINEAR)
def test_the_singular_values_are_those_of_the_measured_rotation(name, measured):
    toys, values = measured
    jacobian = values[name][0][0]
    n = len(jacobian) // 2
    np.testing.assert_allclose(jacobian, -jacobian.T, atol=1e-14)
    told = np.linalg.svd(jacobian[:n, n:], compute_uv=False)
    np.testing.assert_allclose(sorted(toys[name].singular_values), sorted(told), atol=1e-14)


def test_games_with_attraction_tell_no_singular_values(measured):
    assert {name for name, toy in measured[0].items() if toy.singular_values} == set(BILINEAR)


def test_a_matrix_game_has_the_singular_values_that_were_asked_for():
    toy = MatrixGame(singular_values=(0.3, 1.0, 0.0)).make()
    np.testing.assert_allclose(toy.singular_values, [1.0, 0.3, 0.0], atol=1e-15)
    assert np.abs(toy.jacobian[:3, 3:] - np.diag([0.3, 1.0, 0.0])).max() > 0.1  # and is turned


def test_learning_a_variance_rotates_at_twice_its_root():
    eigenvalues = np.linalg.eigvals(CovarianceLearning(variances=(1.7,)).jacobian())
    np.testing.assert_allclose(sorted(eigenvalues.imag), [-2.6077, 2.6077], atol=5e-5)
    np.testing.assert_allclose(eigenvalues.real, 0, atol=1e-15)


def test_learning_a_unit_covariance_rotates_at_2_with_the_multiplicity_of_symmetric_matrices():
    turning = np.sort(np.linalg.eigvals(CovarianceLearning(variances=(1.0,) * 3).jacobian()).imag)
    np.testing.assert_allclose(turning, [-2.0] * 6 + [0.0] * 6 + [2.0] * 6, atol=1e-12)


def test_the_residual_of_learning_a_covariance_is_0_at_every_equilibrium_and_nowhere_else():
    config = CovarianceLearning(variances=(1.0, 2.0))
    turned = config.covariance(0.5) @ np.array([[0.6, 0.8], [-0.8, 0.6]])
    antisymmetric = np.array([[0.0, 3.0], [-3.0, 0.0]])
    assert config.residual({"x": turned, "y": antisymmetric}) == pytest.approx(0, abs=1e-14)
    # V = I misses Sigma by diag(0, 1), turned, and W = I has nothing but a symmetric part, of norm sqrt(2).
    assert config.residual({"x": np.eye(2), "y": np.eye(2)}) == pytest.approx(3**0.5)


def test_a_round_of_the_stochastic_game_is_decided_by_seed_and_round():
    config = StochasticBilinear(examples=50, dimensions=5, batch_size=4)
    first, again, other = (config.batch(round, moves=2)["row"] for round in (3, 3, 4))
    assert first.shape == (2, 1, 4) and first.dtype == np.int32
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first[0] != first[1]).any()
    assert (StochasticBilinear(examples=50, dimensions=5, batch_size=4, seed=1).batch(3, 2)["row"] != first).any()
    large = StochasticBilinear(examples=50, dimensions=5, batch_size=400)
    drawn = np.concatenate([large.batch(round)["row"].ravel() for round in range(10)])
    counts = np.bincount(drawn, minlength=50)  # 80 each, of deviation 8.9
    assert counts.min() > 80 - 5 * 8.9 and counts.max() < 80 + 5 * 8.9


def test_the_stochastic_field_is_that_of_the_whole_game_on_the_average(float64):
    whole, single = (StochasticBilinear(examples=7, dimensions=3, batch_size=size).make(step=1.0) for size in (0, 1))
    point, field = field_of(whole)
    round = play(single.game, single.schedule)

    @jax.jit
    def of_row(row):
        batch = {"row": row.reshape(1, 1, 1)}
        return point - ravel_pytree(round(init(single.game, single.start), batch, KEY)[0].params)[0]

    rows = [of_row(jnp.asarray(row, jnp.int32)) for row in range(7)]
    np.testing.assert_allclose(np.mean(rows, 0), jax.jit(field)(point), atol=1e-14)
    assert np.std(rows, 0).max() > 0.1


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


GAINS = {  # f' of the paper, for the discriminator and for the generator, with t = psi theta
    "minimax": (lambda t: sigmoid(-t), lambda t: sigmoid(-t)),
    "non-saturating": (lambda t: sigmoid(-t), sigmoid),
    "wasserstein": (np.ones_like, np.ones_like),
    "least-squares": (lambda t: 1 - t, lambda t: 1 + t),
    "hinge": (lambda t: np.where(t < 1, 1.0, 0.0), np.ones_like),
    "relativistic": (lambda t: sigmoid(-t), sigmoid),
}


PENALIZED = [DiracGan(loss) for loss in LOSSES] + [DiracGan("wasserstein", how) for how in ("r1", "r2", "wgan-gp")]
PENALIZED += [DiracGan("minimax", "jensen-shannon")]


@functools.cache
def dirac_fields():
    """Of all variants, at (0.8, -0.6) and (1.5, 1.2)."""
    variants = [*PENALIZED, *(DiracGan(loss, "instance-noise") for loss in NOISY)]
    points = np.array([[0.8, -0.6], [1.5, 1.2]])
    with jax.enable_x64(True):
        fields = [field_of(config.make(step=1.0))[1] for config in variants]
        values = jax.jit(lambda points: [jax.vmap(field)(points) for field in fields])(points)
    return {config: np.asarray(value) for config, value in zip(variants, values, strict=True)}, points


def roth(theta, psi):
    """Slope by psi of 0.15 psi^2 [(1 - s(l))^2 at the data + s(l)^2 at theta]; there l = 0 and l = -psi theta."""
    sure = sigmoid(-psi * theta)
    return 0.3 * psi * (0.25 + sure**2) - 0.15 * psi**2 * 2 * sure * sure * (1 - sure) * theta


@pytest.mark.parametrize("config", PENALIZED, ids=lambda config: f"{config.loss} {config.regularizer}")
def test_the_field_of_the_dirac_gan_is_the_paper_s_with_the_sign_of_gradients(config):
    values, points = dirac_fields()
    theta, psi = points.T
    discriminator, generator = (gain(theta * psi) for gain in GAINS[config.loss])
    slope = {"none": 0.0, "wgan-gp": 0.3 * (np.abs(psi) - 1) * np.sign(psi), "jensen-shannon": roth(theta, psi)}
    slope = slope.get(config.regularizer, 0.3 * psi)
    expected = np.stack([psi * generator, -theta * discriminator + slope], 1)
    np.testing.assert_allclose(values[config], expected, atol=1e-14)


@pytest.mark.parametrize("loss", [loss for loss in NOISY if loss != "hinge"])
def test_instance_noise_is_the_expectation_over_both_points(loss):
    """Against adaptive quadrature; the hinge has a kink, for which no rule of 80 nodes is exact."""
    values, points = dirac_fields()
    discriminator, generator = GAINS[loss]

    def normal(function):
        return scipy.integrate.quad(
            lambda x: function(x) * np.exp(-(x**2) / 2) / (2 * np.pi) ** 0.5, -12, 12, epsabs=1e-13, epsrel=1e-13
        )[0]

    for (theta, psi), value in zip(points, values[DiracGan(loss, "instance-noise")], strict=True):
        # The real point x gains f(-psi x), the generated one f(psi x): slopes by psi are -x f' and x f'.
        fake = normal(lambda e: (theta + 0.7 * e) * discriminator(psi * (theta + 0.7 * e)))  # noqa: B023
        real = normal(lambda e: -0.7 * e * discriminator(-psi * 0.7 * e))  # noqa: B023
        moved = normal(lambda e: psi * generator(psi * (theta + 0.7 * e)))  # noqa: B023
        np.testing.assert_allclose(value, [moved, -fake - real], atol=1e-11)


def test_the_best_critic_of_parallel_lines_says_the_earth_mover_s_distance():
    game = ParallelLines(bound=1.0).make().game
    for theta in (-2.0, 0.3, 0.0):
        u = 30.0 * -np.sign(theta)
        best = -game["max"].loss({"x": jnp.float32(theta), "y": jnp.float32(u)}, {}, {}, KEY, 0)[0]
        assert float(best) == pytest.approx(float(learning.earth_mover(theta)), abs=1e-6)


def test_the_distances_between_parallel_lines_are_example_1_s():
    theta = np.array([-0.5, 0.0, 0.1, 1.0])
    np.testing.assert_array_equal(learning.earth_mover(theta), [0.5, 0.0, 0.1, 1.0])
    np.testing.assert_allclose(learning.jensen_shannon(theta), np.log([2, 1, 2, 2]), rtol=1e-15)
    np.testing.assert_array_equal(learning.kullback_leibler(theta), [np.inf, 0, np.inf, np.inf])
    np.testing.assert_array_equal(learning.total_variation(theta), [1, 0, 1, 1])
    # Independently: transport between the same 40 points of both lines.
    z = np.random.default_rng(0).uniform(size=40)
    cost = np.hypot(0.1, z[:, None] - z[None])
    assert cost[scipy.optimize.linear_sum_assignment(cost)].mean() == pytest.approx(learning.earth_mover(0.1))


def test_the_player_who_is_given_an_optimizer_uses_it_and_the_other_plain_steps(float64):
    toy = Bilinear().make({"max": optax.sgd(0.5)}, step=0.1)
    state, _ = jax.jit(play(toy.game, toy.schedule))(init(toy.game, toy.start), {}, KEY)
    np.testing.assert_allclose([state.params["x"], state.params["y"]], [0.9, 1.5], rtol=1e-14)


@pytest.mark.parametrize(
    "attempt,told",
    [
        (lambda: Bilinear(coefficient=float("nan")), "coefficient"),
        (lambda: Bilinear(coefficient="2"), "coefficient must be a number"),
        (lambda: Bilinear().make(step=0.0), "step must be above 0"),
        (lambda: MatrixGame(singular_values=(1.0, -1.0)), "singular-values"),
        (lambda: MatrixGame(size=0), "size"),
        (lambda: Quadratic(p=float("inf")), "p, q and b"),
        (lambda: StochasticBilinear(examples=3, dimensions=4), "examples must be at least dimensions, 4, not 3"),
        (lambda: StochasticBilinear(batch_size=-1), "batch-size"),
        (lambda: DiracGan(loss="wassserstein"), "Did you mean 'wasserstein'"),
        (lambda: DiracGan(sigma=-1.0), "sigma"),
        (lambda: DiracGan("relativistic", "instance-noise"), "each point of a pair"),
        (lambda: MeanLearning(mean=()), "mean"),
        (lambda: CovarianceLearning(variances=(0.0,)), "variances"),
        (lambda: ParallelLines(bound=0.0), "bound"),
    ],
)
def test_what_cannot_be_a_game_is_refused_in_one_line(attempt, told, monkeypatch):
    # As users run it: beartype, which is only here in tests, would be first to refuse some of it.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(UserError, match=told) as caught:
        attempt()
    assert "\n" not in str(caught.value)


def test_an_optimizer_of_nobody_is_refused():
    with pytest.raises(ValueError, match="optimizers of first, but the players are min, max"):
        Bilinear().make({"first": optax.sgd(0.1)})
