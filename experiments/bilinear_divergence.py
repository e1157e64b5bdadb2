"""Simultaneous gradient steps in min_x max_y x y turn by arctan(a) and grow by sqrt(1 + a^2); steps in turns do not.

    python experiments/bilinear_divergence.py

Claim, of 1,000 rounds from (1, 1) in float64, for 13 steps a from 0.05 to 2.2, nothing random (no seed matters):
- at once, the distance grows in every round by sqrt(1 + a^2), and the point turns by arctan(a): a rotation times that
  factor, each within 1e-9, at every step;
- in turns, x^2 + y^2 - a x y stays what it was (1e-9) for a < 2: an ellipse that is never left; beyond 2 it diverges;
- extragradient, past extragradient (optimistic), consensus, competitive gradient descent and negative momentum in turns
  converge, each up to its own step, and lookahead over turns up to 2; the measured factor is the closed form's within
  1e-4.

20 seconds on two CPU cores. Writes results/bilinear_divergence.json, figures/bilinear_divergence.png and a table.
"""

from typing import Any

import numpy as np
from common import draw, options, report, rounded, tell
from matplotlib.figure import Figure

from vaegan_jax.dynamics import lab, rates, theory
from vaegan_jax.dynamics.games import Bilinear
from vaegan_jax.dynamics.panels import COLORS
from vaegan_jax.dynamics.settings import CONSTANTS, Solver
from vaegan_jax.dynamics.theory_limits import alternating_invariant

STEPS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.7, 0.9, 1.2, 1.5, 1.8, 1.95, 2.05, 2.2)
SOLVERS = lab.DEFAULTS
IN_THE_PLANE = ("simultaneous", "alternating", "negative-momentum", "extragradient", "consensus")
"""Whose paths are shown; the others' lie on these."""
ROUNDS, SHOWN = 1000, (0.1, 0.45)
KEPT = 150
"""Points of a trajectory that the results hold."""


def play(name: str, step: float, rounds: int) -> tuple[dict[str, Any], np.ndarray]:
    """The numbers of one solver with one step, and its trajectory (rounds + 1, 2)."""
    own = {"step": step} if "step" in CONSTANTS[name] else {}
    with np.errstate(over="ignore", invalid="ignore"):  # what diverges ends beyond all numbers
        trace = lab.trace(lambda a: Bilinear().make(step=a), Solver(name, **own), step, rounds)
    distances = trace.distances
    row = {"solver": name, "step": step, "theory_rate": trace.theory_rate, "measured_rate": rates.fit(distances).rate}
    if name == "simultaneous":
        x, y = near(trace.points).T
        turns = np.angle((x[1:] + 1j * y[1:]) / (x[:-1] + 1j * y[:-1]))
        row |= {"angle": float(abs(turns.mean())), "theory_angle": float(np.arctan(step))}
    row |= {"verdict": rates.verdict(distances), "field_evaluations_of_a_round": trace.evaluations}
    if name == "alternating":
        row |= in_turns(trace.points, step)
    return row, trace.points


def in_turns(points: np.ndarray, step: float) -> dict[str, float]:
    """What x^2 + y^2 - a x y does; where its root is a norm, the rate and verdict of that, which does not wobble."""
    points = near(points)
    form = alternating_invariant(points[:, 0], points[:, 1], step)
    told = {"invariant_drift": float(np.abs(form / form[0] - 1).max()), "farthest": float(np.abs(points).max())}
    own = np.sqrt(np.abs(form))
    return told | ({"measured_rate": rates.fit(own).rate, "verdict": rates.verdict(own)} if step < 2 else {})


def near(points: np.ndarray) -> np.ndarray:
    """The points before the first that is so far out that squares overflow."""
    inside = np.abs(points).max(1) < 1e100
    return points if inside.all() else points[: np.argmin(inside)]


def measure(steps: tuple[float, ...] = STEPS, solvers: tuple[str, ...] = SOLVERS, rounds: int = ROUNDS) -> dict:
    """All solvers with all steps, and the trajectories of those that are shown."""
    rows, paths = [], {}
    for step in steps:
        for name in solvers:
            row, points = play(name, step, rounds)
            rows.append(row)
            if step in SHOWN:
                paths.setdefault(str(step), {})[name] = rounded(points[:KEPT])
    return {"rows": rows, "paths": paths, "rounds": rounds}


def claims(results: dict[str, Any]) -> dict[str, bool]:
    """What the docstring claims, and whether these numbers say so."""
    rows = results["rows"]
    of = lambda name: [row for row in rows if row["solver"] == name]  # noqa: E731
    growth = [abs(row["measured_rate"] - np.hypot(1, row["step"])) for row in of("simultaneous")]
    turning = [abs(row["angle"] - row["theory_angle"]) for row in of("simultaneous")]
    kept = [row["invariant_drift"] for row in of("alternating") if row["step"] < 2]
    grown = [row["verdict"] == "diverges" for row in of("alternating") if row["step"] > 2]
    close = [row["measured_rate"] / row["theory_rate"] - 1 for row in rows if row["theory_rate"]]
    told = [row["verdict"] == expected(row["theory_rate"]) for row in rows if row["solver"] != "simultaneous"]
    return {
        "at once, every round is a rotation by arctan(a) times sqrt(1 + a^2)": max(growth + turning) < 1e-9,
        "in turns, x^2 + y^2 - a x y is conserved for a < 2": max(kept) < 1e-9,
        "in turns, a > 2 diverges": all(grown),
        "measured rates are the closed forms' within 1e-4": max(map(abs, close)) < 1e-4,
        "who converges and who does not is as the closed forms say": all(told),
    }


def expected(rate: float) -> str:
    """The verdict of a closed form."""
    return "cycles" if abs(rate - 1) < 1e-9 else "converges" if rate < 1 else "diverges"


def picture(results: dict[str, Any]) -> Figure:
    """Measured factors on the closed forms' lines, and where the point goes."""
    figure = Figure(figsize=(14, 5.4), layout="constrained")
    factors, plane, far = figure.subplots(1, 3, width_ratios=(1.25, 1, 1.15))
    grid = np.linspace(0.005, 2.25, 400)
    for place, name in enumerate(SOLVERS):
        turns = name in lab.TURNS
        line = [theory.rate(name, a, alternating=turns) for a in grid]
        factors.plot(grid, line, color=COLORS[place], linewidth=1.5)
        rows = [row for row in results["rows"] if row["solver"] == name]
        told = [row["measured_rate"] for row in rows]
        factors.plot([row["step"] for row in rows], told, "o", color=COLORS[place], markersize=4.5)
        factors.plot([], [], "o-", color=COLORS[place], markersize=4.5, label=name)
    factors.axhline(1, color="0.4", linewidth=0.8)
    factors.set(xlabel="step a", ylabel="factor of the distance in a round", ylim=(0.4, 2.0), xlim=(0, 2.25))
    factors.set_title("measured (dots), closed forms (lines)")
    step = str(SHOWN[0])
    for name in IN_THE_PLANE:
        points, place = np.array(results["paths"][step][name]), SOLVERS.index(name)
        plane.plot(points[:, 0], points[:, 1], color=COLORS[place], linewidth=1.3)
    plane.plot(1, 1, "ko", markersize=5)
    plane.annotate("start", (1, 1), xytext=(6, 4), textcoords="offset points")
    plane.plot(0, 0, "k+", markersize=9)
    plane.set(xlabel="x (minimizes)", ylabel="y (maximizes)", aspect="equal", xlim=(-2.7, 2.7), ylim=(-2.7, 2.7))
    plane.set_title(f"paths of five of them, {KEPT} rounds of step {step}")
    step = str(SHOWN[1])
    for place, name in enumerate(SOLVERS):
        points = np.array(results["paths"][step][name])
        far.semilogy(np.maximum(np.linalg.norm(points, axis=1), 1e-30), color=COLORS[place], linewidth=1.3)
    far.set(xlabel="round", ylabel="distance to (0, 0)", ylim=(1e-8, 1e6), title=f"step {step}")
    far.grid(alpha=0.3)
    figure.legend(*factors.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(
        "min max xy: at once the steps are a rotation times $\\sqrt{1+a^2}$, in turns they stay on an ellipse"
    )
    return figure


def main() -> None:
    options(__doc__, runs=False).parse_args()
    results = measure()
    told = claims(results)
    report("bilinear_divergence", {"claims": told, **results}, [])
    draw("bilinear_divergence", picture(results))
    print(f"{'solver':20} {'step':>5} {'measured':>10} {'theory':>10}  verdict")
    for row in results["rows"]:
        print(
            f"{row['solver']:20} {row['step']:5.2f} {row['measured_rate']:10.6f} {row['theory_rate']:10.6f}"
            f"  {row['verdict']}"
        )
    tell(told)


if __name__ == "__main__":
    main()
