"""Every adversarial model on the same data, several seeds each, best and final: what a value function is worth.

    python experiments/compare_gans.py points    # a ring of 8 Gaussians and a grid of 25
    python experiments/compare_gans.py images    # Fashion-MNIST
    python experiments/compare_gans.py color     # emoji, or --data NAME, at full size: for a GPU

Claim: on the ring a majority of the models reach 8 of 8 modes with more than 0.9 of their samples in them, in the
median over seeds; on images the best of the models that are not told the class cannot be told from most of the others
of these, by Welch's t-test at 5 %. Conditional models are told the mode, or the class, of every point, which the others
have to find: they are counted apart, too.

Both hold. On the ring 11 of 20 models reach it, 8 of the 16 that are not told the mode; `why_not_the_ring.py` changes
for each of the others what its theory blames, and nothing else, and all nine do better. On the grid of 25 only those
that are told the mode have all of them with more than 0.9 good samples (cgan, acgan, projection-gan); of the others
ragan, r1gan and lgan find all 25 from every seed, with 0.78, 0.47 and 0.75, while sngan, dragan, began and infogan find
fewer than 5. On clothes cgan leads, with a Frechet distance of 6.1; of the 16 that are not told the class ebgan has the
best mean, 10.2, with one seed twice as far as the others, and 10 others cannot be told from it (11 to 18). wgan,
wgan-gp and projection-gan (63, 35, 49) have generators of 400 moves where others' have 2,000, as their critics move
five times in a round; wgan comes to 20 to 23 with five times the images (`inside_gans.py`). lgan has 24, coulomb-gan
39. began draws black (103): black images are easy to rebuild, L(G) is half of L(x), as its balance asks, and k is at
0.002. By precision it is the best: black is near data. So is most of what has little variety; recall tells.

Points: dense networks (128, 128) without norms, z of 2 dimensions, batches of 64, 20,000 rounds, 10 seeds; samples of
the averaged generator. Images: DCGANs of width 16 for all, so that only the games differ, 3 seeds, 128,000 real images
each, whoever moves how often, batches of 64; Frechet distance, precision, recall, density and coverage in the features
of the set's own classifier. Color: the papers' own networks, of width 64, more and larger images.
All else is as the papers have it (`vaegan_jax.models.presets`), but for points: learning rates are five times as large,
lengths in the space of images (EBGAN's margin, the Coulomb kernel's epsilon) go with the root of the number of pixels,
and autoencoders have codes of 1 dimension, for in as many as the data have they are the identity. Nothing is tuned for
any model.

Beside the scores stand images a second and the seconds in XLA's compiler (of images: for seed 0).

Two CPU cores: points about 2 hours, images as long. Every run is kept as soon as it is there, under runs/, and a second
call goes on; `--models` and `--seeds` choose some. A score counts once all seeds of a model are there. Writes
results/compare_gans_*.json, of which `comparison_page.py` makes the page figures/compare_gans.html, and figures.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import compiling, options, report

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.dynamics.mixtures import Grid, Ring
from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.cards import kept
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.evaluation.modes import mixture_modes
from vaegan_jax.games import State
from vaegan_jax.models import CONFIGS
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig, TrainingConfig, build
from vaegan_jax.training.experiment import PLAY, Experiment, assemble, generate, step_of, weights_for_sampling
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.run import provenance, write
from vaegan_jax.training.stopping import Diverged, Interrupted

NAMES = tuple(name for name in CONFIGS if name not in ("vae", "biggan", "biggan-deep"))
SETS = {"ring": Ring(), "grid": Grid()}
POINTS = {"batch_size": 64, "rounds": 20_000, "looks": 10, "samples": 2500, "rate": 5.0, "seeds": 10}
IMAGES = {
    **{"data": "fashion_mnist", "same_networks": True, "width": 16, "batch_size": 64, "images": 128_000},
    **{"looks": 4, "samples": 2000, "features": "classifier", "seeds": 3},
}
COLOR = {
    **{"data": "emoji", "same_networks": False, "width": 64, "batch_size": 64, "images": 6_400_000},
    **{"looks": 8, "samples": 10_000, "features": "auto", "seeds": 3},
}
PROTOCOLS: dict[str, dict[str, Any]] = {"points": POINTS, "images": IMAGES, "color": COLOR}
METRICS = "frechet,precision-recall,density-coverage"
ON_POINTS = {
    "ebgan": {"margin": 10 * (2 / 28**2) ** 0.5, "code_size": 1},
    "began": {"latent_size": 1},
    "coulomb-gan": {"epsilon": (2 / (3 * 32**2)) ** 0.5},
}
"""What the papers have for MNIST (EBGAN) and for color images of 32 pixels (Coulomb), on images of two pixels."""
LARGEST = 0.8
"""Points are scaled so that the farthest mean has this coordinate: generators end in a tanh."""


def on_points(name: str, rate: float) -> Any:
    """A model's settings for points in the plane, images of 1 x 2 pixels."""
    dense = {"network": "mlp", "hidden_sizes": (128, 128), "attention": 0, "condition_place": "input"}
    plain = {"latent_size": 2, "generator_norm": "none", "discriminator_norm": "none"}
    config = CONFIGS[name](**dense | plain | ON_POINTS.get(name, {}))
    faster = {
        field: replace(getattr(config, field), learning_rate=rate * getattr(config, field).learning_rate)
        for field in ("discriminator_optimizer", "generator_optimizer")
    }
    return replace(config, **faster)


def scale_of(mixture: Ring | Grid) -> float:
    """What points are multiplied by before a model sees them."""
    return LARGEST / float(np.abs(mixture.means()).max())


def rounds_of(experiment: Experiment, mixture: Ring | Grid):
    """(state, key, count) -> the state after so many rounds, of points drawn by each round's key."""
    step, means, scale = step_of(experiment), jnp.asarray(mixture.means(), jnp.float32), scale_of(mixture)
    moves, _, size = experiment.batch_shape

    def one(state: State, key: jax.Array) -> State:
        which, noise = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 1), state.step))
        label = jax.random.randint(which, (moves, 1, size), 0, len(means), jnp.int32)
        points = scale * (means[label] + mixture.deviation * jax.random.normal(noise, (moves, 1, size, 2)))
        position = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), (moves, 1, size))
        batch = {"image": points[:, :, :, None, :, None], "label": label, "position": position}
        return step(state, batch, jax.random.fold_in(key, 0), {}, False)[0]

    return jax.jit(lambda state, key, count: jax.lax.fori_loop(0, count, lambda _, s: one(s, key), state))


def play_points(model: Any, title: str, how: dict[str, Any]) -> dict[str, Any]:
    """Trains a model's settings on a mixture from every seed and counts modes on the way."""
    mixture, begun = SETS[title], time.process_time()
    spec = DataSpec(title, (1, 2, 1), classes=len(mixture.means()))
    training = TrainingConfig(ema_halflife_kimg=50.0)
    config = RunConfig(model, batch_size=how["batch_size"], training=training)
    experiment = assemble(config, spec)
    rounds, looks, seen = rounds_of(experiment, mixture), how["looks"], []
    stretch = how["rounds"] // looks
    with compiling() as spent:
        for seed in range(how["seeds"]):
            here = assemble(replace(config, seed=seed), spec)
            state, row = first_state(here), []
            for _ in range(looks):
                state = rounds(state, here.key(PLAY), stretch)
                params, stats, _ = weights_for_sampling(experiment, state)
                samples = generate(experiment, params, stats, how["samples"], seed).reshape(-1, 2) / scale_of(mixture)
                row.append(look(mixture, samples))
            seen.append({"looks": row, "samples": samples[:500].round(4).tolist()})
    cpu = {"cpu_seconds": round(time.process_time() - begun, 1), "compile_seconds": round(sum(spent), 1)}
    return {"rounds": stretch * looks, **cpu, "runs": seen}


def look(mixture: Ring | Grid, samples: np.ndarray) -> dict[str, float | None]:
    """Modes found, share of good samples, and KL, None without a good one; nothing is good of what is not finite."""
    if not np.isfinite(samples).all():
        return {"found": 0, "high_quality": 0.0, "kl": None}
    modes = mixture_modes(samples, mixture.means(), mixture.deviation)
    kl = round(modes.reverse_kl, 4) if math.isfinite(modes.reverse_kl) else None
    return {"found": modes.found, "high_quality": round(modes.high_quality, 4), "kl": kl}


def on_images(name: str, how: dict[str, Any]) -> Any:
    """A model's settings for images: its paper's networks, or a DCGAN's."""
    return CONFIGS[name](width=how["width"], **{"network": "dcgan"} if how["same_networks"] else {})


def image_config(name: str, how: dict[str, Any], seed: int) -> RunConfig:
    """A run on images, which scores itself evenly often."""
    model = on_images(name, how)
    every = how["images"] // (how["batch_size"] * model.discriminator_moves * how["looks"])
    return RunConfig(
        model,
        data=how["data"],
        steps=every * how["looks"],
        batch_size=how["batch_size"],
        seed=seed,
        training=TrainingConfig(sample_interval_steps=every, checkpoint_interval_steps=every, keep_checkpoints=1),
        evaluate_every=every,
        evaluation=Evaluation(metrics=METRICS, features=how["features"], count=how["samples"]),
    )


def play_images(name: str, how: dict[str, Any], runs: Path) -> dict[str, Any]:
    """Trains and scores a model from every seed, going on with runs that were interrupted."""
    rows = []
    for seed in range(how["seeds"]):
        folder = runs / f"compare_gans_{Path(how['data']).stem}_{name}_{seed}"
        told: dict[str, Any] = {"run": folder.name}
        taken = runs / "compare_gans" / f"{folder.name}.seconds"  # of the first call, which alone compiles all
        if not (folder / "summary.json").exists():
            try:
                with compiling() as spent:
                    resume(folder) if folder.exists() else train(image_config(name, how, seed), folder)
                if not taken.exists():
                    write(taken, f"{sum(spent):.1f}")
            except Diverged as error:  # a result as well
                told["diverged"] = str(error)
            except UserError as error:  # a set without classes, say
                told["refused"] = str(error)
            except Interrupted:
                raise SystemExit(f"stopped and saved in {folder}; to go on, give the same command again") from None
        if taken.exists():
            told["compile_seconds"] = float(taken.read_text())
        if (folder / "summary.json").exists():
            told["summary"] = json.loads((folder / "summary.json").read_text())
        told["scores"] = [asdict(score) for score in kept(folder)]
        rows.append(told)
    return {"runs": rows} | {key: rows[0][key] for key in ("compile_seconds",) if key in rows[0]}


def measured(part: str, names: list[str], how: dict[str, Any], runs: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(set, model, result) of each, kept under runs/ as soon as it is there."""
    folder = runs / "compare_gans"
    folder.mkdir(parents=True, exist_ok=True)
    for title in SETS if part == "points" else (how["data"],):
        for name in names:
            path, result = folder / f"{Path(title).stem}-{name}.json", {}
            model = on_points(name, how["rate"]) if part == "points" else on_images(name, how)
            if path.exists():
                result = json.loads(path.read_text())
            # A result counts for the settings that it is of; those that there were not yet are as by default.
            if result.get("protocol") != how or build(type(model), result["config"]) != model:
                result = play_points(model, title, how) if part == "points" else play_images(name, how, runs)
                result = {"protocol": how, "config": asdict(model), "git": provenance()["git"], **result}
                write(path, json.dumps(result))
            yield title, name, result


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("part", choices=tuple(PROTOCOLS))
    parser.add_argument("--models", nargs="*", default=list(NAMES), choices=NAMES, metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=0, help="seeds of each model, if not those told above")
    parser.add_argument("--data", default="", help="the images, if not those told above, as vaegan train takes them")
    arguments = parser.parse_args()
    how = dict(PROTOCOLS[arguments.part])
    how |= {"seeds": arguments.seeds} if arguments.seeds else {}
    how |= {"data": arguments.data} if arguments.data and arguments.part != "points" else {}
    results: dict[str, dict[str, Any]] = {}
    for title, name, result in measured(arguments.part, arguments.models, how, arguments.runs):
        results.setdefault(title, {})[name] = reported(result)
        print(f"{title:20} {name:16} {told(result)}", flush=True)
    report(f"compare_gans_{arguments.part}", {"results": results, "protocol": how}, list(range(how["seeds"])))


def reported(result: dict[str, Any]) -> dict[str, Any]:
    """What the repository keeps of a result: the points of seed 0, and the numbers of scores; each protocol once."""
    runs, protocols = [], set()
    for seed, run in enumerate(result["runs"]):
        run = dict(run)
        if "samples" in run:
            points = np.ravel(run.pop("samples")).round(3).tolist()
            run |= {} if seed else {"samples": points}
        if "summary" in run:
            speed = run["summary"]["metrics"].get("images_per_second")
            run["summary"] = {
                "step": run["summary"]["step"],
                "metrics": {"images_per_second": speed},
            }
        scores = []
        for score in run.get("scores", ()):
            once = {} if score["name"] in protocols else {"protocol": score["protocol"]}
            protocols.add(score["name"])
            at = {name: score["sampling"][name] for name in ("step", "images")}
            scores.append({name: score[name] for name in ("name", "value", "better")} | {"sampling": at} | once)
        runs.append(run | ({"scores": scores} if scores or "scores" in run else {}))
    return result | {"runs": runs}


def told(result: dict[str, Any]) -> str:
    """A result in a line."""
    last = [run["looks"][-1] for run in result["runs"] if "looks" in run]
    if last:
        found, good = (np.median([one[key] for one in last]) for key in ("found", "high_quality"))
        return f"modes {found:g}, good samples {good:.3f} (medians)  {result['cpu_seconds']:.0f} s"
    return ", ".join(
        run.get("diverged") or run.get("refused") or f"{len(run['scores'])} scores" for run in result["runs"]
    )


if __name__ == "__main__":
    main()
