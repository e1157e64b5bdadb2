"""What metrics look at, real or generated: moments, features, logits and images, gathered in one pass over the images.

The images themselves are never held, but for the first few thousand where a metric looks at pixels, and features only
where a metric compares them one by one: moments are enough for a Frechet distance of 50,000 samples.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from vaegan_jax.data.augmentation import middle
from vaegan_jax.data.batches import order
from vaegan_jax.data.sources import Source, gather
from vaegan_jax.errors import check
from vaegan_jax.evaluation.features.extractor import Extractor, extract
from vaegan_jax.evaluation.moments import Moments, accumulate
from vaegan_jax.pictures import to_uint8

IMAGES = 16_384
"""Images kept for metrics that look at pixels: as many as Karras et al. 2018 took for the sliced Wasserstein."""
CHUNK = 256
"""Images read from a source at once."""
MOST_MOMENTS = 4096
"""Features of which a covariance is held: of more, such as the pixels of large images, the features themselves are."""


class Evidence(NamedTuple):
    """What was gathered of one set of images; None where nobody asked for it."""

    count: int
    """Images that were seen."""
    moments: Moments | None = None
    """Mean and covariance of their features."""
    features: np.ndarray | None = None
    """(count, d) float32."""
    logits: np.ndarray | None = None
    """(count, classes) float32, where the network gives any."""
    images: np.ndarray | None = None
    """The first IMAGES of them, (n, height, width, channels) uint8."""
    labels: np.ndarray | None = None
    """The labels of those, (n,) int32, where there are any."""


def collect(
    batches: Iterable[tuple[np.ndarray, np.ndarray | None]],
    extractor: Extractor | None,
    needs: frozenset[str],
    tell: Callable[[int], None] = lambda count: None,
) -> Evidence:
    """Gathers what is needed of the fields of `Evidence` from batches of (images uint8, labels); `tell` hears how far.

    The numbers do not depend on how the images are cut into batches. Raises UserError where the network has no logits,
    or where a feature is not finite.
    """
    images, labels, count = [], [], 0

    def passing() -> Iterator[np.ndarray]:
        nonlocal count
        for batch, named in batches:
            room = IMAGES - count
            if "images" in needs and room > 0:
                images.append(batch[:room])
                labels.extend([] if named is None else [named[:room]])
            count += len(batch)
            tell(count)
            yield batch

    kept: dict[str, list[np.ndarray]] = {"features": [], "logits": []}

    def features() -> Iterator[np.ndarray]:
        for outputs in extract(extractor, passing()):
            told = f"{extractor.name} has no classes to tell: choose features that have (--features classifier)"
            check("logits" in outputs or "logits" not in needs, told)
            for name in needs & kept.keys():
                kept[name].append(outputs[name])
            yield outputs["features"]

    through = features() if needs & {"moments", "features", "logits"} else passing()
    moments = None
    if "moments" in needs:
        first = next(through)
        if first.shape[1] > MOST_MOMENTS and "features" not in needs:
            kept["features"] = [first, *through]
        elif first.shape[1] <= MOST_MOMENTS:
            moments = accumulate(itertools.chain([first], through))
    for _ in through:
        pass
    whole = {name: np.concatenate(parts) if parts else None for name, parts in kept.items()}
    pixels = np.concatenate(images) if images else None
    return Evidence(count, moments, **whole, images=pixels, labels=np.concatenate(labels) if labels else None)


def real_batches(
    source: Source, count: int, shape: tuple[int, int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """`count` images of a source, or all there are, as uint8 of a model's shape, with their labels.

    Fewer than all are drawn, always the same, so that they are of all classes also where a file is sorted.
    """
    chosen = order(0, 0, len(source))[:count] if count < len(source) else np.arange(len(source))
    for at in range(0, len(chosen), CHUNK):
        examples = gather(source, chosen[at : at + CHUNK])
        yield quantized(middle(examples["image"], shape)), examples.get("label")


def quantized(images: np.ndarray) -> np.ndarray:
    """uint8 as they are, floats in [-1, 1] rounded to the nearest: all metrics see what a picture file would hold."""
    return images if images.dtype == np.uint8 else to_uint8(images)
