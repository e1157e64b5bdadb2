"""Whatever a solver puts around a player, its bounds hold, and k, p and averages step by their own rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.errors import UserError
from vaegan_jax.models import CONFIGS
from vaegan_jax.models.techniques import Techniques
from vaegan_jax.optimizers import Optimizer
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import assemble

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SPEC = DataSpec("pixels", (2, 2, 1), batch_size=8)
DENSE = {"network": "mlp", "latent_size": 3, "hidden_sizes": (5,)}
AROUND = [
    Solver("optimistic-adam"),
    Solver("extra-adam"),
    Solver("two-time-scales", player="discriminator", factor=4.0),
    Solver("heavy-ball", momentum=0.9),
    Solver("optimistic"),
]


def played(name, solver, rounds, **fields):
    """The states after each round, on images that are the same each time."""
    model = CONFIGS[name](**DENSE | fields)
    experiment = assemble(RunConfig(model, batch_size=8, devices=1, solver=solver), SPEC)
    shape = (len(experiment.schedule), 1, 8)
    images = np.random.default_rng(0).uniform(-1, 1, (8, *SPEC.image_shape)).astype(np.float32)
    batch = {"image": jnp.broadcast_to(images, (*shape, *SPEC.image_shape))}
    batch["position"] = jnp.broadcast_to(jnp.arange(8), shape)
    state, round, states = first_state(experiment), jax.jit(experiment.solved.round), []
    for _ in range(rounds):
        state, _ = round(state, batch, jax.random.key(0))
        states.append(state)
    return states


@pytest.mark.parametrize("solver", AROUND, ids=lambda solver: solver.name)
def test_weights_stay_clipped(solver):
    fast = Optimizer("rmsprop", 1e-2)
    for state in played("wgan", solver, 20, discriminator_optimizer=fast, discriminator_moves=1, clip=0.01):
        largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(state.params["discriminator"]))
        assert largest <= 0.01 * (1 + 1e-5)


@pytest.mark.parametrize("solver", AROUND, ids=lambda solver: solver.name)
def test_k_stays_within_its_bounds(solver):
    told = [float(state.params["balance"]["k"]) for state in played("began", solver, 20, balance_rate=0.3)]
    assert min(told) >= 0 and max(told) <= 1 and len(set(told)) > 2


@pytest.mark.parametrize("solver", AROUND, ids=lambda solver: solver.name)
def test_rules_are_of_their_own(solver):
    """LeCam's averages begin with a tenth of the mean scores, and p with its own step, whatever is around Adam."""
    tricks = Techniques(lecam=0.3, lecam_decay=0.9, adaptive=0.6, augment="color")
    state, plain = (played("gan", each, 1, techniques=tricks)[0] for each in (solver, Solver("simultaneous")))
    for name in ("anchors", "augmentation"):
        for leaf, expected in zip(*(jax.tree.leaves(s.params[name]) for s in (state, plain)), strict=True):
            near = 0.2 if solver.name == "extra-adam" else 1e-6  # it sees scores a step ahead; by Adam it is 6-fold
            np.testing.assert_allclose(leaf, expected, rtol=near, atol=1e-9)
    assert all(float(leaf) != 0 for leaf in jax.tree.leaves(state.params["anchors"]))


def test_a_rule_is_refused_as_the_player_of_a_solver():
    with pytest.raises(UserError, match="solver heavy-ball: balance steps by a rule of its own"):
        played("began", Solver("heavy-ball", player="balance"), 1)


def test_a_noise_that_decays_by_images_is_refused_where_a_round_shows_others():
    tricks = Techniques(instance_noise=1.0, instance_noise_kimg=1.0)
    with pytest.raises(UserError, match="counts 5 moves of the discriminator a round, and solver extra-adam makes 1"):
        played("wgan-gp", Solver("extra-adam"), 1, techniques=tricks)
    played("wgan-gp", Solver("extra-adam"), 1, techniques=tricks, discriminator_moves=1)
    played("wgan-gp", Solver("alternating"), 1, techniques=tricks)
