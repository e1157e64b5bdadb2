"""The pixels themselves as features: no network, no weights; the yardstick that a learned feature has to beat."""

import functools

from jaxtyping import Array, Float

from vaegan_jax.errors import check
from vaegan_jax.evaluation.features.extractor import Extractor


@functools.lru_cache(maxsize=8)
def extractor(image_shape: tuple[int, int, int]) -> Extractor:
    """The extractor of images of (height, width, channels), not resized: flattened, in [-1, 1], row by row.

    Gray images do for three channels. `extract` raises UserError for images of another shape: their pixels would not
    be comparable with those of the first.
    """

    def apply(params: tuple, images: Float[Array, "n h w c"]) -> dict[str, Array]:
        told = f"features of the pixels are those of images of {image_shape}, not of {images.shape[1:]}"
        check(images.shape[1:] == image_shape, told)
        return {"features": ((images - 127.5) / 127.5).reshape((len(images), -1))}

    return Extractor("pixels", "", "none", None, (), apply, image_shape[2])
