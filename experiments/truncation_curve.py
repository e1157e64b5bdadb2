"""Truncation trades variety for fidelity, and some classes are easier than others (Brock et al. 2018, figures 2 and 4).

    python experiments/truncation_curve.py                       # the small BigGAN of batch_size_study.py
    python experiments/truncation_curve.py --run DIR             # any run with a normal prior; on a GPU as well

Entries of z beyond a threshold are drawn again, at thresholds from 2 down to 0.04, with batch statistics taken at the
same threshold. Of the small BigGAN (one run; 40,960 clothes, width 8; 2,000 samples a threshold, classifier's
features): recall falls with the threshold, from 0.09 without one to none at 0.5 and below, where all samples of a
class look alike, and the Frechet distance grows all the way, from 10.1 to 26.6. So variety is lost as in the paper;
fidelity is not won: precision should rise and does not (0.79, at 0.5 0.77), for so short a training has not yet
made samples that are bad because their z is far out, it seems. Classes differ: the data's own classifier recognizes
all of 200 trousers, bags and boots, and 23 % of the shirts.

figures/truncation_curve.png has the curve; figures/truncation_grids.png samples of each class at thresholds 2, 1, 0.5
and 0.04, from the same keys, and figures/truncation_classes.png 32 of the easiest and of the hardest class.

Minutes on two CPU cores, once the run is there. Writes results/truncation_curve.json.
"""

from pathlib import Path
from typing import Any

import numpy as np
from batch_size_study import PARTS, config_of
from biggan_cifar import trained
from common import FIGURES, draw, options, report, tell
from dcgan_fashion import in_few_colors
from matplotlib.figure import Figure

from vaegan_jax.data import load, located
from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import features
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.evaluation.features.extractor import extract
from vaegan_jax.evaluation.scoring import evaluate_truncations
from vaegan_jax.pictures import grid, side_by_side, to_uint8
from vaegan_jax.training.reading import read, sample
from vaegan_jax.training.run import write

THRESHOLDS: tuple[float | None, ...] = (None, 2.0, 1.5, 1.0, 0.75, 0.5, 0.25, 0.04)
SHOWN, OF_A_CLASS, ROWS = (2.0, 1.0, 0.5, 0.04), 200, 6


def default_run(runs: Path) -> Path:
    """The run of `batch_size_study.py` with the most rounds, trained if it is not there."""
    how = PARTS["small"]
    run = runs / f"batch_size_study_{how['data']}_fixed_32_0"
    trained(config_of(how, "fixed", 32, 0), run)
    return run


def curve(run: Path, how: Evaluation) -> list[dict[str, Any]]:
    """Every score at every threshold."""
    return [
        {"threshold": cut, **{score.name: score.value for score in scores}}
        for cut, scores in evaluate_truncations(run, THRESHOLDS, how).items()
    ]


def by_class(run: Path, how: Evaluation) -> dict[str, float]:
    """The share of each class's samples that the classifier of the data takes for that class."""
    experiment, _, _ = read(run)
    name, size = located(experiment.config.data), experiment.config.image_size
    train, test = (load(name, split, size) for split in ("train", "test"))
    network, _ = features.choose(how, train, test, experiment.spec.image_shape)
    spec, found = experiment.spec, {}
    for label in range(spec.classes):
        images, _ = sample(run, OF_A_CLASS, how.seed, [str(label)])
        logits = np.concatenate([out["logits"] for out in extract(network, [to_uint8(images)])])
        title = spec.class_names[label] if spec.class_names else str(label)
        found[title] = float((logits.argmax(1) == label).mean())
    return found


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Scores over the threshold, and precision over recall."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    ticks, distance = np.arange(len(rows)), _distance(rows)
    titles = ["none" if row["threshold"] is None else f"{row['threshold']:g}" for row in rows]
    left.plot(ticks, [row[distance] for row in rows], marker="o", color=COLORS[0])
    left.set(ylabel=distance, xlabel="threshold of truncation", ylim=(0, None))
    left.set_xticks(ticks, titles)
    recall, precision = ([row[name] for row in rows] for name in _both(rows))
    right.plot(recall, precision, marker="o", color=COLORS[1])
    for title, x, y in zip(titles, recall, precision, strict=True):
        right.annotate(title, (x, y), (4, 4), textcoords="offset points")
    right.set(xlabel="recall (variety)", ylabel="precision (fidelity)", xlim=(-0.02, None))
    return figure


def _distance(rows: list[dict[str, Any]]) -> str:
    return next(name for name in rows[0] if name.startswith(("F", "f")) and name != "threshold")


def _both(rows: list[dict[str, Any]]) -> tuple[str, str]:
    recall, precision = (next(name for name in rows[0] if word in name.lower()) for word in ("recall", "precision"))
    return recall, precision


def claims(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    distance, (recall, precision) = _distance(rows), _both(rows)
    least = min(row[distance] for row in rows)
    return {
        "recall falls with the threshold": bool((np.diff([row[recall] for row in rows]) <= 0.02).all()),
        "to none at 0.04": rows[-1][recall] < 0.02,
        "precision is higher at 0.5 than without truncation": rows[5][precision] > rows[0][precision],
        "the Frechet distance is worst at 0.04": rows[-1][distance] == max(row[distance] for row in rows),
        "and least at a threshold above 0.5, or none": least in [row[distance] for row in rows[:5]],
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--run", type=Path, help="whose samples are truncated (default: see above)")
    parser.add_argument("--features", default="classifier", help="what distances are of (default: %(default)s)")
    parser.add_argument("--count", type=int, default=2000, help="samples of each threshold (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        run = arguments.run or default_run(arguments.runs)
        how = Evaluation("frechet,precision-recall", arguments.features, count=arguments.count)
        rows, classes = curve(run, how), by_class(run, Evaluation(features="classifier"))
        names = list(classes)
        labels = [str(number) for number in range(min(len(names), 10))]
        sheets = {
            f"threshold {cut:g}": grid(sample(run, ROWS * len(labels), 0, labels, cut)[0], len(labels)) for cut in SHOWN
        }
        ranked = sorted(names, key=lambda name: -classes[name])
        ends = {
            f"{name}: {classes[name]:.0%}": grid(sample(run, 32, 0, [str(names.index(name))])[0], 8)
            for name in (ranked[0], ranked[-1])
        }
    except UserError as error:
        raise SystemExit(f"truncation_curve: {error}") from None
    draw("truncation_curve", picture(rows))
    write(FIGURES / "truncation_grids.png", in_few_colors(side_by_side(sheets)))
    write(FIGURES / "truncation_classes.png", in_few_colors(side_by_side(ends)))
    for row in rows:
        print("  ".join(f"{name} {value if value is None else round(value, 3)}" for name, value in row.items()))
    print("recognized:", ", ".join(f"{name} {classes[name]:.2f}" for name in ranked))
    report("truncation_curve", {"rows": rows, "recognized": classes, "run": run.name}, [how.seed])
    tell(claims(rows))


if __name__ == "__main__":
    main()
