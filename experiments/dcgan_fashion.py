"""A DCGAN learns outlines in one epoch of Fashion-MNIST, and tops, trousers, dresses and shoes in five.

    python experiments/dcgan_fashion.py

Claim: width 32, 28 pixels, batches of 128, all else as `vaegan train gan` has it (Adam 2e-4, averaged generator), and
60,000 images an epoch. The pictures say it: figures/dcgan_fashion.png (data, epochs 1, 5 and 8 from the same latents)
and figures/dcgan_fashion.gif (those latents from the first rounds to the last). After epoch 1 there are blotches in the
outlines of clothes; after 5 most are clothes; epoch 8 adds little; shoes are ragged and a few of 36 in pieces. 15
minutes on two CPU cores that others used, too, once `python experiments/fetch_data.py fashion_mnist` has brought the
data. Writes runs/dcgan_fashion and results/dcgan_fashion.json, with the losses and speeds. Interrupted, it goes on
where it was.
"""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import FIGURES, options, report, rounds_of, through_epochs
from PIL import Image

from vaegan_jax.data import Source, load
from vaegan_jax.data.batches import order
from vaegan_jax.models import gan
from vaegan_jax.pictures import gif, grid, png, side_by_side
from vaegan_jax.training.config import RunConfig, TrainingConfig, to_json
from vaegan_jax.training.logging import read_metrics
from vaegan_jax.training.reading import sample
from vaegan_jax.training.run import read_config, write
from vaegan_jax.training.showing import images

FRAMES = 24
"""Grids in the animation, about."""


def draw_samples(run: Path) -> dict:
    """Grid and losses of a run as it stands: the grid into its folder, by round."""
    config, _ = read_config(run)
    drawn, sampled_with = sample(run, config.training.sample_count)
    last = read_metrics(run)[-1]
    write(run / f"grid-{last['step']:06d}.png", png(grid(drawn)))
    return {"sampled_with": sampled_with, "metrics": last}


def in_few_colors(picture: np.ndarray) -> bytes:
    """A PNG file of 256 colors, which is a third of the size."""
    file = io.BytesIO()
    Image.fromarray(picture).quantize(256, Image.Quantize.MEDIANCUT).save(file, "png", optimize=True)
    return file.getvalue()


def experiment(name: str, config: RunConfig, source: Source, epochs: list[int], runs: Path) -> None:
    """Trains, draws the grids of the epochs beside the data and the animation, and reports."""
    run, shown = runs / name, config.training.sample_count
    rows = through_epochs(config, run, source, epochs, draw_samples)
    sheets = {"data": grid(images(source, order(config.seed, 0, len(source))[:shown]))}
    for row in rows:
        sheets[f"epoch {row['epoch']}"] = np.asarray(Image.open(run / f"grid-{row['step']:06d}.png"))
    write(FIGURES / f"{name}.png", in_few_colors(side_by_side(sheets)))
    frames = [np.asarray(Image.open(path)) for path in sorted((run / "samples").glob("step-*.png"))]
    write(FIGURES / f"{name}.gif", gif([frame[::2, ::2] for frame in frames], 150))  # at full size it has megabytes
    metrics = read_metrics(run)
    seen = np.diff([0] + [row["images"] for row in metrics])
    seconds = sum(seen / [row["images_per_second"] for row in metrics])
    results = {
        "epochs": rows,
        "examples": len(source),
        "images_per_second_median": float(np.median([row["images_per_second"] for row in metrics])),
        "training_minutes": seconds / 60,
        "frames": len(frames),
        "config": to_json(replace(config, steps=rows[-1]["step"])),
    }
    report(name, results, [config.seed])
    print(f"written: figures/{name}.png, figures/{name}.gif, results/{name}.json")


def drawing(config: RunConfig, source: Source, epochs: int, shown: int = 36) -> RunConfig:
    """The configuration with a grid of so many images `FRAMES` times until its last epoch."""
    interval = max(1, rounds_of(config, source, epochs) // FRAMES)
    return replace(config, training=TrainingConfig(sample_interval_steps=interval, sample_count=shown))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--width", type=int, default=32, help="channels of the first layer (default: %(default)s)")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 5, 8], help="shown (default: 1 5 8)")
    arguments = parser.parse_args()
    source = load("fashion_mnist", "train")
    config = RunConfig(gan.Config(width=arguments.width), data="fashion_mnist", seed=arguments.seed)
    config = drawing(config, source, arguments.epochs[-1])
    experiment("dcgan_fashion", config, source, arguments.epochs, arguments.runs)


if __name__ == "__main__":
    main()
