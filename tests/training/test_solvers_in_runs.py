"""`--solver`: what a run plays, tells, stores and goes on with is the solver's game, schedule and memory."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import GAN, VAE, done
from runs import ONE, PMAPPED, SHARDED, UNEVEN, assert_same, facts, rows, saved

from vaegan_jax.data import ArraySource
from vaegan_jax.data.batches import batch, resident
from vaegan_jax.dynamics.settings import CONSTANTS, Solver
from vaegan_jax.dynamics.solvers import SOLVERS
from vaegan_jax.errors import UserError
from vaegan_jax.models import CONFIGS, MODELS, gan, vae
from vaegan_jax.training.beginning import state_shapes
from vaegan_jax.training.config import RunConfig, TrainingConfig, from_json, to_json
from vaegan_jax.training.experiment import PLAY, assemble, reconstruct, step_of, weights_for_sampling
from vaegan_jax.training.stopping import Diverged, finite_values

pytestmark = pytest.mark.usefixtures("compiled_once")
SOURCE = ArraySource({"image": np.random.default_rng(0).integers(0, 256, (12, 2, 2, 1), dtype=np.uint8)})
TINY = gan.Config("mlp", latent_size=2, hidden_sizes=(3,), discriminator_moves=2)
CHANGED = {
    "player": "discriminator",
    "align": True,
    "method": "fixed-point",
    "average": "ema",
    "share": 0.25,
    "damping": 1.0,
}


def solver_with_all_constants(name):
    """A solver none of whose constants is as always."""
    values = {field.name: field.default for field in dataclasses.fields(Solver)}
    return Solver(
        name,
        **{c: CHANGED.get(c) or (values[c] + 1 if type(values[c]) is int else values[c] / 2) for c in CONSTANTS[name]},
    )


def experiment_of(solver, model=TINY, **training):
    return assemble(RunConfig(model, batch_size=4, solver=solver, training=TrainingConfig(**training)), SOURCE.spec)


# Configurations


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_goes_through_json_and_back(name):
    config = RunConfig(gan.Config(), solver=solver_with_all_constants(name))
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
    assert all(getattr(config.solver, c) != getattr(Solver(), c) for c in CONSTANTS[name])


def test_a_configuration_from_before_there_were_solvers_plays_the_game_as_it_is():
    stored = to_json(RunConfig(gan.Config()))
    for field in ("solver", "dynamics_every"):
        del stored[field]
    assert from_json(stored).solver == Solver("gradient")


@pytest.mark.parametrize(
    ("name", "value"), [("name", "adam"), ("name", None), ("step", "0.1"), ("step", None), ("momentum", 0.1)]
)
def test_a_stored_solver_that_is_none_is_refused(name, value):
    stored = to_json(RunConfig(gan.Config(), solver=Solver("extragradient")))
    stored["solver"][name] = value
    with pytest.raises((ValueError, TypeError, UserError)):
        from_json(stored)


@pytest.mark.parametrize(
    "words",
    [
        ["gan", "--solver", "extragradient", "--solver.step", 0.01, "--seed", 3],
        ["gan", "--solver.step", 0.01, "--seed", 3, "--solver", "extragradient"],
        ["--solver.step=0.01", "--seed", 3, "--solver=extragradient", "gan"],
        ["--solver", "extragradient", "gan", "--seed", 3, "--solver.step", 0.01],
    ],
    ids=str,
)
def test_the_command_line_takes_a_solver_and_its_constants_in_any_order(words, monkeypatch):
    asked = []
    monkeypatch.setattr("vaegan_jax.training.loop.train", lambda config, run: asked.append(config))
    done("train", *words)
    assert asked == [RunConfig(gan.Config(), seed=3, solver=Solver("extragradient", step=0.01))]


# What is played


def test_batches_images_and_rounds_are_those_of_the_schedule_that_is_played():
    own, joint, turns = (experiment_of(Solver(name)) for name in ("gradient", "extragradient", "alternating"))
    assert own.schedule == turns.schedule == (("discriminator",), ("discriminator",), ("generator",))
    assert joint.schedule == (("discriminator", "generator"),)
    assert own.batch_shape == (3, 1, 4) and own.images_per_round == 8
    assert joint.batch_shape == (1, 1, 4) and joint.images_per_round == 4
    assert (own.solved.evaluations, joint.solved.evaluations) == (1.5, 2)


def filled(experiment):
    """A state whose floats NumPy draws: compiling the first one takes longer."""
    shapes, draw = state_shapes(experiment), np.random.default_rng(0).uniform
    return jax.tree.map(lambda leaf: jnp.asarray(draw(0.1, 0.9, leaf.shape)).astype(leaf.dtype), shapes)


def test_the_round_is_the_solvers_with_the_moving_average_around_it(this_compiled_quickly):
    model = dataclasses.replace(TINY, discriminator_moves=1)
    experiment = experiment_of(Solver("replay", tau=0.25), model, ema_halflife_kimg=0.01)
    before, indices = filled(experiment), batch(0, 0, experiment.batch_shape, len(SOURCE))
    after, _ = jax.jit(step_of(experiment))(before, indices, experiment.key(PLAY), resident(SOURCE))
    means = ((0.25, before.solver["opponent"], after.solver["opponent"], after.params),)
    means += ((1 - 0.5 ** (4 / 10), before.averages, after.averages, {"generator": after.params["generator"]}),)
    for share, old, new, toward in means:
        for a, b, w in zip(*map(jax.tree.leaves, (old, new, toward)), strict=True):
            np.testing.assert_allclose(b, a + share * (w - a), rtol=1e-5, atol=1e-6)


def test_the_average_of_all_points_is_what_averaging_samples_and_reconstructs_with(this_compiled_quickly):
    experiment = experiment_of(Solver("averaging"))
    state = filled(experiment)
    assert experiment.averages == () and state.averages == {}
    params, _, told = weights_for_sampling(experiment, state)
    assert told == "mean of all weights (uniform), standing statistics of 8 x 128 latents"
    jax.tree.map(np.testing.assert_array_equal, params, state.solver["mean"])
    alone = experiment_of(Solver("averaging", average="ema"), vae.Config(latent_size=1, hidden_sizes=(3,)))
    state, images = filled(alone), np.zeros((1, 2, 2, 1), np.float32)
    other = state._replace(params=jax.tree.map(lambda leaf: leaf + 1, state.params))
    np.testing.assert_array_equal(reconstruct(alone, state, images), reconstruct(alone, other, images))
    assert weights_for_sampling(alone, state)[2] == "mean of all weights (decay 0.99)"


REFUSED = {
    "two players' solver on a VAE": (vae.Config(), Solver("competitive"), "needs two players, and here vae alone"),
    "several players' on a VAE": (vae.Config(), Solver("lola"), "needs at least two players, and here vae alone"),
    "an unknown player": (TINY, Solver("unrolled", player="generatr"), "Did you mean 'generator'"),
}


@pytest.mark.parametrize(("model", "solver", "told"), REFUSED.values(), ids=REFUSED)
def test_what_a_solver_cannot_play_is_refused_when_the_run_is_put_together(model, solver, told):
    with pytest.raises(UserError, match=told):
        experiment_of(solver, model)


# Runs

TWICE = [*GAN, "--model.discriminator-moves", 2]
PIECES = {
    "anchored": (TWICE, SHARDED, ["--solver.step", 0.01], "anchor"),
    "lookahead-minmax": (GAN, SHARDED, ["--solver.k", 3], "slow"),
    "optimistic": (GAN, ONE, [], None),
    "replay": (TWICE, PMAPPED, ["--solver.tau", 0.25], "opponent"),
    "averaging": (VAE, ONE, ["--solver.average", "ema"], "mean"),
    "historical-averaging": (GAN, ONE, [], "mean"),
    "optimistic-adam": (GAN, PMAPPED, [], None),
    "extra-adam": (GAN, ONE, [], None),
    "nesterov": (VAE, PMAPPED, [], None),
}


SLOW = {"averaging", "anchored", "optimistic"}
"""Of each kind one: a memory, one of extragradient, and the optimizers'."""


TIERS = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else pytest.mark.soak) for name in PIECES]


@pytest.mark.parametrize("name", TIERS)
def test_a_run_with_a_memory_in_pieces_is_the_run_in_one_piece(name, data, tmp_path):
    model, devices, constants, memory = PIECES[name]
    words = ["train", *model, *devices, *UNEVEN, "--data", data, "--solver", name, *constants]
    told = done(*words, "--steps", 10, "--run", tmp_path / "whole")
    (line,) = (line for line in told.splitlines() if line.startswith("solver "))
    assert line.startswith(f"solver {name}") and line.endswith(" of the field's evaluations")
    if name == "anchored":
        assert line == (
            "solver anchored (step 0.01): extragradient drawn back to the start, ever less; a round is discriminator "
            "and generator at once, in place of 2 x discriminator, then generator, and costs 2 of the field's "
            "evaluations"
        )
    done(*words, "--steps", 5, "--run", tmp_path / "run")
    done("resume", tmp_path / "run", "--steps", 10)
    assert_same(tmp_path / "run", tmp_path / "whole")
    names = metadata(tmp_path / "whole")
    assert any(path.startswith(f"solver.{memory}.") for path in names) == bool(memory)
    check_facts(tmp_path / "run", name, moves=len(model) > len(GAN))


def metadata(run):
    """The names of all arrays in the newest checkpoint."""
    tree = json.loads((run / "checkpoints" / str(saved(run)[-1]) / "state" / "_METADATA").read_text())
    return [entry["key_metadata"][0]["key"] for entry in tree["tree_metadata"].values()]


def check_facts(run, name, moves):
    """What is told of the run is of the schedule that was played."""
    known, joint = facts(run), SOLVERS[name].joint
    images = 8 * (2 if moves and not joint else 1)
    assert all(row["images"] == images * step for step, row in rows(run).items())
    assert len(known["schedule"][0]) == 1 + joint and known["config"]["solver"]["name"] == name
    told = f"solver      {name}, {known['field_evaluations']:g} field evaluations a round"
    assert told in done("inspect", run).splitlines()


@pytest.mark.parametrize(("solver", "hint"), [("extragradient", True), ("replay", False)])
def test_whose_numbers_are_not_finite_is_told_to_try_a_smaller_step_of_the_solver(solver, hint):
    experiment = experiment_of(Solver(solver))
    with pytest.raises(Diverged, match="the loss of discriminator became nan") as told:
        finite_values(experiment, 0, 1, {"discriminator/loss": jnp.array([np.nan])})
    assert ("a smaller --solver.step, a larger batch" in str(told.value)) == hint


def test_models_name_their_players_as_solvers_look_for_them():
    """Who looks ahead or leads where nobody is named."""
    for name, kind in CONFIGS.items():
        movers = {player for moves in MODELS[name].schedule(kind()) for player in moves}
        assert len(movers) == 1 or "generator" in movers, name
