"""The whole sets are what is stated of them, where they are prepared."""

import numpy as np
import pytest

from vaegan_jax.data import gather, load
from vaegan_jax.data.builders import KNOWN
from vaegan_jax.data.locating import INFO, ours


def known_or_skip(name):
    if not (ours(name).folder / INFO).is_file():
        pytest.skip(f"{name} is not prepared here: python experiments/fetch_data.py {name}")
    return load(name, "train"), load(name, "test")


@pytest.mark.parametrize("name", [known.name for known in KNOWN.values() if known.packages])
def test_a_known_set_is_what_is_stated_of_it(name):
    known, splits = KNOWN[name], known_or_skip(name)
    assert [len(split) for split in splits] == [known.train, known.test]
    assert splits[0].spec.image_shape == known.image_shape
    assert abs(splits[0].card["mean"] - known.mean) < known.tolerance


def test_the_first_digits_of_mnist_are_the_well_known_ones():
    train, test = known_or_skip("mnist")
    assert gather(train, np.arange(10))["label"].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert gather(test, np.arange(10))["label"].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_the_embedded_clothes_are_among_all_of_them():
    train, _ = known_or_skip("fashion_mnist")
    some = load("fashion_mnist_small", "train")
    first = gather(train, np.arange(2000))["image"]
    assert {image.tobytes() for image in some.arrays["image"][:1500]} <= {image.tobytes() for image in first}


def test_no_font_is_in_both_splits():
    train, test = known_or_skip("glyphs")
    fonts = [set(gather(split, np.arange(0, len(split), 7))["attributes"][:, 0].tolist()) for split in (train, test)]
    assert not fonts[0] & fonts[1] and len(fonts[0] | fonts[1]) == train.spec.attributes[0][1]
