"""Straight lines between latents leave the prior's shell, great circles stay on it: how much do the images show of it?

    python experiments/interpolation.py

White 2016 ("Sampling generative networks") recommends great circles. Of two latents from N(0, I) in d dimensions the
point at share t of the line is N(0, s^2 I) with s^2 = (1 - t)^2 + t^2: its norm is s times chi's, 0.71 times at the
middle; on the great circle it is (1 - t) |a| + t |b|, whose mean is that of the prior. Protocol: the DCGANs of
`first_epochs.py` after 15 epochs, 100 latents, 2,000 pairs at shares 0 to 1/2, 3 seeds; Frechet distance, precision and
recall to 2,000 training images in features of the clothes' classifier.

Claims: all norms and their deviations are as in closed form, within 4 standard errors; the line's middle, 7.05, is
shorter than all but 1 in 10,000 of the prior's latents. Images of great circles are as near to the data as the prior's
own, within 0.3. Those of lines' middles are farther away, by 1.7 +- 1.4, seed by seed: they have less
recall (-0.15 +- 0.13) and more precision (+0.08 +- 0.02), as truncation has. It takes these
numbers to see it: a pair's two middles differ by 24 % of what its ends differ by, and in figures/interpolation.png
both paths look alike, the line's images a little plainer.

One minute on two CPU cores, after `first_epochs.py`, whose runs it makes if they are not there. Writes
runs/interpolation, results/interpolation.json and figures/interpolation.png. Interrupted, it goes on where it was.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import draw, options, report, tell
from first_epochs import CONFIG, SEEDS
from first_epochs import measure as trained
from matplotlib.figure import Figure
from scipy.stats import chi
from solvers_on_dcgan import interval

from vaegan_jax.data import load
from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.editing.interpolation import images_of
from vaegan_jax.evaluation.features import classifier
from vaegan_jax.evaluation.features.extractor import Extractor, extract
from vaegan_jax.evaluation.frechet import distance_of_features
from vaegan_jax.evaluation.neighbors import precision_recall
from vaegan_jax.latents import great_circle, line
from vaegan_jax.pictures import grid, to_uint8
from vaegan_jax.training.experiment import Experiment, example_range, weights_for_sampling
from vaegan_jax.training.reading import read
from vaegan_jax.training.run import write

PATHS = {"line": line, "great circle": great_circle}
SHARES, PAIRS, SHOWN = (0.0, 0.125, 0.25, 0.375, 0.5), 2000, 4
"""Up to the middle: beyond it both paths are the same with their ends exchanged."""


def norms(size: int, share: float) -> dict[str, tuple[float, float]]:
    """Mean and deviation of |z| at this share of each path between two latents from N(0, I), in closed form.

    On the line z is N(0, s^2 I), s^2 = (1 - t)^2 + t^2, so |z| / s is chi; on the great circle |z| is
    (1 - t) |a| + t |b|, two independent chis.
    """
    narrower = float(np.hypot(1 - share, share))
    mean, deviation = float(chi.mean(size)), float(chi.std(size))
    return {"line": (narrower * mean, narrower * deviation), "great circle": (mean, narrower * deviation)}


def ends(experiment: Experiment, seed: int, count: int) -> tuple[jax.Array, jax.Array]:
    """Two latents of the prior for each pair, (count, d) each."""
    prior = experiment.model.prior(experiment.config.model)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 7))
    return tuple(prior(example_range(key, 0, count)) for key in keys)


def looked_at(experiment: Experiment, params, stats, network: Extractor, real: np.ndarray, seed: int, count: int):
    """Norms of latents and scores of their images along both paths, a row a path and share; how far apart middles are.

    That is the root of the mean squared difference of pixels between a pair's two middles, over that between its ends.
    """
    a, b = ends(experiment, seed, count)
    rows, kept = [], {}
    for name, path in PATHS.items():
        for share in SHARES:
            z = along(path, a, b, share)
            images = kept[name, share] = to_uint8(images_of(experiment, params, stats, z))
            told = scored(network, real, images)
            length = np.linalg.norm(np.asarray(z, np.float64), axis=1)
            rows.append(
                {"path": name, "share": share, "norm": length.mean(), "norm_deviation": length.std(ddof=1)} | told
            )
    other = to_uint8(images_of(experiment, params, stats, b))
    apart = [
        float(np.sqrt(np.square(x.astype(float) - y).mean()))
        for x, y in ((kept["line", 0.5], kept["great circle", 0.5]), (kept["line", 0.0], other))
    ]
    return rows, apart[0] / apart[1]


def along(path, a: jax.Array, b: jax.Array, share: float) -> jax.Array:
    """The point at this share of the path of every pair, (n, d)."""
    return jax.vmap(lambda a, b: path(a, b, jnp.array([share]))[0])(a, b)


def scored(network: Extractor, real: np.ndarray, images: np.ndarray) -> dict[str, float]:
    """Frechet distance, precision and recall of images against features of real ones."""
    fake = np.concatenate([outputs["features"] for outputs in extract(network, [images])])
    near = precision_recall(real, fake)
    return {
        "frechet": distance_of_features(real, fake).distance,
        "precision": near.precision,
        "recall": near.recall,
    }


def measure(runs: Path, folders: dict[int, Path], count: int = PAIRS) -> dict[str, Any]:
    """Both paths of the run of every seed, kept as soon as it is there."""
    train, test = load(CONFIG.data, "train"), load(CONFIG.data, "test")
    rows, apart, size = [], [], CONFIG.model.latent_size
    for seed, folder in folders.items():
        path = runs / f"{folder.name}-{count}.json"
        if not path.exists():
            network = classifier.extractor(classifier.trained(train, test))
            real = np.concatenate([out["features"] for out in extract(network, [train.arrays["image"][:count]])])
            experiment, state, _ = read(folder)
            params, stats, _ = weights_for_sampling(experiment, state)
            told, ratio = looked_at(experiment, params, stats, network, real, seed, count)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, json.dumps({"rows": told, "middles_apart": ratio}))
        told = json.loads(path.read_text())
        apart.append(told["middles_apart"])
        rows += [{"seed": seed, **row} for row in told["rows"]]
        print(
            f"seed {seed}:",
            *(f"{row['path']} {row['share']}: {row['frechet']:.2f}" for row in told["rows"]),
            flush=True,
        )
    return {
        "summary": summary(rows) | {"middles apart": interval(apart)},
        "rows": rows,
        "latent_size": size,
        "pairs": count,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and 95 % interval over the seeds of everything measured, by path, a list over the shares.

    "line less circle" is that of the differences at the middle, seed by seed.
    """
    names = ("frechet", "precision", "recall", "norm", "norm_deviation")
    by = {path: [[row for row in rows if (row["path"], row["share"]) == (path, at)] for at in SHARES] for path in PATHS}
    told = {path: {name: [interval([r[name] for r in at]) for at in by[path]] for name in names} for path in PATHS}
    middles = list(zip(*(by[path][-1] for path in PATHS), strict=True))
    return told | {"line less circle": {name: interval([a[name] - b[name] for a, b in middles]) for name in names[:3]}}


def less_prior(results: dict[str, Any], path: str, name: str) -> np.ndarray:
    """What was measured along a path less what it is at its end, the prior's, (seeds, shares)."""
    values = [row[name] for row in results["rows"] if row["path"] == path]
    table = np.array(values).reshape(-1, len(SHARES))
    return table - table[:, :1]


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    told, size = results["summary"], results["latent_size"]
    count = results["pairs"] * told["middles apart"]["count"]
    off = []
    for path in PATHS:
        for at, share in enumerate(SHARES):
            mean, deviation = norms(size, share)[path]
            off.append(abs(told[path]["norm"][at]["mean"] - mean) / deviation * count**0.5)
            off.append(abs(told[path]["norm_deviation"][at]["mean"] - deviation) / deviation * (2 * count) ** 0.5)
    less = told["line less circle"]
    half = {name: less[name]["half_width"] or 0 for name in less}
    off_prior = np.abs(less_prior(results, "great circle", "frechet"))
    return {
        "norms and their deviations are those of the closed form, within 4 standard errors": max(off) < 4,
        "the middle of a line is shorter than all but 1 in 10,000 latents of the prior": chi.cdf(
            told["line"]["norm"][-1]["mean"], size
        )
        < 1e-4,
        "images of great circles are as near to the data as the prior's, within 0.3 in every seed": off_prior.max()
        < 0.3,
        "those of lines' middles are farther away, seed by seed": less["frechet"]["mean"] > half["frechet"],
        "and less diverse": less["recall"]["mean"] < -half["recall"],
        "but more precise": less["precision"]["mean"] > half["precision"],
    }


def strips(folder: Path, seed: int) -> np.ndarray:
    """Images along both paths, as a picture: a row a path, the line's above the great circle's of the same pair."""
    experiment, state, _ = read(folder)
    params, stats, _ = weights_for_sampling(experiment, state)
    a, b = ends(experiment, seed, SHOWN)
    shares = jnp.linspace(0, 1, 2 * len(SHARES) - 1)
    z = jnp.concatenate([path(*pair, shares) for pair in zip(a, b, strict=True) for path in PATHS.values()])
    return grid(images_of(experiment, params, stats, z), len(shares))


def picture(results: dict[str, Any], sheet: np.ndarray) -> Figure:
    """Norms with the prior's, what becomes of distance and recall, and the images."""
    figure = Figure(figsize=(13, 6.2), layout="constrained")
    lines, images = figure.subfigures(1, 2, width_ratios=(1, 1.05))
    above, *scores = lines.subplots(3, 1, sharex=True, height_ratios=(1.5, 1, 1))
    size, fine = results["latent_size"], np.linspace(0, 0.5, 60)
    above.axhspan(*chi.ppf((0.001, 0.999), size), color="0.9", label="99.8 % of the prior")
    for place, name in enumerate(PATHS):
        color = COLORS[(0, 3)[place]]
        mean, deviation = np.array([norms(size, share)[name] for share in fine]).T
        above.plot(fine, mean, "-", color=color, linewidth=1)
        above.fill_between(fine, mean - 2 * deviation, mean + 2 * deviation, color=color, alpha=0.2)
        above.plot(SHARES, [one["mean"] for one in results["summary"][name]["norm"]], "o", color=color, label=name)
        for axes, title in zip(scores, ("frechet", "recall"), strict=True):
            table = less_prior(results, name, title)
            axes.plot(SHARES, table.mean(0), "o-", color=color)
            axes.plot(SHARES, table.T, "-", color=color, linewidth=0.7, alpha=0.6)
    above.set(ylabel="|z|", title=f"z of {size} dimensions; dots: measured", ylim=(5.5, 12.9))
    scores[0].set(ylabel="Frechet distance", title="images: less that of the prior's; mean and seeds")
    scores[1].set(ylabel="recall", xlabel="share of the way")
    above.legend(fontsize=8, loc="lower left")
    for axes in (above, *scores):
        axes.grid(alpha=0.3)
    axes = images.subplots()
    axes.imshow(sheet)
    axes.set_xticks([])
    rows = [name for _ in range(SHOWN) for name in PATHS]
    axes.set_yticks((np.arange(len(rows)) + 0.5) * len(sheet) / len(rows), rows)
    return figure


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="(default: 0 1 2)")
    arguments = parser.parse_args()
    runs = arguments.runs / "first_epochs"
    trained(runs, load(CONFIG.data, "train"), arguments.seeds)
    folders = {seed: runs / f"seed-{seed}" for seed in arguments.seeds}
    results = measure(arguments.runs / "interpolation", folders)
    told = claims(results)
    report("interpolation", {"claims": told, **results}, arguments.seeds)
    draw("interpolation", picture(results, strips(folders[arguments.seeds[0]], arguments.seeds[0])))
    tell(told)


if __name__ == "__main__":
    main()
