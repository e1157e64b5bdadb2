"""Every adversarial model by the command line: on clothes, and on a folder of 64x64 pictures in color.

    python experiments/every_model.py

The folder is of emoji without their variants of skin tone, in a subfolder for each category, prepared by `vaegan data
prepare`, as a user's own pictures would be. Each model trains by `vaegan train NAME --data SET`, with the paper's
settings but a width of 16 (BigGANs are in biggan_cifar.py), in batches of 32, with averages of a short half-life, and
is sampled by `vaegan sample`, the conditional ones a column a class. It sees 64,000 clothes or 28,800 emoji; residual
networks, which at 64 pixels take a tenth of a second an image, 9,600.

Claim: every command ends well, and no two images of a grid are alike. What the grids show of so short a training is
no more than a beginning. Most have clothes, told the class the right ones; wgan, wgan-gp and lgan soft shapes (five
moves of the critic leave 400 of the generator), projection-gan after 9,600 images and coulomb-gan patches of their
size, and began nearly nothing (of its k compare_gans.py tells). Of emoji most have the light ground, a shape in the
middle and colors, cgan's by category; ebgan and dragan make one image, and lsgan, wgan, lgan, coulomb-gan and began are
gray still.

An hour on two CPU cores, after `python experiments/fetch_data.py fashion_mnist emoji`. Writes runs/every_model,
figures/every_model_clothes.png and figures/every_model_emoji.png. Interrupted, it goes on where it was.
"""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import draw, options, report, tell
from compare_gans import NAMES
from matplotlib.figure import Figure
from PIL import Image

from vaegan_jax.data import load
from vaegan_jax.errors import UserError
from vaegan_jax.models import CONFIGS

IMAGES = {"clothes": 64_000, "emoji": 28_800}
OF_RESIDUAL_NETWORKS = {"clothes": 9_600, "emoji": 9_600}
RESIDUAL = ("projection-gan", "sngan", "sagan")
BATCH, SHOWN, CLASSES, ACROSS = 32, 20, 10, 5
FOLDER = "image_folder/emoji_by_category"
SETS = {"emoji": FOLDER, "clothes": "fashion_mnist"}


def vaegan(*words: object) -> None:
    """A command, in a process of its own. SystemExit with its line where it fails."""
    done = subprocess.run([sys.executable, "-m", "vaegan_jax", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise SystemExit(f"every_model: vaegan {' '.join(map(str, words))}: {last}")


def prepared(place: Path) -> None:
    """Writes the folder of pictures and prepares it, where it is not there yet."""
    try:
        load(FOLDER, "train")
        return
    except UserError:
        pass  # not prepared yet
    for split in ("train", "test"):
        source = load("emoji", split)
        skin = [name for name, _ in source.spec.attributes].index("skin")
        for index in range(len(source)):
            example = source.example(index)
            if not example["attributes"][skin]:
                folder = place / split / source.spec.class_names[int(example["label"])].replace(" ", "_")
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.asarray(example["image"])).save(folder / f"{index:05d}.png")
    vaegan("data", "prepare", FOLDER, "--from", place)


def played(run: Path, name: str, title: str) -> Path:
    """The arrays of samples of a model on a set, which is trained first."""
    images = (OF_RESIDUAL_NETWORKS if name in RESIDUAL else IMAGES)[title]
    rounds = images // (BATCH * CONFIGS[name]().discriminator_moves)
    samples = run / f"sampled_after_{rounds}.npz"
    if not samples.exists():
        if run.exists():
            vaegan("resume", run, "--steps", rounds)
        else:
            often = ["--training.sample-interval-steps", 0, "--training.checkpoint-interval-steps", 100]
            often += ["--training.ema-halflife-kimg", 1]  # by default half of the average would be the first weights
            how = ["--model.width", 16, "--steps", rounds, "--batch-size", BATCH, *often]
            vaegan("train", name, "--data", SETS[title], *how, "--run", run)
        told = CONFIGS[name]().condition != "none"
        labels = ["--label", *range(CLASSES)] if told else []
        vaegan("sample", run, "--count", SHOWN, "--output", samples, *labels)
    return samples


def picture(title: str, grids: dict[str, np.ndarray]) -> Figure:
    """All grids of a set, a panel a model."""
    down = math.ceil(len(grids) / ACROSS)
    figure = Figure(figsize=(2.6 * ACROSS, 0.8 * down + 0.4), layout="constrained")
    figure.suptitle(
        f"{title}: {IMAGES[title]:,} images seen ({OF_RESIDUAL_NETWORKS[title]:,} by residual networks), width 16"
    )
    for panel, (name, images) in zip(figure.subplots(down, ACROSS).ravel(), grids.items(), strict=False):
        rows = np.concatenate(list(np.concatenate(list(images.reshape(-1, CLASSES, *images.shape[1:])), 1)), 1)
        panel.imshow(rows.squeeze(), cmap="gray", vmin=0, vmax=255)
        panel.set_title(name, fontsize=9)
    for panel in figure.axes:
        panel.axis("off")
    return figure


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    return {
        f"all {len(models)} models on {title}: no two samples alike": all(
            row["unlike"] == SHOWN for row in models.values()
        )
        for title, models in results["sets"].items()
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--models", nargs="*", default=list(NAMES), choices=NAMES, metavar="MODEL")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS), metavar="SET")
    arguments = parser.parse_args()
    place = arguments.runs / "every_model"
    prepared(place / "pictures")
    results = {}
    for title in arguments.sets:
        grids = {}
        for name in arguments.models:
            grids[name] = np.load(played(place / f"{title}-{name}", name, title))["image"]
            spread, unlike = float(grids[name].std(0).mean()), len({image.tobytes() for image in grids[name]})
            results.setdefault(title, {})[name] = {"gray levels between samples": spread, "unlike": unlike}
            print(f"{title:8} {name:16} {spread:.1f} levels between samples", flush=True)
        draw(f"every_model_{title}", picture(title, grids))
    told = claims({"sets": results})
    report("every_model", {"sets": results, "claims": told}, [0])
    tell(told)


if __name__ == "__main__":
    main()
