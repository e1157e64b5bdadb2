"""Scores that make sense: Fashion-MNIST against itself, against itself with noise, and the first VAE and DCGAN.

    python experiments/first_scores.py

Aim: every metric puts real test images before those with noise, more noise behind less, and both models in between.
The real images are the first 2,000 for training of the embedded set; what is compared with them are its 2,000 test
images, as they are and with Gaussian noise of deviation 5, 20 and 60 gray levels, and 2,000 samples of the VAE and of
the DCGAN of the command line's defaults, of three seeds each (5,000 and 1,000 rounds of 128 images). Features are those
of the classifier of the set's own labels: these distances are none of the literature's; the cards are in the results.

About 20 minutes on two CPU cores. Writes runs/first_scores_MODEL_SEED, results/first_scores.json,
figures/first_scores.png, a dot a seed, and figures/nearest_training_images.png, samples of the first DCGAN beside
their nearest training images. Interrupted, it goes on where it was.
"""

import json
import shutil
import statistics
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from common import FIGURES, options, report

from vaegan_jax.data import load
from vaegan_jax.evaluation.cards import kept
from vaegan_jax.evaluation.comparing import compare, rendered
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.evaluation.scoring import evaluate_run, evaluate_samples
from vaegan_jax.models import gan, vae
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.run import write

DATA, COUNT, SEEDS = "fashion_mnist_small", 2000, (0, 1, 2)
NOISE = (0, 5, 20, 60)
NAMES = "frechet,kernel,inception-score,precision-recall,density-coverage,vendi,sliced-wasserstein,memorization"
HOW = Evaluation(metrics=NAMES, features="classifier", count=COUNT)
MODELS = {"vae": RunConfig(vae.Config(), steps=5000), "gan": RunConfig(gan.Config(), steps=1000)}


def noised(deviation: float) -> np.ndarray:
    """The test images with Gaussian noise, rounded and clipped, uint8."""
    images = load(DATA, "test").arrays["image"]
    noise = np.random.default_rng(0).normal(0, deviation, images.shape) if deviation else 0
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def of_data(folder: Path) -> dict[str, list[dict]]:
    """Scores of real images with each noise."""
    rows = {}
    for deviation in NOISE:
        path, seen = folder / f"noise-{deviation}.npz", folder / f"noise-{deviation}.json"
        if not seen.exists():
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(path, image=noised(deviation))
            scores = [asdict(score) for score in evaluate_samples(path, DATA, HOW)]
            for score in scores:
                score["sampling"]["model"] = f"test images, noise {deviation}"
            write(seen, json.dumps(scores))
        rows[f"real test images, noise {deviation}"] = json.loads(seen.read_text())
    return rows


def of_model(name: str, config: RunConfig, runs: Path) -> list[Path]:
    """The runs of each seed, trained and scored."""
    folders = []
    for seed in SEEDS:
        folder = runs / f"first_scores_{name}_{seed}"
        if not (folder / "summary.json").exists():
            resume(folder) if folder.exists() else train(replace(config, seed=seed), folder)
        if not kept(folder):
            evaluate_run(folder, HOW)
        folders.append(folder)
    return folders


def main() -> None:
    arguments = options(__doc__).parse_args()
    rows = of_data(arguments.runs / "first_scores")
    folders = []
    for name, config in MODELS.items():
        runs = of_model(name, config, arguments.runs)
        folders += runs
        by_seed = [{score.name: score for score in kept(run)} for run in runs]
        first = by_seed[0]
        rows[f"{name}, round {config.steps:,}"] = [
            asdict(score)
            | {
                "value": statistics.mean(scores[title].value for scores in by_seed),
                "values_of_seeds": [scores[title].value for scores in by_seed],
                "deviation_over_seeds": statistics.stdev(scores[title].value for scores in by_seed),
            }
            for title, score in first.items()
        ]
    (nearest,) = (arguments.runs / "first_scores_gan_0" / "evaluations").glob("nearest-pixels-*.png")
    shutil.copy(nearest, FIGURES / "nearest_training_images.png")
    write(FIGURES / "first_scores.png", rendered(compare(folders), ".png"))
    report("first_scores", {"rows": rows}, list(SEEDS))
    titles = [score["name"] for score in next(iter(rows.values()))]
    for title in titles:
        print(title)
        for row, scores in rows.items():
            (score,) = (score for score in scores if score["name"] == title)
            spread = f" +- {score['deviation_over_seeds']:.2g}" if "deviation_over_seeds" in score else ""
            print(f"  {row:32} {score['value']:.4g}{spread}")


if __name__ == "__main__":
    main()
