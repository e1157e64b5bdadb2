"""Operations counted from shapes are those that XLA counts, and those that one counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.models import CONFIGS
from vaegan_jax.networks import convolution
from vaegan_jax.planning.flops import count
from vaegan_jax.planning.program import flat
from vaegan_jax.planning.tracing import flops_by_xla, trace
from vaegan_jax.training.config import RunConfig, TrainingConfig

SQUARE = jax.ShapeDtypeStruct((32, 32), jnp.float32)
COLOR = DataSpec("made up", (8, 8, 3), 4)


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def counted(function, *given):
    return count(flat(jax.make_jaxpr(function)(*given)))


def by_xla(function, *given):
    return jax.jit(function).lower(*given).cost_analysis()["flops"]


PADDING = convolution.same_padding((16, 16), 4, 2)
IMAGE, KERNEL, OUT = array(4, 16, 16, 8), array(4, 4, 8, 12), array(4, 8, 8, 12)
FUNCTIONS = {
    "matrices": (lambda a, b: a @ b, (array(32, 48), array(48, 16))),
    "matrices in batches": (lambda a, b: jnp.einsum("nqd,nkd->nqk", a, b), (array(2, 8, 4), array(2, 6, 4))),
    "a reshaped matrix": (lambda a, b: a.reshape(8, 12) @ b, (array(4, 24), array(12, 3))),
    "convolution": (lambda x, k: convolution.convolve(x, k, 2, PADDING), (IMAGE, KERNEL)),
    "its kernel's gradient": (lambda x, y: convolution.kernel_gradient(x, y, 2, PADDING, KERNEL.shape), (IMAGE, OUT)),
    "sum": (lambda a: a.sum(), (SQUARE,)),
    "calls": (lambda a: jax.jit(lambda b: b @ b)(jax.jit(lambda b: b @ b)(a)), (SQUARE,)),
    "gradient": (jax.grad(lambda a: (a @ a @ a).sum()), (SQUARE,)),
}


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_as_many_as_xla_counts(name, platform):
    function, given = FUNCTIONS[name]
    with convolution.traced_for(platform):
        found = counted(lambda *x: function(*x), *given)
        assert found.all == by_xla(lambda *x: function(*x), *given)
    assert found.products == found.all or name == "sum" or found.products > 0.98 * found.all


def test_a_transposed_convolution_is_counted_without_the_zeros_between_its_pixels():
    y, kernel = array(1, 8, 8, 12), array(4, 4, 8, 12)
    with convolution.traced_for("gpu"):
        found = counted(lambda y, k: convolution.convolve_transposed(y, k, 2, PADDING, (16, 16)), y, kernel)
    # Each of 8 pixels a side meets 4 taps, but for one that falls off at each end.
    assert found.products == 2 * (8 * 4 - 2) ** 2 * 8 * 12


def test_a_loop_counts_as_often_as_it_turns_and_of_branches_the_costliest():
    loop = counted(lambda a: jax.lax.scan(lambda c, _: (c @ c, None), a, None, length=5)[0], SQUARE)
    assert loop.products == 5 * 2 * 32**3
    branches = counted(lambda a: jax.lax.cond(a.sum() > 0, lambda a: a @ a, lambda a: a, a), SQUARE)
    assert branches.products == 2 * 32**3


def test_what_nobody_needs_and_what_is_the_same_are_not_counted_twice():
    assert counted(lambda a: (a @ a, a.T @ a)[0], SQUARE).products == 2 * 32**3
    assert counted(lambda a: a @ a + a @ a, SQUARE).products == 2 * 32**3


def test_rematerialization_adds_the_forward_pass_but_for_its_last_product():
    def loss(a, inner):
        return inner(a).sum() + a.sum()

    def inner(a):
        return jnp.sin(jnp.sin(a @ a) @ a)

    kept, again = (
        counted(jax.value_and_grad(lambda a, f=f: loss(a, f)), SQUARE) for f in (inner, jax.checkpoint(inner))
    )
    assert kept.products == 6 * 2 * 32**3
    assert again.products == 8 * 2 * 32**3


def config(micro_batches=1, **fields):
    model = CONFIGS["dcgan"](width=4, latent_size=3, **fields)
    return RunConfig(model, batch_size=8, training=TrainingConfig(micro_batches=micro_batches))


def test_a_round_has_the_products_that_xla_counts():
    traced = trace(config(), COLOR, "cpu")
    found, told = count(traced.at(8)), flops_by_xla(config(), COLOR)
    # XLA also has integers, choices and what the metrics share.
    assert found.products < found.all < told < 1.1 * found.all


def test_a_round_scaled_to_a_batch_is_the_round_of_that_batch():
    """One trace serves every batch; micro-batches take as many products as the whole."""
    traced = trace(config(), COLOR)
    step = [count(traced.at(examples)).products for examples in (8, 16, 24)]
    assert step[2] - step[1] == step[1] - step[0] > 0
    parts = count(trace(config(2), COLOR).at(4)).products
    assert parts == pytest.approx(step[0], rel=0.05)
