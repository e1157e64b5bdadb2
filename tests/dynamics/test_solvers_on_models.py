"""Every solver plays the library's own models, and refuses, in one line, what it cannot do."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from toys import BOTH, JOINT, bilinear, gan

from vaegan_jax.data import ArraySource
from vaegan_jax.dynamics.settings import CONSTANTS, RANGES, Name
from vaegan_jax.dynamics.solvers import SOLVERS, Solver, solve
from vaegan_jax.errors import UserError
from vaegan_jax.games import init
from vaegan_jax.models import MODELS, name_of, vae
from vaegan_jax.models import gan as dcgan
from vaegan_jax.networks.network import init_networks

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SOURCE = ArraySource({"image": np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)})
SPEC = dataclasses.replace(SOURCE.spec, batch_size=4)
SPECIAL = {
    "proximal": {"iterations": 2},
    "competitive": {"iterations": 2},
    "follow-the-ridge": {"damping": 1.0, "iterations": 2},
    "unrolled": {"inner_steps": 2},
}
SMALL = {
    "gan": dcgan.Config("mlp", latent_size=3, hidden_sizes=(5,)),
    "dcgan": dcgan.Config(latent_size=3, width=4),
    "vae": vae.Config(latent_size=3, hidden_sizes=(5,)),
}
ALONE = [name for name, recipe in SOLVERS.items() if recipe.players[1](1)]
names = pytest.mark.parametrize("name", SOLVERS)


def round_of(name, config):
    """The round of a solver on a model, and what it takes."""
    model = MODELS[name_of(config)]
    solved = solve(Solver(name, **SPECIAL.get(name, {})), model.game(config, SPEC), model.schedule(config))

    def first(key):
        return solved.start(init(solved.game, *init_networks(model.networks(config, SPEC), key)))

    shape = (len(solved.schedule), 1, 4)
    batch = {"image": jnp.linspace(-1, 1, 256).reshape(1, 1, 4, 8, 8, 1) * jnp.ones((*shape, 1, 1, 1))}
    batch["position"] = jnp.broadcast_to(jnp.arange(4), shape)
    return solved.round, first, batch


def check_trace(name, config):
    round, first, batch = round_of(name, config)
    state = jax.eval_shape(first, jax.random.key(0))
    after, metrics = jax.eval_shape(round, state, batch, jax.random.key(1))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for before, leaf in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (leaf.shape, leaf.dtype, leaf.weak_type) == (before.shape, before.dtype, False)
    assert all(leaf.shape == () for leaf in metrics.values())


QUICK = {"extra-adam", "follow-the-ridge", "gradient", "historical-averaging", "proximal", "replay", "sos", "unrolled"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SOLVERS]
)
def test_a_round_of_a_gan_traces_and_leaves_shapes_and_types_of_the_state(name):
    check_trace(name, SMALL["gan"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_what_needs_one_player_only_plays_a_vae(name):
    check_trace(name, SMALL["vae"])


@pytest.mark.slow
@names
def test_a_round_of_a_dcgan_compiles_and_moves_every_parameter(name):
    round, first, batch = round_of(name, SMALL["dcgan"])
    state = jax.jit(first)(jax.random.key(0))
    after, metrics = jax.jit(round)(state, batch, jax.random.key(1))
    assert all(jnp.isfinite(value) for value in metrics.values())
    for before, leaf in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True):
        assert jnp.isfinite(leaf).all() and (leaf != before).any()


def test_every_solver_is_in_every_table():
    assert list(SOLVERS) == list(CONSTANTS) == list(typing.get_args(Name))
    fields = {field.name for field in dataclasses.fields(Solver)} - {"name"}
    assert {constant for constants in CONSTANTS.values() for constant in constants} == fields
    numbers = {f.name for f in dataclasses.fields(Solver) if isinstance(f.default, float | int | None)} - {"align"}
    assert set(RANGES) == numbers
    assert all(recipe.summary for recipe in SOLVERS.values())


WRONG = {
    "a solver that there is not": (lambda: Solver("extragradiant"), "unknown solver.*Did you mean 'extragradient'"),
    "a constant that it does not have": (lambda: Solver("consensus", step=0.3), "consensus has no step: it has gamma"),
    "a constant where there is none": (lambda: Solver("hamiltonian", k=3), "hamiltonian has no k: it has no constants"),
    "a step that is not above 0": (lambda: Solver("lola", step=0.0), "step must be above 0, not 0.0"),
    "a step that is not finite": (lambda: Solver("lola", step=float("nan")), "step must be above 0, not nan"),
    "momentum of 1": (lambda: Solver("nesterov", momentum=1.0), r"momentum must be in \(-1, 1\), not 1.0"),
    "no iterations": (lambda: Solver("proximal", iterations=0), "iterations must be at least 1, not 0"),
    "half a round": (lambda: Solver("lookahead-minmax", k=2.5), "k must be a whole number, not 2.5"),
    "a share above 1": (lambda: Solver("sos", share=1.5), r"share must be in \[0, 1\], not 1.5"),
    "a share in words": (lambda: Solver("sos", share="half"), r"share must be in \[0, 1\], not 'half'"),
    "an average that there is not": (lambda: Solver("averaging", average="median"), "unknown average 'median'"),
    "two players' solver on one": (
        lambda: solve(Solver("competitive"), {"vae": gan()["critic"]}, (("vae",),)),
        "competitive needs two players, and here vae alone moves",
    ),
    "several players' solver on one": (
        lambda: solve(Solver("replay"), gan(), (("critic",),)),
        "replay needs at least two players, and here critic alone moves",
    ),
    "two players' solver on three": (
        lambda: solve(Solver("follow-the-ridge"), gan(), (("critic", "generator"), ("third",))),
        "follow-the-ridge needs two players, and here 3 move: critic, generator, third",
    ),
    "a player that does not move": (
        lambda: solve(Solver("unrolled", player="generatr"), gan(), BOTH),
        "unknown player 'generatr'. Did you mean 'generator'",
    ),
    "a leader that is not said": (
        lambda: solve(Solver("unrolled"), bilinear("xy", (optax.sgd(0.1),) * 2, "float32")[0], JOINT),
        "unrolled needs to know by `player` which of first, second is meant",
    ),
}


@pytest.mark.parametrize(("attempt", "told"), WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_is_refused_in_one_line(attempt, told, monkeypatch):
    # As users run it: beartype, which is only here in tests, would be first to refuse some of it.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(UserError, match=told) as caught:
        attempt()
    assert "\n" not in str(caught.value)


# Evaluations of the field of both players a round, from what each solver does.
COSTS = {
    "gradient": 1,
    "simultaneous": 1,
    "alternating": 1,
    "extragradient": 2,
    "consensus": 3,
    "symplectic": 5,
    "lola": 4,
    "unrolled": 8.5,
    "follow-the-ridge": 13,
    "proximal": 21,
    "anchored": 2,
    "replay": 1,
}


@pytest.mark.parametrize("name", COSTS)
def test_the_cost_is_told_in_evaluations_of_the_field(name):
    assert solve(Solver(name), gan(), BOTH).evaluations == COSTS[name]


def test_more_moves_of_one_player_cost_more_and_joint_solvers_make_one_move_of_them():
    schedule = (("critic",),) * 5 + (("generator",),)
    for name in ("gradient", "alternating", "optimistic", "averaging"):
        solved = solve(Solver(name), gan(), schedule)
        assert (solved.evaluations, solved.schedule) == (3, schedule)
    for name, recipe in SOLVERS.items():
        if recipe.joint:
            assert solve(Solver(name), gan(), schedule).schedule == (("critic", "generator"),)
