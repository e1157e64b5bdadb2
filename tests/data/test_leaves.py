"""What an example holds beside its image: labels, attributes and captions; and images of any size."""

import numpy as np
import pytest
from made_up import pixels

from vaegan_jax.data import DataSpec, gather, load, require
from vaegan_jax.data.sources import ArraySource, encode_caption
from vaegan_jax.errors import UserError


def test_arrays_have_attributes_and_captions(tmp_path):
    image, attributes = pixels(20), np.stack([np.arange(20) % 2, np.arange(20) % 7], 1)
    source = ArraySource({"image": image, "attributes": attributes, "caption": ["ab", "é"] * 10})
    assert source.spec.attributes == (("attribute_0", 2), ("attribute_1", 7)) and source.spec.caption_length == 2
    example = source.example(1)
    assert example["attributes"].tolist() == [1, 1] and bytes(example["caption"]) == "é".encode()
    named = ArraySource({"image": image, "attributes": attributes}, attributes=(("even", 2), ("day", 7)))
    assert named.part(slice(3)).spec.attributes == (("even", 2), ("day", 7))
    np.savez(
        tmp_path / "a.npz", train_image=image, test_image=image, train_caption=["a"] * 20, test_caption=["abc"] * 20
    )
    assert load(str(tmp_path / "a.npz"), "train").spec.caption_length == 3


@pytest.mark.parametrize(
    "arrays, told",
    [
        ({"attributes": np.zeros(20, int)}, "attributes have shape (20,)"),
        ({"attributes": np.zeros((19, 2), int)}, "attributes have shape (19, 2)"),
        ({"attributes": np.full((20, 2), -1)}, "attribute attribute_0: the label of image 0 is -1"),
        ({"attributes": np.zeros((20, 2))}, "labels have dtype float64"),
        ({"caption": np.zeros(20)}, "captions have dtype float64"),
        ({"caption": ["a"] * 19}, "shape (19,)"),
    ],
)
def test_wrong_attributes_and_captions_are_told_in_one_line(arrays, told):
    with pytest.raises(UserError) as caught:
        ArraySource({"image": pixels(20), **arrays}, "mine")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_caption_is_cut_at_the_border_of_a_character():
    assert bytes(encode_caption("aéé".encode(), 4)) == "aé\0".encode()
    assert bytes(encode_caption(b"ab", 4)) == b"ab\0\0"


def test_a_model_that_needs_what_the_data_lack_says_so():
    spec = DataSpec("mine", (8, 8, 1), classes=3)
    require(spec, "label", "the conditional GAN")
    for leaf, word in (("attributes", "attributes"), ("caption", "captions")):
        with pytest.raises(UserError, match=f"the conditional GAN needs {word}, and mine has none"):
            require(spec, leaf, "the conditional GAN")
    with pytest.raises(UserError, match="needs labels"):
        require(DataSpec("mine", (8, 8, 1)), "label", "it")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_source_is_resized_when_it_is_loaded(dtype, tmp_path):
    image = pixels(20, 12, 8, 3) if dtype == np.uint8 else (pixels(20, 12, 8, 3) / 127.5 - 1).astype(np.float32)
    np.savez(tmp_path / "a.npz", image=image)
    for size in (4, 8, 16):
        resized = gather(load(str(tmp_path / "a.npz"), "train", size), np.arange(18))["image"]
        assert resized.shape == (18, size, size, 3) and resized.dtype == dtype
        assert dtype == np.uint8 or np.abs(resized).max() <= 1
    same = load(str(tmp_path / "a.npz"), "train", 8).arrays["image"]
    np.testing.assert_array_equal(same, image[:18, 2:10])  # the middle, not one pixel changed
    assert load("fashion_mnist_small", "test", 32).spec.image_shape == (32, 32, 1)
