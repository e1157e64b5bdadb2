"""One table over all models, networks and choices: whatever a `Config` can say is a game that traces and stays."""

import ast
import dataclasses
import inspect
import itertools
import json
import typing

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.data import ArraySource
from vaegan_jax.data.batches import batch, resident
from vaegan_jax.errors import UserError
from vaegan_jax.models import CONFIGS, MODELS, name_of
from vaegan_jax.models.catalog import CATALOG
from vaegan_jax.networks.network import init_networks
from vaegan_jax.training.beginning import state_shapes
from vaegan_jax.training.config import RunConfig, TrainingConfig, from_json, to_json
from vaegan_jax.training.experiment import PLAY, assemble, classes_told, step_of

SMALL = {"latent_size": 3, "hidden_sizes": (5,), "width": 2}
WITHOUT = {"sagan": {"attention": 0, "condition_place": "input"}, "projection-gan": {"condition_place": "input"}}
"""What a model must do without on dense networks."""


def small(name, network, **fields):
    """A small `Config` of a model; one move of each player suffices."""
    own = WITHOUT.get(name, {}) if network == "mlp" else {"width": 8, "attention": 0} if name == "sagan" else {}
    own |= {} if name == "vae" else {"discriminator_moves": 1}
    own |= {"latent_size": 4} if name == "biggan" else {}
    return CONFIGS[name](**SMALL | own | {"network": network} | fields)


NETWORKS = {name: typing.get_args(typing.get_type_hints(kind)["network"]) for name, kind in CONFIGS.items()}
TABLE = {name: small(name, "mlp" if "mlp" in NETWORKS[name] else NETWORKS[name][0]) for name in CONFIGS}
"""Every model, on dense networks where it may; "gan" and "vae" are tried with all values of all fields that are a
choice."""
MORE = {
    "vae": ({"monte_carlo_samples": 2}, {"beta": 0.5, "warmup_kimg": 1.0}, {"hidden_sizes": ()}),
    "gan": (
        {"joint_batch": True, "discriminator_moves": 2, "generator_moves": 2},
        {"label_smoothing": 0.1, "clip": 0.1},
        {"network": "dcgan", "spectral": "both", "attention": 4, "width": 8},
        {"penalty": "gradient", "penalty_interval": 2, "discriminator_norm": "layer"},
        {"network": "dcgan", "condition": "projection", "condition_place": "norm", "joint_batch": True},
        {"hidden_sizes": ()},
    ),
    "infogan": ({"categories": (), "continuous": 1}, {"categories": (2, 3), "continuous": 0}),
    "ebgan": ({"pulling_away": 0.0, "spectral": "discriminator"},),
}
"""What else is tried, in turn."""
OF_MAPS = {"up", "down", "condition_place"}
"""Fields of networks with maps."""
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
SOURCE = ArraySource({"image": PIXELS, "label": np.arange(12) % 3})
SPEC = dataclasses.replace(SOURCE.spec, batch_size=4)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def choices(config):
    """Fields whose values are listed in their types, with the values."""
    hints = typing.get_type_hints(type(config))
    return {name: typing.get_args(hint) for name, hint in hints.items() if typing.get_origin(hint) is typing.Literal}


def rows():
    for name, config in TABLE.items():
        yield name, config
        for more in MORE.get(name, ()):
            yield f"{name} {more}", dataclasses.replace(config, **more)
    for name in ("vae", "gan"):
        for field, values in choices(TABLE[name]).items():
            for value in values:
                if value != getattr(TABLE[name], field):
                    maps = {"network": "dcgan"} if field in OF_MAPS or value == "instance" else {}
                    along = {"condition": "projection"} if field == "condition_place" else {}
                    yield f"{name} {field}={value}", dataclasses.replace(TABLE[name], **maps | along | {field: value})


ROWS = dict(rows())
every_row = pytest.mark.parametrize("config", ROWS.values(), ids=ROWS)
every_network = pytest.mark.parametrize(
    "config",
    [small(name, network) for name in ("vae", "gan") for network in NETWORKS[name][:2]],
    ids=lambda c: c.network,
)
every_table = pytest.mark.parametrize("config", TABLE.values(), ids=TABLE)
every_model = pytest.mark.parametrize("name", MODELS)


def play_of(config):
    """An experiment, and what its step takes besides the state."""
    run = RunConfig(config, batch_size=4, training=TrainingConfig(micro_batches=2))
    try:
        experiment = assemble(run, SOURCE.spec)
    except UserError as error:
        assert "a micro-batch is only a part of it" in str(error)
        experiment = assemble(dataclasses.replace(run, training=TrainingConfig()), SOURCE.spec)
    indices = batch(experiment.config.seed, 0, experiment.batch_shape, len(SOURCE))
    return experiment, (indices, experiment.key(PLAY), resident(SOURCE))


def signature(tree):
    """What a compiled function is chosen by: names, shapes, types, and whether these are weak."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf.shape, leaf.dtype, leaf.weak_type) for path, leaf in leaves]


def check_round(config):
    experiment, others = play_of(config)
    state = state_shapes(experiment)
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


@pytest.mark.slow
@every_table
def test_a_round_is_lowered_for_tpus_and_gpus_by_a_machine_without(config):
    """For their compilers, that is: nothing is partitioned, and no memory is counted."""
    experiment, others = play_of(config)
    state = state_shapes(experiment)
    lowered = jax.export.export(jax.jit(step_of(experiment)), platforms=("tpu", "cuda"))(state, *others)
    assert lowered.platforms == ("tpu", "cuda")
    assert signature(jax.tree.unflatten(lowered.out_tree, lowered.out_avals)[0]) == signature(state)


@every_network
def test_it_does_so_in_float64_too(config):
    with jax.enable_x64(True):
        check_round(config)


def combined():
    """Each model with one network in turn, slow; with the others, to soak."""
    names = [name for name in MODELS if "dcgan" in NETWORKS[name] and name != "vae"]
    for place, (name, network) in enumerate(itertools.product(names, ("dcgan", "sndcgan", "resnet"))):
        mark = pytest.mark.slow if place % 3 == place // 3 % 3 or name == "gan" else pytest.mark.soak
        yield pytest.param(name, network, id=f"{name}-{network}", marks=mark)


@pytest.mark.parametrize(("name", "network"), list(combined()))
def test_it_does_so_for_every_model_with_every_network(name, network):
    check_round(small(name, network))


@every_model
def test_every_model_with_every_network_is_put_together(name):
    for network in NETWORKS[name]:
        made = MODELS[name].networks(small(name, network), SPEC)
        params, _ = jax.eval_shape(lambda key, made=made: init_networks(made, key), jax.random.key(0))
        assert set(params) == set(made) and all(leaf.size for leaf in jax.tree.leaves(params))


KEYS = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 7))


@every_table
def test_samples_are_images_and_leave_the_structure_of_the_stats(config):
    experiment, _ = play_of(config)
    state = state_shapes(experiment)
    for train in (True, False):

        def sample(params, stats, keys, train=train):
            return experiment.model.sample(config, experiment.spec, params, stats, keys, train)

        images, stats = jax.eval_shape(sample, state.params, state.stats, KEYS)
        assert images.shape == (7, *SOURCE.spec.image_shape)
        assert signature(stats) == signature(state.stats)


@every_network
def test_a_second_call_traces_nothing_and_a_third_neither(config):
    """And within a round no key is used twice."""
    experiment, others = play_of(config)
    shapes = state_shapes(experiment)
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
    assert set(TABLE) == set(CONFIGS) == set(MODELS) and set(MORE) <= set(TABLE)
    for name, config in TABLE.items():
        assert name_of(config) == name


@every_model
def test_every_model_has_a_row_in_the_catalog(name):
    assert [row.name for row in CATALOG].count(name) == 1


def test_the_catalog_names_no_system_twice():
    names = [row.name for row in CATALOG]
    assert len(names) == len(set(names))
    assert all(row.title and row.source for row in CATALOG)


@every_table
def test_a_model_that_is_told_classes_can_be_asked_for_them(config):
    experiment = assemble(RunConfig(config, batch_size=4), SOURCE.spec)
    assert classes_told(experiment) == (3 if getattr(config, "condition", "none") != "none" else 0)


@every_model
@pytest.mark.parametrize("part", ["Config", "networks", "game", "schedule", "sample", "generate", "prior"])
def test_every_model_has_all_parts_each_with_a_docstring(name, part):
    made = CONFIGS[name] if part == "Config" else getattr(MODELS[name], part)
    assert callable(made)
    # What `dataclass` writes where there is none begins with the name.
    assert made.__doc__ and not made.__doc__.startswith(f"{part}("), f"{name}.{part} has no docstring"
    assert MODELS[name].__doc__


@every_model
def test_every_field_of_a_configuration_is_frozen_has_a_default_and_tells_what_it_is(name):
    kind = CONFIGS[name]
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
    game = MODELS[name].game(config, SPEC)
    owned = [network for player in game.values() for network in player.owns]
    assert sorted(owned) == sorted(MODELS[name].networks(config, SPEC))
    assert {player for movers in MODELS[name].schedule(config) for player in movers} == set(game)
    assert set(getattr(MODELS[name], "AVERAGED", ())) <= set(owned)
