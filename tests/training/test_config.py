"""A run's configuration: what it refuses, and that JSON holds all of it."""

import contextlib
import dataclasses
import json

import jaxtyping
import pytest

from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.errors import UserError
from vaegan_jax.models import CONFIGS
from vaegan_jax.optimizers import Adam
from vaegan_jax.training.config import RunConfig, TrainingConfig, from_json, to_json


def changed(config):
    """The dataclass with every field another value than its own, where that is allowed."""
    for field in dataclasses.fields(config):
        with contextlib.suppress(UserError, jaxtyping.TypeCheckError):
            config = dataclasses.replace(config, **{field.name: another(getattr(config, field.name))})
    return config


def another(value):
    if isinstance(value, Solver):  # whose fields depend on its name
        return Solver("extragradient", step=value.step / 2)
    if dataclasses.is_dataclass(value):
        return changed(value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value + 2
    if isinstance(value, float):
        return value / 2 + 0.125
    return (*(2 * size for size in value), 3) if isinstance(value, tuple) else value


def through_json(config):
    return from_json(json.loads(json.dumps(to_json(config))))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_model_goes_through_json_and_back(name):
    for model in (CONFIGS[name](), changed(CONFIGS[name]())):
        config = RunConfig(model)
        assert through_json(config) == config
        assert type(through_json(config).model) is CONFIGS[name]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_field_of_every_model_is_stored(name):
    model = changed(CONFIGS[name]())
    stored = to_json(RunConfig(model))["model"]
    assert stored.pop("name") == name
    assert stored == dataclasses.asdict(model)
    differ = {field.name for field in dataclasses.fields(model) if stored[field.name] != getattr(model, field.name)}
    assert all(dataclasses.is_dataclass(getattr(model, field)) for field in differ)


def test_every_field_of_a_run_is_stored():
    told = {"data": "/some/where.npz", "initial": "/some/run", "on_collapse": "rollback"}
    config = changed(RunConfig(batch_size=3, parallel="pmapped", **told))
    default, split = RunConfig(), RunConfig(shard="all", shard_over=1)  # which are for sharded alone
    for field in dataclasses.fields(RunConfig):
        assert getattr(split if field.name.startswith("shard") else config, field.name) != getattr(default, field.name)
    assert (through_json(config), through_json(split)) == (config, split)


def test_numbers_keep_every_bit():
    model = CONFIGS["vae"](beta=0.1 + 0.2, optimizer=Adam(learning_rate=1 / 3e5))
    again = through_json(RunConfig(model)).model
    assert (again.beta.hex(), again.optimizer.learning_rate.hex()) == ((0.1 + 0.2).hex(), (1 / 3e5).hex())


def test_a_stored_configuration_needs_not_tell_what_is_as_always():
    """A field that is new in the library has its default in runs from before."""
    assert from_json({"model": {"name": "gan"}}) == RunConfig(CONFIGS["gan"]())


STORED = to_json(RunConfig(batch_size=8))


def with_model(**fields):
    return STORED | {"model": STORED["model"] | fields}


@pytest.mark.parametrize(
    "stored, told",
    [
        (STORED | {"momentum": 0.9}, "RunConfig has no field momentum"),
        (with_model(gamma=1), "Config has no field gamma"),
        (with_model(optimizer={"learning_rate": 1e-3, "beta": 1}), "Adam has no field beta"),
        (STORED | {"training": {"keep": 3}}, "TrainingConfig has no field keep"),
    ],
)
def test_unknown_fields_are_refused(stored, told):
    with pytest.raises(ValueError, match=told):
        from_json(stored)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {name: value for name, value in STORED.items() if name != "model"},
        STORED | {"model": None},
        STORED | {"model": {}},
        STORED | {"model": {"name": "nogan"}},
        STORED | {"steps": "many"},
        with_model(hidden_sizes=8),
        with_model(hidden_sizes=["8"]),
        with_model(latent_size=1.5),
        with_model(latent_size=None),
        with_model(optimizer=None),
        with_model(optimizer=[]),
        with_model(beta="1"),
        STORED | {"seed": 1.5},
        STORED | {"training": 3},
        [],
        None,
    ],
    ids=str,
)
def test_what_is_no_configuration_is_refused(stored):
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        from_json(stored)


@pytest.mark.parametrize(
    "fields, told",
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"batch_size": 0}, "batch-size must be at least 1, not 0"),
        ({"seed": -1}, "seed must be in 0 .. 2\\^32 - 1, not -1"),
        ({"seed": 2**32}, "seed must be in 0 .. 2\\^32 - 1, not 4294967296"),
        ({"dynamics_every": -1}, "dynamics-every must be 0 \\(never\\) or more, not -1"),
        ({"devices": -1}, "devices must be 0 \\(all\\) or more, not -1"),
        ({"batch_size": 8, "devices": 3}, "batch-size 8 is not divisible by 3 devices x 1 micro-batches"),
    ],
)
def test_a_run_out_of_range_is_refused(fields, told):
    with pytest.raises(UserError, match=told):
        RunConfig(**fields)
    with pytest.raises(UserError, match=told):
        from_json(STORED | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"micro_batches": 0},
        {"rounds_per_dispatch": -1},
        {"ema_halflife_kimg": float("nan")},
        {"ema_halflife_kimg": float("inf")},
        {"ema_halflife_kimg": -1.0},
        {"ema_start_kimg": -1.0},
        {"log_interval_steps": 0},
        {"sample_interval_steps": -1},
        {"sample_count": 0},
        {"checkpoint_interval_steps": -1},
        {"keep_checkpoints": 0},
        {"readers": 0},
    ],
    ids=str,
)
def test_training_out_of_range_is_refused_by_the_name_of_its_flag(fields):
    (name,) = fields
    with pytest.raises(UserError, match=f"^training.{name.replace('_', '-')} must be "):
        TrainingConfig(**fields)


def test_all_of_training_is_checked(monkeypatch):
    """A field that no one has thought of a limit for would stand out here."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for field in dataclasses.fields(TrainingConfig):
        with pytest.raises(UserError, match=field.name.replace("_", "-")):
            TrainingConfig(**{field.name: field.type(-1) if isinstance(field.type, type) else -1})


def test_a_configuration_of_no_model_is_refused():
    with pytest.raises(TypeError):
        RunConfig(Adam())
