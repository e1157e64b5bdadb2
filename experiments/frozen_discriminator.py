"""A generator alone: against an early discriminator it contracts to a point, against a late one it keeps its modes.

    python experiments/frozen_discriminator.py

For a discriminator D that stands still the best generator is a delta at the highest point of D (Metz et al. 2017,
"Unrolled GANs"): that is why a generator must not move too often (`what_not_to_do.py`). But gradient descent finds the
next peak, not the highest. Protocol: the GAN of `what_not_to_do.py` on the ring of 8, played in turns for 250 and for
12,000 rounds; then 10,000 moves of the generator alone, 5 seeds. Told are modes found, share of good samples, spread
(the root of the summed variances of G(z), about 1 for the data), mean D(G(z)) and the highest D on the square that G
can reach, by a grid of 401 x 401.

Claims: against the discriminator of round 250 the generator ends as that delta in every seed, spread below 0.02 and
D(G) within 0.01 of the highest D; it need not lie at a mode. Against that of round 12,000, which has a peak at each
mode, no mode is lost and the spread stays within 0.1 of 1, though D is higher elsewhere by more than 0.1: at a mode not
found yet or beside one. So the theory tells what happens early, not late.

Four minutes on two CPU cores that others used, too. Writes runs/frozen_discriminator,
results/frozen_discriminator.json and figures/frozen_discriminator.png. Interrupted, it goes on where it was.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import draw, options, report, rounded, tell
from compare_gans import rounds_of, scale_of
from matplotlib.figure import Figure
from what_not_to_do import HOW, RING, SEEDS, SPEC, Arm, experiment_of, playing, seen

from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.dynamics.solvers import solve
from vaegan_jax.games import State
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.experiment import PLAY, Experiment
from vaegan_jax.training.run import write

STAGES = (250, 12_000)
"""Rounds in turns after which the discriminator stops."""
MOVES = (0, 30, 100, 300, 1000, 3000, 10_000)
"""Moves of the generator alone after which it is looked at."""
SIDE = 401


@functools.cache
def generator_alone(rate: float, batch_size: int):
    """`rounds_of` for moves of the generator only, compiled once for all seeds."""
    made = experiment_of(Arm(), {"rate": rate, "batch_size": batch_size}, 0)
    return rounds_of(made._replace(solved=solve(Solver(), made.game, (("generator",),))), RING)


def judged(experiment: Experiment, state: State, points: np.ndarray) -> np.ndarray:
    """D(x) of points in the plane, (n,)."""
    network = experiment.model.networks(experiment.config.model, SPEC)["discriminator"]
    images = jnp.asarray(points * scale_of(RING), jnp.float32).reshape(-1, 1, 2, 1)
    told, _ = network.apply(state.params["discriminator"], state.stats["discriminator"], images, None)
    return np.asarray(jax.nn.sigmoid(told.score))


def landscape(experiment: Experiment, state: State) -> np.ndarray:
    """D(x) on all places that a generator which ends in a tanh can reach, (SIDE, SIDE)."""
    axis = np.linspace(-1, 1, SIDE) / scale_of(RING)
    plane = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    return judged(experiment, state, plane).reshape(SIDE, SIDE)


def alone(experiment: Experiment, state: State, how: dict[str, Any], moves: tuple[int, ...]) -> dict[str, Any]:
    """What becomes of a generator that goes on against a discriminator that stands still."""
    rounds, begun, rows = generator_alone(how["rate"], how["batch_size"]), int(state.step), []
    plane = landscape(experiment, state)
    for count in moves:
        state = rounds(state, experiment.key(PLAY), count - (int(state.step) - begun))
        found, samples = seen(experiment, state, how)
        spread = float(np.sqrt(samples.var(0).sum()))
        mean = float(judged(experiment, state, samples).mean())
        rows.append({"moves": count, **found["last"], "spread": spread, "judged": mean})
    told = {"after": begun, "highest": float(plane.max()), "looks": rows}
    return told | {"samples": rounded(samples[:300], 3), "landscape": rounded(plane[::8, ::8], 3)}


def measure(
    runs: Path,
    seeds=SEEDS,
    stages: tuple[int, ...] = STAGES,
    moves: tuple[int, ...] = MOVES,
    how: dict[str, Any] = HOW,
) -> dict[str, Any]:
    """Every stage from every seed, kept as soon as it is there; samples and landscapes of the first seed only."""
    rows = []
    for seed in seeds:
        path, asked = runs / f"seed-{seed}.json", json.loads(json.dumps([stages, moves, how]))
        row = json.loads(path.read_text()) if path.exists() else {}
        if row.get("asked") != asked:
            experiment, stands = experiment_of(Arm(), how, seed), []
            rounds, state = playing(Arm(), how["rate"], how["batch_size"]), first_state(experiment)
            for stage in stages:
                state = rounds(state, experiment.key(PLAY), stage - int(state.step))
                stands.append(alone(experiment, state, how, moves))
            row = {"asked": asked, "stages": stands}
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, json.dumps(row))
        for stand in row["stages"]:
            dropped = ("samples", "landscape") if seed != seeds[0] else ()
            rows.append({"seed": seed} | {key: stand[key] for key in stand if key not in dropped})
            last = stand["looks"][-1]
            told = f"highest D {stand['highest']:.3f}, D(G) {last['judged']:.3f}, spread {last['spread']:.3f}"
            print(f"seed {seed}, D of round {stand['after']}: {told}, modes {last['found']}", flush=True)
    return {"rows": rows, "protocol": how}


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    early, late = ([row for row in results["rows"] if row["after"] == stage] for stage in STAGES)
    ends = [(row["highest"], row["looks"][0], row["looks"][-1]) for row in late]
    return {
        "against an early discriminator it contracts to a point": all(
            row["looks"][-1]["spread"] < 0.02 for row in early
        ),
        "which is the highest of the discriminator": all(
            row["highest"] - row["looks"][-1]["judged"] < 0.01 for row in early
        ),
        "against a late one no mode is lost": all(last["found"] >= first["found"] for _, first, last in ends),
        "the spread stays within 0.1 of the data's": all(abs(last["spread"] - 1) < 0.1 for _, _, last in ends),
        "and a higher point there is": all(highest - last["judged"] > 0.1 for highest, _, last in ends),
    }


def picture(results: dict[str, Any]) -> Figure:
    """Both discriminators with the generator's samples at the end, and spread and D(G) on the way, a line a seed."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    *planes, curves = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    edge = 1 / scale_of(RING)
    for axes, stage, row in zip(planes, STAGES, results["rows"], strict=False):
        shown = axes.imshow(row["landscape"], origin="lower", extent=(-edge, edge) * 2, cmap="Greys", vmin=0, vmax=1)
        axes.plot(*RING.means().T, "+", color=COLORS[0], markersize=9)
        axes.plot(*np.array(row["samples"]).T, ".", color=COLORS[3], markersize=6, clip_on=False, zorder=5)
        axes.set_title(f"D of round {stage:,}; G after {MOVES[-1]:,} moves alone", fontsize=10)
    figure.colorbar(shown, ax=planes[-1], label="D(x)", shrink=0.8)
    for row in results["rows"]:
        moves = [max(look["moves"], 10) for look in row["looks"]]  # 0 has no place on a logarithmic axis
        when, style = ("early", "-") if row["after"] == STAGES[0] else ("late", ":")
        for key, color, title in (("spread", COLORS[0], "spread of G(z)"), ("judged", COLORS[3], "mean D(G(z))")):
            label = f"{title}, {when} D" if row["seed"] == results["rows"][0]["seed"] else None
            curves.plot(moves, [look[key] for look in row["looks"]], style, color=color, marker=".", label=label)
    curves.legend(fontsize=8, loc="upper center", ncols=2)
    curves.grid(alpha=0.3)
    curves.set(xscale="log", xlabel="moves of G alone (10: none)", title="a line a seed", ylim=(-0.05, 1.75))
    return figure


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="(default: 0 1 2 3 4)")
    arguments = parser.parse_args()
    results = measure(arguments.runs / "frozen_discriminator", arguments.seeds)
    told = claims(results)
    report("frozen_discriminator", {"claims": told, **results}, arguments.seeds)
    draw("frozen_discriminator", picture(results))
    tell(told)


if __name__ == "__main__":
    main()
