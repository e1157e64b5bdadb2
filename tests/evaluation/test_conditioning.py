"""Conditioning of generators: closed forms, our own convolutions, and latents that do not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.errors import Caution, UserError
from vaegan_jax.evaluation.conditioning import conditioning, jacobian
from vaegan_jax.networks.dcgan import VectorToImage
from vaegan_jax.networks.network import pure

Z = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
W = np.random.default_rng(1).normal(size=(4, 12)).astype(np.float32)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def linear(z):
    return (z @ jnp.asarray(W)).reshape(-1, 2, 2, 3)


def test_of_a_linear_generator_it_is_the_logarithm_of_numpy_s_condition_number():
    found = conditioning(linear, Z)
    expected = np.log(np.linalg.cond(W.astype(np.float64) @ W.T.astype(np.float64)))
    np.testing.assert_allclose(found.logs, expected, rtol=1e-6)
    np.testing.assert_allclose([found.mean, found.deviation], [expected, 0], atol=1e-5)
    assert found.unresolved == 0


def test_a_scaled_isometry_is_conditioned_perfectly():
    q = np.linalg.qr(W.T)[0].T.astype(np.float32)
    np.testing.assert_allclose(conditioning(lambda z: 7 * (z @ jnp.asarray(q)), Z).mean, 0, atol=1e-5)


def test_a_generator_that_is_curved_has_the_condition_of_its_place():
    """g = (z1, z2^2, ...): J is diagonal, with 1 and 2 z."""
    found = conditioning(lambda z: jnp.concatenate([z[:, :1], jnp.square(z[:, 1:])], 1), Z)
    values = np.abs(np.concatenate([np.ones((6, 1)), 2 * np.asarray(Z[:, 1:], np.float64)], 1))
    expected = 2 * np.log(values.max(1) / values.min(1))
    np.testing.assert_allclose(found.logs, expected, rtol=1e-5)
    np.testing.assert_allclose([found.mean, found.deviation], [expected.mean(), expected.std()], rtol=1e-5)


def test_the_jacobian_of_our_convolutions_is_that_of_differences(float64):
    network = pure(VectorToImage((8, 8, 1), 4, normalize=False), jax.ShapeDtypeStruct((1, 4), jnp.float64))
    params, stats = network.init(jax.random.key(0))
    generator = lambda z: jnp.tanh(network.apply(params, stats, z)[0])  # noqa: E731
    z = jnp.asarray(Z[0], jnp.float64)
    found = jax.jit(lambda z: jacobian(generator, z, columns=3))(z)  # 3 does not divide 4
    assert found.shape == (64, 4)
    steps = 1e-5 * jnp.concatenate([jnp.eye(4), -jnp.eye(4)])
    up, down = jnp.split(jax.jit(generator)(z[None] + steps).reshape(8, 64), 2)
    np.testing.assert_allclose(found, (up - down).T / 2e-5, rtol=1e-6, atol=1e-8)


def test_a_latent_that_does_not_matter_is_told():
    with pytest.warns(Caution, match="at 6 of 6 latents"):
        found = conditioning(lambda z: (z * jnp.array([[1.0, 1.0, 1.0, 0.0]])) @ jnp.asarray(W), Z)
    assert found.unresolved == 6 and found.mean > 30


def test_a_constant_generator_is_conditioned_infinitely():
    with pytest.warns(Caution):
        found = conditioning(lambda z: 0 * (z @ jnp.asarray(W)), Z)
    assert np.isinf(found.mean) and np.isnan(found.deviation)


@pytest.mark.parametrize(
    "generator,z,told",
    [
        (linear, Z[:0], "there are none"),
        (lambda z: z[:, :2], Z, "2 numbers"),
        (lambda z: jnp.full((len(z), 9), jnp.nan) * z.sum(1)[:, None], Z, "NaN"),
    ],
)
def test_what_has_no_condition_number_is_refused(generator, z, told):
    with pytest.raises(UserError, match=told):
        conditioning(generator, z)
