"""A GAN on the line until D = 1/2, as Goodfellow et al. 2014 draw it; and modes that collapse, beside their target.

    python experiments/gan_in_one_dimension.py

Claim, of 3 seeds each:
- a GAN of two small perceptrons (normal z; non-saturating; R1 of weight 0.1; Adam, 3 moves of D a round) learns
  N(1, 0.6^2) in 3,000 rounds: the earth mover's distance falls from above 0.5 to below 0.02, and D, which was 0.1 or
  more away from 1/2 on the way, ends within 0.02 of it wherever there is data (2 deviations). Without R1 one seed of
  three did not get there;
- on a ring of 8 Gaussians one and the same GAN covers or collapses by how it steps: after 4,000 rounds Adam with steps
  of 0.002 and b1 = 0.5 has all 8 modes, with 0.01 and b1 = 0.9 at most 3 (a mode counts if 2 % of the samples are
  within 0.1 of it), and loses again what it had.

A minute on two CPU cores. Writes results/gan_in_one_dimension.json and figures/gan_in_one_dimension.png.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import draw, options, report, rounded, tell
from matplotlib.figure import Figure
from scipy.stats import norm, wasserstein_distance

from vaegan_jax import latents
from vaegan_jax.dynamics.coverage import coverage
from vaegan_jax.dynamics.mixtures import Perceptron, PlanarGan, Ring
from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.games import Game, Params, Player, State, example_keys, init, play
from vaegan_jax.losses import adversarial, penalties
from vaegan_jax.networks.network import init_networks, pure
from vaegan_jax.optimizers import Adam

MEAN, DEVIATION, BATCH = 1.0, 0.6, 256
SEEDS, STAGES = (0, 1, 2), (0, 0.02, 0.05, 0.1, 1)
"""Stages of the picture, as parts of all rounds."""
MOVES, ROUNDS, RATE, SLOPE = 3, 3000, 3e-3, 0.1
SCHEDULE = (("discriminator",),) * MOVES + (("generator",),)
RINGS = {"Adam 0.002, b1 = 0.5": Adam(2e-3, b1=0.5), "Adam 0.01, b1 = 0.9": Adam(1e-2, b1=0.9)}
"""Who covers and who collapses."""
RING_ROUNDS, RING_STAGES, RING_SAMPLES, SHOWN = 4000, (0.05, 0.25, 0.75, 1), 2500, 300
NEAR, FEWEST, LOOKING = 0.1, 0.02, 2**31
"""A mode counts if so large a share of the samples is so near."""
IN_TURNS = (("discriminator",), ("generator",))
LINE = np.linspace(-2.5, 3.5, 241)
SAMPLES = 20_000


class Line(NamedTuple):
    """The GAN on the line: a game of the engine and what is looked at."""

    game: Game
    start: Callable[[jax.Array], Params]
    """Key -> first parameters."""
    generate: Callable[..., jax.Array]
    """(params, z (n, 1)) -> x (n, 1)."""
    logit: Callable[..., jax.Array]
    """(params, x (n, 1)) -> (n, 1)."""


def line(rounds: int) -> Line:
    """Data N(1, 0.6^2), z normal, two small perceptrons, the non-saturating game with R1; steps shrink by a cosine."""
    one = jax.ShapeDtypeStruct((1, 1), jnp.result_type(float))
    networks = {"generator": pure(Perceptron((16,), 1), one), "discriminator": pure(Perceptron((32, 32), 1), one)}
    generate = lambda params, z: networks["generator"].apply(params["generator"], {}, jnp.asarray(z))[0]  # noqa: E731
    logit = lambda params, x: networks["discriminator"].apply(params["discriminator"], {}, jnp.asarray(x))[0]  # noqa: E731
    value, prior, penalty = adversarial.non_saturating(), latents.normal(1), penalties.r1(SLOPE)

    def logits(params, batch, key):
        real, latent = (prior(example_keys(k, batch)) for k in jax.random.split(key))
        return logit(params, MEAN + DEVIATION * real), logit(params, generate(params, latent))

    def discriminator_loss(params, stats, batch, key, step):
        real, fake = value.discriminator(*logits(params, batch, key))
        score = lambda x: logit(params, x)[:, 0]  # noqa: E731
        points = MEAN + DEVIATION * prior(example_keys(jax.random.split(key)[0], batch))
        slope = penalty(score, points, points, example_keys(key, batch))
        return real.mean() + fake.mean() + slope.mean(), ({}, {})

    def generator_loss(params, stats, batch, key, step):
        return value.generator(*logits(params, batch, key)).mean(), ({}, {})

    def adam(moves):
        return optax.adam(optax.cosine_decay_schedule(RATE, moves * rounds), b1=0.5)

    game = {
        "discriminator": Player(("discriminator",), discriminator_loss, adam(MOVES)),
        "generator": Player(("generator",), generator_loss, adam(1)),
    }
    return Line(game, jax.jit(lambda key: init_networks(networks, key)[0]), generate, logit)


def train_line(seeds: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """Of each seed, at each of the stages: D along the line, samples, and how far they are from the data."""
    made = line(rounds)
    round = play(made.game, SCHEDULE)
    position = jnp.broadcast_to(jnp.arange(BATCH, dtype=jnp.int32), (len(SCHEDULE), 1, BATCH))

    @jax.jit
    def stretch(state: State, key: jax.Array, count: int) -> State:
        return jax.lax.fori_loop(0, count, lambda _, s: round(s, {"position": position}, key, False)[0], state)

    rows = []
    for seed in seeds:
        key, done = jax.random.key(seed), 0
        state = init(made.game, made.start(key))
        for stage in STAGES:
            state, done = stretch(state, key, int(stage * rounds) - done), int(stage * rounds)
            rows.append({"seed": seed, "round": done, **looked_at(made, state.params)})
    return rows


def looked_at(made: Line, params: Params) -> dict[str, Any]:
    """A pair of players on the line; samples are of evenly spread latents, so that nothing is random."""
    z = norm.ppf((np.arange(SAMPLES) + 0.5) / SAMPLES).astype(np.float32)[:, None]
    samples = np.asarray(made.generate(params, z))[:, 0]
    judged = np.asarray(jax.nn.sigmoid(made.logit(params, LINE[:, None].astype(np.float32))))[:, 0]
    within = np.abs(LINE - MEAN) < 2 * DEVIATION
    return {
        "earth_mover": float(wasserstein_distance(samples, MEAN + DEVIATION * z[:, 0])),
        "discriminator_off_half": float(np.abs(judged[within] - 0.5).max()),
        "discriminator": rounded(judged, 4),
        "density": rounded(density(samples), 4),
        "arrows": rounded(samples[SAMPLES // 32 :: SAMPLES // 16], 4),
    }


def density(samples: np.ndarray) -> np.ndarray:
    """Of samples along the line: a histogram smoothed by a Gaussian of deviation 0.05."""
    step = LINE[1] - LINE[0]
    counts, _ = np.histogram(samples, np.append(LINE - step / 2, LINE[-1] + step / 2))
    kernel = norm.pdf(LINE[:, None] - LINE[None], scale=0.05) * step
    return kernel @ counts / len(samples) / step


def train_ring(name: str, seeds: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """Of each seed: samples of a GAN on the ring at stages, and the modes that they have."""
    ring, adam = Ring(gan=PlanarGan((32, 32), batch_size=128)), RINGS[name]
    toy = ring.make({player: adam.transformation() for player in ("generator", "discriminator")})
    round, batch = play(toy.game, IN_TURNS), toy.batch(0, len(IN_TURNS))
    networks, rows = ring.gan.networks(), []
    begin = jax.jit(lambda key: init(toy.game, init_networks(networks, key)[0]))
    sample = jax.jit(lambda params: toy.sample(params, jax.random.split(jax.random.key(LOOKING), RING_SAMPLES)))

    @jax.jit
    def stretch(state: State, key: jax.Array, count: int) -> State:
        return jax.lax.fori_loop(0, count, lambda _, s: round(s, batch, key, False)[0], state)

    for seed in seeds:
        key, done, shown = jax.random.key(seed), 0, []
        state = begin(key)
        for stage in RING_STAGES:
            state, done = stretch(state, key, int(stage * rounds) - done), int(stage * rounds)
            shown.append(np.asarray(sample(state.params), np.float64))
        told = coverage(np.stack(shown), ring.means(), ring.deviation, radius=NEAR / ring.deviation)
        rows.append(
            {
                "name": name,
                "seed": seed,
                "rounds": [int(stage * rounds) for stage in RING_STAGES],
                "modes": (told.mass >= FEWEST).sum(1).tolist(),
                "share_near_a_mode": rounded(told.high_quality, 3),
                "share_of_the_largest": rounded(told.mass.max(1), 3),
                "samples": rounded(np.stack(shown)[:, :SHOWN], 3) if seed == seeds[-1] else [],
            }
        )
    return rows


def measure(seeds=SEEDS, rounds: int = ROUNDS, ring_rounds: int = RING_ROUNDS) -> dict[str, Any]:
    """Both parts for each seed."""
    rings = [row for name in RINGS for row in train_ring(name, seeds, ring_rounds)]
    return {"line": LINE, "stages": train_line(seeds, rounds), "rings": rings}


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    rows = results["stages"]
    first, last = (np.array([row["round"] for row in rows]) == f(row["round"] for row in rows) for f in (min, max))
    of = lambda title, where: np.array([row[title] for row in rows])[where]  # noqa: E731
    modes = lambda name: [row["modes"][-1] for row in results["rings"] if row["name"] == name]  # noqa: E731
    slow, fast = RINGS
    return {
        "D is 0.1 or more away from 1/2 on the way": max(of("discriminator_off_half", ~last)) > 0.1,
        "D ends within 0.02 of 1/2": max(of("discriminator_off_half", last)) < 0.02,
        "the generated density ends within 0.02 of the data": max(of("earth_mover", last)) < 0.02,
        "it began farther than 0.5": min(of("earth_mover", first)) > 0.5,
        "small steps end with all 8 modes": min(modes(slow)) == 8,
        "large steps with momentum end with 3 modes or fewer": max(modes(fast)) <= 3,
    }


def picture(results: dict[str, Any]) -> Figure:
    """The stages on the line, and below them the ring's beside its target."""
    figure = Figure(figsize=(14, 9.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.35))
    rows = [row for row in results["stages"] if row["seed"] == results["stages"][0]["seed"]]
    panels = above.subplots(1, len(rows), sharey=True)
    for panel, row in zip(panels, rows, strict=True):
        _stage(panel, row)
    panels[0].set_ylabel("density, D")
    above.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    above.suptitle("a GAN on the line: from z (below) to x (arrows), until D = 1/2 where there is data")
    ring = Ring()
    shown = [row for row in results["rings"] if len(row["samples"])]
    panels = below.subplots(len(shown), len(RING_STAGES) + 1, sharex=True, sharey=True)
    below.suptitle("a GAN on a ring of 8: modes with 2 % of the samples near them")
    target = np.asarray(ring.draw(jax.random.split(jax.random.key(0), SHOWN)))
    for line_of, row in zip(panels, shown, strict=True):
        for panel, points, done, modes in zip(line_of, row["samples"], row["rounds"], row["modes"], strict=False):
            panel.plot(*np.array(points).T, ".", color=COLORS[0], markersize=3)
            panel.set_title(f"round {done:,}: {modes} modes", fontsize=10)
        line_of[-1].plot(*target.T, ".", color=COLORS[3], markersize=3)
        line_of[-1].set_title("target", fontsize=10)
        line_of[0].set_ylabel(row["name"], fontsize=9)
    for panel in panels.flat:
        panel.set(xlim=(-1.8, 1.8), ylim=(-1.8, 1.8), aspect="equal", xticks=[], yticks=[])
    return figure


def _stage(panel, row: dict[str, Any]) -> None:
    line = np.array(LINE)
    data = norm.pdf(line, MEAN, DEVIATION)
    panel.plot(line, data, "k:", linewidth=1.8, label="data")
    panel.plot(line, row["density"], color=COLORS[2], linewidth=1.6, label="generated")
    panel.plot(line, row["discriminator"], color=COLORS[0], linestyle="--", linewidth=1.6, label="D")
    best = data / np.maximum(data + np.array(row["density"]), 1e-12)
    told = data + np.array(row["density"]) > 0.02
    panel.plot(np.where(told, line, np.nan), best, color=COLORS[1], linewidth=1, label="best D for these densities")
    latents_of = norm.ppf((np.arange(SAMPLES // 32, SAMPLES, SAMPLES // 16) + 0.5) / SAMPLES)
    for z, x in zip(latents_of, row["arrows"], strict=True):
        panel.annotate("", (x, -0.08), (z, -0.45), arrowprops={"arrowstyle": "->", "color": "0.6", "linewidth": 0.7})
    panel.axhline(0, color="0.4", linewidth=0.6)
    panel.text(-2.4, -0.5, "z", fontsize=9)
    panel.text(-2.4, -0.12, "x", fontsize=9)
    panel.set(xlim=(-2.5, 3.5), ylim=(-0.55, 1.3), title=f"round {row['round']:,}")


def main() -> None:
    options(__doc__, runs=False).parse_args()
    results = measure()
    told = claims(results)
    report("gan_in_one_dimension", {"claims": told, **results}, list(SEEDS))
    draw("gan_in_one_dimension", picture(results))
    for row in results["stages"]:
        print(
            f"seed {row['seed']}, round {row['round']:5,}: W1 {row['earth_mover']:.3f}"
            f", |D - 1/2| {row['discriminator_off_half']:.3f}"
        )
    for row in results["rings"]:
        print(f"{row['name']}, seed {row['seed']}: modes {row['modes']}, near a mode {row['share_near_a_mode']}")
    tell(told)


if __name__ == "__main__":
    main()
