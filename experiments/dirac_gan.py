"""Which GANs converge near their equilibrium, on the smallest of them: the Dirac-GAN of Mescheder et al. 2018.

    python experiments/dirac_gan.py

Claim, of all six losses with no regularizer and with five (instance noise 0.7, R1 0.3, WGAN-GP 0.3 with slope 1,
consensus 1, and Jensen-Shannon 0.3 for the two losses of logits), steps of 0.1 in float64, nothing random:
- started at a distance of 1e-3, simultaneous and alternating steps change it by the closed form's factor, within 1e-6;
- alone, no loss converges linearly: at once all leave, in turns all cycle; with R1, Jensen-Shannon and consensus all
  converge; with instance noise those whose f is curved at 0 (minimax, non-saturating, least squares), not Wasserstein
  and hinge;
- with WGAN-GP none does from (1, 1): what does not fly off ends in a cycle around the equilibrium;
- from (1, 1) the non-saturating game converges in turns, though slowly, as sqrt(8 / t), and at once it ends in a cycle
  of radius sqrt(2 h); the relativistic and least-squares games do likewise. The eigenvalues do not tell: it is of third
  order.

A minute on two CPU cores. Writes results/dirac_gan.json, figures/dirac_gan.png (portraits) and a table.
"""

from typing import Any

import numpy as np
from common import draw, options, report, rounded, tell
from matplotlib.figure import Figure

from vaegan_jax.dynamics import lab, rates, theory_dirac
from vaegan_jax.dynamics.dirac import LOSSES, DiracGan
from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.dynamics.pictures import portrait
from vaegan_jax.dynamics.settings import Solver

GAMMA, SIGMA, STEP, NEAR = 0.3, 0.7, 0.1, 1e-3
REGULARIZERS = ("none", "instance-noise", "r1", "wgan-gp", "jensen-shannon", "consensus")
LOGITS = ("minimax", "non-saturating")
SHOWN = (
    ("minimax", "none"),
    ("non-saturating", "none"),
    ("wasserstein", "none"),
    ("wasserstein", "wgan-gp"),
    ("minimax", "instance-noise"),
    ("minimax", "r1"),
    ("wasserstein", "r1"),
    ("minimax", "consensus"),
)
"""What the picture has."""
LOCAL, GLOBAL, KEPT, LIMIT = 400, 6000, 400, 2.4


def config(loss: str, regularizer: str) -> DiracGan:
    """The game; consensus is a solver's."""
    return DiracGan(loss, "none" if regularizer == "consensus" else regularizer, gamma=GAMMA, sigma=SIGMA)


def play(loss: str, regularizer: str, alternating: bool, start: float, rounds: int) -> np.ndarray:
    """The trajectory from (start, start), (rounds + 1, 2): theta and psi."""
    made = config(loss, regularizer)
    if regularizer == "consensus":  # of all players at once, by what it is
        return lab.trace(lambda h: made.make(step=h), Solver("consensus"), STEP, rounds, (start, start)).points
    solver = Solver("alternating" if alternating else "simultaneous")
    with np.errstate(over="ignore", invalid="ignore"):
        return lab.trace(lambda h: made.make(step=h), solver, STEP, rounds, (start, start)).points


def local_rate(points: np.ndarray, values: np.ndarray | None) -> float:
    """Factor of the distance in a round; half a turn is the period in which an ellipse's distance comes back."""
    angle = float(np.abs(np.angle(values)).max()) if values is not None else 0.0
    turns = angle > 0 and len(points) * angle > 2 * np.pi
    return rates.fit(np.linalg.norm(points, axis=1), period=np.pi / angle if turns else None).rate


def one(loss: str, regularizer: str, alternating: bool, local: int, far: int) -> dict[str, Any]:
    """A row: theory and measurement near the equilibrium, and what comes of (1, 1)."""
    gamma = 1.0 if regularizer == "consensus" else GAMMA
    known = {"loss": loss, "regularizer": regularizer, "gamma": gamma, "sigma": SIGMA}
    values = theory_dirac.update_eigenvalues(STEP, **known, alternating=alternating)
    continuous = theory_dirac.eigenvalues(**known)
    away = play(loss, regularizer, alternating, 1.0, far)
    distances = np.linalg.norm(away, axis=1)
    row = {
        **known,
        "alternating": alternating,
        "eigenvalues": None if continuous is None else [[value.real, value.imag] for value in continuous],
        "converges_in_theory": theory_dirac.converges(**known),
        "theory_rate": theory_dirac.update_radius(STEP, **known, alternating=alternating),
        "verdict_from_far": rates.verdict(distances),
        "distance_at_the_end": float(distances[-1]),
    }
    if values is not None:
        near = play(loss, regularizer, alternating, NEAR, local)
        row["measured_rate"] = local_rate(near, values)
    return row | {"path": rounded(away[:KEPT])} if (loss, regularizer) in SHOWN else row


def measure(losses=tuple(LOSSES), regularizers=REGULARIZERS, local: int = LOCAL, far: int = GLOBAL) -> dict[str, Any]:
    """A row for each loss, regularizer and order of play that there is."""
    rows = []
    for loss in losses:
        for regularizer in regularizers:
            if (loss, regularizer) == ("relativistic", "instance-noise"):
                continue  # pairs of points, each with its noise: not a game of the library
            if regularizer == "jensen-shannon" and loss not in LOGITS:
                continue
            orders = (False,) if regularizer == "consensus" else (False, True)
            rows += [one(loss, regularizer, alternating, local, far) for alternating in orders]
    return {"rows": rows, "step": STEP, "rounds_near": local, "rounds_far": far}


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    rows, far = results["rows"], results["rounds_far"]
    apart = [abs(row["measured_rate"] - row["theory_rate"]) for row in rows if "measured_rate" in row]
    alone = [row for row in rows if row["regularizer"] == "none"]
    damped = [row for row in rows if row["regularizer"] in ("r1", "jensen-shannon", "consensus")]
    noisy = [row for row in rows if row["regularizer"] == "instance-noise"]
    kinked = [row for row in rows if row["regularizer"] == "wgan-gp"]
    softened = [row for row in alone if row["loss"] in ("non-saturating", "relativistic")]
    slow, cycling = ([row for row in softened if row["alternating"] is turns] for turns in (True, False))
    return {
        "local factors are the closed forms'": max(apart) < 1e-6,
        "alone, no loss converges linearly": all(
            row["theory_rate"] > 1 - 1e-12 and abs(row["measured_rate"] - row["theory_rate"]) < 1e-6 for row in alone
        ),
        "R1, Jensen-Shannon and consensus converge": all(row["verdict_from_far"] == "converges" for row in damped),
        "instance noise helps curved losses, and only them": all(
            (row["measured_rate"] < 1 - 1e-4) == (LOSSES[row["loss"]].curvature < 0) for row in noisy
        ),
        "WGAN-GP does not converge": all(row["verdict_from_far"] != "converges" for row in kinked),
        "non-saturating and relativistic in turns: sqrt(8 / t)": all(
            abs(row["distance_at_the_end"] / theory_dirac.non_saturating_radius(far * STEP) - 1) < 0.03 for row in slow
        ),
        "non-saturating and relativistic at once: a cycle of radius sqrt(2 h)": all(
            abs(row["distance_at_the_end"] / theory_dirac.non_saturating_cycle(STEP) - 1) < 0.05 for row in cycling
        ),
    }


def picture(results: dict[str, Any]) -> Figure:
    """Portraits: the field, and what steps at once and in turns make of (1, 1)."""
    figure = Figure(figsize=(14, 7.6), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for panel, (loss, regularizer) in zip(panels.flat, SHOWN, strict=True):
        field = portrait(config(loss, regularizer).make(), LIMIT)
        side = int(field[0].size ** 0.5)
        panel.streamplot(
            *(part.reshape(side, side) for part in field), color="0.8", density=0.8, linewidth=0.8, arrowsize=0.8
        )
        for row in results["rows"]:
            if (row["loss"], row["regularizer"]) == (loss, regularizer):
                points, place = np.array(row["path"]), int(row["alternating"])
                inside = np.abs(points).max(1) < 2 * LIMIT
                points = points if inside.all() else points[: np.argmin(inside)]
                panel.plot(*points.T, color=COLORS[place], linestyle="-" if place == 0 else "--", linewidth=1.4)
        panel.plot(1, 1, "ko", markersize=5)
        panel.plot(0, 0, "k+", markersize=10)
        good = theory_dirac.converges(loss, regularizer, GAMMA, SIGMA)
        told = "" if regularizer == "none" else f" + {regularizer}"
        panel.set_title(f"{loss}{told}: {'converges' if good else 'does not'}", fontsize=11)
        panel.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal")
    for panel in panels[1]:
        panel.set_xlabel("theta (the generated point)")
    for panel in panels[:, 0]:
        panel.set_ylabel("psi (the discriminator's slope)")
    for place, name in enumerate(("at once", "in turns")):
        line = {"color": COLORS[place], "linestyle": "--" if place else "-"}
        panels[0, 0].plot([], [], **line, label=f"{name}, {KEPT} rounds of step {STEP}")
    figure.legend(loc="outside lower center", ncols=2)
    figure.suptitle("Dirac-GAN: what converges linearly near the equilibrium; gray: where small plain steps lead")
    return figure


def main() -> None:
    options(__doc__, runs=False).parse_args()
    results = measure()
    told = claims(results)
    report("dirac_gan", {"claims": told, **results}, [])
    draw("dirac_gan", picture(results))
    print(f"{'loss':15} {'regularizer':15} {'order':9} {'measured':>10} {'theory':>10}  from (1, 1)")
    for row in results["rows"]:
        number = lambda name, row=row: f"{row[name]:10.6f}" if row.get(name) is not None else " " * 10  # noqa: E731
        order = "in turns" if row["alternating"] else "at once"
        print(
            f"{row['loss']:15} {row['regularizer']:15} {order:9} {number('measured_rate')} {number('theory_rate')}"
            f"  {row['verdict_from_far']}, at {row['distance_at_the_end']:.3g}"
        )
    tell(told)


if __name__ == "__main__":
    main()
