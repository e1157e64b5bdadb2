"""The state before round 0: its shapes, and how it is made, on one device or split over several."""

import functools

import jax

from vaegan_jax.games import Params, State, Stats, init
from vaegan_jax.networks.network import init_networks
from vaegan_jax.training.averaging import start
from vaegan_jax.training.experiment import INIT, Experiment
from vaegan_jax.training.parallel import layout, mesh_of


def first_state(experiment: Experiment) -> State:
    """The state before round 0, a pure function of the seed; split over this process's devices where the run splits it,
    because one of them may be too small for all of it."""
    make, key = functools.partial(_first, experiment), experiment.key(INIT)
    if experiment.config.shard == "none":
        return jax.jit(make)(key)
    where = layout(state_shapes(experiment), mesh_of(jax.local_devices()), "all")
    return jax.jit(make, out_shardings=where)(key)


def state_shapes(experiment: Experiment) -> State:
    """Shapes and types of a state, without any array."""
    return jax.eval_shape(lambda: _first(experiment, experiment.key(INIT)))


def _first(experiment: Experiment, key: jax.Array) -> State:
    networks = experiment.model.networks(experiment.config.model, experiment.spec)
    return begun(experiment, *init_networks(networks, key))


def begun(experiment: Experiment, params: Params, stats: Stats) -> State:
    """The state before round 0 of networks that are there: their optimizers and averages begin."""
    return start(experiment.solved.start(init(experiment.solved.game, params, stats)), experiment.averages)
