"""A VAE and a DCGAN, trained with the command line's defaults, draw things that are clearly clothes.

    python experiments/first_light.py

On two CPU cores: about a minute for the VAE, about ten for the DCGAN. Writes both runs to runs/first_light_vae and
runs/first_light_gan, and beside this file figures/first_light.png, the README's picture, and results/first_light.json
with the losses, the speeds and the configurations. Interrupted, it goes on where it was.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from vaegan_jax.data import load
from vaegan_jax.data.batches import order
from vaegan_jax.models import gan, vae
from vaegan_jax.pictures import grid, png, side_by_side
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.reading import inspect, sample
from vaegan_jax.training.run import provenance, write
from vaegan_jax.training.showing import images

HERE = Path(__file__).parent
SHOWN = 36
"""Images of each kind in the picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gan-steps", type=int, default=2500, help="rounds of the DCGAN")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the two runs go")
    arguments = parser.parse_args()
    configs = {
        "vae": RunConfig(vae.Config()),
        "gan": RunConfig(gan.Config(), steps=arguments.gan_steps),
    }
    source = load("fashion_mnist_small", "train")
    sheets = {"data": grid(images(source, order(0, 0, len(source))[:SHOWN]))}
    results = {}
    for name, config in configs.items():
        run = arguments.runs / f"first_light_{name}"
        run = resume(run, config.steps) if run.exists() else train(config, run)
        drawn, sampled_with = sample(run, SHOWN)
        sheets[f"{name}, round {config.steps:,}"] = grid(drawn)
        speeds = [json.loads(line)["images_per_second"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        facts = inspect(run)
        results[name] = {
            "images_per_second_median": float(np.median(speeds)),
            "sampled_with": sampled_with,
            "metrics": facts["metrics"],
            "config": facts["config"],
        }
    write(HERE / "figures" / "first_light.png", png(side_by_side(sheets)))
    write(HERE / "results" / "first_light.json", json.dumps(results | provenance(), indent=2) + "\n")


if __name__ == "__main__":
    main()
