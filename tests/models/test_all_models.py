"""One table over all models, networks and choices: whatever a `Config` can say is a game that traces and stays."""

import ast
import dataclasses
import inspect
import itertools
import json
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.data import ArraySource
from vaegan_jax.data.batches import batch, resident
from vaegan_jax.models import MODELS, gan, name_of, vae
from vaegan_jax.models.catalog import CATALOG
from vaegan_jax.training.config import RunConfig, TrainingConfig, from_json, to_json
from vaegan_jax.training.experiment import PLAY, assemble, first_state, step_of

TABLE = {
    "vae": vae.Config(latent_size=3, hidden_sizes=(5,), width=2),
    "gan": gan.Config(latent_size=3, hidden_sizes=(5,), width=2),
}
"""A small `Config` of every model; each is tried with every value of every field that is a choice."""
MORE = {
    "vae": ({"monte_carlo_samples": 2}, {"beta": 0.5, "warmup_kimg": 1.0}, {"hidden_sizes": ()}),
    "gan": ({"joint_batch": True}, {"discriminator_moves": 2}, {"label_smoothing": 0.1}),
}
"""What else is tried, in turn, with every network."""
SOURCE = ArraySource({"image": np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)})
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def choices(config):
    """Fields whose values are listed in their types, with the values."""
    hints = typing.get_type_hints(type(config))
    return {name: typing.get_args(hint) for name, hint in hints.items() if typing.get_origin(hint) is typing.Literal}


def rows():
    for name, config in TABLE.items():
        fields = choices(config)
        for values in itertools.product(*fields.values()):
            yield " ".join((name, *values)), dataclasses.replace(config, **dict(zip(fields, values, strict=True)))
        for network, more in itertools.product(fields["network"], MORE[name]):
            title = " ".join((name, network, *(f"{field}={value}" for field, value in more.items())))
            yield title, dataclasses.replace(config, network=network, **more)


ROWS = dict(rows())
every_row = pytest.mark.parametrize("config", ROWS.values(), ids=ROWS)
every_network = pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(config, network=network)
        for config in TABLE.values()
        for network in choices(config)["network"]
    ],
    ids=lambda config: f"{name_of(config)} {config.network}",
)
every_model = pytest.mark.parametrize("name", MODELS)


def play_of(config):
    """An experiment, and what its step takes besides the state."""
    experiment = assemble(RunConfig(config, batch_size=4, training=TrainingConfig(micro_batches=2)), SOURCE.spec)
    indices = batch(experiment.config.seed, 0, experiment.batch_shape, len(SOURCE))
    return experiment, (indices, experiment.key(PLAY), resident(SOURCE))


def signature(tree):
    """What a compiled function is chosen by: names, shapes, types, and whether these are weak."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf.shape, leaf.dtype, leaf.weak_type) for path, leaf in leaves]


def check_round(config):
    experiment, others = play_of(config)
    state = jax.eval_shape(lambda: first_state(experiment))
    after, metrics = jax.eval_shape(step_of(experiment), state, *others)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert signature(after) == signature(state)
    assert all(not leaf.weak_type for leaf in jax.tree.leaves(state))
    for player, what in itertools.product(experiment.game, ("loss", "gradient", "update", "parameters")):
        assert f"{player}/{what}" in metrics
    for leaf in metrics.values():
        assert leaf.shape == () and jnp.issubdtype(leaf.dtype, jnp.floating)


@every_row
def test_a_round_traces_and_leaves_the_state_s_structure_shapes_and_types(config):
    check_round(config)


@every_network
def test_it_does_so_in_float64_too(config):
    with jax.enable_x64(True):
        check_round(config)


@every_row
def test_samples_are_images_and_leave_the_structure_of_the_stats(config):
    experiment, _ = play_of(config)
    state = jax.eval_shape(lambda: first_state(experiment))
    for train in (True, False):

        def sample(params, stats, keys, train=train):
            return experiment.model.sample(config, experiment.spec, params, stats, keys, train)

        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 7))
        images, stats = jax.eval_shape(sample, state.params, state.stats, keys)
        assert images.shape == (7, *SOURCE.spec.image_shape)
        assert signature(stats) == signature(state.stats)


@every_network
def test_a_second_call_traces_nothing_and_a_third_neither(config):
    """And within a round no key is used twice."""
    experiment, others = play_of(config)
    shapes = jax.eval_shape(lambda: first_state(experiment))
    state, traces = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1).astype(leaf.dtype), shapes), []

    @jax.jit
    def step(*args):
        traces.append(1)
        return step_of(experiment)(*args)

    with jax.debug_key_reuse(True):
        for _ in range(3):
            state, metrics = step(state, *others)
    assert len(traces) == 1
    assert all(jnp.isfinite(value) for value in metrics.values())
    assert int(state.step) == 3


@every_row
def test_a_configuration_survives_being_stored(config):
    run = RunConfig(config)
    assert from_json(json.loads(json.dumps(to_json(run)))) == run


def test_every_model_has_a_row_in_this_table():
    assert set(TABLE) == set(MORE) == set(MODELS), "add a small Config of the model to TABLE and MORE"
    for name, config in TABLE.items():
        assert name_of(config) == name


@every_model
def test_every_model_has_a_row_in_the_catalog(name):
    assert [row.name for row in CATALOG].count(name) == 1


def test_the_catalog_names_no_system_twice():
    names = [row.name for row in CATALOG]
    assert len(names) == len(set(names))
    assert all(row.title and row.source for row in CATALOG)


@every_model
@pytest.mark.parametrize("part", ["Config", "networks", "game", "schedule", "sample"])
def test_every_model_has_all_parts_each_with_a_docstring(name, part):
    made = getattr(MODELS[name], part)
    assert callable(made)
    # What `dataclass` writes where there is none begins with the name.
    assert made.__doc__ and not made.__doc__.startswith(f"{part}("), f"{name}.{part} has no docstring"
    assert MODELS[name].__doc__


@every_model
def test_every_field_of_a_configuration_is_frozen_has_a_default_and_tells_what_it_is(name):
    kind = MODELS[name].Config
    assert dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen
    assert kind() == kind()
    (body,) = (node.body for node in ast.parse(inspect.getsource(kind)).body)
    for node, following in zip(body, body[1:], strict=False):
        if isinstance(node, ast.AnnAssign):
            told = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            assert told and str(following.value.value).strip(), f"{name}.Config.{node.target.id} has no docstring"


@every_model
def test_every_network_has_one_owner_and_every_player_moves(name):
    config = TABLE[name]
    spec = dataclasses.replace(SOURCE.spec, batch_size=4)
    game = MODELS[name].game(config, spec)
    owned = [network for player in game.values() for network in player.owns]
    assert sorted(owned) == sorted(MODELS[name].networks(config, spec))
    assert {player for movers in MODELS[name].schedule(config) for player in movers} == set(game)
    assert set(getattr(MODELS[name], "AVERAGED", ())) <= set(owned)
