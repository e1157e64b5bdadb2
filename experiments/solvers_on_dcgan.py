"""Five solvers train the same DCGAN on clothes at equal cost: best and final Frechet distance, of three seeds.

    python experiments/solvers_on_dcgan.py

Protocol: width 16, 64 latents, batches of 128 of the embedded Fashion-MNIST, Adam 2e-4 with b1 = 0.5, averaged
generator (half-life 10,000 images); 400 evaluations of both players' field each, so that solvers that need more of them
for a round play fewer rounds. A score is taken after each quarter: the Frechet distance of 2,000 samples to 2,000
training images in features of the classifier of their labels (0.58 for the test images themselves, `first_scores.py`);
it is none of the literature's. Constants are the library's, but consensus 0.1 and lookahead every 10 rounds. Told are
mean and 95 % interval of 3 seeds (Student's t).

Claim: so early in training, 51,200 images, no solver is better than plain steps in turns beyond both intervals.
Optimistic Adam is as good; extra-Adam, lookahead and consensus are behind, for the cost of their rounds and for a slow
start. It says nothing of what they do for long runs, which is what they are made for.

Twenty minutes on two idle CPU cores. Writes runs/solvers_on_dcgan, results/solvers_on_dcgan.json and
figures/solvers_on_dcgan.png. Interrupted, it goes on where it was; --seeds 0 does one seed alone.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import draw, options, report, tell
from matplotlib.figure import Figure
from scipy.stats import t as student

from vaegan_jax.data import Source, load
from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.evaluation.scoring import evaluate_run
from vaegan_jax.models import gan
from vaegan_jax.training.config import RunConfig, TrainingConfig, to_json
from vaegan_jax.training.experiment import assemble
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.run import write
from vaegan_jax.training.stopping import Diverged, Interrupted

SOLVERS = {
    "gradient": Solver(),
    "extra-adam": Solver("extra-adam"),
    "optimistic-adam": Solver("optimistic-adam"),
    "lookahead-minmax": Solver("lookahead-minmax", k=10),
    "consensus": Solver("consensus", gamma=0.1),
}
SEEDS, EVALUATIONS, QUARTERS = (0, 1, 2), 400, 4
HOW = Evaluation(metrics="frechet", features="classifier", count=2000)
CONFIG = RunConfig(
    gan.Config(width=16, latent_size=64),
    data="fashion_mnist_small",
    training=TrainingConfig(sample_interval_steps=0, checkpoint_interval_steps=0),
)


def one(folder: Path, config: RunConfig, source: Source, evaluations: int, how: Evaluation) -> dict[str, Any]:
    """Trains and scores a run after each quarter; what was seen is kept beside it."""
    cost, seen = assemble(config, source.spec).solved.evaluations, []
    for quarter in range(1, QUARTERS + 1):
        steps, path = int(evaluations * quarter / QUARTERS / cost), folder.with_name(f"{folder.name}-{quarter}.json")
        if not path.exists():
            try:
                resume(folder, steps) if folder.exists() else train(replace(config, steps=steps), folder)
                (score,) = evaluate_run(folder, how)
                told = {"name": score.name, "value": score.value}
            except Interrupted:
                raise SystemExit(f"stopped and saved in {folder}; to go on, give the same command again") from None
            except Diverged as error:
                told = {"name": str(error), "value": None}
            write(path, json.dumps({"round": steps, "evaluations": evaluations * quarter / QUARTERS, **told}))
        seen.append(json.loads(path.read_text()))
    return {"evaluations_of_a_round": cost, "looks": seen}


def measure(
    runs: Path,
    seeds=SEEDS,
    solvers: dict[str, Solver] = SOLVERS,
    config: RunConfig = CONFIG,
    evaluations: int = EVALUATIONS,
    how: Evaluation = HOW,
) -> dict[str, Any]:
    """Best and final score of every solver and seed, seed by seed, so that what is there is always comparable."""
    source, rows = load(config.data, "train"), []
    for seed in seeds:
        for name, solver in solvers.items():
            run = runs / f"{name}-{seed}"
            row = one(run, replace(config, solver=solver, seed=seed), source, evaluations, how)
            values = [look["value"] for look in row["looks"]]
            known = [value for value in values if value is not None]
            rows.append({"solver": name, "seed": seed, "best": min(known, default=None), "final": values[-1], **row})
            print(f"seed {seed}, {name:17} {values}", flush=True)
    summary = {
        name: {which: interval([row[which] for row in rows if row["solver"] == name]) for which in ("best", "final")}
        for name in solvers
    }
    return {"summary": summary, "rows": rows, "evaluations": evaluations}


def interval(values: list[float | None]) -> dict[str, Any]:
    """Mean and half width of its 95 % interval, of the seeds that did not diverge."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return {"mean": known[0] if known else None, "half_width": None, "count": len(known)}
    half = student.ppf(0.975, len(known) - 1) * np.std(known, ddof=1) / len(known) ** 0.5
    return {"mean": float(np.mean(known)), "half_width": float(half), "count": len(known)}


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    rows = results["rows"]
    orders = all(row["final"] is None or row["best"] <= row["final"] for row in rows)
    equal = {look["evaluations"] for row in rows for look in row["looks"][-1:]} == {float(results["evaluations"])}
    reach = {name: both["final"] for name, both in results["summary"].items() if both["final"]["mean"] is not None}
    low = {name: told["mean"] - (told["half_width"] or 0) for name, told in reach.items()}
    high = {name: told["mean"] + (told["half_width"] or 0) for name, told in reach.items()}
    behind = "gradient" in low and all(low["gradient"] <= high[name] for name in reach)
    return {
        "a best score is never above the final one": orders,
        "all have spent the same evaluations": equal,
        "none is better than plain steps beyond both intervals": behind,
    }


def picture(results: dict[str, Any]) -> Figure:
    """Scores by evaluations, a line a seed, and best and final with their intervals."""
    figure = Figure(figsize=(12.5, 4.8), layout="constrained")
    curves, bars = figure.subplots(1, 2)
    for place, (name, both) in enumerate(results["summary"].items()):
        for row in results["rows"]:
            if row["solver"] == name:
                spent = [look["evaluations"] for look in row["looks"]]
                values = [np.nan if look["value"] is None else look["value"] for look in row["looks"]]
                curves.plot(spent, values, "o-", color=COLORS[place], markersize=3.5, linewidth=1.2)
        for which, shift, marker in (("best", -0.12, "o"), ("final", 0.12, "s")):
            told = both[which]
            if told["mean"] is not None:
                bars.errorbar(
                    told["mean"], place + shift, xerr=told["half_width"], fmt=marker, color=COLORS[place], capsize=3
                )
    for marker, name in (("o", "best"), ("s", "final")):
        bars.plot([], [], marker, color="0.4", label=name)
    bars.set_yticks(range(len(results["summary"])), list(results["summary"]))
    for label, color in zip(bars.get_yticklabels(), COLORS, strict=False):
        label.set_color(color)
    bars.invert_yaxis()
    bars.legend(fontsize=9)
    bars.grid(alpha=0.3, axis="x")
    bars.set(xlabel="Frechet distance, classifier's features", title="mean and 95 % interval of the seeds")
    curves.set(
        xlabel="field evaluations",
        ylabel="Frechet distance",
        yscale="log",
        title="a line a seed; colors as on the right",
    )
    curves.grid(alpha=0.3, which="both")
    return figure


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="(default: 0 1 2)")
    arguments = parser.parse_args()
    results = measure(arguments.runs / "solvers_on_dcgan", arguments.seeds)
    told = claims(results)
    report("solvers_on_dcgan", {"claims": told, **results, "config": to_json(CONFIG)}, arguments.seeds)
    draw("solvers_on_dcgan", picture(results))
    for name, both in results["summary"].items():
        best, final = (
            f"{both[which]['mean']:.2f} +- {both[which]['half_width'] or 0:.2f}" for which in ("best", "final")
        )
        print(f"{name:17} best {best}   final {final}")
    tell(told)


if __name__ == "__main__":
    main()
