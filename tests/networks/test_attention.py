"""Self-attention against sums over pixels in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import check_slope

from vaegan_jax.networks.attention import SelfAttention, attend

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SHAPE = (2, 4, 6, 16)
FORMS = {"sagan": (2, 2, 16), "biggan": (2, 2, 8)}  # channels of f, g and h
each_form = pytest.mark.parametrize("form", FORMS)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def weights(form, gamma=0.7):
    channels = dict(zip("fgh", FORMS[form], strict=True))
    made = {name: {"kernel": noise(1, 1, 16, channels[name], seed=at)} for at, name in enumerate("fgh")}
    if form == "biggan":
        made["output"] = {"kernel": noise(1, 1, 8, 16, seed=4)}
    return made | {"gamma": np.asarray(gamma)}


def pooled(rows):
    """(24, c) of 4 x 6 pixels -> (6, c), the largest of each 2 x 2."""
    image = rows.reshape(4, 6, -1)
    return np.stack([image[y : y + 2, x : x + 2].max((0, 1)) for y in (0, 2) for x in (0, 2, 4)])


def by_sums(form, params, x):
    """Zhang et al. 2018, eqs. 1 to 3, image by image and pixel by pixel."""
    w = {name: np.asarray(params[name]["kernel"])[0, 0] for name in params if name != "gamma"}
    out = np.zeros_like(x)
    for n, image in enumerate(x):
        pixels = image.reshape(24, 16)
        f, g, h = (pixels @ w[name] for name in "fgh")
        if form == "biggan":
            f, h = pooled(f), pooled(h)
        o = np.zeros((24, h.shape[1]))
        for j in range(24):
            s = np.exp([f_i @ g[j] for f_i in f])
            for beta, h_i in zip(s / s.sum(), h, strict=True):
                o[j] += beta * h_i
        o = o @ w["output"] if form == "biggan" else o
        out[n] = (pixels + np.asarray(params["gamma"]) * o).reshape(4, 6, 16)
    return out


@each_form
def test_attention_is_the_paper_s_sum_over_pixels(form, float64):
    x, params = 0.5 * noise(*SHAPE, seed=9), weights(form)
    y = jax.jit(SelfAttention(form).apply)({"params": params}, x)
    np.testing.assert_allclose(y, by_sums(form, params, x), rtol=1e-10, atol=1e-10)


@each_form
def test_its_gradients_are_those_of_finite_differences(form, float64):
    x, to = 0.3 * noise(1, 2, 4, 16, seed=9), noise(1, 2, 4, 16, seed=8)
    loss = lambda params, x: (SelfAttention(form).apply({"params": params}, x) * to).sum()  # noqa: E731
    check_slope(loss, jax.tree.map(lambda leaf: 0.3 * leaf, weights(form)), x)


def test_at_the_start_it_is_the_identity_and_only_gamma_has_a_gradient():
    layer, x = SelfAttention("biggan"), np.asarray(noise(*SHAPE), np.float32)

    @jax.jit
    def run(key, x):
        y, given = layer.init_with_output(key, x, train=True)
        loss = lambda params: jnp.square(layer.apply(given | {"params": params}, x)).sum()  # noqa: E731
        return y, jax.grad(loss)(given["params"])

    y, slope = run(jax.random.key(0), x)
    np.testing.assert_array_equal(y, x)
    assert slope.pop("gamma") != 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slope))


def test_equal_pixels_attend_to_all_alike_and_large_products_do_not_overflow():
    values, ones = noise(2, 5, 3).astype(np.float32), np.ones((2, 5, 2), np.float32)
    alike = jax.jit(attend)(ones[:, :4], ones, values)
    np.testing.assert_allclose(alike, np.tile(values.mean(1)[:, None], (1, 4, 1)), rtol=1e-5, atol=1e-6)
    keys = 1e4 * np.eye(5, dtype=np.float32)[3, :, None] * ones
    np.testing.assert_allclose(np.asarray(jax.jit(attend)(1e4 * ones[:, :4], keys, values))[:, 0], values[:, 3])


def test_the_softmax_is_taken_in_float32_under_bfloat16():
    """Products 256 and 257 are one number in bfloat16, and weights 0.27 and 0.73 in float32."""
    queries, keys, values = (np.asarray(x, jnp.bfloat16) for x in ([[[1, 1]]], [[[256, 0], [256, 1]]], [[[0], [1]]]))
    found = jax.jit(attend)(queries, keys, values)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(found, np.float32)[0, 0, 0], 1 / (1 + np.exp(-1)), rtol=2**-8)


def test_what_it_cannot_look_at_is_refused():
    with pytest.raises(ValueError, match="an eighth of the channels, of which there are only 4"):
        SelfAttention().init(jax.random.key(0), jnp.zeros((1, 4, 4, 4)))
    with pytest.raises(ValueError, match="7x7 pixels cannot be pooled"):
        SelfAttention("biggan").init(jax.random.key(0), jnp.zeros((1, 7, 7, 8)))
