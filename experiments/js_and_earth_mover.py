"""Why distances matter: Jensen-Shannon is flat where the earth mover's distance is a slope to descend.

    python experiments/js_and_earth_mover.py

Claim, of 3 seeds; what is trained is trained through the engine, as any player is:
- parallel lines at distance theta (Arjovsky et al. 2017, example 1): JS = log 2, KL = infinity and TV = 1 wherever
  theta is not 0, W1 = |theta|. A critic of bounded slope, trained, tells |theta| within 0.01 everywhere. A trained
  discriminator's estimate of JS is within 0.002 nats of log 2 for |theta| >= 1/8, and its slope there is below 0.02;
- two Gaussians at -2 and 2 of deviation 0.5 (their figure 2): a trained discriminator saturates, its generator's
  gradient under the minimax loss is below 1e-3 at the generated points, while the slope of a Wasserstein critic with a
  one-sided gradient penalty (weight 50) is between 0.8 and 1.3, and of the right sign, from the one mean to the other.
  (With the two-sided penalty of that weight one seed of three stayed with the wrong sign: a slope of 0 costs too much.)
- two long clouds side by side (Lim & Ye 2017): a linear Wasserstein critic is the difference of the means within 1
  degree, its best threshold takes 5 % or more for the other cloud; a hinge one is the SVM within 2, and takes none.

A minute on two CPU cores. Writes results/js_and_earth_mover.json and figures/js_and_earth_mover.png.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import draw, options, report, rounded, tell
from matplotlib.figure import Figure
from sklearn.svm import SVC

from vaegan_jax.dynamics import learning
from vaegan_jax.dynamics.learning import ParallelLines
from vaegan_jax.dynamics.mixtures import Perceptron
from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.games import Params, Player, example_keys, init, play
from vaegan_jax.losses import adversarial, penalties
from vaegan_jax.networks.network import pure

SEEDS, THETAS = (0, 1, 2), tuple(np.linspace(-1, 1, 17).round(4).tolist())
BATCH, RATE, WEIGHT = 256, 3e-3, 50.0
FLAT = 0.125
"""From this distance on the discriminator is told to be sure."""
MEANS, DEVIATION = (-2.0, 2.0), 0.5
LINE = np.linspace(-3.5, 3.5, 141)
ROUNDS = {"lines": 400, "gaussians": 2000, "separators": 3000}
DECAY = 1e-3
"""Weight of |w|^2 / 2 beside the hinge loss: the smaller, the nearer to the largest margin."""
Loss = Callable[..., jax.Array]


def critic(loss: Loss, start: Params, optimizer: optax.GradientTransformation) -> tuple[Any, Any]:
    """(first state, jitted (state, rounds, key, data) -> state) of one player, who owns "critic": a game of one.

    `loss` is (params of the critic, data, keys of the examples) -> scalar; `data` goes to it as it is.
    """

    def rounds(state, count, key, data):
        def player_loss(params, stats, batch, key, step):
            return loss(params["critic"], data, example_keys(key, batch)), ({}, {})

        round = play({"critic": Player(("critic",), player_loss, optimizer)}, (("critic",),))
        batch = {"position": jnp.arange(BATCH, dtype=jnp.int32)[None, None]}
        return jax.lax.fori_loop(0, count, lambda _, s: round(s, batch, key, False)[0], state)

    game = {"critic": Player(("critic",), lambda *_: (0.0, ({}, {})), optimizer)}
    return init(game, {"critic": start}), jax.jit(rounds)


def perceptron(inputs: int, seed: int, hidden: tuple[int, ...] = (32, 32)) -> tuple[Params, Callable]:
    """First parameters, and (params, x (n, inputs)) -> scores (n,)."""
    network = pure(Perceptron(hidden, 1), jax.ShapeDtypeStruct((1, inputs), jnp.result_type(float)))
    start, _ = jax.jit(network.init)(jax.random.key(seed))
    return start, lambda params, x: network.apply(params, {}, jnp.asarray(x))[0][:, 0]


def lines(seed: int, rounds: int) -> dict[str, Any]:
    """What a trained discriminator says of JS, and a trained critic of bounded slope of W1, for each theta."""
    start, score = perceptron(2, seed)
    value = adversarial.minimax()

    def scores(params, theta, keys):
        heights = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
        points = (jnp.stack([jnp.full_like(heights[:, i], i * theta), heights[:, i]], 1) for i in (0, 1))
        return [score(params, x) for x in points]

    def loss(params, theta, keys):
        return sum(losses.mean() for losses in value.discriminator(*scores(params, theta, keys)))

    first, train = critic(loss, start, optax.adam(RATE, b1=0.5))
    key = jax.random.key(seed)
    estimate = jax.jit(lambda params, theta, keys: jnp.log(2) - loss(params, theta, keys) / 2)
    fresh = jax.random.split(jax.random.fold_in(key, 2**31), 4096)
    shannon = [float(estimate(train(first, rounds, key, theta).params["critic"], theta, fresh)) for theta in THETAS]

    toy = ParallelLines().make({"max": optax.adam(0.05)})
    ascend = play(toy.game, (("max",),))
    climb = jax.jit(lambda state: jax.lax.fori_loop(0, rounds, lambda _, s: ascend(s, {}, key, False)[0], state))
    movers = [climb(init(toy.game, toy.start | {"x": jnp.asarray(theta)})) for theta in THETAS]
    return {
        "seed": seed,
        "jensen_shannon": rounded(shannon),
        "earth_mover": rounded([abs(float(jnp.tanh(m.params["y"]) * m.params["x"])) for m in movers]),
    }


def gaussians(seed: int, rounds: int) -> dict[str, Any]:
    """Along the line between two Gaussians: D, the gradient it gives, and a critic with a gradient penalty."""

    def points(keys):
        noise = jax.vmap(lambda key: jax.random.normal(key, (2, 1)))(keys)
        return tuple(mean + DEVIATION * noise[:, i] for i, mean in enumerate(MEANS))

    told, place = {"seed": seed}, LINE[:, None].astype(np.float32)
    penalty = penalties.one_sided_gradient_penalty(WEIGHT)
    for name, value in {"discriminator": adversarial.minimax(), "critic": adversarial.wasserstein()}.items():
        start, score = perceptron(1, seed)

        def loss(params, _, keys, value=value, score=score, name=name):
            for_points, for_penalty = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
            real, fake = points(for_points)
            total = sum(one.mean() for one in value.discriminator(score(params, real), score(params, fake)))
            steep = penalty(partial(score, params), real, fake, for_penalty)
            return total + (steep.mean() if name == "critic" else 0.0)

        first, train = critic(loss, start, optax.adam(optax.cosine_decay_schedule(RATE, rounds), b1=0.5))
        params = train(first, rounds, jax.random.key(seed), 0.0).params["critic"]
        scores = np.asarray(score(params, place), np.float64)
        generator = lambda x, value=value, score=score, params=params: value.generator(  # noqa: E731
            score(params, x), score(params, x)
        ).sum()
        told[name] = rounded(scores)
        told[f"gradient_of_{name}"] = rounded(np.asarray(jax.jit(jax.grad(generator))(place))[:, 0])
    return told


def clouds(seed: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Two long clouds side by side, the one shifted along: (count, 2) each, with a gap between them."""
    stream = np.random.default_rng(seed)
    along, across = stream.uniform(-2, 2, (2, count)), stream.uniform(-0.35, 0.35, (2, count))
    real, fake = (np.stack([along[i] + 1.2 * s, across[i] + 0.55 * s], 1) for i, s in enumerate((1, -1)))
    return real, fake


def separators(seed: int, rounds: int) -> dict[str, Any]:
    """Linear critics of the Wasserstein and of the hinge loss on two clouds, beside what they should be."""
    clouds_of, told = clouds(seed), {"seed": seed}
    for name, value, decay in (("wasserstein", adversarial.wasserstein(), 1.0), ("hinge", adversarial.hinge(), DECAY)):

        def loss(params, data, keys, value=value, decay=decay):
            real, fake = (x @ params["w"] + params["b"] for x in data)
            total = sum(one.mean() for one in value.discriminator(real, fake))
            return total + decay / 2 * (params["w"] @ params["w"])

        first, train = critic(
            loss, {"w": jnp.zeros(2), "b": jnp.zeros(())}, optax.adam(optax.cosine_decay_schedule(0.05, rounds))
        )
        params = train(first, rounds, jax.random.key(seed), tuple(x.astype(np.float32) for x in clouds_of)).params[
            "critic"
        ]
        told[name] = judged(np.asarray(params["w"], np.float64), *clouds_of)
    real, fake = clouds_of
    machine = SVC(kernel="linear", C=1e3).fit(np.concatenate(clouds_of), np.repeat([1, 0], [len(real), len(fake)]))
    told["mean difference"] = judged(real.mean(0) - fake.mean(0), real, fake)
    told["support vector machine"] = judged(machine.coef_[0], real, fake)
    return told


def judged(w: np.ndarray, real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Angle of a direction in degrees, and share of points on the wrong side of its best threshold."""
    ours, theirs = real @ w, fake @ w
    cuts = np.sort(np.concatenate([ours, theirs]))
    middles = (cuts[1:] + cuts[:-1]) / 2
    wrong = [((ours < cut).sum() + (theirs > cut).sum()) / (len(ours) + len(theirs)) for cut in middles]
    best = (ours.min() + theirs.max()) / 2 if min(wrong) == 0 else middles[int(np.argmin(wrong))]
    angle = float(np.degrees(np.arctan2(w[1], w[0])))
    return {"angle": angle, "wrong": float(min(wrong)), "cut": float(best / np.linalg.norm(w))}


def measure(seeds: tuple[int, ...] = SEEDS, rounds: dict[str, int] = ROUNDS) -> dict[str, Any]:
    """All three parts for each seed, and the closed forms of the first."""
    forms = {
        "jensen_shannon": learning.jensen_shannon(THETAS),
        "total_variation": learning.total_variation(THETAS),
        "earth_mover": learning.earth_mover(THETAS),
        "kullback_leibler": [str(value) for value in learning.kullback_leibler(THETAS)],
    }
    return {
        "thetas": THETAS,
        "closed_forms": forms,
        "lines": [lines(seed, rounds["lines"]) for seed in seeds],
        "gaussians": [gaussians(seed, rounds["gaussians"]) for seed in seeds],
        "separators": [separators(seed, rounds["separators"]) for seed in seeds],
        "rounds": rounds,
    }


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    thetas = np.array(results["thetas"])
    shannon = np.array([row["jensen_shannon"] for row in results["lines"]])
    mover = np.array([row["earth_mover"] for row in results["lines"]])
    far = np.abs(thetas) >= FLAT
    slopes = np.abs(np.diff(shannon, axis=1) / np.diff(thetas))[:, far[1:] & far[:-1]]
    fake, between = np.abs(LINE - MEANS[1]) < DEVIATION, np.abs(LINE) <= MEANS[1]
    of = lambda name: np.array([row[f"gradient_of_{name}"] for row in results["gaussians"]])  # noqa: E731
    flat, steep, parts = of("discriminator")[:, fake], of("critic")[:, between], results["separators"]
    apart = lambda one, other: max(abs(row[one]["angle"] - row[other]["angle"]) for row in parts)  # noqa: E731
    return {
        "a critic of bounded slope tells W1 within 0.01": np.abs(mover - np.abs(thetas)).max() < 0.01,
        "a discriminator tells log 2 within 0.002 for |theta| >= 0.125": np.abs(shannon[:, far] - np.log(2)).max()
        < 0.002,
        "its estimate has a slope below 0.02 there": slopes.max() < 0.02,
        "the discriminator saturates: a gradient below 1e-3 at the generated points": np.abs(flat).max() < 1e-3,
        "the critic's slope is between 0.8 and 1.3 between the two means": np.all(np.abs(steep - 1.05) < 0.25),
        "a linear Wasserstein critic is the difference of the means": apart("wasserstein", "mean difference") < 1,
        "and takes 5 % or more for the other cloud": min(row["wasserstein"]["wrong"] for row in parts) >= 0.05,
        "the hinge loss is the support vector machine": apart("hinge", "support vector machine") < 2,
        "and takes none": max(row["hinge"]["wrong"] for row in parts) == 0,
    }


def picture(results: dict[str, Any]) -> Figure:
    """Distances over theta, D against the critic between two Gaussians, and two separators."""
    figure = Figure(figsize=(15, 5), layout="constrained")
    panels = figure.subplots(1, 3)
    _distances(panels[0], results)
    _between(panels[1], results["gaussians"])
    _clouds(panels[2], results["separators"][0])
    return figure


def _distances(panel, results: dict[str, Any]) -> None:
    thetas, fine = np.array(results["thetas"]), np.linspace(-1, 1, 401)
    fine = fine[np.abs(fine) > 1e-9]
    distances = {"W1": "earth_mover", "JS": "jensen_shannon", "TV": "total_variation"}
    for place, (title, name) in enumerate(distances.items()):
        form = getattr(learning, name)
        for side in (fine < 0, fine > 0):
            panel.plot(fine[side], form(fine[side]), color=COLORS[place], linewidth=1.6)
        panel.plot([], [], color=COLORS[place], label=f"{title}, closed form")
        if name in results["lines"][0]:
            trained = np.array([row[name] for row in results["lines"]])
            panel.plot(thetas, trained.mean(0), "o", color=COLORS[place], markersize=4.5, label=f"{title}, trained")
    panel.plot(0, 0, "o", color="k", markersize=7, markerfacecolor="none", label="all of them at theta = 0")
    panel.set(xlabel="theta", ylabel="distance (JS in nats)", ylim=(-0.05, 1.5))
    panel.set_title("parallel lines; KL is infinite but at 0")
    panel.legend(loc="upper center", ncols=2, fontsize=9)


def _between(panel, rows: list[dict[str, Any]]) -> None:
    for mean, title, color in zip(MEANS, ("data", "generated"), ("0.35", "0.65"), strict=True):
        bell = np.exp(-(((LINE - mean) / DEVIATION) ** 2) / 2)
        panel.fill_between(LINE, bell - 3, -3, color=color, alpha=0.35, linewidth=0)
        panel.text(mean, -2.9, title, ha="center", fontsize=10)
    for row in rows:
        panel.plot(LINE, 1 / (1 + np.exp(-np.array(row["discriminator"]))), color=COLORS[0], linewidth=1.3)
        score = np.array(row["critic"])
        panel.plot(LINE, score - score[len(LINE) // 2], color=COLORS[1], linewidth=1.3)
        steep = np.abs(row["gradient_of_discriminator"])
        panel.plot(LINE, np.where(steep < 3, steep, np.nan), color=COLORS[2], linestyle="--", linewidth=1.3)
    panel.plot([], [], color=COLORS[0], label="discriminator D: its gradient vanishes")
    panel.plot([], [], color=COLORS[1], label="critic: a slope of 1 all along")
    panel.plot([], [], color=COLORS[2], linestyle="--", label="|gradient of log(1 - D)|, where below 3")
    panel.set(xlabel="x", ylim=(-3, 6), title="two Gaussians, three seeds")
    panel.legend(loc="upper right", fontsize=9)


def _clouds(panel, row: dict[str, Any]) -> None:
    real, fake = clouds(row["seed"])
    panel.plot(*real.T, "o", color="0.25", markersize=3, label="data")
    panel.plot(*fake.T, "x", color="0.55", markersize=4, label="generated")
    names = {"wasserstein": "Wasserstein: difference of means", "hinge": "hinge: largest margin"}
    for place, (name, title) in enumerate(names.items()):
        angle = np.radians(row[name]["angle"])
        normal, along = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        ends = row[name]["cut"] * normal + np.array([[-6.0], [6.0]]) * along
        ends = ends[0] + (ends[1] - ends[0]) * np.linspace(0, 1, 500)[:, None]
        ends = ends[ends[:, 1] < 2.6]  # above is the legend
        told = f"{title}, {100 * row[name]['wrong']:.0f} % wrong"
        panel.plot(*ends.T, color=COLORS[place], linestyle="--" if place == 0 else "-", linewidth=2, label=told)
    panel.set(
        xlim=(-3.7, 3.7), ylim=(-2.2, 4.8), xlabel="x1", ylabel="x2", title="separators of two clouds", aspect="equal"
    )
    panel.legend(loc="upper left", fontsize=9)


def main() -> None:
    options(__doc__, runs=False).parse_args()
    results = measure()
    told = claims(results)
    report("js_and_earth_mover", {"claims": told, **results}, list(SEEDS))
    draw("js_and_earth_mover", picture(results))
    for name in ("wasserstein", "mean difference", "hinge", "support vector machine"):
        for row in results["separators"]:
            print(f"seed {row['seed']}: {name:22} {row[name]['angle']:7.2f} degrees, {row[name]['wrong']:.3f} wrong")
    tell(told)


if __name__ == "__main__":
    main()
