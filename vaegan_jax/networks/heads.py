"""What is read off a discriminator's features (n, f): all that follows a backbone's body, in at least float32."""

from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.networks.layers import Dense, Initializer, activate
from vaegan_jax.networks.minibatch import MinibatchDeviation, MinibatchDiscrimination
from vaegan_jax.networks.norms import BatchNorm

GLOROT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


class Scores(NamedTuple):
    """`score` (n,): the logit, or the critic's value. `classes` (n, k): logits of an auxiliary classifier, if any."""

    score: jax.Array
    classes: jax.Array | None = None


class Codes(NamedTuple):
    """`categories`: one array of logits (n, k) per categorical code. `means` (n, c): of the continuous codes."""

    categories: tuple[jax.Array, ...]
    means: jax.Array


class Score(nn.Module):
    """features (and labels) -> Scores.

    score = psi(phi), a dense layer; with `projection` it is psi(phi) + y' V phi (Miyato & Koyama 2018, eq. 3, arXiv
    1802.05637), y the labels: one-hot, or an embedding. With `classes` another dense layer gives the logits of the
    auxiliary classifier (Odena et al. 2016). ValueError for a projection without labels and for labels without one.
    """

    projection: bool = False
    classes: int = 0
    spectral: bool = False
    minibatch: Literal["none", "discrimination", "deviation"] = "none"
    """What the features are first completed with, of the whole batch (Salimans et al. 2016, or Karras et al. 2017)."""
    kernel_init: Initializer = GLOROT

    @nn.compact
    def __call__(
        self, features: Float[Array, "n f"], labels: Float[Array, "n e"] | None = None, train: bool = False
    ) -> Scores:
        if self.projection != (labels is not None):
            raise ValueError("a projection needs labels" if self.projection else "labels are read by a projection only")
        features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
        if self.minibatch != "none":
            layer = {"discrimination": MinibatchDiscrimination, "deviation": MinibatchDeviation}[self.minibatch]
            features = layer()(features)
        layer = partial(Dense, kernel_init=self.kernel_init, spectral=self.spectral, precise=True)
        score = layer(1, name="score")(features, train)[:, 0]
        if labels is not None:
            embed = layer(features.shape[1], use_bias=False, name="projection")
            score = score + (embed(labels.astype(features.dtype), train) * features).sum(1)
        if not self.classes:
            return Scores(score)
        return Scores(score, layer(self.classes, name="classes")(features, train))


class Recognition(nn.Module):
    """InfoGAN's Q(c | x): features -> dense, batch norm, leaky ReLU -> Codes (Chen et al. 2016, appendix C).

    `categories` are the sizes of the categorical codes; the continuous ones are Gaussians of unit variance around the
    means. `hidden` of 0 leaves the hidden layer out. ValueError without any code.
    """

    categories: tuple[int, ...] = ()
    continuous: int = 0
    hidden: int = 128
    spectral: bool = False

    @nn.compact
    def __call__(self, features: Float[Array, "n f"], train: bool = False) -> Codes:
        if not self.categories and not self.continuous:
            raise ValueError("a recognition network without codes: give it categories or continuous ones")
        x = features.astype(jnp.promote_types(features.dtype, jnp.float32))
        if self.hidden:
            x = Dense(self.hidden, use_bias=False, spectral=self.spectral)(x, train)
            x = activate(BatchNorm()(x, train), 0.1)
        sizes = (*self.categories, self.continuous)
        y = Dense(sum(sizes), spectral=self.spectral, name="codes")(x, train)
        *categories, means = jnp.split(y, [sum(sizes[: place + 1]) for place in range(len(self.categories))], axis=1)
        return Codes(tuple(categories), means)
