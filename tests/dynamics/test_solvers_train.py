"""Every solver trains a DCGAN on clothes for fifty rounds, split over two devices, and stays finite."""

import jax
import numpy as np
import pytest

from vaegan_jax.data import load
from vaegan_jax.data.batches import batch, resident
from vaegan_jax.dynamics.settings import CONSTANTS, Solver
from vaegan_jax.dynamics.solvers import SOLVERS
from vaegan_jax.models import gan
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import PLAY, assemble, step_of
from vaegan_jax.training.parallel import LIFTS, rounds

pytestmark = pytest.mark.usefixtures("compiled_quickly")
# Gradients of these networks are about 1, and steps of Adam are 2e-4: nobody looks further ahead than fifty of them.
SPECIAL = {
    "two-time-scales": {"player": "discriminator"},
    "consensus": {"gamma": 0.1},
    "symplectic": {"lam": 0.3, "align": True},
    "proximal": {"iterations": 3},
    "competitive": {"iterations": 2},
    "unrolled": {"inner_steps": 2},
    "follow-the-ridge": {"damping": 1.0, "iterations": 3},
    "lookahead-minmax": {"k": 4},
    "averaging": {"average": "ema"},
}
QUICK = ("optimistic", "extragradient")
"""Always tested, for a few rounds of dense networks, which compile faster."""


def trained(name, length, network):
    """The first state, the last, and the metrics of each round."""
    steps = {"step": 0.01} if "step" in CONSTANTS[name] else {}
    solver = Solver(name, **steps, **SPECIAL.get(name, {}))
    source = load("fashion_mnist_small", "train", 8)
    model = gan.Config(network, latent_size=4, width=4, hidden_sizes=(8,))
    config = RunConfig(model, image_size=8, batch_size=8, devices=2, solver=solver)
    experiment = assemble(config, source.spec)
    lift = LIFTS["sharded"](rounds(step_of(experiment), 1), jax.devices()[:2])
    state, store, key = (lift.place(t) for t in (first_state(experiment), resident(source), experiment.key(PLAY)))
    first, told = jax.tree.map(np.asarray, lift.collect(state)), []
    for t in range(length):
        indices = batch(config.seed, t, experiment.batch_shape, len(source))
        state, metrics = lift.step(state, {n: leaf[None] for n, leaf in indices.items()}, np.int32(1), key, store)
        told.append({title: float(rows[0]) for title, rows in metrics.items()})
    return first, jax.tree.map(np.asarray, lift.collect(state)), told


def check(name, length, network="dcgan"):
    first, last, told = trained(name, length, network)
    for t, metrics in enumerate(told):
        assert all(np.isfinite(value) for value in metrics.values()), (t, metrics)
    assert last.step == length and told[0] != told[-1]
    for leaf in jax.tree.leaves(last):
        assert np.isfinite(leaf).all()
    for before, leaf in zip(jax.tree.leaves(first.params), jax.tree.leaves(last.params), strict=True):
        assert (leaf != before).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", SOLVERS)
def test_fifty_rounds_stay_finite_and_move_every_parameter(name):
    check(name, 50)


@pytest.mark.parametrize("name", QUICK)
def test_some_rounds_do_so_too(name):
    check(name, 5, "mlp")
