"""Signs that a training has collapsed, read off the rows of metrics.jsonl: pure, rows in, named signals out.

| signal | what is seen | its numbers | which are told |
|---|---|---|---|
| spectra | a layer's largest singular value jumps | `sigma/LAYER` | with `--watch-every` |
| saturation | D has nothing left to learn, or its slope runs away | `discriminator/settled` or `.../slope` | always |
| variance | samples hardly differ any more | `samples/variance` | with `--watch-every` |

What is not finite is none of these: `stopping` ends such a run at once. As nothing but rows is looked at, a run that
is resumed, whose rows are cut back to its checkpoint, sees what it would have seen. No single measurement makes a
signal but a jump: the others have to last for `SPAN` rounds. README and docstrings say on what the bounds were tried.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from vaegan_jax.training.config import RunConfig

Row = Mapping[str, float | int]

BACK = "back"
"""The verdict on a training that is to be rolled back."""
SPAN = 500
"""Rounds that a state has to last, and of which a median is taken, at least: single batches say little."""
SIGMA = "sigma/"
"""What the names of layers' largest singular values begin with."""
FACTOR = 3.0
"""A largest singular value this many times its median has jumped."""
MEDIAN_OF = 10
"""Measurements before the last one that the median is of, at least (all of the last SPAN rounds, if these are more); it
is taken from `FEWEST` on."""
FEWEST = 4
SMALLEST = 1.0
"""A layer that shrinks what it is given is measured by this, not by its median: some kernels grow from 0."""
SETTLED = 0.95
"""Share of its examples from which on the discriminator has nothing to learn."""
SLOPE = 10.0
"""A critic of the Wasserstein distance should have a slope of about 1 between images; beyond this it has run away."""
ROWS = 5
"""Rows that have to show either, at least."""
VARIANCE = 0.02
"""Share of the data's variance below which samples hardly differ."""
MEASUREMENTS = 3
"""Measurements that have to show it, at least, and how far back the beginning of a jump is looked for."""


class Signal(NamedTuple):
    """A sign of collapse in the last of the rows."""

    name: str
    """One of `SIGNALS`."""
    value: float
    """The number that tells: a growth, a share or a slope."""
    healthy: int
    """The last round that showed none of it, so that checkpoints up to it are from before; 0: all rounds did."""
    told: str
    """What was measured, in words."""


class Verdict(NamedTuple):
    """What to do about signals."""

    kind: str
    """"" to go on, "warn", "stop" or `BACK`."""
    told: str
    """Why, in words."""


def signals(rows: Sequence[Row]) -> list[Signal]:
    """Those that the last row of a run shows, by all of its rows; each row has a "step"."""
    return [signal for find, _ in SIGNALS.values() if (signal := find(rows))]


def fresh(rows: Sequence[Row]) -> list[Signal]:
    """Of `signals` those that begin with the last row: the row before with the same numbers did not show them."""
    return [signal for signal in signals(rows) if not _shown_before(rows, signal.name)]


def spectra(rows: Sequence[Row]) -> Signal | None:
    """sigma > FACTOR max(m, SMALLEST) for some layer, with m the median of the MEDIAN_OF measurements before.

    Brock et al. 2018 (arXiv 1809.11096), section 4.1 and appendix F: the first singular value of the generator's
    layers explodes when the training collapses, and that of the discriminator's jumps. A value up to sqrt(FACTOR)
    times its median counts as healthy.
    """
    times, name = growth(rows)
    if not times > FACTOR:
        return None
    now, before = rows[-1], latest(rows[:-1], SIGMA, MEDIAN_OF, rows[-1]["step"])
    usual = now[name] / times
    calm = [row for row in before[-MEASUREMENTS:] if row[name] <= math.sqrt(FACTOR) * usual]
    told = f"the largest singular value of {name.removeprefix(SIGMA)} is {now[name]:.4g}, {times:.3g} times its median"
    healthy = calm[-1] if calm else before[-MEASUREMENTS]
    return Signal("spectra", times, int(healthy["step"]), f"{told} (bound {FACTOR:g})")


def growth(rows: Sequence[Row]) -> tuple[float, str]:
    """sigma / max(m, SMALLEST) of the layer of which it is largest in the last row, and `sigma/LAYER`; 0 and "" where
    it was not measured there, or not often enough before."""
    if not rows or not _tells(rows[-1], SIGMA):
        return 0.0, ""
    now, before = rows[-1], latest(rows[:-1], SIGMA, MEDIAN_OF, rows[-1]["step"])
    if len(before) < FEWEST or now["step"] <= SPAN:
        return 0.0, ""
    usual = {
        name: max(statistics.median(row[name] for row in before), SMALLEST)
        for name in now
        if name.startswith(SIGMA) and math.isfinite(now[name]) and all(name in row for row in before)
    }
    return max(((now[name] / usual[name], name) for name in usual), default=(0.0, ""))


def saturation(rows: Sequence[Row]) -> Signal | None:
    """settled >= SETTLED, or slope > SLOPE, in all rows of the last SPAN rounds.

    `settled` is the share of images, real or generated, whichever is less, on which the discriminator's loss is below
    0.01: of a logit D(x) > 0.99 or D(G(z)) < 0.01, of a hinge a margin that is kept. What such a discriminator tells
    the generator is hardly a matter of the data any more (Arjovsky & Bottou 2017, arXiv 1701.04862, section 2).
    `slope` is the mean of |D(x) - D(G(z))| / |x - G(z)|, at most 1 for the 1-Lipschitz critics over which the
    Wasserstein distance is a supremum (Arjovsky et al. 2017, arXiv 1701.07875, equation 2).
    """
    learnt = _lasting(rows, "discriminator/settled", lambda value: value >= SETTLED, ROWS)
    if learnt:
        told = f"the loss of the discriminator is below 0.01 for {learnt[0]:.1%} of images (bound {SETTLED:.0%})"
        return Signal("saturation", *learnt, told)
    steep = _lasting(rows, "discriminator/slope", lambda value: value > SLOPE, ROWS)
    told = "the slope of the discriminator between images is {:.4g}" + f" (bound {SLOPE:g})"
    return Signal("saturation", *steep, told.format(steep[0])) if steep else None


def variance(rows: Sequence[Row]) -> Signal | None:
    """share < VARIANCE in all measurements of the last SPAN rounds.

    `samples/variance` is the mean over pixels of the variance of a fixed set of samples, those of a conditional model
    within their classes, as a share of that of the data: 0 where all latents become one image (the collapse of
    Salimans et al. 2016, arXiv 1606.03498, section 3.2), about 1 where all is well.
    """
    flat = _lasting(rows, "samples/variance", lambda value: value < VARIANCE, MEASUREMENTS)
    told = "the variance of samples is {:.2%} of the data's" + f" (bound {VARIANCE:.0%})"
    return Signal("variance", *flat, told.format(flat[0])) if flat else None


SIGNALS: dict[str, tuple[Callable[[Sequence[Row]], Signal | None], tuple[str, ...]]] = {
    "spectra": (spectra, (SIGMA,)),
    "saturation": (saturation, ("discriminator/settled", "discriminator/slope")),
    "variance": (variance, ("samples/variance",)),
}
"""From the name to what finds it, and what the names of its numbers begin with."""


def lookback(log_every: int, watch_every: int) -> int:
    """Rounds between a signal and the round before it that counts as healthy, at most, for rows at these intervals."""
    return max(max(SPAN, ROWS * log_every) + log_every, max(SPAN, MEASUREMENTS * watch_every) + watch_every)


def verdict(rows: Sequence[Row], config: RunConfig, saved: Sequence[int]) -> Verdict:
    """What to do after the last row, as `config.on_collapse` has it, by the signals that begin there.

    `saved` are the rounds of the checkpoints. A run that was rolled back `config.rollbacks` times stops.
    """
    if not (found := fresh(rows)):
        return Verdict("", "")
    healthy, said = min(each.healthy for each in found), "; ".join(f"{each.name}: {each.told}" for each in found)
    told = f"after round {rows[-1]['step']:,}: {said}"
    if config.on_collapse == "warn":
        return Verdict("warn", f"{told}; " + (f"healthy up to round {healthy:,}" if healthy else "from the beginning"))
    if config.on_collapse == "rollback" and config.rolled_back < config.rollbacks:
        return Verdict(BACK, told)
    before = [step for step in saved if step <= healthy]
    last = f"the last checkpoint before is of round {max(before):,}" if before else "no checkpoint is from before"
    often = f"; rolled back {config.rolled_back} times already" if config.on_collapse == "rollback" else ""
    return Verdict("stop", f"{told}{often}; saved; {last}")


def kept(config: RunConfig) -> int:
    """Checkpoints that a run keeps: with `on_collapse` other than "warn" one before any signal is among them."""
    training = config.training
    every = training.checkpoint_interval_steps
    if config.on_collapse == "warn" or not every:
        return training.keep_checkpoints
    needed = math.ceil(lookback(training.log_interval_steps, config.watch_every) / every) + 2
    return max(training.keep_checkpoints, needed)


def latest(rows: Sequence[Row], name: str, fewest: int, now: float | int) -> list[Row]:
    """The rows of the last SPAN rounds with a number whose name begins like this, in order; `fewest` if there are."""
    found: list[Row] = []
    for row in reversed(rows):
        if len(found) >= fewest and row["step"] <= now - SPAN:
            break
        if _tells(row, name):
            found.append(row)
    return found[::-1]


def _lasting(rows: Sequence[Row], name: str, shows: Callable[[float], bool], fewest: int) -> tuple[float, int] | None:
    """The median over the last SPAN rounds, where all that was measured in them shows it; and the last without."""
    if not rows or name not in rows[-1] or not shows(rows[-1][name]) or rows[-1]["step"] < SPAN:
        return None
    window = latest(rows, name, fewest, rows[-1]["step"])
    if len(window) < fewest or not all(shows(row[name]) for row in window):
        return None
    before = next((row["step"] for row in reversed(rows) if name in row and not shows(row[name])), 0)
    return statistics.median(row[name] for row in window), int(before)


def _tells(row: Row, name: str) -> bool:
    return any(title.startswith(name) for title in row)


def _shown_before(rows: Sequence[Row], name: str) -> bool:
    find, kinds = SIGNALS[name]
    earlier = (end for end in range(len(rows) - 1, 0, -1) if any(_tells(rows[end - 1], kind) for kind in kinds))
    end = next(earlier, 0)
    return find(rows[:end]) is not None
