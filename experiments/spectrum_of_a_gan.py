"""How much of a GAN's Jacobian rotates along its training, and its leading eigenvalues: a ring of 8, and a DCGAN.

    python experiments/spectrum_of_a_gan.py

Claim. A GAN on a ring of 8 (2,595 parameters, Adam 0.002, in turns; 3 seeds; the field is that of 512 points of each
kind): its Jacobian rotates at first, a share |A|^2 / |J|^2 of 0.41 to 0.53 at round 0 and above 0.33 until round 300,
and hardly once it finds the modes, less than 0.03 from round 1,000 and less than 0.01 at round 6,000. The eight leading
eigenvalues are partly imaginary until round 300, and all real at the end, where the largest is over 100 times as large:
what is left is not rotation but stiffness. Nor is the end a resting point: with two seeds of three one of the leading
eigenvalues is negative there.
A tiny DCGAN (width 8, batches of 64 of the embedded clothes, 31,098 parameters, one seed, the next round's batch) never
rotates much: 0.08, 0.20, 0.07 and 0.05 after 0, 50, 150 and 300 rounds, with standard errors of 0.01 to 0.03, while
its largest eigenvalue grows from 500 to 6,000. (Where the count cuts a pair, one stands without its conjugate.)

Shares by 50 and 10 random vectors (Hutchinson), eigenvalues by Arnoldi. Three minutes on two CPU cores. Writes
runs/spectrum_of_a_gan, results/spectrum_of_a_gan.json, figures/spectrum_of_a_gan.png and a table.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from common import draw, options, report, rounded, tell
from matplotlib.figure import Figure

from vaegan_jax.data import Source, load
from vaegan_jax.dynamics import instruments, spectra
from vaegan_jax.dynamics.mixtures import PlanarGan, Ring
from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.evaluation.modes import mixture_modes
from vaegan_jax.games import Game, Params, init, play
from vaegan_jax.models import gan
from vaegan_jax.optimizers import Adam
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import assemble
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.reading import read
from vaegan_jax.training.run import write

SEEDS, RING_STAGES, DCGAN_STAGES = (0, 1, 2), (0, 100, 300, 1000, 3000, 6000), (0, 50, 150, 300)
IN_TURNS = (("discriminator",), ("generator",))
LOOKING, SAMPLES = 2**31, 2500
DATA, WIDTH, BATCH = "fashion_mnist_small", 8, 64
TINY = RunConfig(
    gan.Config(width=WIDTH, latent_size=32),
    data=DATA,
    batch_size=BATCH,
    training=TrainingConfig(sample_interval_steps=0, log_interval_steps=10, checkpoint_interval_steps=0),
)


def measured(
    game: Game, field: instruments.JointField, params: Params, seed: int, probes: int, count: int, tolerance: float
) -> dict[str, Any]:
    """The instruments at a point: rotation share with its error, leading eigenvalues, norms of the field."""
    point = instruments.point_of(game, params)
    share = instruments.rotation_share(field, point, jax.random.key(seed), probes)
    found = spectra.leading(field, point, count, tolerance=tolerance, seed=seed)
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(point)),
        "rotation_share": share.share,
        "standard_error": share.error,
        "eigenvalues": [[value.real, value.imag] for value in found.eigenvalues],
        "residuals": rounded(found.residuals, 2),
        "products": found.products,
        "norms": instruments.gradient_norms(game, field, point),
    }


def ring(seed: int, stages: tuple[int, ...], units: int = 32, probes: int = 50, count: int = 8) -> list[dict[str, Any]]:
    """A GAN on the ring, looked at after so many rounds; the field is that of 512 points of each kind."""
    config = Ring(gan=PlanarGan((units, units), batch_size=128, seed=seed))
    toy = config.make({player: Adam(2e-3, b1=0.5).transformation() for player in ("generator", "discriminator")})
    round, batch, key = play(toy.game, IN_TURNS), toy.batch(0, len(IN_TURNS)), jax.random.key(seed)
    many = PlanarGan(batch_size=512).batch(0)
    stretch = jax.jit(
        lambda state, count: jax.lax.fori_loop(0, count, lambda _, s: round(s, batch, key, False)[0], state)
    )
    sample = jax.jit(lambda params: toy.sample(params, jax.random.split(jax.random.key(LOOKING), SAMPLES)))
    state, done, rows = init(toy.game, toy.start), 0, []
    for stage in stages:
        state, done = stretch(state, stage - done), stage
        field = instruments.field(toy.game, state, many, jax.random.fold_in(key, LOOKING))
        modes = mixture_modes(np.asarray(sample(state.params)), config.means(), config.deviation)
        row = measured(toy.game, field, state.params, seed, probes, count, 1e-4)
        rows.append({"seed": seed, "round": stage, "modes": modes.found, "high_quality": modes.high_quality, **row})
        print(f"ring, seed {seed}, round {stage}: rotates {row['rotation_share']:.4f}", flush=True)
    return rows


def dcgan(run: Path, config: RunConfig, source: Source, stages: tuple[int, ...], probes: int, count: int) -> list[dict]:
    """A run looked at after so many rounds, on the data of the round that comes next; what was seen is kept in it."""
    rows = []
    for stage in stages:
        seen = run.with_name(f"{run.name}-{stage:05d}.json")
        if not seen.exists():
            if stage == 0:
                experiment = assemble(config, source.spec)
                state = first_state(experiment)
            else:
                resume(run, stage, source=source) if run.exists() else train(replace(config, steps=stage), run, source)
                experiment, state, _ = read(run)
            game, field = instruments.moving(experiment), instruments.run_field(experiment, state, source)
            row = measured(game, field, state.params, config.seed, probes, count, 1e-2)
            write(seen, json.dumps({"seed": config.seed, "round": stage, **row}))
        rows.append(json.loads(seen.read_text()))
        print(f"dcgan, round {stage}: rotates {rows[-1]['rotation_share']:.4f}", flush=True)
    return rows


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    rows = results["ring"]
    first, last = (min(row["round"] for row in rows), max(row["round"] for row in rows))
    shares = lambda when: [row["rotation_share"] for row in rows if row["round"] == when]  # noqa: E731
    size = lambda row: np.abs(np.array(row["eigenvalues"]) @ [1, 1j])  # noqa: E731
    turned = [np.max(np.abs(np.array(row["eigenvalues"])[:, 1]) / size(row)) for row in rows]
    growth = [size(row).max() for row in rows]
    at = lambda when, values: [value for row, value in zip(rows, values, strict=True) if row["round"] == when]  # noqa: E731
    return {
        "the ring's Jacobian rotates at first": min(shares(first)) > 0.4 and min(shares(300)) > 0.33,
        "and hardly at the end": max(shares(1000)) < 0.03 and max(shares(last)) < 0.01,
        "leading eigenvalues are partly imaginary until round 300": min(at(first, turned) + at(300, turned)) > 0.8,
        "and all real at the end": max(at(last, turned)) < 0.01,
        "where the largest is over 100 times as large": min(np.divide(at(last, growth), at(first, growth))) > 100,
        "the DCGAN never rotates much": max(row["rotation_share"] for row in results["dcgan"]) < 0.25,
    }


def picture(results: dict[str, Any]) -> Figure:
    """Rotation share over rounds, and leading eigenvalues at the first and last looks."""
    figure = Figure(figsize=(14, 4.9), layout="constrained")
    shares, *planes = figure.subplots(1, 3, width_ratios=(1, 1.1, 1.1))
    ring_rows, dcgan_rows = results["ring"], results["dcgan"]
    for seed in sorted({row["seed"] for row in ring_rows}):
        own = [row for row in ring_rows if row["seed"] == seed]
        _share(shares, own, COLORS[0], "ring of 8, a line a seed" if seed == 0 else None)
    if dcgan_rows:
        _share(shares, dcgan_rows, COLORS[1], "DCGAN, Fashion-MNIST")
    shares.set_xscale("symlog", linthresh=50)
    shares.set(xlabel="round", ylabel="rotation share $|A|^2 / |J|^2$", ylim=(0, None), title="how much of J rotates")
    shares.legend(fontsize=9)
    shares.grid(alpha=0.3)
    for panel, rows, name in zip(planes, (ring_rows, dcgan_rows), ("ring of 8, seed 0", "DCGAN"), strict=True):
        _plane(panel, [row for row in rows if row["seed"] == 0], name)
    return figure


def _share(panel, rows: list[dict[str, Any]], color: str, label: str | None) -> None:
    values, errors = ([row[name] for row in rows] for name in ("rotation_share", "standard_error"))
    panel.errorbar([row["round"] for row in rows], values, errors, color=color, marker="o", markersize=4, label=label)


def _plane(panel, rows: list[dict[str, Any]], name: str) -> None:
    for place, row in enumerate(rows):
        values = np.array(row["eigenvalues"])
        told = f"round {row['round']:,}"
        panel.plot(*values.T, "osD^vPX"[place % 7], color=COLORS[place], markersize=6, fillstyle="none", label=told)
    panel.axvline(0, color="0.5", linewidth=0.8)
    panel.axhline(0, color="0.5", linewidth=0.8)
    every = np.concatenate([np.array(row["eigenvalues"]) for row in rows])
    high, low, wide = every[:, 0].max(), every[:, 0].min(), np.abs(every[:, 1]).max()
    panel.set_xscale("symlog", linthresh=1)
    panel.set_yscale("symlog", linthresh=1)
    panel.set(xlim=(2 * min(low, -1), 2 * high), ylim=(-2 * max(wide, 1), 2 * max(wide, 1)))
    panel.set(xlabel="real part (below 0: repels)", ylabel="imaginary part", title=f"{name}: leading eigenvalues of J")
    panel.legend(fontsize=8, loc="lower left")
    panel.grid(alpha=0.2)


def main() -> None:
    parser = options(__doc__)
    arguments = parser.parse_args()
    rows = [row for seed in SEEDS for row in ring(seed, RING_STAGES)]
    source = load(DATA, "train")
    seen = dcgan(arguments.runs / "spectrum_of_a_gan", TINY, source, DCGAN_STAGES, probes=10, count=4)
    results = {"ring": rows, "dcgan": seen}
    told = claims(results)
    report("spectrum_of_a_gan", {"claims": told, **results}, list(SEEDS))
    draw("spectrum_of_a_gan", picture(results))
    for title, part in results.items():
        for row in part:
            leading = ", ".join(f"{re:.3g}{im:+.3g}i" for re, im in row["eigenvalues"][:3])
            print(
                f"{title:5} seed {row['seed']} round {row['round']:5,}: rotates {row['rotation_share']:.4f}"
                f" +- {row['standard_error']:.4f}; {leading}"
            )
    tell(told)


if __name__ == "__main__":
    main()
