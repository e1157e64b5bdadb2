"""What is watched: spectra beside numpy's SVD, the variance of samples by hand, memory and utilization."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.data import ArraySource
from vaegan_jax.models import CONFIGS, biggan, gan, vae
from vaegan_jax.training import watching
from vaegan_jax.training.beginning import first_state, state_shapes
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import assemble, generate
from vaegan_jax.training.showing import grid_plan
from vaegan_jax.training.watching import Utilization, Watch, leading, memory, pixel_variance, spectra

RNG = np.random.default_rng(0)


def orthogonal(rows, columns):
    return np.linalg.qr(RNG.normal(size=(rows, columns)))[0]


def of_values(rows, columns, values):
    """A matrix with these singular values, and zeros."""
    return orthogonal(rows, len(values)) * values @ orthogonal(columns, len(values)).T


LARGE = (150, 90)  # one shape, one program
MATRICES = {
    "Gaussian": RNG.normal(size=LARGE),
    "orthogonal": 2.5 * orthogonal(*LARGE),
    "two that are alike": of_values(*LARGE, np.array([7.0, 6.999, 2.0, 1.0])),
    "one that stands out": RNG.normal(size=LARGE) + of_values(*LARGE, np.array([500.0])),
    "of rank one": of_values(*LARGE, np.array([3.0])),
    "tiny": 1e-25 * RNG.normal(size=LARGE),
    "huge": 1e25 * RNG.normal(size=LARGE),
    "wide": RNG.normal(size=LARGE).T,
    "a convolution": RNG.normal(size=(5, 5, 6, 90)),
    "small": RNG.normal(size=(300, 64)),
    "a vector": RNG.normal(size=(70, 1)),
}


@pytest.mark.parametrize("kernel", MATRICES.values(), ids=MATRICES)
def test_the_leading_singular_values_are_those_of_numpy(kernel):
    exact = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[:3]
    found = leading("Dense_0.kernel", jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(found, exact, rtol=5e-3, atol=1e-3 * exact[0])
    np.testing.assert_allclose(found[0], exact[0], rtol=2e-3)
    assert found == leading("Dense_0.kernel", jnp.asarray(kernel, jnp.float32))


def test_a_kernel_of_zeros_has_none_but_zeros():
    assert leading("Dense_0.kernel", jnp.zeros(LARGE)) == [0.0] * 3
    assert spectra({"vae": {"kernel": jnp.zeros((3, 2))}}, {"vae": {}}) == {"sigma/vae.kernel": 0.0}


def made_up(experiment):
    """A state with weights at random, and positive vectors: of positive weights, v' W u is positive."""
    shapes, draw = state_shapes(experiment), np.random.default_rng(0)
    return jax.tree.map(lambda leaf: draw.uniform(0.1, 1, leaf.shape).astype(leaf.dtype), shapes)


def test_every_kernel_of_biggan_is_told_as_it_is_and_as_it_is_used():
    """In a run u and v lag a step behind the weights; here they are any, and what is used is computed by hand."""
    config = biggan.Config(width=8, latent_size=4)
    state = made_up(assemble(RunConfig(config, batch_size=4), ArraySource(PICTURES).spec))
    found = spectra(state.params, state.stats)
    kernels = {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf, np.float64)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)
        if leaf.ndim > 1
    }
    assert {f"sigma/{name}" for name in kernels} == {name for name in found if name.startswith("sigma/")}
    unnormalized = {name for name in kernels if f"sigma_normalized/{name}" not in found}
    assert unnormalized == {"generator.shared.kernel"}
    for name, kernel in kernels.items():
        matrix = kernel.reshape(-1, kernel.shape[-1])
        exact = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(found[f"sigma/{name}"], exact[0], rtol=2e-3)
        assert (f"sigma_ratio/{name}" in found) == (len(exact) > 1)
        if len(exact) > 1:
            np.testing.assert_allclose(found[f"sigma_ratio/{name}"], exact[0] / exact[1], rtol=5e-3)
        if name not in unnormalized:
            network, *modules, _ = name.split(".")
            node = state.stats[network]["spectral"]
            for module in modules:
                node = node[module]
            used = np.linalg.norm(matrix / (np.asarray(node["v"]) @ matrix @ np.asarray(node["u"])), 2)
            np.testing.assert_allclose(found[f"sigma_normalized/{name}"], used, rtol=2e-3)


def test_a_transposed_convolution_is_the_matrix_that_its_spectral_norm_sees():
    config = gan.Config("dcgan", spectral="both", width=4, latent_size=2)
    state = made_up(
        assemble(RunConfig(config, batch_size=4), ArraySource({"image": PICTURES["image"][:, :8, :8]}).spec)
    )
    name = "generator.TransposedConvolution_0.kernel"
    kernel = np.asarray(state.params["generator"]["TransposedConvolution_0"]["kernel"])  # (k, k, out, in)
    found = spectra(state.params, state.stats)
    exact = np.linalg.svd(kernel.swapaxes(2, 3).reshape(-1, kernel.shape[2]), compute_uv=False)
    np.testing.assert_allclose(found[f"sigma/{name}"], exact[0], rtol=1e-5)
    vectors = state.stats["generator"]["spectral"]["TransposedConvolution_0"]
    used = vectors["v"] @ kernel.swapaxes(2, 3).reshape(-1, kernel.shape[2]) @ vectors["u"]
    np.testing.assert_allclose(found[f"sigma_normalized/{name}"], exact[0] / used, rtol=1e-4)


def test_the_variance_over_images_is_unbiased_and_of_classes_the_variance_within():
    images, labels = RNG.normal(size=(12, 3, 2, 1)), np.arange(12) % 3
    np.testing.assert_allclose(pixel_variance(images), images.var(0, ddof=1).mean())
    pixels = images.reshape(12, -1)
    within = sum(np.square(pixels[labels == k] - pixels[labels == k].mean(0)).sum(0) for k in range(3)) / (12 - 3)
    np.testing.assert_allclose(pixel_variance(images, labels), within.mean())
    shifted = images + 100.0 * labels.reshape(-1, 1, 1, 1)  # classes apart make no variance within
    np.testing.assert_allclose(pixel_variance(shifted, labels), within.mean())
    assert pixel_variance(np.ones((5, 2, 2, 1))) == 0 and pixel_variance(images[:3], np.arange(3)) == 0


PICTURES = {"image": RNG.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8), "label": np.arange(20) % 4}


def test_the_variance_of_samples_is_that_of_the_grid_s_latents_by_the_last_weights_as_a_share_of_the_data_s():
    source = ArraySource({"image": PICTURES["image"][:, :8, :8]})
    training = TrainingConfig(sample_count=16)
    experiment = assemble(
        RunConfig(vae.Config(hidden_sizes=(4,), latent_size=2), batch_size=4, training=training), source.spec
    )
    state, watch = first_state(experiment), Watch(experiment, source)
    found = watch(state)
    made = generate(experiment, state.params, state.stats, 16, 0)
    real = source.arrays["image"] / 127.5 - 1
    expected = made.var(0, ddof=1).mean(dtype=np.float64) / real.var(0, ddof=1).mean()
    np.testing.assert_allclose(found["samples/variance"], expected, rtol=1e-5)
    assert {name for name in found if name.startswith("sigma/")} == {
        f"sigma/{network}.Dense_{n}.kernel" for network in ("encoder", "decoder") for n in (0, 1)
    }
    assert watch(state) == found and watch.seconds > 0
    still = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))
    assert watch(still)["samples/variance"] == 0


def test_a_grid_of_one_image_a_class_is_watched_with_two():
    arrays = {"image": PICTURES["image"][:, :2, :2, :1], "label": PICTURES["label"]}
    source, training = ArraySource(arrays), TrainingConfig(sample_count=4)
    model = CONFIGS["cgan"](network="mlp", hidden_sizes=(4,), latent_size=2)
    experiment = assemble(RunConfig(model, batch_size=4, training=training), source.spec)
    assert grid_plan(experiment)[0] == 4 == source.spec.classes
    assert Watch(experiment, source)(made_up(experiment))["samples/variance"] > 0


def test_memory_is_that_of_the_fullest_device_that_tells_and_else_of_the_process():
    def device(index, **stats):
        return SimpleNamespace(process_index=index, memory_stats=lambda: stats or None)

    gib = 2**30
    found = memory([device(0, bytes_in_use=gib, peak_bytes_in_use=3 * gib), device(0, bytes_in_use=2 * gib)])
    assert found == {"memory/device_gib": 2.0, "memory/device_peak_gib": 3.0}
    others = [device(0), device(1, bytes_in_use=5 * gib)]  # not ours to ask
    for devices in (jax.devices(), others):
        found = memory(devices)
        assert set(found) == {"memory/host_rss_gib", "memory/host_rss_peak_gib"}
        assert 0.05 < found["memory/host_rss_gib"] <= found["memory/host_rss_peak_gib"] < 500


def test_utilization_is_operations_a_second_and_their_share_of_the_peak_where_that_is_known():
    told = Utilization(lambda: 3_000_000, 16, 2e9).told(160.0)
    assert told == {"flops_per_second": 3e7, "mfu": 0.015}
    assert Utilization(lambda: 3_000_000, 16, None).told(160.0) == {"flops_per_second": 3e7}
    assert watching.peak(jax.devices()) is None
    chip = SimpleNamespace(device_kind="NVIDIA H100 80GB HBM3")
    assert 0.9e15 < watching.peak([chip]) < 1e15 and watching.peak([chip] * 8) < 8e15
