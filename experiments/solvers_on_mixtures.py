"""Every solver on a ring of 8 and a grid of 25 Gaussians, at equal cost: with Adam's steps none beats plain ones.

    python experiments/solvers_on_mixtures.py

Protocol: perceptrons of 2 x 32 units (ring) and 2 x 64 (grid), 8 latents, batches of 128, the non-saturating game, D
before G where a solver does not move both at once, Adam with 0.002 and b1 = 0.5 for both players, which gets each
solver's vector; 10,000 evaluations of both players' field, so that solvers that need more of them for a round play
fewer rounds; 5 seeds. Solvers have the library's constants but for `CHOSEN`; nothing was tuned. 2,500 samples are
judged as in VEEGAN and PacGAN: a sample is good within 3 deviations of its mode, a mode found if one is; reverse KL of
the good ones' modes, of the seeds that have any. Intervals are 95 %, Student's t over seeds. A perfect sampler has
98.9 % good ones.

Claim:
- on the ring plain steps, at once or in turns, find all 8 modes with every seed and put 0.89 of the samples there;
- on the grid nobody finds all 25 with every seed;
- no solver has a larger share of good samples than plain steps on either, beyond both intervals. What costs several
  evaluations plays fewer rounds, and what looks ahead by 0.1 in units of the raw gradient is not made for Adam's steps:
  extragradient, and Hamiltonian descent, which goes to any stationary point, find no mode of the ring at all;
- "gradient" and "alternating" are one here, and agree to the last digit.

20 minutes of one CPU core. Writes runs/solvers_on_mixtures, results/solvers_on_mixtures.json and
figures/solvers_on_mixtures.png, and prints the table. Interrupted, it goes on where it was.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from common import draw, options, report, tell
from matplotlib.figure import Figure
from scipy.stats import t as student

from vaegan_jax.dynamics.mixtures import Grid, PlanarGan, Ring
from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.dynamics.settings import CONSTANTS, Solver
from vaegan_jax.dynamics.solvers import SOLVERS, solve
from vaegan_jax.dynamics.toy import Toy
from vaegan_jax.dynamics.wrappers import averaged_state
from vaegan_jax.evaluation.modes import mixture_modes
from vaegan_jax.games import Params, init
from vaegan_jax.networks.network import init_networks
from vaegan_jax.optimizers import Adam
from vaegan_jax.training.run import write

SEEDS, EVALUATIONS, LOOKS, SAMPLES = (0, 1, 2, 3, 4), 10_000, 10, 2500
LOOKING = 2**31
"""Folded into the key of samples: no round has this number."""
ADAM = Adam(learning_rate=2e-3, b1=0.5)
IN_TURNS = (("discriminator",), ("generator",))
CHOSEN = {
    "proximal": {"iterations": 3},
    "competitive": {"iterations": 3},
    "follow-the-ridge": {"damping": 1.0, "iterations": 5},
    "averaging": {"average": "ema", "decay": 0.999},
}
"""Constants that are not the library's defaults: few inner iterations, because each costs evaluations; a damping,
without which the follower's Hessian is singular; and a mean of the last thousand rounds or so, not of all."""
CEILING = 1 - math.exp(-4.5)
"""Share of good samples of a perfect sampler in the plane."""
MEASURES = {"found": "modes found", "high_quality": "share of good samples", "reverse_kl": "reverse KL, nats"}


def sets(units: int = 64, batch_size: int = 128) -> dict[str, Any]:
    """The two mixtures, with who learns them."""
    return {
        "ring": Ring(gan=PlanarGan((units // 2,) * 2, batch_size=batch_size)),
        "grid": Grid(gan=PlanarGan((units,) * 2, batch_size=batch_size)),
    }


def protocol(seeds=SEEDS, evaluations=EVALUATIONS, looks=LOOKS) -> dict[str, Any]:
    """What all solvers have in common."""
    return {"seeds": list(seeds), "evaluations": evaluations, "looks": looks, "samples": SAMPLES, "adam": asdict(ADAM)}


class Place(NamedTuple):
    """A mixture with what all solvers share there, so that it is compiled once."""

    mixture: Ring | Grid
    toy: Toy
    starts: Params
    """Of each seed, stacked."""
    keys: jax.Array
    sample: Callable[[Params, jax.Array], jax.Array]
    """(params, keys), both stacked -> samples (seeds, n, 2)."""


def place(mixture: Ring | Grid, how: dict[str, Any]) -> Place:
    """The game with its first parameters, a network initialized for each seed."""
    optimizers = {name: Adam(**how["adam"]).transformation() for name in ("generator", "discriminator")}
    toy = mixture.make(optimizers)
    key_of = jax.vmap(jax.random.key)(jnp.array(how["seeds"]))
    starts = jax.jit(jax.vmap(lambda key: init_networks(mixture.gan.networks(), key)[0]))(key_of)

    def sample(params, key):
        return toy.sample(params, jax.random.split(jax.random.fold_in(key, LOOKING), how["samples"]))

    return Place(mixture, toy, starts, key_of, jax.jit(jax.vmap(sample)))


def play(here: Place, solver: Solver, how: dict[str, Any]) -> dict[str, Any]:
    """Trains a GAN of each seed and looks at its samples, evenly often; arrays are (looks, seeds)."""
    begun, solved = time.process_time(), solve(solver, here.toy.game, IN_TURNS)
    rounds = int(how["evaluations"] / how["looks"] / solved.evaluations)
    batch = here.toy.batch(0, len(solved.schedule))

    def train(given):
        state, key = given
        return jax.lax.scan(lambda s, _: (solved.round(s, batch, key, False)[0], None), state, length=rounds)[0]

    stretch = jax.jit(lambda states, keys: jax.lax.map(train, (states, keys)))  # compiled once for all seeds
    states, seen = jax.jit(jax.vmap(lambda params: solved.start(init(solved.game, params))))(here.starts), []
    for _ in range(how["looks"]):
        states = stretch(states, here.keys)
        shown = averaged_state(states) if solver.name == "averaging" else states
        seen.append([look(here.mixture, samples) for samples in np.asarray(here.sample(shown.params, here.keys))])
    return {
        "constants": {name: getattr(solver, name) for name in CONSTANTS[solver.name]},
        "evaluations_of_a_round": solved.evaluations,
        "rounds": rounds * how["looks"],
        "cpu_seconds": round(time.process_time() - begun, 1),
        **{name: [[one[name] for one in row] for row in seen] for name in MEASURES},
    }


def look(mixture: Ring | Grid, samples: np.ndarray) -> dict[str, float | None]:
    """The measures of a set of samples; what is not finite has no modes, and KL is None without a good sample."""
    if not np.isfinite(samples).all():
        return {"found": 0, "high_quality": 0.0, "reverse_kl": None}
    modes = mixture_modes(samples, mixture.means(), mixture.deviation)
    kl = round(modes.reverse_kl, 4) if math.isfinite(modes.reverse_kl) else None
    return {"found": modes.found, "high_quality": round(modes.high_quality, 4), "reverse_kl": kl}


def interval(values: list[float | None]) -> dict[str, float | None]:
    """Mean and half width of its 95 % interval (Student's t, seeds independent), over those that have a value."""
    kept = [value for value in values if value is not None]
    if len(kept) < 2:
        return {"mean": kept[0] if kept else None, "half_width": None, "count": len(kept)}
    half = student.ppf(0.975, len(kept) - 1) * np.std(kept, ddof=1) / len(kept) ** 0.5
    return {"mean": round(float(np.mean(kept)), 4), "half_width": round(float(half), 4), "count": len(kept)}


def summary(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a solver: the last look with its intervals, and the mean share of good samples on the way."""
    last = {title: {"values": row[title][-1], **interval(row[title][-1])} for title in MEASURES}
    along = [interval(values)["mean"] for values in row["high_quality"]]
    facts = {title: value for title, value in row.items() if title not in {"protocol", *MEASURES}}
    return {**facts, "last": last, "high_quality_along": along}


def measure(folder: Path, mixtures: dict[str, Any], solvers: list[str], how: dict[str, Any]) -> dict[str, Any]:
    """All solvers on all sets; each is kept in the folder as soon as it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {name: {} for name in mixtures}
    for title, mixture in mixtures.items():
        here = place(mixture, how)
        for name in solvers:
            path, row = folder / f"{title}-{name}.json", {}
            if path.exists():
                row = json.loads(path.read_text())
            if row.get("protocol") != how:
                row = {"protocol": how, **play(here, Solver(name, **CHOSEN.get(name, {})), how)}
                write(path, json.dumps(row))
            rows[title][name] = summary(row)
            told = "  ".join(f"{measure} {rows[title][name]['last'][measure]['mean']}" for measure in MEASURES)
            print(f"{title:5} {name:22} {told}  ({row['cpu_seconds']} s)", flush=True)
    return rows


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    rows = results["rows"]
    last = lambda place, name, title: rows[place][name]["last"][title]  # noqa: E731
    told = {
        "gradient and alternating, which are one here, give the same": all(
            rows[place]["gradient"]["last"] == rows[place]["alternating"]["last"] for place in rows
        ),
        "on the ring, plain steps find all 8 modes with every seed": all(
            min(last("ring", name, "found")["values"]) == 8 for name in ("simultaneous", "alternating")
        ),
        "on the ring, Hamiltonian descent and extragradient in raw units find none": all(
            max(last("ring", name, "found")["values"]) == 0 for name in ("hamiltonian", "extragradient")
        ),
        "on the grid, nobody finds all 25 modes with every seed": all(
            min(row["last"]["found"]["values"]) < 25 for row in rows["grid"].values()
        ),
        "nobody has a larger share of good samples than plain steps, beyond both intervals": not any(
            better(rows[place][name], rows[place]["gradient"]) for place in rows for name in rows[place]
        ),
    }
    return told


def better(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the share of good samples is larger, and the intervals do not overlap."""
    ours, theirs = (one["last"]["high_quality"] for one in (row, other))
    return ours["mean"] - ours["half_width"] > theirs["mean"] + theirs["half_width"]


def picture(results: dict[str, Any]) -> Figure:
    """A row a solver: means and intervals of the three measures, on the ring and on the grid."""
    rows = results["rows"]
    names = list(rows["ring"])
    figure = Figure(figsize=(14, 8.6), layout="constrained")
    panels = figure.subplots(1, 2 * len(MEASURES), sharey=True)
    for column, (place, title) in enumerate((place, title) for place in rows for title in MEASURES):
        panel = panels[column]
        for height, name in enumerate(names):
            if name not in rows[place]:
                continue
            told = rows[place][name]["last"][title]
            panel.plot(
                [v for v in told["values"] if v is not None], [height] * told["count"], ".", color="0.7", markersize=5
            )
            if told["mean"] is not None:
                color = COLORS[column // len(MEASURES)]
                panel.errorbar(told["mean"], height, xerr=told["half_width"], fmt="o", color=color, markersize=4.5)
        panel.grid(alpha=0.3)
        panel.set_title(f"{place}: {MEASURES[title]}", fontsize=10)
        top = {"found": {"ring": 8, "grid": 25}[place], "high_quality": CEILING, "reverse_kl": 0.0}[title]
        panel.axvline(top, color="0.3", linestyle="--", linewidth=1)
        if title != "reverse_kl":
            panel.set_xlim(-0.04 * top, 1.06 * top)
        else:
            panel.set_xlim(-0.1, 3.7)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    told = f"{results['protocol']['evaluations']:,} field evaluations, Adam {ADAM.learning_rate:g}"
    figure.suptitle(f"{told}: mean of 5 seeds with 95 % interval, seeds in gray; dashed: a perfect sampler")
    return figure


def table(rows: dict[str, Any]) -> str:
    """Means with half widths, a line a solver."""
    lines = []
    for place, of_place in rows.items():
        for name, row in of_place.items():
            cells = []
            for title in MEASURES:
                told = row["last"][title]
                half = "" if told["half_width"] is None else f" +- {told['half_width']:.2f}"
                cells.append("none" if told["mean"] is None else f"{told['mean']:.2f}{half}")
            lines.append(f"{place:5} {name:23} {row['rounds']:6,} rounds  " + "  ".join(f"{cell:15}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), help="(default: all)")
    arguments = parser.parse_args()
    how = protocol()
    rows = measure(arguments.runs / "solvers_on_mixtures", sets(), arguments.solvers, how)
    results = {"protocol": how, "rows": rows, "interval": "95 %, Student's t over seeds"}
    told = claims(results) if set(arguments.solvers) == set(SOLVERS) else {}
    report("solvers_on_mixtures", {"claims": told, **results}, list(SEEDS))
    draw("solvers_on_mixtures", picture(results), dpi=90)
    print(table(rows))
    tell(told)


if __name__ == "__main__":
    main()
