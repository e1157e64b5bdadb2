"""What a layout finds in a checkpoint: all that a run is made of."""

import math
from typing import Any, NamedTuple

from vaegan_jax.data import UNKNOWN
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.games import Params, Stats
from vaegan_jax.networks.biggan import plan


class Found(NamedTuple):
    """Networks of ours, filled. `params` and `stats` hold the generator, and the discriminator where there is one."""

    layout: str
    """Whose it is."""
    model: Any
    """The `Config` of the model."""
    spec: DataSpec
    params: Params
    stats: Stats
    averages: Params
    """The averaged generator, or nothing."""
    halflife_kimg: float = 0.0
    """Of the averages, as far as it can be told."""
    iterations: int | None = None
    """Steps of the generator, where the checkpoint tells them."""
    notes: tuple[str, ...] = ()
    """What people should know, a line each."""


def spec_of(side: int, classes: int) -> DataSpec:
    """Of square images in color, of which nothing else is known."""
    return DataSpec(UNKNOWN, (side, side, 3), classes)


def attention_of(height: int, side: int) -> int:
    """What the setting is for self-attention after the map of a height; -1 where that is the paper's."""
    return -1 if plan((side, side, 3)).attention(-1) == height else height


def halflife_kimg(decay: float, images_per_round: int) -> float:
    """Of an average that keeps `decay` of the old in each round, in thousand real images."""
    return math.log(0.5) / math.log(decay) * images_per_round / 1000
