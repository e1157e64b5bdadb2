"""The convolution, its transposes in the image and in the kernel, and all of their derivatives."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from jax import lax

from vaegan_jax.networks import convolution
from vaegan_jax.networks.convolution import convolve, convolve_transposed, kernel_gradient, same_padding

VALID = ((0, 0), (0, 0))
# Kernel, stride, (h, w), padding: SAME and VALID for all kernels, then what else can happen: more padding than the
# kernel is wide, unequal padding, a stride larger than the kernel, images smaller than the kernel.
CASES = [
    (k, stride, (6, 7) if k % 2 else (7, 6), padding)
    for k, stride in itertools.product((1, 3, 4, 5), (1, 2))
    for padding in (same_padding((6, 7) if k % 2 else (7, 6), k, stride), VALID)
]
CASES += [
    (4, 2, (6, 5), ((1, 1), (1, 2))),
    (4, 2, (4, 4), ((3, 3), (3, 3))),
    (3, 2, (6, 5), ((0, 3), (3, 1))),
    (3, 3, (7, 5), ((1, 1), (0, 2))),
    (1, 3, (5, 4), VALID),
    (5, 1, (2, 3), ((2, 2), (2, 2))),
    (5, 2, (4, 4), ((1, 2), (1, 2))),
    (4, 1, (1, 1), ((3, 3), (3, 3))),
]

# The large graphs of higher derivatives compile four times faster so; nothing else here depends on it.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(params=["cpu", "accelerator"])
def formulation(request, monkeypatch):
    """Both ways of computing the triple, whatever the device of the tests."""
    monkeypatch.setattr(convolution, "_on_cpu", lambda: request.param == "cpu")


def reference(x, kernel, stride, padding):
    """The convolution that JAX provides and differentiates."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=convolution.LAYOUT)


def random(*shapes, seed=0):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape)) for shape in shapes]


def triple(case):
    """A random image (2, h, w, 3), kernel (k, k, 3, 2) and output (2, h', w', 2) for the case."""
    k, stride, size, padding = case
    out = [(length + sum(pad) - k) // stride + 1 for length, pad in zip(size, padding, strict=True)]
    return random((2, *size, 3), (k, k, 3, 2), (2, *out, 2))


def ours(x, kernel, y, case):
    """C(x, K), T(y, K) and W(x, y) by this library."""
    _, stride, size, padding = case
    return (
        convolve(x, kernel, stride, padding),
        convolve_transposed(y, kernel, stride, padding, size),
        kernel_gradient(x, y, stride, padding, kernel.shape),
    )


def matrix_of_4x4_convolution(kernel):
    """The 4x16 matrix of a 3x3 kernel on a 4x4 image without padding, entry by entry."""
    matrix = np.zeros((4, 16))
    for row, column in itertools.product(range(2), range(2)):
        for i, j in itertools.product(range(3), range(3)):
            matrix[2 * row + column, 4 * (row + i) + (column + j)] = kernel[i, j]
    return matrix


def close(actual, expected, tolerance=1e-11):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), actual, expected)


def test_the_convolution_is_its_4_by_16_matrix_and_the_transposed_one_is_that_matrix_transposed(formulation):
    with jax.enable_x64(True):
        kernel, image, output = random((3, 3), (4, 4), (2, 2))
        matrix = matrix_of_4x4_convolution(np.asarray(kernel))
        folded = kernel[:, :, None, None]
        forward = convolve(image[None, :, :, None], folded, 1, VALID)
        backward = convolve_transposed(output[None, :, :, None], folded, 1, VALID, (4, 4))
        close(forward.ravel(), matrix @ np.ravel(image))
        close(backward.ravel(), matrix.T @ np.ravel(output))


def test_every_entry_of_the_matrix_of_the_transposed_convolution_is_an_entry_of_the_kernel_or_zero(formulation):
    with jax.enable_x64(True):
        kernel = jnp.arange(1.0, 10.0).reshape(3, 3)
        basis = jnp.eye(4).reshape(4, 2, 2, 1)
        columns = convolve_transposed(basis, kernel[:, :, None, None], 1, VALID, (4, 4)).reshape(4, 16)
        np.testing.assert_array_equal(columns.T, matrix_of_4x4_convolution(np.asarray(kernel)).T)


@pytest.mark.parametrize("mode", ["valid", "full"])
def test_for_one_channel_the_convolution_is_what_scipy_calls_a_correlation(formulation, mode):
    with jax.enable_x64(True):
        image, kernel = random((7, 5), (3, 3))
        padding = VALID if mode == "valid" else ((2, 2), (2, 2))
        actual = convolve(image[None, :, :, None], kernel[:, :, None, None], 1, padding)[0, :, :, 0]
        close(actual, scipy.signal.correlate2d(image, kernel, mode))


def test_for_one_channel_the_transposed_convolution_is_what_scipy_calls_a_convolution(formulation):
    with jax.enable_x64(True):
        output, kernel = random((5, 4), (3, 3))
        actual = convolve_transposed(output[None, :, :, None], kernel[:, :, None, None], 1, VALID, (7, 6))[0, :, :, 0]
        close(actual, scipy.signal.convolve2d(output, kernel, "full"))


@pytest.mark.parametrize(
    "formulation, case",
    [("cpu", case) for case in CASES] + [("accelerator", case) for case in CASES[::4]],
    indirect=["formulation"],
    ids=str,
)
def test_the_triple_equals_the_convolution_of_jax_and_its_two_transposes(formulation, case):
    k, stride, size, padding = case

    def both(x, kernel, y):
        expected, pull = jax.vjp(lambda x, kernel: reference(x, kernel, stride, padding), x, kernel)
        return ours(x, kernel, y, case), (expected, *pull(y))

    with jax.enable_x64(True):
        close(*quick(both)(*triple(case)))


@pytest.mark.parametrize("case", CASES[::5], ids=str)
def test_one_inner_product_defines_all_three(formulation, case):
    with jax.enable_x64(True):
        x, kernel, y = triple(case)
        all_three = quick(lambda *arrays: ours(*arrays, case))(x, kernel, y)
        products = [np.vdot(a, b) for a, b in zip((y, x, kernel), all_three, strict=True)]
        close(products, [products[0]] * 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_type_of_the_numbers_is_kept_and_float32_is_right_to_its_precision(formulation, dtype):
    case = (4, 2, (8, 8), ((1, 1), (1, 1)))
    with jax.enable_x64(True):
        x, kernel, y = triple(case)
        expected, pull = jax.vjp(lambda x, kernel: reference(x, kernel, 2, case[3]), x, kernel)
        actual = ours(*(array.astype(dtype) for array in (x, kernel, y)), case)
        assert [array.dtype for array in actual] == [jnp.dtype(dtype)] * 3
        close(actual, (expected, *pull(y)), 1e-4 if dtype == "float32" else 1e-11)


@pytest.mark.parametrize("size, k, stride", [*itertools.product([(5, 6), (28, 7)], (1, 3, 4, 5), (1, 2))])
def test_same_padding_is_the_one_of_jax_and_gives_the_size_divided_by_the_stride_rounded_up(size, k, stride):
    padding = same_padding(size, k, stride)
    assert padding == tuple(lax.padtype_to_pads(size, (k, k), (stride, stride), "SAME"))
    out = jax.eval_shape(
        lambda x, kernel: convolve(x, kernel, stride, padding), jnp.ones((1, *size, 1)), jnp.ones((k, k, 1, 1))
    )
    assert out.shape == (1, -(-size[0] // stride), -(-size[1] // stride), 1)


# Derivatives. The network of the tests uses C, T and a nonlinearity, so that every derivative of it depends on all.


def network(case, x, kernel):
    """A scalar of a convolution, a tanh and the transposed convolution, by this library."""
    _, stride, size, padding = case
    hidden = jnp.tanh(convolve(x, kernel, stride, padding))
    return jnp.sin(convolve_transposed(hidden, kernel, stride, padding, size)).sum()


def network_of_jax(case, x, kernel):
    """The same by JAX and its derivatives alone."""
    _, stride, _, padding = case
    out, pull = jax.vjp(lambda x: reference(x, kernel, stride, padding), x)
    return jnp.sin(pull(jnp.tanh(out))[0]).sum()


def squared_gradient(f):
    """One more order of differentiation: the squared norm of the gradients of f(x, kernel) in both arguments."""
    return lambda *arguments: sum((g**2).sum() for g in jax.grad(f, argnums=(0, 1))(*arguments))


DERIVED = [(4, 2, (6, 5), ((1, 1), (1, 2))), (3, 1, (3, 4), ((1, 1), (1, 1))), (5, 2, (4, 3), ((1, 2), (2, 2)))]


def gradients(scalar, case, order):
    """The gradients of the scalar in both arguments, or of squared norms of gradients, order - 1 times over."""
    f = functools.partial(scalar, case)
    for _ in range(order - 1):
        f = squared_gradient(f)
    x, kernel, _ = triple(case)
    return quick(jax.grad(f, argnums=(0, 1)))(x, 0.3 * kernel)


gradients_of_jax = functools.cache(functools.partial(gradients, network_of_jax))


@pytest.mark.parametrize("case, order", [(DERIVED[0], 1), (DERIVED[1], 2), (DERIVED[2], 2), (DERIVED[0], 3)], ids=str)
def test_derivatives_of_the_first_three_orders_are_those_of_jax(formulation, case, order):
    with jax.enable_x64(True):
        close(gradients(network, case, order), gradients_of_jax(case, order), 1e-9)


def test_second_derivatives_agree_with_a_finite_difference_of_first_ones(formulation):
    case, step = DERIVED[0], 1e-5
    f = squared_gradient(functools.partial(network, case))
    with jax.enable_x64(True):
        x, kernel, _ = triple(case)
        kernel = 0.3 * kernel
        dx, dkernel = quick(jax.grad(f, argnums=(0, 1)))(x, kernel)
        towards_x, towards_kernel = random(x.shape, kernel.shape, seed=1)
        slope = np.vdot(dx, towards_x) + np.vdot(dkernel, towards_kernel)
        f = quick(f)
        above, below = (f(x + s * towards_x, kernel + s * towards_kernel) for s in (step, -step))
        np.testing.assert_allclose((above - below) / (2 * step), slope, rtol=1e-6)


@pytest.mark.parametrize("case", DERIVED, ids=str)
def test_the_vjp_of_a_vjp_is_the_jacobian_times_a_vector(formulation, case):
    _, stride, size, padding = case
    with jax.enable_x64(True):
        x, kernel, y = triple(case)
        tangents = tuple(random(x.shape, kernel.shape, seed=1))

        def of_vjps(y):
            pull = jax.vjp(lambda x, kernel: jnp.tanh(convolve(x, kernel, stride, padding)), x, kernel)[1]
            return jax.vjp(pull, y)[1](tangents)[0]

        def of_jax(x, kernel):
            return jnp.tanh(reference(x, kernel, stride, padding))

        close(quick(of_vjps)(y), quick(lambda: jax.jvp(of_jax, (x, kernel), tangents)[1])())


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)], ids=["images", "kernels", "both"])
def test_under_vmap_the_gradients_of_one_example_are_those_without_the_others(formulation, axes):
    case = DERIVED[2]
    gradient = jax.grad(functools.partial(network, case), argnums=(0, 1))
    with jax.enable_x64(True):
        stacks = random((2, 2, *case[2], 3), (2, 5, 5, 3, 2))
        x, kernel = (stack if axis == 0 else stack[0] for stack, axis in zip(stacks, axes, strict=True))
        mapped = quick(jax.vmap(gradient, axes))(x, kernel)
        last = quick(gradient)(x if axes[0] is None else x[-1], kernel if axes[1] is None else kernel[-1])
        close(jax.tree.map(lambda leaf: leaf[-1], mapped), last, 1e-9)


def test_pmap_gives_what_jit_gives(formulation):
    _, stride, _, padding = DERIVED[0]

    def scalar(x, kernel):
        return jnp.sin(convolve(x, kernel, stride, padding)).sum()

    gradient = jax.grad(scalar, argnums=(0, 1))
    with jax.enable_x64(True):
        x, kernel, _ = triple(DERIVED[0])
        mapped = jax.pmap(gradient, in_axes=(0, None), devices=jax.devices()[:1])(x[None], kernel)
        close(jax.tree.map(lambda leaf: leaf[0], mapped), jax.jit(gradient)(x, kernel))


def test_inside_of_a_loop_the_derivatives_are_those_of_the_unrolled_loop(formulation):
    padding = same_padding((6, 6), 4, 2)
    with jax.enable_x64(True):
        x, kernel = random((2, 6, 6, 3), (4, 4, 3, 2))

        def block(x):
            return jnp.tanh(convolve_transposed(jnp.tanh(convolve(x, kernel, 2, padding)), kernel, 2, padding, (6, 6)))

        looped = jax.jit(jax.grad(lambda x: lax.scan(lambda x, _: (block(x), None), x, length=2)[0].sum()))(x)
        close(looped, quick(jax.grad(lambda x: block(block(x)).sum()))(x), 1e-10)


def test_a_size_that_does_not_fit_the_convolution_is_refused(formulation):
    kernel = jnp.ones((4, 4, 1, 1))
    with pytest.raises(ValueError, match=r"size \(10, 8\) gives an output of size \(5, 4\), not \(4, 4\)"):
        convolve_transposed(jnp.ones((1, 4, 4, 1)), kernel, 2, ((1, 1), (1, 1)), (10, 8))
    with pytest.raises(ValueError, match="gives an output of size"):
        kernel_gradient(jnp.ones((1, 8, 8, 1)), jnp.ones((1, 5, 4, 1)), 2, ((1, 1), (1, 1)), kernel.shape)
