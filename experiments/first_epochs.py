"""A DCGAN after epochs 1, 5 and 15 (Radford et al. 2015, figures 2 and 3): clouds, outlines, clothes, no copies.

    python experiments/first_epochs.py

The paper shows a generator after one epoch, in which it cannot have learned images by heart, and after five, where it
still underfits. Protocol: width 16, 10,000 clothes of the embedded set, batches of 64, 156 rounds an epoch, 3 seeds,
2,000 samples. Weights are averaged with a half-life of 1,000 images: with the library's 10,000, half of the average
after epoch 1 would be the first, gray weights. Two tests for copies, by pixels: the share of samples nearer to one of
the 10,000 training than to one of the 2,000 test images (0.833 for new images), and AuthPct, the share that is farther
from the nearest training image than that one from its own nearest (70.7 for the test images). To see whether they would
notice, one sample in five is replaced by a training image with noise of 20 gray levels.

Claims: the Frechet distance in features of the clothes' classifier falls with every look, 72.5 +- 5.0, 18.2 +- 2.2 and
11.8 +- 2.4 after epochs 1, 5 and 15, beyond the 95 % intervals of the seeds. At no epoch are samples nearer to training
images than new ones would be (0.826 +- 0.075, 0.833 +- 0.035, 0.835 +- 0.011), and AuthPct is 95 to 99 at all of them;
copies, one in five, take 15 to 20 points off it. (A high AuthPct also says that samples are far from all images.) After
epoch 1 they are much alike: 2,000 samples have fewer than 250 different nearest training images, new images 1,608.
figures/first_epochs.png: clouds, then ragged outlines, then shirts, trousers and shoes with holes; the nearest training
images are other clothes.

Six minutes a seed on two CPU cores that others used, too. Writes runs/first_epochs, results/first_epochs.json and
figures/first_epochs.png. Interrupted, it goes on where it was.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import FIGURES, options, report, tell, through_epochs
from dcgan_fashion import in_few_colors
from solvers_on_dcgan import interval

from vaegan_jax.data import Source, load
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.evaluation.memorization import authenticity, nearest, ratio
from vaegan_jax.evaluation.scoring import evaluate_run
from vaegan_jax.models import gan
from vaegan_jax.pictures import grid, pairs, side_by_side, to_uint8
from vaegan_jax.training.config import RunConfig, TrainingConfig, to_json
from vaegan_jax.training.reading import sample
from vaegan_jax.training.run import write

SEEDS, EPOCHS, COUNT, SHOWN = (0, 1, 2), (1, 5, 15), 2000, 36
COPIED, NOISE = 5, 20.0
"""Of every so many samples one is a copy, with noise of so many gray levels, to see whether that would be noticed."""
CONFIG = RunConfig(
    gan.Config(width=16),
    data="fashion_mnist_small",
    batch_size=64,
    training=TrainingConfig(
        ema_halflife_kimg=1.0, sample_interval_steps=0, checkpoint_interval_steps=0, sample_count=SHOWN
    ),
)


def with_copies(samples: np.ndarray, training: np.ndarray) -> np.ndarray:
    """The samples, uint8, some of them replaced by training images with noise."""
    made, places = samples.copy(), np.arange(0, len(samples), COPIED)
    generator = np.random.default_rng(0)
    copied = training[generator.choice(len(training), len(places), replace=False)]
    made[places] = np.clip(np.rint(copied + generator.normal(0, NOISE, copied.shape)), 0, 255)
    return made


def seen(run: Path, count: int = COUNT) -> dict[str, Any]:
    """Of a run as it stands: Frechet distance, and two tests for copies of training images, by pixels."""
    training, test = (load(CONFIG.data, split).arrays["image"] for split in ("train", "test"))
    (score,) = evaluate_run(run, Evaluation(metrics="frechet", features="classifier", count=count))
    drawn, sampled_with = sample(run, count)
    samples = to_uint8(drawn)
    np.save(run / f"samples-{score.sampling.step:06d}.npy", samples[:SHOWN])
    return {
        "frechet": score.value,
        "authentic": authenticity(samples, training),
        "authentic_with_copies": authenticity(with_copies(samples, training), training),
        "nearer_training": ratio(samples, training, test).closer,
        "neighbors": len(np.unique(nearest(samples, training).indices)),
        "sampled_with": sampled_with,
    }


def measure(runs: Path, source: Source, seeds=SEEDS, config: RunConfig = CONFIG) -> dict[str, Any]:
    """Trains from every seed and looks after each epoch."""
    rows, test = [], load(config.data, "test").arrays["image"]
    for seed in seeds:
        for row in through_epochs(replace(config, seed=seed), runs / f"seed-{seed}", source, list(EPOCHS), seen):
            rows.append({"seed": seed, **row})
            print(f"seed {seed}, epoch {row['epoch']}: Frechet distance {row['frechet']:.1f}", flush=True)
    new = {
        "authentic": authenticity(test, source.arrays["image"]),
        "nearer_training": len(source) / (len(source) + len(test)),
        "neighbors": len(np.unique(nearest(test, source.arrays["image"]).indices)),
    }
    return {"summary": summary(rows), "of_new_images": new, "rows": rows, "examples": len(source)}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and 95 % interval over the seeds, epoch by epoch."""
    names = ("frechet", "authentic", "authentic_with_copies", "nearer_training", "neighbors")
    return {
        str(epoch): {name: interval([row[name] for row in rows if row["epoch"] == epoch]) for name in names}
        for epoch in EPOCHS
    }


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    rows, told, new = results["rows"], results["summary"], results["of_new_images"]
    ends = {
        (epoch, name): [one["mean"] + side * (one["half_width"] or 0) for side in (-1, 1)]
        for epoch in EPOCHS
        for name, one in told[str(epoch)].items()
    }
    falls = all(ends[b, "frechet"][1] < ends[a, "frechet"][0] for a, b in pairwise(EPOCHS))
    nearer = all(ends[epoch, "nearer_training"][0] <= new["nearer_training"] for epoch in EPOCHS)
    authentic = all(ends[epoch, "authentic"][0] > new["authentic"] for epoch in EPOCHS)
    drops = [row["authentic"] - row["authentic_with_copies"] for row in rows]
    return {
        "every look is better than the one before, beyond both intervals": falls,
        "samples are nearer to training than to test images as often as new images are": nearer,
        "and more authentic than these": authentic,
        "one copy in five would show, as 15 to 20 points of AuthPct": all(15 < drop < 20.5 for drop in drops),
        "after epoch 1 samples are alike: 1 in 5 as many nearest training images as new ones, at most": ends[
            1, "neighbors"
        ][1]
        < new["neighbors"] / 5,
    }


def picture(runs: Path, results: dict[str, Any], source: Source) -> np.ndarray:
    """Samples of the first seed after each epoch, from the same latents; some above their nearest training images."""
    sheets, training, sides = {}, source.arrays["image"], []
    columns = int(SHOWN**0.5)
    for row in [row for row in results["rows"] if row["seed"] == results["rows"][0]["seed"]]:
        images = np.load(runs / f"seed-{row['seed']}" / f"samples-{row['step']:06d}.npy")
        sheets[f"epoch {row['epoch']}"] = grid(images / 127.5 - 1)
        shown = images[:columns]
        sides.append((shown, training[nearest(shown, training).indices]))
    both = [np.concatenate(side) / 127.5 - 1 for side in zip(*sides, strict=True)]
    return side_by_side({**sheets, "epochs 1, 5, 15, above the nearest training images": pairs(*both, columns)})


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="(default: 0 1 2)")
    arguments = parser.parse_args()
    runs, source = arguments.runs / "first_epochs", load(CONFIG.data, "train")
    results = measure(runs, source, arguments.seeds)
    told = claims(results)
    report("first_epochs", {"claims": told, **results, "config": to_json(CONFIG)}, arguments.seeds)
    write(FIGURES / "first_epochs.png", in_few_colors(picture(runs, results, source)))
    tell(told)


if __name__ == "__main__":
    main()
