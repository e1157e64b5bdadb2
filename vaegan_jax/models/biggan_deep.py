"""BigGAN-deep: twice as many blocks, with bottlenecks, and a z that is not cut.

Brock et al. 2018 (arXiv 1809.11096), section 4.2; `networks.biggan_deep` has the networks of its appendix B.
"""

from dataclasses import dataclass
from typing import Literal

from vaegan_jax.models import biggan, gan

AVERAGED = gan.AVERAGED


@dataclass(frozen=True)
class Config(biggan.Config):
    """BigGAN-deep (Brock et al. 2018). The rates are those of 128 pixels; from 256 on the paper has 2.5e-5 for both."""

    network: Literal["biggan-deep"] = "biggan-deep"
    """Both networks."""
    width: int = 128
    """Channels that the paper calls ch, of which all others are multiples."""
    latent_size: int = 128
    """Dimensions of z, which the dense map and all norms are told."""


networks, game, schedule, prior = gan.networks, gan.game, gan.schedule, gan.prior
sample, generate, told = gan.sample, gan.generate, gan.told
