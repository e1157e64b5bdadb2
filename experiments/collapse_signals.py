"""What the collapse detector sees of healthy trainings and of provoked collapses: on what its bounds were tried.

    python experiments/collapse_signals.py

Small models on the embedded clothes, batches of 32, one seed each; layers and samples are watched every 100 rounds.
Healthy are the models as their papers have them. Provoked: a generator with a far too large rate, dense (0.05) and
convolutional (0.02), and a Wasserstein critic that is not clipped. Of each run are told the extremes of what the bounds
are for, over all of its rounds: the largest jump of a layer's largest singular value; the share of images on which the
discriminator has nothing to learn, the slope of a critic and the variance of samples, the worst that lasted for 500
rounds; and the signals that were given, with their rounds.

Claims: no healthy run gives a signal, and each provoked one does: the dense generator's variance (1.5 % of the data's,
after 1,900 rounds), the convolutional one's spectra (3.4 times their median, after 800), the critic's saturation (a
slope of 18, after 1,340). The dense one's discriminator wins for all images at times, but at no time for 500 rounds.

Half an hour on two CPU cores. Writes runs/collapse_signals_*, results/collapse_signals.json. `--runs` and `--only`
choose; interrupted, it goes on where it was.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from common import options, report, tell

from vaegan_jax.models import CONFIGS
from vaegan_jax.training import collapse
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.logging import read_metrics
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.stopping import Diverged, Interrupted

DENSE = {"network": "mlp", "hidden_sizes": (64,), "latent_size": 16}
SMALL = {"width": 8, "latent_size": 16}


def faster(config: Any, rate: float) -> Any:
    """With another rate of the generator."""
    return replace(config, generator_optimizer=replace(config.generator_optimizer, learning_rate=rate))


def cases() -> dict[str, tuple[Any, int, tuple[str, ...]]]:
    """By title the model, its rounds, and the signals that it is to give."""
    gan, dcgan = CONFIGS["gan"](**DENSE), CONFIGS["dcgan"](**SMALL)
    healthy = {
        "vae": CONFIGS["vae"](hidden_sizes=(64,)),
        "gan, dense": gan,
        "dcgan": dcgan,
        "hinge-gan": CONFIGS["hinge-gan"](**SMALL),
        "wgan": CONFIGS["wgan"](**SMALL),
        "wgan-gp": CONFIGS["wgan-gp"](**SMALL),
        "sngan": CONFIGS["sngan"](**SMALL),
        "sagan": CONFIGS["sagan"](**SMALL),
        "biggan": CONFIGS["biggan"](width=8, latent_size=18),
    }
    rounds = {"sngan": 1200, "sagan": 1200, "biggan": 1200}
    found = {title: (model, rounds.get(title, 2000), ()) for title, model in healthy.items()}
    return found | {
        "gan, dense, G's rate 0.05": (faster(gan, 0.05), 2000, ("variance",)),
        "dcgan, G's rate 0.02": (faster(dcgan, 0.02), 2000, ("spectra",)),
        "wgan, not clipped": (CONFIGS["wgan"](**SMALL | {"clip": 0.0}), 2000, ("saturation",)),
    }


def trained(title: str, model: Any, rounds: int, runs: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of a run, which goes on where it was, and how it diverged, if it did."""
    folder = runs / f"collapse_signals_{title.replace(', ', '-').replace(' ', '-').replace(chr(39), '')}"
    training = TrainingConfig(log_interval_steps=20, sample_interval_steps=0, checkpoint_interval_steps=500)
    config = RunConfig(model, "fashion_mnist_small", steps=rounds, batch_size=32, training=training, watch_every=100)
    diverged = ""
    if not (folder / "summary.json").exists():
        try:
            resume(folder) if folder.exists() else train(config, folder)
        except Diverged as error:
            diverged = str(error)
        except Interrupted:
            raise SystemExit(f"stopped and saved in {folder}; to go on, give the same command again") from None
    return read_metrics(folder), diverged


def seen(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The extremes of what the bounds are for, and the signals with the rounds at which they began."""
    found: dict[str, list[int]] = {}
    for end in range(1, len(rows) + 1):
        for signal in collapse.fresh(rows[:end]):
            found.setdefault(signal.name, []).append(rows[end - 1]["step"])
    return {
        "growth": max((collapse.growth(rows[:end])[0] for end in range(1, len(rows) + 1)), default=0.0),
        "settled": lasted(rows, "discriminator/settled", collapse.ROWS, min, max),
        "settled_once": max(
            (row["discriminator/settled"] for row in rows if "discriminator/settled" in row), default=None
        ),
        "slope": lasted(rows, "discriminator/slope", collapse.ROWS, min, max),
        "variance": lasted(rows, "samples/variance", collapse.MEASUREMENTS, max, min),
        "signals": found,
    }


def lasted(rows: list[dict[str, Any]], name: str, fewest: int, within, over) -> float | None:
    """What a number stayed at, `within` a span, the worst `over` all spans; None where it is not measured."""
    ends = [end for end in range(1, len(rows) + 1) if name in rows[end - 1] and rows[end - 1]["step"] >= collapse.SPAN]
    spans = (collapse.latest(rows[:end], name, fewest, rows[end - 1]["step"]) for end in ends)
    return over((within(row[name] for row in span) for span in spans if len(span) >= fewest), default=None)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="cases that begin so")
    arguments = parser.parse_args()
    results = {}
    for title, (model, rounds, _) in cases().items():
        if title.startswith(tuple(arguments.only)):
            rows, diverged = trained(title, model, rounds, arguments.runs)
            results[title] = {"rounds": rows[-1]["step"] if rows else 0, "diverged": diverged, **seen(rows)}
            print(f"{title:28}", {name: value for name, value in results[title].items() if value}, flush=True)
    report("collapse_signals", {"runs": results}, [0])
    asked = {title: set(signals) for title, (*_, signals) in cases().items() if title in results}
    tell(
        {
            f"{title}: {', '.join(sorted(wanted)) or 'no signal'}": set(results[title]["signals"]) == wanted
            for title, wanted in asked.items()
        }
    )


if __name__ == "__main__":
    main()
