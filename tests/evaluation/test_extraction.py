"""Extraction: every bit the same however images come and wherever they are computed; what is no image is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.features import extractor as extraction
from vaegan_jax.evaluation.features import pixels
from vaegan_jax.evaluation.features.extractor import Extractor, chunk_size, extract

COUNT = 37  # two chunks of 16 and a part of one: neither 2 nor 4 devices come out even
COMPILED = []


@pytest.fixture(autouse=True)
def chunks_of_16(monkeypatch):
    monkeypatch.setattr(extraction, "LARGEST_CHUNK", 16)


def network(params, images):
    """A convolution, its mean and a linear map: sums that any other order of addition would change."""
    COMPILED.append(images.shape)
    y = jax.lax.conv_general_dilated(
        images / 255, params["kernel"], (1, 1), "SAME", None, None, ("NHWC", "HWIO", "NHWC")
    )
    features = jax.nn.relu(y).mean((1, 2))
    return {"features": features, "logits": features @ params["dense"]}


def made(size=(20, 24), resizer="clean", channels=3):
    rng = np.random.default_rng(1)
    params = {
        "kernel": rng.normal(size=(3, 3, channels, 24)).astype(np.float32),
        "dense": rng.normal(size=(24, 7)).astype(np.float32),
    }
    return Extractor("small", "", resizer, size, params, network, channels)


def images(count=COUNT, shape=(12, 10, 3)):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def batches(array, size):
    for start in range(0, len(array), size):
        yield array[start : start + size]


def extracted(extractor, given, devices=None):
    rows = list(extract(extractor, given, devices and jax.devices()[:devices]))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], strict=True)


def test_no_bit_depends_on_the_number_of_devices_nor_on_the_batch_size():
    whole = extracted(made(), [images()], 1)
    for devices in (1, 2, 4):
        for size in (1, 5, 16, COUNT):
            assert_equal(extracted(made(), batches(images(), size), devices), whole)


def test_outputs_come_in_the_same_chunks_whatever_the_devices_so_that_running_sums_are_the_same():
    lengths = [[len(row["features"]) for row in extract(made(), [images()], jax.devices()[:n])] for n in (1, 2, 4)]
    assert lengths == 3 * [[16, 16, COUNT - 32]]


def test_outputs_are_float32_in_the_order_of_the_images_and_equal_those_of_images_one_by_one():
    extractor = made()
    rows = extracted(extractor, batches(images(), 7), 2)
    for i in (0, 15, 16, COUNT - 1):
        channels = [Image.fromarray(images()[i, ..., c].astype(np.float32)) for c in range(3)]
        alone = np.stack([np.asarray(one.resize((24, 20), Image.Resampling.BICUBIC)) for one in channels], -1)
        expected = network(extractor.params, jnp.asarray(alone.clip(0, 255))[None])
        for name in ("features", "logits"):
            assert rows[name].dtype == np.float32
            np.testing.assert_allclose(rows[name][i], expected[name][0], rtol=1e-4, atol=1e-5)


def test_an_image_has_the_same_features_at_any_place_and_beside_any_others():
    rows = extracted(made(), [np.concatenate([images(), images()[::-1]])], 2)["features"]
    np.testing.assert_array_equal(rows[COUNT:], rows[:COUNT][::-1])


def test_a_second_extraction_does_not_compile_again():
    extracted(made(), [images()], 1)
    del COMPILED[:]
    extracted(made(), batches(images(5), 2), 1)
    assert not COMPILED


def test_a_buffer_that_the_caller_fills_anew_does_not_change_what_was_given():
    def reused():
        buffer = np.empty((16, 12, 10, 3), np.uint8)
        for batch in batches(images(64), 16):
            buffer[:] = batch
            yield buffer
            buffer[:] = 255

    # Kept side by side, as devices keep them: what a device still reads must be nobody else's.
    kept = [chunk for chunk, _ in extraction._chunks(reused(), 16)]
    np.testing.assert_array_equal(np.concatenate(kept), images(64))
    assert_equal(extracted(made(), reused(), 1), extracted(made(), [images(64)], 1))


def test_the_next_chunk_is_sent_before_the_last_one_is_fetched_and_no_sooner():
    taken = []

    def counted():
        for batch in batches(images(64), 16):
            taken.append(len(batch))
            yield batch

    stream = extract(made(), counted(), jax.devices()[:1])
    for read in (2, 3, 4, 4):
        next(stream)
        assert len(taken) == read


def test_chunks_are_smaller_for_larger_images_and_never_empty(monkeypatch):
    monkeypatch.setattr(extraction, "LARGEST_CHUNK", 128)
    sizes = [chunk_size((side, side), "cpu") for side in (28, 75, 299, 5000)]
    assert sizes == [128, 127, 8, 1]
    assert chunk_size((299, 299), "gpu") == 64


def test_gray_images_are_repeated_to_the_channels_of_the_network():
    gray = images(shape=(12, 10, 1))
    assert_equal(extracted(made(), [gray]), extracted(made(), [np.repeat(gray, 3, axis=3)]))


def test_channels_none_leaves_images_as_they_come():
    def apply(params, images):
        return {"features": images.sum((1, 2))}

    for channels in (1, 2, 5):
        given = images(3, (4, 6, channels))
        rows = extracted(Extractor("sums", "", "none", None, (), apply, None), [given])
        np.testing.assert_array_equal(rows["features"], given.astype(np.float32).sum((1, 2)))


def test_pixels_are_flattened_in_minus_one_to_one():
    given = images(shape=(4, 6, 1))
    given[0], given[1] = 0, 255
    rows = extracted(pixels.extractor((4, 6, 1)), batches(given, 10))
    expected = given.reshape((COUNT, 24)) / 127.5 - 1
    np.testing.assert_allclose(rows["features"], expected, rtol=2e-7, atol=0)
    assert pixels.extractor((4, 6, 1)) is pixels.extractor((4, 6, 1))


REFUSED = {
    "floating images": ([np.zeros((2, 12, 10, 3), np.float32)], "uint8"),
    "whole numbers of another type": ([np.zeros((2, 12, 10, 3), np.int64)], "uint8"),
    "one image without its axis": ([np.zeros((12, 10, 3), np.uint8)], r"\(n, height, width, channels\)"),
    "transparent images": ([np.zeros((2, 12, 10, 4), np.uint8)], "3 channels, and these have 4"),
    "no pixels": ([np.zeros((2, 0, 10, 3), np.uint8)], r"cannot have the shape \(0, 10, 3\)"),
    "unequal sides": ([images(2), images(2, (12, 12, 3))], r"\(12, 10, 3\) and then \(12, 12, 3\)"),
    "a bad batch after good ones": ([images(40), images(2).astype(np.float32)], "uint8"),
    "no batches": ([], "no images"),
    "empty batches": ([images(0), images(0)], "no images"),
}


@pytest.mark.parametrize(("given", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_images_is_refused_in_one_line(given, told):
    with pytest.raises(UserError, match=told) as error:
        list(extract(made(), given))
    assert "\n" not in str(error.value)


def test_color_images_are_refused_by_a_network_of_gray_ones():
    with pytest.raises(UserError, match="images of 1 channels?, and these have 3"):
        list(extract(made(channels=1), [images()]))


def test_pixels_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"images of \(12, 10, 3\), not of \(10, 12, 3\)"):
        list(extract(pixels.extractor((12, 10, 3)), [images(shape=(10, 12, 3))]))


def test_empty_batches_between_others_are_passed_over():
    given = [images()[:0], images()[:20], images()[:0], images()[20:]]
    assert_equal(extracted(made(), given), extracted(made(), [images()]))
