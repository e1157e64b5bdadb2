"""What GANs promise besides samples, measured on clothes: classes, codes, slopes, distances, features.

    python experiments/inside_gans.py

Protocol: the runs of `compare_gans.py images` (Fashion-MNIST, width 16, 128,000 images seen), which are trained here
where they are not under runs/, 3 seeds, the classifier of the clothes' labels (0.9 right on test images) as a judge;
and wgan once more, five times as long, scored 12 times on the way.

- classes (Mirza 2014, Odena 2016, Miyato 2018): the share of 2,000 samples that the judge takes for the class that the
  model was told.
- codes (InfoGAN, Chen 2016): the purity of the categorical code, that is the share of images of its value's most common
  class: of samples by the code they were made from, as the judge sees them, and of test images by Q. One value for all
  would have 0.1.
- slopes (WGAN-GP, Gulrajani 2017): |grad D| between 1,000 test images and samples of the last weights. Near 1 it is in
  the end; a critic that maximizes s W1 - 10 (s - 1)^2 has a slope of s = 1 + W1 / 20.
- distances (WGAN, Arjovsky 2017, section 3.2): Spearman's rank correlation of the critic's estimate with the Frechet
  distance of the samples, over the looks of a run.
- features (DCGAN, Radford 2015, section 5): accuracy on 2,000 test images of a linear classifier (logistic regression)
  of 10,000 training images, by the discriminator's last map; by that of an untrained one; by pixels.

Claims, with 95 % intervals of the seeds: cgan, acgan and sagan make the class that they are told, 0.86 +- 0.01, 0.88 +-
0.05 and 0.75 +- 0.05 of their samples; projection-gan, whose generator has had 400 moves, does not yet. InfoGAN finds
classes without labels: purity 0.46 +- 0.09 of samples and 0.42 +- 0.04 of test images; figures/infogan_codes.png, a
noise a row with the ten values of its code, then its two continuous ones, has a column of trousers and columns of shoes
that are shirts for other noises; the continuous codes change little yet. wgan-gp's slopes are 1.25, 1.36 and 1.46,
above 1 and below the 1.5 to 1.6 that the critic's own W1 of 10 to 13 asks for; those of gan are 2.4. wgan's estimate
falls as its samples improve: correlations of 0.95 and 0.96 with their Frechet distance, 90 at first, 20 to 23 in the
end. A linear classifier knows 0.874 +- 0.013 of test images by dcgan's discriminator, 0.863 +- 0.014 by an untrained
one, 0.855 by pixels: training adds a point.

A quarter of an hour on two CPU cores, after the comparison. Writes results/inside_gans.json, figures/inside_gans.png
(the estimate's curve and the slopes) and figures/infogan_codes.png. Interrupted, it goes on where it was.
"""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.stats
from common import FIGURES, draw, options, report, tell
from compare_gans import IMAGES, image_config
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from solvers_on_dcgan import interval

from vaegan_jax.data import load
from vaegan_jax.data.sources import Source, gather
from vaegan_jax.evaluation.cards import kept
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.evaluation.features import classifier
from vaegan_jax.evaluation.scoring import evaluate_run
from vaegan_jax.losses.penalties import interpolates, slopes
from vaegan_jax.models import infogan
from vaegan_jax.networks.network import init_networks
from vaegan_jax.pictures import grid, png
from vaegan_jax.training.experiment import Experiment, example_range
from vaegan_jax.training.logging import read_metrics
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.reading import read
from vaegan_jax.training.run import write
from vaegan_jax.training.stopping import Interrupted

SEEDS, COUNT, PAIRS = (0, 1, 2), 2000, 1000
CONDITIONAL = ("cgan", "acgan", "projection-gan", "sagan")
TRAINING, TEST = 10_000, 2_000
LONGER, LOOKS = 5, 12
"""How many times as many images wgan sees, and how often it is scored on the way."""
WEIGHT = 10.0
"""Of wgan-gp's penalty."""
SHOWN = np.linspace(-2, 2, 10)
"""Values of a continuous code in the picture: in training it is within -1 and 1."""


def ready(runs: Path, name: str, seed: int) -> Path:
    """The comparison's run, trained first where it is not there."""
    return played(image_config(name, IMAGES, seed), runs / f"compare_gans_{IMAGES['data']}_{name}_{seed}")


def long_wgan(runs: Path, seed: int) -> Path:
    """wgan's longer run."""
    config = image_config("wgan", IMAGES, seed)
    every = LONGER * config.steps // LOOKS
    training = replace(config.training, sample_interval_steps=0, checkpoint_interval_steps=every, log_interval_steps=25)
    how = replace(config.evaluation, metrics="frechet")
    longer = replace(config, steps=every * LOOKS, evaluate_every=every, training=training, evaluation=how)
    return played(longer, runs / f"inside_gans_wgan_{seed}")


def played(config: Any, run: Path) -> Path:
    """The run, at its end."""
    try:
        if not run.exists():
            train(config, run)
        elif not (run / "summary.json").exists():
            resume(run)
    except Interrupted:
        raise SystemExit(f"stopped and saved in {run}; to go on, give the same command again") from None
    return run


def class_accuracy(run: Path) -> float:
    """The share of samples that the judge takes for what the model was told."""
    how = Evaluation(metrics="label-accuracy", features="classifier", count=COUNT)
    return evaluate_run(run, how)[0].value


def purity(codes: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose class is the most common one of their code's value."""
    common = {code: np.bincount(labels[codes == code]).argmax() for code in np.unique(codes)}
    return float(np.mean([common[code] == label for code, label in zip(codes, labels, strict=True)]))


def codes(run: Path, judge: classifier.Classifier, test: Source) -> dict[str, float]:
    """Purity of samples by their code, and of test images by Q."""
    experiment, state, _ = read(run)
    config, keys = experiment.config.model, example_range(jax.random.key(0), 0, COUNT)
    (made,), _ = infogan.codes_of(config, infogan.prior(config)(keys))
    images = generated(experiment, state, infogan.prior(config)(keys))
    named = classifier.logits(judge, images).argmax(1)
    real = gather(test, np.arange(TEST))
    logits = jax.jit(lambda x: infogan.recognize(config, experiment.spec, state.params, state.stats, x).categories[0])
    told = np.asarray(logits(scaled(real["image"]))).argmax(1)
    return {"samples": purity(np.asarray(made), named), "test images": purity(told, real["label"])}


def generated(experiment: Experiment, state, latents) -> np.ndarray:
    """Images of latents by the averaged generator."""
    params = state.params | dict(state.averages)
    make = lambda z: experiment.model.generate(experiment.config.model, experiment.spec, params, state.stats, z)  # noqa: E731
    return np.asarray(jax.jit(make)(latents))


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 as networks see them."""
    return images.astype(np.float32) / 127.5 - 1


def steepness(run: Path, test: Source) -> np.ndarray:
    """|grad D| between test images and samples, a value a pair."""
    experiment, state, _ = read(run)
    network = experiment.model.networks(experiment.config.model, experiment.spec)["discriminator"]
    real, keys = scaled(gather(test, np.arange(PAIRS))["image"]), example_range(jax.random.key(1), 0, PAIRS)
    drawn = functools.partial(experiment.model.sample, experiment.config.model, experiment.spec, train=True)
    fake, _ = jax.jit(lambda: drawn(state.params, state.stats, keys))()  # of the last weights, as in training

    def score(images):
        return network.apply(state.params["discriminator"], state.stats["discriminator"], images, train=False)[0].score

    return np.asarray(jax.jit(lambda x, g: slopes(score, interpolates(x, g, keys)))(real, fake))


def progress(run: Path) -> dict[str, list[float]]:
    """At each look: the critic's estimate, in the mean over the rounds since the one before, and the distance."""
    scores = {score.sampling.step: score.value for score in kept(run)}
    rows = [row for row in read_metrics(run) if "discriminator/real" in row]
    steps, estimates, before = sorted(scores), [], 0
    for step in steps:
        since = [row for row in rows if before < row["step"] <= step]
        estimates.append(float(np.mean([row["discriminator/real"] - row["discriminator/fake"] for row in since])))
        before = step
    return {"step": steps, "estimate": estimates, "frechet": [scores[step] for step in steps]}


def features(run: Path, train_set: Source, test: Source) -> dict[str, float]:
    """Accuracy on test images of a linear classifier, by what it is given."""
    experiment, state, _ = read(run)
    network = experiment.model.networks(experiment.config.model, experiment.spec)["discriminator"]
    fresh = init_networks({"discriminator": network}, jax.random.key(experiment.config.seed + 100))

    def look(params, stats):
        apply = lambda x: network.apply(params["discriminator"], stats["discriminator"], x, train=False)[0].features  # noqa: E731
        compiled = jax.jit(apply)
        return lambda images: np.concatenate([np.asarray(compiled(part)) for part in np.split(images, 20)])

    flat = lambda images: images.reshape(len(images), -1)  # noqa: E731
    told = {"discriminator": look(state.params, state.stats), "untrained": look(*fresh), "pixels": flat}
    return {name: linear(view, train_set, test) for name, view in told.items()}


def linear(view, train_set: Source, test: Source) -> float:
    """Accuracy of logistic regression on standardized features."""
    (x, y), (new, named) = (
        (view(scaled(part["image"])), part["label"])
        for part in (gather(train_set, np.arange(TRAINING)), gather(test, np.arange(TEST)))
    )
    return float(make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300)).fit(x, y).score(new, named))


def traversals(run: Path) -> np.ndarray:
    """Images of one noise a row: ten values of the categorical code, then of each continuous one."""
    experiment, state, _ = read(run)
    config = experiment.config.model
    rows, noises = [], infogan.prior(config)(example_range(jax.random.key(7), 0, 4))
    at = config.latent_size
    (values,) = config.categories
    for noise in np.asarray(noises):
        row = np.repeat(noise[None], values, 0)
        row[:, at : at + values] = np.eye(values)
        row[:, at + values :] = 0
        rows.append(row)
    for place in range(config.continuous):
        for noise in np.asarray(noises)[:2]:
            row = np.repeat(noise[None], len(SHOWN), 0)
            row[:, at + values :] = 0
            row[:, at + values + place] = SHOWN
            rows.append(row)
    return generated(experiment, state, np.concatenate(rows))


def picture(results: dict[str, Any]) -> Figure:
    """The critic's estimate beside the distance of the samples, and the slopes."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for seed, row in enumerate(results["distances"]):
        left.plot(row["step"], row["estimate"], "o-", color=f"C{seed}", markersize=3, label=f"seed {seed}")
        middle.plot(row["step"], row["frechet"], "o-", color=f"C{seed}", markersize=3)
    left.set(title="wgan: estimate of W1, up to a factor", xlabel="round", ylim=(0, None))
    middle.set(title="wgan: FD-classifier", xlabel="round", yscale="log", ylim=(10, 100))
    middle.set_yticks([10, 20, 50, 100], ["10", "20", "50", "100"])
    middle.minorticks_off()
    left.legend(fontsize=8)
    for name, values in results["slopes drawn"].items():
        right.hist(values, bins=60, density=True, histtype="step", label=name)
    right.axvline(1, color="0.6", linewidth=0.8)
    right.set(title="|grad D|, seed 0, 1,000 pairs", xlabel="slope")
    right.legend(fontsize=8)
    return figure


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, by these numbers."""
    told = {name: min(values) for name, values in results["classes"].items()}
    steep = {name: [row["mean"] for row in rows] for name, rows in results["slopes"].items()}
    by = {name: [row[name] for row in results["features"]] for name in results["features"][0]}
    return {
        "cgan, acgan and sagan make the class that they are told": min(told[n] for n in ("cgan", "acgan", "sagan"))
        > 0.7,
        "projection-gan does not yet": told["projection-gan"] < 0.2,
        "Q finds classes without labels": min(row["test images"] for row in results["codes"]) > 0.3,
        "wgan-gp's mean slope is above 1, but not above what its distance asks for, a gan's above 2": bool(
            all(1 < row["mean"] < row["asked"] for row in results["slopes"]["wgan-gp"]) and min(steep["gan"]) > 2
        ),
        "the critic's estimate falls with the distance": min(row["correlation"] for row in results["distances"]) > 0.8,
        "a discriminator's features tell more than pixels": bool(min(by["discriminator"]) > max(by["pixels"])),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="(default: %(default)s)")
    arguments = parser.parse_args()
    runs, seeds = arguments.runs, range(arguments.seeds)
    data = {split: load(IMAGES["data"], split) for split in ("train", "test")}
    judge = classifier.trained(data["train"], data["test"])
    results: dict[str, Any] = {"judge": judge.accuracy}
    results["classes"] = {name: [class_accuracy(ready(runs, name, seed)) for seed in seeds] for name in CONDITIONAL}
    results["codes"] = [codes(ready(runs, "infogan", seed), judge, data["test"]) for seed in seeds]
    steep = {name: [steepness(ready(runs, name, seed), data["test"]) for seed in seeds] for name in ("wgan-gp", "gan")}
    results["slopes"] = {
        name: [{"mean": float(v.mean()), "deviation": float(v.std())} for v in values] for name, values in steep.items()
    }
    for seed, row in zip(seeds, results["slopes"]["wgan-gp"], strict=True):
        row["asked"] = 1 + progress(ready(runs, "wgan-gp", seed))["estimate"][-1] / row["mean"] / (2 * WEIGHT)
    rows = [progress(long_wgan(runs, seed)) for seed in seeds]
    for row in rows:
        row["correlation"] = float(scipy.stats.spearmanr(row["estimate"], row["frechet"]).statistic)
    results["distances"] = rows
    results["features"] = [features(ready(runs, "dcgan", seed), data["train"], data["test"]) for seed in seeds]
    told = claims(results)
    drawn = {"slopes drawn": {name: values[0] for name, values in steep.items()}}
    draw("inside_gans", picture(results | drawn))
    write(FIGURES / "infogan_codes.png", png(grid(traversals(ready(runs, "infogan", 0)), 10)))
    report("inside_gans", {"claims": told, **results}, list(seeds))
    for name, values in results["classes"].items():
        print(f"{name:16} class accuracy {interval(values)}")
    for part in ("codes", "features"):
        for name in results[part][0]:
            print(f"{part}: {name:16} {interval([row[name] for row in results[part]])}")
    for name, values in results["slopes"].items():
        print(f"{name:16} slopes {[round(row['mean'], 3) for row in values]}")
    print(f"correlations {[round(row['correlation'], 2) for row in rows]}")
    tell(told)


if __name__ == "__main__":
    main()
