"""Optimizers against their update rules in NumPy, and bounds on parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaegan_jax.errors import UserError
from vaegan_jax.optimizers import SGD, Adam, Optimizer, RMSProp, bounded, confine

GRADIENTS = np.random.default_rng(0).normal(size=(5, 3))
START = np.array([0.3, -2.0, 1.0])


def trajectory(tx):
    """The parameters after each step."""
    params, points = jnp.asarray(START), []
    state = tx.init(params)
    for gradient in GRADIENTS:
        updates, state = tx.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        points.append(np.asarray(params))
    return np.array(points)


def test_adam_rmsprop_and_gradient_descent_follow_their_rules(float64):
    w = {"adam": START.copy(), "rmsprop": START.copy(), "sgd": START.copy(), "momentum": START.copy()}
    mean = square = average = velocity = 0
    expected = {name: [] for name in w}
    for t, g in enumerate(GRADIENTS, 1):
        mean, square = 0.5 * mean + 0.5 * g, 0.9 * square + 0.1 * g**2
        w["adam"] -= 0.1 * (mean / (1 - 0.5**t)) / (np.sqrt(square / (1 - 0.9**t)) + 1e-3)
        average = 0.8 * average + 0.2 * g**2
        w["rmsprop"] -= 0.1 * g / (np.sqrt(average) + 1e-3)
        velocity = 0.7 * velocity + g
        w["sgd"] -= 0.1 * g
        w["momentum"] -= 0.1 * velocity
        for name in w:
            expected[name].append(w[name].copy())
    made = {
        "adam": Adam(0.1, 0.5, 0.9, 1e-3),
        "rmsprop": RMSProp(0.1, 0.8, 1e-3),
        "sgd": SGD(0.1),
        "momentum": SGD(0.1, 0.7),
    }
    by_name = {
        "adam": Optimizer("adam", 0.1, 0.5, 0.9, 1e-3),
        "rmsprop": Optimizer("rmsprop", 0.1, b2=0.8, epsilon=1e-3),
        "sgd": Optimizer("sgd", 0.1, b1=0.0),
        "momentum": Optimizer("sgd", 0.1, b1=0.7),
    }
    for name, config in (*made.items(), *by_name.items()):
        np.testing.assert_allclose(trajectory(config.transformation()), expected[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (Adam, {"learning_rate": 0.0}),
        (Adam, {"b1": 1.0}),
        (Adam, {"epsilon": 0.0}),
        (RMSProp, {"learning_rate": float("nan")}),
        (RMSProp, {"decay": 1.0}),
        (RMSProp, {"epsilon": float("inf")}),
        (SGD, {"learning_rate": -1.0}),
        (SGD, {"momentum": 1.0}),
        (Optimizer, {"b1": 1.0}),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(config, settings):
    with pytest.raises(UserError, match=next(iter(settings)).replace("_", "-")) as refused:
        config(**settings)
    assert "\n" not in str(refused.value)


def test_clipped_weights_stay_within_the_bound_and_move_freely_inside(float64):
    plain = optax.sgd(0.01)
    clipped = trajectory(bounded(plain, -0.25, 0.25))
    expected, point = [], START
    for gradient in GRADIENTS:
        point = np.clip(point - 0.01 * gradient, -0.25, 0.25)
        expected.append(point)
    np.testing.assert_allclose(clipped, expected, rtol=1e-12)
    assert (np.abs(clipped) <= 0.25 * (1 + 1e-15)).all() and (np.abs(clipped) < 0.25).any()


def test_clipping_reaches_every_leaf_and_no_further():
    params = {"kernel": jnp.full((2, 3), 5.0), "bias": jnp.array([0.001, -3.0])}
    tx = confine(-0.01, 0.01)
    for rtol in (1e-4, 1e-6):  # the first step, from far away, rounds more
        updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["kernel"], np.full((2, 3), 0.01), rtol=rtol)
        np.testing.assert_allclose(params["bias"], [0.001, -0.01], rtol=rtol)


def test_plain_ascent_within_the_unit_interval_is_the_rule_of_the_boundary_equilibriums_k(float64):
    tx = bounded(SGD(0.5).transformation(), 0, 1)
    k, state, expected = jnp.zeros(()), tx.init(jnp.zeros(())), 0.0
    for balance in (-0.4, 0.6, 1.1, 0.9, -0.5):  # the player of k minimizes -k balance
        updates, state = tx.update(-jnp.asarray(balance), state, k)
        k, expected = optax.apply_updates(k, updates), np.clip(expected + 0.5 * balance, 0, 1)
        np.testing.assert_allclose(k, expected, atol=1e-15)


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"^the bounds of parameters must have low < high, got 1.0 and 0.0$"):
        confine(1.0, 0.0)
