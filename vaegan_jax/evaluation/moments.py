"""Mean and covariance of features, summed in float64 from batches of any size; sums of several hosts can be merged."""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from vaegan_jax.errors import UserError, check

CHUNK = 2048
"""Features are summed in chunks of so many, however they come: no bit depends on the batch size."""

Normalizer = Literal["unbiased", "biased"]
"""unbiased: 1/(N - 1), as np.cov, pytorch-fid, clean-fid, torch-fidelity and EDM; biased: 1/N, as StyleGAN2-ADA."""


class Moments(NamedTuple):
    """What the Frechet distance knows of a set of features, in float64."""

    count: int
    mean: Float[np.ndarray, " d"]
    scatter: Float[np.ndarray, "d d"]
    """The sum of (x - mean)(x - mean)^T over the features x, not divided by anything."""


def accumulate(batches: Iterable[Float[np.ndarray, "_ _"]]) -> Moments:
    """The moments of features that come in batches (n, d) of any size; holds one chunk at a time.

    Raises UserError for features that are not finite, with the number of the first such image, and for none at all.
    """
    total = None
    for chunk in _chunks(batches):
        total = _first(chunk) if total is None else _extended(total, chunk)
    check(total is not None, "there are no features to take moments of: give at least 2 images")
    return total


def of(features: Float[np.ndarray, "n d"]) -> Moments:
    """The moments of features that are all here; the same bits as `accumulate` of their batches."""
    return accumulate([features])


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of two sets together (Chan, Golub & LeVeque 1979, equation 2.1): no digits are lost to the means."""
    _check_widths(a, b)
    count, shift = a.count + b.count, b.mean - a.mean
    scatter = a.scatter + b.scatter + (a.count * b.count / count) * np.outer(shift, shift)
    return Moments(count, a.mean + shift * (b.count / count), scatter)


def covariance(moments: Moments, normalizer: Normalizer = "unbiased") -> Float[np.ndarray, "d d"]:
    """The covariance matrix. Raises UserError for fewer than 2 images, which have none."""
    check(moments.count > 1, f"a covariance needs at least 2 images, there is {moments.count}")
    return moments.scatter / (moments.count - (normalizer == "unbiased"))


def check_features(features: np.ndarray, kind: str, metric: str, least: int) -> np.ndarray:
    """The features themselves; UserError if they are no (n, d), fewer than `least`, or not finite (says the first).

    kind says which images they are of ("real", "fake"), metric what they are for: both are for the message.
    """
    features = np.asarray(features)
    shape = features.shape
    check(len(shape) == 2, f"the features of the {kind} images must be (images, features), they are {shape}")
    check(len(features) >= least, f"{metric} needs at least {least:,} {kind} images, there are {len(features):,}")
    _check_finite(features, 0, f"{kind} image")
    return features


def check_pair(real: np.ndarray, fake: np.ndarray, metric: str, least: int) -> tuple[np.ndarray, np.ndarray]:
    """`check_features` of both, which must have one width."""
    real, fake = check_features(real, "real", metric, least), check_features(fake, "fake", metric, least)
    same = real.shape[1] == fake.shape[1]
    check(same, f"real images have {real.shape[1]} features, fake ones {fake.shape[1]}: use one extractor for both")
    return real, fake


def _check_finite(features: np.ndarray, start: int, kind: str) -> None:
    for at in range(0, len(features), CHUNK):
        finite = np.isfinite(features[at : at + CHUNK])
        if finite.all():
            continue
        first = start + at + int(finite.all(axis=1).argmin())
        raise UserError(f"the features of {kind} {first} are not finite: look at that image, or did the model diverge?")


def _check_widths(a: Moments, b: Moments) -> None:
    widths = len(a.mean), len(b.mean)
    check(widths[0] == widths[1], f"moments of {widths[0]} and of {widths[1]} features: use one extractor for both")


def _chunks(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows in float64, CHUNK at a time, the last ones fewer."""
    held, buffer, start = 0, None, 0
    for batch in batches:
        check(
            np.ndim(batch) == 2, f"features must be (images, features), those of image {start} on are {np.shape(batch)}"
        )
        _check_finite(batch, start, "image")
        buffer = np.empty((CHUNK, batch.shape[1])) if buffer is None else buffer
        same = batch.shape[1] == buffer.shape[1]
        check(same, f"image {start} has {batch.shape[1]} features, those before it {buffer.shape[1]}")
        start += len(batch)
        while len(batch):
            taken = min(CHUNK - held, len(batch))
            buffer[held : held + taken] = batch[:taken]
            held, batch = held + taken, batch[taken:]
            if held == CHUNK:
                yield buffer
                held = 0
    if held:
        yield buffer[:held]


def _first(chunk: np.ndarray) -> Moments:
    mean = chunk.mean(axis=0)
    centered = chunk - mean
    return Moments(len(chunk), mean, centered.T @ centered)


def _extended(total: Moments, chunk: np.ndarray) -> Moments:
    """`merge` with the chunk's moments, the rank-one term as one more row of the product: two passes fewer."""
    mean, count = chunk.mean(axis=0), total.count + len(chunk)
    shift = mean - total.mean
    rows = np.concatenate([chunk - mean, np.sqrt(total.count * len(chunk) / count) * shift[None]])
    scatter = rows.T @ rows
    scatter += total.scatter
    return Moments(count, total.mean + shift * (len(chunk) / count), scatter)
