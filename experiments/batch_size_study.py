"""What a large batch is worth: BigGANs that see equally many images in batches of 32 to 2,048.

    python experiments/batch_size_study.py small                       # CPU: Fashion-MNIST at width 8
    python experiments/batch_size_study.py full --data cifar10_from_jpeg.npz     # GPU: bfloat16, width 64

Brock et al. 2018 (section 3) raise the batch from 256 to 2,048 at an equal number of rounds, so for eight times the
images, and gain 46 % in Inception score. Here the images are equal, and the rounds are fewer the larger the batch is;
Adam's rates are the same for all ("fixed", as in the paper's table 1), or grow with the root of the batch ("root": the
noise in the steps stays equal, Malladi et al. 2022) from 2e-4 at 64.

Claims, of `small`: at few images the number of steps counts for more than the noise in them. With either rule and in
each seed the Frechet distance grows with the batch; from 512 on the root of the batch gains, but not all.

Measured: from 32 to 2,048 images a batch FD grows from 10.6 +- 1.9 to 61.3 +- 20.2 with fixed rates and from 11.2
+- 4.0 to 49.5 +- 14.3 with the root (mean and 95 % interval of 3 seeds); in the pairs of one seed the root gains 8 to
15 at 512 and 2,048. Samples of batches of 32 are clothes; those of 2,048, after 20 rounds, are noise, whose precision
of 0.8 only says that the classifier's features do not know noise. Where images are plenty, as in the paper, this says
nothing: that is what `full` is for.

Small: 40,960 images, 3 seeds, Frechet distance, precision and recall to 2,000 training images in features of the
clothes' classifier; hours on two CPU cores. Full: 6,400,000 images, 3 seeds, Inception's features, 10,000
samples. Writes runs/batch_size_study_*, results/batch_size_study_PART.json and figures/batch_size_study_PART.png.
`--rates`, `--batches` and `--seeds` choose some; interrupted, it goes on where it was.
"""

from pathlib import Path
from typing import Any

import numpy as np
from biggan_cifar import seen, trained
from common import draw, options, report, tell
from matplotlib.figure import Figure
from solvers_on_dcgan import interval

from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.models import biggan
from vaegan_jax.optimizers import Optimizer
from vaegan_jax.training.config import RunConfig, TrainingConfig

PARTS: dict[str, dict[str, Any]] = {
    "small": {
        **{"data": "fashion_mnist", "width": 8, "latent_size": 60, "images": 40_960},
        **{"precision": "float32", "features": "classifier"},
        **{"batches": (32, 128, 512, 2048), "samples": 2000, "seeds": 3, "halflife_kimg": 1.0},
    },
    "full": {
        **{"data": "cifar10", "width": 64, "latent_size": 80, "images": 6_400_000},
        **{"precision": "bfloat16", "features": "inception"},
        **{"batches": (32, 64, 128, 256, 512, 1024, 2048), "samples": 10_000, "seeds": 3, "halflife_kimg": 100.0},
    },
}
RATES = {"fixed": lambda batch: 1.0, "root": lambda batch: (batch / 64) ** 0.5}
"""What both rates, 2e-4, are multiplied by."""


def config_of(how: dict[str, Any], rule: str, batch_size: int, seed: int) -> RunConfig:
    """The run of a batch size under a rule for the rates."""
    step = Optimizer(learning_rate=2e-4 * RATES[rule](batch_size), b1=0.0, epsilon=1e-6)
    rounds = how["images"] // batch_size
    return RunConfig(
        biggan.Config(
            width=how["width"],
            latent_size=how["latent_size"],
            discriminator_moves=1,
            precision=how["precision"],
            discriminator_optimizer=step,
            generator_optimizer=step,
        ),
        data=how["data"],
        steps=rounds,
        batch_size=batch_size,
        seed=seed,
        training=TrainingConfig(
            ema_halflife_kimg=how["halflife_kimg"], sample_interval_steps=0, checkpoint_interval_steps=0
        ),
        evaluate_every=rounds,
        evaluation=Evaluation("frechet,precision-recall", how["features"], count=how["samples"]),
    )


def measured(how: dict[str, Any], rules: list[str], runs: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The last scores of each seed, by rule and batch size."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {rule: {} for rule in rules}
    for seed in range(how["seeds"]):
        for rule in rules:
            for batch_size in how["batches"]:
                run = runs / f"batch_size_study_{Path(how['data']).stem}_{rule}_{batch_size}_{seed}"
                diverged = trained(config_of(how, rule, batch_size, seed), run)
                scores = {name: row["final"]["value"] for name, row in seen(run).items()}
                rows[rule].setdefault(str(batch_size), []).append({"seed": seed, "diverged": diverged, **scores})
                print(f"{rule:6} batch {batch_size:5}, seed {seed}: {diverged or scores}", flush=True)
    return rows


def summary(rows: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean and 95 % interval over the seeds of every score, by rule and batch size."""
    return {
        rule: {
            size: {
                name: interval([one[name] for one in seeds if name in one])
                for name in dict.fromkeys(name for one in seeds for name in one)
                if name not in ("seed", "diverged")
            }
            for size, seeds in sizes.items()
        }
        for rule, sizes in rows.items()
    }


def first_score(told: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The distance, which an evaluation tells first."""
    return next(name for sizes in told.values() for row in sizes.values() for name in row)


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """Whether each claim holds, in every seed."""
    distance = first_score(results["summary"])
    by_rule = {
        rule: np.array([[one.get(distance, np.inf) for one in seeds] for seeds in sizes.values()])
        for rule, sizes in results["rows"].items()
    }
    held = {
        f"with {rule} rates {distance} grows with the batch": bool((np.diff(found, axis=0) > 0).all())
        for rule, found in by_rule.items()
    }
    if set(by_rule) == set(RATES):
        large = [int(size) >= 512 for size in results["rows"]["root"]]
        gains = by_rule["fixed"][large] > by_rule["root"][large]
        held["from 512 on the root of the batch gains"] = bool(gains.all())
    return held


def picture(told: dict[str, dict[str, dict[str, Any]]], name: str) -> Figure:
    """A score over the batch size, a line for each rule, with intervals."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for color, (rule, sizes) in zip(COLORS, told.items(), strict=False):
        points = [(int(size), row[name]["mean"], row[name]["half_width"] or 0) for size, row in sizes.items()]
        size, mean, half = zip(*points, strict=True)
        axes.errorbar(size, mean, half, marker="o", capsize=3, color=color, label=f"{rule} rates")
    axes.set(xscale="log", xlabel="batch size", ylabel=name, title="equal images")
    axes.set_xticks(size, [f"{one:,}" for one in size])
    axes.minorticks_off()
    axes.legend(frameon=False)
    return figure


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--data", default="", help="the images, if not those told above")
    parser.add_argument("--rates", nargs="*", default=list(RATES), choices=list(RATES), help="(default: both)")
    parser.add_argument("--batches", nargs="*", type=int, help="sizes, if not those told above")
    parser.add_argument("--seeds", type=int, default=0, help="seeds of each, if not those told above")
    arguments = parser.parse_args()
    how = dict(PARTS[arguments.part])
    for name in ("data", "batches", "seeds"):
        how |= {name: given} if (given := getattr(arguments, name)) else {}
    rows = measured(how, arguments.rates, arguments.runs)
    told = summary(rows)
    found = {"summary": told, "rows": rows, "protocol": how}
    if arguments.part == "small":  # of `full` it is the question
        found["claims"] = claims(found)
    report(f"batch_size_study_{arguments.part}", found, [*range(how["seeds"])])
    draw(f"batch_size_study_{arguments.part}", picture(told, first_score(told)))
    tell(found.get("claims", {}))


if __name__ == "__main__":
    main()
