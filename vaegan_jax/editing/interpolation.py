"""Interpolation: the images between two of a model's samples.

Along the great circle normal latents stay where their prior has its mass (White 2016, arXiv 1609.04468, section 2.1);
halfway on a line they are shorter. Uniform latents leave their cube on a circle, and codes are no directions: these go
along lines. Classes go along a line of their one-hot vectors, and so of their embeddings, as in Brock et
al. 2018 (arXiv 1809.11096), figures 8 and 9.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaegan_jax.errors import check
from vaegan_jax.games import Params, Stats
from vaegan_jax.latents import great_circle, line
from vaegan_jax.models import name_of, truncating
from vaegan_jax.models.adversarial_game import drawn_classes
from vaegan_jax.training.experiment import (
    CHUNK,
    SAMPLES,
    Experiment,
    class_numbers,
    classes_told,
    example_range,
    weights_for_sampling,
)
from vaegan_jax.training.reading import read

PATHS = {"great-circle": great_circle, "line": line}
ROUND = ("normal", "spherical", "truncated")
"""Priors whose latents have nearly one length."""


class Interpolation(NamedTuple):
    """Which rows are asked for."""

    count: int = 8
    """Rows."""
    steps: int = 9
    """Images of a row, with both ends."""
    between: Literal["latents", "classes", "both"] = "latents"
    """What changes along a row."""
    path: Literal["auto", "great-circle", "line"] = "auto"
    """Of the latents; auto: the great circle for normal and spherical priors, the line for others."""


def rows_of(
    run: Path | str,
    how: Interpolation,
    seed: int | None = None,
    labels: Sequence[str] = (),
    truncation: float | None = None,
) -> tuple[np.ndarray, str]:
    """Images in [-1, 1], (count, steps, height, width, channels), and with which weights they were made.

    Row i goes from sample 2 i of `seed` (the run's by default) to sample 2 i + 1. It is of class `labels[i]`, and of
    the first end's by default; where classes change, from `labels[2 i]` to `labels[2 i + 1]` (modulo their number), and
    from one end's to the other's by default. Between classes the latent is the first end's.

    Raises UserError for fewer than 1 row or 2 steps, a seed out of range, classes that the model does not have, and a
    truncation that is not above 0 or of a model whose prior is not normal.
    """
    check(how.count > 0, f"count must be at least 1, not {how.count}")
    check(how.steps > 1, f"steps must be at least 2, one for each end, not {how.steps}")
    check(seed is None or 0 <= seed < 2**32, f"seed must be in 0 .. 2^32 - 1, not {seed}")
    experiment, state, _ = read(run)
    params, stats, sampled_with = weights_for_sampling(experiment, state, truncation)
    seed = experiment.config.seed if seed is None else seed
    keys = example_range(jax.random.fold_in(jax.random.key(seed), SAMPLES), 0, 2 * how.count)
    z, told = points(experiment, how, keys, labels, truncation)
    images = images_of(experiment, params, stats, z, told)
    return images.reshape(how.count, how.steps, *images.shape[1:]), sampled_with


def points(
    experiment: Experiment,
    how: Interpolation,
    keys: jax.Array,
    labels: Sequence[str] = (),
    truncation: float | None = None,
) -> tuple[jax.Array, jax.Array | None]:
    """Latents (count steps, d) and what the model is told of classes, (count steps, k) or None, row by row.

    `keys` (2 count,) are those of both ends of each row in turn. UserError as `rows_of`.
    """
    model, config = experiment.model, experiment.config.model
    prior = model.prior(config) if truncation is None else truncating.truncated_prior(config, truncation)
    shares = jnp.linspace(0.0, 1.0, how.steps)

    def along(path, ends: jax.Array) -> jax.Array:
        first, last = ends[::2], ends[1::2]
        return jax.vmap(path, (0, 0, None))(first, last, shares).reshape(-1, ends.shape[1])

    z, kind = prior(keys), getattr(config, "prior", "normal")
    usual = "great-circle" if kind in ROUND and z.shape[1] == config.latent_size else "line"
    path = PATHS[usual if how.path == "auto" else how.path]
    z = z[::2].repeat(how.steps, 0) if how.between == "classes" else along(path, z)
    classes = classes_told(experiment)
    check(
        classes > 0 or how.between == "latents",
        f"{name_of(config)} was not told classes, so there is nothing between them: use latents",
    )
    if labels:
        each = how.count if how.between == "latents" else 2 * how.count
        numbers = jnp.asarray(np.resize(class_numbers(experiment, labels), each))
        numbers = numbers.repeat(2) if how.between == "latents" else numbers
    elif classes:
        numbers = drawn_classes(keys, classes)
        numbers = numbers[::2].repeat(2) if how.between == "latents" else numbers
    else:
        return z, None
    return z, along(line, jax.nn.one_hot(numbers, classes, dtype=z.dtype))


def images_of(
    experiment: Experiment, params: Params, stats: Stats, z: jax.Array, told: jax.Array | None = None
) -> np.ndarray:
    """Images in [-1, 1] of latents (n, d) and class weights (n, k), in chunks of one size: compiled once."""
    generate = partial(experiment.model.generate, experiment.config.model, experiment.spec)
    compiled, size = jax.jit(generate), min(len(z), CHUNK)
    given = [array for array in (z, told) if array is not None]
    images = []
    for at in range(0, len(z), size):
        parts = (jnp.resize(array[at : at + size], (size, array.shape[1])) for array in given)
        images.append(np.asarray(compiled(params, stats, *parts))[: len(z) - at])
    return np.concatenate(images)
