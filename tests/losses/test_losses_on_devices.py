"""Losses that mix examples: the global batch's, with its gradient, on one device and under pmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.games import AXIS, device_mean
from vaegan_jax.losses import adversarial, auxiliary, coulomb, penalties, relativistic

DEVICES, EACH = 4, 2
RNG = np.random.default_rng(0)
BATCH = {
    "real": RNG.normal(size=(DEVICES * EACH, 2, 2, 1)),
    "fake": RNG.normal(size=(DEVICES * EACH, 2, 2, 1)) + 0.3,
    "label": np.array([0, -1, 1, 1, -1, -1, 0, 1]),  # as uneven as can be: one device has no known label
    "position": np.arange(DEVICES * EACH),
}
WEIGHTS = RNG.normal(size=(4, 3))
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def features(weights, images):
    return jnp.tanh(images.reshape(len(images), -1) @ weights)


def mixing(weights, batch, count):
    """By name: every loss that mixes examples, or draws by position, on a small critic's scores and features."""
    score = lambda images: jnp.square(features(weights, images)).sum(1)  # noqa: E731
    real, fake = batch["real"], batch["fake"]
    scores, codes = (score(real), score(fake)), (features(weights, real), features(weights, fake))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(7), batch["position"])
    potentials = coulomb.potentials(*(images * weights[0, 0] for images in (real, fake)))
    values = {"relativistic_average": relativistic.relativistic_average(), "coulomb": coulomb.coulomb(*potentials)}
    players = {f"{name}, critic": sum(x.mean() for x in v.discriminator(*scores)) for name, v in values.items()}
    players |= {f"{name}, generator": v.generator(*scores).mean() for name, v in values.items()}
    given = score, real, fake, keys
    return players | {
        "dragan": penalties.dragan()(*given).mean(),
        "max_gradient": penalties.lazily(penalties.max_gradient(), 3, count)(*given).mean(),
        "convergence": adversarial.convergence(*scores, 0.5),
        "pulling_away": auxiliary.pulling_away(codes[1]).mean(),
        "feature_matching": auxiliary.feature_matching(*codes),
        "auxiliary_classifier": auxiliary.auxiliary_classifier(codes[0], batch["label"]).mean(),
    }


def step(weights, batch, count):
    """Means over the devices, as the engine takes them: of each loss, and of the gradient of a mixture of all."""
    values, pull = jax.vjp(lambda weights: mixing(weights, batch, count), weights)
    shares = np.random.default_rng(1).uniform(0.5, 1.5, size=len(values))  # so that no two can make up for each other
    (gradient,) = pull({name: jnp.asarray(share) for name, share in zip(values, shares, strict=True)})
    return device_mean((values, gradient))


def test_the_global_batch_counts_however_it_is_split(float64):
    assert len(jax.devices()) >= DEVICES
    batch = jax.tree.map(jnp.asarray, BATCH)
    one = jax.jit(step)(jnp.asarray(WEIGHTS), batch, 6)
    dealt = jax.tree.map(lambda leaf: leaf.reshape(DEVICES, EACH, *leaf.shape[1:]), batch)
    mapped = jax.pmap(step, AXIS, in_axes=(None, 0, None), devices=jax.devices()[:DEVICES])(
        jnp.asarray(WEIGHTS), dealt, 6
    )
    for device in (0, DEVICES - 1):
        for name in one[0]:
            np.testing.assert_allclose(mapped[0][name][device], one[0][name], rtol=1e-10, err_msg=name)
        np.testing.assert_allclose(mapped[1][device], one[1], rtol=1e-9)
