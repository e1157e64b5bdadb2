"""A BigGAN on CIFAR-10: what a few hundred rounds on a CPU show, and, on a GPU, the score of a full training.

    python experiments/biggan_cifar.py small --data cifar10_from_jpeg.npz    # CPU
    python experiments/biggan_cifar.py full --data cifar10_from_jpeg.npz     # GPU, bfloat16; or --rounds N

Before: `vaegan weights fetch efficientnet_lite0` for `small`; for `full` Inception's weights, from a file of yours
(`vaegan weights list` tells which), or `--features efficientnet_lite0`.

The data are any set of 32 x 32 color images with classes: CIFAR-10 from the TFDS catalog (`--data cifar10`), or a copy
of it (`unpack_jpegs.py`). `full` has the settings with which PyTorch-StudioGAN reports a
Frechet distance of 4.16 (3.35 with DiffAugment, as here) in Inception's features, 50,000 samples against the training
set, the best checkpoint: width 96, z of 80, batches of 64, 5 moves of the discriminator, both rates 2e-4, 100,000
rounds, averages from 1,000 rounds on. Best and final are told here, and every look on the way.

`small` is width 16, batches of 32, 2 moves of the discriminator, one seed: it shows that the whole of it works and that
classes and colors are learned, no more. Claim, of `small`: its Frechet distance in EfficientNet's features falls
with each look, 1,664, 1,541 and 1,275 after 200, 400 and 600 rounds; in figures/biggan_cifar_small.png, a column a
class, airplanes have skies, birds grass, deer woods and ships water around a shape in the middle, which is no airplane
yet. 47 minutes on two CPU cores that others used, too (idle, about 15).

Writes runs/biggan_cifar_PART, results/biggan_cifar_PART.json, figures/biggan_cifar_PART.png (samples) and
figures/biggan_cifar_PART_curve.png (the distance of each look, best and final marked). Interrupted, it goes on where it
was.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from common import FIGURES, draw, options, report, tell
from matplotlib.figure import Figure

from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.errors import UserError, check
from vaegan_jax.evaluation.cards import kept
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.models import biggan
from vaegan_jax.models.techniques import Techniques
from vaegan_jax.optimizers import Optimizer
from vaegan_jax.pictures import grid, png
from vaegan_jax.training.config import RunConfig, TrainingConfig, to_json
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.reading import sample
from vaegan_jax.training.run import read_config, write
from vaegan_jax.training.stopping import Diverged, Interrupted

STEP = Optimizer(learning_rate=2e-4, b1=0.0, epsilon=1e-6)
PARTS: dict[str, dict[str, Any]] = {
    "small": {
        **{"width": 16, "batch_size": 32, "discriminator_moves": 2, "rounds": 600, "looks": 3, "augment": "none"},
        **{"precision": "float32", "halflife_kimg": 1.0, "start_kimg": 0.0, "samples": 2000, "metrics": "frechet"},
    },
    "full": {
        **{"width": 96, "batch_size": 64, "discriminator_moves": 5, "rounds": 100_000, "looks": 20},
        **{"augment": "all", "precision": "bfloat16", "halflife_kimg": 2200.0},
        **{"start_kimg": 320.0, "samples": 50_000, "metrics": "frechet,inception-score,precision-recall"},
    },
}
"""`halflife_kimg`: 0.9999 for each of the generator's moves, 320 images apart, is 2,218 thousand images."""
ROWS, CLASSES = 8, 10


def config_of(how: dict[str, Any], data: str, seed: int) -> RunConfig:
    """The run of a part's settings."""
    model = biggan.Config(
        width=how["width"],
        latent_size=80,
        discriminator_moves=how["discriminator_moves"],
        precision=how["precision"],
        discriminator_optimizer=STEP,
        generator_optimizer=STEP,
        techniques=Techniques(augment=how["augment"]),
    )
    looks = min(how["looks"], how["rounds"])
    every = how["rounds"] // looks
    training = TrainingConfig(
        ema_halflife_kimg=how["halflife_kimg"],
        ema_start_kimg=how["start_kimg"],
        sample_interval_steps=every,
        checkpoint_interval_steps=every,
        sample_count=ROWS * CLASSES,
    )
    return RunConfig(
        model,
        data=data,
        steps=every * looks,
        batch_size=how["batch_size"],
        seed=seed,
        training=training,
        evaluate_every=every,
        evaluation=Evaluation(metrics=how["metrics"], features=how["features"], count=how["samples"]),
    )


def trained(config: RunConfig, run: Path) -> str:
    """Trains a run, or goes on with it, to its end; returns how it diverged, if it did."""
    try:
        if run.exists():
            check_same(config, run)
        if not (run / "summary.json").exists():
            resume(run) if run.exists() else train(config, run)
    except Diverged as error:  # a result as well
        return str(error)
    except Interrupted:
        raise SystemExit(f"stopped and saved in {run}; to go on, give the same command again") from None
    except UserError as error:
        raise SystemExit(f"biggan_cifar: {error}") from None
    return ""


def check_same(config: RunConfig, run: Path) -> None:
    """UserError where the run that is there has other settings."""
    there, asked = to_json(read_config(run)[0]), to_json(config)
    other = [name for name in asked if asked[name] != there[name] and name != "data"]  # which tells where they lie
    told = f"{run} is there with another {', '.join(other)}: give its settings, another --runs, or remove it"
    check(not other, told)


def seen(run: Path) -> dict[str, Any]:
    """Every score of a run by name: of each look, the best, and the last; not of truncated samples, scored later on."""
    told: dict[str, Any] = {}
    for score in (score for score in kept(run) if score.sampling.truncation == "none"):
        row = told.setdefault(score.name, {"protocol": asdict(score.protocol), "better": score.better, "looks": []})
        row["looks"].append({"step": score.sampling.step, "images": score.sampling.images, "value": score.value})
    for row in told.values():
        pick = min if row["better"] == "lower" else max
        row |= {"best": pick(row["looks"], key=lambda look: look["value"]), "final": row["looks"][-1]}
    return told


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """Whether each claim holds; over the many looks of a long training a distance rises now and then."""
    looks = [look["value"] for look in next(iter(results["scores"].values()), {"looks": []})["looks"]]
    falls = len(looks) > 1 and not results["diverged"] and bool((np.diff(looks) < 0).all())
    return {"the Frechet distance falls with each look": falls}


def curve(name: str, row: dict[str, Any]) -> Figure:
    """A score over the images seen, with the best look and the final one marked."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    images, values = zip(*((look["images"] / 1000, look["value"]) for look in row["looks"]), strict=True)
    axes.plot(images, values, marker="o", markersize=3, color=COLORS[0])
    for which, color in (("best", COLORS[1]), ("final", COLORS[2])):
        look = row[which]
        told = f"{which}: {look['value']:.4g}, round {look['step']:,}"
        axes.plot(look["images"] / 1000, look["value"], "o", fillstyle="none", markersize=10, color=color, label=told)
    axes.set(xlabel="thousand real images seen", ylabel=name, ylim=(0, None))
    axes.legend(frameon=False)
    return figure


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--data", default="cifar10", help="(default: %(default)s)")
    parser.add_argument("--features", default="", help="network whose features are compared")
    parser.add_argument("--rounds", type=int, default=0, help="if not those told above")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    arguments = parser.parse_args()
    how = dict(PARTS[arguments.part])
    how["features"] = arguments.features or ("inception" if arguments.part == "full" else "efficientnet_lite0")
    how |= {"rounds": arguments.rounds} if arguments.rounds else {}
    run = arguments.runs / f"biggan_cifar_{arguments.part}_{arguments.seed}"
    diverged = trained(config_of(how, arguments.data, arguments.seed), run)
    classes = [str(number) for number in range(CLASSES)]
    images, sampled_with = sample(run, ROWS * CLASSES, arguments.seed, classes)
    write(FIGURES / f"biggan_cifar_{arguments.part}.png", png(grid(images, CLASSES)))
    scores, summary = seen(run), run / "summary.json"
    results = {"protocol": how, "diverged": diverged, "sampled_with": sampled_with, "scores": scores}
    results["metrics"] = json.loads(summary.read_text())["metrics"] if summary.exists() else {}
    if arguments.part == "small":
        results["claims"] = claims(results)
    report(f"biggan_cifar_{arguments.part}", results, [arguments.seed])
    if scores:  # the distance is told first
        draw(f"biggan_cifar_{arguments.part}_curve", curve(*next(iter(scores.items()))))
    for name, row in scores.items():
        best, final = row["best"], row["final"]
        print(f"{name}: best {best['value']:.4g} at round {best['step']:,}, final {final['value']:.4g}")
    tell(results.get("claims", {}))


if __name__ == "__main__":
    main()
