"""Every model, and every switch with some model, really trains on two devices; what mixes examples does so alike."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from switches import FIELDS, NAMES, SPEC, SWITCHES, config_of, sensible

from vaegan_jax.dynamics.solvers import Solver, solve
from vaegan_jax.games import AXIS, init, play
from vaegan_jax.models import MODELS, name_of
from vaegan_jax.networks.network import init_networks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_quickly")]


def chosen():
    """For every model a switch, and for some another, until none is left."""
    left, pairs = [*FIELDS, *SWITCHES], []
    for name in (*NAMES, *NAMES):
        switch = next((switch for switch in left if switch in sensible(name)), None)
        left = [other for other in left if other != switch]
        pairs += [(name, switch)] if switch or len(pairs) < len(NAMES) else []
    assert not left
    return pairs


@functools.cache
def start(config):
    model = MODELS[name_of(config)]
    game = model.game(config, SPEC)
    params, stats = jax.jit(lambda key: init_networks(model.networks(config, SPEC), key))(jax.random.key(0))
    wide = lambda leaf: jnp.asarray(leaf, jnp.promote_types(leaf.dtype, jnp.result_type(float)))  # noqa: E731
    widened = jax.tree.map(lambda x: wide(x) if jnp.issubdtype(x.dtype, jnp.floating) else x, (params, stats))
    return play(game, model.schedule(config)), init(game, *widened), len(model.schedule(config))


def batch_of(moves, round):
    draw, shape = np.random.default_rng(round), (moves, 1, 4)
    image = np.tanh(draw.normal(size=(*shape, *SPEC.image_shape))).astype(jnp.result_type(float))
    position = np.broadcast_to(np.arange(4, dtype=np.int32), shape)
    return {"image": image, "position": position, "label": draw.integers(0, 3, shape).astype(np.int32)}


def trained(config, how, rounds):
    """The state and the metrics after some rounds."""
    run, state, moves = start(config)
    devices, key = jax.devices()[:2], jax.random.key(1)
    if how == "pmapped":
        mapped = jax.pmap(run, AXIS, in_axes=(None, 0, None), out_axes=None, devices=devices)
        deal = lambda x: np.moveaxis(x.reshape(*x.shape[:2], 2, 2, *x.shape[3:]), 2, 0)  # noqa: E731
        step = lambda state, batch: mapped(state, jax.tree.map(deal, batch), key)  # noqa: E731
    else:
        split = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(None, None, AXIS))
        jitted = jax.jit(run)
        put = lambda batch: jax.device_put(batch, split) if how == "sharded" else batch  # noqa: E731
        step = lambda state, batch: jitted(state, put(batch), key)  # noqa: E731
    for round in range(rounds):
        state, metrics = jax.block_until_ready(step(state, batch_of(moves, round)))
    return state, metrics


@pytest.mark.parametrize(("name", "switch"), chosen(), ids=lambda word: str(word))
def test_three_rounds_on_two_devices_move_every_network_to_finite_values(name, switch):
    config = config_of(name, [switch] if switch else [])
    before = start(config)[1]
    after, metrics = trained(config, "sharded", 3)
    assert int(after.step) == 3
    assert all(jnp.isfinite(value) for value in metrics.values())
    for network in after.params:
        leaves = zip(jax.tree.leaves(before.params[network]), jax.tree.leaves(after.params[network]), strict=True)
        moved = any((old != new).any() for old, new in leaves)
        assert moved or network == "augmentation", network  # p rests at 0 while D is not yet sure of real images
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params[network]))


@pytest.mark.parametrize(
    ("name", "solver"),
    [("gan", "unrolled"), ("hinge-gan", "historical-averaging"), ("lsgan", "averaging"), ("r1gan", "consensus")]
    + [("wgan-gp", "replay"), ("cgan", "lookahead-minmax"), ("dcgan", "extra-adam")],
)
def test_three_rounds_of_a_solver_on_two_devices_are_those_on_one(name, solver, float64):
    """What is a technique as a solver: unrolled D, averages, an opponent from the past."""
    config = config_of(name, [])
    model = MODELS[name_of(config)]
    few = {"inner_steps": 2} if solver == "unrolled" else {}
    solved = solve(Solver(solver, **few), model.game(config, SPEC), model.schedule(config))
    params, stats = jax.jit(lambda key: init_networks(model.networks(config, SPEC), key))(jax.random.key(0))
    wide = lambda leaf: jnp.asarray(leaf, float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf  # noqa: E731
    first = solved.start(init(solved.game, *jax.tree.map(wide, (params, stats))))
    split = NamedSharding(Mesh(np.array(jax.devices()[:2]), (AXIS,)), PartitionSpec(None, None, AXIS))
    jitted, ends = jax.jit(solved.round), []
    for put in (lambda batch: batch, lambda batch: jax.device_put(batch, split)):
        state = first
        for round in range(3):
            state, _ = jax.block_until_ready(
                jitted(state, put(batch_of(len(solved.schedule), round)), jax.random.key(1))
            )
        ends.append(state)
    one, two = map(jax.tree.leaves, ends)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-9, atol=1e-9)
    for network in params:
        before, after = jax.tree.leaves(first.params[network]), jax.tree.leaves(ends[0].params[network])
        assert any((old != new).any() for old, new in zip(before, after, strict=True)), network


MIXING = {
    "relativistic average": ("ragan", {}),
    "minibatch discrimination": ("gan", {"minibatch": "discrimination"}),
    "minibatch deviation": ("gan", {"minibatch": "deviation", "joint_batch": True}),
    "charges": ("coulomb-gan", {}),
    "pulling away": ("ebgan", {}),
    "feature matching and anchors": ("gan", {"feature_matching": 1.0, "lecam": 0.3, "adaptive": 0.6}),
    "few labels": ("acgan", {}),
    "recognition": ("infogan", {}),
}


@pytest.mark.parametrize("title", MIXING)
def test_what_mixes_examples_follows_one_trajectory_on_one_device_and_on_two(title, float64):
    start.cache_clear()
    name, fields = MIXING[title]
    switches = [switch for switch in fields if switch in SWITCHES]
    own = {field: value for field, value in fields.items() if field not in SWITCHES}
    config = dataclasses.replace(config_of(name, switches), **own)
    one, told = trained(config, "one", 2)
    for how in ("sharded", "pmapped"):
        other, others = trained(config, how, 2)
        for a, b in zip(jax.tree.leaves((one, told)), jax.tree.leaves((other, others)), strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-9, atol=1e-9)
    start.cache_clear()
