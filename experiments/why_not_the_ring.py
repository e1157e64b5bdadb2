"""Why some models of compare_gans.py miss the ring of 8: for each what its theory blames, changed, and nothing else.

    python experiments/why_not_the_ring.py

The protocol is that of `compare_gans.py points`, with 3 seeds. The mixture's modes are 0.61 apart and 0.008 wide.

- wgan-gp, dragan, r1gan and lgan pay for the slope of a score per unit of distance. Two pixels are 39 times, the root
  of 1,536, less far apart than the 3,072 of the images that the papers' weights are for; a score that tells a mode from
  its rim needs as much steeper a slope. Changed: the penalty's weight over 1,536, which is exact where it is quadratic
  (r1gan, lgan) and leaves the target of 1 where there is one.
- wgan's critic, with entries of at most 0.01 in layers of 128, cannot be steeper than 0.023, nor bend much (Gulrajani
  et al. 2017, section 3.1: clipped critics are too simple). Changed: clipped at 0.1, so up to 23.
- sagan's generator has spectral norm, too: before its tanh its points are no farther apart than what it is given. It is
  told the mode by one-hot vectors, 1.4 apart; opposite modes are 2.2 apart there. So its points stay within the ring.
  Changed: spectral norm in the discriminator alone.
- infogan's generator has to make 10 values of a code tell in the image, of 8 modes; some lie between. Changed: a code
  of 8 values.
- ebgan's energy is the error of an autoencoder whose code of one dimension can only be exact along a curve: between two
  modes on it nothing is wrong. Changed: a code of 2 dimensions, which the margin keeps from being the identity (Zhao et
  al. 2016, section 2.3).
- began matches the mean of an autoencoder's error, not where points are: one mode will do. Changed: gamma, its measure
  of diversity, from 0.5 to 1.

Claim: so changed, each model finds more modes, or as many with a larger share of good samples, in the median: all but
ebgan, began and wgan then reach 8 modes with more than 0.9.

Ten minutes on two CPU cores, after `compare_gans.py points`. Writes results/why_not_the_ring.json; what is there is
kept under runs/.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
from common import RESULTS, options, report, tell
from compare_gans import POINTS, on_points, play_points

from vaegan_jax.training.run import write

FARTHER = 3 * 32**2 / 2
"""The square of how much farther apart images of 3,072 pixels are than those of two."""
CHANGED: dict[str, dict[str, Any]] = {
    "wgan-gp": {"penalty_weight": 10 / FARTHER},
    "dragan": {"penalty_weight": 10 / FARTHER},
    "r1gan": {"penalty_weight": 10 / FARTHER},
    "lgan": {"penalty_weight": 1 / FARTHER},
    "wgan": {"clip": 0.1},
    "sagan": {"spectral": "discriminator"},
    "infogan": {"categories": (8,)},
    "ebgan": {"code_size": 2},
    "began": {"gamma": 1.0},
}
SEEDS = 3


def last(result: dict[str, Any], seeds: int) -> dict[str, list[float]]:
    """Modes found and share of good samples at the end, a value a seed."""
    looks = [run["looks"][-1] for run in result["runs"][:seeds]]
    return {key: [look[key] for look in looks] for key in ("found", "high_quality")}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--models", nargs="*", default=list(CHANGED), choices=list(CHANGED), metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="(default: %(default)s)")
    arguments = parser.parse_args()
    measured = RESULTS / "compare_gans_points.json"
    if not measured.exists():
        raise SystemExit("why_not_the_ring: run python experiments/compare_gans.py points first")
    before = json.loads(measured.read_text())["results"]["ring"]
    how, rows = POINTS | {"seeds": arguments.seeds}, {}
    for name in arguments.models:
        model = on_points(name, how["rate"])
        path = arguments.runs / "why_not_the_ring" / f"{name}.json"
        asked = json.loads(json.dumps({"protocol": how, "changed": CHANGED[name]}))
        result = json.loads(path.read_text()) if path.exists() else {}
        if {key: result.get(key) for key in asked} != asked:
            result = asked | play_points(replace(model, **CHANGED[name]), "ring", how)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, json.dumps(result))
        was = {field: getattr(model, field) for field in CHANGED[name]}
        then, now = last(before[name], len(before[name]["runs"])), last(result, arguments.seeds)
        rows[name] = {"was": was, "changed": CHANGED[name], "before": then, "after": now}
        found, good = ([float(np.median(side[key])) for side in (then, now)] for key in ("found", "high_quality"))
        print(f"{name:10} {was} -> {CHANGED[name]}")
        print(f"{'':10} modes {found[0]:g} -> {found[1]:g}, good samples {good[0]:.2f} -> {good[1]:.2f}", flush=True)
    report("why_not_the_ring", {"models": rows, "protocol": how}, list(range(arguments.seeds)))
    tell({f"{name} does better so": better(row) for name, row in rows.items()})


def better(row: dict[str, Any]) -> bool:
    """Whether more modes are there, or as many with a larger share of good samples, in the median."""
    (found, good), (now, more) = (
        [np.median(row[side][key]) for key in ("found", "high_quality")] for side in ("before", "after")
    )
    return bool(now > found or now == found and more > good)


if __name__ == "__main__":
    main()
