"""A small GAN on a set in the plane under a solver: what its samples cover over time, in several trainings."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaegan_jax.dynamics.coverage import coverage, forgetting
from vaegan_jax.dynamics.mixtures import Grid, Ring, Spiral
from vaegan_jax.dynamics.panels import BLACK, COLORS, DASHES, GRAY, Heat, Panel, Series, Sheet
from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.dynamics.solvers import solve
from vaegan_jax.errors import check
from vaegan_jax.games import init

DEFAULTS = ("simultaneous", "alternating", "extra-adam")
STAGES = 40
"""How often a training is looked at, after its start."""
SHOWN = 4
"""Stages whose samples are drawn."""
DRAWN = 500
"""Samples of each that are."""
BETAS = (0.5, 0.9)
"""Of Adam."""


class Learned(NamedTuple):
    """Trainings of one solver, s of them, looked at t times."""

    solver: str
    times: np.ndarray
    """(t,): rounds."""
    samples: np.ndarray
    """(t, s, n, 2)."""
    found: np.ndarray
    """(t, s): modes with a sample of high quality; of a spiral, stretches."""
    high_quality: np.ndarray
    """(t, s): share of such samples."""
    reverse_kl: np.ndarray
    """(t, s): in nats; infinite where there is no such sample."""
    modes: int
    """How many there are to be found."""
    ceiling: float
    """What a perfect sampler's `high_quality` is on average."""
    evaluations: float
    """Field evaluations of a round."""
    mass: np.ndarray | None = None
    """(t, s, k): share of all samples that are of high quality and of this mode; None of a spiral, without modes."""


class Row(NamedTuple):
    """At the end of the trainings: means and standard deviations over them; null of one alone, and of infinite KL."""

    solver: str
    modes: float
    modes_deviation: float | None
    of: int
    high_quality: float
    high_quality_deviation: float | None
    ceiling: float
    reverse_kl: float | None
    reverse_kl_deviation: float | None
    field_evaluations: float
    seeds: int


def learn(
    config: Ring | Grid | Spiral,
    solver: Solver,
    step: float = 3e-3,
    rounds: int = 3000,
    seeds: int = 1,
    count: int = 2500,
) -> Learned:
    """Trains a GAN by Adam with this learning rate, under a solver, from so many seeds on.

    Raises UserError for fewer than one round, training or sample, and for samples that are not finite.
    """
    for name, value in {"rounds": rounds, "seeds": seeds, "samples": count}.items():
        check(value > 0, f"{name} must be at least 1, not {value}")
    adam = {name: optax.adam(step, *BETAS) for name in ("generator", "discriminator")}
    numbers = range(config.gan.seed, config.gan.seed + seeds)
    each = [dataclasses.replace(config, gan=dataclasses.replace(config.gan, seed=seed)).make(adam) for seed in numbers]
    toy = each[0]
    solved = solve(solver, toy.game, toy.schedule)
    batch = toy.batch(0, len(solved.schedule))
    times = np.unique(np.linspace(0, rounds, STAGES + 1).astype(int))
    fixed = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(count))

    def train(params, seed):
        key = jax.random.key(seed)

        def stage(state, length):
            play = lambda _, state: solved.round(state, batch, key, False)[0]  # noqa: E731
            state = jax.lax.fori_loop(0, length, play, state)
            return state, toy.sample(state.params, fixed)

        state = solved.start(init(solved.game, params))
        _, later = jax.lax.scan(stage, state, jnp.asarray(np.diff(times)))
        return jnp.concatenate([toy.sample(params, fixed)[None], later])

    starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(each.start for each in each))
    samples = np.asarray(jax.jit(jax.vmap(train, out_axes=1))(starts, jnp.asarray(numbers)))
    check(bool(np.isfinite(samples).all()), f"{solver.name} diverges: samples are not finite; try a smaller --step")
    *measured, mass = _measured(config, samples)
    return Learned(solver.name, times, samples, *measured, solved.evaluations, mass)


def row(learned: Learned) -> Row:
    """The numbers at the end."""

    def both(values: np.ndarray) -> tuple[float | None, float | None]:
        if not np.isfinite(values).all():
            return None, None
        return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None

    modes, share, kl = (both(values[-1]) for values in (learned.found, learned.high_quality, learned.reverse_kl))
    seeds, evaluations = learned.found.shape[1], float(learned.times[-1] * learned.evaluations)
    return Row(learned.solver, *modes, learned.modes, *share, learned.ceiling, *kl, evaluations, seeds)


def lines(learned: Sequence[Learned]) -> list[tuple[str, ...]]:
    """A table for people, the head first, and what a perfect sampler has in its last line."""

    def told(mean: float | None, deviation: float | None, digits: int) -> str:
        spread = "" if deviation is None else f" +- {deviation:.{digits}f}"
        return "infinite" if mean is None else f"{mean:.{digits}f}{spread}"

    found = []
    for each in map(row, learned):
        modes = f"{told(each.modes, each.modes_deviation, 1)} of {each.of}"
        share = told(each.high_quality, each.high_quality_deviation, 3)
        kl = told(each.reverse_kl, each.reverse_kl_deviation, 3)
        found.append((each.solver, modes, share, kl, f"{each.field_evaluations:,.0f}"))
    head = ("solver", "modes", "high quality", "reverse KL", "field evaluations")
    first = learned[0]
    floor = (first.modes - 1) / (2 * first.samples.shape[2])
    return [head, *found, ("(perfect)", f"{first.modes} of {first.modes}", f"{first.ceiling:.3f}", f"{floor:.3f}", "")]


def sheet(config: Ring | Grid | Spiral, name: str, learned: Sequence[Learned]) -> Sheet:
    """Samples at stages of the first training beside the target, a row for each solver; then curves over rounds.

    Where there are modes, also which of them each solver forgets: the `forgetting` matrix of the first training.
    """
    keys = jax.random.split(jax.random.key(1), DRAWN)
    target = np.asarray(jax.jit(config.draw)(keys))
    limit = 1.35 * float(np.abs(target).max())
    cloud = Series("", *target.T, "dots", GRAY, size=2)
    rows = []
    for place, each in enumerate(learned):
        stages = np.unique(np.linspace(0, len(each.times) - 1, SHOWN + 1).astype(int))[1:]
        shown = [Panel("target", "", "", (cloud,), xlim=(-limit, limit), ylim=(-limit, limit), equal=True)]
        for stage in stages:
            last = stage == stages[-1]
            at = each.samples[:, 0, :DRAWN] if last else each.samples[stage, 0, :DRAWN]
            dots = Series("", at[..., 0], at[..., 1], "dots", place % BLACK, size=2, times=each.times if last else None)
            title = f"{each.solver}, round {each.times[stage]:,}"
            shown.append(shown[0]._replace(title=title, series=(cloud, dots)))
        rows.append(tuple(shown))
    rows.append(tuple(_curves(learned)))
    if learned[0].mass is not None:
        rows.append(tuple(map(_forgotten, learned)))
    title = f"{name}: samples of the first training (gray: the data), and means of {learned[0].found.shape[1]}"
    return Sheet(title, tuple(rows), learned[0].times, panel_inches=(2.9, 2.9))


def _forgotten(each: Learned) -> Panel:
    lost = Heat(each.times, each.times, forgetting(each.mass[:, 0]).T, "share of the modes had that are lost", 1.0)
    return Panel(f"{each.solver}: dark, kept; light, forgotten", "had at round", "seen at round", (), heat=lost)


def _curves(learned: Sequence[Learned]) -> list[Panel]:
    first, panels = learned[0], []
    for name, label, best in (
        ("found", f"modes found (of {first.modes})", first.modes),
        ("high_quality", "share of good samples", first.ceiling),
        ("reverse_kl", "reverse KL of modes, nats", 0.0),
    ):
        series = []
        for place, each in enumerate(learned):
            values = np.where(np.isfinite(getattr(each, name)), getattr(each, name), math.nan).mean(1)
            look = {"color": place % len(COLORS), "dash": place // 2 % len(DASHES)}
            series.append(Series(each.solver, each.times, values, times=each.times, size=2, **look))
        ends = first.times[[0, -1]]
        series.append(Series("a perfect sampler", ends, np.full(2, float(best)), color=BLACK, dash=3, size=1.4))
        panels.append(Panel(label, "round", "", tuple(series)))
    return panels


def _measured(config: Ring | Grid | Spiral, samples: np.ndarray) -> tuple:
    """`found`, `high_quality`, `reverse_kl`, `modes`, `ceiling` and `mass` of samples (t, s, n, 2)."""
    seeds = range(samples.shape[1])
    if isinstance(config, Spiral):
        told = [[config.coverage(now[seed].astype(np.float64)) for seed in seeds] for now in samples]
        parts = [np.array([[getattr(one, name) for one in row] for row in told]) for name in _PARTS]
        return *parts, told[0][0].stretches, told[0][0].ceiling, None
    means = config.means()
    each = [coverage(samples[:, seed].astype(np.float64), means, config.deviation) for seed in seeds]
    parts = [np.stack([getattr(one, name) for one in each], 1) for name in _PARTS]
    return *parts, len(means), each[0].ceiling, np.stack([one.mass for one in each], 1)


_PARTS = ("found", "high_quality", "reverse_kl")
