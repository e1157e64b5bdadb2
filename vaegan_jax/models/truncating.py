"""Truncation: samples from a part of p(z) near its mode, better ones and less varied (Brock et al. 2018, section 3.1).

For a normal prior every entry of z beyond a threshold is drawn again. Published generators whose batch statistics come
for truncations from 0 to 1 have another custom, theirs: the truncation times a normal that is cut off at 2.
"""

import math
from typing import Any

import jax

from vaegan_jax import latents
from vaegan_jax.errors import check
from vaegan_jax.models import MODELS, name_of

BOUND = 2.0
"""Where published generators' latents are cut off before they are scaled."""


def truncated_prior(config: Any, truncation: float) -> latents.Prior:
    """p(z) of a model's `Config`, truncated: keys (n,) -> (n, d).

    UserError for a truncation that is not above 0 (or, for statistics by truncation, not at most 1), and for models
    without a normal prior.
    """
    model, name = MODELS[name_of(config)], name_of(config)
    check(math.isfinite(truncation) and truncation > 0, f"truncation must be above 0 and finite, not {truncation}")
    check(hasattr(model, "prior"), f"{name} has no latents, so there is nothing to truncate")
    if getattr(config, "statistics_bins", 0):
        told = f"truncation must be at most 1 for {name} with statistics of its own at truncations up to 1"
        check(truncation <= 1, f"{told}, not {truncation}")
        return latents.shrunk(config.latent_size, truncation, BOUND)
    kind = getattr(config, "prior", "normal")
    drawn = jax.eval_shape(model.prior(config), jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1)))
    plain = kind == "normal" and drawn.shape[1] == config.latent_size
    what = f"a {kind} one" if kind != "normal" else "noise and codes"
    check(plain, f"truncation is of a normal prior, and that of this {name} is {what}")
    return latents.truncated(config.latent_size, truncation)


def told(config: Any, truncation: float | None) -> str:
    """How latents were cut off, in words: part of every number made from the samples."""
    scaled = f" x normal within {BOUND:g}" if getattr(config, "statistics_bins", 0) else ""
    return "none" if truncation is None else f"{truncation:g}{scaled}"
