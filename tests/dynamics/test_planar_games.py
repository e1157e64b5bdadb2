"""Sets in the plane and the GANs that learn them: the data has what it should, and is drawn by position."""

import jax
import numpy as np
import optax
import pytest
from toys import KEY

from vaegan_jax.dynamics.games import GAMES
from vaegan_jax.dynamics.mixtures import Grid, PlanarGan, Ring, Spiral
from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.modes import mixture_modes
from vaegan_jax.games import init, play

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SMALL = PlanarGan(hidden_sizes=(6,), latent_size=2, batch_size=12)
PLANAR = {"ring": Ring(gan=SMALL), "grid": Grid(gan=SMALL), "spiral": Spiral(gan=SMALL)}


@pytest.fixture(scope="module")
def drawn():
    keys = jax.random.split(KEY, 20_000)
    return {name: np.asarray(jax.jit(config.draw)(keys)) for name, config in PLANAR.items()}


@pytest.mark.parametrize("name,count", [("ring", 8), ("grid", 25)])
def test_the_data_of_a_mixture_has_all_modes_evenly(name, count, drawn):
    config = PLANAR[name]
    result = mixture_modes(drawn[name], config.means(), config.deviation)
    assert result.found == result.modes == count == len(np.unique(config.means().round(6), axis=0))
    assert abs(result.high_quality - result.ceiling) < 5 * (0.989 * 0.011 / 20_000) ** 0.5
    assert result.reverse_kl < 5 * result.kl_floor


def test_the_data_of_the_spiral_lies_evenly_along_it(drawn):
    result = PLANAR["spiral"].coverage(drawn["spiral"])
    assert result.found == result.stretches == 20
    assert abs(result.high_quality - result.ceiling) < 5 * (0.0027 * 0.9973 / 20_000) ** 0.5 + 2e-4  # it is bent
    assert result.reverse_kl < 5 * 19 / (2 * 20_000)


def test_the_curve_of_the_spiral_is_archimedes_with_points_at_equal_distances():
    curve = Spiral(turns=1.5).curve()
    gaps = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    np.testing.assert_allclose(gaps, gaps.mean(), rtol=1e-3)
    # The length of r = phi / c is (phi sqrt(1 + phi^2) + arsinh phi) / (2 c).
    phi = 3 * np.pi
    assert gaps.sum() == pytest.approx((phi * np.hypot(1, phi) + np.arcsinh(phi)) / (2 * phi), rel=1e-5)
    np.testing.assert_allclose(curve[-1], [-1, 0], atol=1e-12)


def test_samples_at_one_end_of_the_spiral_cover_one_stretch():
    config = Spiral()
    near = np.repeat(config.curve()[-1:], 10, 0)
    result = config.coverage(np.concatenate([near, near + 5]))
    assert (result.found, result.high_quality) == (1, 0.5) and result.reverse_kl == pytest.approx(np.log(20))


def test_the_losses_of_a_planar_gan_are_means_of_noise_by_position(float64):
    toy = PLANAR["ring"].make(step=0.1)
    stats = {name: {} for name in toy.game}
    losses = jax.jit(
        jax.vmap(lambda p: [player.loss(toy.start, stats, {"position": p}, KEY, 0)[0] for player in toy.game.values()])
    )
    apart = np.array(losses(np.array([[0, 1, 2], [3, 4, 5], [5, 0, 3], [1, 4, 2]], np.int32)))
    np.testing.assert_allclose(apart[:, :2].mean(1), apart[:, 2:].mean(1), atol=1e-14)
    assert np.ptp(apart, axis=1).min() > 1e-6
    assert toy.batch(0, moves=3)["position"].shape == (3, 1, 12) and toy.name == "ring"


@pytest.mark.slow
def test_a_gan_comes_to_the_ring_it_learns():
    config = Ring(modes=4, deviation=0.05)
    toy = config.make({name: optax.adam(1e-3, b1=0.5) for name in ("generator", "discriminator")})
    round, state = play(toy.game, toy.schedule), init(toy.game, toy.start)

    def train(state):
        return jax.lax.scan(lambda state, _: (round(state, toy.batch(0), KEY)[0], None), state, length=3000)[0]

    samples = [np.asarray(toy.sample(s.params, jax.random.split(KEY, 500))) for s in (state, jax.jit(train)(state))]
    before, after = (mixture_modes(drawn, config.means(), config.deviation).high_quality for drawn in samples)
    assert before < 0.1 and after > 0.5  # 0.046 and 0.848


def test_the_games_are_known_by_these_names():
    assert all(GAMES[name] is type(config) for name, config in PLANAR.items())


@pytest.mark.parametrize(
    "attempt,told",
    [
        (lambda: Ring(modes=0), "modes"),
        (lambda: Grid(deviation=0.0), "deviation"),
        (lambda: Spiral(turns=-1.0), "turns"),
        (lambda: Spiral().coverage(np.zeros((0, 2))), "there are none"),
        (lambda: PlanarGan(hidden_sizes=(0,)), "hidden-sizes"),
    ],
)
def test_what_is_no_set_in_the_plane_is_refused(attempt, told):
    with pytest.raises(UserError, match=told):
        attempt()
