"""Balancing players by their losses, and moving the generator more often: what that does to a GAN on a ring.

    python experiments/what_not_to_do.py

"Don't balance loss via statistics" is a well-known piece of advice (Chintala et al. 2016, "How to train a GAN?"): not
"while lossD > A: train D; while lossG > B: train G". Another is that G must not move more often than D, for against a
D that stands still the best G is a point (`frozen_discriminator.py`). Protocol: the GAN of `compare_gans.py` on the
ring of 8, 24,000 moves of both players in all in every arm: 12,000 rounds in turns, nearly 4,000 with 5 moves of G
(or D) for one of the other and 2,172 with 10; modes and share of good samples of the averaged and of the last G; mean
and 95 % interval of 5 seeds (Student's t). A player that waits moves where its loss on the move's batch is above a
threshold: D's loss (both terms) is log 4 = 1.386 where it knows nothing, and in equilibrium; G's is log 2 = 0.693.

The first claim is half true. No threshold has more good samples than playing in turns (0.955 +- 0.008, averaged). One
at the equilibrium's own loss, log 4, stops D (7 % of its moves) and nothing is learned (0.01). At 1.35 D makes half
of its moves, learning is late (0.36 good at half time, 0.84 in turns) and ends lower, 0.927 +- 0.015. But it is no
collapse: with 1.2 and 1.35 all 8 modes are there from every seed, more evenly; in turns 7.2 +- 1.0. G that waits for 1
ends at 0.930 +- 0.017 and 6.4 modes, its own threshold being above the equilibrium's loss.

The second holds. With 5 or 10 moves of G the averaged G has no good samples, and the last has 0.17 +- 0.24 and 0.06 +-
0.11 (in turns 0.84 +- 0.09); some seeds end with all samples in one place, some on the whole circle. After as many
moves of D 10 moves of G have fewer modes (1.6 +- 3.1; 6.2 +- 1.0); for 5 that cannot be told. 5 moves of D for one of G
cost less: 0.874 +- 0.018, but modes less evenly, with a reverse KL of 0.66 +- 0.24 (in turns 0.15 +- 0.14).

20 minutes on two CPU cores that others used, too. Writes runs/what_not_to_do, results/what_not_to_do.json and
figures/what_not_to_do.png. Interrupted, it goes on where it was.
"""

import functools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import draw, options, report, rounded, tell
from compare_gans import SETS, look, on_points, rounds_of, scale_of
from matplotlib.figure import Figure
from solvers_on_dcgan import interval

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.dynamics.solvers import solve
from vaegan_jax.games import Game, Player, State
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import PLAY, Experiment, assemble, generate, weights_for_sampling
from vaegan_jax.training.run import write

RING = SETS["ring"]
SPEC = DataSpec("ring", (1, 2, 1), classes=len(RING.means()))
HOW = {"moves": 24_000, "looks": 12, "samples": 2500, "rate": 5.0, "batch_size": 64}
SEEDS = (0, 1, 2, 3, 4)


class Arm(NamedTuple):
    """How a GAN is played: moves a round, and losses above which alone a player moves."""

    discriminator_moves: int = 1
    generator_moves: int = 1
    thresholds: tuple[tuple[str, float], ...] = ()


ARMS = {
    "in turns": Arm(),
    "D above 1.2": Arm(thresholds=(("discriminator", 1.2),)),
    "D above 1.35": Arm(thresholds=(("discriminator", 1.35),)),
    "D above log 4": Arm(thresholds=(("discriminator", math.log(4)),)),
    "G above 1": Arm(thresholds=(("generator", 1.0),)),
    "5 G moves": Arm(generator_moves=5),
    "10 G moves": Arm(generator_moves=10),
    "5 D moves": Arm(discriminator_moves=5),
}


class Waiting(NamedTuple):
    """State of an optimizer that waits while a loss is low, and how many moves it has made."""

    inner: optax.OptState
    moves: jax.Array


def balanced(game: Game, thresholds: dict[str, float]) -> Game:
    """The game in which these players move only where their loss on the move's batch is above a threshold.

    Chintala et al. 2016 ("How to train a GAN?", 10) warn of it: while lossD > A, train D; while lossG > B, train G.
    A loss that is not above it counts as 0, whose gradient is exactly 0, which the optimizer takes for no move at all:
    neither weights nor moments change.
    """
    return {**game, **{name: _waiting(game[name], least) for name, least in thresholds.items()}}


def _waiting(player: Player, least: float) -> Player:
    def loss(params, stats, batch, key, step):
        value, auxiliary = player.loss(params, stats, batch, key, step)
        return jnp.where(value > least, value, 0.0), auxiliary

    def init(params):
        return Waiting(player.tx.init(params), jnp.zeros((), jnp.int32))

    def update(slope, state, params=None):
        moves = optax.tree.norm(slope) != 0  # a NaN moves, and is seen
        step, inner = player.tx.update(slope, state.inner, params)
        stay = optax.tree.zeros_like(step), state.inner
        step, inner = jax.tree.map(lambda new, old: jnp.where(moves, new, old), (step, inner), stay)
        return step, Waiting(inner, state.moves + moves)

    return player._replace(loss=loss, tx=optax.GradientTransformation(init, update))


def experiment_of(arm: Arm, how: dict[str, Any], seed: int) -> Experiment:
    """A GAN of `compare_gans.py` on the ring, played so."""
    moves = {"discriminator_moves": arm.discriminator_moves, "generator_moves": arm.generator_moves}
    model = replace(on_points("gan", how["rate"]), **moves)
    training = TrainingConfig(ema_halflife_kimg=50.0)
    made = assemble(RunConfig(model, batch_size=how["batch_size"], seed=seed, training=training), SPEC)
    return made._replace(solved=solve(Solver(), balanced(made.game, dict(arm.thresholds)), made.schedule))


@functools.cache
def playing(arm: Arm, rate: float, batch_size: int):
    """`rounds_of`, compiled once for all seeds."""
    return rounds_of(experiment_of(arm, {"rate": rate, "batch_size": batch_size}, 0), RING)


def seen(experiment: Experiment, state: State, how: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Modes and share of good samples, of averaged and of last weights; the latter's samples (n, 2)."""
    params, stats, _ = weights_for_sampling(experiment, state)
    count, seed, scale = how["samples"], experiment.config.seed, scale_of(RING)
    mean = generate(experiment, params, stats, count, seed).reshape(-1, 2) / scale
    last = generate(experiment, state.params, state.stats, count, seed).reshape(-1, 2) / scale
    return {"averaged": look(RING, mean), "last": look(RING, last)}, last


def play(arm: Arm, how: dict[str, Any], seed: int) -> dict[str, Any]:
    """Plays an arm from a seed and looks on the way; how often each player that waits has moved."""
    experiment, rounds = experiment_of(arm, how, seed), playing(arm, how["rate"], how["batch_size"])
    stretch = how["moves"] // len(experiment.schedule) // how["looks"]
    state, looks = first_state(experiment), []
    for _ in range(how["looks"]):
        state = rounds(state, experiment.key(PLAY), stretch)
        found, samples = seen(experiment, state, how)
        looks.append({"round": int(state.step), **found})
    moved = {name: int(opt.moves) for name, opt in state.opt.items() if isinstance(opt, Waiting)}
    return {"looks": looks, "moved": moved, "samples": rounded(samples[:300], 3)}


def measure(runs: Path, seeds=SEEDS, arms: dict[str, Arm] = ARMS, how: dict[str, Any] = HOW) -> dict[str, Any]:
    """Every arm from every seed, seed by seed, kept as soon as it is there."""
    rows = []
    for seed in seeds:
        for name, arm in arms.items():
            path, asked = runs / f"{name.replace(' ', '-')}-{seed}.json", json.loads(json.dumps([arm, how]))
            row = json.loads(path.read_text()) if path.exists() else {}
            if row.get("asked") != asked:
                row = {"arm": name, "seed": seed, "asked": asked, **play(arm, how, seed)}
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, json.dumps(row))
            dropped = {"asked"} | ({"samples"} if seed != seeds[0] else set())
            rows.append({key: row[key] for key in row if key not in dropped})
            last = row["looks"][-1]
            print(f"seed {seed}, {name:14} {last['averaged']} {row['moved'] or ''}", flush=True)
    return {"summary": summary(rows), "rows": rows, "protocol": how}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and 95 % interval of an arm's last look, and of the look in turns after as many moves of D, or a few less.

    Keys are what is looked at, averaged or last weights, and what is counted.
    """
    told: dict[str, Any] = {}
    turns = {row["seed"]: row["looks"] for row in rows if row["arm"] == "in turns"}
    for name, arm in ARMS.items():
        mine = [row for row in rows if row["arm"] == name]
        looks = {"end": [row["looks"][-1] for row in mine]}
        if arm.generator_moves > 1:
            ends = {row["seed"]: row["looks"][-1]["round"] for row in mine}
            looks["in turns"] = [[at for at in turns[seed] if at["round"] <= end][-1] for seed, end in ends.items()]
        for when, seen in looks.items() if mine else ():
            told.setdefault(name, {})[when] = {
                f"{which} {key}": interval([at[which][key] for at in seen])
                for which in ("averaged", "last")
                for key in ("found", "high_quality", "kl")
            }
    return told


def ends_of(told: dict[str, Any]) -> tuple[float, float]:
    """An interval's; NaN where nothing is known."""
    mean, half = np.nan if told["mean"] is None else told["mean"], told["half_width"] or 0
    return mean - half, mean + half


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    told, rows, rounds = results["summary"], results["rows"], results["protocol"]["moves"] // 2
    good = "averaged high_quality"
    low = {name: {key: ends_of(one)[0] for key, one in seen["end"].items()} for name, seen in told.items()}
    high = {name: {key: ends_of(one)[1] for key, one in seen["end"].items()} for name, seen in told.items()}
    waiting = [name for name in told if ARMS[name].thresholds]
    often = ("5 G moves", "10 G moves")
    half = {row["arm"]: [] for row in rows}
    for row in rows:
        half[row["arm"]].append(row["looks"][len(row["looks"]) // 2 - 1]["averaged"]["high_quality"])
    halfway = {name: interval(shares) for name, shares in half.items()}
    moved = [row["moved"]["discriminator"] / rounds for row in rows if row["arm"] == "D above log 4"]
    return {
        "no threshold has more good samples than playing in turns, beyond both intervals": all(
            low[name][good] <= high["in turns"][good] for name in waiting
        ),
        "a discriminator that waits for log 4 makes less than a tenth of its moves, and nothing is learned": max(moved)
        < 0.1
        and high["D above log 4"][good] < 0.1,
        "one that waits for 1.35 is behind at half time and at the end, beyond both intervals": all(
            ends_of(one["D above 1.35"])[1] < ends_of(one["in turns"])[0]
            for one in (halfway, {name: seen["end"][good] for name, seen in told.items()})
        ),
        "but it finds all modes from every seed, and is more even over them, beyond both intervals": all(
            row["looks"][-1]["averaged"]["found"] == len(RING.means()) for row in rows if row["arm"] == "D above 1.35"
        )
        and high["D above 1.35"]["averaged kl"] < low["in turns"]["averaged kl"],
        "a generator that waits for 1 is behind at the end, beyond both intervals": high["G above 1"][good]
        < low["in turns"][good],
        "a generator that moves 5 or 10 times has next to no good samples, averaged": all(
            high[name][good] < 0.05 for name in often
        ),
        "and fewer good ones with its last weights than in turns, beyond both intervals": all(
            high[name]["last high_quality"] < low["in turns"]["last high_quality"] for name in often
        ),
        "with 10 moves it has fewer modes, too, than in turns after as many moves of D": high["10 G moves"][
            "last found"
        ]
        < ends_of(told["10 G moves"]["in turns"]["last found"])[0],
        "the same imbalance in the discriminator's favor costs less": all(
            low["5 D moves"][good] > high[name][good] for name in often
        ),
    }


def picture(results: dict[str, Any]) -> Figure:
    """Shares of good samples by moves, what is left at the end, and samples of every arm."""
    figure = Figure(figsize=(14, 7.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.75, 1))
    curves, bars = above.subplots(1, 2)
    panels = below.subplots(1, len(ARMS), sharex=True, sharey=True)
    for place, (name, told) in enumerate(results["summary"].items()):
        color, mine = COLORS[place], [row for row in results["rows"] if row["arm"] == name]
        moves = ARMS[name].discriminator_moves + ARMS[name].generator_moves
        shares = np.array([[at["averaged"]["high_quality"] for at in row["looks"]] for row in mine])
        spent = [at["round"] * moves for at in mine[0]["looks"]]
        curves.plot(spent, shares.mean(0), "-", color=color, linewidth=2)
        curves.plot(spent, shares.T, "-", color=color, linewidth=0.5, alpha=0.6)
        low, high = ends_of(told["end"]["last found"])
        bars.plot([low, high], [place, place], "-", color=color, linewidth=2)
        bars.plot([row["looks"][-1]["last"]["found"] for row in mine], [place] * len(mine), "o", color=color)
        dots(panels[place], mine[0]["samples"], name, color)
    curves.set(xlabel="moves of both players", ylabel="share of good samples, averaged G", title="mean and seeds")
    bars.set_yticks(range(len(ARMS)), list(ARMS))
    bars.invert_yaxis()
    bars.set(xlabel="modes found of 8, last G", title="at the end: seeds and 95 % interval", xlim=(-1, 9))
    for axes in (curves, bars):
        axes.grid(alpha=0.3)
    return figure


def dots(axes: Any, samples: list, title: str, color: str) -> None:
    """Samples over the ring's means."""
    axes.plot(*RING.means().T, "+", color="0.6", markersize=9)
    axes.plot(*np.array(samples).T, ".", color=color, markersize=2, alpha=0.6)
    axes.set_title(title, color=color, fontsize=10)
    axes.set(aspect="equal", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))
    axes.tick_params(labelsize=7)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="(default: 0 1 2 3 4)")
    arguments = parser.parse_args()
    results = measure(arguments.runs / "what_not_to_do", arguments.seeds)
    told = claims(results)
    report("what_not_to_do", {"claims": told, **results}, arguments.seeds)
    draw("what_not_to_do", picture(results))
    for name, both in results["summary"].items():
        good, found = (both["end"][f"averaged {key}"] for key in ("high_quality", "found"))
        print(f"{name:14} good {good['mean']:.3f} +- {good['half_width'] or 0:.3f}, modes {found['mean']:.1f}")
    tell(told)


if __name__ == "__main__":
    main()
