"""Each builder stores exactly what the raw files hold, and says in one line what is wrong with them."""

import gzip
import importlib
import json

import numpy as np
import pytest
from commands import refused
from made_up import everything, idx, idx_folder, picture, pixels
from PIL import Image

from vaegan_jax.data import gather, load
from vaegan_jax.data.builders import BUILDERS, KNOWN
from vaegan_jax.data.preparing import prepare
from vaegan_jax.errors import Caution

pytestmark = pytest.mark.usefixtures("data")


# IDX files


@pytest.mark.parametrize("channels", [1, 3])
def test_idx_files_come_back_bit_for_bit_in_their_order(channels, tmp_path):
    train, test = pixels(20, channels=channels), pixels(6, channels=channels, seed=1)
    folder = idx_folder(tmp_path / "raw", *(a if channels == 3 else a[..., 0] for a in (train, test)))
    prepare("idx_images/mine", folder)
    for split, images in (("train", train), ("test", test)):
        leaves = everything("idx_images/mine", split)
        np.testing.assert_array_equal(leaves["image"], images)
        np.testing.assert_array_equal(leaves["label"], np.arange(len(images)) % 3)
        assert leaves["label"].dtype == np.int32
    spec = load("idx_images/mine", "train").spec
    assert (spec.image_shape, spec.classes, spec.class_names) == ((7, 5, channels), 3, ())


def test_idx_images_may_lack_labels_and_have_other_names(tmp_path):
    folder = tmp_path / "raw" / "deep"
    folder.mkdir(parents=True)
    (folder / "qmnist-train.images.idx3").write_bytes(idx(pixels()[..., 0]))
    (folder / "qmnist-test.images.idx3.gz").write_bytes(gzip.compress(idx(pixels()[..., 0])))
    prepare("idx_images/bare", tmp_path / "raw")
    assert set(everything("idx_images/bare", "train")) == {"image"}
    assert load("idx_images/bare", "test").spec.classes == 0


GOOD = idx(pixels()[..., 0])
BAD_IDX = {
    "no test images": (dict(t10k_images=None, t10k_labels=None), ["no IDX file of test images", "t10k"]),
    "more labels than images": (
        dict(train_labels=idx(np.zeros(21, np.uint8))),
        ["20 train images and 21 train labels"],
    ),
    "labels of one split": (dict(t10k_labels=None), ["only train has labels"]),
    "a file cut off": (dict(train_images=GOOD[:-9]), ["states 700 bytes of data and holds 691"]),
    "a file that goes on": (dict(train_images=GOOD + b"more"), ["states 700 bytes of data and holds 704"]),
    "a text": (dict(train_images=b"not at all"), ["train-images-idx3-ubyte: this is not an IDX file"]),
    "an empty file": (dict(train_images=b""), ["this is not an IDX file"]),
    "a damaged archive": (dict(t10k_images=gzip.compress(GOOD)[:50]), ["t10k-images-idx3-ubyte", "is damaged"]),
    "no images in it": (dict(train_images=idx(np.zeros((0, 7, 5), np.uint8))), ["20 train labels"]),
    "floating images": (dict(train_images=idx(np.zeros((20, 7, 5), np.float32))), ["float32", "not bytes"]),
    "labels where images are due": (dict(train_images=idx(np.zeros(20, np.uint8))), ["uint8 of shape (20,)"]),
    "test images of other sides": (dict(t10k_images=idx(pixels(6, 9)[..., 0])), ["(7, 5), test images of (9, 5)"]),
    "negative labels": (dict(train_labels=idx(np.full(20, -1, np.int32))), ["label of image 0 is -1"]),
    "images twice": (dict(train_images_again=GOOD), ["2 files of train images"]),
}


@pytest.mark.parametrize("wrong", BAD_IDX)
def test_idx_files_that_do_not_match_are_told_in_one_line_and_leave_nothing(wrong, tmp_path, data):
    files, told = BAD_IDX[wrong]
    folder = idx_folder(tmp_path / "raw", **files)
    line = refused("data", "prepare", "idx_images/mine", "--from", folder)
    assert all(fragment in line for fragment in told), line
    assert not data.exists()


def test_idx_files_that_are_not_the_known_ones_are_refused(tmp_path, data):
    folder = idx_folder(tmp_path / "raw")
    assert "train-images-idx3-ubyte: its contents are not those of the original" in refused(
        "data", "prepare", "mnist", "--from", folder
    )
    assert "this is not kmnist, which has 60,000 + 10,000 images" in refused(
        "data", "prepare", "kmnist", "--from", folder
    )
    assert not data.exists()


# Arrays


def test_an_npz_is_prepared_with_attributes_and_captions(tmp_path):
    arrays = {
        "image": pixels(20, channels=3),
        "label": np.arange(20) % 4,
        "attributes": np.stack([np.arange(20) % 2, np.arange(20) % 5], 1),
        "caption": np.array([f"no. {i} é" for i in range(20)]),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    prepare("npz_images/a", tmp_path / "a.npz")
    for split in ("train", "test"):
        made, plain = load("npz_images/a", split), load(str(tmp_path / "a.npz"), split)
        leaves, right = (gather(source, np.arange(len(source))) for source in (made, plain))
        assert leaves.keys() == right.keys()
        for key in leaves:
            np.testing.assert_array_equal(leaves[key], right[key])
        assert made.spec.attributes == plain.spec.attributes == (("attribute_0", 2), ("attribute_1", 5))
        assert made.spec.caption_length == plain.spec.caption_length == len("no. 19 é".encode())


def test_floats_are_stored_in_256_steps_with_a_warning_and_a_nan_is_refused(tmp_path, data):
    images = np.linspace(-1, 1, 20 * 12, dtype=np.float32).reshape(20, 4, 3)
    np.savez(tmp_path / "nan.npz", image=np.where(images > 0.99, np.nan, images))
    assert "image 19 holds NaN or Inf" in refused("data", "prepare", "npz_images/f", "--from", tmp_path / "nan.npz")
    assert "image 19 holds NaN or Inf" in refused("train", "--data", tmp_path / "nan.npz")
    assert not data.exists()
    np.savez(tmp_path / "f.npz", image=images)
    with pytest.warns(Caution, match="256 steps"):
        prepare("npz_images/f", tmp_path / "f.npz")
    assert np.abs(everything("npz_images/f", "train")["image"] / 127.5 - 1 - images[:18, ..., None]).max() < 1 / 254


# Emoji and glyphs


def emoji_folder(folder, count=40):
    index = []
    for number in range(count):
        entry = {"unified": f"1F{number:03X}", "image": f"1f{number:03x}.png", "name": f"FACE {number}"}
        entry |= {"category": "Symbols", "subcategory": "math" if number % 2 else "arrow"}
        if number % 4 == 0:
            tone = {"unified": entry["unified"] + "-1F3FB", "image": f"1f{number:03x}-1f3fb.png"}
            entry["skin_variations"] = {"1F3FB": tone}
        index.append(entry)
        for image in [entry["image"], *(v["image"] for v in entry.get("skin_variations", {}).values())]:
            color = Image.new("RGBA", (64, 64), (number, 0, 0, 255))
            picture(folder / "google/img/google/64" / image, color)
            picture(folder / "twitter/img/twitter/64" / image, color)
            if number % 3 == 0:
                picture(folder / "fluent/assets" / image.replace(".png", ".webp"), color.resize((256, 256)))
    (folder / "google/emoji.json").write_text(json.dumps(index))
    return folder


def test_no_emoji_is_in_both_splits_in_any_style_or_skin(tmp_path, monkeypatch):
    monkeypatch.setattr("vaegan_jax.data.preparing._check_known", lambda *_: None)
    prepare("emoji", emoji_folder(tmp_path / "raw"))
    names = {}
    for split in ("train", "test"):
        leaves = everything("emoji", split)
        captions = [bytes(caption).rstrip(b"\0").decode() for caption in leaves["caption"]]
        names[split] = {caption.split(",")[0] for caption in captions}
        spec = load("emoji", split).spec
        assert spec.attributes == (("skin", 7), ("style", 3), ("subcategory", 2))
        for caption, image, attributes in zip(captions, leaves["image"], leaves["attributes"], strict=True):
            number = int(caption.split(",")[0].removeprefix("face "))
            assert abs(int(image[0, 0, 0]) - number) <= 3  # WebP is not exact
            assert attributes[0] == ("light skin tone" in caption) and attributes[2] == number % 2
    assert not names["train"] & names["test"] and len(names["train"] | names["test"]) == 40


def test_a_lacking_or_damaged_emoji_is_named(tmp_path, data):
    folder = emoji_folder(tmp_path / "raw")
    lacking = folder / "twitter/img/twitter/64/1f005.png"
    content = lacking.read_bytes()
    lacking.unlink()
    assert "1f005.png is missing" in refused("data", "prepare", "emoji", "--from", folder)
    lacking.write_bytes(content[:40])
    assert "1f005.png: this picture is damaged" in refused("data", "prepare", "emoji", "--from", folder)
    lacking.write_bytes(content)
    assert "this is not emoji, which has 9,798" in refused("data", "prepare", "emoji", "--from", folder)
    (folder / "google/emoji.json").write_text("{")
    assert "google/emoji.json" in refused("data", "prepare", "emoji", "--from", folder)
    assert not data.exists()


def test_glyphs_without_usable_fonts_are_refused(tmp_path, data):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").write_text("no font")
    assert "no .ttf or .otf files" in refused("data", "prepare", "glyphs", "--from", tmp_path / "raw")
    (tmp_path / "raw" / "a.ttf").write_text("no font")
    assert "0 fonts have all digits and letters" in refused("data", "prepare", "glyphs", "--from", tmp_path / "raw")
    assert not data.exists()


def test_every_builder_has_its_file_its_class_and_its_version():
    for name, (kind, version) in BUILDERS.items():
        builder = getattr(importlib.import_module(f"vaegan_jax.data.builders.{name}"), kind)
        assert builder.name == name and str(builder.VERSION) == version and builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    assert {known.builder for known in KNOWN.values()} <= set(BUILDERS)
    for known in KNOWN.values():
        assert known.how_to_get().endswith(f"vaegan data prepare {known.name} --from {known.name}")
        assert all(package.sha256 in known.how_to_get() for package in known.packages)
