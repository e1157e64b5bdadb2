"""A BigGAN on CIFAR-10: what a few hundred rounds on a CPU show, and, on a GPU, the score of a full training.

    python experiments/biggan_cifar.py small --data cifar10_from_jpeg.npz    # CPU
    python experiments/biggan_cifar.py full --data cifar10_from_jpeg.npz     # GPU, bfloat16; or --rounds N

The data are any set of 32 x 32 color images with classes: CIFAR-10 from the TFDS catalog (`--data cifar10`), or a copy
of it (`unpack_jpegs.py`). `full` has the settings with which PyTorch-StudioGAN reports a
Frechet distance of 4.16 (3.35 with DiffAugment, as here) in Inception's features, 50,000 samples against the training
set, the best checkpoint: width 96, z of 80, batches of 64, 5 moves of the discriminator, both rates 2e-4, 100,000
rounds, averages from 1,000 rounds on. Best and final are told here, and every look on the way.

`small` is width 16, batches of 32, 2 moves of the discriminator, one seed: it shows that the whole of it works and that
classes and colors are learned, no more. Claim: its Frechet distance in EfficientNet's features falls with each look,
1,664, 1,541 and 1,275 after 200, 400 and 600 rounds; in figures/biggan_cifar_small.png, a column a class, airplanes
have skies, birds grass, deer woods and ships water around a shape in the middle, which is no airplane yet. 47 minutes
on two CPU cores that others used, too (idle, about 15), once `vaegan weights fetch efficientnet_lite0` has brought the
features' weights.

Writes runs/biggan_cifar_PART, results/biggan_cifar_PART.json and figures/biggan_cifar_PART.png (samples only).
Interrupted, it goes on where it was.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from common import FIGURES, options, report, tell

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.cards import kept
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.models import biggan
from vaegan_jax.models.techniques import Techniques
from vaegan_jax.optimizers import Optimizer
from vaegan_jax.pictures import grid, png
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.reading import sample
from vaegan_jax.training.run import write
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
    every = how["rounds"] // how["looks"]
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
        steps=every * how["looks"],
        batch_size=how["batch_size"],
        seed=seed,
        training=training,
        evaluate_every=every,
        evaluation=Evaluation(metrics=how["metrics"], features=how["features"], count=how["samples"]),
    )


def trained(config: RunConfig, run: Path) -> str:
    """Trains a run, or goes on with it, to its end; returns how it diverged, if it did."""
    try:
        if not (run / "summary.json").exists():
            resume(run) if run.exists() else train(config, run)
    except Diverged as error:  # a result as well
        return str(error)
    except Interrupted:
        raise SystemExit(f"stopped and saved in {run}; to go on, give the same command again") from None
    except UserError as error:
        raise SystemExit(f"biggan_cifar: {error}") from None
    return ""


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
    report(f"biggan_cifar_{arguments.part}", results, [arguments.seed])
    for name, row in scores.items():
        best, final = row["best"], row["final"]
        print(f"{name}: best {best['value']:.4g} at round {best['step']:,}, final {final['value']:.4g}")
    distance = [look["value"] for look in next(iter(scores.values()))["looks"]]
    tell({"the Frechet distance falls with each look": not diverged and bool((np.diff(distance) < 0).all())})


if __name__ == "__main__":
    main()
