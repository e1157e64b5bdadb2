"""`--dynamics-every`: what is measured while training is right, is logged, costs what is told, and changes nothing."""

import jax
import numpy as np
import pytest
from commands import GAN, done
from runs import ONE, STEPS, UNEVEN, events, rows, sha256

from vaegan_jax.data import ArraySource
from vaegan_jax.dynamics import instruments
from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.errors import UserError
from vaegan_jax.models import gan, vae
from vaegan_jax.training import measuring
from vaegan_jax.training.beginning import state_shapes
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import assemble
from vaegan_jax.training.measuring import Instruments

SOURCE = ArraySource({"image": np.random.default_rng(0).integers(0, 256, (12, 2, 2, 1), dtype=np.uint8)})
TINY = gan.Config("mlp", latent_size=2, hidden_sizes=(3,))
ALWAYS = {"rotation", "rotation_error", "seconds", "field_evaluations"} | {
    f"{which}_{part}" for which in ("leading", "leftmost") for part in ("real", "imaginary", "residual")
}
OF_A_GAN = ALWAYS | {
    f"{player}/{what}"
    for player in ("discriminator", "generator")
    for what in ("hessian_smallest", "hessian_largest", "singular_value")
}


def experiment_of(model, **fields):
    return assemble(RunConfig(model, batch_size=4, dynamics_every=7, **fields), SOURCE.spec)


def state_of(experiment):
    """Weights far from symmetric points; floats are NumPy's, in the widest type."""
    shapes, draw = state_shapes(experiment), np.random.default_rng(0).normal
    wide = jax.numpy.result_type(float)

    def fill(leaf):
        floating = jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)
        return jax.numpy.asarray(draw(size=leaf.shape), wide) if floating else jax.numpy.zeros(leaf.shape, leaf.dtype)

    return jax.tree.map(fill, shapes)


@pytest.mark.slow
def test_what_is_measured_of_a_gan_is_what_its_dense_jacobian_has(monkeypatch, float64, this_compiled_quickly):
    """With as many products as there are parameters, of which there are few, the estimates are exact."""
    monkeypatch.setattr(measuring, "PRODUCTS", 99)
    experiment = experiment_of(TINY)
    state = state_of(experiment)
    field = instruments.run_field(experiment, state, SOURCE)
    point = instruments.point_of(experiment.game, state.params)
    found = Instruments(experiment, SOURCE)(state)
    assert set(found) == {f"dynamics/{name}" for name in OF_A_GAN}
    found = {name.removeprefix("dynamics/"): value for name, value in found.items()}
    made = instruments.operator(field, point)
    dense = np.stack([made.jacobian(basis) for basis in np.eye(made.size)], 1)
    values = np.linalg.eigvals(dense)
    for name, value in (("leading", values[np.abs(values).argmax()]), ("leftmost", values[values.real.argmin()])):
        told = (found[f"{name}_real"], found[f"{name}_imaginary"])
        np.testing.assert_allclose(told, (value.real, abs(value.imag)), rtol=1e-8, atol=1e-8)
        assert found[f"{name}_residual"] < 1e-8
    exact = instruments.exact_share(dense).share
    assert abs(found["rotation"] - exact) < 4 * found["rotation_error"] < 0.5
    for network in ("discriminator", "generator"):
        mine = instruments.entries([network], point)
        hessian = np.linalg.eigvalsh(dense[np.ix_(mine, mine)])
        told = (found[f"{network}/hessian_smallest"], found[f"{network}/hessian_largest"])
        np.testing.assert_allclose(told, hessian[[0, -1]], rtol=1e-8, atol=1e-8)
        kernels = [leaf for leaf in jax.tree.leaves(point[network]) if leaf.ndim > 1]
        largest = max(np.linalg.norm(kernel, 2) for kernel in kernels)
        np.testing.assert_allclose(found[f"{network}/singular_value"], largest, rtol=1e-10)


def test_the_cost_is_told_in_evaluations_that_are_counted_and_in_rounds_of_the_solver(monkeypatch):
    """Each product evaluates the field once and is worth two; a Hessian's is half of one in a game of two."""
    calls = {"field": 0.0}

    def arnoldi(matrix, size, products, **others):
        calls["field"] += 3 * products * (1 if size == whole else 1 / 2)
        return measuring.Ritz(np.ones(1), np.zeros(1))

    def share(field, point, key, probes):
        calls["field"] += 5 * probes
        return instruments.Share(0.5, 0.1, 1.0, 1.0, probes)

    class Fake:
        def __init__(self, field, point):
            self.size, self.dtype, self.jacobian = sum(map(np.size, jax.tree.leaves(point))), np.float32, lambda v: v

    for name, fake in (("arnoldi", arnoldi), ("rotation_share", share), ("operator", Fake)):
        monkeypatch.setattr(measuring, name, fake)
    experiment = experiment_of(TINY, solver=Solver("extragradient"))
    state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), state_shapes(experiment))
    whole, measure = sum(map(np.size, jax.tree.leaves(state.params))), Instruments(experiment, SOURCE)
    assert measure(state)["dynamics/field_evaluations"] == measure.evaluations == calls["field"] == 170
    told = measure.told(state)
    assert told.startswith("dynamics every 7 rounds: 170 of the field's evaluations each, as many as in 85 rounds, ab")


@pytest.mark.slow
def test_one_player_does_not_rotate():
    experiment = experiment_of(vae.Config(latent_size=1, hidden_sizes=(3,)))
    found = Instruments(experiment, SOURCE)(state_of(experiment))
    assert found["dynamics/rotation"] < 1e-6 and found["dynamics/leading_imaginary"] < 1e-3
    np.testing.assert_allclose(found["dynamics/leftmost_real"], found["dynamics/vae/hessian_smallest"], rtol=0.05)
    assert {"dynamics/encoder/singular_value", "dynamics/decoder/singular_value"} <= set(found)


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_measuring_changes_nothing_and_what_cannot_be_measured_is_told(
    real, whole, data, tmp_path, monkeypatch, compiled_once
):
    """`real`: with the instruments themselves; else with one that touches the state, and is nothing to compile."""
    refusals, measure = iter([False, True, False]), Instruments.__call__ if real else touch

    def refused_once(self, state):
        if next(refusals):
            raise UserError("the Jacobian is not finite at this point")
        return measure(self, state)

    monkeypatch.setattr(Instruments, "__call__", refused_once)
    if not real:
        monkeypatch.setattr(Instruments, "told", lambda self, state: f"dynamics every 7 rounds: {self.evaluations}")
    words = ["train", *GAN, *ONE, *UNEVEN, "--data", data, "--steps", STEPS, "--dynamics-every", 7]
    run, plain = tmp_path / "run", whole(GAN, ONE)
    told = done(*words, "--run", run)
    assert sha256(run) == sha256(plain)
    assert "dynamics every 7 rounds: 170" in told and "dynamics/" not in told
    assert told.count("no dynamics after round 14: the Jacobian is not finite at this point") == 1
    plain, measured = rows(plain), rows(run)
    assert set(measured) - set(plain) == {7}
    seen = {(step, name) for step, name, _ in events(run)}
    for step, row in measured.items():
        own = {name.removeprefix("dynamics/") for name in row if name.startswith("dynamics/")}
        assert own == (set() if step not in (7, STEPS) else OF_A_GAN if real else {"rotation"})
        assert all((step, f"dynamics/{name}") in seen for name in own)
        if step in plain:
            assert {name: value for name, value in row.items() if not name.startswith("dynamics/")} == plain[step]


def touch(self, state):
    return {"dynamics/rotation": float(np.mean(state.params["generator"]["Dense_0"]["kernel"]))}
