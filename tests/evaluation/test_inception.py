"""The Inception network against pytorch-fid's module and torch-fidelity's protocol, and what its file must hold."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.features import extractor as extraction
from vaegan_jax.evaluation.features import inception, pooling
from vaegan_jax.evaluation.features.extractor import extract

NAMES = ("64", "192", "768", "2048", "logits_unbiased", "logits")
FILTERS = 94


@pytest.fixture(scope="module")
def arrays():
    """Random weights under our names: nothing dies out on the way through 94 layers, no two tensors are alike."""
    rng = np.random.default_rng(0)
    draw = {
        "kernel": lambda shape: rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1])),
        "scale": lambda shape: rng.uniform(0.8, 1.2, shape),
        "variance": lambda shape: rng.uniform(0.7, 1.3, shape),
        "bias": lambda shape: rng.normal(size=shape) * 0.1,
        "mean": lambda shape: rng.normal(size=shape) * 0.1,
    }
    return {name: draw[name.split("/")[-1]](shape).astype(np.float32) for name, shape in inception.shapes().items()}


@pytest.fixture(scope="module")
def tensors(arrays):
    """The same under PyTorch's names and in its layout, from a table of its own."""
    names = {"scale": "bn.weight", "bias": "bn.bias", "mean": "bn.running_mean", "variance": "bn.running_var"}
    made = {"fc.weight": arrays["fc/kernel"].T, "fc.bias": arrays["fc/bias"]}
    for name, array in arrays.items():
        *path, leaf = name.split("/")
        if path != ["fc"]:
            key = ".".join([*path, "conv.weight" if leaf == "kernel" else names[leaf]])
            made[key] = np.moveaxis(array, (0, 1, 2, 3), (2, 3, 1, 0)) if leaf == "kernel" else array
    norms = [name.removesuffix("running_var") for name in made if name.endswith("running_var")]
    return made | {f"{norm}num_batches_tracked": np.int64(7) for norm in norms}


class Peer(NamedTuple):
    """pytorch-fid's network, and the arrays that `convert` makes of its state."""

    module: Any
    arrays: Any


@pytest.fixture(scope="module")
def peer():
    torch, torchvision = pytest.importorskip("torch"), pytest.importorskip("torchvision")
    theirs = pytest.importorskip("pytorch_fid.inception")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:  # its constructor would download
        patch.setattr(theirs, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(torchvision.models.Inception3, "load_state_dict", lambda *args: None)
        module = theirs.fid_inception_v3().eval()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(part.weight)
            elif isinstance(part, torch.nn.BatchNorm2d):
                for tensor, low, high in (
                    (part.weight, 0.5, 1.5),
                    (part.running_var, 0.5, 1.5),
                    (part.bias, -0.2, 0.2),
                    (part.running_mean, -0.2, 0.2),
                ):
                    tensor.uniform_(low, high)
        module.fc.bias.normal_()
    arrays = inception.convert({name: tensor.numpy() for name, tensor in module.state_dict().items()})
    return Peer(module, arrays)


def their_taps(module, images):
    """The taps of the module at (n, h, w, 3), with its own layers in torchvision's order."""
    import torch

    taps, x = {}, torch.from_numpy(images.transpose(0, 3, 1, 2))
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2")
    mixed = [f"Mixed_{name}" for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")]
    named = {"maxpool1": "64", "maxpool2": "192", "Mixed_6e": "768"}
    with torch.no_grad():
        for name in (*stem, *mixed):
            x = getattr(module, name)(x)
            if name in named:
                taps[named[name]] = x.numpy().transpose(0, 2, 3, 1)
        x = x.mean((2, 3))
        taps |= {"2048": x, "logits_unbiased": x @ module.fc.weight.T, "logits": module.fc(x)}
    return {name: np.asarray(tap) for name, tap in taps.items()}


def assert_close(ours, theirs, tolerance=1e-5):
    """Within the tolerance of the largest value of each image's tap."""
    assert ours.shape == theirs.shape
    for one, other in zip(np.asarray(ours), np.asarray(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


@pytest.mark.slow
def test_all_taps_equal_those_of_pytorch_fids_network_on_its_random_weights(peer):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 299, 299, 3)).astype(np.float32)
    images[1] = np.linspace(-1, 1, 299, dtype=np.float32)[:, None, None]
    ours, theirs = jax.jit(inception.taps)(inception.folded(peer.arrays), images), their_taps(peer.module, images)
    assert tuple(ours) and set(ours) == set(theirs) == set(NAMES)
    for name in NAMES:
        assert_close(ours[name], theirs[name])


def from_bytes(peer, resizer, images):
    (outputs,) = extract(inception.extractor(peer.arrays, "", resizer), [images], jax.devices()[:1])
    return outputs


@pytest.mark.slow
def test_bilinear_features_of_bytes_equal_pytorch_fids(peer, monkeypatch):
    torch, theirs = pytest.importorskip("torch"), pytest.importorskip("pytorch_fid.inception")
    monkeypatch.setattr(extraction, "LARGEST_CHUNK", 2)
    monkeypatch.setattr(theirs, "fid_inception_v3", lambda: peer.module)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    (expected,) = theirs.InceptionV3([3]).eval()(torch.from_numpy(images.transpose(0, 3, 1, 2)) / 255)
    assert_close(from_bytes(peer, "bilinear", images)["features"], expected[:, :, 0, 0])


@pytest.mark.slow
def test_tf1_features_and_logits_of_bytes_equal_torch_fidelitys(peer, monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(extraction, "LARGEST_CHUNK", 2)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    torch.save(peer.module.state_dict(), tmp_path / "weights.pth")
    names = ["2048", "logits_unbiased"]
    module = theirs.FeatureExtractorInceptionV3("ours", names, str(tmp_path / "weights.pth"))
    features, logits = module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    ours = from_bytes(peer, "tf1", images)
    assert_close(ours["features"], features)
    assert_close(ours["logits"], logits)


def test_clean_input_of_the_network_is_clean_fids(arrays, monkeypatch):
    monkeypatch.setattr(inception, "taps", lambda params, images: {"2048": images, "logits_unbiased": images})
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 48, 3), dtype=np.uint8)
    extractor = inception.extractor(arrays, "")
    extractor = extractor._replace(apply=functools.partial(extractor.apply))  # not the one that others have compiled
    (ours,) = extract(extractor._replace(params=()), [images], jax.devices()[:1])
    channels = [Image.fromarray(images[0, ..., c].astype(np.float32)) for c in range(3)]
    resized = np.stack([np.asarray(one.resize((299, 299), Image.Resampling.BICUBIC)) for one in channels], axis=-1)
    np.testing.assert_allclose(ours["features"][0], (resized.clip(0, 255) - 128) / 128, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_no_bit_of_the_features_depends_on_the_number_of_devices_nor_on_the_batch_size(arrays, monkeypatch):
    monkeypatch.setattr(extraction, "LARGEST_CHUNK", 4)
    images = np.random.default_rng(0).integers(0, 256, (13, 8, 8, 1), dtype=np.uint8)
    extractor = inception.extractor(arrays, "")._replace(size=(75, 75))

    def features(batches, devices):
        return np.concatenate([row["features"] for row in extract(extractor, batches, jax.devices()[:devices])])

    one, two = features([images], 1), features([images[:6], images[6:]], 2)
    assert one.shape == (13, 2048) and np.ptp(one, axis=0).max() > 0
    np.testing.assert_array_equal(one, two)


def test_network_has_the_472_tensors_and_the_numbers_of_the_file():
    shapes = inception.shapes()
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    kernels = [name for name in shapes if name.endswith("kernel") and name != "fc/kernel"]
    assert len(shapes) == 5 * FILTERS + 2 == 472 and len(kernels) == FILTERS
    assert sum(sizes[name] for name in kernels) == 21_751_136
    assert sizes["fc/kernel"] + sizes["fc/bias"] == 2_065_392
    assert sum(sizes.values()) == 23_885_392


def test_shapes_of_all_taps_are_those_of_the_papers_table_at_299_pixels(arrays):
    params = inception.folded(arrays)
    taps = jax.eval_shape(inception.taps, params, jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32))
    assert {name: tap.shape for name, tap in taps.items()} == {
        "64": (2, 73, 73, 64),
        "192": (2, 35, 35, 192),
        "768": (2, 17, 17, 768),
        "2048": (2, 2048),
        "logits_unbiased": (2, 1008),
        "logits": (2, 1008),
    }


def test_averages_leave_the_padding_out_of_sum_and_count():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    expected = np.empty(x.shape)
    for i in range(5):
        for j in range(6):
            expected[:, i, j] = x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean((1, 2), dtype=np.float64)
    np.testing.assert_allclose(pooling.average_pool(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("stride", "padding"), [(2, 0), (1, 1)])
def test_maxima_are_those_of_windows_inside_even_of_negative_maps(stride, padding):
    x = -np.random.default_rng(0).uniform(1, 2, (2, 8, 9, 3)).astype(np.float32)
    starts = [range(-padding, side - 3 + padding + 1, stride) for side in (8, 9)]
    expected = [[x[:, max(i, 0) : i + 3, max(j, 0) : j + 3].max((1, 2)) for j in starts[1]] for i in starts[0]]
    ours = pooling.max_pool(jnp.asarray(x), 3, stride, padding)
    np.testing.assert_array_equal(ours, np.array(expected).transpose(2, 0, 1, 3))


def test_batch_norm_has_the_epsilon_of_the_file():
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    small = np.full(2, 1e-3, np.float32)  # a variance that epsilon doubles
    arrays = {"kernel": np.eye(2, dtype=np.float32)[None, None], "mean": np.ones(2, np.float32), "variance": small}
    arrays |= {"scale": 3 * np.ones(2, np.float32), "bias": 5 * np.ones(2, np.float32)}
    params = inception.folded({f"unit/{name}": array for name, array in arrays.items()})["unit"]
    ours = inception.Unit(2).apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(ours, np.maximum(3 * (x - 1) / np.sqrt(0.002) + 5, 0), rtol=1e-5, atol=1e-4)


def test_inception_scores_logits_have_no_bias(arrays):
    kernel, bias = arrays["fc/kernel"], arrays["fc/bias"]
    pool = np.random.default_rng(0).normal(size=(3, 2048)).astype(np.float32)
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    logits, given = inception._Classes().apply({"params": params}, jnp.asarray(pool))
    np.testing.assert_allclose(logits, pool.astype(np.float64) @ kernel, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(given[0], bias)


def test_conversion_turns_pytorchs_layout_into_ours_and_ignores_counters(arrays, tensors):
    assert len(tensors) == 472 + FILTERS
    converted = inception.convert(tensors)
    assert list(converted) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(converted[name], array, strict=True)
        assert converted[name].flags.c_contiguous


SPOILED = {
    "of other classes": (
        "fc.weight",
        lambda a: a[:1000],
        r"fc.weight has the shape \(1000, 2048\), not \(1008, 2048\)",
    ),
    "transposed": ("Mixed_6c.branch7x7_2.conv.weight", lambda a: a.transpose(0, 1, 3, 2), r"\(160, 160, 7, 1\), not"),
    "halved": ("Mixed_5b.branch1x1.bn.weight", lambda a: a.astype(np.float16), "is float16, not float32"),
    "not finite": ("Mixed_7c.branch_pool.bn.bias", lambda a: a * np.nan, "branch_pool.bn.bias has values that are not"),
}


@pytest.mark.parametrize(("name", "change", "told"), SPOILED.values(), ids=SPOILED)
def test_a_tensor_that_does_not_match_is_named(tensors, name, change, told):
    with pytest.raises(UserError, match=told) as error:
        inception.convert(tensors | {name: change(tensors[name])})
    assert "\n" not in str(error.value)


def test_the_first_of_several_tensors_that_do_not_match_is_named(tensors):
    bad = tensors | {"Mixed_5b.branch1x1.bn.bias": np.zeros(3, np.float32)}
    del bad["Mixed_6a.branch3x3.conv.weight"]
    with pytest.raises(UserError, match=r"Mixed_5b.branch1x1.bn.bias has the shape \(3,\), not \(64,\)"):
        inception.convert(bad)


def test_missing_and_unknown_tensors_are_named(tensors):
    name = "Mixed_6a.branch3x3.conv.weight"
    with pytest.raises(UserError, match=rf"{name} \(384, 288, 3, 3\) is missing"):
        inception.convert({key: array for key, array in tensors.items() if key != name})
    with pytest.raises(UserError, match="the network has no AuxLogits.conv0.bn.bias"):
        inception.convert(tensors | {"AuxLogits.conv0.bn.bias": np.zeros(128, np.float32)})
    with pytest.raises(UserError, match="Conv2d_1a_3x3.* is missing"):
        inception.convert({})


def test_extractor_names_its_protocol_and_refuses_what_is_none(arrays):
    made = inception.extractor(arrays, "f00", "tf1")
    assert made[:4] == ("inception", "f00", "tf1", (299, 299)) and made.channels == 3
    assert inception.extractor(arrays, "f00").apply is inception.extractor(arrays, "f00").apply
    with pytest.raises(UserError, match="lanczos"):
        inception.extractor(arrays, "", "lanczos")
    with pytest.raises(UserError, match="Conv2d_1a_3x3/bias .* is missing"):
        inception.extractor({name: arrays[name] for name in arrays if name != "Conv2d_1a_3x3/bias"}, "")


@pytest.mark.parametrize(
    ("resizer", "ends"), [("clean", (-1, 127 / 128)), ("bilinear", (-1, 1)), ("tf1", (-1, 127 / 128))]
)
def test_scaling_of_bytes_is_that_of_the_protocol_and_logits_are_those_without_bias(resizer, ends, monkeypatch):
    names = {"2048": 0, "logits_unbiased": 1, "logits": 2}
    monkeypatch.setattr(inception, "taps", lambda params, images: {name: images + add for name, add in names.items()})
    images = jnp.broadcast_to(jnp.asarray([0.0, 255.0]).reshape((2, 1, 1, 1)), (2, 1, 1, 3))
    outputs = inception._APPLY[resizer]((), images)
    scaled = outputs["features"]
    np.testing.assert_array_equal(outputs["logits"], scaled + 1)
    np.testing.assert_allclose(scaled[:, 0, 0, 1], ends, rtol=0, atol=1e-7)
