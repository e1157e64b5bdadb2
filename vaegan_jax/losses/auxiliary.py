"""What players pay for beside a score: features, codes and classes. Nothing is reduced but where examples are mixed."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vaegan_jax.games import device_mean
from vaegan_jax.gathering import everyone
from vaegan_jax.losses.likelihoods import gaussian
from vaegan_jax.losses.reductions import sum_events


def pulling_away(codes: Float[Array, "n f"]) -> Float[Array, " n"]:
    """Mean squared cosine between an example's code and each other one's: Zhao et al. 2016 (EBGAN), section 2.4.

    In [0, 1], for the generator, on an autoencoder's codes of generated images; over the global batch, whose mean is
    the paper's f_PT. A code of zeros has no direction: its cosines are 0. ValueError for a global batch of one.
    """
    squares = sum_events(jnp.square(codes))
    directed = squares > 0
    directions = codes * jnp.where(directed, jax.lax.rsqrt(jnp.where(directed, squares, 1)), 0)[:, None]
    others = everyone(directions)
    if len(others) < 2:
        raise ValueError("the pulling-away term compares examples: it needs a batch of two or more")
    cosines = jnp.matmul(directions, others.T, precision=jax.lax.Precision.HIGHEST)
    itself = jnp.square(sum_events(jnp.square(directions)))
    return (jnp.square(cosines).sum(1) - itself) / (len(others) - 1)


def feature_matching(real_features: Float[Array, "m f"], fake_features: Float[Array, "n f"]) -> Float[Array, ""]:
    """|mean f(x) - mean f(G)|^2 for the generator, with means over the global batch: Salimans et al. 2016, section 3.1.

    arXiv 1606.03498. Features are of an intermediate layer of the discriminator.
    """
    real, fake = device_mean((real_features.mean(0), fake_features.mean(0)))
    return jnp.square(real - fake).sum()


def auxiliary_classifier(logits: Float[Array, "n k"], labels: Int[Array, " n"]) -> Float[Array, " n"]:
    """-log P(y | x) in nats, for both players, on real and on generated images: Odena et al. 2016 (arXiv 1610.09585).

    The paper's L_C with the sign turned; where the lecture notes have P(y | x) itself, its logarithm is meant. A label
    of -1 is unknown: it pays 0 and is not counted, that is the known ones weigh so much more that the mean over the
    global batch is the mean over the known; 0 where none is known.
    """
    known = (labels >= 0).astype(logits.dtype)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
    share = device_mean(known.mean())
    return -chosen * known / jnp.where(share > 0, share, 1)


def categorical_information(
    logits: Float[Array, "n k"], codes: Int[Array, " n"], entropy: float | None = None
) -> Float[Array, " n"]:
    """log Q(c | G(z, c)) + H(c) in nats: a lower bound of the information that an image has on its categorical code.

    Chen et al. 2016 (InfoGAN, arXiv 1606.03657), equations 4 and 5. Generator and Q add -lambda times its mean to what
    they minimize: the minus sign is for that. `logits` are Q's; H(c), a constant, is that of k equally probable codes,
    log k, unless given.
    """
    entropy = math.log(logits.shape[1]) if entropy is None else entropy
    return jnp.take_along_axis(jax.nn.log_softmax(logits), codes[:, None], axis=1)[:, 0] + entropy


def continuous_information(
    mean: Float[Array, "n d"],
    codes: Float[Array, "n d"],
    log_variance: Float[Array, "n d"] | float = 0.0,
    entropy: float = math.log(2),
) -> Float[Array, " n"]:
    """log Q(c | G(z, c)) + H(c) in nats, for d independent continuous codes and a Gaussian Q; see the categorical one.

    The variance is 1 unless given. `entropy` is that of one dimension: log 2 for codes uniform on [-1, 1]. The bound
    holds for any Q; with variance 1 it stays below log 2 - log(2 pi) / 2, negative, for each such code.
    """
    return sum_events(entropy - gaussian(mean, codes, log_variance))
